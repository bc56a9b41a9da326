"""The benchmark where the scores are given: everything but the scoring, on 100,000 pairs."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from similar_fast.dimensions import Dimension
from similar_fast.records import PairRecord
from similar_fast.srm.evaluate import Counting, Evaluation, evaluate_scores

N = 100_000
NUM_TASKS = 1_000
PLATFORMS = ("web", "android", "linux", "windows")


def labelled_pairs() -> list[PairRecord]:
    kinds = list(Dimension)
    return [
        PairRecord(
            environment="bench",
            platform=PLATFORMS[i % NUM_TASKS % 4],
            task=str(i % NUM_TASKS),
            type=kinds[i % 7],
            instruction=f"Task {i % NUM_TASKS}",
            chosen=(f"click {i}",),
            rejected=(f"type {i}",),
            step=1,
        )
        for i in range(N)
    ]


def drawn_margins() -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return rng.normal(0.5, 1, N)


@pytest.mark.parametrize("num_pairs", [N])
def test_bench_evaluate_scores(benchmark: BenchmarkFixture, num_pairs: int) -> None:
    pairs, margins = labelled_pairs(), drawn_margins()
    counting = Counting(num_draws=500 if benchmark.disabled else 10_000)

    found: Evaluation = benchmark.pedantic(
        evaluate_scores, (pairs, margins, np.zeros(num_pairs)), {"counting": counting}, rounds=5
    )

    assert found.overall.micro.value == pytest.approx((margins > 0).mean())
    # A margin of mean 1/2 and deviation 1 is above 0 in Phi(1/2) of the pairs.
    assert found.overall.macro.value == pytest.approx(0.6915, abs=0.006)
    assert found.overall.n_clusters == NUM_TASKS
    assert len(found.places) == 4
    assert found.calibration is not None
    assert len(found.misses) == 20
