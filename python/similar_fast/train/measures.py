"""What a trained model is measured by: predictions of labels, and pairs of each type."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.metrics.pairs import accuracy
from similar_fast.models.heads import LABEL_SCALES
from similar_fast.train.data import TrainingSet, pairs_of_state
from similar_fast.train.metrics import DimensionFit, regression_metrics
from similar_fast.types import Scores

__all__ = ["LEAST_DIFFERENCES", "Measured", "measure", "typed_pairs"]

LEAST_DIFFERENCES = {
    Dimension.HELPFULNESS: 0.3,
    Dimension.ODDS_OF_SUCCESS: 0.5,
    Dimension.EFFICIENCY: 0.3,
    Dimension.TASK_RELEVANCE: 1.0,
    Dimension.COHERENCE: 1.0,
    Dimension.TOTAL: 4.0,
}
"""Labels of one state that differ by less are not compared: they have too few rollouts for that."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How well a model does on steps it did not see.

    Attributes:
        steps: How many steps.
        dimensions: How well each label is predicted, by the dimension's name.
        pair_accuracy: Share of pairs ordered right, a tie counted as half, by type; each by the
            model's own column, the total by its total.
        pairs: How many pairs of each type.
    """

    steps: int
    dimensions: dict[str, DimensionFit]
    pair_accuracy: dict[str, float]
    pairs: dict[str, int]


def measure(rows: TrainingSet, scores: Scores) -> Measured:
    """Measures `scores` of `rows`, which have dimensions.

    Args:
        rows: The steps, n of them.
        scores: Of each, dimensions in the scale of the heads' labels.
    """
    assert scores.dims is not None  # noqa: S101  # a reward model's scores have them
    labels = rows.labels * np.array(LABEL_SCALES)
    columns = dict(zip(DIMENSIONS, scores.dims.T, strict=True)) | {Dimension.TOTAL: scores.total}
    shares, counts = {}, {}
    for type_, (better, worse) in typed_pairs(rows).items():
        if len(better):
            found = accuracy(columns[type_][better], columns[type_][worse])
            shares[str(type_)], counts[str(type_)] = found.micro, len(better)
    dimensions = {str(d): fit for d, fit in regression_metrics(scores.dims, labels).items()}
    return Measured(len(rows), dimensions, shares, counts)


def typed_pairs(
    rows: TrainingSet,
) -> dict[Dimension, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Better and worse rows by type.

    Pairs that came without labels are taken as they came; others are those steps of one state that
    the labels tell apart.
    """
    found: dict[Dimension, list[tuple[int, int]]] = {type_: [] for type_ in LEAST_DIFFERENCES}
    for (a, b), type_ in zip(rows.pairs.tolist(), rows.pair_types, strict=True):
        if not np.isfinite(rows.labels[[a, b]]).all():
            found[type_].append((a, b))
    totals = rows.labels @ np.array(LABEL_SCALES)
    states: dict[int, list[int]] = {}
    for row, state in enumerate(rows.states.tolist()):
        states.setdefault(state, []).append(row)
    for members in states.values():
        for type_, least in LEAST_DIFFERENCES.items():
            values = totals if type_ is Dimension.TOTAL else rows.labels[:, DIMENSIONS.index(type_)]
            found[type_] += pairs_of_state(rows, members, values=values, least=least)
    # A pair may have come with the data and differ in the one label that is known as well.
    once = {type_: list(dict.fromkeys(pairs)) for type_, pairs in found.items()}
    return {type_: (_column(pairs, 0), _column(pairs, 1)) for type_, pairs in once.items()}


def _column(pairs: Sequence[tuple[int, int]], index: int) -> NDArray[np.int64]:
    return np.array([pair[index] for pair in pairs], np.int64)
