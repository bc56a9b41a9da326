"""One run of `Search`: select, visit, read, tell, until the budget is spent; then commit."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from similar_fast.protocols import Environment, Proposer, Scorer
from similar_fast.scoring import score_scale
from similar_fast.search.cursor import BudgetSpentError, DivergedError, Path
from similar_fast.search.explored import Arrival, Explored, Node, Route
from similar_fast.search.growth import Found, Growth, Pick, plant
from similar_fast.search.screens import Screen, ScreenReader, with_picture
from similar_fast.search.settings import CancelledRunError, RunSettings, SearchProgress
from similar_fast.search.walkers import Walker, Walkers
from similar_fast.types import Observation, SearchResult

__all__ = ["Run"]

ROOT = 0


class Run:
    """One search of one (task, seed); its arguments are those of `Search`."""

    def __init__(
        self,
        settings: RunSettings,
        scorer: Scorer,
        proposer: Proposer | None,
        *,
        envs: Sequence[Environment],
        task: str,
        seed: int,
    ) -> None:
        self._settings = settings
        # Weights of the caller's own make totals of another scale.
        self._scale = score_scale(scorer) if settings.weights is None else None
        self._task = task
        self._seed = seed
        self._walkers = Walkers(envs, task, seed=seed, budget=settings.budget)
        self._reader = ScreenReader(proposer, scorer, seed=settings.seed, weights=settings.weights)
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
        self._stop = stop
        self._tell_progress = progress
        with self._walkers:
            root = self._read_root()
            growth, stopped_by = None, "no candidates"
            if root.screen.actions:
                growth = plant(self._settings, root.screen, self._scale)
                self._explored.nodes[ROOT] = root
                if self._settings.greedy_first:
                    self._walk_greedily(growth)
                growth.begin(self._likely_left(growth))
                stopped_by = self._simulate(growth)
            return self._finish(growth, root, stopped_by)

    def _read_root(self) -> Node:
        self._check_stop()
        walker = self._walkers.first
        observation = self._pictured(walker.cursor.start())
        self._reader.look(observation, (), walker.env)
        self._reader.read()
        screen = self._reader[observation.digest]
        return Node((), (), screen, frozenset((observation.digest,)))

    def _likely_left(self, growth: Growth) -> int:
        """Simulations that the budget will probably allow: a plan wants to know.

        A simulation sends at least one step, and on average about one more to get there.
        """
        left = self._settings.num_simulations - growth.num_simulations
        steps = self._walkers.budget.left
        return left if steps is None else min(left, max(1, steps // 2))

    def _walk_greedily(self, growth: Growth) -> None:
        """The best candidate of each screen, except those that lead nowhere, to the end."""
        node_id: int | None = ROOT
        while node_id is not None and (node := self._explored.nodes.get(node_id)):
            if len(node.path) >= self._settings.max_depth:
                return
            node_id = self._step_greedily(growth, node_id, node)

    def _step_greedily(self, growth: Growth, node_id: int, node: Node) -> int | None:
        """The node behind the best candidate that leads on; None where the walk is over.

        An action that leaves the screen as it was may have done what the screen does not show, such
        as the first of two clicks. These are held back, and the best of them is gone on from where
        no other candidate leads on.
        """
        held: list[Arrival] = []
        for edge in node.screen.best_first():
            arrival = self._visit_edge(growth, node_id, edge, pending=len(held))
            if arrival is None:
                self._tell(growth, held)
                return None
            if arrival.is_idle:
                held.append(arrival)
            elif arrival.is_done or not arrival.is_closed:
                return self._go_on(growth, arrival, held)
            else:
                self._tell(growth, [arrival])
                self._report_progress(growth)
        if not held:
            return None
        return self._go_on(growth, replace(held[0], is_closed=False), held[1:])

    def _visit_edge(
        self, growth: Growth, node_id: int, edge: int, *, pending: int
    ) -> Arrival | None:
        """What one edge leads to; None where the search is to stop, or the tree takes no choice."""
        if self._why_stop(growth, pending=pending):
            return None
        pick = growth.start_at(node_id, edge)
        if pick is None:
            return None
        arrival = self._visit(self._walkers.first, pick)
        if arrival is None:
            growth.give_back([pick])
        return arrival

    def _go_on(self, growth: Growth, arrival: Arrival, held: Sequence[Arrival]) -> int | None:
        """Tells what was found, and what was held back; the node to go on from, if one is left."""
        child = self._tell(growth, [arrival, *held])[0]
        self._report_progress(growth)
        if arrival.is_done:
            self._greedy_ending = arrival.path
            return None
        return child

    def _simulate(self, growth: Growth) -> str:
        """Batches of simulations, until something ends the search; returns what."""
        settings = self._settings
        while not (why := self._why_stop(growth)):
            left = settings.num_simulations - growth.num_simulations
            size = max(1, min(settings.max_batch_size, left, growth.num_simulations // 4))
            before = growth.num_simulations
            is_spent = self._simulate_batch(growth, size)
            self._report_progress(growth)
            if is_spent:
                return "budget"
            if growth.num_simulations == before:
                left = settings.num_simulations - before
                return growth.is_over(left, by_visits=False) or "exhausted"
        return why

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise CancelledRunError

    def _why_stop(self, growth: Growth, *, pending: int = 0) -> str | None:
        """What ends the search now; `pending` simulations were made and are not told yet."""
        self._check_stop()
        settings = self._settings
        left = settings.num_simulations - growth.num_simulations - pending
        if left <= 0:
            return "simulations"
        if settings.max_scorer_calls is not None and (
            self._reader.scorer_calls >= settings.max_scorer_calls
        ):
            return "scorer calls"
        seconds = time.perf_counter() - self._started
        if settings.max_seconds is not None and seconds >= settings.max_seconds:
            return "seconds"
        if settings.early_stop:
            return growth.is_over(left, by_visits=settings.commit == "visits")
        return None

    def _simulate_batch(self, growth: Growth, size: int) -> bool:
        """One batch of simulations; returns whether the budget is spent."""
        picks = growth.start(size)
        if not picks:
            return False
        paths = [self._explored.nodes[pick.parent_id].path for pick in picks]
        visited = self._walkers.visit_all(
            paths, lambda walker, index: self._visit(walker, picks[index])
        )
        arrivals = [arrival for arrival in visited if arrival is not None]
        missed = [pick for pick, arrival in zip(picks, visited, strict=True) if arrival is None]
        if missed:
            growth.give_back(missed)
        self._tell(growth, arrivals)
        return bool(missed)

    def _visit(self, walker: Walker, pick: Pick) -> Arrival | None:
        """Restores the screen behind an edge; None where the budget does not reach."""
        self._check_stop()
        parent = self._explored.nodes[pick.parent_id]
        action = parent.screen.actions[pick.edge]
        try:
            result = walker.cursor.step_from(parent.path, action)
        except BudgetSpentError:
            return None
        except DivergedError:
            return Arrival(pick, parent, None, is_done=False, is_closed=True)
        seen = self._pictured(result.observation)
        is_idle = (
            result.error is None
            and not result.is_done
            and seen.digest == parent.screen.observation.digest
        )
        is_closed = result.error is not None or seen.digest in parent.lineage
        arrival = Arrival(pick, parent, seen, result.is_done, is_closed, is_idle)
        if not (is_closed or result.is_done) and len(arrival.path) < self._settings.max_depth:
            self._reader.look(seen, arrival.path, walker.env)
        return arrival

    def _pictured(self, observation: Observation) -> Observation:
        """With the picture taken now, or with none: a later call would show another screen."""
        if self._settings.screenshots:
            return with_picture(observation)
        return replace(observation, screenshot=None)

    def _tell(self, growth: Growth, arrivals: Sequence[Arrival]) -> list[int]:
        """Scores the screens of `arrivals` in one call, tells the tree; returns the new nodes."""
        self._reader.read()
        found = [self._found(arrival) for arrival in arrivals]
        nodes = growth.tell(found)
        for arrival, it, node in zip(arrivals, found, nodes, strict=True):
            self._explored.arrivals[arrival.pick.parent_id, arrival.pick.edge] = arrival
            if it.screen is not None and node >= 0:
                lineage = arrival.parent.lineage | {it.screen.observation.digest}
                self._explored.nodes[node] = Node(arrival.path, arrival.scores, it.screen, lineage)
        return nodes

    def _found(self, arrival: Arrival) -> Found:
        screen = self._screen_of(arrival)
        digest = screen.observation.digest if screen else None
        return Found(
            arrival.pick,
            self._value_of(arrival, screen),
            is_end=screen is None,
            screen=screen,
            key=digest if screen and self._settings.merge and not arrival.is_idle else None,
        )

    def _screen_of(self, arrival: Arrival) -> Screen | None:
        """The screen to expand behind `arrival`; None where nothing can be done any more."""
        if arrival.is_closed or arrival.is_done or arrival.observation is None:
            return None
        if len(arrival.path) >= self._settings.max_depth:
            return None
        if arrival.is_idle:
            screen = arrival.parent.screen.without(arrival.pick.edge)
        else:
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

    def _best_route(self, growth: Growth) -> tuple[Route, Literal["ending", "visits"]]:
        """What to commit, and why: the best ending that was seen, else the most visited path."""
        endings = self._explored.endings()
        visited = self._most_visited(growth)
        if not endings:
            return visited, "visits"
        if self._settings.commit == "visits" and self._explored.is_ending(visited):
            return visited, "visits"
        best = max(endings, key=lambda e: (self._ending_value(e), -len(e.path)))
        return self._explored.route_to(best), "ending"

    def _most_visited(self, growth: Growth) -> Route:
        """The most visited edge of each screen, until nothing follows or a screen comes twice."""
        route: Route = ()
        node_id = ROOT
        while node_id >= 0 and all(node_id != seen for seen, _ in route):
            edges = growth.edges(node_id)
            visits = [
                0 if self._explored.is_closed(node_id, edge) else int(count)
                for edge, count in enumerate(edges.visits)
            ]
            edge = int(np.lexsort((edges.values, np.array(visits)))[-1])
            if visits[edge] == 0:
                break
            route = (*route, (node_id, edge))
            node_id = -1 if len(route) >= self._settings.max_depth else int(edges.nodes[edge])
        return route

    def _ending_value(self, ending: Arrival) -> float:
        totals = [score.total for score in ending.scores]
        value = totals[-1] if self._settings.ending_value == "last" else sum(totals) / len(totals)
        if ending.path == self._greedy_ending:
            low, high = self._reader.score_range
            value += self._settings.greedy_margin * (high - low)
        return value

    def _report_progress(self, growth: Growth) -> None:
        if self._tell_progress is None:
            return
        now = SearchProgress(
            num_simulations=growth.num_simulations,
            max_simulations=self._settings.num_simulations,
            env_steps=self._walkers.env_steps,
            budget=self._settings.budget,
            seconds=time.perf_counter() - self._started,
            best=self._explored.actions_along(self._best_route(growth)[0]),
        )
        self._tell_progress(now)

    def _finish(self, growth: Growth | None, root: Node, stopped_by: str) -> SearchResult:
        route, committed_by = ((), "visits") if growth is None else self._best_route(growth)
        actions = self._explored.actions_along(route)
        last = self._walkers.first.cursor.final_run(actions, before_step=self._check_stop)
        settings = self._settings
        return SearchResult(
            task=self._task,
            seed=self._seed,
            instruction=root.screen.observation.instruction,
            actions=actions,
            scores=self._explored.scores_along(route),
            success=last is not None and last.success,
            is_done=last is not None and last.is_done,
            policy=settings.chosen_policy,
            stopped_by=stopped_by,
            num_simulations=growth.num_simulations if growth is not None else 0,
            env_steps=self._walkers.env_steps,
            resets=self._walkers.resets,
            scorer_calls=self._reader.scorer_calls,
            scored_actions=self._reader.scored_actions,
            diverged=self._walkers.diverged,
            relaunches=self._walkers.relaunches,
            seconds=time.perf_counter() - self._started,
            nodes=self._explored.report(
                growth, root, route, greedy=self._greedy_ending, backup=settings.backup
            ),
            commit=settings.commit,
            committed_by=committed_by,
            ending_value=settings.ending_value,
            greedy_margin=settings.greedy_margin,
            score_range=self._reader.score_range,
        )
