"""Calling a scorer that somebody else wrote, and believing nothing it says unchecked."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import ScorerError
from similar_fast.protocols import Scorer
from similar_fast.types import Action, Observation, Ranked, Scores, Step

__all__ = ["call_scorer", "candidate_steps", "ranked", "reweighted", "score_scale", "score_steps"]

MAX_TOTAL = 1e38

_A = TypeVar("_A", Action, str)


def score_steps(scorer: Scorer, steps: Sequence[Step]) -> Scores:
    """The scores of `steps`, checked: the right shapes, and every total finite.

    Raises:
        ScorerError: The scorer raised (the cause is its error), or its answer does not fit.
    """
    if not steps:
        return Scores(np.empty(0, dtype=np.float32))
    scores = call_scorer(scorer, steps)
    bad = np.flatnonzero(~(np.abs(scores.total) <= MAX_TOTAL))
    if len(bad):
        raise ScorerError(
            f"the scorer returned {len(bad)} totals that are not finite and at most {MAX_TOTAL:g} "
            f"in magnitude, the first is {scores.total[bad[0]]} for step {bad[0]}"
        )
    return scores


def reweighted(scores: Scores, weights: Sequence[float]) -> Scores:
    """The same scores with the weighted sum of their five dimensions as total.

    Args:
        scores: `[n]`, with dimensions.
        weights: `[5]`, in the order of `DIMENSIONS`.

    Raises:
        ScorerError: The scores have no dimensions, or a sum is not finite.
    """
    if scores.dims is None:
        raise ScorerError("weights are given, and the scorer gives no dimensions to weigh")
    total = (scores.dims.astype(np.float64) @ np.asarray(weights, np.float64)).astype(np.float32)
    if not (np.abs(total) <= MAX_TOTAL).all():
        raise ScorerError(f"a weighted total is {total[~np.isfinite(total)][:1]}, expected finite")
    return Scores(total, scores.dims, np.tile(np.asarray(weights, np.float32), (len(total), 1)))


def candidate_steps(
    observation: Observation, actions: Sequence[Action], history: Sequence[Action]
) -> list[Step]:
    """One step for each candidate of a screen; all share its instruction, text and picture."""
    past = tuple(str(action) for action in history)
    return [
        Step(observation.instruction, past, str(action), observation.text, observation.screenshot)
        for action in actions
    ]


def ranked(candidates: Sequence[_A], scores: Scores) -> tuple[Ranked[_A], ...]:
    """The candidates with their scores, best first; equal totals keep their order.

    Args:
        candidates: `[n]`.
        scores: `[n]`, of the candidates in their order.
    """
    rows = [Ranked(action, scores[i]) for i, action in enumerate(candidates)]
    return tuple(sorted(rows, key=lambda row: -row.score.total))


def score_scale(scorer: Scorer) -> tuple[float, float] | None:
    """The scorer's `scale`, the least and the greatest total it gives; None where it has none.

    Raises:
        ScorerError: It is no pair of finite numbers, the first below the second.
    """
    scale = getattr(scorer, "scale", None)
    if scale is None:
        return None
    try:
        low, high = (float(bound) for bound in scale)
    except (TypeError, ValueError):
        low = high = np.nan
    if not -MAX_TOTAL <= low < high <= MAX_TOTAL:
        raise ScorerError(f"the scorer's scale is {scale!r}, expected (low, high) with low < high")
    return low, high


def call_scorer(scorer: Scorer, steps: Sequence[Step]) -> Scores:
    """What the scorer answers to `steps`, in the right shapes; totals may still be NaN.

    Raises:
        ScorerError: The scorer raised (the cause is its error), or its answer does not fit.
    """
    try:
        scores = scorer.score(steps)
    except Exception as error:
        raise ScorerError(f"the scorer raised {type(error).__name__}: {error}") from error
    if not isinstance(scores, Scores):
        raise ScorerError(f"the scorer returned {type(scores).__name__}, expected Scores")
    n = len(steps)
    wanted = {"total": (n,), "dims": (n, len(DIMENSIONS)), "weights": (n, len(DIMENSIONS))}
    for name, shape in wanted.items():
        column = getattr(scores, name)
        if column is None and name != "total":
            continue
        found = column.shape if isinstance(column, np.ndarray) else type(column).__name__
        if found != shape:
            raise ScorerError(f"the scorer's {name} is {found}, expected {shape}")
        if not np.issubdtype(column.dtype, np.floating):
            raise ScorerError(f"the scorer's {name} is {column.dtype}, expected float32")
    return scores
