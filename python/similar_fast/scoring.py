"""Calling a scorer that somebody else wrote, and believing nothing it says unchecked."""

from collections.abc import Sequence

import numpy as np

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import ScorerError, SimilarFastError
from similar_fast.protocols import Scorer
from similar_fast.types import Scores, Step

__all__ = ["checked_scores", "score_steps"]


def score_steps(scorer: Scorer, steps: Sequence[Step]) -> Scores:
    """The scores of `steps`, checked.

    Raises:
        ScorerError: The scorer raised something that is not of this package, or its answer does
            not fit; the original error is its cause.
    """
    if not steps:
        return Scores(np.empty(0, dtype=np.float32))
    try:
        scores = scorer.score(steps)
    except SimilarFastError:
        raise
    except Exception as error:
        raise ScorerError(
            f"{type(scorer).__name__} raised {type(error).__name__} "
            f"on a batch of {len(steps)} steps: {error}"
        ) from error
    return checked_scores(scores, len(steps), source=type(scorer).__name__)


def checked_scores(scores: Scores, count: int, *, source: str) -> Scores:
    """`scores` with float32 columns, if they hold `count` finite rows.

    Args:
        scores: What a scorer returned.
        count: How many steps it was asked about.
        source: The scorer's name, for the message.

    Raises:
        ScorerError: A column has the wrong shape, or a total is not finite.
    """
    if not isinstance(scores, Scores):
        raise ScorerError(f"{source} returned {type(scores).__name__}, expected Scores")
    total = np.asarray(scores.total, dtype=np.float32)
    if total.shape != (count,):
        raise ScorerError(
            f"{source} returned totals of shape {list(total.shape)}, expected [{count}]"
        )
    bad = np.flatnonzero(~np.isfinite(total))
    if len(bad):
        raise ScorerError(
            f"{source} returned {len(bad)} totals that are not finite, "
            f"the first is {total[bad[0]]} for step {bad[0]}"
        )
    for name, column in (("dims", scores.dims), ("weights", scores.weights)):
        if column is not None and np.shape(column) != (count, len(DIMENSIONS)):
            raise ScorerError(
                f"{source} returned {name} of shape {list(np.shape(column))}, "
                f"expected [{count}, {len(DIMENSIONS)}]"
            )
    return Scores(total, scores.dims, scores.weights)
