"""The compiled module under threads: waits let others run, answers stay right, nothing hangs."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from batching_scorers import PATIENCE_S, NumberScorer, steps
from similar_fast import _core
from similar_fast.batching import BatchingScorer
from similar_fast.batching.requests import Rows
from similar_fast.errors import QueueClosedError
from similar_fast.metrics import accuracy


def rows(request: int, count: int = 1, *, tokens: list[int] | None = None) -> Rows:
    """`count` rows of a request, from its first one on, as the queue takes them."""
    return (request, 0, count, 0, None, tokens, None, None)


def test_waiting_take_lets_other_threads_run() -> None:
    batcher = _core.Batcher(2, None, 60.0, 2)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(batcher.take_turn)
        batcher.push(rows(5), False)
        batcher.push(rows(6), False)

        assert taken.result(PATIENCE_S) == ([(5, 0, 1), (6, 0, 1)], [], [])


def test_waiting_push_lets_other_threads_run() -> None:
    batcher = _core.Batcher(1, None, 60.0, 1)
    batcher.push(rows(1), False)
    assert batcher.push_some(rows(2, 2), 0.001, _core.Call()) == 0
    with ThreadPoolExecutor(1) as pool:
        pushed = pool.submit(batcher.push_some, rows(2, 2), PATIENCE_S, _core.Call())

        assert batcher.take_turn() == ([(1, 0, 1)], [], [])
        assert batcher.next_turn([]) == ([(2, 0, 1)], [], [])
        assert pushed.result(PATIENCE_S) == 2
    assert batcher.next_turn([]) == ([(2, 1, 1)], [], [])


def test_finished_call_ends_a_wait_for_room() -> None:
    batcher = _core.Batcher(1, None, 60.0, 1)
    batcher.push(rows(1), False)
    call = _core.Call()
    call.finish()

    assert batcher.push_some(rows(2), PATIENCE_S, call) == 0


def test_waiting_call_lets_other_threads_run() -> None:
    call = _core.Call()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call.wait)
        assert not call.wait(0.001)
        call.finish()

        assert waiting.result(PATIENCE_S)
    assert call.wait(0.0)


def test_batcher_reports_by_its_answers() -> None:
    batcher = _core.Batcher(4, 10, 60.0, 4)
    batcher.push(rows(1, 2, tokens=[3, 3]), False)

    assert batcher.take_turn(0.0) == ([], [], [])
    assert batcher.cancel(1, 1) == 1
    assert batcher.cancel(9, 4) == 0
    assert len(batcher) == 1
    with pytest.raises(ValueError, match=r"entry \d+ already waits"):
        batcher.push((1, 1, 1, 0, None, [1], None, None), False)
    with pytest.raises(ValueError, match="11 tokens, more than a batch may hold"):
        batcher.push(rows(3, tokens=[11]), False)
    with pytest.raises(ValueError, match="tokens must hold one number a row, got 2 for 1 rows"):
        batcher.push(rows(3, tokens=[1, 1]), False)
    with pytest.raises(ValueError, match="timeout_s must be finite seconds"):
        batcher.take_turn(-1.0)
    batcher.close()
    with pytest.raises(QueueClosedError):
        batcher.push(rows(4), False)
    assert batcher.take_turn() == ([(1, 1, 1)], [], [])
    assert batcher.next_turn([]) is None


def test_accuracy_is_the_same_in_every_thread() -> None:
    rng = np.random.default_rng(0)
    chosen, rejected = rng.normal(size=(2, 20_000))
    groups = rng.integers(0, 7, 20_000)
    expected = accuracy(chosen, rejected, groups=groups)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: accuracy(chosen, rejected, groups=groups), range(32)))

    assert all(result == expected for result in results)


def test_stress_every_call_ends_with_its_rows_or_an_error() -> None:
    """Callers, time-outs and a close at random moments, over queues of many shapes."""

    def ask(scorer: BatchingScorer, seed: int) -> None:
        rng = random.Random(seed)
        try:
            for _ in range(30):
                mine = steps(*(rng.randrange(1000) for _ in range(rng.randrange(12))))
                timeout_s = rng.choice([None, None, 0.0, 0.0005])
                try:
                    priority = rng.randrange(-2, 3)
                    answer = scorer.score(mine, timeout_s=timeout_s, priority=priority)
                except TimeoutError:
                    outcomes.append("late")
                else:
                    np.testing.assert_array_equal(answer.total, NumberScorer().score(mine).total)
                    outcomes.append("answered")
        except QueueClosedError:
            outcomes.append("closed")

    outcomes: list[str] = []
    for round_ in range(12):
        rng = random.Random(round_)
        size = rng.randrange(1, 12)
        scorer = BatchingScorer(
            NumberScorer(),
            max_batch_size=size,
            max_wait_s=rng.choice([0.0, 0.0005]),
            capacity=size + rng.randrange(8),
            max_batch_tokens=rng.choice([None, 64]),
            bucket_edges=rng.choice([(), (3,)]),
            size_of=lambda step: int(step.action) % 7,
            coalesce=rng.choice([False, True]),
            run_in=rng.choice(["worker", "caller"]),
        )
        threads = [
            threading.Thread(target=ask, args=(scorer, 100 * round_ + i), daemon=True)
            for i in range(16)
        ]
        for thread in threads:
            thread.start()
        threads[0].join(PATIENCE_S)
        scorer.close()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in threads)
        assert len(scorer._batcher) == 0
        assert len(scorer._worker._waiting) == 0

    assert set(outcomes) == {"late", "answered", "closed"}
