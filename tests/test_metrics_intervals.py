"""Intervals against statsmodels, scipy and the bootstrap in plain numpy; coverage; laws."""

import json
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_reference import draws_by_rows
from numpy.typing import NDArray
from similar_fast.metrics import (
    AccuracyIntervals,
    Estimate,
    IntervalMethod,
    TieRule,
    accuracy,
    accuracy_intervals,
    wilson_interval,
)
from statsmodels.stats.proportion import proportion_confint

TIES: tuple[TieRule, ...] = ("half", "wrong", "exclude")

score = st.integers(-2, 2).map(float) | st.sampled_from([math.nan, math.inf])
rows = st.lists(
    st.tuples(score, score, st.sampled_from(["web", "pc"]), st.sampled_from("abcd")), max_size=30
)

Table = list[tuple[float, float, str, str]]


def earned(
    chosen: NDArray[np.float64], rejected: NDArray[np.float64], ties: TieRule
) -> NDArray[np.float64]:
    """What each pair earns; NaN where it does not count."""
    valid = np.isfinite(chosen) & np.isfinite(rejected)
    worth = np.where(chosen > rejected, 1.0, 0.0)
    worth[chosen == rejected] = {"half": 0.5, "wrong": 0.0, "exclude": math.nan}[ties]
    worth[~valid] = math.nan
    return worth


def expected_estimate(draws: NDArray[np.float64], level: float) -> tuple[float, float, float, int]:
    defined = draws[~np.isnan(draws)]
    low, high = np.quantile(defined, [(1 - level) / 2, 1 - (1 - level) / 2])
    return low, high, float(defined.std(ddof=1)), len(draws) - len(defined)


