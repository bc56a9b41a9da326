"""Made-up rows of the uplift evaluation."""

from collections.abc import Callable, Iterable

from similar_fast.search.episodes import Episode

NAME = "env=miniwob,screens=0123abcd,max_steps=8"


def row(arm: str, task: str, seed: int, *, success: bool = True, steps: int = 3) -> Episode:
    return Episode(
        arm=f"{arm}({NAME})",
        task=task,
        seed=seed,
        success=success,
        is_done=True,
        actions=("click Buy",) * 2,
        env_steps=steps,
        resets=1,
        scored_actions=9,
        diverged=0,
        relaunches=0,
        seconds=0.123456,
    )


def rows(
    arm: str,
    solved: Callable[[str, int], bool],
    *,
    tasks: Iterable[str] = ("click-option", "enter-text"),
    seeds: Iterable[int] = range(3030, 3040),
) -> list[Episode]:
    """A row for each (task, seed), solved where `solved(task, seed)` says so."""
    numbers = list(seeds)
    return [row(arm, t, s, success=solved(t, s)) for t in tasks for s in numbers]
