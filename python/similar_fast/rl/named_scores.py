"""Scores by the name of a dimension; a step that makes the scorer fail fails alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.errors import ScorerError
from similar_fast.protocols import Scorer
from similar_fast.srm.evaluate.scored import score_apart
from similar_fast.types import Scores, Step

__all__ = ["NamedValues", "value_columns"]


@dataclass(frozen=True, slots=True, eq=False)
class NamedValues:
    """What n steps are worth under k names.

    Attributes:
        values: `[n, k]` float64; NaN where a step has no score.
        errors: Why, by the step's index.
    """

    values: NDArray[np.float64]
    errors: Mapping[int, str]


def value_columns(
    scorer: Scorer, steps: Sequence[Step], *, kinds: Sequence[Dimension]
) -> NamedValues:
    """The scores of `steps` under each of `kinds`, in one call of the scorer where none fails.

    Args:
        scorer: One with `score_rows`, such as `RewardModel`, is asked through it.
        steps: `[n]`.
        kinds: `[k]`, of the five dimensions and the total.

    Raises:
        ScorerError: A dimension is asked for and the scorer gives none.
    """
    guarded: Scorer = scorer
    needs_dims = any(kind in DIMENSIONS for kind in kinds)
    if needs_dims and not hasattr(scorer, "score_rows"):
        guarded = _Guard(scorer)
    found = score_apart(guarded, steps, batch_size=max(len(steps), 1))
    if isinstance(guarded, _Guard) and guarded.lacks_dims:
        names = ", ".join(kinds)
        raise ScorerError(f"{names} is asked for, and {type(scorer).__name__} gives no dimensions")
    order = list(Dimension)
    values = found.values[:, [order.index(kind) for kind in kinds]].copy()
    errors = dict(found.errors)
    for i in np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist():
        errors.setdefault(i, f"the score is {values[i].tolist()}; expected finite numbers")
        values[i][~np.isfinite(values[i])] = np.nan
    return NamedValues(values, errors)


class _Guard:
    """Notes whether a scorer gives no dimensions; `score_apart` then takes totals for them."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.lacks_dims = False

    def score(self, steps: Sequence[Step]) -> Scores:
        scores = self._scorer.score(steps)
        self.lacks_dims = self.lacks_dims or getattr(scores, "dims", True) is None
        return scores
