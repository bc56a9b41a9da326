"""Best-first and beam search: the best edge of the whole tree is next."""

import math
from collections import Counter

from reference.model import Edge, Path
from reference.tree import Tree


def best_open(tree: Tree) -> Path | None:
    """The edge that is visited or expanded next; None where none is left.

    Beam search takes the shallowest level first, of each level only the best edges, and waits with
    a level until nothing is in flight above it.
    """
    edges = tree.edges()
    is_beam = tree.config.policy == "beam"
    width = tree.config.beam_width if is_beam else math.inf
    visited = Counter(len(path) for path, edge in edges.items() if edge.visits)
    ages = {node: age for age, node in enumerate(tree.nodes)}

    def rank(path: Path, edge: Edge) -> tuple[float, ...]:
        level = -len(path) if is_beam else 0
        return (level, float(edge.value), float(edge.prior), -ages[path[:-1]], -path[-1])

    open_edges = [
        path
        for path, edge in edges.items()
        if edge.state == "evaluated" or (edge.state == "fresh" and visited[len(path)] < width)
    ]
    return max(open_edges, key=lambda path: rank(path, edges[path]), default=None)


def must_wait(tree: Tree, path: Path) -> bool:
    """Whether a leaf above the level of this edge is in flight, in beam search."""
    pending = [len(open_path) for open_path, edge in tree.edges().items() if edge.pending]
    return tree.config.policy == "beam" and min(pending, default=len(path)) < len(path)
