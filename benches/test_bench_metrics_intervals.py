"""The clustered bootstrap beside numpy: by counts of clusters, and by the pairs themselves."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from similar_fast.metrics import accuracy_intervals, rank_correlation

N = 100_000
NUM_DRAWS = 10_000
LEVELS = [0.025, 0.975]

Ids = NDArray[np.int64]
Wins = NDArray[np.bool_]
Bounds = tuple[float, float]


def fast(wins: Wins, clusters: Ids, num_draws: int) -> Bounds:
    halves = np.full(len(wins), 0.5)
    result = accuracy_intervals(wins, halves, clusters=clusters, num_draws=num_draws)
    return result.micro.interval.low, result.micro.interval.high


def numpy_by_counts(wins: Wins, clusters: Ids, num_draws: int) -> Bounds:
    """As good as numpy does it: each cluster is two numbers, a draw is a gather and two sums."""
    n_clusters = int(clusters.max()) + 1
    earned = np.bincount(clusters, weights=wins)
    counted = np.bincount(clusters).astype(np.float64)
    rng = np.random.default_rng(0)
    draws = np.empty(num_draws)
    for draw in range(num_draws):
        places = rng.integers(0, n_clusters, n_clusters, dtype=np.uint32)
        draws[draw] = earned[places].sum() / counted[places].sum()
    low, high = np.quantile(draws, LEVELS)
    return float(low), float(high)


def numpy_by_pairs(wins: Wins, clusters: Ids, num_draws: int) -> Bounds:
    """As it is usually written: a draw weighs every pair by how often its cluster came."""
    n_clusters = int(clusters.max()) + 1
    rng = np.random.default_rng(0)
    draws = np.empty(num_draws)
    for draw in range(num_draws):
        places = rng.integers(0, n_clusters, n_clusters)
        weights = np.bincount(places, minlength=n_clusters)[clusters]
        draws[draw] = weights[wins].sum() / weights.sum()
    low, high = np.quantile(draws, LEVELS)
    return float(low), float(high)


def pairs(n_clusters: int) -> tuple[Wins, Ids]:
    rng = np.random.default_rng(1)
    clusters = rng.permutation(np.arange(N) % n_clusters)
    rates = rng.beta(7, 3, n_clusters)
    return rng.random(N) < rates[clusters], clusters


@pytest.mark.parametrize("n_clusters", [1_000, 10_000])
@pytest.mark.parametrize("run", [fast, numpy_by_counts, numpy_by_pairs])
def test_bench_clustered_bootstrap(
    benchmark: BenchmarkFixture, run: Callable[[Wins, Ids, int], Bounds], n_clusters: int
) -> None:
    wins, clusters = pairs(n_clusters)
    num_draws = 500 if benchmark.disabled else NUM_DRAWS

    bounds = benchmark.pedantic(
        run, (wins, clusters, num_draws), rounds=1 if run is numpy_by_pairs else 3
    )

    # Clusters of one size: the mean's standard error is known, and so is where the bounds lie.
    rates = np.bincount(clusters, weights=wins) / np.bincount(clusters)
    error = rates.std() / np.sqrt(n_clusters)
    expected = (wins.mean() - 1.96 * error, wins.mean() + 1.96 * error)
    assert bounds == pytest.approx(expected, abs=0.3 * error)


def of_ours(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    result = rank_correlation(x, y).overall
    return result.spearman, result.kendall


def of_scipy(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    return scipy.stats.spearmanr(x, y).statistic, scipy.stats.kendalltau(x, y).statistic


@pytest.mark.parametrize("run", [of_ours, of_scipy])
def test_bench_rank_correlation(
    benchmark: BenchmarkFixture,
    run: Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[float, float]],
) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=N).round(3)
    y = x + rng.normal(size=N)

    spearman, kendall = benchmark(run, x, y)

    # Normal columns with a correlation r of sqrt(1/2): 6/pi asin(r/2) and 2/pi asin(r).
    assert spearman == pytest.approx(0.6902, abs=0.01)
    assert kendall == pytest.approx(0.5, abs=0.01)
