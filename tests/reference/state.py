"""What a search of the reference knows: what is in flight, and what it has found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reference.backup import Climb
from reference.model import Config, F, Path, Row
from reference.open_list import best_open
from reference.tree import Tree

if TYPE_CHECKING:
    from reference.plan import Plan

EdgeRow = tuple[int, int, int, int, str, bool, Path | None]
"""Completed visits, visits in flight, the bits of value and prior, the state, whether it is solved,
the node that it is merged with."""


class State(Tree):
    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.in_flight = 0
        self.parked: list[tuple[Path, int]] = []
        """Nodes whose simulations go on with the next ask, and how many."""
        self.held: list[Row] = []
        """What was told of a round that is still open."""
        self.decision: Plan | None = None

    @property
    def is_best_first(self) -> bool:
        return self.config.policy in ("best_first", "beam")

    @property
    def is_exhausted(self) -> bool:
        if self.is_finished or self.is_best_first:
            return self.is_finished
        edges = self.edges().values()
        is_settled = not self.parked and not any(edge.pending for edge in edges)
        return is_settled and not any(edge.state in ("fresh", "evaluated") for edge in edges)

    @property
    def is_finished(self) -> bool:
        """No further simulation can be made."""
        if self.is_best_first:
            return self.in_flight == 0 and best_open(self) is None
        return () in self.solved

    def open_leaves(self) -> list[Path]:
        """Asked for, and not told or failed."""
        edges = self.edges().items()
        return [path for path, edge in edges if edge.pending and not edge.is_held]

    def take_back(self, places: Sequence[tuple[Path, int]]) -> None:
        climb = Climb(self, undo=True)
        for path, times in places:
            climb.start(path, times, F(0))
            self.in_flight -= times
        climb.finish()

    # what it has found

    def best_action(self) -> int:
        if self.decision is not None:
            return self.decision.best_action()
        return self.best_edge(())

    def best_edge(self, node: Path) -> int:
        edges = self.nodes[node]

        def rank(action: int) -> tuple[float, float, int]:
            edge = edges[action]
            if self.is_best_first:
                return edge.done > 0, float(edge.value) if edge.done else 0.0, -action
            return edge.done, float(edge.value), -action

        best = max(range(len(edges)), key=rank)
        if self.config.solve:
            known = [it for it in range(len(edges)) if self.is_solved((*node, it))]
            proven = max(known, key=lambda it: (edges[it].value, -it), default=best)
            if edges[proven].value > edges[best].value:
                return proven
        return best

    def principal_variation(self) -> Path:
        path: Path = ()
        while path in self.nodes:
            action = self.best_edge(path) if path else self.best_action()
            if not self.nodes[path][action].done:
                break
            path = (*path, action)
        return path

    def is_decided(self, num_simulations: int) -> bool:
        if self.in_flight == 0 and (num_simulations == 0 or self.is_finished):
            return True
        edges = self.nodes[()]
        match self.config.policy:
            case "best_first" | "beam":
                return False
            case "gumbel":
                return min(len(edges), self.config.max_considered) == 1
        if self.config.solve:
            return False
        first, second = sorted([*(edge.done for edge in edges), 0], reverse=True)[:2]
        return len(edges) == 1 or first - second > num_simulations + self.in_flight

    def table(self) -> dict[Path, list[EdgeRow]]:
        """The edges of every node."""
        return {
            path: [self.row_of((*path, it)) for it in range(len(edges))]
            for path, edges in self.nodes.items()
        }

    def row_of(self, path: Path) -> EdgeRow:
        edge = self.edge(path)
        return (
            edge.done,
            edge.in_flight,
            bits(edge.value),
            bits(edge.prior),
            edge.state,
            self.config.solve and self.is_solved(path),
            edge.merged,
        )


def bits(value: np.float32) -> int:
    """Of one zero only."""
    return int((value + F(0)).view(np.uint32))
