"""`BatchingScorer`: any scorer behind a batching queue, for any number of threads and tasks.

Only ids and sizes cross into the queue; the steps stay here. Callers register their rows under
fresh ids, push the ids and wait. One worker thread takes batches of ids, looks the steps up, calls
the wrapped scorer and hands every caller its own rows.
"""

import asyncio
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from similar_fast import _core
from similar_fast.errors import QueueClosedError, QueueFullError, ScorerError
from similar_fast.protocols import Scorer
from similar_fast.scoring import call_scorer, score_scale
from similar_fast.types import Scores, Step

__all__ = ["BatchingScorer", "BatchingStats", "estimate_tokens"]

# A wait for room ends this often, so that Ctrl-C reaches a caller whose queue stays full.
_SIGNAL_S = 0.05
# How often a task asks again for room; it must not block its event loop.
_ROOM_POLL_S = 0.001
# How long the end of the process waits for a scorer that is still at work.
_EXIT_S = 1.0
_MAX_TOKENS = 2**32 - 1


def estimate_tokens(step: Step) -> int:
    """About how many tokens the text of `step` has: its characters / 4, plus 1.

    Four characters a token is the usual rule of thumb for English text; a screenshot counts
    nothing.
    """
    history = sum(len(action) for action in step.history)
    return (len(step.instruction) + history + len(step.action) + len(step.observation)) // 4 + 1


@dataclass(frozen=True, slots=True)
class BatchingStats:
    """What a `BatchingScorer` has done so far.

    Attributes:
        batches: Batches that were handed to the wrapped scorer, retries excluded.
        rows: Steps in these batches.
        retries: Further calls, with one caller's part of a batch that had failed as a whole.
        mean_fill: Mean size of a batch over `max_batch_size`, in [0, 1]; 0 before the first.
        queue_length: Steps that wait now.
    """

    batches: int
    rows: int
    retries: int
    mean_fill: float
    queue_length: int


