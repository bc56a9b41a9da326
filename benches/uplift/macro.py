"""Success averaged over tasks, and how sure it is: a bootstrap of seeds within tasks.

The average is taken over tasks: each task's share of solved seeds weighs the same. The interval is
a percentile bootstrap (Efron 1979) that resamples seeds within each task. What is compared on the
same draws is paired by (task, seed). An arm may have several members, which are models that differ
in their training seed alone: their successes are averaged, and with `has_new_members` each draw
resamples the members as well, the same ones for whatever is compared.
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

    @property
    def num_pairs(self) -> int:
        """The (task, seed) pairs."""
        return sum(map(len, self.seeds.values()))

    def macro(self, members: Sequence[Successes], *, has_new_members: bool = False) -> Macro:
        """The macro average over members and tasks, in percent, and its replicates.

        Args:
            members: At least one; each knows every (task, seed) of the draws.
            has_new_members: Whether each draw takes as many members anew, with replacement.
        """
        weights = self._weights(len(members)) if has_new_members else None
        means, replicates = [], []
        for (task, seeds), picks in zip(self.seeds.items(), self._picks, strict=True):
            solved = np.array([[rows[task, seed] for seed in seeds] for rows in members], float)
            means.append(solved.mean())
            if weights is None:
                replicates.append(solved.mean(axis=0)[picks].mean(axis=1))
            else:
                drawn = np.take_along_axis(weights @ solved, picks, axis=1)
                replicates.append(drawn.mean(axis=1))
        return 100 * float(np.mean(means)), 100 * np.mean(replicates, axis=0)

    def _weights(self, count: int) -> NDArray[np.float64]:
        """`[num_draws, count]`, the share that each member has in a draw."""
        rng = np.random.default_rng((self._seed, count))
        return rng.multinomial(count, [1 / count] * count, self.num_draws) / count


def interval(replicates: NDArray[np.float64]) -> tuple[float, float]:
    """The bounds between which 95% of the replicates lie."""
    low, high = np.percentile(replicates, (2.5, 97.5))
    return float(low), float(high)
