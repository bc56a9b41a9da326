"""Many callers behind one scorer: merged into batches, or one after the other under a lock.

Then what the batching itself costs a request, with a scorer that does nothing.

The scorer stands in for a model: a call costs a fixed time plus little for each step, which is
what makes batches pay.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

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


class Free:
    def score(self, steps: Sequence[Step]) -> Scores:
        return Scores(np.zeros(len(steps), np.float32))


@pytest.mark.parametrize("run_in", ["worker", "caller"])
def test_bench_overhead_of_one_caller(
    benchmark: BenchmarkFixture, run_in: Literal["worker", "caller"]
) -> None:
    steps = [Step("task", (), str(i)) for i in range(STEPS)]
    with (
        BatchingScorer(Free(), max_wait_s=0.0, run_in=run_in) as scorer,
        ThreadPoolExecutor(1) as pool,  # the main thread never runs a batch
    ):
        assert scorer.score(steps).total.tolist() == [0.0] * STEPS
        pool.submit(benchmark, scorer.score, steps).result()


def timed_requests(benchmark: BenchmarkFixture, ask: Callable[[int], int], full_size: int) -> None:
    """Times `ask(n)`, which makes n requests and says how many were answered."""
    n = 512 if benchmark.disabled else full_size
    benchmark.extra_info["requests"] = n

    assert benchmark.pedantic(ask, args=(n,), rounds=5) == n

    if not benchmark.disabled:
        benchmark.extra_info["requests_per_second"] = n / benchmark.stats.stats.median


@pytest.mark.parametrize("run_in", ["worker", "caller"])
@pytest.mark.parametrize("max_wait_s", [0.0, 0.002])
def test_bench_requests_of_threads(
    benchmark: BenchmarkFixture, run_in: Literal["worker", "caller"], max_wait_s: float
) -> None:
    mine = [Step("task", (), "")]

    def ask(n: int) -> int:
        def ask_some(_: int) -> int:
            return sum(len(scorer.score(mine)) for _ in range(n // 8))

        with ThreadPoolExecutor(8) as pool:
            return sum(pool.map(ask_some, range(8)))

    with BatchingScorer(Free(), max_batch_size=8, max_wait_s=max_wait_s, run_in=run_in) as scorer:
        timed_requests(benchmark, ask, 40_000)


@pytest.mark.parametrize("max_batch_size", [32, 64, 256])
def test_bench_requests_of_tasks(benchmark: BenchmarkFixture, max_batch_size: int) -> None:
    mine = [Step("task", (), "")]

    async def ask_some(n: int) -> int:
        return sum([len(await scorer.ascore(mine)) for _ in range(n)])

    async def ask_all(n: int) -> int:
        return sum(await asyncio.gather(*(ask_some(n // 256) for _ in range(256))))

    with BatchingScorer(Free(), max_batch_size=max_batch_size) as scorer:
        timed_requests(benchmark, lambda n: asyncio.run(ask_all(n)), 51_200)


@pytest.mark.parametrize("max_batch_size", [32, 64, 256])
def test_bench_steps_of_one_call(benchmark: BenchmarkFixture, max_batch_size: int) -> None:
    with BatchingScorer(Free(), max_batch_size=max_batch_size) as scorer:
        many = [Step("task", (), "")] * 1_000_000
        timed_requests(benchmark, lambda n: len(scorer.score(many[:n])), 1_000_000)
