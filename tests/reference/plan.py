"""Gumbel with sequential halving: how one decision's simulations are spent at the root."""

import math
from collections.abc import Sequence

from reference.model import Edge, F
from reference.select import logit, normalized, scale, sigma
from reference.tree import Tree


class Plan:
    """One decision at the present root."""

    def __init__(
        self, tree: Tree, num_simulations: int, noise: Sequence[float] | None = None
    ) -> None:
        self.tree = tree
        edges = self.edges
        self.noise = [0.0] * len(edges) if noise is None else [float(F(g)) for g in noise]
        self.before = [edge.visits for edge in edges]
        self.considered: list[int] = []
        self.quota = 0
        self.num_simulations = num_simulations
        self.most = min(len(edges), tree.config.max_considered)
        self.phases = max(1, math.ceil(math.log2(self.most)))

    @property
    def edges(self) -> list[Edge]:
        return self.tree.nodes[()]

    def since(self, action: int) -> int:
        """Visits since the plan, those in flight included."""
        return max(0, self.edges[action].visits - self.before[action])

    def room(self) -> int:
        """What is left of the phase."""
        return sum(max(0, self.quota - self.since(action)) for action in self.considered)

    def begin_phase(self) -> None:
        keep = max(2, len(self.considered) // 2) if self.considered else self.most
        scores = self.scores()
        ranked = self.considered or range(len(self.edges))
        self.considered = sorted(ranked, key=lambda action: (-scores[action], action))[:keep]
        share = self.num_simulations // (self.phases * len(self.considered))
        least = min(map(self.since, self.considered))
        self.quota = max(self.quota, least) + max(1, share)

    def scores(self) -> list[float]:
        """`g + ln(p) + sigma(q)` of the root's candidates."""
        by, weight = scale(self.tree), sigma(self.tree, self.edges)
        return [
            noise + logit(edge.prior, normalized(edge.value, by), weight)
            for noise, edge in zip(self.noise, self.edges, strict=True)
        ]

    def shares(self, times: int) -> list[int]:
        """The candidate of each of so many visits: the least visited, then the best."""
        since = {action: self.since(action) for action in self.considered}
        chosen = []
        for _ in range(times):
            least = min(since, key=since.__getitem__)
            since[least] += 1
            chosen.append(least)
        return chosen

    def best_action(self) -> int:
        scores = self.scores()

        def rank(action: int) -> tuple[int, float, int]:
            done = max(0, self.edges[action].done - self.before[action])
            return done, scores[action], -action

        return max(range(len(self.edges)), key=rank)
