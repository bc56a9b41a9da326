"""The tree search in plain Python: slow, one descent after another, the same rules to the bit.

What the core keeps in `f32` is `np.float32` here, what it sums in `f64` is a Python float. Nodes
and leaves are addressed by their path, a tuple of action indices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

F = np.float32
Path = tuple[int, ...]


@dataclass
class Config:
    policy: str = "puct"
    backup: str = "mean"
    c_puct: float = 1.25
    max_depth: int = 64
    fpu: float | Literal["parent"] = 0.0
    normalize: Any = "minmax"


@dataclass
class Edge:
    prior: np.float32
    value: np.float32
    visits: int = 0
    in_flight: int = 0
    state: str = "fresh"
    pending: int = 0


@dataclass
class Row:
    """What is told of one leaf."""

    path: Path
    value: float = 0.0
    terminal: bool = False
    candidates: int | None = None
    priors: Sequence[float] | None = None
    first_values: Sequence[float] | None = None


@dataclass
class Asked:
    leaves: dict[Path, tuple[str, int]] = field(default_factory=dict)
    num_completed: int = 0


def stored_prior(prior: float) -> np.float32:
    """A probability rounded to 11 bits behind the leading one, ties to even; at least 2^-31."""
    if prior < 2.0**-31:
        return F(2.0**-31)
    fraction, exponent = math.frexp(prior)
    return F(math.ldexp(round(fraction * 4096), exponent - 12))


class ReferenceSearch:
    def __init__(self, config: Config, root: Row) -> None:
        self.config = config
        self.nodes: dict[Path, list[Edge]] = {}
        self.parked: list[tuple[Path, int]] = []
        self.low, self.high = F(np.inf), F(-np.inf)
        self.expand((), root, F(0.0))

    def expand(self, path: Path, row: Row, parent_value: np.float32) -> None:
        assert row.candidates
        given = row.priors or [1.0] * row.candidates
        total = sum(float(F(p)) for p in given)
        priors = [stored_prior(float(F(float(F(p)) / total))) for p in given]
        if row.first_values is not None:
            values = [F(v) for v in row.first_values]
            for value in values:
                self.widen(value)
        else:
            fpu = parent_value if self.config.fpu == "parent" else F(self.config.fpu)
            values = [fpu] * row.candidates
        self.nodes[path] = [Edge(p, v) for p, v in zip(priors, values, strict=True)]

    def widen(self, value: np.float32) -> None:
        self.low, self.high = min(self.low, value), max(self.high, value)

    # select

    def scale(self) -> tuple[np.float32, np.float32]:
        match self.config.normalize:
            case None:
                return F(0), F(1)
            case "minmax":
                low, high = self.low, self.high
            case (low, high):
                low, high = F(low), F(high)
        if not high > low:
            return F(0), F(0)
        with np.errstate(over="ignore"):
            inverse = F(1) / (high - low)
        return (low, inverse) if np.isfinite(inverse) else (F(0), F(0))

    def best(self, edges: list[Edge]) -> int:
        low, inverse = self.scale()
        c = F(self.config.c_puct)
        visits = 1 + sum(edge.visits for edge in edges)
        scores = []
        if self.config.policy == "puct":
            bonus = c * np.sqrt(F(visits))
            for edge in edges:
                q = (edge.value - low) * inverse
                scores.append(q + bonus * edge.prior / (F(1) + F(edge.visits)))
        elif any(edge.visits == 0 for edge in edges):
            scores = [edge.prior if edge.visits == 0 else F(-np.inf) for edge in edges]
        else:
            log = F(math.log(visits))
            for edge in edges:
                q = (edge.value - low) * inverse
                scores.append(q + c * np.sqrt(log / F(edge.visits)))
        return scores.index(max(scores))

    def descend(self, start: Path) -> tuple[Path, int]:
        """One visit from a node on; the leaf's path and the steps taken."""
        path, steps = start, 0
        while True:
            action = self.best(self.nodes[path])
            edge = self.nodes[path][action]
            edge.visits += 1
            edge.in_flight += 1
            path, steps = (*path, action), steps + 1
            if edge.state != "expanded":
                return path, steps

    def ask(self, num_simulations: int) -> Asked:
        starts: list[Path] = []
        while self.parked and len(starts) < num_simulations:
            path, waiting = self.parked.pop(0)
            taken = min(waiting, num_simulations - len(starts))
            starts += [path] * taken
            if waiting > taken:
                self.parked.insert(0, (path, waiting - taken))
        order = {path: index for index, path in enumerate(dict.fromkeys(starts))}
        resumed = len(starts)
        starts += [()] * (num_simulations - resumed)

        with np.errstate(over="ignore"):
            return self.ask_from(starts, resumed, order)

    def ask_from(self, starts: list[Path], resumed: int, order: dict[Path, int]) -> Asked:
        asked = Asked()
        revisits: dict[tuple[int, int, Path], int] = {}
        for index, start in enumerate(starts):
            path, steps = self.descend(start)
            if self.edge(path).state in ("terminal", "depth_limit"):
                origin = order[start] if index < resumed else len(order)
                key = (steps, origin, path)
                revisits[key] = revisits.get(key, 0) + 1
            else:
                self.wait(path, asked)
        for path, (kind, _) in asked.leaves.items():
            asked.leaves[path] = (kind, self.edge(path).pending)
        # Level by level, then by where the simulation came from, then from left to right.
        done = [
            (path, times, self.edge(path).value) for (_, _, path), times in sorted(revisits.items())
        ]
        asked.num_completed = sum(times for _, times, _ in done)
        self.backup(done)
        return asked

    def wait(self, path: Path, asked: Asked) -> None:
        """One more simulation waits for a leaf."""
        edge = self.edge(path)
        match edge.state:
            case "fresh":
                edge.state = "evaluating"
                asked.leaves[path] = ("evaluate", 0)
            case "evaluated":
                edge.state = "expanding"
                asked.leaves[path] = ("expand", 0)
        edge.pending += 1

    def ask_edge(self, node: Path, action: int) -> Asked:
        path = (*node, action)
        for length in range(len(path)):
            edge = self.edge(path[: length + 1])
            edge.visits += 1
            edge.in_flight += 1
        asked = Asked()
        with np.errstate(over="ignore"):
            if self.edge(path).state == "expanded":
                path, _ = self.descend(path)
            if self.edge(path).state in ("terminal", "depth_limit"):
                self.backup([(path, 1, self.edge(path).value)])
                asked.num_completed = 1
            else:
                self.wait(path, asked)
        asked.leaves = {path: (kind, 1) for path, (kind, _) in asked.leaves.items()}
        return asked

    # evaluate, expand, backup

    def tell(self, rows: Sequence[Row]) -> None:
        climb = Climb(self, undo=False)
        for row in rows:
            edge = self.edge(row.path)
            kind, pending, edge.pending = edge.state, edge.pending, 0
            is_terminal = row.terminal or row.candidates == 0
            if kind == "expanding" and not is_terminal:
                self.expand(row.path, row, edge.value)
                edge.state = "expanded"
                self.parked.append((row.path, pending))
                continue
            value = edge.value if kind == "expanding" else F(row.value)
            if kind == "evaluating":
                self.widen(value)
            climb.start(row.path, pending, value)
            if is_terminal:
                edge.state = "terminal"
            elif len(row.path) >= self.config.max_depth:
                edge.state = "depth_limit"
            elif row.candidates is None:
                edge.state = "evaluated"
            else:
                self.expand(row.path, row, edge.value)
                edge.state = "expanded"
        climb.finish()

    def fail(self, paths: Sequence[Path]) -> None:
        climb = Climb(self, undo=True)
        for path in paths:
            edge = self.edge(path)
            pending, edge.pending = edge.pending, 0
            edge.state = {"evaluating": "fresh", "expanding": "evaluated"}[edge.state]
            climb.start(path, pending, F(0))
        climb.finish()

    def backup(self, done: Sequence[tuple[Path, int, np.float32]]) -> None:
        climb = Climb(self, undo=False)
        for path, visits, value in done:
            climb.start(path, visits, value)
        climb.finish()

    def advance(self, action: int, row: Row | None = None) -> None:
        edge = self.nodes[()][action]
        if edge.state != "expanded":
            assert row is not None
            self.nodes, self.parked = {}, []
            self.expand((), row, edge.value)
            return
        self.nodes = {
            path[1:]: edges for path, edges in self.nodes.items() if path[:1] == (action,)
        }
        self.parked = [(path[1:], n) for path, n in self.parked if path[:1] == (action,)]
        for edges in self.nodes.values():
            for kept in edges:
                if kept.state == "depth_limit":
                    kept.state = "evaluated"

    def edge(self, path: Path) -> Edge:
        return self.nodes[path[:-1]][path[-1]]

    def open_leaves(self) -> list[Path]:
        return [
            (*path, action)
            for path, edges in self.nodes.items()
            for action, edge in enumerate(edges)
            if edge.pending
        ]

    def table(self) -> dict[Path, list[tuple[int, int, int, int, str]]]:
        """For each node: completed visits, visits in flight, bits of value and prior, state."""
        return {
            path: [
                (
                    edge.visits - edge.in_flight,
                    edge.in_flight,
                    int(edge.value.view(np.uint32)),
                    int(edge.prior.view(np.uint32)),
                    edge.state,
                )
                for edge in edges
            ]
            for path, edges in self.nodes.items()
        }


