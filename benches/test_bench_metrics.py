"""Pairwise accuracy beside the same answer in plain numpy and in plain Python."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from similar_fast.metrics import accuracy

N = 100_000
NUM_GROUPS = 8

Scores = NDArray[np.float64]
Answer = tuple[float, list[float], int, int]


def fast(chosen: Scores, rejected: Scores, groups: NDArray[np.int64]) -> Answer:
    result = accuracy(chosen, rejected, groups=groups)
    of_groups = [result.groups[i].accuracy for i in range(NUM_GROUPS)]
    return result.micro, of_groups, result.n_ties, result.n_invalid


def numpy_baseline(chosen: Scores, rejected: Scores, groups: NDArray[np.int64]) -> Answer:
    valid = np.isfinite(chosen) & np.isfinite(rejected)
    worth = (np.sign(chosen[valid] - rejected[valid]) + 1) / 2
    codes = groups[valid]
    sums = np.bincount(codes, weights=worth, minlength=NUM_GROUPS)
    of_groups = sums / np.bincount(codes, minlength=NUM_GROUPS)
    n_ties = int((worth == 0.5).sum())
    return float(worth.mean()), of_groups.tolist(), n_ties, int((~valid).sum())


def python_baseline(chosen: Scores, rejected: Scores, groups: NDArray[np.int64]) -> Answer:
    sums, counts, n_ties, n_invalid = [0.0] * NUM_GROUPS, [0] * NUM_GROUPS, 0, 0
    for c, r, group in zip(chosen.tolist(), rejected.tolist(), groups.tolist(), strict=True):
        if not (math.isfinite(c) and math.isfinite(r)):
            n_invalid += 1
            continue
        counts[group] += 1
        sums[group] += 1.0 if c > r else 0.5 if c == r else 0.0
        n_ties += c == r
    of_groups = [part / n for part, n in zip(sums, counts, strict=True)]
    return sum(sums) / sum(counts), of_groups, n_ties, n_invalid


@pytest.mark.parametrize("run", [fast, numpy_baseline, python_baseline])
def test_bench_accuracy(benchmark: BenchmarkFixture, run: Callable[..., Answer]) -> None:
    rng = np.random.default_rng(0)
    chosen, rejected = rng.normal(size=(2, N)).round(2)
    chosen[::1000] = np.nan
    groups = rng.integers(0, NUM_GROUPS, N)

    micro, of_groups, n_ties, n_invalid = benchmark(run, chosen, rejected, groups)

    expected = numpy_baseline(chosen, rejected, groups)
    assert micro == pytest.approx(expected[0], abs=1e-12)
    assert of_groups == pytest.approx(expected[1], abs=1e-12)
    assert (n_ties, n_invalid) == expected[2:]
    assert n_invalid == 100
