"""Search by ask and tell where every node can be asked for another child at any time.

For proposers that can be asked again, such as a language model: `TreeSearch` is given all
candidates of a node at once, here each simulation asks for one more child of some node. The tree
lives in the compiled core as numbers; candidates, any objects, stay here, under the node's id.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import partial
from threading import Lock
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from similar_fast import _core
from similar_fast.errors import SearchError
from similar_fast.ragged import column
from similar_fast.tree.arms import Arm, Arms, Leaves, Nodes

__all__ = ["AdaptiveSearch", "Beta", "Gaussian"]


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A normal-inverse-chi-squared prior of normalised values with unknown mean and variance.

    Attributes:
        m: The mean, finite.
        kappa: How many observations the mean is worth, 1e-3 to 1e9.
        nu: How many observations the variance is worth, 1e-3 to 1e9.
        tau_square: The variance, 1e-12 to 1e38.

    Source:
        Murphy 2023, Probabilistic machine learning: advanced topics, section 3.4.3.3. The defaults
        are those of treequest, the authors' implementation of AB-MCTS.
    """

    m: float = 0.0
    kappa: float = 1.0
    nu: float = 1.0
    tau_square: float = 0.1


@dataclass(frozen=True, slots=True)
class Beta:
    """A Beta prior of the mean of normalised values, which must lie in [0, 1].

    Attributes:
        a: Values of 1 that it is worth, 1e-3 to 1e9; 1/2 in Jeffreys' prior.
        b: Values of 0 that it is worth, likewise.
    """

    a: float = 0.5
    b: float = 0.5


