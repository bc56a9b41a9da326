"""What stage 2 is given: pairs and settings, and which pairs belong to which step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from similar_fast.models.heads import TEMPERATURE
from similar_fast.train.heads import DROPOUT, GATE_WIDTHS

__all__ = [
    "GatePairs",
    "GateSettings",
    "batch_rows",
    "check_pairs",
    "check_settings",
]

_Floats = NDArray[np.float32]
_Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class GatePairs:
    """P pairs of steps, as rows of the arrays of features.

    Attributes:
        chosen: `[P]` int64, the better step.
        rejected: `[P]` int64, the other one.
        groups: `[P]`, what must not be both trained on and held out: the pairs' tasks.
        weights: `[P]`, above 0; None for 1 each.
        types: `[P]`, what the two are compared by, for the accuracy by type; None for one type.
    """

    chosen: _Rows
    rejected: _Rows
    groups: Sequence[str]
    weights: _Floats | None = None
    types: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.chosen)


@dataclass(frozen=True, slots=True)
class GateSettings:
    """How the gate is trained; the defaults are upstream's.

    Attributes:
        widths: Of the hidden layers.
        dropout: Share of a hidden layer's outputs that a step leaves out, in [0, 1).
        temperature: T, above 0.
        scale: s at the start, above 0: the sum of the five weights. A new gate weighs the
            dimensions nearly alike, so that 5 starts at the plain sum.
        best_by: What the kept gate is best in on the held-out groups: the loss, or the share of
            pairs that are ordered right.
        learning_rate: Of the first step; a cosine takes it to 0 after the last.
        weight_decay: Of AdamW, at least 0; upstream publishes none.
        steps: Steps of the optimiser, at least 1.
        batch_size: Pairs a step, at least 1; where there are fewer, all of them.
        validation_share: Of the groups that are held out, in [0, 1); 0 keeps the last weights
            instead of the best.
        measure_every: Steps between two measurements and checkpoints, at least 1.
    """

    widths: tuple[int, ...] = GATE_WIDTHS
    dropout: float = DROPOUT
    temperature: float = TEMPERATURE
    scale: float = 1.0
    best_by: Literal["loss", "accuracy"] = "loss"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    steps: int = 2000
    batch_size: int = 1024
    validation_share: float = 0.2
    measure_every: int = 100


def batch_rows(step: int, *, num_pairs: int, batch_size: int, seed: int) -> _Rows:
    """The pairs of one step: a stretch of one permutation of all pairs after another.

    A function of the step alone, so that a run that goes on sees what it would have seen. O(P).

    Args:
        step: From 0.
        num_pairs: P, at least `batch_size`.
        batch_size: Pairs a step.
        seed: Of the permutations.
    """
    start, stop = step * batch_size, (step + 1) * batch_size
    first, last = start // num_pairs, (stop - 1) // num_pairs
    orders = [
        np.random.default_rng((seed, epoch)).permutation(num_pairs)
        for epoch in range(first, last + 1)
    ]
    offset = first * num_pairs
    return np.concatenate(orders)[start - offset : stop - offset]


def check_settings(settings: GateSettings, seed: int) -> None:
    """Refuses what no run can be made of.

    Raises:
        ValueError: A setting or the seed is out of its range.
    """
    for name in ("steps", "batch_size", "measure_every"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name} is {getattr(settings, name)}; expected at least 1")
    for name in ("learning_rate", "temperature", "scale"):
        if not 0 < getattr(settings, name) < math.inf:
            raise ValueError(f"{name} is {getattr(settings, name)}; expected a number above 0")
    for name in ("dropout", "validation_share"):
        if not 0 <= getattr(settings, name) < 1:
            raise ValueError(f"{name} is {getattr(settings, name)}; expected one in [0, 1)")
    if any(width < 1 for width in settings.widths):
        raise ValueError(f"widths are {list(settings.widths)}; expected each at least 1")
    if not 0 <= settings.weight_decay < math.inf:
        raise ValueError(f"weight_decay is {settings.weight_decay}; expected at least 0")
    if seed < 0:
        raise ValueError(f"the seed is {seed}; expected at least 0")


def check_pairs(pairs: GatePairs, hidden: _Floats, prompt_hidden: _Floats) -> None:
    """Refuses pairs that do not fit the features.

    Args:
        pairs: What is compared.
        hidden: `[n, H]` float32, h of each step.
        prompt_hidden: `[n, H]` float32, p of each step.

    Raises:
        ValueError: A column has another length, a row is none of `[0, n)`, or a value is not
            finite.
    """
    if hidden.ndim != 2 or hidden.shape != prompt_hidden.shape:
        raise ValueError(
            f"h and p are {hidden.shape} and {prompt_hidden.shape}; expected [n, H] both"
        )
    if not (np.isfinite(hidden).all() and np.isfinite(prompt_hidden).all()):
        raise ValueError("a state is not finite")
    n = len(pairs)
    if not n:
        raise ValueError("there are no pairs; expected at least one")
    columns = {
        "rejected": pairs.rejected,
        "groups": pairs.groups,
        "weights": pairs.weights,
        "types": pairs.types,
    }
    for name, column in columns.items():
        if column is not None and len(column) != n:
            raise ValueError(f"the pairs' {name} are {len(column)}; expected {n}")
    for rows in (pairs.chosen, pairs.rejected):
        if not (rows.min() >= 0 and rows.max() < len(hidden)):
            raise ValueError(
                f"the pairs name rows {rows.min()} to {rows.max()}; expected 0 to {len(hidden) - 1}"
            )
    weights = pairs.weights
    if weights is not None and not ((weights > 0) & np.isfinite(weights)).all():
        raise ValueError("a pair's weight is not a number above 0")
