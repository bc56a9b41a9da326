"""The adaptive search in plain Python: slow, one descent after another, sums as lists of values.

Numbers are Python floats. Nodes are addressed by their id, the order in which they were told.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


@dataclass
class Config:
    policy: str = "gaussian"
    parameters: Sequence[float] = (0.0, 1.0, 1.0, 0.1)
    seed: int = 0
    max_depth: int = 64
    normalize: Any = "minmax"


# Draws: outputs of SplitMix64, addressed by their place.


def output(seed: int, index: int) -> int:
    mixed = (seed + (index + 1) * GAMMA) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
    return mixed ^ (mixed >> 31)


def uniform(seed: int, index: int) -> float:
    return ((output(seed, index) >> 12) + 0.5) / 2**52


def ln_gamma_draw(shape: float, seed: int) -> float:
    if shape < 1:
        return ln_gamma_draw(shape + 1, seed) + math.log(uniform(seed, 0)) / shape
    d = shape - 1 / 3
    c = 1 / math.sqrt(9 * d)
    index = 1
    while True:
        u, w, accept = (uniform(seed, index + step) for step in range(3))
        x = math.sqrt(-2 * math.log(u)) * math.cos(math.tau * w)
        v = (1 + c * x) ** 3
        if v > 0 and math.log(accept) < 0.5 * x * x + d - d * v + d * math.log(v):
            return math.log(d * v)
        index += 3


@dataclass
class Node:
    parent: int
    depth: int
    value: float | None = None
    own: int = 0
    children: list[int] = field(default_factory=list)
    tickets: list[int] = field(default_factory=list)  # open; the first gets the next that waits
    in_flight: int = 0
    terminal: bool = False
    exhausted: bool = False


class ReferenceAdaptive:
    """Leaves are addressed by the number of leaves that were asked for before."""

    def __init__(self, config: Config, root_value: float | None = None) -> None:
        self.config = config
        self.nodes = [Node(-1, 0, root_value, int(root_value is not None))]
        self.seen = [] if root_value is None else [root_value]
        self.parents: dict[int, int] = {}
        self.waiting: dict[int, int] = {}
        self.num_asked = 0

    # what is known

    def below(self, node: int) -> list[int]:
        """The node and everything under it."""
        found = [node]
        for child in self.nodes[node].children:
            found += self.below(child)
        return found

    def values(self, nodes: list[int]) -> list[float]:
        """Normalised values, each as often as simulations waited for it."""
        return [
            q
            for node in nodes
            for q in [self.normalised(self.nodes[node].value or 0.0)] * self.nodes[node].own
        ]

    def normalised(self, value: float) -> float:
        match self.config.normalize:
            case None:
                return value
            case "minmax":
                low, high = min(self.seen), max(self.seen)
            case (low, high):
                low, high = float(np.float32(low)), float(np.float32(high))
        return (value - low) / (high - low) if high > low else 0.0

    def visits(self, node: int) -> int:
        """Completed and in flight."""
        completed = sum(self.nodes[below].own for below in self.below(node))
        return completed + self.nodes[node].in_flight

    def is_fertile(self, node: Node) -> bool:
        return not node.terminal and not node.exhausted and node.depth < self.config.max_depth

    def is_closed(self, index: int) -> bool:
        node = self.nodes[index]
        grows = self.is_fertile(node) or node.tickets
        return not grows and all(self.is_closed(child) for child in node.children)

    # select

    def ask(self, num_simulations: int) -> list[tuple[int, int, int]]:
        """(leaf, parent, multiplicity) of the leaves that were opened, in the order of parents."""
        opened: list[int] = []  # parents
        tickets: list[int] = []
        for _ in range(num_simulations):
            node, path = 0, [0]
            while (child := self.choose(node)) is not None:
                node = child
                path.append(node)
            if self.generates(node):
                ticket = -len(opened) - 1
                opened.append(node)
                tickets.append(ticket)
                self.nodes[node].tickets.append(ticket)
                self.waiting[ticket] = 1
            else:
                ticket = self.nodes[node].tickets.pop(0)
                self.nodes[node].tickets.append(ticket)
                self.waiting[ticket] += 1
            for passed in path:
                self.nodes[passed].in_flight += 1
        return self.enumerate(sorted(zip(opened, tickets, strict=True), key=lambda row: row[0]))

    def enumerate(self, rows: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """Gives leaves their numbers, once their order is known."""
        numbers = {}
        for parent, ticket in rows:
            leaf = self.num_asked
            self.num_asked += 1
            numbers[ticket] = leaf
            self.parents[leaf] = parent
            self.waiting[leaf] = self.waiting.pop(ticket)
        for parent, _ in rows:
            node = self.nodes[parent]
            node.tickets = [numbers.get(ticket, ticket) for ticket in node.tickets]
        return [(leaf, self.parents[leaf], self.waiting[leaf]) for leaf in numbers.values()]

    def open_children(self, node: int) -> list[int]:
        return [child for child in self.nodes[node].children if not self.is_closed(child)]

    def choose(self, index: int) -> int | None:
        """The child that is entered, or None where the simulation ends."""
        children = self.open_children(index)
        if not children or self.generates(index):
            return None
        if self.config.policy in {"uct", "puct"}:
            scores = [self.score(index, child) for child in children]
        else:
            draws = self.draws(index)
            scores = [
                self.draw(self.below(child), self.nodes[child].in_flight, output(draws, 2 + child))
                for child in children
            ]
        return children[scores.index(max(scores))]

    def generates(self, index: int) -> bool:
        node = self.nodes[index]
        if not self.is_fertile(node):
            return False
        has_open = bool(self.open_children(index))
        if self.config.policy in {"uct", "puct"}:
            k, alpha, _ = self.config.parameters
            most = max(1, math.ceil(k * self.visits(index) ** alpha - 1e-9))
            is_idle = not has_open and not node.tickets
            return is_idle or len(node.children) + len(node.tickets) < most
        if not has_open:
            return True
        deeper = [n for child in node.children for n in self.below(child)[1:]]
        flying = len(node.tickets)
        draws = self.draws(index)
        generate = self.draw(node.children, flying, output(draws, 0))
        proceed = self.draw(deeper, node.in_flight - flying, output(draws, 1))
        return generate >= proceed

    def draws(self, index: int) -> int:
        return output(output(self.config.seed, index), self.visits(index))

    def score(self, index: int, child: int) -> float:
        c = self.config.parameters[2]
        values = self.values(self.below(child))
        q = sum(values) / len(values)
        visits, n = self.visits(index), self.visits(child)
        if self.config.policy == "uct":
            return q + c * math.sqrt(math.log(visits)) * (1 / math.sqrt(n))
        return q + c * math.sqrt(visits) / len(self.nodes[index].children) * (1 / (1 + n))

    def draw(self, nodes: list[int], in_flight: int, seed: int) -> float:
        """A draw of the mean of these nodes' values; of Beta its logit."""
        values = self.values(nodes)
        n, x = len(values), sum(values) / max(1, len(values))
        if self.config.policy == "beta":
            a, b = self.config.parameters
            a, b = a + n * x, b + n * (1 - x)
            factor = 1 + in_flight / (a + b)
            first, second = output(seed, 0), output(seed, 1)
            return ln_gamma_draw(a * factor, first) - ln_gamma_draw(b * factor, second)
        m, kappa, nu, tau_square = self.config.parameters
        deviations = sum((value - x) ** 2 for value in values)
        squares = nu * tau_square + deviations + n * kappa * (m - x) ** 2 / (kappa + n)
        mean = (kappa * m + n * x) / (kappa + n)
        kappa, nu = kappa + n + in_flight, nu + n + in_flight
        radius = math.sqrt(nu * math.expm1(-2 / nu * math.log(uniform(seed, 0))))
        t = radius * math.cos(math.tau * uniform(seed, 1))
        return mean + math.sqrt(squares / (nu * kappa)) * t

    # expand and backup

    def tell(self, rows: Sequence[tuple[int, float | None, bool]]) -> None:
        """(leaf, value or None where exhausted, terminal); applied in the order of asking."""
        for leaf, value, terminal in sorted(rows, key=lambda row: row[0]):
            parent, own = self.parents[leaf], self.waiting[leaf]
            self.fail([leaf])
            if value is None:
                self.nodes[parent].exhausted = True
                continue
            depth = self.nodes[parent].depth + 1
            self.nodes[parent].children.append(len(self.nodes))
            self.nodes.append(Node(parent, depth, value, own, terminal=terminal))
            self.seen.append(value)

    def fail(self, leaves: Sequence[int]) -> None:
        for leaf in leaves:
            node = self.parents.pop(leaf)
            visits = self.waiting.pop(leaf)
            self.nodes[node].tickets.remove(leaf)
            while node >= 0:
                self.nodes[node].in_flight -= visits
                node = self.nodes[node].parent

    def advance(self, root: int) -> None:
        kept = sorted(self.below(root))
        moved = {old: new for new, old in enumerate(kept)}
        depth = self.nodes[root].depth
        self.nodes = [self.nodes[old] for old in kept]
        for node in self.nodes:
            node.parent = moved.get(node.parent, -1)
            node.depth -= depth
            node.children = [moved[child] for child in node.children]
        self.parents = {
            leaf: moved[parent] for leaf, parent in self.parents.items() if parent in moved
        }
        self.waiting = {leaf: self.waiting[leaf] for leaf in self.parents}
