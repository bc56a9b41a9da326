"""BatchingScorer: rows, order, limits, room, closing, tasks, memory."""

import asyncio
import gc
import math
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import pytest
from batching_scorers import PATIENCE_S, GatedScorer, NumberScorer, step, steps, until
from similar_fast.batching import BatchingScorer, estimate_tokens
from similar_fast.batching.requests import Request
from similar_fast.errors import QueueClosedError, QueueFullError
from similar_fast.protocols import Scorer
from similar_fast.types import Scores, Step


def assert_same(found: Scores, expected: Scores) -> None:
    np.testing.assert_array_equal(found.total, expected.total, strict=True)
    np.testing.assert_array_equal(found.dims, expected.dims, strict=True)
    np.testing.assert_array_equal(found.weights, expected.weights, strict=True)


def test_score_from_many_threads_equals_a_direct_call() -> None:
    def ask(thread: int) -> None:
        for turn in range(40):
            mine = steps(*range(100 * thread, 100 * thread + 1 + turn % 7))
            assert_same(scorer.score(mine), NumberScorer().score(mine))

    inner = NumberScorer()
    with BatchingScorer(inner, max_batch_size=16) as scorer, ThreadPoolExecutor(16) as pool:
        for outcome in [pool.submit(ask, thread) for thread in range(16)]:
            outcome.result(PATIENCE_S)

        assert isinstance(scorer, Scorer)
        stats = scorer.stats
    assert (
        stats.rows == sum(map(len, inner.batches)) == 16 * sum(1 + turn % 7 for turn in range(40))
    )
    assert stats.batches == len(inner.batches) < 16 * 40
    assert max(map(len, inner.batches)) <= 16
    assert (stats.retries, stats.queue_length) == (0, 0)
    assert stats.mean_fill == pytest.approx(stats.rows / stats.batches / 16)


def test_waiting_callers_share_one_batch() -> None:
    inner = GatedScorer()
    with (
        BatchingScorer(inner, max_batch_size=8, max_wait_s=0) as scorer,
        ThreadPoolExecutor(4) as pool,
    ):
        first = pool.submit(scorer.score, steps(1))
        assert inner.entered.wait(PATIENCE_S)
        others = [pool.submit(scorer.score, steps(10 * i, 10 * i + 1)) for i in (1, 2, 3)]
        until(lambda: scorer.stats.queue_length == 6)
        inner.gate.set()

        answers = [other.result(PATIENCE_S) for other in [first, *others]]

    assert list(map(len, inner.batches)) == [1, 6]
    for i, answer in zip((1, 2, 3), answers[1:], strict=True):
        assert_same(answer, NumberScorer().score(steps(10 * i, 10 * i + 1)))


def test_large_request_is_split_and_put_together() -> None:
    inner = NumberScorer()
    with BatchingScorer(inner, max_batch_size=8, capacity=8, max_wait_s=0) as scorer:
        answer = scorer.score(steps(*range(100)))

    assert_same(answer, NumberScorer().score(steps(*range(100))))
    assert max(map(len, inner.batches)) <= 8
    assert list(chain(*inner.batches)) == list(range(100))


def test_token_limit_splits_batches() -> None:
    inner = NumberScorer()
    long = [step(number, text="x" * 396) for number in range(6)]
    assert estimate_tokens(long[0]) == (6 + 1 + 396) // 4 + 1 == 101
    with BatchingScorer(inner, max_batch_tokens=250) as scorer:
        scorer.score(long)

        with pytest.raises(ValueError, match=r"251 tokens, more than a batch may hold \(250\)"):
            scorer.score([step(1, text="x" * 996)])
    assert list(map(len, inner.batches)) == [2, 2, 2]


@pytest.mark.parametrize("size", [-1, 2**32])
def test_size_out_of_range_raises_value_error(size: int) -> None:
    with (
        BatchingScorer(NumberScorer(), max_batch_tokens=9, size_of=lambda _: size) as scorer,
        pytest.raises(ValueError, match=f"size_of must be in .* got {size}"),
    ):
        scorer.score(steps(1))


def test_size_that_is_no_integer_raises_value_error() -> None:
    with (
        BatchingScorer(NumberScorer(), max_batch_tokens=9, size_of=lambda _: 1.5) as scorer,  # type: ignore[arg-type,return-value]  # the mistake under test
        pytest.raises(ValueError, match=r"size_of must return an integer, got 1\.5"),
    ):
        scorer.score(steps(1))


def test_timeout_that_is_nan_raises_value_error() -> None:
    message = "timeout_s must be a number of seconds, got nan"
    with BatchingScorer(NumberScorer()) as scorer:
        with pytest.raises(ValueError, match=message):
            scorer.score(steps(1), timeout_s=math.nan)
        with pytest.raises(ValueError, match=message):
            asyncio.run(scorer.ascore(steps(1), timeout_s=math.nan))
        with pytest.raises(ValueError, match=message):
            scorer.close(timeout_s=math.nan)

        assert len(scorer.score(steps(1))) == 1


