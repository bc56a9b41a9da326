"""Stage 1, multi-objective regression: r = W h by ridge, without an intercept.

Each dimension has its own alpha, chosen on held-out groups, and sees the rows that have its label.
Source: Miao et al. 2025, section 4; Wang et al. 2024 (ArmoRM), section 2.1; Hoerl and Kennard
1970, "Ridge regression".
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.metrics.correlation import rank_correlation
from similar_fast.models.heads import LABEL_SCALES, Heads
from similar_fast.train.metrics import r2_score
from similar_fast.train.split import hold_out

__all__ = ["ALPHAS", "AlphaFit", "DimensionRegression", "RegressionFit", "fit_regression"]

ALPHAS = tuple(10.0**exponent for exponent in range(-4, 5))
"""Upstream's candidates for alpha."""

_BLOCK_ROWS = 8192  # that are float64 at a time
_KEPT = 2  # decompositions: with and without the held-out rows; dimensions share them in turn

_Floats = NDArray[np.float64]
_Rows = NDArray[np.int64]
_Five = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class AlphaFit:
    """What one alpha achieves on the held-out rows, in the scale of the scaled labels.

    Attributes:
        alpha: The strength of the penalty.
        mse: Weighted mean squared error; the alpha of the least one is chosen.
        r2: Weighted, see `train.metrics.r2_score`.
        spearman: Rank correlation, in [-1, 1]; NaN where it is not defined.
    """

    alpha: float
    mse: float
    r2: float
    spearman: float


@dataclass(frozen=True, slots=True)
class DimensionRegression:
    """How one row of W came about.

    Attributes:
        dimension: The dimension.
        n: Rows that have its label; 0 where no row has: W's row is 0 then.
        alpha: The chosen alpha; NaN where `n` is 0.
        split_by: How `alphas` were measured, see `train.split.Split`.
        n_held_out: Rows that they were measured on. W's row is fitted on all `n` rows afterwards.
        alphas: What each alpha achieved; empty where nothing was held out.
    """

    dimension: Dimension
    n: int
    alpha: float
    split_by: Literal["group", "row", "none"]
    n_held_out: int
    alphas: tuple[AlphaFit, ...]

    @property
    def chosen(self) -> AlphaFit | None:
        """What the chosen alpha achieved on the held-out rows; None where nothing was held out."""
        return next((fit for fit in self.alphas if fit.alpha == self.alpha), None)


@dataclass(frozen=True, slots=True, eq=False)
class RegressionFit:
    """W and how it came about.

    Attributes:
        regression: `[5, H]` float64, W, in the order of `DIMENSIONS`; fitted on all rows, those
            included that alpha was chosen on.
        label_scales: What the labels were multiplied by.
        dimensions: One entry a row of W.
    """

    regression: _Floats
    label_scales: _Five
    dimensions: tuple[DimensionRegression, ...]

    def heads(self) -> Heads:
        """Heads without a gate: the total is the plain sum."""
        return Heads(self.regression.astype(np.float32), label_scales=self.label_scales)


