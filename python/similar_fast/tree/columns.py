"""What a `TreeSearch` gives out: columns of leaves and of edges."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Children", "EdgeState", "Leaves"]


class EdgeState(IntEnum):
    """What an edge leads to, and what it waits for."""

    FRESH = 0
    """Never selected, or all its simulations were taken back."""
    EVALUATING = 1
    """Selected; its value is waited for."""
    EVALUATED = 2
    """It has a value."""
    EXPANDING = 3
    """It has a value; its candidates are waited for."""
    EXPANDED = 4
    """It leads to a node."""
    TERMINAL = 5
    """The episode ends there."""
    DEPTH_LIMIT = 6
    """It has a value and lies at the depth limit, or the memory was spent."""
    MERGED = 7
    """It has the state of a node elsewhere, and its value."""


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """Leaves to be told of, in columns of n rows.

    Attributes:
        ids: `[n]` int64, by which a leaf is told or failed.
        parents: `[n]` int64, the node on which the leaf's action was taken; `advance` gives nodes
            new ids.
        actions: `[n]` int32, the index of that action among the node's candidates.
        depths: `[n]` int32, edges from the root to the leaf, from 1.
        multiplicities: `[n]` int32, simulations that wait for the leaf, from 1; a later `ask` may
            add to them.
        wants_candidates: `[n]` bool, whether the leaf has a value and wants its candidates.
        num_completed: Simulations that this ask completed by itself: revisits of leaves that
            nothing follows.
    """

    ids: NDArray[np.int64]
    parents: NDArray[np.int64]
    actions: NDArray[np.int32]
    depths: NDArray[np.int32]
    multiplicities: NDArray[np.int32]
    wants_candidates: NDArray[np.bool_]
    num_completed: int
    _path: Callable[[int, int], tuple[object, ...]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, row: int) -> tuple[object, ...]:
        """The candidates from the root to the leaf in `row`; indices where none were given.

        Raises:
            SearchError: The search has advanced since.
        """
        return self._path(int(self.parents[row]), int(self.actions[row]))

    def paths(self) -> list[tuple[object, ...]]:
        """The path of every row, see `path`; made when asked for.

        Raises:
            SearchError: The search has advanced since.
        """
        return [self.path(row) for row in range(len(self))]


@dataclass(frozen=True, slots=True, eq=False)
class Children:
    """The edges of one node, in columns of n rows.

    Attributes:
        node: The node's id, until the next `advance`.
        visits: `[n]` int64, completed simulations.
        in_flight: `[n]` int64, simulations that are not completed.
        values: `[n]` float32 in the scorer's scale, what the backup made of the completed
            simulations; the first value where there are none.
        priors: `[n]` float32 in [2^-31, 1]; they sum to 1 up to rounding to 12 bits.
        nodes: `[n]` int64, the node behind the edge, or that it is merged with; -1 where there is
            none.
        states: `[n]` uint8, see `EdgeState`.
        solved: `[n]` bool, whether every way on is known to its end; the value is exact then.
        candidates: The n candidates, or None where only their number was given.
    """

    node: int
    visits: NDArray[np.int64]
    in_flight: NDArray[np.int64]
    values: NDArray[np.float32]
    priors: NDArray[np.float32]
    nodes: NDArray[np.int64]
    states: NDArray[np.uint8]
    solved: NDArray[np.bool_]
    candidates: Sequence[object] | None

    def __len__(self) -> int:
        return len(self.visits)