class AdaptiveSearch:
    """A growing tree with open leaves. Any number of threads may use it.

    `ask` sends simulations down the tree; each ends at a node that is to get one more child. `tell`
    brings the children with their values. Simulations in flight count as visits and never as
    values: in Thompson sampling as observations of the posterior mean. The same calls give the same
    tree: draws are a function of the seed, the node, its visits and the arm.

    Args:
        root: The candidate of the root, any object.
        root_value: The root's own value, where the root is an answer; it counts for `best` and for
            the scale, and is no observation of any arm.
        policy: `abmcts`: Thompson sampling between generating a child, by the values of the node's
            children, and going on, by the values of everything deeper; then among the children, by
            the values in their subtrees. `widening`: a node of N visits may have
            `ceil(k * N^alpha)` children; below that it gets one, otherwise `rule` enters one. A
            node whose children are all closed gets one more at a time beyond that.
        prior: Of `abmcts`, what is believed of every arm at first.
        k: Of `widening`, the factor, 1e-6 to 1e9.
        alpha: Of `widening`, the exponent, 0 to 1.
        rule: Of `widening`, `uct`: `q + c_puct * sqrt(ln(N) / n)`; `puct`:
            `q + c_puct * sqrt(N) / children / (1 + n)`. N are the node's and n the child's visits,
            with those in flight, q the child's normalised mean.
        c_puct: Of `widening`, the weight of the second term, at least 0.
        seed: Of `abmcts`, where draws begin, 0 to 2^64 - 1.
        max_depth: Steps from the root to the deepest node, 1 to 65,535.
        normalize: How values become `q`: `minmax` brings the least and the greatest value told so
            far to 0 and 1, a range (low, high) its ends; None leaves them.
        max_nbytes: `ask` raises SearchError where the nodes asked for could take the core beyond so
            many bytes; candidates are not counted.

    Raises:
        ValueError: An argument is outside of its range.

    Example:
        >>> search = AdaptiveSearch("draft", seed=1)
        >>> while search.num_simulations < 50:
        ...     leaves = search.ask(5)
        ...     children = [(*path, "better") for path in leaves.paths()]
        ...     _ = search.tell(leaves, [len(path) for path in children], candidates=children)
        >>> search.num_nodes, search.best() == int(search.nodes().depths.argmax())
        (51, True)

    Source:
        AB-MCTS-A: Inoue et al. 2025 (arXiv 2503.04412). Progressive widening: Coulom 2007
        (Computing Elo ratings of move patterns in the game of Go); by a power of the visits:
        Couetoux et al. 2011 (Continuous upper confidence trees). Visits in flight: Liu et al. 2020
        (arXiv 1810.11755).
    """

    def __init__(
        self,
        root: object = None,
        *,
        root_value: float | None = None,
        policy: Literal["abmcts", "widening"] = "abmcts",
        prior: Gaussian | Beta = Gaussian(),
        k: float = 1.0,
        alpha: float = 0.5,
        rule: Literal["uct", "puct"] = "uct",
        c_puct: float = 1.25,
        seed: int = 0,
        max_depth: int = 64,
        normalize: Literal["minmax"] | tuple[float, float] | None = "minmax",
        max_nbytes: int | None = None,
    ) -> None:
        if policy not in {"abmcts", "widening"}:
            raise ValueError(f'policy must be "abmcts" or "widening", got "{policy}"')
        if rule not in {"uct", "puct"}:
            raise ValueError(f'rule must be "uct" or "puct", got "{rule}"')
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must be from 0 to 2^64 - 1, got {seed}")
        name = rule if policy == "widening" else type(prior).__name__.lower()
        parameters = [k, alpha, c_puct] if policy == "widening" else [*astuple(prior)]
        core = _core.AdaptiveSearch(
            name,
            parameters,
            root_value=root_value,
            normalize=normalize,
            seed=seed,
            max_depth=max_depth,
            max_nbytes=max_nbytes,
        )
        self._start(core, [root])

    def _start(self, core: _core.AdaptiveSearch, candidates: Sequence[object]) -> None:
        self._core = core
        self._lock = Lock()
        self._num_advances = 0
        self._candidates = list(candidates)

    def ask(self, num_simulations: int) -> Leaves:
        """Sends `num_simulations` simulations down the tree; returns the children they ask for.

        A simulation that meets a node which may not have another child now, and has none to enter,
        waits for one that was asked for before; so there may be fewer rows than simulations.
        Subtrees in which nothing can be generated any more are not entered. O(children of the nodes
        on its path) for each simulation.

        Args:
            num_simulations: At least 1; at most 65,535 can be in flight.

        Raises:
            ValueError: `num_simulations` is below 1.
            SearchError: Too many simulations in flight, nothing can be generated anywhere
                (`is_exhausted`), or the nodes could take more than `max_nbytes`. Nothing is started
                then.
        """
        with self._lock:
            path = partial(self._leaf_path, self._num_advances)
            return Leaves(*self._core.ask(num_simulations), path)

    def tell(
        self,
        leaves: Leaves | ArrayLike,
        values: ArrayLike,
        *,
        candidates: Sequence[object] | None = None,
        terminal: ArrayLike | None = None,
        exhausted: ArrayLike | None = None,
    ) -> NDArray[np.int64]:
        """Tells what became of open leaves: any of them, in any order, in any number of calls.

        A value counts once for each simulation that waits for its leaf. The rows of one call are
        applied in the order in which they were asked for, whatever their own order. Leaves that
        `advance` has discarded are accepted and ignored.

        Args:
            leaves: What `ask` returned, or `[n]` ids out of it.
            values: `[n]`, the new children's, finite, at most 1e38 in magnitude; not read where
                exhausted. With a `Beta` prior in [0, 1] or the range of `normalize`.
            candidates: The n new children, any objects.
            terminal: `[n]` bool, whether nothing can follow the new child.
            exhausted: `[n]` bool, whether there is no new child, as the proposer has no further
                candidate: the simulations are taken back, and the parent is never asked again.

        Returns:
            `[n]` int64, the node that each row made; -1 where it made none.

        Raises:
            ValueError: A row is outside of its range, or columns differ in length.
            SearchError: An id is unknown, or its leaf is finished. Nothing of the call is applied
                then, nor where a ValueError is raised.
        """
        ids = _ids(leaves)
        if isinstance(candidates, str | bytes):
            raise TypeError("candidates must be a list, got one string")
        if candidates is not None and len(candidates) != len(ids):
            raise ValueError(
                f"candidates must be one for each id, got {len(candidates)} for {len(ids)}"
            )
        with self._lock:
            nodes = self._core.tell(
                ids,
                column("values", values, np.float32),
                terminal=None if terminal is None else column("terminal", terminal, np.bool_),
                exhausted=None if exhausted is None else column("exhausted", exhausted, np.bool_),
            )
            self._candidates.extend([None] * (self._core.num_nodes - len(self._candidates)))
            if candidates is not None:
                for node, candidate in zip(nodes.tolist(), candidates, strict=True):
                    if node >= 0:
                        self._candidates[node] = candidate
        return nodes

    def fail(self, leaves: Leaves | ArrayLike) -> None:
        """Takes simulations back: all is as if these leaves had never been asked for.

        Draws are too, so the next `ask` asks for the same ones unless something was told meanwhile.

        Args:
            leaves: What `ask` returned, or `[n]` ids out of it.

        Raises:
            ValueError: An id comes twice.
            SearchError: An id is unknown, or its leaf is finished; nothing is taken back then.
        """
        self._core.fail(_ids(leaves))

    def advance(self, node: int) -> NDArray[np.int64]:
        """Makes `node`, usually a child of the root, the root; frees everything not below it.

        Nodes below it keep their counts and get new ids in the old order, the root 0; nodes at the
        depth limit can grow again; open leaves below it stay open.

        Returns:
            `kept`, `[num_nodes]` int64: the old id of each node, in the order of the new ids. A
            column kept beside the tree follows by `column = column[kept]`.

        Raises:
            SearchError: There is no such node; nothing is changed then.
        """
        with self._lock:
            kept = self._core.advance(node)
            self._num_advances += 1
            self._candidates = [self._candidates[old] for old in kept.tolist()]
        return kept

    def nodes(self) -> Nodes:
        """All nodes, in the order of their ids. O(nodes)."""
        with self._lock:
            return Nodes(*self._core.nodes(), list(self._candidates))

    def children(self, node: int = 0) -> Nodes:
        """The children of `node`, the eldest first. O(children).

        Raises:
            SearchError: There is no such node.
        """
        with self._lock:
            columns = self._core.children(node)
            return Nodes(*columns, [self._candidates[child] for child in columns[0].tolist()])

    def arms(self, node: int = 0) -> Arms:
        """What the next simulation at `node` would decide by. O(children).

        Raises:
            SearchError: There is no such node.
        """
        is_fertile, max_children, nodes, *columns = self._core.arms(node)
        rows = zip(*(numbers.tolist() for numbers in columns), strict=True)
        generate, proceed, *children = (Arm(*row) for row in rows)
        named = dict(zip(nodes.tolist(), children, strict=True))
        return Arms(is_fertile, max_children, generate, proceed, named)

    def best(self, *, by: Literal["value", "visits"] = "value") -> int | None:
        """A node's id; None where nothing has a value. O(nodes) by value, O(depth * children) else.

        Args:
            by: `value`: the node with the highest own value, of equals the oldest. `visits`: the
                last node of `principal_variation`.

        Raises:
            ValueError: `by` is neither.
        """
        if by == "value":
            return self._core.best()
        if by != "visits":
            raise ValueError(f'by must be "value" or "visits", got "{by}"')
        nodes = self._core.principal_variation()
        return nodes[-1] if nodes else None

    def principal_variation(self) -> tuple[object, ...]:
        """The root's child with the most visits, its child likewise, and so on.

        Of equals the one with the highest mean, then the eldest. Candidates, or the nodes' ids
        where none were given.
        """
        with self._lock:
            return self._named(self._core.principal_variation())

    def path(self, node: int) -> tuple[object, ...]:
        """The candidates from below the root to `node`; ids where none were given. O(depth).

        Raises:
            SearchError: There is no such node.
        """
        with self._lock:
            return self._named(self._core.path(node))

    def candidate(self, node: int) -> object:
        """The object that was told with `node`; None where none was.

        Raises:
            SearchError: There is no such node.
        """
        with self._lock:
            self._core.path(node)
            return self._candidates[node]

    def to_bytes(self) -> bytes:
        """The tree and its configuration as bytes, with a version and a checksum.

        Simulations in flight are left out, as if taken back. Candidates are not in it: keep
        `nodes().candidates` in a form of your own.
        """
        return self._core.save()

    @classmethod
    def from_bytes(cls, data: bytes, *, candidates: Sequence[object] | None = None) -> Self:
        """The search that `to_bytes` wrote; it goes on as that one does without its open leaves.

        Args:
            data: What `to_bytes` returned. Nothing in it is executed.
            candidates: `[num_nodes]`, in the order of the ids.

        Raises:
            SearchError: The bytes are not those of a whole tree.
            ValueError: There is not one candidate for each node.
        """
        core = _core.AdaptiveSearch.load(data)
        given: Sequence[object] = [None] * core.num_nodes if candidates is None else candidates
        if len(given) != core.num_nodes:
            raise ValueError(
                f"candidates must be one for each of {core.num_nodes} nodes, got {len(given)}"
            )
        search = cls.__new__(cls)
        search._start(core, given)  # noqa: SLF001  # of its own class
        return search

    @property
    def policy(self) -> Literal["abmcts", "widening"]:
        """How it decides between another child and those it has."""
        return "abmcts" if self.arms().max_children is None else "widening"

    @property
    def num_simulations(self) -> int:
        """Simulations that were completed below the present root."""
        return self._core.num_simulations

    @property
    def in_flight(self) -> int:
        """Simulations that wait."""
        return self._core.in_flight

    @property
    def num_open(self) -> int:
        """Leaves that wait to be told of."""
        return self._core.num_open

    @property
    def num_nodes(self) -> int:
        """Nodes, the root included. Ids are 0 to one less."""
        return self._core.num_nodes

    @property
    def nbytes(self) -> int:
        """Bytes in use in the core; candidates, being Python objects, are not counted."""
        return self._core.nbytes

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing can be generated anywhere, so that `ask` would raise."""
        return self._core.is_exhausted

    def _leaf_path(self, num_advances: int, parent: int) -> tuple[object, ...]:
        with self._lock:
            since = self._num_advances - num_advances
            if since:
                raise SearchError(
                    f"leaves have paths until the search advances, it has advanced {since} times"
                )
            return self._named(self._core.path(parent))

    def _named(self, nodes: list[int]) -> tuple[object, ...]:
        given = ((node, self._candidates[node]) for node in nodes)
        return tuple(node if candidate is None else candidate for node, candidate in given)


def _ids(leaves: Leaves | ArrayLike) -> NDArray[np.int64]:
    return leaves.ids if isinstance(leaves, Leaves) else column("ids", leaves, np.int64)
