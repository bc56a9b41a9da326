"""similar-fast from Python, with numpy columns.

One tree is asked for a quarter of its simulations so far, at most 256, as `Search` does (with 256
from the start, the first ones would all wait for the same few leaves); of several, each is asked
for 8 and all leaves are evaluated together. Batches are selected with simulations in flight, so the
tree is not that of one simulation at a time; all but a few in a thousand make a leaf of their own.
Values and priors are float32; uniform priors are given for every node, as a policy's would be.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from similar_fast import TreeSearch
from work import MAX_DEPTH, ROOT, exploration, extend_all, value_all

PACKAGES = ("similar-fast", "numpy")
BATCH_OF_MANY = 8

Priors = NDArray[np.float32]


def searcher(trees: int, branching: int, num_simulations: int) -> Callable[[], object]:
    """What runs whole searches; see `worker.py`."""
    uniform = np.full(branching, 1 / branching, np.float32)

    def run() -> list[TreeSearch]:
        searches = [
            TreeSearch(
                branching,
                priors=uniform,
                c_puct=exploration(branching),
                max_depth=MAX_DEPTH,
                normalize=None,
            )
            for _ in range(trees)
        ]
        if trees == 1:
            search_one(searches[0], uniform, num_simulations)
        else:
            search_together(searches, uniform, num_simulations)
        return searches

    return run


def search_one(search: TreeSearch, uniform: Priors, num_simulations: int) -> None:
    """Runs one search to its end."""
    paths = np.zeros(num_simulations + 1, np.uint64)
    paths[search.root] = ROOT
    while (left := num_simulations - search.num_simulations) > 0:
        batch = min(256, max(1, search.num_simulations // 4))
        leaves = search.ask(min(batch, left))
        here = extend_all(paths[leaves.parents], leaves.actions)
        wants = leaves.wants_candidates
        counts = np.where(wants, len(uniform), -1)
        priors = np.tile(uniform, np.count_nonzero(wants))
        nodes = search.tell(leaves, value_all(here), candidates=counts, priors=priors)
        paths[nodes[wants]] = here[wants]


def search_together(searches: list[TreeSearch], uniform: Priors, num_simulations: int) -> None:
    """Runs several searches of the same size side by side: one evaluation a round."""
    paths = np.zeros((len(searches), num_simulations + 1), np.uint64)
    paths[:, searches[0].root] = ROOT
    many_priors = np.tile(uniform, BATCH_OF_MANY)
    while any(search.num_simulations < num_simulations for search in searches):
        asked = [
            search.ask(min(BATCH_OF_MANY, num_simulations - search.num_simulations))
            for search in searches
        ]
        parents = [row[leaves.parents] for row, leaves in zip(paths, asked, strict=True)]
        here = extend_all(
            np.concatenate(parents), np.concatenate([leaves.actions for leaves in asked])
        )
        wants = np.concatenate([leaves.wants_candidates for leaves in asked])
        values, counts = value_all(here), np.where(wants, len(uniform), -1)
        end = 0
        for row, search, leaves in zip(paths, searches, asked, strict=True):
            start, end = end, end + len(leaves)
            wanted = wants[start:end]
            nodes = search.tell(
                leaves,
                values[start:end],
                candidates=counts[start:end],
                priors=many_priors[: np.count_nonzero(wanted) * len(uniform)],
            )
            row[nodes[wanted]] = here[start:end][wanted]


def visits(result: list[TreeSearch]) -> list[int]:
    """Completed simulations of each tree."""
    return [int(search.children().visits.sum()) for search in result]


def nbytes(result: list[TreeSearch]) -> int:
    """What the trees hold."""
    return sum(search.nbytes for search in result)
