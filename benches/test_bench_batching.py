"""Many callers behind one scorer: merged into batches, or one after the other under a lock.

The scorer stands in for a model: a call costs a fixed time plus little for each step, which is
what makes batches pay.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from similar_fast.batching import BatchingScorer
from similar_fast.types import Scores, Step

NUM_THREADS = 16
CALLS = 10
STEPS = 4


class ModelLike:
    """1 ms a call and 20 us a step, outside of the interpreter, as a session's run is."""

    def score(self, steps: Sequence[Step]) -> Scores:
        time.sleep(0.001 + 20e-6 * len(steps))
        return Scores(np.array([float(step.action) for step in steps], np.float32))


class LockedScorer:
    """What one would write without a queue."""

    def __init__(self) -> None:
        self._scorer = ModelLike()
        self._lock = threading.Lock()

    def score(self, steps: Sequence[Step]) -> Scores:
        with self._lock:
            return self._scorer.score(steps)


def ask(score: Callable[[Sequence[Step]], Scores], thread: int) -> float:
    mine = [Step("task", (), str(thread * STEPS + i)) for i in range(STEPS)]
    return sum(float(score(mine).total.sum()) for _ in range(CALLS))


def ask_from_all(score: Callable[[Sequence[Step]], Scores]) -> list[float]:
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(lambda thread: ask(score, thread), range(NUM_THREADS)))


EXPECTED = [CALLS * sum(range(t * STEPS, (t + 1) * STEPS)) for t in range(NUM_THREADS)]


def test_bench_batching_scorer(benchmark: BenchmarkFixture) -> None:
    with BatchingScorer(ModelLike(), max_batch_size=NUM_THREADS * STEPS) as scorer:
        assert benchmark(ask_from_all, scorer.score) == EXPECTED
        assert scorer.stats.batches < scorer.stats.rows / STEPS


def test_bench_locked_scorer(benchmark: BenchmarkFixture) -> None:
    assert benchmark(ask_from_all, LockedScorer().score) == EXPECTED


@pytest.mark.parametrize("max_wait_s", [0.0])
def test_bench_overhead_of_one_caller(benchmark: BenchmarkFixture, max_wait_s: float) -> None:
    class Free:
        def score(self, steps: Sequence[Step]) -> Scores:
            return Scores(np.zeros(len(steps), np.float32))

    steps = [Step("task", (), str(i)) for i in range(STEPS)]
    with BatchingScorer(Free(), max_wait_s=max_wait_s) as scorer:
        assert benchmark(scorer.score, steps).total.tolist() == [0.0] * STEPS
