"""The nodes of the reference, and what edges were told."""

import math
from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np

from reference.model import Config, Edge, F, Path, Row, Told, stored_priors, weighted_sum

HEADER_WORDS = 3
PADDING_WORDS = 32
NODES_A_LANDMARK = 8


class Tree:
    """Nodes by path, in the order in which they were made, which is that of the core's ids."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.weights = config.weights
        """What holds for all rows; None where a gate's own do."""
        self.nodes: dict[Path, list[Edge]] = {}
        self.solved: set[Path] = set()
        self.keys: dict[int, Path] = {}
        self.low, self.high = F(np.inf), F(-np.inf)
        self.is_full = False

    def edge(self, path: Path) -> Edge:
        return self.nodes[path[:-1]][path[-1]]

    def edges(self) -> dict[Path, Edge]:
        return {
            (*path, action): edge
            for path, edges in self.nodes.items()
            for action, edge in enumerate(edges)
        }

    def is_solved(self, path: Path) -> bool:
        """Whether every way on behind an edge is known to its end."""
        return self.edge(path).state == "terminal" or path in self.solved

    # what was told

    @property
    def keeps_told(self) -> bool:
        return self.config.channels > 0 or self.config.backup in ("power_mean", "discounted")

    @property
    def width(self) -> int:
        """Numbers that are kept for an edge."""
        gate = 2 if self.config.is_gated else 1
        return max(1, self.config.channels) * gate if self.keeps_told else 0

    def told_of(self, row: Row) -> Told:
        if not self.config.channels:
            return [F(row.value)], None
        assert row.numbers is not None
        weights = None if row.weights is None else [F(weight) for weight in row.weights]
        return [F(number) for number in row.numbers], weights

    def scalar(self, told: Told) -> np.float32:
        """What a row of numbers is worth."""
        numbers, own = told
        if not self.config.channels:
            return numbers[0]
        weights = own if self.weights is None else [F(weight) for weight in self.weights]
        assert weights is not None
        return weighted_sum(numbers, weights)

    def kept(self, path: Path) -> float:
        """What an edge was told, as it is kept for backups."""
        told = self.edge(path).told
        assert told is not None
        return 0.0 + float(self.scalar(told))

    def first_rows(self, row: Row, count: int) -> list[Told | None]:
        """What the candidates of a row come with."""
        if row.first_values is None:
            return [None] * count
        width = max(1, self.config.channels)

        def each(column: Sequence[float]) -> list[list[np.float32]]:
            starts = range(0, count * width, width)
            return [[F(number) for number in column[start : start + width]] for start in starts]

        weights = None if row.first_weights is None else each(row.first_weights)
        return [
            (numbers, None if weights is None else weights[index])
            for index, numbers in enumerate(each(row.first_values))
        ]

    # growth

    def expand(self, path: Path, row: Row, value_above: np.float32) -> None:
        assert row.candidates
        rows = self.first_rows(row, row.candidates)
        fpu = value_above if self.config.fpu == "parent" else F(self.config.fpu)
        values = [fpu if told is None else self.scalar(told) for told in rows]
        if row.first_values is not None:
            for value in values:
                self.widen(value)
        priors = stored_priors(row.priors, row.candidates)
        told = rows if self.keeps_told else [None] * row.candidates
        self.nodes[path] = [
            Edge(prior, value, told=row)
            for prior, value, row in zip(priors, values, told, strict=True)
        ]
        if row.key:
            self.keys.setdefault(row.key, path)

    def widen(self, value: np.float32) -> None:
        self.low, self.high = min(self.low, value), max(self.high, value)

    def nbytes(self) -> int:
        """Bytes of the core's arena, landmarks and rows."""
        num_edges = sum(map(len, self.nodes.values()))
        words = PADDING_WORDS + HEADER_WORDS * len(self.nodes) + 4 * num_edges
        return 4 * (words + -(-len(self.nodes) // NODES_A_LANDMARK) + num_edges * self.width)

    def may_keep(self, count: int) -> bool:
        """Whether a node with so many edges fits; if not, the search is full from now on."""
        more = HEADER_WORDS + 4 * count + 1 + count * self.width
        limit = self.config.max_nbytes
        may_keep = limit is None or self.nbytes() + 4 * more <= limit
        self.is_full |= not may_keep
        return may_keep

    def value_of(self, path: Path) -> np.float32:
        """What a state that hangs elsewhere is worth now."""
        if path:
            return self.edge(path).value
        edges = self.nodes[()]
        visits = math.fsum(edge.done for edge in edges)
        products = (float(edge.done) * float(edge.value) for edge in edges)
        total = list(accumulate(chain([0.0], products)))[-1]
        return F(total / visits) if visits else F(0)
