"""`Request`: one caller's steps, and the scores that come back for them, piece by piece."""

import asyncio
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from similar_fast import _core
from similar_fast.batching.sizes import StepKey
from similar_fast.errors import ScorerError
from similar_fast.types import Scores, Step

__all__ = ["Part", "Request", "resolve"]

Rows = tuple[int, int, int, int, float | None, list[int] | None, list[int] | None, list[int] | None]
"""Request, first row, rows, priority, timeout in seconds; tokens, pixels and key of each row."""

_COLUMNS = ("total", "dims", "weights")
_NO_SCORES = Scores(np.empty(0, np.float32))


class Request:
    """One call: its steps are the rows 0 to n of `id` in the queue.

    A thread waits on `call`, a task on `future`; whoever delivers the last row, or the first error,
    sees `is_done` and tells the one that there is.
    """

    # Most requests need none of these, so they are no part of making one.
    is_done = False
    call: _core.Call | None = None
    future: asyncio.Future[None] | None = None
    scores = _NO_SCORES
    error: Exception | None = None
    columns: dict[str, NDArray[np.float32] | None] | None = None

    def __init__(
        self,
        number: int,
        steps: tuple[Step, ...],
        tokens: list[int] | None,
        pixels: list[int] | None,
        keys: list[StepKey] | None,
    ) -> None:
        self.id = number
        self.steps = steps
        self.missing = len(steps)
        # Equal steps get the same key only while one of them holds it.
        self.keys = keys
        numbers = None if keys is None else [key.number for key in keys]
        self.sizes = None if tokens is pixels is numbers is None else (tokens, pixels, numbers)

    def rows(self, start: int, stop: int, priority: int, timeout_s: float | None) -> Rows:
        """Rows `start` to `stop`, as the queue takes them."""
        if not -128 <= priority <= 127:
            raise ValueError(f"priority must be in -128..=127, got {priority}")
        if self.sizes is None:
            return (self.id, start, stop - start, priority, timeout_s, None, None, None)
        tokens, pixels, keys = (
            None if column is None else column[start:stop] for column in self.sizes
        )
        return (self.id, start, stop - start, priority, timeout_s, tokens, pixels, keys)

    def result(self) -> Scores:
        """The scores of the finished request, or its error."""
        if self.error is not None:
            raise self.error
        return self.scores

    def awaited_call(self) -> _core.Call:
        """What a thread waits for; made for the first that asks."""
        if self.call is None:
            self.call = _core.Call()
        return self.call

    def awaited_future(self) -> asyncio.Future[None]:
        """What a task of the running loop waits for; made for the first that asks."""
        if self.future is None:
            self.future = asyncio.get_running_loop().create_future()
        return self.future

    def deliver(self, part: "Part", scores: Scores) -> None:
        """Takes the rows of one part of a batch, as copies: a scorer may reuse its arrays."""
        stop = part.at + part.count
        if part.count == len(self.steps):
            if scores.dims is None and scores.weights is None:
                self.scores = Scores(scores.total[part.at : stop].copy())
            else:
                self.scores = scores.rows(part.at, stop)
        else:
            self._fill(part, scores)
        self.missing -= part.count
        if self.missing == 0:
            if self.columns is not None:
                self.scores = Scores(**self.columns)  # type: ignore[arg-type]  # total is there
            self.is_done = True

    def fail(self, error: Exception) -> None:
        """Ends the request, unless it has ended."""
        if not self.is_done:
            self.error = error
            self.is_done = True

    def _fill(self, part: "Part", scores: Scores) -> None:
        if self.columns is None:
            self.columns = {name: self._empty(getattr(scores, name)) for name in _COLUMNS}
        for name, whole in self.columns.items():
            column = getattr(scores, name)
            if (whole is None) is not (column is None):
                raise ScorerError(
                    f"the scorer returned {name} for some batches and none for others"
                )
            if whole is not None:
                rows = column[part.at : part.at + part.count]
                whole[part.start : part.start + part.count] = rows

    def _empty(self, like: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        return None if like is None else np.empty((len(self.steps), *like.shape[1:]), like.dtype)


class Part:
    """Rows `start` to `start + count` of a request, which a batch holds from its row `at` on."""

    __slots__ = ("at", "count", "request", "start")

    def __init__(self, request: Request, start: int, count: int, at: int) -> None:
        self.request = request
        self.start = start
        self.count = count
        self.at = at

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of these rows."""
        steps = self.request.steps
        if self.count == len(steps):
            return steps
        return steps[self.start : self.start + self.count]


def resolve(requests: Iterable[Request]) -> None:
    """Wakes the tasks that await these requests; runs in their event loop."""
    for request in requests:
        future = request.future
        if future is not None and not future.done():
            future.set_result(None)
