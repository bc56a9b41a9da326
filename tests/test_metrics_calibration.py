"""Rank correlation and temperature against scipy, calibration against scikit-learn."""

import json
import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from similar_fast.metrics import (
    Binning,
    calibration_table,
    fit_temperature,
    pair_calibration,
    rank_correlation,
)
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

value = st.integers(-3, 3).map(float) | st.sampled_from([math.nan, math.inf, -0.0])
table = st.lists(st.tuples(value, value, st.sampled_from("ab")), max_size=40)


def of_scipy(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan, math.nan
    with warnings.catch_warnings():
        # Its p-value of two rows divides by zero; only the statistic is looked at.
        warnings.simplefilter("ignore", RuntimeWarning)
        return scipy.stats.spearmanr(x, y).statistic, scipy.stats.kendalltau(x, y).statistic


@given(table)
def test_rank_correlation_is_that_of_scipy(rows: list[tuple[float, float, str]]) -> None:
    x, y = (np.array([row[column] for row in rows], np.float64) for column in (0, 1))
    groups = [row[2] for row in rows]

    result = rank_correlation(x, y, groups=groups)

    valid = np.isfinite(x) & np.isfinite(y)
    found = (result.overall.spearman, result.overall.kendall)
    assert found == pytest.approx(of_scipy(x[valid], y[valid]), nan_ok=True)
    assert (result.overall.n, result.overall.n_invalid) == (valid.sum(), (~valid).sum())
    means = []
    for label, group in result.groups.items():
        members = valid & (np.array(groups) == label)
        expected = of_scipy(x[members], y[members])
        assert (group.spearman, group.kendall) == pytest.approx(expected, nan_ok=True)
        means.append(expected)
    defined = [pair for pair in means if not math.isnan(pair[0])]
    macro = np.mean(defined, axis=0) if defined else (math.nan, math.nan)
    assert (result.macro_spearman, result.macro_kendall) == pytest.approx(macro, nan_ok=True)
    assert result.n_undefined_groups == len(means) - len(defined)


def test_rank_correlation_of_many_rows_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=20_001).round(2)
    y = (x + rng.normal(size=20_001)).round(1)

    result = rank_correlation(x, y).overall

    assert (result.spearman, result.kendall) == pytest.approx(of_scipy(x, y), rel=1e-12)
    assert rank_correlation(x, x).overall.kendall == 1.0
    assert rank_correlation(x, -x).overall.spearman == -1.0


outcomes = st.lists(
    st.tuples(st.integers(0, 20).map(lambda i: i / 20), st.sampled_from([0.0, 1.0])), min_size=2
).filter(lambda rows: len({row[1] for row in rows}) == 2)  # scikit-learn wants both


# Halves and quarters have no rounding that could put an edge on either side of a prediction.
quantiles = st.tuples(st.just("mass"), st.sampled_from([1, 2, 4, 8]))


@given(outcomes, quantiles | st.tuples(st.just("width"), st.integers(1, 7)))
def test_calibration_table_is_that_of_scikit_learn(
    rows: list[tuple[float, float]], bins: tuple[Binning, int]
) -> None:
    binning, num_bins = bins
    predicted, observed = np.array(rows).T

    result = calibration_table(
        predicted, observed, num_bins=num_bins, binning=binning, bounds=(0, 1)
    )

    strategy = {"width": "uniform", "mass": "quantile"}[binning]
    shares, means = calibration_curve(observed, predicted, n_bins=num_bins, strategy=strategy)
    full = [row for row in result.bins if row.n > 0]
    assert [row.mean_observed for row in full] == pytest.approx(shares)
    assert [row.mean_predicted for row in full] == pytest.approx(means)
    gaps = np.abs(means - shares)
    weights = [row.n / len(rows) for row in full]
    assert result.expected_error == pytest.approx(gaps @ weights)
    assert result.max_error == pytest.approx(gaps.max())
    assert result.mean_squared_error == pytest.approx(brier_score_loss(observed, predicted))
    assert len(result.bins) == num_bins


def test_calibration_table_of_a_regression_counts_what_is_invalid() -> None:
    predicted, observed = [-5.0, 0.0, 15.0, math.nan], [-4.0, 1.0, 15.0, 2.0]

    result = calibration_table(predicted, observed, num_bins=2)

    assert [(row.low, row.high, row.n) for row in result.bins] == [(-5, 5, 2), (5, 15, 1)]
    assert (result.n, result.n_invalid) == (3, 1)
    assert result.expected_error == pytest.approx(2 / 3)


def test_calibration_table_of_nothing_has_empty_bins_within_bounds_only() -> None:
    bounded = calibration_table([], [], num_bins=2, bounds=(0, 1))
    unbounded = calibration_table([], [], num_bins=2)

    assert [(row.low, row.high, row.n) for row in bounded.bins] == [(0, 0.5, 0), (0.5, 1, 0)]
    assert unbounded.bins == ()
    assert math.isnan(bounded.expected_error)
    assert json.loads(json.dumps(bounded.to_dict(), allow_nan=False))["max_error"] is None


