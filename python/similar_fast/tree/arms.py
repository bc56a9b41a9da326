"""What an `AdaptiveSearch` tells of itself: open leaves, nodes, and the arms of one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arm", "Arms", "Leaves", "Nodes"]


@dataclass(frozen=True, slots=True, eq=False)
class Leaves:
    """Children to be generated and valued, in columns of n rows; rows of one parent lie together.

    Attributes:
        ids: `[n]` int64, by which a leaf is told or failed.
        parents: `[n]` int64, the node that is to get one more child; `advance` gives nodes new ids.
        depths: `[n]` int32, steps from the root to that child, from 1.
        multiplicities: `[n]` int32, simulations that wait for the child, from 1; a later `ask` may
            add to them.
    """

    ids: NDArray[np.int64]
    parents: NDArray[np.int64]
    depths: NDArray[np.int32]
    multiplicities: NDArray[np.int32]
    _path: Callable[[int], tuple[object, ...]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, row: int) -> tuple[object, ...]:
        """The candidates from below the root to the parent in `row`; ids where none were given.

        Raises:
            SearchError: The search has advanced since.
        """
        return self._path(int(self.parents[row]))

    def paths(self) -> list[tuple[object, ...]]:
        """The path of every row, see `path`; made when asked for.

        Raises:
            SearchError: The search has advanced since.
        """
        return [self.path(row) for row in range(len(self))]


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Nodes, in columns of n rows.

    Attributes:
        nodes: `[n]` int64, their ids, until the next `advance`.
        parents: `[n]` int64, the node above; -1 for the root.
        depths: `[n]` int32, steps from the root.
        visits: `[n]` int64, completed simulations in the subtree, its own evaluation included.
        in_flight: `[n]` int64, simulations at the node and below that are not completed.
        values: `[n]` float32 in the scorer's scale, the node's own; NaN for a root without one.
        means: `[n]` float64 in the scorer's scale, of the subtree; NaN where it has no value.
        terminal: `[n]` bool, whether the node was told as terminal.
        exhausted: `[n]` bool, whether its proposer has no further candidate.
        closed: `[n]` bool, whether nothing can be generated in the subtree any more.
        candidates: The n objects; None where none was given.
    """

    nodes: NDArray[np.int64]
    parents: NDArray[np.int64]
    depths: NDArray[np.int32]
    visits: NDArray[np.int64]
    in_flight: NDArray[np.int64]
    values: NDArray[np.float32]
    means: NDArray[np.float64]
    terminal: NDArray[np.bool_]
    exhausted: NDArray[np.bool_]
    closed: NDArray[np.bool_]
    candidates: Sequence[object]

    def __len__(self) -> int:
        return len(self.nodes)


@dataclass(frozen=True, slots=True)
class Arm:
    """One thing that a simulation can do at a node.

    Attributes:
        visits: Completed visits, from 0.
        in_flight: Visits in flight, from 0.
        mean: In normalised values: the posterior mean; of `widening` the mean, NaN where the policy
            compares counts.
        spread: The posterior's width (the scale of Student's t, the deviation of Beta); of
            `widening` the bonus, so that the child with the highest `mean + spread` is entered.
    """

    visits: int
    in_flight: int
    mean: float
    spread: float


@dataclass(frozen=True, slots=True)
class Arms:
    """What the next simulation at a node would decide by.

    Attributes:
        is_fertile: Whether the node may ever have another child: it is not terminal, not exhausted
            and above the depth limit.
        max_children: The most children it may have now; None where the policy sets no limit.
        generate: Asking for another child.
        proceed: Going on to one it has.
        children: Each child's id and arm, the eldest first; closed ones are never entered.
    """

    is_fertile: bool
    max_children: int | None
    generate: Arm
    proceed: Arm
    children: dict[int, Arm]
