"""Evaluate, expand, merge: what callers found out about leaves goes into the tree."""

import numpy as np

from reference.backup import Climb, prove
from reference.model import Path, Row
from reference.state import State


class Telling:
    """The rows of one call, or of one round, on their way into the tree."""

    def __init__(self, search: State) -> None:
        self.search = search
        self.climb = Climb(search)
        self.refused: list[tuple[Path, int]] = []
        self.ended: list[Path] = []

    def finish(self) -> None:
        self.climb.finish()
        self.search.take_back(self.refused)
        prove(self.search, self.ended)

    def apply(self, row: Row) -> None:
        search, edge = self.search, self.search.edge(row.path)
        pending, edge.pending = edge.pending, 0
        if row.key in search.keys:
            self.merge(row.path, pending, search.keys[row.key])
        elif edge.state == "evaluating":
            self.evaluate(row, pending)
        else:
            self.unpark(row, pending)

    def merge(self, path: Path, pending: int, state: Path) -> None:
        edge, value = self.search.edge(path), self.search.value_of(state)
        self.complete_expanded(path, pending, value)
        edge.value, edge.state, edge.merged = value, "merged", state

    def evaluate(self, row: Row, pending: int) -> None:
        search, edge = self.search, self.search.edge(row.path)
        value = search.scalar(search.told_of(row))
        search.widen(value)
        self.complete(row.path, pending, value)
        if row.ends:
            self.end(row.path)
        elif len(row.path) >= search.config.max_depth:
            edge.state = "depth_limit"
        elif row.candidates is None:
            edge.state = "evaluated"
        elif search.may_keep(row.candidates):
            search.expand(row.path, row, edge.value)
            edge.state = "expanded"
        else:
            edge.state = "depth_limit"

    def unpark(self, row: Row, pending: int) -> None:
        """Takes the candidates of a leaf that has a value."""
        search, edge = self.search, self.search.edge(row.path)
        if not row.ends and row.candidates is not None and search.may_keep(row.candidates):
            search.expand(row.path, row, edge.value)
            edge.state = "expanded"
            if search.is_best_first:
                self.refused.append((row.path, pending))
            else:
                search.parked.append((row.path, pending))
            return
        value = edge.value
        if row.ends:
            self.end(row.path)
        else:
            edge.state = "depth_limit"
        self.complete_expanded(row.path, pending, value)

    def end(self, path: Path) -> None:
        self.search.edge(path).state = "terminal"
        self.ended.append(path[:-1])

    def complete(self, path: Path, pending: int, value: np.float32) -> None:
        self.climb.start(path, pending, value)
        self.search.in_flight -= pending

    def complete_expanded(self, path: Path, pending: int, value: np.float32) -> None:
        """As `complete`; in best-first search the question for candidates is no visit."""
        if self.search.edge(path).state != "evaluating" and self.search.is_best_first:
            self.refused.append((path, pending))
        else:
            self.complete(path, pending, value)
