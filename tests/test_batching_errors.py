"""BatchingScorer: a fault reaches those whose steps it concerns, and nobody waits for ever."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import pytest
from batching_scorers import PATIENCE_S, FaultyScorer, GatedScorer, NumberScorer, steps, until
from similar_fast.batching import BatchingScorer
from similar_fast.errors import QueueClosedError, ScorerError
from similar_fast.types import Scores, Step


def raising(_: Scores) -> object:
    raise LookupError("thirteen")


def total_is_nan(scores: Scores) -> object:
    total = scores.total.copy()
    total[scores.total == np.sin(np.float32(13))] = np.nan
    return replace(scores, total=total)


def is_queued(scorer: BatchingScorer, n: int) -> bool:
    return scorer.stats.queue_length == n


def together(scorer: BatchingScorer, requests: list[list[Step]]) -> list[Future[Scores]]:
    """Asks with one thread a request; all of them end in one batch, in this order."""
    with ThreadPoolExecutor(len(requests)) as pool:
        futures = []
        for i, request in enumerate(requests):
            futures.append(pool.submit(scorer.score, request))
            if i < len(requests) - 1:
                queued = sum(map(len, requests[: i + 1]))
                until(partial(is_queued, scorer, queued))
    return futures


FAULTS: list[tuple[Callable[[Scores], object], str]] = [
    (raising, "the scorer raised LookupError: thirteen"),
    (lambda s: replace(s, total=s.total[:-1]), r"total is \(\d,\), expected \(\d,\)"),
    (lambda s: replace(s, total=s.total[:, None]), r"total is \(\d, 1\), expected \(\d,\)"),
    (lambda s: replace(s, total=s.total.astype(np.int64)), "total is int64, expected float32"),
    (lambda s: replace(s, dims=s.total), r"dims is \(\d,\), expected \(\d, 5\)"),
    (
        lambda s: replace(s, weights=np.ones((len(s), 4), np.float32)),
        r"weights is \(\d, 4\), expected \(\d, 5\)",
    ),
    (lambda s: replace(s, total=s.total.tolist()), "total is list, expected"),
    (lambda s: s.total, "the scorer returned ndarray, expected Scores"),
    (lambda _: None, "the scorer returned NoneType, expected Scores"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_fault_fails_its_caller_and_spares_the_neighbours(
    fault: Callable[[Scores], object], message: str
) -> None:
    inner = FaultyScorer(fault)
    requests = [steps(1, 2), steps(12, 13), steps(3)]
    with BatchingScorer(inner, max_batch_size=5, max_wait_s=60.0) as scorer:
        first, culprit, last = together(scorer, requests)

        with pytest.raises(ScorerError, match=message):
            culprit.result(PATIENCE_S)
        for future, request in ((first, requests[0]), (last, requests[2])):
            expected = NumberScorer().score(request)
            np.testing.assert_array_equal(future.result(PATIENCE_S).total, expected.total)
        assert inner.batches == [[1, 2, 12, 13, 3], [1, 2], [12, 13], [3]]
        assert (scorer.stats.batches, scorer.stats.retries) == (1, 3)


def test_scorer_error_has_the_original_as_its_cause() -> None:
    with BatchingScorer(FaultyScorer(raising)) as scorer, pytest.raises(ScorerError) as caught:
        scorer.score(steps(13))

    assert isinstance(caught.value.__cause__, LookupError)


def test_nan_fails_its_caller_without_a_retry() -> None:
    inner = FaultyScorer(total_is_nan)
    with BatchingScorer(inner, max_batch_size=5, max_wait_s=60.0) as scorer:
        first, culprit, last = together(scorer, [steps(1, 2), steps(12, 13), steps(3)])

        with pytest.raises(ScorerError, match="the scorer's total of step 1 is NaN"):
            culprit.result(PATIENCE_S)
        assert len(first.result(PATIENCE_S)) == 2
        assert len(last.result(PATIENCE_S)) == 1
        assert len(inner.batches) == 1


def test_fault_in_one_batch_fails_a_split_request_once() -> None:
    inner = FaultyScorer(total_is_nan)
    with BatchingScorer(inner, max_batch_size=4, max_wait_s=0) as scorer:
        with pytest.raises(ScorerError, match="total of step 13 is NaN"):
            scorer.score(steps(*range(100)))

        assert len(scorer.score(steps(1, 2))) == 2
        assert scorer.stats.queue_length == 0
        assert len(scorer._worker._waiting) == 0


def test_columns_that_come_and_go_fail_a_split_request() -> None:
    with (
        BatchingScorer(FaultyScorer(lambda s: replace(s, dims=None)), max_batch_size=4) as scorer,
        pytest.raises(ScorerError, match="dims for some batches and none for others"),
    ):
        scorer.score(steps(*range(10, 18)))


def test_dying_worker_wakes_everyone() -> None:
    class Exiting(GatedScorer):
        def score(self, steps: Sequence[Step]) -> Scores:
            super().score(steps)
            sys.exit("out of luck")

    inner = Exiting()
    scorer = BatchingScorer(inner, max_batch_size=1, capacity=1, max_wait_s=0)
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(scorer.score, steps(1))
        assert inner.entered.wait(PATIENCE_S)
        queued = pool.submit(scorer.score, steps(2))
        until(lambda: scorer.stats.queue_length == 1)
        without_room = pool.submit(scorer.score, steps(3))
        inner.gate.set()

        for future in (running, queued):
            with pytest.raises(ScorerError, match="the worker died: SystemExit") as caught:
                future.result(PATIENCE_S)
            assert isinstance(caught.value.__cause__, SystemExit)
        with pytest.raises((QueueClosedError, ScorerError)):
            without_room.result(PATIENCE_S)
    with pytest.raises(QueueClosedError) as closed:
        scorer.score(steps(4))
    assert isinstance(closed.value.__cause__, SystemExit)
    scorer.close()


def test_scorer_that_calls_its_own_batching_scorer_is_told() -> None:
    class Recursive:
        def score(self, steps: Sequence[Step]) -> Scores:
            return scorer.score(steps)

    with BatchingScorer(Recursive(), max_wait_s=0) as scorer:
        with pytest.raises(ScorerError, match="called its own BatchingScorer") as caught:
            scorer.score(steps(1))

        assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("run_in", ["worker", "caller"])
def test_scorer_that_closes_its_own_batching_scorer_does_not_wait_for_itself(
    run_in: Literal["worker", "caller"],
) -> None:
    class Closing(NumberScorer):
        def score(self, steps: Sequence[Step]) -> Scores:
            scorer.close(timeout_s=PATIENCE_S)
            return super().score(steps)

    scorer = BatchingScorer(Closing(), max_wait_s=0.0, run_in=run_in)
    with ThreadPoolExecutor(1) as pool:
        assert len(pool.submit(scorer.score, steps(1)).result(PATIENCE_S)) == 1

    with pytest.raises(QueueClosedError):
        scorer.score(steps(2))
    scorer.close(timeout_s=PATIENCE_S)


def test_event_loop_that_closed_harms_nobody() -> None:
    async def ask() -> None:
        tasks.append(asyncio.ensure_future(scorer.ascore(steps(1))))
        assert await asyncio.to_thread(inner.entered.wait, PATIENCE_S)

    tasks: list[asyncio.Future[Scores]] = []
    inner = GatedScorer()
    with BatchingScorer(inner, max_wait_s=0) as scorer, ThreadPoolExecutor(1) as pool:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(ask())
        neighbour = pool.submit(scorer.score, steps(2))
        until(partial(is_queued, scorer, 1))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        inner.gate.set()

        assert len(neighbour.result(PATIENCE_S)) == 1
        assert not tasks[0].done()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_process_is_told_that_it_has_no_worker() -> None:
    scorer = BatchingScorer(NumberScorer())
    scorer.score(steps(1))

    child = os.fork()
    if child == 0:
        try:
            scorer.score(steps(2))
        except QueueClosedError:
            os._exit(7)
        os._exit(1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    assert len(scorer.score(steps(3))) == 1
    scorer.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_process_asks_the_queue_nothing() -> None:
    scorer = BatchingScorer(NumberScorer())
    scorer.score(steps(1, 2))
    queue = scorer._batcher

    # A thread that is gone may hold the queue's lock; here whoever asks the queue fails.
    child = os.fork()
    if child == 0:
        try:
            del scorer._batcher
            stats = scorer.stats
            scorer.close()
            is_told = (stats.batches, stats.rows, stats.queue_length) == (1, 2, 0)
            os._exit(7 if is_told else 2)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    assert queue is scorer._batcher
    scorer.close()