def won(wins: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores against 0 of clusters of the given sizes with so many correct pairs."""
    parts = zip(wins, sizes, strict=True)
    return np.concatenate([[1.0] * correct + [-1.0] * (n - correct) for correct, n in parts])


def found_estimate(estimate: Estimate) -> tuple[float, float, float, int]:
    interval = estimate.interval
    return interval.low, interval.high, estimate.standard_error, estimate.n_undefined_draws


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_wilson_interval_is_that_of_statsmodels(n: int, part: float, level: float) -> None:
    successes = round(part * 2 * n) / 2

    interval = wilson_interval(successes, n, level=level)

    expected = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-12)
    assert interval.low <= successes / n <= interval.high


@pytest.mark.parametrize(
    ("successes", "n", "level", "message"),
    [
        (3, 2, 0.95, "successes must be in 0..=n, got 3 with n 2"),
        (-1, 2, 0.95, "successes must be in 0..=n, got -1 with n 2"),
        (0, -1, 0.95, "n must be at least 0, got -1"),
        (1, 2, 1.0, "level must be between 0 and 1, got 1"),
    ],
)
def test_wilson_interval_of_wrong_arguments_raises_value_error(
    successes: float, n: int, level: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        wilson_interval(successes, n, level=level)


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
@pytest.mark.parametrize("ties", TIES)
def test_intervals_are_those_of_plain_numpy_draw_for_draw(seed: int, ties: TieRule) -> None:
    rng = np.random.default_rng(8)
    chosen, rejected = rng.integers(0, 4, (2, 150)).astype(float)
    chosen[::17] = math.nan
    clusters = rng.integers(0, 13, 150)
    chosen[clusters == 4] = math.inf  # a cluster in which nothing counts
    groups = np.array(["web", "mobile", "pc"])[clusters % 3]
    groups[clusters == 1] = "rare"  # of one cluster
    groups[clusters == 4] = "empty"

    result = accuracy_intervals(
        chosen, rejected, clusters=clusters, groups=groups, ties=ties, num_draws=301, seed=seed
    )

    worth = earned(chosen, rejected, ties)
    of_groups, micro, macro = draws_by_rows(
        worth, groups.tolist(), clusters.tolist(), seed=seed, num_draws=301
    )
    assert result.n_clusters == 12
    assert list(result.groups) == list(of_groups)
    assert found_estimate(result.micro) == pytest.approx(expected_estimate(micro, 0.95))
    assert found_estimate(result.macro) == pytest.approx(expected_estimate(macro, 0.95))
    for label in ("web", "mobile", "pc"):
        expected = expected_estimate(of_groups[label], 0.95)
        assert found_estimate(result.groups[label]) == pytest.approx(expected, abs=1e-14)
    for label in ("rare", "empty"):
        assert math.isnan(result.groups[label].interval.low)
        undefined = np.isnan(of_groups[label]).sum()
        assert result.groups[label].n_undefined_draws == undefined > 0


@pytest.mark.parametrize("ties", TIES)
def test_percentile_bounds_of_draws_are_exact(ties: TieRule) -> None:
    rng = np.random.default_rng(2)
    chosen, rejected = rng.integers(0, 4, (2, 80)).astype(float)
    clusters = rng.integers(0, 9, 80)

    result = accuracy_intervals(
        chosen, rejected, clusters=clusters, ties=ties, num_draws=1001, level=0.9, seed=3
    )

    # Sums of whole and half pairs are exact, so both sides round once, in the same division.
    worth = earned(chosen, rejected, ties)
    _, micro, _ = draws_by_rows(worth, [None] * 80, clusters.tolist(), seed=3, num_draws=1001)
    low, high = np.sort(micro)[[50, 950]]  # no interpolation: 0.05 * 1000 is whole
    assert (result.micro.interval.low, result.micro.interval.high) == pytest.approx(
        (low, high), rel=1e-15, abs=0
    )


@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("base", [0.5, 0.9])
def test_intervals_agree_with_scipy_up_to_the_draws(method: str, base: float) -> None:
    rng = np.random.default_rng(4)
    sizes = rng.integers(1, 9, 60)
    rates = rng.beta(6 * base, 6 * (1 - base), 60)
    wins = rng.binomial(sizes, rates)
    chosen = won(wins, sizes)
    clusters = np.repeat(np.arange(60), sizes)

    result = accuracy_intervals(
        chosen,
        np.zeros(len(chosen)),
        clusters=clusters,
        num_draws=20_000,
        method="bca" if method == "BCa" else "percentile",
    )

    expected = scipy.stats.bootstrap(
        (wins, sizes),
        lambda wins, sizes, axis: wins.sum(axis) / sizes.sum(axis),
        paired=True,
        n_resamples=20_000,
        method=method,
        rng=np.random.default_rng(5),
    )
    # A bound's own standard deviation over draws is about 0.0012 here.
    bounds = (expected.confidence_interval.low, expected.confidence_interval.high)
    found = (result.micro.interval.low, result.micro.interval.high)
    assert found == pytest.approx(bounds, abs=0.005)
    assert result.micro.standard_error == pytest.approx(expected.standard_error, rel=0.03)


def test_bca_is_scipys_to_the_last_digits_on_the_same_draws() -> None:
    rng = np.random.default_rng(6)
    sizes = rng.integers(1, 9, 20)
    wins = rng.binomial(sizes, 0.8)
    chosen = won(wins, sizes)
    clusters = np.repeat(np.arange(20), sizes)

    result = accuracy_intervals(
        chosen, np.zeros(len(chosen)), clusters=clusters, num_draws=999, seed=1, method="bca"
    )

    worth = np.where(chosen > 0, 1.0, 0.0)
    no_groups = [None] * len(worth)
    _, draws, _ = draws_by_rows(worth, no_groups, clusters.tolist(), seed=1, num_draws=999)
    given_draws = scipy.stats.bootstrap(
        (wins, sizes),
        lambda wins, sizes, axis: wins.sum(axis) / sizes.sum(axis),
        paired=True,
        n_resamples=0,
        method="BCa",
        bootstrap_result=scipy.stats._resampling.BootstrapResult(None, draws, None),
    )
    bounds = (given_draws.confidence_interval.low, given_draws.confidence_interval.high)
    assert (result.micro.interval.low, result.micro.interval.high) == pytest.approx(bounds)


def test_clustered_interval_covers_where_the_one_of_independent_pairs_does_not() -> None:
    rng = np.random.default_rng(9)
    num_runs, num_clusters, size, truth = 400, 60, 10, 0.7
    clusters = np.repeat(np.arange(num_clusters), size)
    covered = {"clustered": 0, "bca": 0, "wilson": 0}
    for seed in range(num_runs):
        # A task's own rate has a mean of 0.7 and a standard deviation of 0.23.
        rates = np.repeat(rng.beta(0.7 * 3, 0.3 * 3, num_clusters), size)
        chosen = np.where(rng.random(len(rates)) < rates, 1.0, -1.0)
        zeros = np.zeros(len(chosen))
        intervals = {
            name: accuracy_intervals(
                chosen,
                zeros,
                clusters=clusters,
                num_draws=1000,
                seed=seed,
                method="bca" if name == "bca" else "percentile",
            ).micro.interval
            for name in ("clustered", "bca")
        }
        intervals["wilson"] = wilson_interval(int((chosen > 0).sum()), len(chosen))
        for name, interval in intervals.items():
            covered[name] += interval.low <= truth <= interval.high

    # 95% of 400 is 380, with a standard deviation of 4.4.
    assert 367 <= covered["clustered"] <= 393
    assert 367 <= covered["bca"] <= 393
    assert covered["wilson"] < 320


def call(
    table: Table, *, ties: TieRule = "half", method: IntervalMethod = "percentile"
) -> AccuracyIntervals:
    chosen, rejected = [row[0] for row in table], [row[1] for row in table]
    groups, clusters = [row[2] for row in table], [row[3] for row in table]
    return accuracy_intervals(
        chosen, rejected, groups=groups, clusters=clusters, num_draws=50, ties=ties, method=method
    )


@given(rows, st.sampled_from(TIES), st.sampled_from(["percentile", "bca"]))
def test_intervals_report_the_accuracy_of_the_same_pairs(
    table: Table, ties: TieRule, method: IntervalMethod
) -> None:
    result = call(table, ties=ties, method=method)

    expected = accuracy(
        [row[0] for row in table],
        [row[1] for row in table],
        groups=[row[2] for row in table],
        ties=ties,
    )
    assert result.accuracy.to_dict() == expected.to_dict()
    assert result.micro.value == pytest.approx(expected.micro, nan_ok=True)
    assert result.macro.value == pytest.approx(expected.macro, nan_ok=True)
    for label, group in expected.groups.items():
        assert result.groups[label].value == pytest.approx(group.accuracy, nan_ok=True)


@given(rows, st.permutations("abcd"))
@settings(max_examples=50)
def test_intervals_depend_on_the_clusters_and_not_on_their_names(
    table: Table, names: list[str]
) -> None:
    renamed = [(*row[:3], names["abcd".index(row[3])]) for row in table]

    assert call(table).to_dict() == call(renamed).to_dict()


def test_intervals_are_plain_json() -> None:
    result = accuracy_intervals(
        [1, 1, math.nan], [0, 1, 1], groups=["web", ("pc", 1), 3], clusters=[0, 1, 1], num_draws=20
    )

    read = json.loads(json.dumps(result.to_dict(), allow_nan=False))

    assert [group["label"] for group in read["groups"]] == ["web", "('pc', 1)", 3]
    assert read["groups"][2]["value"] is None
    assert read["micro"]["interval"]["level"] == 0.95
    assert (read["n_clusters"], read["method"]) == (2, "percentile")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": [0]}, r"clusters must be \[n\] like the scores, got \(1,\) and \(2,\)"),
        ({"num_draws": 0}, "num_draws must be in 1..=10000000, got 0"),
        ({"num_draws": 2**32 - 1}, "num_draws must be in 1..=10000000, got 4294967295"),
        ({"level": 0.0}, "level must be between 0 and 1, got 0"),
        ({"level": math.nan}, "level must be between 0 and 1, got NaN"),
        ({"seed": -1}, r"seed must be in 0\.\.2\^64, got -1"),
        ({"seed": 2**64}, r"seed must be in 0\.\.2\^64"),
        ({"method": "studentized"}, "method must be 'percentile' or 'bca', got 'studentized'"),
        ({"ties": "coin"}, "ties must be 'half', 'wrong' or 'exclude', got 'coin'"),
    ],
)
def test_intervals_of_wrong_arguments_raise_value_error(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        accuracy_intervals([1, 2], [2, 1], **{"clusters": [0, 1], **options})
