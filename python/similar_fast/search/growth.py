"""How the tree of one run grows: which edge is visited next, and what becomes of what was found.

Two trees can grow behind the same three calls. `TreeGrowth` knows every candidate of a screen from
the start (`TreeSearch`); `AdaptiveGrowth` takes up a screen's candidates one by one, the best
first, and weighs another one against going on below those it has (`AdaptiveSearch`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from similar_fast.errors import SearchError
from similar_fast.search.screens import Screen, priors_from_scores
from similar_fast.search.settings import RunSettings
from similar_fast.tree.adaptive import AdaptiveSearch
from similar_fast.tree.columns import EdgeState
from similar_fast.tree.search import TreeSearch

__all__ = ["AdaptiveGrowth", "Edges", "Found", "Growth", "Pick", "TreeGrowth", "plant"]


@dataclass(frozen=True, slots=True)
class Pick:
    """An edge that is to be visited.

    Attributes:
        leaf: By what the tree is told.
        parent_id: The node above.
        edge: The index of the action there.
    """

    leaf: int
    parent_id: int
    edge: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a visit found.

    Attributes:
        pick: Where.
        value: What its simulation sends up.
        is_end: Whether nothing follows.
        screen: What can be done there; None where nothing follows, or at the depth limit.
        key: What its state is known by; None where it is not to be merged.
    """

    pick: Pick
    value: float
    is_end: bool
    screen: Screen | None
    key: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """The edges of one node, in columns of n rows, one for each candidate of its screen.

    Attributes:
        visits: `[n]` int64, completed simulations.
        values: `[n]` float64 in the scorer's scale; the score where there are no visits.
        priors: `[n]` float64.
        nodes: `[n]` int64, the node behind, -1 where there is none.
        merged: `[n]` bool, whether that node hangs elsewhere.
        solved: `[n]` bool, whether every way on is known to its end.
    """

    visits: NDArray[np.int64]
    values: NDArray[np.float64]
    priors: NDArray[np.float64]
    nodes: NDArray[np.int64]
    merged: NDArray[np.bool_]
    solved: NDArray[np.bool_]


class Growth(Protocol):
    """A tree that a run grows; node 0 is the root."""

    @property
    def num_simulations(self) -> int:
        """Simulations completed."""
        ...

    def begin(self, num_simulations: int) -> None:
        """The greedy walk is over; so many simulations are left."""
        ...

    def start(self, num_simulations: int) -> list[Pick]:
        """The edges that the next simulations visit.

        None where all of them were completed on what is known, or no further one can be made.
        """
        ...

    def start_at(self, node: int, edge: int) -> Pick | None:
        """Visits an edge of the caller's choice; None where this tree takes none."""
        ...

    def tell(self, found: Sequence[Found]) -> list[int]:
        """Takes in what visits found; the node that each became, or -1."""
        ...

    def give_back(self, picks: Sequence[Pick]) -> None:
        """Takes simulations back whose edge could not be visited."""
        ...

    def is_over(self, num_simulations: int, *, by_visits: bool) -> str | None:
        """Why so many more simulations would change nothing; None where they may."""
        ...

    def edges(self, node: int) -> Edges:
        """The edges of a node."""
        ...


def plant(settings: RunSettings, root: Screen, scale: tuple[float, float] | None) -> Growth:
    """The tree that the settings ask for, over the first screen."""
    if settings.chosen_policy in ("abmcts", "widening"):
        return AdaptiveGrowth(settings, root, scale)
    return TreeGrowth(settings, root, scale)


class TreeGrowth:
    """A `TreeSearch` whose edges have their action's score as first value, and priors of it."""

    def __init__(
        self, settings: RunSettings, root: Screen, scale: tuple[float, float] | None
    ) -> None:
        self._temperature = settings.prior_temperature
        self._tree = TreeSearch(
            len(root.actions),
            priors=self._priors(root),
            first_values=root.scores.total,
            key=root.observation.digest if settings.merge else None,
            policy=settings.chosen_policy,
            num_simulations=settings.num_simulations,
            beam_width=settings.beam_width,
            backup=settings.backup,
            c_puct=settings.c_puct,
            max_depth=settings.max_depth,
            normalize=scale or "minmax",
            solve=settings.solve,
            max_nbytes=settings.max_nbytes,
        )

    @property
    def num_simulations(self) -> int:
        """Simulations completed."""
        return self._tree.num_simulations

    def begin(self, num_simulations: int) -> None:
        """Plans what is left, where the policy plans."""
        if self._tree.settings.policy == "gumbel" and num_simulations > 0:
            self._tree.plan(num_simulations)

    def start(self, num_simulations: int) -> list[Pick]:
        """One batch of simulations; those that end at a known leaf are completed already."""
        try:
            leaves = self._tree.ask(num_simulations)
        except SearchError:  # the root is solved, best-first search is through, or the tree is full
            return []
        rows = zip(
            leaves.ids.tolist(), leaves.parents.tolist(), leaves.actions.tolist(), strict=True
        )
        return [Pick(*row) for row in rows]

    def start_at(self, node: int, edge: int) -> Pick | None:
        """One simulation to an edge of the caller's choice."""
        leaves = self._tree.ask_edge(node, edge)
        return Pick(int(leaves.ids[0]), node, edge)

    def tell(self, found: Sequence[Found]) -> list[int]:
        """Values, and the candidates of every new screen with their scores."""
        screens = [it.screen for it in found]
        nodes: list[int] = self._tree.tell(
            [it.pick.leaf for it in found],
            [it.value for it in found],
            candidates=np.array([len(s.actions) if s else -1 for s in screens], dtype=np.int32),
            priors=[self._priors(s).tolist() if s else None for s in screens],
            first_values=[s.scores.total.tolist() if s else None for s in screens],
            terminal=[it.is_end for it in found],
            keys=[it.key for it in found],
        ).tolist()
        return nodes

    def give_back(self, picks: Sequence[Pick]) -> None:
        """As if they had never been asked for."""
        self._tree.fail([pick.leaf for pick in picks])

    def is_over(self, num_simulations: int, *, by_visits: bool) -> str | None:
        """Whether the tree is exhausted, or its most visited action cannot be overtaken."""
        if self._tree.is_exhausted:
            return "exhausted"
        if by_visits and self._tree.is_decided(num_simulations):
            return "decided"
        return None

    def edges(self, node: int) -> Edges:
        """The edges as the core has them."""
        columns = self._tree.children(node)
        return Edges(
            columns.visits,
            columns.values.astype(np.float64),
            columns.priors.astype(np.float64),
            columns.nodes,
            columns.states == EdgeState.MERGED,
            columns.solved,
        )

    def _priors(self, screen: Screen) -> NDArray[np.float64]:
        return priors_from_scores(screen.scores.total, temperature=self._temperature)


