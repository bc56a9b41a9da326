"""`BatchingScorer`: any scorer behind a batching queue, for any number of threads and tasks.

Only ids and sizes cross into the queue; the steps stay here. A caller registers its request under a
fresh number, pushes the number and how many rows there are, and waits. A turn (`worker.py`) takes a
batch of rows, looks the steps up, calls the wrapped scorer and hands every caller its own rows.
"""

import asyncio
import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

import numpy as np

from similar_fast import _core
from similar_fast.batching.requests import Request
from similar_fast.batching.sizes import StepKeys, estimate_tokens, step_sizes
from similar_fast.batching.stats import BatchingStats, Histogram
from similar_fast.batching.worker import Worker
from similar_fast.errors import QueueClosedError, QueueFullError
from similar_fast.protocols import Scorer
from similar_fast.scoring import score_scale
from similar_fast.types import Scores, Step

__all__ = ["BatchingScorer"]

# A wait for room ends this often, so that Ctrl-C reaches a caller whose queue stays full.
_SIGNAL_S = 0.05
# How often a task asks again for room; it must not block its event loop.
_ROOM_POLL_S = 0.001
# About 30 years; who would wait longer waits without end.
_ENDLESS_S = 1e9
# How long the end of the process waits for a scorer that is still at work.
_EXIT_S = 1.0