class BatchingScorer:
    """A scorer that merges the requests of many callers into batches for another scorer.

    Any number of threads call `score`, any number of tasks await `ascore`; the wrapped scorer is
    called by one worker thread only. Each caller gets its own rows, in order, as the wrapped
    scorer returned them for the batch they were in. A request may be spread over several batches.

    A batch is run as soon as it is full, or its oldest step has waited for `max_wait_s`. Where the
    scorer raises on a batch of several callers, or its answer does not fit the batch, each
    caller's part is retried alone, so that one bad step never fails its neighbours. A total that
    is NaN fails the caller whose step it is, without a retry.

    Args:
        scorer: What scores the batches. It must not call this object itself.
        max_batch_size: Steps in a batch, at most.
        max_batch_tokens: Tokens in a batch, at most, as `size_of` counts them; None for no limit.
        max_wait_s: Seconds that the oldest step waits for company.
        capacity: Steps that may wait at once; at least `max_batch_size`.
        on_full: What a call does that finds no room: `wait` for it, or fail with an `error`; then
            a call is queued as a whole or not at all, so one of more than `capacity` steps fails.
        size_of: Tokens of a step, at least 0; called only where `max_batch_tokens` is set.

    Raises:
        ValueError: A limit is out of its range, or `on_full` is neither of the two.

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
        max_wait_s: float = 0.002,
        capacity: int = 4096,
        on_full: Literal["wait", "error"] = "wait",
        size_of: Callable[[Step], int] = estimate_tokens,
    ) -> None:
        if on_full not in ("wait", "error"):
            raise ValueError(f"on_full must be 'wait' or 'error', got {on_full!r}")
        self._batcher = _core.Batcher(max_batch_size, max_batch_tokens, max_wait_s, capacity)
        self._scale = score_scale(scorer)
        self._worker = _Worker(scorer, self._batcher)
        self._max_batch_size = max_batch_size
        self._capacity = capacity
        self._on_full = on_full
        self._size_of = None if max_batch_tokens is None else size_of
        # The thread holds the worker, not this object: dropping the last reference stops it.
        self._thread = threading.Thread(
            target=self._worker.run, name="similar-fast-batching", daemon=True
        )
        self._thread.start()
        weakref.finalize(self, _stop, self._batcher, self._thread)

    def score(self, steps: Sequence[Step], *, timeout_s: float | None = None) -> Scores:
        """The scores of `steps`, in their order; blocks until they are there.

        No steps are answered without the scorer, by no scores and no dimensions. A call that ends
        early, by its timeout or by Ctrl-C, takes its steps out of the queue.

        Args:
            steps: `[n]` steps.
            timeout_s: Seconds to wait, for room and for the scores; None waits without end.

        Raises:
            ScorerError: The scorer raised (the cause is its error), or its answer does not fit.
            QueueFullError: There is no room, and `on_full` is `error`.
            QueueClosedError: `close` was called, or the worker died.
            TimeoutError: The scores did not arrive in time.
            ValueError: A step is larger than `max_batch_tokens`, or its size is out of range.
            RuntimeError: The wrapped scorer called this method.
        """
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        request = self._open(steps)
        try:
            is_pushed = False
            while not is_pushed and (left_s := deadline - time.monotonic()) > 0:
                is_pushed = self._push(request, min(_SIGNAL_S, left_s))
            left_s = max(0.0, deadline - time.monotonic())
            return request.future.result(None if timeout_s is None else left_s)
        except TimeoutError:
            message = f"{len(request.steps)} scores did not arrive in {timeout_s} s"
            raise TimeoutError(message) from None
        finally:
            self._worker.forget(request)

    async def ascore(self, steps: Sequence[Step]) -> Scores:
        """The scores of `steps`, in their order, without blocking the event loop.

        Cancelling the task, as `asyncio.timeout` does, takes its steps out of the queue.

        Args:
            steps: `[n]` steps.

        Raises:
            ScorerError: As `score`.
            QueueFullError: As `score`.
            QueueClosedError: As `score`.
            ValueError: As `score`.
        """
        request = self._open(steps)
        try:
            while not self._push(request, 0.0):  # noqa: ASYNC110 - the queue tells threads, not tasks
                await asyncio.sleep(_ROOM_POLL_S)
            return await asyncio.wrap_future(request.future)
        finally:
            self._worker.forget(request)

    @property
    def scale(self) -> tuple[float, float] | None:
        """The wrapped scorer's `scale`, so that a search normalises as with the scorer itself."""
        return self._scale

    @property
    def stats(self) -> BatchingStats:
        """Batches, rows, retries, mean fill and queue length so far."""
        batches, rows = self._worker.batches, self._worker.rows
        return BatchingStats(
            batches=batches,
            rows=rows,
            retries=self._worker.retries,
            mean_fill=rows / (batches * self._max_batch_size) if batches else 0.0,
            queue_length=len(self._batcher),
        )

    def close(self) -> None:
        """Lets what is queued be scored, then stops the worker; a second call does nothing.

        Later calls, and calls that still wait for room, raise `QueueClosedError`.
        """
        self._batcher.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, steps: Sequence[Step]) -> "_Request":
        if threading.current_thread() is self._thread:
            raise RuntimeError("the wrapped scorer called its own BatchingScorer")
        steps = tuple(steps)
        tokens = [0] * len(steps)
        if self._size_of is not None:
            tokens = [self._size_of(step) for step in steps]
            wrong = [size for size in tokens if not 0 <= size <= _MAX_TOKENS]
            if wrong:
                raise ValueError(f"size_of must be in 0..={_MAX_TOKENS}, got {wrong[0]}")
        return self._worker.open(steps, tokens)

    def _push(self, request: "_Request", timeout_s: float) -> bool:
        """Pushes what fits; whether nothing is left to push."""
        if not self._thread.is_alive():
            # It died, or this process is a fork, which inherits no thread.
            self._batcher.close()
        try:
            if self._on_full == "error":
                self._batcher.push(list(request.ids), request.tokens)
                return True
            here = slice(request.pushed, request.pushed + self._capacity)
            ids, tokens = list(request.ids[here]), request.tokens[here]
            with suppress(QueueFullError):
                request.pushed += self._batcher.push_some(ids, tokens, timeout_s)
        except QueueClosedError as error:
            raise error from self._worker.failure
        return request.pushed == len(request.steps) or request.future.done()


@dataclass(slots=True, eq=False)
class _Request:
    """One call: `steps[i]` waits as `ids[i]`; `pieces` holds the answered rows, in order."""

    steps: tuple[Step, ...]
    tokens: list[int]
    ids: range
    future: Future[Scores] = field(default_factory=Future)
    pieces: list[Scores] = field(default_factory=list)
    answered: int = 0
    pushed: int = 0

    def deliver(self, piece: Scores) -> None:
        """Takes the next rows; the last ones resolve the future."""
        self.pieces.append(piece)
        self.answered += len(piece)
        if self.answered == len(self.steps):
            try:
                columns = [_column(self.pieces, name) for name in ("dims", "weights")]
            except ScorerError as error:
                self.fail(error)
                return
            scores = Scores(np.concatenate([piece.total for piece in self.pieces]), *columns)
            with suppress(InvalidStateError):  # the caller left
                self.future.set_result(scores)

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):  # the caller left, or another part failed before
            self.future.set_exception(error)