@pytest.mark.parametrize("timeout_s", [1e10, 1e300, math.inf])
def test_huge_timeout_is_none(timeout_s: float) -> None:
    scorer = BatchingScorer(NumberScorer(), max_wait_s=0.0)

    assert len(scorer.score(steps(1), timeout_s=timeout_s)) == 1
    assert len(asyncio.run(scorer.ascore(steps(1), timeout_s=timeout_s))) == 1
    scorer.close(timeout_s=timeout_s)


def test_no_steps_are_answered_without_the_scorer() -> None:
    inner = NumberScorer()
    with BatchingScorer(inner) as scorer:
        answer = scorer.score([])

    assert len(answer) == 0
    assert answer.total.dtype == np.float32
    assert inner.batches == []


def test_answer_is_a_copy_of_what_the_scorer_holds() -> None:
    class Reusing:
        buffer = np.zeros(64, np.float32)

        def score(self, steps: Sequence[Step]) -> Scores:
            self.buffer[: len(steps)] = [int(step.action) for step in steps]
            return Scores(self.buffer[: len(steps)])

    with BatchingScorer(Reusing(), max_batch_size=2, max_wait_s=0) as scorer:
        split = scorer.score(steps(1, 2, 3, 4))
        first = scorer.score(steps(5, 6))
        scorer.score(steps(7, 8))

    assert split.total.tolist() == [1, 2, 3, 4]
    assert first.total.tolist() == [5, 6]
    assert first.dims is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size must be at least 1"),
        ({"max_batch_tokens": 0}, "max_batch_tokens must be at least 1"),
        ({"max_wait_s": -1.0}, "max_wait_s must be finite seconds, at least 0, got -1"),
        ({"capacity": 63}, "capacity must be at least max_batch_size, got 63 < 64"),
        ({"on_full": "drop"}, "on_full must be 'wait' or 'error', got 'drop'"),
    ],
)
def test_wrong_limits_raise_value_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchingScorer(NumberScorer(), **options)


def test_full_queue_fails_the_whole_call_where_asked_to() -> None:
    inner = GatedScorer()
    with (
        BatchingScorer(
            inner, max_batch_size=2, capacity=2, max_wait_s=0, on_full="error"
        ) as scorer,
        ThreadPoolExecutor(2) as pool,
    ):
        running = pool.submit(scorer.score, steps(1, 2))
        assert inner.entered.wait(PATIENCE_S)
        waiting = pool.submit(scorer.score, steps(3))
        until(lambda: scorer.stats.queue_length == 1)

        with pytest.raises(QueueFullError, match="holds 1 of at most 2 entries"):
            scorer.score(steps(4, 5))
        with pytest.raises(QueueFullError):
            asyncio.run(scorer.ascore(steps(4, 5)))

        assert scorer.stats.queue_length == 1
        inner.gate.set()
        assert len(running.result(PATIENCE_S)) == 2
        assert len(waiting.result(PATIENCE_S)) == 1
    assert inner.batches == [[1, 2], [3]]


def test_full_queue_makes_callers_wait() -> None:
    inner = GatedScorer()
    with (
        BatchingScorer(inner, max_batch_size=2, capacity=2, max_wait_s=0) as scorer,
        ThreadPoolExecutor(3) as pool,
    ):
        running = pool.submit(scorer.score, steps(1, 2))
        assert inner.entered.wait(PATIENCE_S)
        large = pool.submit(scorer.score, steps(3, 4, 5, 6))
        until(lambda: scorer.stats.queue_length == 2)
        with pytest.raises(TimeoutError, match=r"1 scores did not arrive in 0\.01 s"):
            scorer.score(steps(7), timeout_s=0.01)
        inner.gate.set()

        assert len(running.result(PATIENCE_S)) == 2
        assert_same(large.result(PATIENCE_S), NumberScorer().score(steps(3, 4, 5, 6)))
    assert 7 not in list(chain(*inner.batches))


def test_timeout_takes_the_steps_out_of_the_queue() -> None:
    inner = GatedScorer()
    with BatchingScorer(inner, max_wait_s=0) as scorer, ThreadPoolExecutor(1) as pool:
        running = pool.submit(scorer.score, steps(1))
        assert inner.entered.wait(PATIENCE_S)

        with pytest.raises(TimeoutError):
            scorer.score(steps(2, 3), timeout_s=0.01)

        assert scorer.stats.queue_length == 0
        inner.gate.set()
        assert len(running.result(PATIENCE_S)) == 1
    assert inner.batches == [[1]]


