"""Which states stage 0 sees together: a function of the seed and the step, so that it can go on."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from similar_fast.train.data import TrainingSet

__all__ = ["Batch", "Sampler", "SamplingSettings", "check_states"]

Batch = list[list[int]]
"""States, each as rows of the training set; states of one episode stand side by side."""


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """What a batch is made of.

    Attributes:
        batch_states: Least states of a batch, at least 1.
        side_by_side: Most states of one episode in a batch, which may be compared; at least 1.
        max_actions: Most actions of a state, at least 1; others are drawn anew each time.
        plain_share: Share of the states without any pair that an epoch sees, in [0, 1]. They teach
            what is worth how much, and no order.
    """

    batch_states: int = 12
    side_by_side: int = 4
    max_actions: int = 12
    plain_share: float = 0.3


def check_states(rows: TrainingSet, settings: SamplingSettings) -> None:
    """Refuses a set of which no epoch would see a state.

    Raises:
        ValueError: No state has a pair, and of the others none is taken.
    """
    if (settings.plain_share == 0 or not len(rows)) and not _decisive(rows):
        raise ValueError(
            f"none of {len(rows)} rows has a pair in its state and plain_share is "
            f"{settings.plain_share}; expected one, or a share above 0"
        )


def _decisive(rows: TrainingSet) -> set[int]:
    """The states that have a pair."""
    paired = rows.pairs[rows.states[rows.pairs[:, 0]] == rows.states[rows.pairs[:, 1]]]
    return set(rows.states[paired[:, 0]].tolist())


class Sampler:
    """Batches without end, epoch after epoch."""

    def __init__(self, rows: TrainingSet, settings: SamplingSettings, *, seed: int) -> None:
        """Sorts the rows into episodes and states.

        Args:
            rows: What is trained on.
            settings: What a batch is made of.
            seed: Of all draws.

        Raises:
            ValueError: No epoch would see a state: none has a pair, and of the others none is
                taken.
        """
        self._settings = settings
        self._seed = seed
        self._episodes: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        homes: dict[int, int] = {}  # trajectories that begin alike share states
        for row, (episode, state) in enumerate(
            zip(rows.episodes.tolist(), rows.states.tolist(), strict=True)
        ):
            self._episodes[homes.setdefault(state, episode)][state].append(row)
        check_states(rows, settings)
        self._decisive = _decisive(rows)

    def steps_an_epoch(self) -> int:
        """Batches of the first epoch; others have about as many."""
        return sum(1 for _ in self._epoch(0))

    def __iter__(self) -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from self._epoch(epoch)
            epoch += 1

    def _epoch(self, epoch: int) -> Iterator[Batch]:
        rng = random.Random(f"{self._seed}:epoch {epoch}")  # noqa: S311  # a seeded draw
        groups: list[Batch] = []
        for states in self._episodes.values():
            taken = [rows for state, rows in states.items() if self._is_taken(state, rng)]
            rng.shuffle(taken)
            size = self._settings.side_by_side
            groups += [taken[i : i + size] for i in range(0, len(taken), size)]
        rng.shuffle(groups)
        batch: Batch = []
        for group in groups:
            batch += [self._drawn(rows, rng) for rows in group]
            if len(batch) >= self._settings.batch_states:
                yield batch
                batch = []
        if batch:
            yield batch

    def _is_taken(self, state: int, rng: random.Random) -> bool:
        return state in self._decisive or rng.random() < self._settings.plain_share

    def _drawn(self, rows: list[int], rng: random.Random) -> list[int]:
        most = self._settings.max_actions
        return rows if len(rows) <= most else sorted(rng.sample(rows, most))
