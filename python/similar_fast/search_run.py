"""One run of `Search`: select, visit, read, tell, until the budget is spent; then commit."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from similar_fast.cursor import BudgetSpentError, Cursor, DivergedError, Path
from similar_fast.protocols import Environment, Proposer, Scorer
from similar_fast.screens import Screen, ScreenReader, TakenScreenshot, priors_from_scores
from similar_fast.tree_search import TreeSearch
from similar_fast.types import Observation, Score, SearchResult, SearchTreeNode

__all__ = ["CancelledRunError", "Run", "RunSettings", "SearchProgress"]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What `Search` was made with; its docstring tells what each one means."""

    num_simulations: int
    max_batch_size: int
    seed: int
    budget: int | None
    max_depth: int
    policy: Literal["puct", "uct"]
    c_puct: float
    backup: Literal["mean", "max"]
    backup_value: Literal["edge", "screen", "mix"]
    prior_temperature: float
    greedy_first: bool
    greedy_margin: float
    ending_value: Literal["last", "mean"]
    commit: Literal["ending", "visits"]
    screenshots: bool

    def __post_init__(self) -> None:
        for name in ("num_simulations", "max_batch_size", "max_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.budget is not None and self.budget < 0:
            raise ValueError(f"budget must not be negative, got {self.budget}")
        if not self.prior_temperature > 0:
            raise ValueError(f"prior_temperature must be above 0, got {self.prior_temperature}")
        for name, accepted in (
            ("backup_value", ("edge", "screen", "mix")),
            ("ending_value", ("last", "mean")),
            ("commit", ("ending", "visits")),
        ):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be one of {accepted}, got {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How far a search is.

    Attributes:
        num_simulations: Simulations completed.
        max_simulations: Simulations at most.
        env_steps: Environment steps sent.
        budget: Environment steps at most, or None.
        seconds: Wall time since the search began.
        best: The actions it would commit now.
    """

    num_simulations: int
    max_simulations: int
    env_steps: int
    budget: int | None
    seconds: float
    best: Path


@dataclass(frozen=True, slots=True)
class _Node:
    """An expanded screen of the tree, and how it was reached."""

    path: Path
    scores: tuple[Score, ...]
    screen: Screen
    lineage: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A leaf that was visited: the screen behind it, or why it leads nowhere.

    `is_closed`: the action could not be carried out, led back to a screen of its own path, or its
    replay diverged.
    """

    leaf: int
    parent_id: int
    parent: _Node
    edge: int
    observation: Observation | None
    is_done: bool
    is_closed: bool

    @property
    def path(self) -> Path:
        return (*self.parent.path, self.parent.screen.actions[self.edge])

    @property
    def scores(self) -> tuple[Score, ...]:
        return (*self.parent.scores, self.parent.screen.scores[self.edge])


class CancelledRunError(Exception):
    """The caller asked the run to stop; raised before the next step is sent."""


class Run:
    """One search of one (task, seed); its arguments are those of `Search`."""

    def __init__(
        self,
        settings: RunSettings,
        scorer: Scorer,
        proposer: Proposer | None,
        *,
        env: Environment,
        task: str,
        seed: int,
    ) -> None:
        self._settings = settings
        self._scale: tuple[float, float] | None = getattr(scorer, "scale", None)
        self._env = env
        self._task = task
        self._seed = seed
        self._cursor = Cursor(env, task, seed=seed, budget=settings.budget)
        self._reader = ScreenReader(
            env, proposer, scorer, seed=settings.seed, screenshots=settings.screenshots
        )
        self._tree: TreeSearch | None = None
        self._nodes: dict[int, _Node] = {}
        self._arrivals: dict[tuple[int, int], _Arrival] = {}
        self._greedy_ending: Path | None = None

    def execute(
        self, *, progress: Callable[[SearchProgress], None] | None, stop: threading.Event
    ) -> SearchResult:
        """Searches, commits, and runs the committed actions once on a fresh reset.

        Raises:
            CancelledRunError: `stop` was set before the search was through.
        """
        self._started = time.perf_counter()
        self._relaunches = self._env.relaunches
        self._stop = stop
        root = self._read_root()
        if root.screen.actions:
            self._tree = self._plant(root)
            if self._settings.greedy_first:
                self._walk_greedily(self._tree)
            self._simulate(self._tree, progress)
        return self._finish(root)

    def _read_root(self) -> _Node:
        observation = self._cursor.start()
        self._reader.look(observation, (), is_done=False)
        self._reader.read()
        screen = self._reader[observation.digest]
        return _Node((), (), screen, frozenset((observation.digest,)))

    def _plant(self, root: _Node) -> TreeSearch:
        settings = self._settings
        tree = TreeSearch(
            len(root.screen.actions),
            priors=self._priors(root.screen),
            first_values=root.screen.scores.total,
            policy=settings.policy,
            backup=settings.backup,
            c_puct=settings.c_puct,
            max_depth=settings.max_depth,
            normalize=self._scale or "minmax",
        )
        self._nodes[tree.root] = root
        return tree

    def _walk_greedily(self, tree: TreeSearch) -> None:
        """The best candidate of each screen, except those that lead nowhere, to the end."""
        node_id = tree.root
        while (node := self._nodes.get(node_id)) and len(node.path) < self._settings.max_depth:
            order = sorted(
                range(len(node.screen.actions)), key=lambda i: -node.screen.scores.total[i]
            )
            for edge in order:
                leaf = int(tree.ask_edge(node_id, edge).ids[0])
                arrival = self._visit(leaf, node_id, edge)
                if arrival is None:
                    tree.fail([leaf])
                    return
                child = self._tell(tree, [arrival])[0]
                if arrival.is_done:
                    self._greedy_ending = arrival.path
                    return
                if not arrival.is_closed:
                    node_id = child
                    break
            else:
                return

    def _simulate(
        self, tree: TreeSearch, progress: Callable[[SearchProgress], None] | None
    ) -> None:
        settings = self._settings
        while (left := settings.num_simulations - tree.num_simulations) > 0:
            size = max(1, min(settings.max_batch_size, left, tree.num_simulations // 4))
            is_spent = self._simulate_batch(tree, size)
            if progress is not None:
                progress(self._progress(tree))
            if is_spent:
                return

    def _simulate_batch(self, tree: TreeSearch, size: int) -> bool:
        """One batch of simulations; returns whether the budget is spent."""
        leaves = tree.ask(size)
        visits = sorted(
            zip(leaves.ids.tolist(), leaves.parents.tolist(), leaves.actions.tolist(), strict=True),
            key=lambda visit: tuple(str(a) for a in self._nodes[visit[1]].path),
        )
        arrivals = []
        is_spent = False
        for leaf, parent_id, edge in visits:
            arrival = None if is_spent else self._visit(leaf, parent_id, edge)
            if arrival is None:
                is_spent = True
                tree.fail([leaf])
            else:
                arrivals.append(arrival)
        self._tell(tree, arrivals)
        return is_spent

    def _visit(self, leaf: int, parent_id: int, edge: int) -> _Arrival | None:
        """Restores the screen behind an edge; None where the budget does not reach."""
        if self._stop.is_set():
            raise CancelledRunError
        parent = self._nodes[parent_id]
        action = parent.screen.actions[edge]
        try:
            result = self._cursor.step_from(parent.path, action)
        except BudgetSpentError:
            return None
        except DivergedError:
            return _Arrival(leaf, parent_id, parent, edge, None, is_done=False, is_closed=True)
        seen = result.observation
        is_closed = result.error is not None or seen.digest in parent.lineage
        arrival = _Arrival(leaf, parent_id, parent, edge, seen, result.is_done, is_closed)
        if not (is_closed or result.is_done) and len(arrival.path) < self._settings.max_depth:
            self._reader.look(seen, arrival.path, is_done=False)
        return arrival

    def _tell(self, tree: TreeSearch, arrivals: Sequence[_Arrival]) -> list[int]:
        """Scores the screens of `arrivals` in one call, tells the tree; returns the new nodes."""
        self._reader.read()
        screens = [self._screen_of(arrival) for arrival in arrivals]
        nodes: list[int] = tree.tell(
            [arrival.leaf for arrival in arrivals],
            [self._value_of(a, s) for a, s in zip(arrivals, screens, strict=True)],
            candidates=np.array([len(s.actions) if s else -1 for s in screens], dtype=np.int32),
            priors=[self._priors(s).tolist() if s else None for s in screens],
            first_values=[s.scores.total.tolist() if s else None for s in screens],
            terminal=[
                a.is_closed or a.is_done or (s is None and len(a.path) < self._settings.max_depth)
                for a, s in zip(arrivals, screens, strict=True)
            ],
        ).tolist()
        for arrival, screen, node in zip(arrivals, screens, nodes, strict=True):
            self._arrivals[arrival.parent_id, arrival.edge] = arrival
            if screen is not None:
                lineage = arrival.parent.lineage | {screen.observation.digest}
                self._nodes[node] = _Node(arrival.path, arrival.scores, screen, lineage)
        return nodes

    def _screen_of(self, arrival: _Arrival) -> Screen | None:
        """The screen to expand behind `arrival`; None where nothing can be done any more."""
        if arrival.is_closed or arrival.is_done or arrival.observation is None:
            return None
        if len(arrival.path) >= self._settings.max_depth:
            return None
        screen = self._reader[arrival.observation.digest]
        return screen if screen.actions else None

    def _value_of(self, arrival: _Arrival, screen: Screen | None) -> float:
        """What a simulation sends up: by `backup_value`; the worst seen for a step to nowhere."""
        if arrival.is_closed:
            return self._reader.lowest
        own = arrival.scores[-1].total
        if screen is None or self._settings.backup_value == "edge":
            return own
        if self._settings.backup_value == "screen":
            return screen.best
        return (own + screen.best) / 2

    def _priors(self, screen: Screen) -> NDArray[np.float64]:
        return priors_from_scores(screen.scores.total, temperature=self._settings.prior_temperature)

    def _best_path(self, tree: TreeSearch) -> Path:
        """The actions to commit: the best ending that was seen, else the most visited path."""
        endings = [arrival for arrival in self._arrivals.values() if arrival.is_done]
        visited = self._most_visited(tree)
        if not endings or (
            self._settings.commit == "visits" and any(e.path == visited for e in endings)
        ):
            return visited
        return max(endings, key=lambda e: (self._ending_value(e), -len(e.path))).path

    def _most_visited(self, tree: TreeSearch) -> Path:
        path: Path = ()
        node_id = tree.root
        while node_id >= 0:
            node = self._nodes[node_id]
            columns = tree.children(node_id)
            edge = int(np.lexsort((columns.values, columns.visits))[-1])
            if columns.visits[edge] == 0:
                break
            path = (*node.path, node.screen.actions[edge])
            node_id = int(columns.nodes[edge])
        return path

    def _ending_value(self, ending: _Arrival) -> float:
        totals = [score.total for score in ending.scores]
        value = totals[-1] if self._settings.ending_value == "last" else sum(totals) / len(totals)
        if ending.path == self._greedy_ending:
            value += self._settings.greedy_margin * (self._reader.highest - self._reader.lowest)
        return value

    def _progress(self, tree: TreeSearch) -> SearchProgress:
        return SearchProgress(
            num_simulations=tree.num_simulations,
            max_simulations=self._settings.num_simulations,
            env_steps=self._cursor.env_steps,
            budget=self._settings.budget,
            seconds=time.perf_counter() - self._started,
            best=self._best_path(tree),
        )

    def _finish(self, root: _Node) -> SearchResult:
        tree = self._tree
        actions = self._best_path(tree) if tree is not None else ()
        last = self._cursor.final_run(actions)
        return SearchResult(
            task=self._task,
            seed=self._seed,
            instruction=root.screen.observation.instruction,
            actions=actions,
            scores=self._scores_along(actions),
            success=last is not None and last.success,
            is_done=last is not None and last.is_done,
            num_simulations=tree.num_simulations if tree is not None else 0,
            env_steps=self._cursor.env_steps,
            resets=self._cursor.resets,
            scorer_calls=self._reader.scorer_calls,
            scored_actions=self._reader.scored_actions,
            diverged=self._cursor.diverged,
            relaunches=self._env.relaunches - self._relaunches,
            seconds=time.perf_counter() - self._started,
            nodes=self._report(root, actions),
        )

    def _scores_along(self, actions: Path) -> tuple[Score, ...]:
        """The score of each action on its own screen."""
        by_path = {node.path: node for node in self._nodes.values()}
        scores = []
        for depth, action in enumerate(actions):
            screen = by_path[actions[:depth]].screen
            scores.append(screen.scores[screen.actions.index(action)])
        return tuple(scores)

    def _report(self, root: _Node, chosen: Path) -> tuple[SearchTreeNode, ...]:
        """The whole tree in breadth-first order, edges that were never visited included."""
        seen = root.screen.observation
        rows = [SearchTreeNode(0, -1, "", 0, 0.0, 1.0, None, seen.text, screenshot=_picture(seen))]
        if self._tree is None:
            return tuple(rows)
        waiting = deque([(self._tree.root, 0)])
        while waiting:
            node_id, row_id = waiting.popleft()
            node = self._nodes[node_id]
            columns = self._tree.children(node_id)
            for edge, action in enumerate(node.screen.actions):
                path = (*node.path, action)
                arrival = self._arrivals.get((node_id, edge))
                reached = arrival.observation if arrival is not None else None
                rows.append(
                    SearchTreeNode(
                        id=len(rows),
                        parent=row_id,
                        action=str(action),
                        visits=int(columns.visits[edge]),
                        value=float(columns.values[edge]),
                        prior=float(columns.priors[edge]),
                        score=node.screen.scores[edge],
                        text=reached.text if reached is not None else "",
                        is_done=arrival is not None and arrival.is_done,
                        is_chosen=path == chosen[: len(path)],
                        screenshot=_picture(reached),
                    )
                )
                if (child := int(columns.nodes[edge])) >= 0:
                    waiting.append((child, rows[-1].id))
        root_edges = self._tree.children()
        visits = int(root_edges.visits.sum())
        value = float(root_edges.visits @ root_edges.values) / visits if visits else 0.0
        rows[0] = replace(rows[0], visits=visits, value=value, is_chosen=True)
        return tuple(rows)


def _picture(observation: Observation | None) -> bytes | None:
    """The picture that was taken when the screen was read, if one was."""
    if observation is None or not isinstance(observation.screenshot, TakenScreenshot):
        return None
    return observation.screenshot.png
