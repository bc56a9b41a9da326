"""What training reports: how well labels are predicted, and how often pairs are ordered right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.metrics.correlation import rank_correlation
from similar_fast.metrics.pairs import Accuracy, accuracy

__all__ = ["DimensionFit", "pair_accuracy", "r2_score", "regression_metrics"]


@dataclass(frozen=True, slots=True)
class DimensionFit:
    """How well one dimension is predicted.

    Attributes:
        n: Rows that have its label.
        r2: 1 - (squared errors) / (squared distances from the labels' mean), at most 1; NaN where
            the labels do not differ.
        spearman: Rank correlation of predictions and labels, in [-1, 1]; NaN where either side
            does not differ.
    """

    n: int
    r2: float
    spearman: float


def r2_score(
    predicted: NDArray[np.float64],
    labels: NDArray[np.float64],
    *,
    weights: NDArray[np.float64] | None = None,
) -> float:
    """1 - (squared errors) / (squared distances from the mean), at most 1.

    Args:
        predicted: `[n]`.
        labels: `[n]`, finite.
        weights: `[n]`, at least 0; None for 1 each.

    Returns:
        NaN where the labels of the rows with a weight do not differ, or there is none.
    """
    if weights is None:
        weights = np.ones(len(labels))
    counted = weights > 0
    if not counted.any() or np.ptp(labels[counted]) == 0:
        return float("nan")
    mean = np.average(labels, weights=weights)
    errors = weights @ (labels - predicted) ** 2
    return float(1 - errors / (weights @ (labels - mean) ** 2))


def regression_metrics(
    predicted: NDArray[np.floating], labels: NDArray[np.floating]
) -> dict[Dimension, DimensionFit]:
    """How well each dimension is predicted, over the rows that have its label.

    Args:
        predicted: `[n, 5]`, in the order of `DIMENSIONS`, in the scale of the labels.
        labels: `[n, 5]`; NaN where a label is not known.

    Raises:
        ValueError: The shapes are not `[n, 5]` both, or a prediction is not finite.
    """
    if predicted.shape != labels.shape or labels.ndim != 2 or labels.shape[1] != len(DIMENSIONS):
        raise ValueError(
            f"predictions are {predicted.shape} and labels {labels.shape}; expected [n, 5] both"
        )
    if not np.isfinite(predicted).all():
        raise ValueError("a prediction is not finite")
    fits = {}
    for dimension, guess, label in zip(DIMENSIONS, predicted.T, labels.T, strict=True):
        known = ~np.isnan(label)
        left, right = (np.asarray(column[known], np.float64) for column in (guess, label))
        spearman = rank_correlation(left, right).overall.spearman
        fits[dimension] = DimensionFit(int(known.sum()), r2_score(left, right), spearman)
    return fits


def pair_accuracy(
    scores: NDArray[np.floating],
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    types: Sequence[str] | None = None,
) -> Accuracy:
    """How often the chosen step scores above the rejected one, by type; a tie is half a pair.

    Args:
        scores: `[n]`, of the steps.
        pairs: Chosen and rejected, `[P]` each: indices of steps.
        types: `[P]`, what each pair is compared by; None for one type.
    """
    chosen, rejected = pairs
    return accuracy(scores[chosen], scores[rejected], groups=types)
