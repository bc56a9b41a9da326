"""Which rows a stage is measured on while it trains: whole groups, so that no task is in both."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Split", "draw_states", "hold_out"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Rows that are trained on, and rows that are held out.

    Attributes:
        held_out: `[n]` bool.
        by: `group`: no group has rows on both sides; `row`: there was one group, so that rows of it
            are on both sides and what is measured says nothing of other groups; `none`: nothing is
            held out.
    """

    held_out: NDArray[np.bool_]
    by: Literal["group", "row", "none"]


def hold_out(groups: Sequence[str], *, share: float, seed: int) -> Split:
    """Holds out about `share` of the groups, at least one, and never all.

    Groups are ordered by a hash of the seed and their name, and the first ones are held out. So the
    rows' order plays no part, and two stages that see nearly the same groups hold out nearly the
    same ones. One group alone is split by rows, in the same manner.

    Args:
        groups: `[n]`, the group of each row, such as its task.
        share: Of the groups, in [0, 1); 0 holds nothing out.
        seed: Of the order.

    Raises:
        ValueError: `share` is out of its range.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share to hold out is {share}; expected one in [0, 1)")
    n = len(groups)
    if share == 0 or n < 2:
        return Split(np.zeros(n, np.bool_), "none")
    names = sorted(set(groups))
    if len(names) > 1:
        held = set(_first(names, share, seed))
        return Split(np.array([group in held for group in groups], np.bool_), "group")
    rows = np.zeros(n, np.bool_)
    rows[[int(row) for row in _first([str(i) for i in range(n)], share, seed)]] = True
    return Split(rows, "row")


def draw_states(states: NDArray[np.int64], *, share: float, seed: int) -> NDArray[np.bool_]:
    """Which rows, `[n]`, are of the drawn `share` of the states.

    Args:
        states: `[n]`, the state of each row.
        share: In (0, 1]; 1 takes all.
        seed: Of the draw.

    Raises:
        ValueError: `share` is out of its range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of the states is {share}; expected one in (0, 1]")
    left_out = hold_out(list(map(str, states.tolist())), share=1 - share, seed=seed)
    return ~left_out.held_out


def _first(names: Sequence[str], share: float, seed: int) -> list[str]:
    count = min(max(1, round(share * len(names))), len(names) - 1)
    return sorted(names, key=lambda name: _hash(name, seed))[:count]


def _hash(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest()