class _Worker:
    """Answers batches of ids. It knows every open request, and who waits for which row."""

    def __init__(self, scorer: Scorer, batcher: _core.Batcher) -> None:
        self.batches = 0
        self.rows = 0
        self.retries = 0
        self.failure: BaseException | None = None
        self._scorer = scorer
        self._batcher = batcher
        self._lock = threading.Lock()
        self._next_id = 0
        self._waiting: dict[int, _Request] = {}
        self._in_flight: dict[_Request, list[Step]] = {}

    def open(self, steps: tuple[Step, ...], tokens: list[int]) -> _Request:
        """Registers a request under ids of its own."""
        with self._lock:
            ids = range(self._next_id, self._next_id + len(steps))
            self._next_id = ids.stop
            request = _Request(steps, tokens, ids)
            self._waiting.update(dict.fromkeys(ids, request))
        if not steps:
            request.deliver(Scores(np.empty(0, np.float32)))
        return request

    def forget(self, request: _Request) -> None:
        """Takes out of the queue and the table what is left of a request."""
        with self._lock:
            left = [row for row in request.ids if self._waiting.pop(row, None) is not None]
        if left:
            self._batcher.cancel(left)

    def run(self) -> None:
        """Answers batches until the queue is closed and drained. However it ends, all are told."""
        try:
            while (ids := self._batcher.take()) is not None:
                self._answer(ids)
        except BaseException as error:  # noqa: BLE001 - callers in other threads wait; they raise it
            self.failure = error
        finally:
            self._batcher.close()
            self._fail_everyone()

    def _answer(self, ids: Iterable[int]) -> None:
        parts: dict[_Request, list[Step]] = {}
        with self._lock:
            for row in ids:
                # A caller may have left since its rows were taken from the queue.
                request = self._waiting.pop(row, None)
                if request is not None:
                    step = request.steps[row - request.ids.start]
                    parts.setdefault(request, []).append(step)
        if parts:
            self.batches += 1
            self.rows += sum(map(len, parts.values()))
            self._in_flight = parts
            self._score(parts)
            self._in_flight = {}

    def _score(self, parts: dict[_Request, list[Step]]) -> None:
        steps = [step for part in parts.values() for step in part]
        try:
            scores = call_scorer(self._scorer, steps)
        except ScorerError as error:
            if len(parts) == 1:
                self._fail(next(iter(parts)), error)
                return
            for request, part in parts.items():
                self.retries += 1
                self._score({request: part})
            return
        start = 0
        for request, part in parts.items():
            # Copies, since a scorer may write its next answer into the same arrays.
            self._deliver(request, scores.rows(start, start + len(part)))
            start += len(part)

    def _deliver(self, request: _Request, piece: Scores) -> None:
        is_nan = np.isnan(piece.total)
        if is_nan.any():
            step = request.answered + int(is_nan.argmax())
            self._fail(request, ScorerError(f"the scorer's total of step {step} is NaN"))
        else:
            request.deliver(piece)

    def _fail(self, request: _Request, error: Exception) -> None:
        request.fail(error)
        self.forget(request)

    def _fail_everyone(self) -> None:
        with self._lock:
            requests = set(self._waiting.values()) | set(self._in_flight)
        for request in requests:
            if self.failure is None:
                # Closed between two pushes of one request.
                self._fail(request, QueueClosedError("the queue is closed"))
            else:
                error = ScorerError(f"the worker died: {self.failure!r}")
                error.__cause__ = self.failure
                self._fail(request, error)


def _stop(batcher: _core.Batcher, thread: threading.Thread) -> None:
    """Ends a worker whose scorer was dropped, or whose process ends."""
    batcher.close()
    if threading.current_thread() is not thread:
        thread.join(_EXIT_S)


def _column(pieces: list[Scores], name: str) -> NDArray[np.float32] | None:
    """One column of a request's batches; None where they have none."""
    parts = [column for piece in pieces if (column := getattr(piece, name)) is not None]
    if parts and len(parts) < len(pieces):
        raise ScorerError(f"the scorer returned {name} for some batches and none for others")
    return np.concatenate(parts) if parts else None
