"""Values on their way up, and from the ends of the tree."""

import math
from collections.abc import Sequence

import numpy as np

from reference.model import MAX_VALUE, Edge, F, Path
from reference.tree import Tree


class Climb:
    """Changes on their way up: a level at a time, deepest first, nodes in the order of loading."""

    def __init__(self, tree: Tree, *, undo: bool = False) -> None:
        self.tree = tree
        self.undo = undo
        self.is_max = tree.config.backup == "max"
        self.levels: dict[int, dict[Path, tuple[int, float]]] = {}

    def start(self, path: Path, visits: int, value: np.float32) -> None:
        """Completes visits that end at an edge, or takes them back."""
        load = float(value) if self.is_max else float(value) * visits
        self.change(self.tree.edge(path), visits, load)
        self.load(path[:-1], visits, load)

    def change(self, edge: Edge, visits: int, value: float) -> None:
        done = edge.done
        edge.in_flight -= visits
        if self.undo:
            edge.visits -= visits
        elif self.is_max:
            edge.value = max(edge.value, F(value)) if done else F(value)
        else:
            mean = F((float(edge.value) * done + value) / (done + visits))
            edge.value = bounded(self.tree, mean)

    def load(self, node: Path, visits: int, value: float) -> None:
        level = self.levels.setdefault(len(node), {})
        if node not in level:
            level[node] = (visits, value)
            return
        loaded, total = level[node]
        level[node] = (loaded + visits, max(total, value) if self.is_max else total + value)

    def finish(self) -> None:
        for depth in range(max(self.levels, default=0), 0, -1):
            for node, (visits, value) in self.levels.get(depth, {}).items():
                self.load(node[:-1], visits, self.climb(node, visits, value))

    def climb(self, node: Path, visits: int, value: float) -> float:
        """Changes the edge above a node; what goes on to the next one."""
        tree, edge = self.tree, self.tree.edge(node)
        if tree.config.backup == "discounted" and not self.undo:
            value = tree.kept(node) * visits + float(F(tree.config.discount)) * value
        if not self.undo and node in tree.solved:
            edge.in_flight -= visits
        elif not self.undo and tree.config.backup == "power_mean":
            edge.in_flight -= visits
            edge.value = power_mean(tree, node)
        else:
            self.change(edge, visits, value)
        return value


def bounded(tree: Tree, value: np.float32) -> np.float32:
    """Sums of many values stay within the range of one."""
    if tree.config.backup != "discounted":
        return value
    return min(max(value, -MAX_VALUE), MAX_VALUE)


def power_mean(tree: Tree, node: Path) -> np.float32:
    """Of what the edge above a node was told, and of the edges below it; the greatest factored."""
    edge, below = tree.edge(node), tree.nodes[node]
    exponent = float(F(tree.config.exponent))
    terms = [(child.done, float(child.value)) for child in below if child.done]
    own = edge.done - sum(visits for visits, _ in terms)
    if own:
        terms.append((own, tree.kept(node)))
    greatest = max(0.0, *(value for _, value in terms))
    if greatest == 0.0:
        return F(0)
    total = 0.0
    for visits, value in terms:
        total += visits * math.pow(value / greatest, exponent)
    return F(greatest * math.pow(total / edge.done, 1.0 / exponent))


def prove(tree: Tree, ended: Sequence[Path]) -> None:
    """Marks nodes all of whose edges are solved, from these on up."""
    for start in ended if tree.config.solve else ():
        node: Path | None = start
        while node is not None and node not in tree.solved:
            edges = tree.nodes[node]
            if not all(tree.is_solved((*node, action)) for action in range(len(edges))):
                break
            tree.solved.add(node)
            if node:
                tree.edge(node).value = max(edge.value for edge in edges)
            node = node[:-1] if node else None


def value_anew(tree: Tree) -> None:
    """Makes every value again from what was told, the deepest nodes first."""
    tree.low, tree.high = F(np.inf), F(-np.inf)
    has_merged = any(edge.state == "merged" for edge in tree.edges().values())
    for _ in range(2 if has_merged else 1):
        for node in reversed(tree.nodes):
            for action, edge in enumerate(tree.nodes[node]):
                if edge.told is not None:
                    tree.widen(tree.scalar(edge.told))
                edge.value = value_from_rows(tree, (*node, action))


def value_from_rows(tree: Tree, path: Path) -> np.float32:
    edge = tree.edge(path)
    if edge.merged is not None:
        return tree.value_of(edge.merged)
    if edge.state != "expanded":
        return edge.value if edge.told is None else tree.scalar(edge.told)
    if path in tree.solved:
        return max(child.value for child in tree.nodes[path])
    return value_from_below(tree, path)


def value_from_below(tree: Tree, path: Path) -> np.float32:
    edge, told = tree.edge(path), tree.kept(path)
    visited = [child for child in tree.nodes[path] if child.done]
    total = 0.0
    for child in visited:
        total += float(child.done) * float(child.value)
    match tree.config.backup:
        case "power_mean":
            return power_mean(tree, path)
        case "max":
            return F(max([told, *(float(child.value) for child in visited)]))
        case "discounted":
            discount = float(F(tree.config.discount))
            return bounded(tree, F(told + discount * total / edge.done))
    own = edge.done - sum(child.done for child in visited)
    return F((float(own) * told + total) / edge.done)
