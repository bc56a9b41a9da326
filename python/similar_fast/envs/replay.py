"""Playing actions again, and checking that the same actions lead to the same screens."""

import difflib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from similar_fast.protocols import Environment
from similar_fast.types import Action, Observation, StepResult

__all__ = ["AuditReport", "Diverged", "Divergence", "audit", "replay"]


@dataclass(frozen=True, slots=True)
class Diverged:
    """A replay that led to another screen than the one recorded.

    Attributes:
        step: The action after which the screens differ, from 1; 0 is the reset.
        expected: The digest that was recorded.
        observation: The screen that came instead.
    """

    step: int
    expected: str
    observation: Observation


def replay(
    env: Environment, task: str, seed: int, actions: Sequence[Action], digests: Sequence[str]
) -> Observation | Diverged:
    """The screen that `actions` lead to after a reset, or where they led elsewhere.

    Args:
        env: The environment; its running episode ends.
        task: The environment's name of the task.
        seed: The task's seed.
        actions: What to do, in order.
        digests: `[len(actions) + 1]`, the digest of the first screen and of that after each action.

    Raises:
        EnvError: As `env` raises it; stepping past the episode's end is one case.
        ValueError: There is not one digest more than actions.
    """
    if len(digests) != len(actions) + 1:
        raise ValueError(
            f"expected {len(actions) + 1} digests for {len(actions)} actions, got {len(digests)}"
        )
    observation = env.reset(task, seed=seed)
    for step, expected in enumerate(digests):
        if step > 0:
            observation = env.step(actions[step - 1]).observation
        if observation.digest != expected:
            return Diverged(step, expected, observation)
    return observation


@dataclass(frozen=True, slots=True)
class Divergence:
    """One replay of an audit that did not lead to what was recorded.

    Attributes:
        task: The environment's name of the task.
        seed: The task's seed.
        is_fresh: Whether it was played in a fresh environment; else in the one that recorded it.
        step: The action after which it differs, from 1; 0 is the reset.
        actions: The actions up to that one, in words.
        lines: The lines that differ: with `-` recorded, with `+` replayed.
    """

    task: str
    seed: int
    is_fresh: bool
    step: int
    actions: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found.

    Attributes:
        episodes: Episodes that were recorded.
        replays: Replays that were compared with them.
        steps: Actions that were replayed.
        divergences: The replays that differed.
    """

    episodes: int
    replays: int
    steps: int
    divergences: tuple[Divergence, ...] = field(repr=False)

    def __str__(self) -> str:
        return (
            f"{len(self.divergences)} of {self.replays} replays diverged "
            f"({self.episodes} episodes, {self.steps} steps replayed)"
        )


@dataclass(frozen=True, slots=True)
class _Moment:
    """Everything that a replay must come to again."""

    digest: str
    text: str
    outcome: tuple[bool, bool, str | None]

    @property
    def lines(self) -> list[str]:
        is_done, success, error = self.outcome
        return [
            *self.text.splitlines(),
            f"digest {self.digest}, done {is_done}, success {success}, error {error}",
        ]


def audit(  # keyword-only, as the style has it
    env: Environment,
    tasks: Iterable[str],
    *,
    seeds: Iterable[int],
    max_steps: int = 8,
    rng_seed: int = 0,
    fresh: Callable[[], Environment] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> AuditReport:
    """Plays random episodes, then each of them again, and compares every moment.

    Beside the digest, a moment's done, success and error are compared.

    Args:
        env: Where the episodes are recorded, and replayed once all seeds of a task are recorded.
        tasks: The tasks.
        seeds: The seeds of each task.
        max_steps: Steps of an episode, at most.
        rng_seed: Seed of the random choice of actions.
        fresh: Makes another environment of the same kind, for a second replay of each episode;
            each one is closed after use.
        progress: Called after each recorded or replayed episode with the task and the seed.
    """
    tell = progress or (lambda _task, _seed: None)
    seeds = tuple(seeds)
    episodes = replays = steps = 0
    divergences: list[Divergence] = []
    for task in tasks:
        recorded = []
        for seed in seeds:
            recorded.append((seed, *_record(env, task, seed, max_steps, rng_seed)))
            tell(task, seed)
        episodes += len(recorded)
        for is_fresh in (False, True) if fresh else (False,):
            for seed, actions, moments in recorded:
                other = fresh() if fresh is not None and is_fresh else env
                try:
                    again = _play(other, task, seed, actions)
                finally:
                    if is_fresh:
                        other.close()
                replays += 1
                steps += len(actions)
                found = _compare(moments, again)
                if found is not None:
                    step, lines = found
                    done = tuple(str(action) for action in actions[:step])
                    divergences.append(Divergence(task, seed, is_fresh, step, done, lines))
                tell(task, seed)
    return AuditReport(episodes, replays, steps, tuple(divergences))


def _record(
    env: Environment, task: str, seed: int, max_steps: int, rng_seed: int
) -> tuple[list[Action], list[_Moment]]:
    rng = random.Random(f"{rng_seed}/{task}/{seed}")  # noqa: S311  # no secret
    observation = env.reset(task, seed=seed)
    moments = [_moment(observation)]
    actions: list[Action] = []
    while len(actions) < max_steps:
        candidates = env.candidates()
        if not candidates:
            break
        actions.append(rng.choice(candidates))
        result = env.step(actions[-1])
        moments.append(_moment(result.observation, result))
    return actions, moments


def _play(env: Environment, task: str, seed: int, actions: Sequence[Action]) -> list[_Moment]:
    """The moments of a replay; it ends early where the episode does."""
    moments = [_moment(env.reset(task, seed=seed))]
    for action in actions:
        result = env.step(action)
        moments.append(_moment(result.observation, result))
        if result.is_done:
            break
    return moments


def _moment(observation: Observation, result: StepResult | None = None) -> _Moment:
    outcome = (False, False, None) if result is None else _outcome(result)
    text = f"{observation.instruction}\n{observation.text}"
    return _Moment(observation.digest, text, outcome)


def _outcome(result: StepResult) -> tuple[bool, bool, str | None]:
    return (result.is_done, result.success, result.error)


def _compare(
    recorded: Sequence[_Moment], again: Sequence[_Moment]
) -> tuple[int, tuple[str, ...]] | None:
    """The first step that differs and its differing lines; None where none does."""
    for step, (old, new) in enumerate(zip(recorded, again, strict=False)):
        if old != new:
            lines = difflib.unified_diff(old.lines, new.lines, n=0, lineterm="")
            return step, tuple(line for line in lines if not line.startswith(("---", "+++", "@@")))
    if len(recorded) != len(again):
        return min(len(recorded), len(again)), (f"-{len(recorded)} screens", f"+{len(again)}")
    return None