class BatchingScorer:
    """A scorer that merges the requests of many callers into batches for another scorer.

    Any number of threads call `score`, any number of tasks await `ascore`; the wrapped scorer is
    called by one thread at a time. Each caller gets its own rows, in order, as the wrapped scorer
    returned them for the batch they were in. A request may be spread over several batches.

    A batch is run as soon as it is full, or its oldest step has waited for `max_wait_s`. Where the
    scorer raises on a batch of several callers, or its answer does not fit the batch, each
    caller's part is retried alone, so that one bad step never fails its neighbours. A total that
    is NaN fails the caller whose step it is, without a retry.

    Args:
        scorer: What scores the batches. It must not call this object itself.
        max_batch_size: Steps in a batch, at most.
        max_batch_tokens: Tokens in a batch, at most, as `size_of` counts them; None for no limit.
        max_batch_pixels: Pixels in a batch, at most, as `pixels_of` counts them; None for no limit.
        is_padded: Whether a batch costs its size times its longest step, as where a model pads,
            rather than the sum of its tokens.
        bucket_edges: Token counts, ascending, at which length buckets end: a step shares batches
            with those of its own bucket only. Empty for one bucket.
        max_wait_s: Seconds that the oldest step of a bucket waits for company.
        capacity: Steps that may wait at once; at least `max_batch_size`.
        on_full: What a call does that finds no room: `wait` for it, or fail with an `error`; then
            a call is queued as a whole or not at all, so one of more than `capacity` steps fails.
        priority_step_s: Seconds of waiting that one level of priority is worth: a step of priority
            p overtakes those of priority 0 that came up to `p * priority_step_s` before it.
        coalesce: Whether equal steps that wait at the same time share one row of a batch: equal as
            `Step` compares, with the very same `screenshot` object. Only for a scorer whose answer
            depends on the step alone; it hashes every step, so it is off unless asked for.
        run_in: The thread that calls the scorer: the `worker`'s own, always the same one; or that
            of a `caller` too, which saves it two switches of threads. A caller runs a batch where
            one is ready as it comes and none is running; never in `ascore`, nor with a
            `timeout_s`, nor on the main thread, where Ctrl-C would end everybody's batch.
        size_of: Tokens of a step, at least 0; called only where something depends on it.
        pixels_of: Pixels of a step, at least 0; needed where `max_batch_pixels` is set.

    Raises:
        ValueError: A limit is out of its range, an option is none of those named, or
            `max_batch_pixels` has no `pixels_of`.

    Example:
        >>> class Length:
        ...     def score(self, steps):
        ...         return Scores(np.array([len(step.action) for step in steps], np.float32))
        >>> with BatchingScorer(Length()) as scorer:
        ...     scorer.score([Step("book a room", (), "click OK")]).total
        array([8.], dtype=float32)
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        max_batch_size: int = 64,
        max_batch_tokens: int | None = None,
        max_batch_pixels: int | None = None,
        is_padded: bool = False,
        bucket_edges: Sequence[int] = (),
        max_wait_s: float = 0.002,
        capacity: int = 4096,
        on_full: Literal["wait", "error"] = "wait",
        priority_step_s: float = 0.1,
        coalesce: bool = False,
        run_in: Literal["worker", "caller"] = "worker",
        size_of: Callable[[Step], int] = estimate_tokens,
        pixels_of: Callable[[Step], int] | None = None,
    ) -> None:
        if on_full not in ("wait", "error"):
            raise ValueError(f"on_full must be 'wait' or 'error', got {on_full!r}")
        if run_in not in ("worker", "caller"):
            raise ValueError(f"run_in must be 'worker' or 'caller', got {run_in!r}")
        if max_batch_pixels is not None and pixels_of is None:
            raise ValueError("max_batch_pixels needs pixels_of, got None")
        self._batcher = _core.Batcher(
            max_batch_size,
            max_batch_tokens,
            max_wait_s,
            capacity,
            max_batch_pixels,
            is_padded,
            list(bucket_edges),
            priority_step_s,
        )
        self._scale = score_scale(scorer)
        self._worker = Worker(scorer, self._batcher)
        self._max_batch_size = max_batch_size
        self._capacity = capacity
        self._fails_when_full = on_full == "error"
        self._callers_run = run_in == "caller"
        self._size_of = size_of if max_batch_tokens is not None or bucket_edges else None
        self._pixels_of = None if max_batch_pixels is None else pixels_of
        self._keys = StepKeys() if coalesce else None
        # The thread holds the worker, not this object: dropping the last reference stops it.
        self._thread = threading.Thread(
            target=self._worker.run, name="similar-fast-batching", daemon=True
        )
        self._thread.start()
        weakref.finalize(self, _stop, self._worker, self._batcher, self._thread)

    def score(
        self, steps: Sequence[Step], *, timeout_s: float | None = None, priority: int = 0
    ) -> Scores:
        """The scores of `steps`, in their order; blocks until they are there.

        No steps are answered without the scorer, by no scores and no dimensions. A call that ends
        early, by its timeout or by Ctrl-C, takes its steps out of the queue.

        Args:
            steps: `[n]` steps.
            timeout_s: Seconds to wait, for room and for the scores; None waits without end. A step
                that still waits then is never scored.
            priority: In -128..=127; more goes earlier, see `priority_step_s`.

        Raises:
            ScorerError: The scorer raised (the cause is its error), or its answer does not fit.
            QueueFullError: There is no room, and `on_full` is `error`.
            QueueClosedError: `close` was called, or the worker died.
            TimeoutError: The scores did not arrive in time.
            ValueError: A step is larger than a batch may be, or a number is out of its range.
            RuntimeError: The wrapped scorer called this method.
        """
        timeout_s = _checked(timeout_s)
        end = math.inf if timeout_s is None else time.monotonic() + timeout_s
        request = self._open(steps)
        try:
            if not self._push(request, priority, timeout_s, may_run=timeout_s is None):
                self._push_as_room_comes(request, priority, end)
            if not request.is_done:
                self._wait(request, end)
            return request.result()
        except TimeoutError:
            raise _late(request, timeout_s) from None
        finally:
            if not request.is_done:
                self._worker.forget(request)

    async def ascore(
        self, steps: Sequence[Step], *, timeout_s: float | None = None, priority: int = 0
    ) -> Scores:
        """The scores of `steps`, in their order, without blocking the event loop.

        Cancelling the task takes its steps out of the queue.

        Args:
            steps: `[n]` steps.
            timeout_s: As `score`.
            priority: As `score`.

        Raises:
            ScorerError: As `score`.
            QueueFullError: As `score`.
            QueueClosedError: As `score`.
            TimeoutError: As `score`.
            ValueError: As `score`.
        """
        timeout_s = _checked(timeout_s)
        request = self._open(steps)
        request.awaited_future()
        try:
            if timeout_s is None:
                await self._arrival(request, priority, None)
            else:
                async with asyncio.timeout(timeout_s):
                    await self._arrival(request, priority, timeout_s)
            return request.result()
        except TimeoutError:
            raise _late(request, timeout_s) from None
        finally:
            if not request.is_done:
                self._worker.forget(request)

    @property
    def scale(self) -> tuple[float, float] | None:
        """The wrapped scorer's `scale`, so that a search normalises as with the scorer itself."""
        return self._scale

    @property
    def stats(self) -> BatchingStats:
        """What was done so far, and how long steps waited for it.

        In a forked process only what the wrapped scorer was asked for before the fork.
        """
        batches, rows = self._worker.batches, self._worker.rows
        done = BatchingStats(
            batches=batches,
            rows=rows,
            retries=self._worker.retries,
            mean_fill=rows / (batches * self._max_batch_size) if batches else 0.0,
            queue_length=0,
        )
        if self._worker.is_orphan:
            return done
        (cancelled, expired, coalesced), bars = self._batcher.stats()
        lengths, waits_us, sizes = (np.array(counts, np.int64) for counts in bars)
        return replace(
            done,
            queue_length=len(self._batcher),
            cancelled=cancelled,
            expired=expired,
            coalesced=coalesced,
            queue_lengths=Histogram(lengths),
            wait_ms=Histogram(waits_us, unit=0.001),
            batch_sizes=Histogram(sizes),
        )

    def close(self, *, timeout_s: float | None = None) -> None:
        """Lets what is queued be scored, then stops the worker; a second call does nothing.

        Later calls, and calls that still wait for room, raise `QueueClosedError`. The wrapped
        scorer may call this too: it then returns at once. In a forked process it does nothing.

        Args:
            timeout_s: Seconds to wait for the end of what is queued; None waits without end.

        Raises:
            TimeoutError: The scorer was still at work then. It goes on, and so do those who wait
                for it; only new calls are refused.
            ValueError: `timeout_s` is NaN.
        """
        timeout_s = _checked(timeout_s)
        if self._worker.is_orphan:
            return
        self._batcher.close()
        if not self._worker.is_run_here and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise TimeoutError(f"the scorer was still at work after {timeout_s} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, steps: Sequence[Step]) -> Request:
        worker = self._worker
        if worker.is_run_here:
            raise RuntimeError("the wrapped scorer called its own BatchingScorer")
        if worker.is_orphan:
            raise QueueClosedError("the queue is closed: this process is a fork without a worker")
        steps = tuple(steps)
        tokens = pixels = keys = None
        if self._size_of is not None:
            tokens = step_sizes("size_of", self._size_of, steps)
        if self._pixels_of is not None:
            pixels = step_sizes("pixels_of", self._pixels_of, steps)
        if self._keys is not None:
            keys = self._keys.of(steps)
        return worker.open(steps, tokens, pixels, keys)

    def _push(
        self, request: Request, priority: int, timeout_s: float | None, *, may_run: bool
    ) -> bool:
        """Pushes all rows at once; False where they must wait for room.

        Where this thread may run a batch, and one is ready and none is running, it runs it.
        """
        n = len(request.steps)
        if timeout_s is not None and timeout_s <= 0 < n:
            raise TimeoutError
        may_run = may_run and self._callers_run and not _is_main_thread()
        if n > self._capacity and not self._fails_when_full:
            return False
        try:
            taken = self._batcher.push(request.rows(0, n, priority, timeout_s), may_run)
        except QueueFullError:
            if self._fails_when_full:
                raise
            return False
        except QueueClosedError as error:
            raise error from self._worker.failure
        if taken is not None:
            self._worker.lead(taken)
        if n == 0:
            self._worker.answer_none(request)
        return True

    def _push_some(
        self, request: Request, priority: int, *, start: int, left_s: float, wait_s: float
    ) -> int:
        """Pushes what there is room for from row `start` on; how many rows these are."""
        call = request.awaited_call()
        stop = min(len(request.steps), start + self._capacity)
        timeout_s = None if left_s == math.inf else left_s
        rows = request.rows(start, stop, priority, timeout_s)
        try:
            return self._batcher.push_some(rows, min(wait_s, left_s), call)
        except QueueClosedError as error:
            raise error from self._worker.failure

    def _push_as_room_comes(self, request: Request, priority: int, end: float) -> None:
        pushed = 0
        while pushed < len(request.steps) and not request.is_done:
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            pushed += self._push_some(
                request, priority, start=pushed, left_s=left_s, wait_s=_SIGNAL_S
            )

    def _wait(self, request: Request, end: float) -> None:
        # Who finishes a request marks it done before it looks for a call.
        call = request.awaited_call()
        if request.is_done:
            return
        left_s = None if end == math.inf else max(0.0, end - time.monotonic())
        if not call.wait(left_s):
            raise TimeoutError

    async def _arrival(self, request: Request, priority: int, timeout_s: float | None) -> None:
        """Pushes a task's rows, and returns once the request is done."""
        if not self._push(request, priority, timeout_s, may_run=False):
            end = math.inf if timeout_s is None else time.monotonic() + timeout_s
            pushed = 0
            while pushed < len(request.steps) and not request.is_done:
                left_s = max(0.0, end - time.monotonic())
                pushed += self._push_some(
                    request, priority, start=pushed, left_s=left_s, wait_s=0.0
                )
                if pushed < len(request.steps):
                    # The queue tells threads of room, not tasks.
                    await asyncio.sleep(_ROOM_POLL_S)
        if not request.is_done:
            await request.awaited_future()


def _is_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _checked(timeout_s: float | None) -> float | None:
    """The seconds to wait; None where the wait has no end."""
    if timeout_s is None or timeout_s > _ENDLESS_S:
        return None
    if math.isnan(timeout_s):
        raise ValueError(f"timeout_s must be a number of seconds, got {timeout_s}")
    return timeout_s


def _late(request: Request, timeout_s: float | None) -> TimeoutError:
    return TimeoutError(f"{len(request.steps)} scores did not arrive in {timeout_s} s")


def _stop(worker: Worker, batcher: _core.Batcher, thread: threading.Thread) -> None:
    """Ends a worker whose scorer was dropped, or whose process ends."""
    if worker.is_orphan:
        return
    batcher.close()
    if not worker.is_run_here and threading.current_thread() is not thread:
        thread.join(_EXIT_S)
