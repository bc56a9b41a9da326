"""BatchingScorer: budgets, buckets, priorities, deadlines, shared rows, turns, statistics."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from batching_scorers import (
    PATIENCE_S,
    FaultyScorer,
    GatedScorer,
    NumberScorer,
    steps,
    until,
)
from hypothesis import given
from hypothesis import strategies as st
from similar_fast.batching import BatchingScorer, Histogram
from similar_fast.batching.requests import Request
from similar_fast.errors import ScorerError
from similar_fast.types import Scores, Step


def waits(scorer: BatchingScorer, n: int) -> bool:
    return scorer.stats.queue_length == n


def behind_a_busy_scorer(
    scorer: BatchingScorer, inner: GatedScorer, asks: Sequence[Callable[[], Scores]]
) -> list[Future[Scores]]:
    """Asks one after the other while the scorer is at work, each once the last one is queued."""
    with ThreadPoolExecutor(len(asks) + 1) as pool:
        futures = [pool.submit(scorer.score, steps(0))]
        assert inner.entered.wait(PATIENCE_S)
        for n, ask in enumerate(asks, start=1):
            futures.append(pool.submit(ask))
            until(partial(waits, scorer, n))
        inner.gate.set()
    return futures[1:]


def test_pixel_limit_splits_batches() -> None:
    inner = NumberScorer()
    with BatchingScorer(inner, max_batch_pixels=100, pixels_of=lambda _: 40) as scorer:
        scorer.score(steps(1, 2, 3, 4))

    assert inner.batches == [[1, 2], [3, 4]]


def test_padded_batches_cost_their_longest_step_for_each() -> None:
    inner = NumberScorer()
    with BatchingScorer(
        inner, max_batch_tokens=12, is_padded=True, size_of=lambda step: int(step.action)
    ) as scorer:
        scorer.score(steps(1, 2, 3, 6, 6))

    assert inner.batches == [[1, 2, 3], [6, 6]]


def test_steps_of_different_lengths_share_no_batch_and_come_back_in_order() -> None:
    inner = NumberScorer()
    mine = steps(1, 100, 2, 200, 3)
    with BatchingScorer(
        inner, bucket_edges=[10], size_of=lambda step: int(step.action), max_wait_s=0.0
    ) as scorer:
        answer = scorer.score(mine)

    assert sorted(inner.batches) == [[1, 2, 3], [100, 200]]
    np.testing.assert_array_equal(answer.total, NumberScorer().score(mine).total)
    np.testing.assert_array_equal(answer.dims, NumberScorer().score(mine).dims)


def test_priority_goes_first() -> None:
    inner = GatedScorer()
    with BatchingScorer(inner, max_batch_size=1, max_wait_s=0.0, priority_step_s=60.0) as scorer:
        asks = [
            partial(scorer.score, steps(number), priority=priority)
            for number, priority in ((1, 0), (2, 1), (3, -1), (4, 1))
        ]
        behind_a_busy_scorer(scorer, inner, asks)

    assert inner.batches == [[0], [2], [4], [1], [3]]


def test_old_step_goes_before_a_newcomer_of_higher_priority() -> None:
    inner = GatedScorer()
    with BatchingScorer(inner, max_batch_size=1, max_wait_s=0.0, priority_step_s=0.0) as scorer:
        asks = [
            partial(scorer.score, steps(number), priority=priority)
            for number, priority in ((1, 0), (2, 127))
        ]
        behind_a_busy_scorer(scorer, inner, asks)

    assert inner.batches == [[0], [1], [2]]


def test_step_that_waited_beyond_its_timeout_is_never_scored() -> None:
    class Frozen(BatchingScorer):
        """Its callers are told that their time is over by the queue alone."""

        def _wait(self, request: Request, end: float) -> None:
            super()._wait(request, float("inf"))

    inner = GatedScorer()
    with (
        Frozen(inner, max_wait_s=60.0, max_batch_size=2) as scorer,
        pytest.raises(TimeoutError, match=r"1 scores did not arrive in 0\.001 s"),
    ):
        scorer.score(steps(1), timeout_s=0.001)

    assert scorer.stats.expired == 1
    assert inner.batches == []


def test_ascore_times_out_and_leaves_the_queue() -> None:
    inner = GatedScorer()
    with BatchingScorer(inner, max_wait_s=0.0) as scorer, ThreadPoolExecutor(1) as pool:
        running = pool.submit(scorer.score, steps(1))
        assert inner.entered.wait(PATIENCE_S)
        with pytest.raises(TimeoutError, match=r"2 scores did not arrive in 0\.01 s"):
            asyncio.run(scorer.ascore(steps(2, 3), timeout_s=0.01))
        assert scorer.stats.queue_length == 0
        inner.gate.set()
        running.result(PATIENCE_S)

    assert inner.batches == [[1]]


def test_equal_steps_that_wait_together_share_a_row() -> None:
    inner = GatedScorer()
    with BatchingScorer(inner, max_wait_s=0.0, coalesce=True) as scorer:
        asks = [partial(scorer.score, steps(*mine)) for mine in ((5, 6), (6,), (5, 5))]
        futures = []
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(scorer.score, steps(0))
            assert inner.entered.wait(PATIENCE_S)
            for n, ask in zip((2, 3, 5), asks, strict=True):
                futures.append(pool.submit(ask))
                until(partial(waits, scorer, n))
            inner.gate.set()
        first.result(PATIENCE_S)

        assert scorer.stats.coalesced == 3
    assert inner.batches == [[0], [5, 6]]
    for future, mine in zip(futures, ((5, 6), (6,), (5, 5)), strict=True):
        expected = NumberScorer().score(steps(*mine))
        np.testing.assert_array_equal(future.result().total, expected.total)
        np.testing.assert_array_equal(future.result().dims, expected.dims)


def test_steps_of_different_pictures_share_no_row() -> None:
    inner = GatedScorer()
    mine = [
        replace(step, screenshot=picture)
        for step in steps(5)
        for picture in (bytes, partial(bytes))
    ]
    with BatchingScorer(inner, max_wait_s=0.0, coalesce=True) as scorer:
        inner.gate.set()
        scorer.score([*mine, mine[0]])

    assert inner.batches == [[5, 5]]


def test_shared_steps_and_their_pictures_are_forgotten_once_answered() -> None:
    def shot() -> bytes:
        raise AssertionError("nobody looks at it")

    picture = weakref.ref(shot)
    mine = [replace(step, screenshot=shot) for step in steps(5, 5, 6)]
    del shot
    with BatchingScorer(NumberScorer(), max_wait_s=0.0, coalesce=True) as scorer:
        scorer.score(mine)
        assert scorer.stats.coalesced == 1

        mine.clear()
        gc.collect()
        assert picture() is None


def test_equal_steps_each_take_a_row_unless_asked_to_share() -> None:
    inner = NumberScorer()
    with BatchingScorer(inner, max_wait_s=0.0) as scorer:
        scorer.score(steps(5, 5))

    assert inner.batches == [[5, 5]]


def test_leader_that_leaves_does_not_lose_its_riders() -> None:
    async def ask() -> Scores:
        running = asyncio.ensure_future(scorer.ascore(steps(1)))
        assert await asyncio.to_thread(inner.entered.wait, PATIENCE_S)
        leader = asyncio.ensure_future(scorer.ascore(steps(2)))
        rider = asyncio.ensure_future(scorer.ascore(steps(2)))
        await asyncio.to_thread(until, lambda: waits(scorer, 2))
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
        inner.gate.set()
        await running
        return await rider

    inner = GatedScorer()
    with BatchingScorer(inner, max_wait_s=0.0, coalesce=True) as scorer:
        answer = asyncio.run(ask())

    np.testing.assert_array_equal(answer.total, NumberScorer().score(steps(2)).total)
    assert inner.batches == [[1], [2]]


def test_fault_in_a_shared_row_fails_those_who_share_it() -> None:
    def raising(_: Scores) -> object:
        raise LookupError("thirteen")

    class Gated(FaultyScorer, GatedScorer):
        def __init__(self) -> None:
            GatedScorer.__init__(self)
            self.fault = raising

    inner = Gated()
    with BatchingScorer(inner, max_wait_s=0.0, coalesce=True) as scorer:
        asks = [partial(scorer.score, steps(number)) for number in (13, 13, 7)]
        *culprits, neighbour = behind_a_busy_scorer(scorer, inner, asks)

        for culprit in culprits:
            with pytest.raises(ScorerError, match="LookupError: thirteen"):
                culprit.result(PATIENCE_S)
        assert len(neighbour.result(PATIENCE_S)) == 1
    assert inner.batches == [[0], [13, 7], [13], [13], [7]]


def test_caller_runs_its_batch_itself_where_it_may() -> None:
    class Naming(NumberScorer):
        def score(self, steps: Sequence[Step]) -> Scores:
            names.append(threading.current_thread().name)
            return super().score(steps)

    names: list[str] = []
    with BatchingScorer(Naming(), max_wait_s=0.0, run_in="caller") as scorer:
        with ThreadPoolExecutor(1, "caller") as pool:
            pool.submit(scorer.score, steps(1)).result(PATIENCE_S)
        scorer.score(steps(2))
        asyncio.run(scorer.ascore(steps(3)))

    assert names == ["caller_0", "similar-fast-batching", "similar-fast-batching"]


def test_caller_that_runs_a_batch_leaves_the_rest_to_the_worker() -> None:
    inner = GatedScorer()
    with BatchingScorer(inner, max_wait_s=0.0, run_in="caller") as scorer:
        asks = [partial(scorer.score, steps(number)) for number in (1, 2, 3)]
        futures = behind_a_busy_scorer(scorer, inner, asks)

        for future in futures:
            assert len(future.result(PATIENCE_S)) == 1
    assert inner.batches == [[0], [1, 2, 3]]


def test_scorer_that_ends_its_caller_ends_the_batching_scorer() -> None:
    class Exiting(GatedScorer):
        def score(self, steps: Sequence[Step]) -> Scores:
            super().score(steps)
            raise SystemExit("out of luck")

    inner = Exiting()
    scorer = BatchingScorer(inner, max_wait_s=0.0, run_in="caller")
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(scorer.score, steps(1))
        assert inner.entered.wait(PATIENCE_S)
        queued = pool.submit(scorer.score, steps(2))
        until(lambda: waits(scorer, 1))
        inner.gate.set()

        for future in (running, queued):
            with pytest.raises(ScorerError, match="the worker died: SystemExit"):
                future.result(PATIENCE_S)
    scorer.close(timeout_s=PATIENCE_S)


def test_close_gives_up_on_a_scorer_that_hangs() -> None:
    inner = GatedScorer()
    scorer = BatchingScorer(inner, max_wait_s=0.0)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(scorer.score, steps(1))
        assert inner.entered.wait(PATIENCE_S)

        with pytest.raises(TimeoutError, match=r"still at work after 0\.01 s"):
            scorer.close(timeout_s=0.01)

        inner.gate.set()
        assert len(running.result(PATIENCE_S)) == 1
    scorer.close(timeout_s=PATIENCE_S)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch_pixels": 9}, "max_batch_pixels needs pixels_of, got None"),
        ({"bucket_edges": [9, 9]}, r"bucket_edges must be strictly ascending, got \[9, 9\]"),
        ({"priority_step_s": -1.0}, "priority_step_s must be finite seconds"),
        ({"run_in": "main"}, "run_in must be 'worker' or 'caller', got 'main'"),
    ],
)
def test_wrong_options_raise_value_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchingScorer(NumberScorer(), **options)


@pytest.mark.parametrize("priority", [-129, 128])
def test_priority_out_of_range_raises_value_error(priority: int) -> None:
    with (
        BatchingScorer(NumberScorer()) as scorer,
        pytest.raises(ValueError, match=f"priority must be in .* got {priority}"),
    ):
        scorer.score(steps(1), priority=priority)


def test_stats_tell_how_long_steps_waited() -> None:
    inner = GatedScorer()
    with BatchingScorer(inner, max_wait_s=0.0) as scorer:
        asks = [partial(scorer.score, steps(number)) for number in (1, 2)]
        behind_a_busy_scorer(scorer, inner, asks)

        stats = scorer.stats
    assert stats.batch_sizes.counts[1:3].tolist() == [1, 1]
    assert stats.queue_lengths.counts[:2].tolist() == [2, 1]
    assert stats.wait_ms.counts.sum() == 3
    assert 0.0 < stats.wait_ms_p50 <= stats.wait_ms_p99
    assert stats.cancelled == stats.expired == stats.coalesced == 0


@given(st.lists(st.integers(0, 10**6), min_size=1), st.floats(0, 100))
def test_percentile_is_the_edge_above_the_value(values: list[int], q: float) -> None:
    bars = np.bincount([value.bit_length() for value in values], minlength=40)
    histogram = Histogram(bars, unit=0.001)

    exact = float(np.percentile(values, q, method="inverted_cdf"))

    assert exact / 1000 <= histogram.percentile(q) <= 2 * exact / 1000
    assert len(histogram.edges) == 41


def test_percentile_of_nothing_is_zero_and_its_range_is_checked() -> None:
    empty = Histogram(np.zeros(4, np.int64))

    assert empty.percentile(99) == 0.0
    with pytest.raises(ValueError, match=r"q must be in \[0, 100\], got 101"):
        empty.percentile(101)
