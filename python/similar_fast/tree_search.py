"""Tree search by ask and tell: batches of leaves out, values and candidates in.

The tree lives in the compiled core as numbers. Candidates, any objects, stay here, under the node's
id. A search reads no clock and draws no random number: the same calls give the same tree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from similar_fast import _core
from similar_fast.errors import SearchError
from similar_fast.ragged import (
    RaggedCandidates,
    RaggedFloats,
    column,
    floats,
    ragged_candidates,
    ragged_floats,
)

__all__ = ["Children", "EdgeState", "Leaves", "TreeSearch"]


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
    """It has a value and lies at the depth limit."""


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
        values: `[n]` float32 in the scorer's scale, mean or maximum of the completed simulations;
            the first value where there are none.
        priors: `[n]` float32 in [2^-31, 1]; they sum to 1 up to rounding to 12 bits.
        nodes: `[n]` int64, the node behind the edge; -1 where there is none.
        states: `[n]` uint8, see `EdgeState`.
        candidates: The n candidates, or None where only their number was given.
    """

    node: int
    visits: NDArray[np.int64]
    in_flight: NDArray[np.int64]
    values: NDArray[np.float32]
    priors: NDArray[np.float32]
    nodes: NDArray[np.int64]
    states: NDArray[np.uint8]
    candidates: Sequence[object] | None

    def __len__(self) -> int:
        return len(self.visits)


