"""Success averaged over tasks, and how sure it is: a bootstrap of seeds within tasks.

The average is taken over tasks: each task's share of solved seeds weighs the same. The interval is
a percentile bootstrap (Efron 1979) that resamples seeds within each task. What is compared on the
same draws is paired by (task, seed). An arm may have several members, which are models that differ
in their training seed alone: their successes are averaged, and with `has_new_members` each draw
resamples the members as well, with `has_new_tasks` the tasks, the same ones for whatever is
compared.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DRAWS",
    "Draws",
    "Macro",
    "Pair",
    "Successes",
    "average",
    "common_seeds",
    "interval",
    "missing_pairs",
]

DRAWS = 10_000

Pair: TypeAlias = tuple[str, int]
"""A task and a seed."""

Successes: TypeAlias = Mapping[Pair, bool]
"""Whether each (task, seed) was solved."""

Macro: TypeAlias = tuple[float, NDArray[np.float64]]
"""An average in percent, and its `[draws]` replicates."""


def common_seeds(members: Iterable[Iterable[Pair]]) -> dict[str, list[int]]:
    """The seeds that every member has played, by task, both in order."""
    seeds: dict[str, list[int]] = defaultdict(list)
    sets = [set(rows) for rows in members]
    for task, seed in sorted(set.intersection(*sets) if sets else set()):
        seeds[task].append(seed)
    return dict(seeds)


def missing_pairs(rows: Collection[Pair], planned: Collection[Pair]) -> str:
    """How many of the `planned` pairs `rows` lack, in words; empty where none is missing."""
    count = sum(pair not in rows for pair in planned)
    return f"{count} of {len(planned)} rows" if count else ""


class Draws:
    """The draws of one comparison, the same for every arm that is read on them.

    Args:
        seeds: The seeds of each task; at least one.
        num_draws: Draws.
        seed: Seeds the draws.

    Raises:
        ValueError: There is no seed to draw.
    """

    def __init__(
        self, seeds: Mapping[str, Sequence[int]], *, num_draws: int = DRAWS, seed: int = 0
    ) -> None:
        if not seeds or not all(seeds.values()):
            raise ValueError(f"every task needs a seed, got {dict(seeds)}")
        rng = np.random.default_rng(seed)
        self.seeds = seeds
        self.num_draws = num_draws
        self._seed = seed
        self._picks = [rng.integers(0, len(s), (num_draws, len(s))) for s in seeds.values()]
        self._task_weights = _resampled(len(seeds), num_draws, (seed, 0))

    @property
    def num_pairs(self) -> int:
        """The (task, seed) pairs."""
        return sum(map(len, self.seeds.values()))

    def macro(
        self,
        members: Sequence[Successes],
        *,
        has_new_members: bool = False,
        has_new_tasks: bool = False,
    ) -> Macro:
        """The macro average over members and tasks, in percent, and its replicates.

        Args:
            members: At least one; each knows every (task, seed) of the draws.
            has_new_members: Whether each draw takes as many members anew, with replacement.
            has_new_tasks: Whether each draw takes as many tasks anew, with replacement.
        """
        count = len(members)
        weights = (
            _resampled(count, self.num_draws, (self._seed, count)) if has_new_members else None
        )
        replicates = []
        for (task, seeds), picks in zip(self.seeds.items(), self._picks, strict=True):
            solved = np.array([[rows[task, seed] for seed in seeds] for rows in members], float)
            if weights is None:
                replicates.append(solved.mean(axis=0)[picks].mean(axis=1))
            else:
                drawn = np.take_along_axis(weights @ solved, picks, axis=1)
                replicates.append(drawn.mean(axis=1))
        by_task = np.array(replicates)
        drawn = (
            (self._task_weights.T * by_task).sum(axis=0) if has_new_tasks else by_task.mean(axis=0)
        )
        return average(members, self.seeds), 100 * drawn


def average(members: Sequence[Successes], seeds: Mapping[str, Sequence[int]]) -> float:
    """The macro average over members and tasks, in percent.

    Args:
        members: At least one; each knows every (task, seed) of `seeds`.
        seeds: The seeds of each task; at least one.
    """
    by_task = [
        np.mean([[rows[task, seed] for seed in found] for rows in members])
        for task, found in seeds.items()
    ]
    return 100 * float(np.mean(by_task))


def _resampled(count: int, num_draws: int, seed: tuple[int, int]) -> NDArray[np.float64]:
    """`[num_draws, count]`, the share that each of `count` has in a draw with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, [1 / count] * count, num_draws) / count


def interval(replicates: NDArray[np.float64]) -> tuple[float, float]:
    """The bounds between which 95% of the replicates lie."""
    low, high = np.percentile(replicates, (2.5, 97.5))
    return float(low), float(high)