def fit_regression(
    hidden: NDArray[np.float32],
    labels: NDArray[np.floating],
    *,
    groups: Sequence[str],
    weights: NDArray[np.floating] | None = None,
    alphas: Sequence[float] = ALPHAS,
    validation_share: float = 0.2,
    label_scales: _Five = LABEL_SCALES,
    seed: int = 0,
) -> RegressionFit:
    """W of r = W h; each row w minimises sum_i c_i (s y_i - w . h_i)^2 + a |w|^2.

    c = weights, y = labels, s = label_scales, a = alpha. For each dimension the rows that have its
    label are split by `train.split.hold_out`; the alpha of the least held-out squared error is
    chosen, of equals the greatest, and w is fitted again on all of these rows. A dimension with one
    labelled row has none to choose by, and gets the greatest alpha. In float64;
    O(n H min(n, H)) for each set of rows that have a label, whatever the number of alphas.

    Args:
        hidden: `[n, H]` float32, h of each step.
        labels: `[n, 5]`, in the order of `DIMENSIONS`; NaN where a label is not known.
        groups: `[n]`, what must not be on both sides of the split: the steps' tasks.
        weights: `[n]`, at least 0; None for 1 each. A row of weight 0 is not read.
        alphas: Candidates, above 0.
        validation_share: Of the groups, in [0, 1); 0 needs a single alpha.
        label_scales: What the labels are multiplied by first, in the order of `DIMENSIONS`.
        seed: Of the split.

    Raises:
        ValueError: An argument is out of its range, shapes differ, a state is not finite, a label
            is infinite, or there is no label at all.
    """
    counts: _Floats = np.ones(len(hidden)) if weights is None else weights.astype(np.float64)
    _check(hidden, labels, groups, counts)
    _check_settings(alphas, validation_share, label_scales)
    targets = np.asarray(labels, np.float64) * label_scales
    ridge = _Ridge(hidden, counts)
    # Sorted, so that of equals the greatest is the last.
    candidates = np.array(sorted(set(alphas)), np.float64)
    regression = np.zeros((len(DIMENSIONS), hidden.shape[1]))
    fits = []
    for i, dimension in enumerate(DIMENSIONS):
        target = targets[:, i]
        rows = np.flatnonzero(~np.isnan(target) & (counts > 0))
        if not len(rows):
            fits.append(DimensionRegression(dimension, 0, math.nan, "none", 0, ()))
            continue
        split = hold_out([groups[row] for row in rows.tolist()], share=validation_share, seed=seed)
        held_out, kept = rows[split.held_out], rows[~split.held_out]
        found: tuple[AlphaFit, ...] = ()
        if len(held_out):
            guesses = ridge.predict(held_out, ridge.fit(kept, target, candidates))
            found = _measure(guesses, candidates, (target[held_out], counts[held_out]))
        lone = len(rows) == 1 and validation_share > 0
        alpha = float(candidates[-1]) if lone else _best(found, candidates)
        regression[i] = ridge.fit(rows, target, np.array([alpha]))[:, 0]
        fits.append(
            DimensionRegression(dimension, len(rows), alpha, split.by, len(held_out), found)
        )
    return RegressionFit(regression, label_scales, tuple(fits))


class _Ridge:
    """Ridge regressions on rows of one matrix; a set of rows is decomposed once."""

    def __init__(self, hidden: NDArray[np.float32], weights: _Floats) -> None:
        self._hidden = hidden
        self._weights = weights
        self._known: dict[bytes, tuple[_Floats, _Floats]] = {}

    def fit(self, rows: _Rows, targets: _Floats, alphas: _Floats) -> _Floats:
        """`[H, A]`, the coefficients of each alpha.

        With A = sqrt(c) h and b = sqrt(c) y: V (V'A'b / (l + a)) with A'A = V l V', or, where rows
        are fewer than columns, A'U (U'b / (l + a)) with AA' = U l U'.
        """
        values, vectors = self._decomposed(rows)
        roots = np.sqrt(self._weights[rows])
        right = roots * targets[rows]
        if len(rows) < self._hidden.shape[1]:
            inner = (vectors.T @ right)[:, None] / (values[:, None] + alphas)
            return self._transposed(rows, roots[:, None] * (vectors @ inner))
        inner = vectors.T @ self._transposed(rows, (roots * right)[:, None])
        result: _Floats = vectors @ (inner / (values[:, None] + alphas))
        return result

    def predict(self, rows: _Rows, coefficients: _Floats) -> _Floats:
        """`[len(rows), A]`."""
        return np.concatenate([block @ coefficients for _, block in self._blocks(rows)])

    def _decomposed(self, rows: _Rows) -> tuple[_Floats, _Floats]:
        key = rows.tobytes()
        if key not in self._known:
            values, vectors = np.linalg.eigh(self._products(rows))
            if len(self._known) == _KEPT:
                self._known.pop(next(iter(self._known)))
            # None is below 0 but by rounding.
            self._known[key] = np.maximum(values, 0), vectors
        return self._known[key]

    def _products(self, rows: _Rows) -> _Floats:
        """A'A, `[H, H]`, or AA', `[n, n]`, where that is the smaller one."""
        width = self._hidden.shape[1]
        roots: _Floats = np.sqrt(self._weights[rows])[:, None]
        if len(rows) < width:
            rooted = self._hidden[rows] * roots
            return rooted @ rooted.T
        products: _Floats = np.zeros((width, width))
        for part, block in self._blocks(rows):
            scaled = block * roots[part]
            products += scaled.T @ scaled
        return products

    def _transposed(self, rows: _Rows, columns: _Floats) -> _Floats:
        """`[H, A]`, h' times `[n, A]`."""
        result = np.zeros((self._hidden.shape[1], columns.shape[1]))
        for part, block in self._blocks(rows):
            result += block.T @ columns[part]
        return result

    def _blocks(self, rows: _Rows) -> Iterator[tuple[slice, _Floats]]:
        """The states of `rows` in float64, a few at a time, each with its place among them."""
        for start in range(0, len(rows), _BLOCK_ROWS):
            part = slice(start, start + _BLOCK_ROWS)
            yield part, self._hidden[rows[part]].astype(np.float64)


