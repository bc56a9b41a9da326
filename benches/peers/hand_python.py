"""PUCT as one writes it by hand in Python: objects, a dict of children, one leaf at a time.

It keeps no float32 and no batches; a node's children are all made when it is first passed through.
"""

import math
from collections.abc import Callable

from work import MAX_DEPTH, ROOT, exploration, extend, value

PACKAGES = ()


class Node:
    """A node with its statistics and, once expanded, its children by action."""

    __slots__ = ("children", "depth", "path", "prior", "value_sum", "visits")

    def __init__(self, prior: float, path: int, depth: int) -> None:
        self.prior = prior
        self.path = path
        self.depth = depth
        self.visits = 0
        self.value_sum = 0.0
        self.children: dict[str, Node] = {}


def expand(node: Node, branching: int) -> None:
    """Makes all children of a node."""
    for action in range(branching):
        child = Node(1 / branching, extend(node.path, action), node.depth + 1)
        node.children[f"click {action}"] = child


def simulate(root: Node, branching: int, c: float) -> None:
    """Selects, evaluates, expands and backs up once."""
    node, way = root, [root]
    while node.children:
        bonus = c * math.sqrt(node.visits)
        best, best_score = node, -math.inf
        for child in node.children.values():
            q = child.value_sum / child.visits if child.visits else 0.0
            score = q + bonus * child.prior / (1 + child.visits)
            if score > best_score:
                best, best_score = child, score
        node = best
        way.append(node)
    if node.depth < MAX_DEPTH:
        expand(node, branching)
    leaf_value = value(node.path)
    for passed in way:
        passed.visits += 1
        passed.value_sum += leaf_value


def searcher(trees: int, branching: int, num_simulations: int) -> Callable[[], object]:
    """What runs whole searches; see `worker.py`."""

    def run() -> list[Node]:
        roots = [Node(1.0, ROOT, 0) for _ in range(trees)]
        for root in roots:
            expand(root, branching)
            for _ in range(num_simulations):
                simulate(root, branching, exploration(branching))
        return roots

    return run


def visits(result: list[Node]) -> list[int]:
    """Completed simulations of each tree."""
    return [sum(child.visits for child in root.children.values()) for root in result]
