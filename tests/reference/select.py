"""Which edge of a node is taken next."""

import math
from collections.abc import Sequence

import numpy as np

from reference.model import Edge, F, Path
from reference.tree import Tree

Scale = tuple[np.float32, np.float32]


def scale(tree: Tree) -> Scale:
    """(low, inverse), by which values become q."""
    match tree.config.normalize:
        case None:
            return F(0), F(1)
        case "minmax":
            low, high = tree.low, tree.high
        case (given_low, given_high):
            low, high = F(given_low), F(given_high)
    if not high > low:
        return F(0), F(0)
    with np.errstate(over="ignore"):
        inverse = F(1) / (high - low)
    return (low, inverse) if np.isfinite(inverse) else (F(0), F(0))


def normalized(value: np.float32, by: Scale) -> np.float32:
    low, inverse = by
    return (value - low) * inverse


def first_greatest(scores: Sequence[np.float32] | Sequence[float]) -> int:
    best = 0
    for index, score in enumerate(scores):
        if score > scores[best]:
            best = index
    return best


def sigma(tree: Tree, edges: Sequence[Edge]) -> float:
    most = max(edge.done for edge in edges)
    return (float(F(tree.config.c_visit)) + most) * float(F(tree.config.c_scale))


def logit(prior: np.float32, q: np.float32, weight: float) -> float:
    return math.log(float(prior)) + weight * float(q)


def select(tree: Tree, path: Path) -> int:
    """The edge that the next visit of a node takes."""
    edges = tree.nodes[path]
    actions = list(range(len(edges)))
    if tree.config.solve:
        actions = [it for it in actions if not tree.is_solved((*path, it))] or actions
    rivals = [edges[action] for action in actions]
    match tree.config.policy:
        case "puct":
            scores = puct_scores(tree, rivals)
        case "uct":
            scores = uct_scores(tree, rivals)
        case _:
            scores = gumbel_scores(tree, edges, rivals)
    return actions[first_greatest(scores)]


def counted(tree: Tree, rivals: Sequence[Edge]) -> tuple[list[np.float32], list[int]]:
    """The q of each edge and its visits, with the losses of those in flight."""
    by, losses = scale(tree), tree.config.virtual_loss
    qs, seen = [], []
    for edge in rivals:
        q = normalized(edge.value, by)
        visits = edge.done + edge.in_flight * max(1, losses)
        if losses and edge.in_flight:
            q = q * F(edge.done) / F(visits)
        qs.append(q)
        seen.append(visits)
    return qs, seen


def puct_scores(tree: Tree, rivals: Sequence[Edge]) -> list[np.float32]:
    qs, seen = counted(tree, rivals)
    bonus = F(tree.config.c_puct) * np.sqrt(F(1 + sum(seen)))
    return [
        q + bonus * edge.prior / (F(1) + F(visits))
        for edge, q, visits in zip(rivals, qs, seen, strict=True)
    ]


def uct_scores(tree: Tree, rivals: Sequence[Edge]) -> list[np.float32]:
    qs, seen = counted(tree, rivals)
    if 0 in seen:
        return [
            F(-np.inf) if visits else edge.prior for edge, visits in zip(rivals, seen, strict=True)
        ]
    log = F(math.log(1 + sum(seen)))
    c = F(tree.config.c_puct)
    return [q + c * np.sqrt(log / F(visits)) for q, visits in zip(qs, seen, strict=True)]


def gumbel_scores(tree: Tree, edges: Sequence[Edge], rivals: Sequence[Edge]) -> list[float]:
    by, weight = scale(tree), sigma(tree, edges)
    logits = [logit(edge.prior, normalized(edge.value, by), weight) for edge in rivals]
    greatest = max(logits)
    powers = [math.exp(one - greatest) for one in logits]
    total = 0.0
    for power in powers:
        total += power
    visits = 1 + sum(edge.visits for edge in rivals)
    return [
        power / total - edge.visits / visits for power, edge in zip(powers, rivals, strict=True)
    ]