def _measure(
    predicted: _Floats, alphas: _Floats, truth: tuple[_Floats, _Floats]
) -> tuple[AlphaFit, ...]:
    """What each alpha achieves; `truth` is the labels and their weights."""
    labels, weights = truth
    return tuple(
        AlphaFit(
            alpha=float(alpha),
            mse=float(np.average((labels - guess) ** 2, weights=weights)),
            r2=r2_score(guess, labels, weights=weights),
            spearman=rank_correlation(guess, labels).overall.spearman,
        )
        for alpha, guess in zip(alphas, predicted.T, strict=True)
    )


def _best(fits: Sequence[AlphaFit], alphas: _Floats) -> float:
    """The alpha of the least error, of equals the greatest; the only one where none is measured.

    Raises:
        ValueError: There is a choice, and nothing to choose by.
    """
    if not fits:
        if len(alphas) > 1:
            raise ValueError(
                f"{len(alphas)} alphas are given, and no row is held out to choose by; expected "
                "one alpha, or a share to hold out and two labelled rows"
            )
        return float(alphas[0])
    return min(reversed(fits), key=lambda fit: fit.mse).alpha


def _check(
    hidden: NDArray[np.float32],
    labels: NDArray[np.floating],
    groups: Sequence[str],
    weights: _Floats,
) -> None:
    n = len(hidden)
    found = hidden.shape, labels.shape, len(groups), weights.shape
    if hidden.ndim != 2 or found[1:] != ((n, len(DIMENSIONS)), n, (n,)):
        raise ValueError(
            f"states, labels, groups and weights are {found}; expected (n, H), (n, 5), n, (n,)"
        )
    if not np.isfinite(hidden).all():
        raise ValueError("a state is not finite")
    if np.isinf(labels).any():
        raise ValueError("a label is infinite; expected NaN where it is not known")
    if not (weights >= 0).all() or np.isinf(weights).any():
        raise ValueError("a weight is negative or not finite; expected each at least 0")
    if not (~np.isnan(labels[weights > 0])).any():
        raise ValueError(f"none of {n} rows has a label and a weight above 0; expected some")


def _check_settings(alphas: Sequence[float], share: float, label_scales: _Five) -> None:
    if not alphas or not all(0 < alpha < math.inf for alpha in alphas):
        raise ValueError(f"the alphas are {list(alphas)}; expected numbers above 0")
    if len(label_scales) != len(DIMENSIONS) or not all(0 < x < math.inf for x in label_scales):
        raise ValueError(f"the label scales are {list(label_scales)}; expected five above 0")
    if not 0 <= share < 1:
        raise ValueError(f"the share to hold out is {share}; expected one in [0, 1)")
