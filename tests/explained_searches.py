"""Searches that the tests of explanations and exports look at."""

from collections.abc import Sequence

import numpy as np
from lock_env import LockEnv
from similar_fast.search.search import Search
from similar_fast.tree.adaptive import AdaptiveSearch
from similar_fast.tree.search import TreeSearch
from similar_fast.types import Scores, SearchResult, Step

POLICIES = ("puct", "uct", "gumbel", "best_first", "beam", "abmcts", "widening")
WEIGHTS = (3.0, 5.0, 5.0, 1.0, 1.0)


class DimensionScorer:
    """Five dimensions drawn from the step's words; the total is their sum by `WEIGHTS`."""

    def __init__(self) -> None:
        self.calls = 0

    def score(self, steps: Sequence[Step]) -> Scores:
        self.calls += 1
        dims = np.array([self._dims(step) for step in steps], dtype=np.float32)
        total = (dims.astype(np.float64) @ np.array(WEIGHTS)).astype(np.float32)
        return Scores(total, dims)

    @staticmethod
    def _dims(step: Step) -> list[float]:
        words = (step.observation + step.action).encode()
        seed = sum(place * byte for place, byte in enumerate(words, start=1))
        return np.random.default_rng(seed).random(5).round(3).tolist()


def searched(policy: str = "puct", **settings: object) -> SearchResult:
    chosen = {"num_simulations": 40, "max_depth": 4, **settings}
    search = Search(DimensionScorer(), policy=policy, **chosen)  # type: ignore[arg-type]
    return search.run(LockEnv(), "hard", seed=7)


def grown_tree(num_simulations: int = 40, *, depth: int = 3, **settings: object) -> TreeSearch:
    """A tree of letters, in which `b` is worth more than `a`, and the deeper the more."""
    search = TreeSearch(list("ab"), normalize=None, max_depth=depth, **settings)
    while search.num_simulations < num_simulations and not search.is_exhausted:
        leaves = search.ask(1)
        values = [path.count("b") / depth for path in leaves.paths()]
        search.tell(leaves, values, candidates=[list("ab")] * len(leaves))
    return search


def grown_channels(num_simulations: int = 30, **settings: object) -> TreeSearch:
    """A tree whose three candidates are told five dimensions."""
    rng = np.random.default_rng(0)
    search = TreeSearch(
        list("xyz"),
        first_values=rng.random((3, 5)),
        channels=5,
        weights=WEIGHTS,
        max_depth=2,
        **settings,
    )
    while search.num_simulations < num_simulations and not search.is_exhausted:
        leaves = search.ask(1)
        search.tell(
            leaves,
            rng.random((len(leaves), 5)),
            candidates=[list("xyz")] * len(leaves),
            first_values=[rng.random((3, 5)).tolist() for _ in range(len(leaves))],
        )
    return search


def grown_adaptive(num_simulations: int = 30, **settings: object) -> AdaptiveSearch:
    search = AdaptiveSearch("draft", seed=1, **settings)  # type: ignore[arg-type]
    while search.num_simulations < num_simulations:
        leaves = search.ask(1)
        names = [f"{'/'.join(map(str, path))}/{search.num_nodes}" for path in leaves.paths()]
        values = [(hash_of(name) % 997) / 997 for name in names]
        search.tell(leaves, values, candidates=names)
    return search


def hash_of(name: str) -> int:
    return sum(place * byte for place, byte in enumerate(name.encode(), start=1)) * 7919