pairs = st.lists(
    st.tuples(st.integers(-6, 6).map(float), st.integers(-6, 6).map(float)), min_size=1, max_size=60
)


@given(pairs, st.sampled_from([0.5, 1.0, 4.0]))
def test_pair_calibration_is_that_of_scikit_learn_for_both_orders(
    rows: list[tuple[float, float]], temperature: float
) -> None:
    chosen, rejected = np.array(rows).T

    result = pair_calibration(chosen, rejected, temperature=temperature)

    # Each pair in both orders: the label says whether the step that is named first was chosen.
    probability = 1 / (1 + np.exp((rejected - chosen) / temperature))
    both = np.concatenate([probability, 1 - probability])
    label = np.repeat([1, 0], len(rows))
    assert result.brier == pytest.approx(brier_score_loss(label, both))
    assert result.log_loss == pytest.approx(log_loss(label, both), rel=1e-6)
    assert result.table.n == len(rows)
    agreed = (np.sign(chosen - rejected) + 1) / 2
    by_confidence = calibration_table(
        np.maximum(probability, 1 - probability), agreed, bounds=(0.5, 1)
    )
    assert result.table.expected_error == pytest.approx(by_confidence.expected_error, abs=1e-9)


def test_calibrated_scores_are_found_calibrated() -> None:
    rng = np.random.default_rng(2)
    margins = rng.normal(0, 6, 50_000)
    is_right = rng.random(50_000) < 1 / (1 + np.exp(-np.abs(margins) / 3))
    margins = np.where(is_right, np.abs(margins), -np.abs(margins))
    zeros = np.zeros(50_000)

    fit = fit_temperature(margins, zeros)

    assert fit.temperature == pytest.approx(3, rel=0.03)
    assert (
        pair_calibration(margins, zeros, temperature=3, binning="mass").table.expected_error < 0.01
    )
    assert pair_calibration(margins, zeros, temperature=1).table.expected_error > 0.08


@given(pairs, st.sampled_from([2.0**-20, 1.0, 2.0**20]))
def test_fitted_temperature_is_that_of_scipy(rows: list[tuple[float, float]], unit: float) -> None:
    chosen, rejected = np.array(rows).T * unit
    margins = (chosen - rejected) / unit

    fit = fit_temperature(chosen, rejected)

    assert (fit.n, fit.n_invalid) == (len(rows), 0)
    if margins.sum() <= 0 or (margins >= 0).all():
        assert not 0 < fit.temperature < math.inf
        return
    found = minimize_scalar(
        lambda slope: np.logaddexp(0, -slope * margins).mean(),
        bounds=(0, 60),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert fit.log_loss == pytest.approx(found.fun, rel=1e-9)
    assert unit / fit.temperature == pytest.approx(found.x, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("chosen", "rejected", "temperature", "loss"),
    [
        ([1.0, 2.0], [0.0, 0.0], 0.0, 0.0),
        ([1.0, 0.0], [0.0, 0.0], 0.0, math.log(2) / 2),
        ([0.0, 1.0], [1.0, 0.0], math.inf, math.log(2)),
        ([1.0], [1.0], math.nan, math.log(2)),
        ([math.nan], [1.0], math.nan, math.nan),
        ([1e308], [-1e308], math.nan, math.nan),  # the difference is beyond float64
    ],
)
def test_fitted_temperature_at_a_limit_names_it(
    chosen: list[float], rejected: list[float], temperature: float, loss: float
) -> None:
    fit = fit_temperature(chosen, rejected)

    assert (fit.temperature, fit.log_loss) == pytest.approx((temperature, loss), nan_ok=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rank_correlation([1], [1, 2]),
            r"x and y must both be \[n\], got \(1,\) and \(2,\)",
        ),
        (lambda: calibration_table([1], [1], num_bins=0), "num_bins must be in .* got 0"),
        (
            lambda: calibration_table([1], [1], num_bins=2**32 - 1),
            "num_bins must be in 1..=1000000, got 4294967295",
        ),
        (
            lambda: pair_calibration([1], [0], num_bins=1_000_001),
            "num_bins must be in 1..=1000000, got 1000001",
        ),
        (
            lambda: calibration_table([1], [1], bounds=(0, math.nan)),
            r"bounds must be finite with low < high, got \(0.0, NaN\)",
        ),
        (lambda: calibration_table([2], [1], bounds=(0, 1)), "predicted must be inside of bounds"),
        (
            lambda: pair_calibration([2], [1], temperature=0),
            "temperature must be finite and above 0",
        ),
        (lambda: pair_calibration([2], [1], binning="even"), "binning must be 'width' or 'mass'"),
    ],
)
def test_wrong_arguments_raise_value_error(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
