"""Ask, tell, fail, advance: the calls of the reference, and what it has found."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from reference.backup import Climb, value_anew
from reference.model import MAX_VALUE, Asked, Config, F, Path, Refused, Row, Told
from reference.open_list import best_open, must_wait
from reference.plan import Plan
from reference.select import select
from reference.state import State
from reference.telling import Telling

Start = tuple[int, Path]
"""Where a simulation starts, after the place of this start among all."""


class Call:
    """What one call of `ask` or `ask_edge` has met, in this order."""

    def __init__(self) -> None:
        self.opened: list[Path] = []
        self.revisits: list[tuple[Path, int]] = []
        self.refused: list[tuple[Path, int]] = []


class ReferenceSearch(State):
    def __init__(self, config: Config, root: Row) -> None:
        super().__init__(config)
        self.num_opened = 0
        self.expand((), root, F(0.0))
        self.plan_anew()

    def plan(self, num_simulations: int, noise: Sequence[float] | None = None) -> None:
        self.decision = Plan(self, num_simulations, noise)

    def plan_anew(self) -> None:
        if self.config.policy == "gumbel":
            self.plan(self.config.num_simulations)

    # select

    def ask(self, num_simulations: int) -> Asked:
        if self.in_flight == 0 and self.is_finished:
            raise Refused
        if self.must_settle() or (() in self.solved and not self.parked):
            return Asked()
        call = Call()
        with np.errstate(all="ignore"):
            if self.is_best_first:
                self.send_best(num_simulations, call)
            else:
                self.send_down(num_simulations, call)
            return self.finish(call)

    def ask_edge(self, node: Path, action: int) -> Asked:
        path = (*node, action)
        if self.is_best_first and self.edge(path).state == "expanded":
            raise Refused
        if self.must_settle():
            return Asked()
        call = Call()
        with np.errstate(all="ignore"):
            self.send(path)
            self.go_down([(0, path)], call)
            return self.finish(call)

    def must_settle(self) -> bool:
        return self.config.deterministic and bool(self.open_leaves())

    def send(self, path: Path) -> None:
        """Counts a new simulation on every edge of a path."""
        self.in_flight += 1
        for length in range(len(path)):
            self.count(path[: length + 1])

    def count(self, path: Path) -> None:
        edge = self.edge(path)
        edge.visits += 1
        edge.in_flight += 1

    def send_best(self, num_simulations: int, call: Call) -> None:
        for _ in range(num_simulations):
            path = best_open(self)
            if path is None or must_wait(self, path):
                break
            self.send(path)
            self.arrive(path, call)

    def send_down(self, num_simulations: int, call: Call) -> None:
        starts: list[Start] = []
        left = num_simulations
        for origin, (path, waiting) in enumerate(self.parked):
            starts += [(origin, path)] * min(waiting, left)
            self.parked[origin] = (path, waiting - min(waiting, left))
            left -= min(waiting, left)
        last = len(self.parked)
        self.parked = [(path, waiting) for path, waiting in self.parked if waiting]
        starts += self.start_at_root(0 if () in self.solved else left, last)
        self.go_down(starts, call)

    def start_at_root(self, most: int, origin: int) -> list[Start]:
        plan = self.decision
        if plan is None:
            self.in_flight += most
            return [(origin, ())] * most
        if plan.room() == 0 and self.in_flight == 0:
            plan.begin_phase()
        chosen = plan.shares(min(most, plan.room()))
        self.in_flight += len(chosen)
        for action in chosen:
            self.count((action,))
        return [(origin, (action,)) for action in chosen]

    def go_down(self, starts: Sequence[Start], call: Call) -> None:
        """Level by level; on each from one start to the next, and then from left to right."""
        paths = sorted(starts)
        while paths:
            for (_, path), times in Counter(paths).items():
                if path not in self.nodes:
                    self.arrive(path, call, times)
            going = [(origin, path) for origin, path in paths if path in self.nodes]
            paths = []
            for origin, path in going:
                below = (*path, select(self, path))
                self.count(below)
                paths.append((origin, below))
            paths.sort()

    def arrive(self, path: Path, call: Call, times: int = 1) -> None:
        edge = self.edge(path)
        if edge.state in ("terminal", "depth_limit", "merged"):
            call.revisits.append((path, times))
            return
        if edge.state in ("fresh", "evaluated"):
            edge.state = {"fresh": "evaluating", "evaluated": "expanding"}[edge.state]
            call.opened.append(path)
        most = self.config.max_collisions
        waiting = times if most is None else min(times, most + 1 - edge.pending)
        edge.pending += waiting
        call.refused.append((path, times - waiting))

    def finish(self, call: Call) -> Asked:
        self.take_back(call.refused)
        asked = Asked()
        for path in call.opened:
            edge = self.edge(path)
            self.num_opened += 1
            edge.order = self.num_opened
            kind = "evaluate" if edge.state == "evaluating" else "expand"
            asked.leaves[path] = (kind, edge.pending)
        asked.num_completed = self.complete_revisits(call.revisits)
        return asked

    def complete_revisits(self, revisits: Sequence[tuple[Path, int]]) -> int:
        climb = Climb(self)
        for path, times in revisits:
            edge = self.edge(path)
            value = edge.value if edge.merged is None else self.value_of(edge.merged)
            climb.start(path, times, value)
            edge.value = value
        climb.finish()
        completed = sum(times for _, times in revisits)
        self.in_flight -= completed
        return completed

    # evaluate, expand, backup

    def tell(self, rows: Sequence[Row]) -> None:
        if not all(map(self.is_readable, rows)):
            raise Refused
        if self.config.deterministic:
            for row in rows:
                self.edge(row.path).is_held = True
            self.held += rows
            self.settle()
        else:
            self.apply(rows)

    def settle(self) -> None:
        """Applies what is held once no leaf is open, in the order in which leaves were opened."""
        if self.open_leaves() or not self.held:
            return
        rows = sorted(self.held, key=lambda row: self.edge(row.path).order)
        self.held = []
        for row in rows:
            self.edge(row.path).is_held = False
        unreadable = [row.path for row in rows if not self.is_readable(row)]
        self.reopen(unreadable)
        self.apply([row for row in rows if row.path not in unreadable])

    def is_readable(self, row: Row) -> bool:
        """Whether a row still makes sense; its key may have been known when it was told."""
        if self.keys.get(row.key):
            return True
        firsts = [told for told in self.first_rows(row, row.candidates or 0) if told]
        if self.edge(row.path).state == "expanding":
            return (row.ends or row.candidates is not None) and all(map(self.is_fine, firsts))
        told = self.told_of(row)
        return all(map(self.is_fine, [told, *firsts])) and self.scalar(told) >= self.least

    def is_fine(self, told: Told) -> bool:
        numbers = [*told[0], *(told[1] or []), self.scalar(told)]
        return all(abs(number) <= MAX_VALUE for number in numbers)

    @property
    def least(self) -> np.float32:
        return F(0) if self.config.backup == "power_mean" else -MAX_VALUE

    def apply(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.note(row)
        telling = Telling(self)
        for row in rows:
            telling.apply(row)
        telling.finish()

    def note(self, row: Row) -> None:
        """Keeps what a leaf was told; of a merged one, what the edge to its state was told."""
        edge = self.edge(row.path)
        if edge.state == "expanding" or not self.keeps_told:
            return
        state = self.keys.get(row.key)
        edge.told = self.edge(state).told if state else self.told_of(row)

    def fail(self, paths: Sequence[Path]) -> None:
        self.reopen(paths)
        self.settle()

    def reopen(self, paths: Sequence[Path]) -> None:
        """Makes leaves as if they had never been asked for."""
        places = []
        for path in paths:
            edge = self.edge(path)
            edge.state = {"evaluating": "fresh", "expanding": "evaluated"}[edge.state]
            places.append((path, edge.pending))
            edge.pending = 0
        self.take_back(places)

    # the rest

    def advance(self, action: int, row: Row | None = None) -> None:
        edge = self.nodes[()][action]
        if edge.state != "expanded":
            if row is None or edge.state == "terminal":
                raise Refused
            self.nodes, self.parked, self.held = {}, [], []
            self.solved, self.keys = set(), {}
            self.in_flight, self.is_full = 0, False
            self.expand((), row, edge.value)
            self.plan_anew()
            return
        self.keep(action)
        self.is_full = False
        self.plan_anew()
        self.settle()

    def keep(self, action: int) -> None:
        """Moves what lies below an action to the root; new ids are given level by level."""

        def is_kept(path: Path) -> bool:
            return path[:1] == (action,)

        order = sorted(filter(is_kept, self.nodes), key=lambda path: (len(path), path))
        self.nodes = {path[1:]: self.nodes[path] for path in order}
        self.solved = {path[1:] for path in filter(is_kept, self.solved)}
        self.keys = {key: path[1:] for key, path in self.keys.items() if is_kept(path)}
        self.parked = [(path[1:], n) for path, n in self.parked if is_kept(path)]
        self.held = [row for row in self.held if is_kept(row.path) and len(row.path) > 1]
        for row in self.held:
            row.path = row.path[1:]
        for edge in self.edges().values():
            if edge.state == "depth_limit":
                edge.state = "evaluated"
            if edge.merged is not None:
                is_open = not is_kept(edge.merged)
                edge.state = "evaluated" if is_open else "merged"
                edge.merged = None if is_open else edge.merged[1:]
        waiting = sum(n for path, n in self.parked if path == ())
        self.in_flight = waiting + sum(edge.in_flight for edge in self.nodes[()])

    def reweight(self, weights: tuple[float, ...] | None) -> None:
        before = self.weights
        self.weights = weights
        with np.errstate(all="ignore"):
            if not self.is_in_range():
                self.weights = before
                raise Refused
            value_anew(self)

    def is_in_range(self) -> bool:
        """Whether everything that is kept makes a value that could have been told."""
        told = [(edge.told, edge.done) for edge in self.edges().values() if edge.told]
        return all(
            abs(self.scalar(row)) <= MAX_VALUE and (not done or self.scalar(row) >= self.least)
            for row, done in told
        )

    def open_leaves(self) -> list[Path]:
        """Asked for, and not told or failed."""
        edges = self.edges().items()
        return [path for path, edge in edges if edge.pending and not edge.is_held]
