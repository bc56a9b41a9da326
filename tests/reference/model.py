"""What the reference is made of: edges, and what is told of leaves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from similar_fast.tree.settings import TreeSettings as Config

__all__ = ["MAX_VALUE", "Asked", "Config", "Edge", "F", "Path", "Refused", "Row", "Told"]

F = np.float32
Path = tuple[int, ...]
Told = tuple[list[np.float32], list[np.float32] | None]
"""`[channels]` numbers and, where a gate weighs them, as many weights."""
MAX_VALUE = F(1e38)


class Refused(Exception):  # noqa: N818 - a call that the core must refuse as well
    """The call is refused, and changes nothing."""


@dataclass
class Edge:
    prior: np.float32
    value: np.float32
    visits: int = 0
    in_flight: int = 0
    state: str = "fresh"
    pending: int = 0
    """Simulations that wait for the leaf."""
    order: int = 0
    """How many leaves were opened before this one, where it is open."""
    is_held: bool = False
    """Whether it is told, and waits for the rest of its round."""
    told: Told | None = None
    merged: Path | None = None
    """The node whose state it has."""

    @property
    def done(self) -> int:
        return self.visits - self.in_flight


@dataclass
class Row:
    """What is told of one leaf."""

    path: Path
    value: float = 0.0
    terminal: bool = False
    candidates: int | None = None
    priors: Sequence[float] | None = None
    first_values: Sequence[float] | None = None
    numbers: Sequence[float] | None = None
    """`[channels]`, in place of the value."""
    weights: Sequence[float] | None = None
    first_weights: Sequence[float] | None = None
    key: int = 0

    @property
    def ends(self) -> bool:
        return self.terminal or self.candidates == 0


@dataclass
class Asked:
    leaves: dict[Path, tuple[str, int]] = field(default_factory=dict)
    """In the order in which they were opened: what for, and the simulations that wait."""
    num_completed: int = 0


def stored_prior(prior: float) -> np.float32:
    """A probability rounded to 11 bits behind the leading one, ties to even; at least 2^-31."""
    if prior < 2.0**-31:
        return F(2.0**-31)
    fraction, exponent = math.frexp(prior)
    return F(math.ldexp(round(fraction * 4096), exponent - 12))


def stored_priors(given: Sequence[float] | None, count: int) -> list[np.float32]:
    given = given or [1.0] * count
    total = sum(float(F(prior)) for prior in given)
    return [stored_prior(float(F(float(F(prior)) / total))) for prior in given]


def weighted_sum(numbers: Sequence[np.float32], weights: Sequence[np.float32]) -> np.float32:
    total = 0.0
    for number, weight in zip(numbers, weights, strict=True):
        total += float(number) * float(weight)
    return F(total)
