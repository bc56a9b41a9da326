"""Programmatic proxies of task relevance and coherence, where no language model judges.

They read what the environment showed, not words, so that no rule of words agrees with them by
construction. Data labelled by them says `proxy` in its provenance.
"""

from similar_fast.collect.trie import Path, Trie
from similar_fast.types import Action

__all__ = ["PROXY_NAME", "coherence", "task_relevance"]

PROXY_NAME = "proxy"


def task_relevance(trie: Trie, path: Path, action: Action) -> float:
    """1 where a shortest known way to the goal has the action, else 0.

    Either the shortest successful rollout of the episode has it somewhere, or none that went
    through this state was shorter than those that took it.
    """
    if trie.shortest is not None and action in trie.shortest:
        return 1.0
    edges = trie[path].edges
    ways = [e.least_remaining for e in edges.values() if e.least_remaining is not None]
    edge = edges.get(action)
    own = None if edge is None else edge.least_remaining
    return float(own is not None and own == min(ways))


def coherence(trie: Trie, path: Path, action: Action) -> float:
    """0 where the action undoes, repeats or overwrites, else 1.

    It undoes where its screen is one that the path has shown before; it repeats where the step
    before was the same; it overwrites where that step gave the same field another argument.
    """
    edge = trie.edge(path, action)
    if edge.is_idle or edge.is_return:
        return 0.0
    before = path[-1] if path else None
    overwrites = (
        before is not None
        and before.target == action.target
        and before.argument is not None
        and action.argument is not None
    )
    return float(not overwrites and before != action)
