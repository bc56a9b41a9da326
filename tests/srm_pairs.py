"""Labelled pairs and scorers that the tests of the benchmark share."""

from collections.abc import Sequence

import numpy as np
from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.records import PairRecord
from similar_fast.types import Scores, Step

HOSTILE = '</details><img src=x onerror="window.hacked=1"><!--{{misses}} & \ud800'


def make_pair(
    kind: Dimension = Dimension.TOTAL,
    *,
    task: str = "1",
    chosen: Sequence[str] = ("click Buy",),
    rejected: Sequence[str] = ("click Help",),
    **more: object,
) -> PairRecord:
    fields: dict[str, object] = {
        "environment": "shop",
        "task": task,
        "instruction": f"Buy ticket {task}",
        "step": -1 if kind is Dimension.TRAJECTORY else 1,
        "chosen_label": 1.0,
        "rejected_label": 0.0,
        **more,
    }
    return PairRecord(type=kind, chosen=tuple(chosen), rejected=tuple(rejected), **fields)  # type: ignore[arg-type]


def random_pairs(seed: int, *, n: int = 200, n_tasks: int = 12) -> list[PairRecord]:
    """Pairs of every type on two platforms; an action's text begins with how good it is."""
    rng = np.random.default_rng(seed)
    kinds = list(Dimension)
    pairs = []
    for i in range(n):
        kind = kinds[int(rng.integers(len(kinds)))]
        task = int(rng.integers(n_tasks))
        length = int(rng.integers(1, 4)) if kind is Dimension.TRAJECTORY else 1
        good, bad = (
            [f"{rng.integers(low, low + 60)} act {i} {k}" for k in range(length)] for low in (40, 0)
        )
        pairs.append(
            make_pair(
                kind,
                task=str(task),
                chosen=good,
                rejected=bad,
                platform=("web", "linux")[task % 2],
                history=("0 go",) * int(rng.integers(3)),
            )
        )
    return pairs


class NumberScorer:
    """The number that an action begins with as total; with dimensions, those are its multiples."""

    def __init__(self, *, has_dims: bool = False) -> None:
        self.has_dims = has_dims
        self.calls: list[list[Step]] = []

    def score(self, steps: Sequence[Step]) -> Scores:
        self.calls.append(list(steps))
        total = np.array([float(step.action.split()[0]) for step in steps], np.float32)
        if not self.has_dims:
            return Scores(total)
        return Scores(total, total[:, None] * np.arange(1, len(DIMENSIONS) + 1, dtype=np.float32))


class FirstScorer:
    """Prefers what stands first in a call, whatever it is."""

    def score(self, steps: Sequence[Step]) -> Scores:
        return Scores(-np.arange(len(steps), dtype=np.float32))
