"""What belongs together because a chain of shared keys joins it."""

from collections.abc import Hashable, Iterable
from typing import TypeVar

__all__ = ["components"]

_N = TypeVar("_N", str, int, tuple[str, str])


def components(held: Iterable[tuple[_N, Hashable]]) -> dict[_N, _N]:
    """The component of each node, named by its least node: nodes that hold one key are in one.

    Nearly O(n).

    Args:
        held: A node and a key that it holds, in any order; a node may hold many.

    Example:
        >>> components([("a", 1), ("b", 2), ("c", 2), ("b", 3), ("d", 3)])
        {'a': 'a', 'b': 'b', 'c': 'b', 'd': 'b'}
    """
    parents: dict[_N, _N] = {}
    holders: dict[Hashable, _N] = {}

    def root(node: _N) -> _N:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for node, key in held:
        parents.setdefault(node, node)
        one, other = root(node), root(holders.setdefault(key, node))
        parents[max(one, other)] = min(one, other)
    return {node: root(node) for node in parents}