@pytest.mark.skipif(sys.platform == "win32", reason="no pthread_kill")
def test_interrupt_takes_the_steps_out_of_the_queue(request: pytest.FixtureRequest) -> None:
    def interrupt() -> None:
        assert inner.entered.wait(PATIENCE_S)
        until(lambda: scorer.stats.queue_length == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    inner = GatedScorer()
    # A process that was started in the background may ignore the signal.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler))
    with BatchingScorer(inner, max_wait_s=0) as scorer, ThreadPoolExecutor(2) as pool:
        running = pool.submit(scorer.score, steps(1))
        assert inner.entered.wait(PATIENCE_S)
        interrupter = pool.submit(interrupt)

        with pytest.raises(KeyboardInterrupt):
            scorer.score(steps(2))

        interrupter.result(PATIENCE_S)
        assert scorer.stats.queue_length == 0
        inner.gate.set()
        running.result(PATIENCE_S)
    assert inner.batches == [[1]]


def test_close_drains_and_refuses() -> None:
    inner = GatedScorer()
    scorer = BatchingScorer(inner, max_batch_size=2, capacity=2, max_wait_s=0)
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(scorer.score, steps(1))
        assert inner.entered.wait(PATIENCE_S)
        queued = pool.submit(scorer.score, steps(2, 3))
        until(lambda: scorer.stats.queue_length == 2)
        without_room = pool.submit(scorer.score, steps(4))

        closing = pool.submit(scorer.close)
        with pytest.raises(QueueClosedError):
            without_room.result(PATIENCE_S)
        inner.gate.set()

        closing.result(PATIENCE_S)
        assert len(running.result(PATIENCE_S)) == 1
        assert len(queued.result(PATIENCE_S)) == 2
    scorer.close()
    for late in ([], steps(5)):
        with pytest.raises(QueueClosedError, match="the queue is closed"):
            scorer.score(late)
        with pytest.raises(QueueClosedError):
            asyncio.run(scorer.ascore(late))


def test_ascore_merges_many_tasks() -> None:
    async def ask(number: int) -> Scores:
        return await scorer.ascore(steps(number, number + 1))

    async def ask_all() -> list[Scores]:
        return await asyncio.gather(*map(ask, range(100)))

    inner = NumberScorer()
    with BatchingScorer(inner, max_batch_size=32, capacity=32) as scorer:
        answers = asyncio.run(ask_all())

    for number, answer in enumerate(answers):
        assert_same(answer, NumberScorer().score(steps(number, number + 1)))
    assert len(inner.batches) < 50


def test_cancelled_task_leaves_the_queue() -> None:
    async def ask() -> None:
        running = asyncio.ensure_future(scorer.ascore(steps(1)))
        assert await asyncio.to_thread(inner.entered.wait, PATIENCE_S)
        queued = asyncio.ensure_future(scorer.ascore(steps(2, 3)))
        without_room = asyncio.ensure_future(scorer.ascore(steps(4)))
        await asyncio.to_thread(until, lambda: scorer.stats.queue_length == 2)
        for task in (queued, without_room):
            task.cancel()
        outcomes = await asyncio.gather(queued, without_room, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
        assert scorer.stats.queue_length == 0
        inner.gate.set()
        assert len(await running) == 1

    inner = GatedScorer()
    with BatchingScorer(inner, max_batch_size=2, capacity=2, max_wait_s=0) as scorer:
        asyncio.run(ask())
    assert inner.batches == [[1]]


def test_caller_that_leaves_while_its_batch_runs_harms_nobody() -> None:
    async def ask() -> None:
        leaving = asyncio.ensure_future(scorer.ascore(steps(1)))
        assert await asyncio.to_thread(inner.entered.wait, PATIENCE_S)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        inner.gate.set()
        assert_same(await scorer.ascore(steps(2)), NumberScorer().score(steps(2)))

    inner = GatedScorer()
    with BatchingScorer(inner, max_wait_s=0) as scorer:
        asyncio.run(ask())
    assert inner.batches == [[1], [2]]


def test_tables_stay_empty_over_many_scores() -> None:
    def ask(_: int) -> None:
        for number in range(1250):
            scorer.score(steps(number))

    with BatchingScorer(NumberScorer(), max_wait_s=0) as scorer, ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))

        assert scorer.stats.rows == 10_000
        assert len(scorer._worker._waiting) == 0
        assert len(scorer._batcher) == 0
        gc.collect()
        left = [thing for thing in gc.get_objects() if type(thing) is Request]
        assert left == []


def test_dropped_scorer_ends_its_worker() -> None:
    scorer = BatchingScorer(NumberScorer())
    scorer.score(steps(1))
    thread, gone = scorer._thread, weakref.ref(scorer)

    del scorer
    gc.collect()

    assert gone() is None
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.mark.parametrize("is_stuck", [False, True])
def test_open_scorer_does_not_keep_the_process(*, is_stuck: bool) -> None:
    script = f"""
import threading
from similar_fast.batching import BatchingScorer
from similar_fast.types import Step

entered = threading.Event()

class Stuck:
    def score(self, steps):
        entered.set()
        threading.Event().wait()

scorer = BatchingScorer(Stuck())
if {is_stuck}:
    threading.Thread(target=scorer.score, args=([Step("", (), "")],), daemon=True).start()
    entered.wait()
print("done")
"""
    ended = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


def test_estimate_tokens_counts_all_texts() -> None:
    assert estimate_tokens(Step("abcd", ("ef", "gh"), "ijkl", "mnop")) == 16 // 4 + 1
