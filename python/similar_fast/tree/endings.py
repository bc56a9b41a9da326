"""The endings that a search reached, best first: by its own scores, or by other weights.

An ending is an explored path whose last step ended its episode. What it is worth follows from the
scores of its steps, which the result holds, so other weights need no scorer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum, isfinite

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import ScorerError
from similar_fast.types import Score, SearchResult, SearchTreeNode

__all__ = ["RankedEnding", "rank_endings", "rerank"]


@dataclass(frozen=True, slots=True)
class RankedEnding:
    """One explored path that ended its episode.

    Attributes:
        node: The id of its last step in the result's `nodes`.
        actions: The actions from the first screen, in words.
        value: What its steps are worth: the last one's score, or the mean of all.
        bonus: What it is favoured by, at least 0; only the greedy ending is.
        is_committed: Whether the search committed it.
    """

    node: int
    actions: tuple[str, ...]
    value: float
    bonus: float
    is_committed: bool

    @property
    def total(self) -> float:
        """What endings are compared by: `value + bonus`."""
        return self.value + self.bonus


def rank_endings(result: SearchResult) -> tuple[RankedEnding, ...]:
    """The endings of a result by the scores that the search went by, best first.

    Of equal ones the shorter comes first, then the committed one. O(nodes).

    Raises:
        ValueError: The result has no nodes.
    """
    low, high = result.score_range
    return _ranked(result, lambda score: score.total, result.greedy_margin * (high - low))


def rerank(
    result: SearchResult, weights: Sequence[float], *, greedy_margin: float | None = None
) -> tuple[RankedEnding, ...]:
    """The endings of a result by other weights of the five dimensions, best first.

    Nothing is scored and nothing is visited again: a search that had these weights from the start
    may have reached other endings, and may have walked another greedy path. O(nodes).

    Args:
        result: Of a search whose scorer gives dimensions.
        weights: `[5]`, finite, in the order of `DIMENSIONS`; a step is worth their weighted sum.
        greedy_margin: What the greedy ending is favoured by, as a share of the range of the
            reweighted scores; that of the search where None.

    Raises:
        ValueError: The weights are not five finite numbers, the margin is not finite and at least
            0, or the result has no nodes.
        ScorerError: A step has no dimensions.
    """
    if len(weights) != len(DIMENSIONS) or not all(isfinite(weight) for weight in weights):
        raise ValueError(f"weights must be {len(DIMENSIONS)} finite numbers, got {tuple(weights)}")
    margin = result.greedy_margin if greedy_margin is None else greedy_margin
    if not 0 <= margin < float("inf"):
        raise ValueError(f"greedy_margin must be finite and at least 0, got {margin}")

    def weighed(score: Score) -> float:
        if score.dims is None:
            raise ScorerError("the scores have no dimensions, so there is nothing to weigh anew")
        return fsum(w * x for w, x in zip(weights, score.dims, strict=True))

    totals = [weighed(node.score) for node in result.nodes if node.score is not None]
    spread = max(totals) - min(totals) if totals else 0.0
    return _ranked(result, weighed, margin * spread)


def _ranked(
    result: SearchResult, worth: Callable[[Score], float], bonus: float
) -> tuple[RankedEnding, ...]:
    if not result.nodes:
        raise ValueError("the result has no nodes, expected a search tree")
    found = [
        _ending(result, node, worth, bonus if node.is_greedy else 0.0)
        for node in result.nodes
        if node.is_done and node.parent >= 0
    ]
    return tuple(
        sorted(found, key=lambda e: (-e.total, len(e.actions), not e.is_committed, e.node))
    )


def _ending(
    result: SearchResult, node: SearchTreeNode, worth: Callable[[Score], float], bonus: float
) -> RankedEnding:
    steps = [node]
    while steps[-1].parent > 0:
        steps.append(result.nodes[steps[-1].parent])
    steps.reverse()
    values = [worth(step.score) for step in steps if step.score is not None]
    value = values[-1] if result.ending_value == "last" else sum(values) / len(values)
    return RankedEnding(
        node=node.id,
        actions=tuple(step.action for step in steps),
        value=value,
        bonus=bonus,
        is_committed=node.is_chosen,
    )
