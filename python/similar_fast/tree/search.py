"""Tree search by ask and tell: batches of leaves out, values and candidates in.

The tree lives in the compiled core as numbers. Candidates, any objects, stay here, under the node's
id. A search reads no clock and draws no random number: the same calls give the same tree.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from similar_fast import _core
from similar_fast.errors import SearchError
from similar_fast.files.whole_file import write_whole
from similar_fast.ragged import (
    RaggedCandidates,
    RaggedFloats,
    StateKey,
    column,
    floats,
    ragged_candidates,
    ragged_floats,
    state_key,
    state_keys,
    table,
)
from similar_fast.tree.columns import Children, Leaves
from similar_fast.tree.objects import NodeObjects
from similar_fast.tree.settings import TreeSettings

__all__ = ["TreeSearch"]


class TreeSearch:
    """A search tree with open leaves. Any number of threads may use it.

    `ask` selects leaves; `tell` evaluates and expands them; every simulation ends with one value on
    all edges of its path. Simulations in flight count as visits and never as values. A leaf's first
    visit asks for a value. A later visit of a leaf without candidates asks for these
    (`wants_candidates`) and is parked; once they are told, the next `ask` takes it on from there.
    Giving candidates with the value saves that second question and costs a proposal for every leaf.

    Args:
        candidates: The root's candidates, 1 to 65,535: their number, or any objects.
        settings: How it decides; the defaults of `TreeSettings` where None.
        priors: `[candidates]`, at least 0, not all 0; made to sum to 1. Uniform where None.
        first_values: `[candidates]`, or `[candidates, channels]`, the values before a first visit,
            in the scorer's scale; `fpu` where None.
        first_weights: `[candidates, channels]`, the gate's weights of `first_values`; where a gate
            weighs them, and only then.
        key: What the root's state is known by, so that a leaf with the same key is merged with it.
        **changes: Settings by name, in place of those in `settings`.

    Raises:
        ValueError: An argument is outside of its range.
        TypeError: There is no such setting.

    Example:
        >>> search = TreeSearch(["left", "right"], normalize=None)
        >>> while search.num_simulations < 20:
        ...     leaves = search.ask(4)
        ...     values = [path.count("right") for path in leaves.paths()]
        ...     _ = search.tell(leaves, values, candidates=[["left", "right"]] * len(leaves))
        >>> search.principal_variation()[:3]
        ('right', 'right', 'right')

    Source:
        Each policy and each backup names its own; see `TreeSettings`.
    """

    def __init__(
        self,
        candidates: int | Sequence[object],
        settings: TreeSettings | None = None,
        *,
        priors: ArrayLike | None = None,
        first_values: ArrayLike | None = None,
        first_weights: ArrayLike | None = None,
        key: StateKey = None,
        **changes: Any,  # noqa: ANN401 - any setting
    ) -> None:
        self._settings = replace(settings or TreeSettings(), **changes)
        count, objects = _candidates_of(candidates)
        root = self._root(count, priors, first_values, first_weights, key)
        self._core = _core.TreeSearch(self._settings, root)
        self._lock = Lock()
        self._num_advances = 0
        self._objects = NodeObjects()
        self._objects.store(self._core.root, objects)

    def ask(self, num_simulations: int) -> Leaves:
        """Sends `num_simulations` simulations down the tree; returns the leaves they wait for.

        Simulations that were parked and whose candidates have been told go on first, and count.
        There may be fewer rows than simulations: a leaf that is open already gets more simulations
        and no new row; a revisit of a terminal or merged leaf, or of one at the depth limit, is
        completed at once with the leaf's value. Fewer simulations start, perhaps none, where a
        phase of `gumbel` or a level of `beam` must be told first, where more than `max_collisions`
        would meet, and in a deterministic search while any leaf is open.

        Args:
            num_simulations: At least 1; at most 65,535 can be in flight.

        Raises:
            ValueError: `num_simulations` is below 1.
            SearchError: Too many simulations in flight, the tree is full, the root is solved, or
                best-first search has visited everything (`is_exhausted`).
        """
        with self._lock:
            return Leaves(*self._core.ask(num_simulations), self._namer())

    def ask_edge(self, node: int, action: int) -> Leaves:
        """Sends one simulation to an edge of the caller's choice, and on below it if expanded.

        For callers who know where to look first, as along a greedy path. The edges above count it
        as if the search had come that way.

        Raises:
            ValueError: The node has no such action, or best-first search has been there.
            SearchError: There is no such node, or too many simulations are in flight.
        """
        with self._lock:
            return Leaves(*self._core.ask_edge(node, action), self._namer())

    def tell(
        self,
        leaves: Leaves | ArrayLike,
        values: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        candidates: RaggedCandidates | None = None,
        priors: RaggedFloats | None = None,
        first_values: RaggedFloats | None = None,
        first_weights: RaggedFloats | None = None,
        keys: Sequence[StateKey] | NDArray[np.integer[Any]] | None = None,
        terminal: ArrayLike | None = None,
    ) -> NDArray[np.int64]:
        """Tells what became of open leaves: any of them, in any order, in any number of calls.

        A value counts once for each simulation that waits for its leaf. Candidates are not kept of
        a leaf at the depth limit, nor where the memory is spent. A leaf with the key of a node is
        merged with it: it has that node's value, now and whenever it is visited again, and asks for
        nothing. Leaves that `advance` has discarded are accepted and ignored.

        Args:
            leaves: What `ask` returned, or `[n]` ids out of it.
            values: `[n]`, or `[n, channels]`, finite, at most 1e38 in magnitude; not read where a
                leaf wants its candidates, nor where `find` knows its key (except the root's).
            weights: `[n, channels]`, the gate's weights of `values`; where a gate weighs them, and
                only then.
            candidates: `[n]` counts as an integer array, -1 where not known yet; or a list with a
                list of any objects or None for each leaf. A leaf with 0 candidates is terminal.
            priors: Flat `[sum of counts]`, or a list with a list or None for each leaf.
            first_values: As `priors`; with channels `[sum of counts, channels]`, or a list.
            first_weights: As `first_values`; where a gate weighs them, and only then.
            keys: `[n]`, what the leaves' states are known by, such as the digests of their screens.
            terminal: `[n]` bool, whether the episode ends there.

        Returns:
            `[n]` int64, the node that a leaf became; -1 where it has no candidates, and in a
            deterministic search until the last open leaf is told.

        Raises:
            ValueError: A row is outside of its range, or columns differ in length.
            SearchError: An id is unknown, or its leaf is finished. Nothing of the call is applied
                then, nor where a ValueError is raised.
        """
        ids = _ids(leaves)
        width = self._settings.channels
        counts, objects = ragged_candidates(candidates)
        flat = table("values", values, width)
        assert flat is not None  # noqa: S101 - values are not None
        with self._lock:
            nodes = self._core.tell(
                ids,
                flat,
                weights=table("weights", weights, width),
                terminal=None if terminal is None else column("terminal", terminal, np.bool_),
                counts=counts,
                priors=ragged_floats("priors", priors, counts),
                first_values=ragged_floats("first_values", first_values, counts, width=width),
                first_weights=ragged_floats("first_weights", first_weights, counts, width=width),
                keys=None if keys is None else state_keys(keys),
            )
            if objects is not None:
                self._keep(ids, nodes, objects)
            self._settle()
        return nodes

    def _keep(
        self,
        ids: NDArray[np.int64],
        nodes: NDArray[np.int64],
        objects: Sequence[Sequence[object] | None],
    ) -> None:
        """Stores the candidates of new nodes, or holds them until their round is told."""
        made = np.flatnonzero(nodes >= 0)
        self._objects.store_all(nodes[made].tolist(), [objects[row] for row in made.tolist()])
        if self._settings.deterministic:
            for row in np.flatnonzero(nodes < 0).tolist():
                given = objects[row]
                if given is not None and len(given):
                    self._objects.hold(int(ids[row]), given)

    def _settle(self) -> None:
        """Stores the candidates of leaves that became nodes when their round was applied."""
        if self._settings.deterministic:
            is_round_open = self._core.num_open > 0
            self._objects.settle(self._core.settled(), is_round_open=is_round_open)

    def fail(self, leaves: Leaves | ArrayLike) -> None:
        """Takes simulations back: all counts are as if these leaves had never been asked for.

        Args:
            leaves: What `ask` returned, or `[n]` ids out of it.

        Raises:
            ValueError: An id comes twice.
            SearchError: An id is unknown, or its leaf is finished; nothing is taken back then.
        """
        with self._lock:
            self._core.fail(_ids(leaves))
            self._settle()

    def plan(self, num_simulations: int, *, gumbel: ArrayLike | None = None) -> None:
        """Begins a decision at the present root that will take `num_simulations` (policy `gumbel`).

        A new search has begun one with its setting and without noise, and so has one that advanced.
        Visits made before do not count, values do.

        Args:
            num_simulations: What the halving divides, at least 1.
            gumbel: `[candidates]`, the noise of the root's candidates, as `rng.gumbel(size=n)`
                draws it; None for none. Without noise the best candidates are tried, which suits a
                decision that is carried out; with it the choice is a sample, which suits training.

        Raises:
            ValueError: The policy is another one, or an argument is outside of its range.
        """
        self._core.plan(floats("gumbel", gumbel), num_simulations)

    def advance(
        self,
        action: int,
        *,
        candidates: int | Sequence[object] | None = None,
        priors: ArrayLike | None = None,
        first_values: ArrayLike | None = None,
        first_weights: ArrayLike | None = None,
        key: StateKey = None,
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
            first_weights: As in the constructor, with `candidates`.
            key: As in the constructor, with `candidates`.

        Returns:
            `kept`, `[num_nodes]` int64: the old id of each node, in the order of the new ids; empty
            where the child was not expanded, as the root is a new node then. In a deterministic
            search new nodes may follow, where this ends a round by discarding its last open leaf.

        Raises:
            ValueError: There is no such action, or the candidates are outside of their range.
            SearchError: The child is terminal, or not expanded and without candidates. In all cases
                nothing is changed.
        """
        count, objects = (None, None) if candidates is None else _candidates_of(candidates)
        root = None
        if count is not None:
            root = self._root(count, priors, first_values, first_weights, key)
        with self._lock:
            kept = self._core.advance(action, root)
            self._num_advances += 1
            self._objects.follow(kept.tolist())
            if not len(kept):
                self._objects.store(self._core.root, objects)
            self._settle()
        return kept

    def reweight(self, weights: ArrayLike | None) -> None:
        """Weighs the channels anew: every edge gets the value that these weights give it.

        Nothing is scored again; visits and priors stay, and what is told from now on is weighed in
        the same way. O(tree). Values agree with those of a search that had these weights from the
        start, along the same visits, to the rounding of float32.

        Args:
            weights: `[channels]`, finite; None goes back to the gate's own.

        Raises:
            ValueError: The search has no channels, or the weights do not fit them. Nothing is
                changed then.
        """
        given = floats("weights", weights)
        now = None if given is None else given.tolist()
        with self._lock:
            self._core.reweight(now)
            if not self._settings.is_gated:
                self._settings = replace(self._settings, weights=tuple(now or ()))

    def find(self, keys: Sequence[StateKey] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """The nodes whose states have these keys, `[n]` int64; -1 where none has.

        A leaf whose key is found needs neither a scorer nor candidates: `tell` merges it.
        """
        return self._core.find(state_keys(keys))

    def children(self, node: int | None = None) -> Children:
        """The edges of `node`, of the root where None.

        Raises:
            SearchError: There is no such node.
        """
        with self._lock:
            node = self._core.root if node is None else node
            return Children(node, *self._core.edges(node), self._objects.of(node))

    def told(self, node: int | None = None) -> NDArray[np.float32]:
        """What the edges of `node`, of the root where None, were told by channel.

        Returns:
            `[n, channels]` float32; the first values before a first visit, NaN where there are
            none.

        Raises:
            SearchError: There is no such node.
        """
        with self._lock:
            node = self._core.root if node is None else node
            return self._core.told(node).reshape(-1, max(1, self._settings.channels))

    def best_action(self) -> int:
        """What the search would do now: an index of the root's candidates. Good at any time.

        `puct` and `uct` take the most completed visits, then the highest value, then the lowest
        index; `gumbel` of the most visited candidates the greatest `g + ln(prior) + sigma(q)`;
        `best_first` and `beam` the visited candidate of the highest value. Where the search solves,
        an action is taken instead whose exact value is above that of the most visited one.
        """
        return self._core.best_action()

    def is_decided(self, num_simulations: int) -> bool:
        """Whether `num_simulations` more could not change `best_action`; then a search can stop."""
        return self._core.is_decided(num_simulations)

    def principal_variation(self) -> tuple[object, ...]:
        """The best action at the root, at the node behind it, and so on while there are visits.

        Candidates, or their indices where none were given; each chosen as in `best_action`.
        """
        with self._lock:
            return self._objects.named(*self._core.principal_variation())

    def path(self, node: int, *, action: int | None = None) -> tuple[object, ...]:
        """The candidates from the root to `node`, and on by `action` where given; O(depth).

        Indices stand where only the number of candidates was given.

        Raises:
            SearchError: There is no such node.
            ValueError: It has no such action.
        """
        with self._lock:
            if action is not None:
                count = len(self._core.edges(node)[0])
                if not 0 <= action < count:
                    raise ValueError(
                        f"action must be an index of the node's candidates, got {action} of {count}"
                    )
            return self._path(node, action)

    def save(
        self,
        file: str | os.PathLike[str],
        *,
        encode: Callable[[Sequence[object]], object] = list,
    ) -> None:
        """Writes the search to a file, in the middle of a batch if need be; see `load`.

        The file is versioned and checksummed, holds no pickle, and is there as a whole or not at
        all.

        Args:
            file: Where to.
            encode: Makes of one node's candidates what JSON can hold. JSON has no tuples: with the
                default a candidate that is one comes back as a list.

        Raises:
            TypeError: What `encode` made is not JSON.
            OSError: The file cannot be written.
        """
        with self._lock:
            objects = self._objects.to_json(encode, self._settings.to_dict())
            data = self._core.save(objects)
        write_whole(file, data)

    @classmethod
    def load(
        cls,
        file: str | os.PathLike[str],
        *,
        decode: Callable[[Any], Sequence[object]] = list,
    ) -> Self:
        """A search that `save` wrote, on any machine. Open leaves are open under the same ids.

        Args:
            file: Where from.
            decode: Makes of what `encode` made one node's candidates again.

        Raises:
            SearchError: The file was cut or altered, or is not a saved search of this version.
            OSError: The file cannot be read.
        """
        core, extra = _core.TreeSearch.load(Path(file).read_bytes())
        objects, settings = NodeObjects.from_json(extra, decode)
        search = cls(1)
        search._core = core
        search._settings = TreeSettings.from_dict(settings)
        search._objects = objects
        return search

    @property
    def settings(self) -> TreeSettings:
        """How it decides now."""
        return self._settings

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing is left to ask for, now or later.

        Every edge has been visited and leads to an end, to a limit or to a state that is explored
        elsewhere; or the root is solved; or `best_first` or `beam` has visited every edge that it
        may. The other policies still complete simulations then, on what is known, unless the root
        is solved.
        """
        return self._core.is_exhausted

    @property
    def is_full(self) -> bool:
        """Whether candidates were not kept, because `max_nbytes` left no room for them."""
        return self._core.is_full

    @property
    def num_open(self) -> int:
        """Leaves that are open: asked for, and not told or failed."""
        return self._core.num_open

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

    def _root(
        self,
        count: int,
        priors: ArrayLike | None,
        first_values: ArrayLike | None,
        first_weights: ArrayLike | None,
        key: StateKey,
    ) -> tuple[Any, ...]:
        """The candidates of a root as the core takes them."""
        width = self._settings.channels
        return (
            count,
            floats("priors", priors),
            table("first_values", first_values, width),
            table("first_weights", first_weights, width),
            state_key(key),
        )

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
        return self._objects.named(nodes, actions)


def _candidates_of(candidates: int | Sequence[object]) -> tuple[int, Sequence[object] | None]:
    if isinstance(candidates, str | bytes):
        raise TypeError("candidates must be a number or a list, got one string")
    if isinstance(candidates, Sequence):
        return len(candidates), candidates
    return int(candidates), None


def _ids(leaves: Leaves | ArrayLike) -> NDArray[np.int64]:
    return leaves.ids if isinstance(leaves, Leaves) else column("ids", leaves, np.int64)