class TreeSearch:
    """A search tree with open leaves. Any number of threads may use it.

    `ask` selects leaves; `tell` evaluates and expands them; every simulation ends with one value on
    all edges of its path. Simulations in flight count as visits and never as values. A leaf's first
    visit asks for a value. A later visit of a leaf without candidates asks for these
    (`wants_candidates`) and is parked; once they are told, the next `ask` takes it on from there.
    Giving candidates with the value saves that second question and costs a proposal for every leaf.

    Args:
        candidates: The root's candidates, 1 to 65,535: their number, or any objects.
        priors: `[candidates]`, at least 0, not all 0; made to sum to 1. Uniform where None.
        first_values: `[candidates]`, the values before a first visit, in the scorer's scale; `fpu`
            where None.
        policy: `puct`: `q + c_puct * sqrt(N) * prior / (1 + n)`, N the node's and n the edge's
            visits, in flight included; `uct`: `q + c_puct * sqrt(ln(N) / n)`, unvisited edges
            first, by prior.
        backup: `mean` or `max` of the values of the simulations through an edge. The maximum
            amplifies a scorer's noise.
        c_puct: Weight of the second term, at least 0.
        max_depth: Edges from the root to the deepest leaf, 1 to 65,535.
        fpu: First-play urgency, the value of an edge before its first visit, in the scorer's scale;
            `parent` takes the value of the edge above at the time of expansion, 0 at the root.
        normalize: How values become `q`: `minmax` brings the least and the greatest value told so
            far to 0 and 1, a range (low, high) its ends; None leaves them.

    Raises:
        ValueError: An argument is outside of its range.

    Example:
        >>> search = TreeSearch(["left", "right"], normalize=None)
        >>> while search.num_simulations < 20:
        ...     leaves = search.ask(4)
        ...     values = [path.count("right") for path in leaves.paths()]
        ...     _ = search.tell(leaves, values, candidates=[["left", "right"]] * len(leaves))
        >>> search.principal_variation()[:3]
        ('right', 'right', 'right')

    Source:
        PUCT: Rosin 2011 and Silver et al. 2017 (Mastering the game of Go without human knowledge,
        Methods). UCT: Kocsis & Szepesvari 2006, Auer et al. 2002. Visits in flight: Liu et al. 2020
        (arXiv 1810.11755).
    """

    def __init__(
        self,
        candidates: int | Sequence[object],
        *,
        priors: ArrayLike | None = None,
        first_values: ArrayLike | None = None,
        policy: Literal["puct", "uct"] = "puct",
        backup: Literal["mean", "max"] = "mean",
        c_puct: float = 1.25,
        max_depth: int = 64,
        fpu: float | Literal["parent"] = 0.0,
        normalize: Literal["minmax"] | tuple[float, float] | None = "minmax",
    ) -> None:
        count, objects = _candidates_of(candidates)
        if isinstance(fpu, str) and fpu != "parent":
            raise ValueError(f'fpu must be a number or "parent", got "{fpu}"')
        self._core = _core.TreeSearch(
            count,
            priors=floats("priors", priors),
            first_values=floats("first_values", first_values),
            policy=policy,
            backup=backup,
            c_puct=c_puct,
            max_depth=max_depth,
            fpu=None if isinstance(fpu, str) else fpu,
            normalize=normalize,
        )
        self._lock = Lock()
        self._num_advances = 0
        self._objects: list[Sequence[object] | None] = []
        self._store(self._core.root, objects)

    def ask(self, num_simulations: int) -> Leaves:
        """Sends `num_simulations` simulations down the tree; returns the leaves they wait for.

        Simulations that were parked and whose candidates have been told go on first, and count.
        There may be fewer rows than simulations: a leaf that is open already gets more simulations
        and no new row; a revisit of a terminal leaf, or of one at the depth limit, is completed at
        once with the leaf's value.

        Args:
            num_simulations: At least 1; at most 65,535 can be in flight.

        Raises:
            ValueError: `num_simulations` is below 1.
            SearchError: Too many simulations in flight, or the tree is full.
        """
        with self._lock:
            return Leaves(*self._core.ask(num_simulations), self._namer())

    def ask_edge(self, node: int, action: int) -> Leaves:
        """Sends one simulation to an edge of the caller's choice, and on below it if expanded.

        For callers who know where to look first, as along a greedy path. The edges above count it
        as if the search had come that way.

        Raises:
            ValueError: The node has no such action.
            SearchError: There is no such node, or too many simulations are in flight.
        """
        with self._lock:
            return Leaves(*self._core.ask_edge(node, action), self._namer())

    def tell(
        self,
        leaves: Leaves | ArrayLike,
        values: ArrayLike,
        *,
        candidates: RaggedCandidates | None = None,
        priors: RaggedFloats | None = None,
        first_values: RaggedFloats | None = None,
        terminal: ArrayLike | None = None,
    ) -> NDArray[np.int64]:
        """Tells what became of open leaves: any of them, in any order, in any number of calls.

        A value counts once for each simulation that waits for its leaf. Candidates of a leaf at the
        depth limit are not kept. Leaves that `advance` has discarded are accepted and ignored.

        Args:
            leaves: What `ask` returned, or `[n]` ids out of it.
            values: `[n]`, finite, at most 1e38 in magnitude; not read where a leaf wants its
                candidates.
            candidates: `[n]` counts as an integer array, -1 where not known yet; or a list with a
                list of any objects or None for each leaf. A leaf with 0 candidates is terminal.
            priors: Flat `[sum of counts]`, or a list with a list or None for each leaf.
            first_values: As `priors`.
            terminal: `[n]` bool, whether the episode ends there.

        Returns:
            `[n]` int64, the node that a leaf became; -1 where it has no candidates.

        Raises:
            ValueError: A row is outside of its range, or columns differ in length.
            SearchError: An id is unknown, or its leaf is finished. Nothing of the call is applied
                then, nor where a ValueError is raised.
        """
        ids = _ids(leaves)
        counts, objects = ragged_candidates(candidates)
        with self._lock:
            nodes = self._core.tell(
                ids,
                column("values", values, np.float32),
                terminal=None if terminal is None else column("terminal", terminal, np.bool_),
                counts=counts,
                priors=ragged_floats("priors", priors, counts),
                first_values=ragged_floats("first_values", first_values, counts),
            )
            if objects is not None:
                for node, given in zip(nodes.tolist(), objects, strict=True):
                    if node >= 0:
                        self._store(node, given)
        return nodes

    def fail(self, leaves: Leaves | ArrayLike) -> None:
        """Takes simulations back: all counts are as if these leaves had never been asked for.

        Args:
            leaves: What `ask` returned, or `[n]` ids out of it.

        Raises:
            ValueError: An id comes twice.
            SearchError: An id is unknown, or its leaf is finished; nothing is taken back then.
        """
        self._core.fail(_ids(leaves))

    def advance(
        self,
        action: int,
        *,
        candidates: int | Sequence[object] | None = None,
        priors: ArrayLike | None = None,
        first_values: ArrayLike | None = None,
    ) -> NDArray[np.int64]:
        """Makes the child behind `action` the root and frees everything that is not below it.

        Nodes below it keep their counts and get new ids, the root 0; leaves at the depth limit open
        again; open leaves below it stay open. A column kept beside the tree, one row a node,
        follows by `column = column[kept]`.

        Args:
            action: Index of one of the root's candidates.
            candidates: Those of the new root; read only where it is not expanded.
            priors: As in the constructor, with `candidates`.
            first_values: As in the constructor, with `candidates`.

        Returns:
            `kept`, `[num_nodes]` int64: the old id of each node, in the order of the new ids; empty
            where the child was not expanded, as the root is a new node then.

        Raises:
            ValueError: There is no such action, or the candidates are outside of their range.
            SearchError: The child is terminal, or not expanded and without candidates. In all cases
                nothing is changed.
        """
        count, objects = (None, None) if candidates is None else _candidates_of(candidates)
        with self._lock:
            kept = self._core.advance(
                action,
                count=count,
                priors=floats("priors", priors),
                first_values=floats("first_values", first_values),
            )
            self._num_advances += 1
            self._objects = [self._objects_of(node) for node in kept.tolist()]
            if not len(kept):
                self._store(self._core.root, objects)
        return kept

    def children(self, node: int | None = None) -> Children:
        """The edges of `node`, of the root where None.

        Raises:
            SearchError: There is no such node.
        """
        with self._lock:
            node = self._core.root if node is None else node
            return Children(node, *self._core.edges(node), self._objects_of(node))

    def best_action(self) -> int:
        """The root's action with the most completed visits, then the highest value, then index."""
        return self._core.best_action()

    def principal_variation(self) -> tuple[object, ...]:
        """The best action at the root, at the node behind it, and so on while there are visits.

        Candidates, or their indices where none were given; each chosen as in `best_action`.
        """
        with self._lock:
            return self._named(*self._core.principal_variation())

    def path(self, node: int, *, action: int | None = None) -> tuple[object, ...]:
        """The candidates from the root to `node`, and on by `action` where given; O(depth).

        Indices stand where only the number of candidates was given.

        Raises:
            SearchError: There is no such node.
        """
        with self._lock:
            return self._path(node, action)

    @property
    def num_simulations(self) -> int:
        """Simulations that were completed and went through the present root."""
        return self._core.num_simulations

    @property
    def in_flight(self) -> int:
        """Simulations that wait, for a leaf or parked."""
        return self._core.in_flight

    @property
    def num_parked(self) -> int:
        """Simulations in flight whose leaf is expanded, so that the next `ask` takes them on."""
        return self._core.num_parked

    @property
    def num_nodes(self) -> int:
        """Nodes with candidates; leaves are not counted. Ids are 0 to one less."""
        return self._core.num_nodes

    @property
    def nbytes(self) -> int:
        """Bytes in use in the core; candidates, being Python objects, are not counted."""
        return self._core.nbytes

    @property
    def root(self) -> int:
        """The root's node id: 0."""
        return self._core.root

    def _namer(self) -> Callable[[int, int], tuple[object, ...]]:
        return partial(self._leaf_path, self._num_advances)

    def _leaf_path(self, num_advances: int, parent: int, action: int) -> tuple[object, ...]:
        with self._lock:
            since = self._num_advances - num_advances
            if since:
                raise SearchError(
                    f"leaves have paths until the search advances, it has advanced {since} times"
                )
            return self._path(parent, action)

    def _path(self, node: int, action: int | None) -> tuple[object, ...]:
        nodes, actions = self._core.path(node)
        if action is not None:
            nodes.append(node)
            actions.append(action)
        return self._named(nodes, actions)

    def _store(self, node: int, objects: Sequence[object] | None) -> None:
        if objects is None and node >= len(self._objects):
            return
        missing = node + 1 - len(self._objects)
        if missing > 0:
            self._objects.extend([None] * missing)
        self._objects[node] = objects

    def _objects_of(self, node: int) -> Sequence[object] | None:
        return self._objects[node] if node < len(self._objects) else None

    def _named(self, nodes: list[int], actions: list[int]) -> tuple[object, ...]:
        given = map(self._objects_of, nodes)
        return tuple(
            action if objects is None else objects[action]
            for objects, action in zip(given, actions, strict=True)
        )


def _candidates_of(candidates: int | Sequence[object]) -> tuple[int, Sequence[object] | None]:
    if isinstance(candidates, str | bytes):
        raise TypeError("candidates must be a number or a list, got one string")
    if isinstance(candidates, Sequence):
        return len(candidates), candidates
    return int(candidates), None


def _ids(leaves: Leaves | ArrayLike) -> NDArray[np.int64]:
    return leaves.ids if isinstance(leaves, Leaves) else column("ids", leaves, np.int64)