class Climb:
    """Changes on their way up: a level at a time, deepest first, nodes in the order of loading."""

    def __init__(self, search: ReferenceSearch, *, undo: bool) -> None:
        self.search = search
        self.undo = undo
        self.is_max = search.config.backup == "max"
        self.levels: dict[int, dict[Path, tuple[int, float]]] = {}

    def start(self, path: Path, visits: int, value: np.float32) -> None:
        self.change(path, visits, float(value) if self.is_max else float(value) * visits)

    def change(self, path: Path, visits: int, value: float) -> None:
        edge = self.search.edge(path)
        done = edge.visits - edge.in_flight
        edge.in_flight -= visits
        if self.undo:
            edge.visits -= visits
        elif self.is_max:
            edge.value = max(edge.value, F(value)) if done else F(value)
        else:
            edge.value = F((float(edge.value) * done + value) / (done + visits))
        node = path[:-1]
        level = self.levels.setdefault(len(node), {})
        if node not in level:
            level[node] = (visits, value)
            return
        loaded, total = level[node]
        level[node] = (loaded + visits, max(total, value) if self.is_max else total + value)

    def finish(self) -> None:
        for depth in range(max(self.levels, default=0), 0, -1):
            for node, (visits, value) in self.levels.get(depth, {}).items():
                self.change(node, visits, value)
