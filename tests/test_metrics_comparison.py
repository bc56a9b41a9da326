"""Two scorers: McNemar's test against statsmodels and scipy, the bootstrap against plain numpy."""

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from metrics_reference import draws_by_rows
from numpy.typing import NDArray
from similar_fast.metrics import compare, mcnemar
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

Scores = tuple[list[float], list[float]]


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_that_of_statsmodels_and_scipy(first: int, second: int) -> None:
    result = mcnemar(first, second)

    expected = statsmodels_mcnemar([[10, first], [second, 10]], exact=True).pvalue
    assert result.p_value == pytest.approx(expected, rel=1e-9)
    if first + second > 0:
        binomial = scipy.stats.binomtest(first, first + second).pvalue
        assert result.p_value == pytest.approx(binomial, rel=1e-9)
        at_k = scipy.stats.binom.pmf(min(first, second), first + second, 0.5)
        below = scipy.stats.binom.cdf(min(first, second), first + second, 0.5)
        assert result.mid_p_value == pytest.approx(2 * below - at_k, rel=1e-9)


@pytest.mark.parametrize(("first", "second"), [(49_700, 50_300), (500_000, 500_000)])
def test_mcnemar_of_many_pairs_is_that_of_scipy(first: int, second: int) -> None:
    expected = scipy.stats.binomtest(first, first + second).pvalue

    assert mcnemar(first, second).p_value == pytest.approx(expected, rel=1e-8)


def test_mcnemar_of_a_negative_count_raises_value_error() -> None:
    with pytest.raises(ValueError, match="counts must be at least 0, got -1 and 2"):
        mcnemar(-1, 2)


def scores(seed: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    chosen, rejected = np.random.default_rng(seed).integers(0, 4, (2, n)).astype(float)
    return chosen + seed, rejected + 1


def test_difference_is_that_of_plain_numpy_draw_for_draw() -> None:
    n = 120
    first, second = scores(1, n), scores(2, n)
    first[0][::11] = math.nan
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 15, n)
    groups = np.array(["web", "pc"])[clusters % 2]

    result = compare(first, second, clusters=clusters, groups=groups, num_draws=401, seed=7)

    worth = [(np.sign(chosen - rejected) + 1) / 2 for chosen, rejected in (first, second)]
    of_groups, micro, macro = draws_by_rows(
        worth[0] - worth[1], groups.tolist(), clusters.tolist(), seed=7, num_draws=401
    )
    for difference, draws in [
        (result.overall.difference, micro),
        (result.macro_difference, macro),
        (result.groups["web"].difference, of_groups["web"]),
        (result.groups["pc"].difference, of_groups["pc"]),
    ]:
        interval = difference.estimate.interval
        expected = np.quantile(draws, [0.025, 0.975])
        assert (interval.low, interval.high) == pytest.approx(expected, abs=1e-14)
        assert difference.estimate.standard_error == pytest.approx(draws.std(ddof=1))
        near_zero = np.where(np.abs(draws) < 1e-12, 0, draws)
        rarer = min((near_zero <= 0).sum(), (near_zero >= 0).sum())
        assert difference.p_value == pytest.approx(min(1, 2 * (rarer + 1) / 402))
    valid = ~np.isnan(worth[0])
    assert result.overall.n_first_better == (worth[0] > worth[1])[valid].sum()
    assert result.overall.n_second_better == (worth[0] < worth[1])[valid].sum()
    assert result.overall.first == pytest.approx(worth[0][valid].mean())
    assert result.overall.second == pytest.approx(worth[1][valid].mean())
    assert result.overall.n_invalid == n - valid.sum() == 11
    by_group = [result.groups[label].first for label in ("web", "pc")]
    assert result.first_macro == pytest.approx(np.mean(by_group))


def test_excluded_ties_of_either_scorer_are_counted_and_not_compared() -> None:
    first = ([1, 1, 1, math.inf], [0, 1, 0, 0])
    second = ([1, 0, 0, 0], [1, 1, 1, 1])

    result = compare(first, second, ties="exclude", num_draws=10).overall

    assert (result.n, result.n_excluded, result.n_invalid) == (1, 2, 1)
    assert (result.first, result.second, result.n_first_better) == (1.0, 0.0, 1)


def test_a_tie_of_one_scorer_alone_is_discordant_under_half() -> None:
    tie, right, wrong = ([1.0], [1.0]), ([1.0], [0.0]), ([0.0], [1.0])

    def better(first: Scores, second: Scores) -> tuple[int, int]:
        overall = compare(first, second, num_draws=1).overall
        return overall.n_first_better, overall.n_second_better

    assert better(right, tie) == (1, 0)
    assert better(tie, wrong) == (1, 0)
    assert better(tie, tie) == (0, 0)


def test_p_value_of_no_difference_is_uniform_enough() -> None:
    rng = np.random.default_rng(3)
    num_runs, num_clusters, size = 300, 50, 6
    clusters = np.repeat(np.arange(num_clusters), size)
    small = {"clustered": 0, "mcnemar": 0}
    for seed in range(num_runs):
        # Tasks favour one scorer or the other, neither on average.
        leaning = np.repeat(rng.choice([0.1, 0.9], num_clusters), size)
        first = (np.where(rng.random(len(clusters)) < leaning, 1.0, -1.0), np.zeros(len(clusters)))
        second = (-first[0], first[1])
        overall = compare(first, second, clusters=clusters, num_draws=500, seed=seed).overall
        small["clustered"] += overall.difference.p_value < 0.05
        small["mcnemar"] += overall.mcnemar.p_value < 0.05

    # 15 expected of a right test; the one that takes pairs for independent finds luck significant.
    assert small["clustered"] <= 30
    assert small["mcnemar"] >= 75


def test_comparison_is_plain_json() -> None:
    result = compare(scores(1, 9), scores(2, 9), groups=["a", "b", "c"] * 3, num_draws=20)

    read = json.loads(json.dumps(result.to_dict(), allow_nan=False))

    assert [group["label"] for group in read["groups"]] == ["a", "b", "c"]
    assert read["overall"]["mcnemar"]["p_value"] == result.overall.mcnemar.p_value
    assert read["n_clusters"] == 9


def test_scorers_of_different_pairs_raise_value_error() -> None:
    with pytest.raises(ValueError, match="second must hold as many pairs as first, got 2 and 1"):
        compare(([1], [2]), ([1, 2], [2, 1]))
    with pytest.raises(ValueError, match=r"clusters must be \[n\] .* got \(2,\) and \(1,\)"):
        compare(([1], [2]), ([1], [2]), clusters=[0, 1])
