"""`Worker`: takes batches of ids from the queue, asks the scorer, gives every caller its rows."""

import itertools
import math
import os
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from similar_fast import _core
from similar_fast.batching.requests import Part, Request, resolve
from similar_fast.batching.sizes import StepKey
from similar_fast.errors import QueueClosedError, ScorerError
from similar_fast.protocols import Scorer
from similar_fast.scoring import call_scorer
from similar_fast.types import Step

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["Taken", "Worker"]

_REQUEST_MASK = 2**32 - 1

Taken = tuple[list[tuple[int, int, int]], list[tuple[int, int, int]], list[tuple[int, int]]]
"""(request, first row, rows) of each run; (row of the batch, request, row) of each rider; (request,
row) of each row that expired."""


class Worker:
    """Answers batches of ids. It knows every open request by its number.

    One turn runs at a time: on the worker's own thread, or on a caller's that took the turn. All
    that happens to a request happens in a turn, but for its caller leaving, so there is no lock
    here beside the queue's.
    """

    def __init__(self, scorer: Scorer, batcher: _core.Batcher) -> None:
        self.batches = 0
        self.rows = 0
        self.retries = 0
        self.failure: BaseException | None = None
        self.is_orphan = False
        self.runner: int | None = None
        self._scorer = scorer
        self._batcher = batcher
        self._numbers = itertools.count()
        self._waiting: dict[int, Request] = {}
        self._done: list[_core.Call] = []
        self._awaited: dict[AbstractEventLoop, list[Request]] = {}
        _workers.add(self)

    @property
    def is_run_here(self) -> bool:
        """Whether this thread runs the turn that runs now: then the wrapped scorer is asking."""
        return self.runner == threading.get_ident()

    def open(
        self,
        steps: tuple[Step, ...],
        tokens: list[int] | None,
        pixels: list[int] | None,
        keys: list[StepKey] | None,
    ) -> Request:
        """Registers a request under a number of its own."""
        number = next(self._numbers) & _REQUEST_MASK
        while number in self._waiting:  # one that has waited for 2^32 others
            number = next(self._numbers) & _REQUEST_MASK
        request = self._waiting[number] = Request(number, steps, tokens, pixels, keys)
        return request

    def forget(self, request: Request) -> None:
        """Takes out of the queue and the table what is left of a request."""
        if self._waiting.pop(request.id, None) is not None and not self.is_orphan:
            self._batcher.cancel(request.id, len(request.steps))

    def answer_none(self, request: Request) -> None:
        """Answers a request of no steps."""
        request.is_done = True
        self._waiting.pop(request.id, None)

    def run(self) -> None:
        """Answers batches until the queue is closed and drained. However it ends, all are told."""
        taken = self._batcher.take_turn()
        while taken is not None:
            taken = self._batcher.next_turn(self.turn(taken))
        # Those that were closed between two pushes of one request.
        for request in list(self._waiting.values()):
            self._end(request, QueueClosedError("the queue is closed"))
        self._batcher.end_turn(self._tell())

    def lead(self, taken: Taken) -> None:
        """Runs a turn on the thread of a caller, and ends it come what may."""
        done: list[_core.Call] = []
        try:
            done = self.turn(taken)
        finally:
            self._batcher.end_turn(done)

    def turn(self, taken: Taken) -> list[_core.Call]:
        """Answers what a turn took; returns the calls that are finished by it."""
        self.runner = threading.get_ident()
        try:
            self._answer(*taken)
        except BaseException as error:  # noqa: BLE001 - callers in other threads wait; they raise it
            self._die(error)
        finally:
            self.runner = None
        return self._tell()

    def _answer(
        self,
        rows: list[tuple[int, int, int]],
        riders: list[tuple[int, int, int]],
        expired: list[tuple[int, int]],
    ) -> None:
        for number, _ in expired:
            if (request := self._waiting.get(number)) is not None:
                self._end(request, TimeoutError("the step waited beyond its timeout"))
        parts = self._share(rows, riders) if riders else []
        if not riders:
            at = 0
            for number, start, count in rows:
                # A caller may have left since its rows were taken from the queue.
                if (request := self._waiting.get(number)) is not None:
                    parts.append(Part(request, start, count, at))
                    at += count
        if parts:
            steps = _steps(parts)
            self.batches += 1
            self.rows += len(steps)
            self._score(parts, steps)

    def _share(
        self, rows: list[tuple[int, int, int]], riders: list[tuple[int, int, int]]
    ) -> list[Part]:
        """One part for everybody who wants a row; rows that nobody wants any more are left out."""
        wanted = [
            [(number, row)] for number, start, count in rows for row in range(start, start + count)
        ]
        for at, number, row in riders:
            wanted[at].append((number, row))
        parts: list[Part] = []
        at = 0
        for owners in wanted:
            before = len(parts)
            for number, row in owners:
                if (request := self._waiting.get(number)) is not None:
                    parts.append(Part(request, row, 1, at))
            at += len(parts) > before
        return parts

    def _score(self, parts: list[Part], steps: Sequence[Step]) -> None:
        try:
            scores = call_scorer(self._scorer, steps)
        except ScorerError as error:
            self._retry(parts, error)
            return
        # A sum of squares is NaN where a term is, and costs a third of asking each.
        has_nan = math.isnan(np.dot(scores.total, scores.total))
        for part in parts:
            request = part.request
            if request.is_done:  # another part of it failed
                continue
            try:
                if has_nan:
                    _refuse_nan(part, scores.total)
                request.deliver(part, scores)
            except ScorerError as error:
                self._end(request, error)
                continue
            if request.is_done:
                self._waiting.pop(request.id, None)
                self._note(request)

    def _retry(self, parts: list[Part], error: ScorerError) -> None:
        """Asks for each caller's part alone, so that one bad step never fails its neighbours."""
        by_request: dict[Request, list[Part]] = {}
        for part in parts:
            by_request.setdefault(part.request, []).append(part)
        if len(by_request) == 1:
            self._end(parts[0].request, error)
            return
        for own in by_request.values():
            self.retries += 1
            at = 0
            for part in own:
                part.at = at
                at += part.count
            self._score(own, _steps(own))

    def _end(self, request: Request, error: Exception) -> None:
        request.fail(error)
        self.forget(request)
        self._note(request)

    def _note(self, request: Request) -> None:
        """Remembers whom to tell at the end of the turn."""
        if request.future is not None:
            self._awaited.setdefault(request.future.get_loop(), []).append(request)
        elif request.call is not None:
            self._done.append(request.call)

    def _tell(self) -> list[_core.Call]:
        """Wakes each event loop once; returns the calls that threads may wait for."""
        if self._awaited:
            for loop, requests in self._awaited.items():
                # A loop that is closed has nobody waiting, and no loop may fail the others.
                with suppress(Exception):
                    loop.call_soon_threadsafe(resolve, requests)
            self._awaited = {}
        done, self._done = self._done, []
        return done

    def _die(self, failure: BaseException) -> None:
        self.failure = failure
        self._batcher.close()
        for request in list(self._waiting.values()):
            error = ScorerError(f"the worker died: {failure!r}")
            error.__cause__ = failure
            self._end(request, error)


def _steps(parts: list[Part]) -> Sequence[Step]:
    """The steps of a batch: one for each of its rows."""
    if len(parts) == 1:
        return parts[0].steps
    steps: list[Step] = []
    for part in parts:
        if part.at == len(steps):
            steps += part.steps
    return steps


def _refuse_nan(part: Part, total: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    is_nan = np.isnan(total[part.at : part.at + part.count])
    if is_nan.any():
        step = part.start + int(is_nan.argmax())
        raise ScorerError(f"the scorer's total of step {step} is NaN")


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def _leave_orphans() -> None:
    """A fork inherits no thread: whoever asks there is told so, and takes no lock."""
    for worker in list(_workers):
        worker.is_orphan = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_orphans)
