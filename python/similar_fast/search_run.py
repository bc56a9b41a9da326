"""One run of `Search`: select, visit, read, tell, until the budget is spent; then commit."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from similar_fast.cursor import BudgetSpentError, Cursor, DivergedError, Path
from similar_fast.explored import Arrival, Explored, Node
from similar_fast.protocols import Environment, Proposer, Scorer
from similar_fast.scoring import score_scale
from similar_fast.screens import Screen, ScreenReader, priors_from_scores, with_picture
from similar_fast.tree_search import TreeSearch
from similar_fast.types import Observation, SearchResult

__all__ = ["CancelledRunError", "Run", "RunSettings", "SearchProgress"]


MAX_DEPTH = 65_535


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
        if self.max_depth >= MAX_DEPTH:
            raise ValueError(f"max_depth must be below {MAX_DEPTH}, got {self.max_depth}")
        for name in ("c_puct", "greedy_margin"):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be finite and at least 0, got {getattr(self, name)}")
        if not 0 < self.prior_temperature < inf:
            raise ValueError(
                f"prior_temperature must be finite and above 0, got {self.prior_temperature}"
            )
        for name, accepted in (
            ("policy", ("puct", "uct")),
            ("backup", ("mean", "max")),
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
        self._scale = score_scale(scorer)
        self._env = env
        self._task = task
        self._seed = seed
        self._cursor = Cursor(env, task, seed=seed, budget=settings.budget)
        self._reader = ScreenReader(env, proposer, scorer, seed=settings.seed)
        self._tree: TreeSearch | None = None
        self._explored = Explored()
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
        self._tell_progress = progress
        root = self._read_root()
        if root.screen.actions:
            self._tree = self._plant(root)
            if self._settings.greedy_first:
                self._walk_greedily(self._tree)
            self._simulate(self._tree)
        return self._finish(root)

    def _read_root(self) -> Node:
        observation = self._pictured(self._cursor.start())
        self._reader.look(observation, (), is_done=False)
        self._reader.read()
        screen = self._reader[observation.digest]
        return Node((), (), screen, frozenset((observation.digest,)))

    def _plant(self, root: Node) -> TreeSearch:
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
        self._explored.nodes[tree.root] = root
        return tree

    def _walk_greedily(self, tree: TreeSearch) -> None:
        """The best candidate of each screen, except those that lead nowhere, to the end."""
        node_id = tree.root
        while (node := self._explored.nodes.get(node_id)) and len(
            node.path
        ) < self._settings.max_depth:
            for edge in node.screen.best_first():
                if tree.num_simulations >= self._settings.num_simulations:
                    return
                leaf = int(tree.ask_edge(node_id, edge).ids[0])
                arrival = self._visit(leaf, node_id, edge)
                if arrival is None:
                    tree.fail([leaf])
                    return
                child = self._tell(tree, [arrival])[0]
                self._report_progress(tree)
                if arrival.is_done:
                    self._greedy_ending = arrival.path
                    return
                if not arrival.is_closed:
                    node_id = child
                    break
            else:
                return

    def _simulate(self, tree: TreeSearch) -> None:
        settings = self._settings
        while (left := settings.num_simulations - tree.num_simulations) > 0:
            size = max(1, min(settings.max_batch_size, left, tree.num_simulations // 4))
            is_spent = self._simulate_batch(tree, size)
            self._report_progress(tree)
            if is_spent:
                return

    def _simulate_batch(self, tree: TreeSearch, size: int) -> bool:
        """One batch of simulations; returns whether the budget is spent."""
        leaves = tree.ask(size)
        visits = sorted(
            zip(leaves.ids.tolist(), leaves.parents.tolist(), leaves.actions.tolist(), strict=True),
            key=lambda visit: tuple(str(a) for a in self._explored.nodes[visit[1]].path),
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

    def _visit(self, leaf: int, parent_id: int, edge: int) -> Arrival | None:
        """Restores the screen behind an edge; None where the budget does not reach."""
        if self._stop.is_set():
            raise CancelledRunError
        parent = self._explored.nodes[parent_id]
        action = parent.screen.actions[edge]
        try:
            result = self._cursor.step_from(parent.path, action)
        except BudgetSpentError:
            return None
        except DivergedError:
            return Arrival(leaf, parent_id, parent, edge, None, is_done=False, is_closed=True)
        seen = self._pictured(result.observation)
        is_closed = result.error is not None or seen.digest in parent.lineage
        arrival = Arrival(leaf, parent_id, parent, edge, seen, result.is_done, is_closed)
        if not (is_closed or result.is_done) and len(arrival.path) < self._settings.max_depth:
            self._reader.look(seen, arrival.path, is_done=False)
        return arrival

    def _pictured(self, observation: Observation) -> Observation:
        """With the picture taken now, or with none: a later call would show another screen."""
        if self._settings.screenshots:
            return with_picture(observation)
        return replace(observation, screenshot=None)

    def _tell(self, tree: TreeSearch, arrivals: Sequence[Arrival]) -> list[int]:
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
            self._explored.arrivals[arrival.parent_id, arrival.edge] = arrival
            if screen is not None:
                lineage = arrival.parent.lineage | {screen.observation.digest}
                self._explored.nodes[node] = Node(arrival.path, arrival.scores, screen, lineage)
        return nodes

    def _screen_of(self, arrival: Arrival) -> Screen | None:
        """The screen to expand behind `arrival`; None where nothing can be done any more."""
        if arrival.is_closed or arrival.is_done or arrival.observation is None:
            return None
        if len(arrival.path) >= self._settings.max_depth:
            return None
        screen = self._reader[arrival.observation.digest]
        return screen if screen.actions else None

    def _value_of(self, arrival: Arrival, screen: Screen | None) -> float:
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
        endings = self._explored.endings()
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
            node = self._explored.nodes[node_id]
            columns = tree.children(node_id)
            visits = [
                0 if self._explored.is_closed(node_id, edge) else int(count)
                for edge, count in enumerate(columns.visits)
            ]
            edge = int(np.lexsort((columns.values, np.array(visits)))[-1])
            if visits[edge] == 0:
                break
            path = (*node.path, node.screen.actions[edge])
            node_id = int(columns.nodes[edge])
        return path

    def _ending_value(self, ending: Arrival) -> float:
        totals = [score.total for score in ending.scores]
        value = totals[-1] if self._settings.ending_value == "last" else sum(totals) / len(totals)
        if ending.path == self._greedy_ending:
            value += self._settings.greedy_margin * (self._reader.highest - self._reader.lowest)
        return value

    def _report_progress(self, tree: TreeSearch) -> None:
        if self._tell_progress is None:
            return
        now = SearchProgress(
            num_simulations=tree.num_simulations,
            max_simulations=self._settings.num_simulations,
            env_steps=self._cursor.env_steps,
            budget=self._settings.budget,
            seconds=time.perf_counter() - self._started,
            best=self._best_path(tree),
        )
        self._tell_progress(now)

    def _finish(self, root: Node) -> SearchResult:
        tree = self._tree
        actions = self._best_path(tree) if tree is not None else ()
        last = self._cursor.final_run(actions)
        return SearchResult(
            task=self._task,
            seed=self._seed,
            instruction=root.screen.observation.instruction,
            actions=actions,
            scores=self._explored.scores_along(actions),
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
            nodes=self._explored.report(tree, root, actions, backup=self._settings.backup),
        )