class AdaptiveGrowth:
    """An `AdaptiveSearch` in which a screen gives its candidates in the order of their scores."""

    def __init__(
        self, settings: RunSettings, root: Screen, scale: tuple[float, float] | None
    ) -> None:
        self._temperature = settings.prior_temperature
        self._tree = AdaptiveSearch(
            policy="abmcts" if settings.policy == "abmcts" else "widening",
            c_puct=settings.c_puct,
            seed=settings.seed,
            max_depth=settings.max_depth,
            normalize=scale or "minmax",
            max_nbytes=settings.max_nbytes,
        )
        self._screens = {0: root}
        self._waiting = {0: root.best_first()}
        self._behind: dict[tuple[int, int], int] = {}
        self._is_full = False

    @property
    def num_simulations(self) -> int:
        """Simulations completed."""
        return self._tree.num_simulations

    def begin(self, num_simulations: int) -> None:
        """Nothing is planned."""

    def start(self, num_simulations: int) -> list[Pick]:
        """One batch; screens that have no further candidate are told so, and asked no more."""
        picks: list[Pick] = []
        while not picks and not self._tree.is_exhausted:
            try:
                leaves = self._tree.ask(num_simulations)
            except SearchError:  # the nodes asked for could take more than `max_nbytes`
                self._is_full = True
                break
            rows = zip(leaves.ids.tolist(), leaves.parents.tolist(), strict=True)
            spent = []
            for leaf, parent in rows:
                waiting = self._waiting.get(parent)
                if waiting:
                    picks.append(Pick(leaf, parent, waiting.pop(0)))
                else:
                    spent.append(leaf)
            if spent:
                self._tree.tell(spent, [0.0] * len(spent), exhausted=[True] * len(spent))
        return picks

    def start_at(self, node: int, edge: int) -> Pick | None:  # noqa: ARG002 - as Growth has it
        """This tree goes where its own rule leads."""
        return None

    def tell(self, found: Sequence[Found]) -> list[int]:
        """Values; each new screen has all its candidates to give."""
        nodes: list[int] = self._tree.tell(
            [it.pick.leaf for it in found],
            [it.value for it in found],
            terminal=[it.is_end for it in found],
        ).tolist()
        for node, it in zip(nodes, found, strict=True):
            if node >= 0:
                self._behind[it.pick.parent_id, it.pick.edge] = node
                if it.screen is not None:
                    self._screens[node] = it.screen
                    self._waiting[node] = it.screen.best_first()
        return nodes

    def give_back(self, picks: Sequence[Pick]) -> None:
        """As if they had never been asked for; their candidates are the next ones again."""
        self._tree.fail([pick.leaf for pick in picks])
        for pick in reversed(picks):
            self._waiting[pick.parent_id].insert(0, pick.edge)

    def is_over(self, num_simulations: int, *, by_visits: bool) -> str | None:  # noqa: ARG002 - as above
        """Whether no screen has another candidate, or the memory is spent."""
        if self._is_full:
            return "memory"
        return "exhausted" if self._tree.is_exhausted else None

    def edges(self, node: int) -> Edges:
        """One row for each candidate of the screen, those that were not taken up included."""
        screen = self._screens[node]
        n = len(screen.actions)
        edges = Edges(
            np.zeros(n, np.int64),
            screen.scores.total.astype(np.float64),
            priors_from_scores(screen.scores.total, temperature=self._temperature),
            np.full(n, -1, np.int64),
            np.zeros(n, np.bool_),
            np.zeros(n, np.bool_),
        )
        children = self._tree.children(node)
        rows = dict(zip(children.nodes.tolist(), range(len(children)), strict=True))
        for edge in range(n):
            child = self._behind.get((node, edge))
            if child is None:
                continue
            row = rows[child]
            edges.visits[edge] = children.visits[row]
            edges.values[edge] = children.means[row]
            edges.solved[edge] = children.closed[row]
            if child in self._screens:
                edges.nodes[edge] = child
        return edges
