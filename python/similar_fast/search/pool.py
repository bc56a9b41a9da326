"""`SearchPool`: many searches side by side, whose steps one queue scores in common batches."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from similar_fast.batching import BatchingScorer, BatchingStats
from similar_fast.errors import ScorerError
from similar_fast.protocols import Environment, Proposer, Scorer
from similar_fast.search.search import Search
from similar_fast.search.settings import CancelledRunError
from similar_fast.types import SearchResult

__all__ = ["Job", "JobResult", "SearchPool"]

# A wait for a search ends this often, so that Ctrl-C reaches the caller.
_SIGNAL_S = 0.1


class Job(NamedTuple):
    """One search to be run.

    Attributes:
        task: The environment's name of the task.
        seed: The task's seed.
    """

    task: str
    seed: int


@dataclass(frozen=True, slots=True)
class JobResult:
    """What became of one job.

    Attributes:
        index: The job's place among the jobs.
        job: The job.
        result: What its search found; None where it failed.
        error: Why it failed; None where it did not.
    """

    index: int
    job: Job
    result: SearchResult | None
    error: Exception | None

    def unwrap(self) -> SearchResult:
        """The result.

        Raises:
            Exception: The job failed, with this error.
        """
        if self.error is not None:
            raise self.error
        assert self.result is not None  # noqa: S101 - one of the two is there
        return self.result


class _AnyOf(threading.Event):
    """Set when one of several events is."""

    def __init__(self, *events: threading.Event) -> None:
        super().__init__()
        self._events = events

    def is_set(self) -> bool:
        return any(event.is_set() for event in self._events)


class SearchPool:
    """Runs many searches, each in an environment and a thread of its own.

    The searches share one `BatchingScorer`, so small trees fill large batches of the model. A job
    that fails fails alone; unless its scorer was to blame, its environment is closed, and the next
    job gets a new one. As long as the scorer gives a step the same score in every batch, the
    results are those of the same searches one after another.

    Args:
        scorer: Scores steps; only one thread calls it.
        make_env: Makes an environment; called once for each thread, and after a failure.
        num_envs: Searches at the same time, in [1, inf).
        proposer: Proposes candidates, from several threads; None takes the environments' own.
        max_batch_size: Steps that are scored together, at most.
        max_wait_s: Seconds that the oldest step waits for company.
        **settings: Those of `Search`.

    Raises:
        ValueError: A setting is outside of its range.
        TypeError: There is no such setting.

    Example:
        ```python
        jobs = [("login-user", seed) for seed in range(100)]
        with SearchPool(EmbeddingScorer(), MiniWob, num_envs=8, num_simulations=64) as pool:
            for done in pool.run(jobs):
                print(done.job, done.error or done.result.success)
        ```
    """

    def __init__(
        self,
        scorer: Scorer,
        make_env: Callable[[], Environment],
        *,
        num_envs: int = 4,
        proposer: Proposer | None = None,
        max_batch_size: int = 256,
        max_wait_s: float = 0.002,
        **settings: Any,  # noqa: ANN401 - those of Search
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self._num_envs = num_envs
        self._make_env = make_env
        self._envs: queue.SimpleQueue[Environment] = queue.SimpleQueue()
        self._scorer = BatchingScorer(scorer, max_batch_size=max_batch_size, max_wait_s=max_wait_s)
        try:
            self._search = Search(self._scorer, proposer=proposer, **settings)
        except BaseException:
            self._scorer.close()
            raise
        self._threads = ThreadPoolExecutor(num_envs, thread_name_prefix="similar-fast-search")
        self._stop = threading.Event()

    def run(
        self, jobs: Iterable[Job | tuple[str, int]], *, stop: threading.Event | None = None
    ) -> Iterator[JobResult]:
        """The results of `jobs`, as they are completed.

        A job is taken from the iterable when a thread is about to be free, so it may be endless;
        one that blocks holds back the results meanwhile. Leaving the iterator stops the searches
        before their next step, and so does closing the pool.

        Args:
            jobs: (task, seed) each.
            stop: Another thread sets it to stop; searches that run then are reported as failed with
                `CancelledRunError`, and no further one begins.

        Raises:
            RuntimeError: The pool was closed before.
        """
        if self._stop.is_set():
            raise RuntimeError("the pool is closed")
        left = threading.Event()
        over = _AnyOf(left, self._stop, *([] if stop is None else [stop]))
        waiting: set[Future[JobResult]] = set()
        numbered = enumerate(Job(*job) for job in jobs)
        is_drawn = False
        try:
            while True:
                done = {future for future in waiting if future.done()}
                waiting -= done
                for future in done:
                    yield future.result()
                if not (is_drawn or over.is_set()) and len(waiting) <= self._num_envs:
                    index, job = next(numbered, (-1, None))
                    is_drawn = job is None
                    if job is not None:
                        waiting.add(self._threads.submit(self._run_one, index, job, over))
                elif waiting:
                    wait(waiting, _SIGNAL_S, return_when=FIRST_COMPLETED)
                else:
                    return
        finally:
            left.set()
            wait(waiting)

    def run_all(self, jobs: Iterable[Job | tuple[str, int]]) -> list[SearchResult]:
        """The results of all `jobs`, in their order.

        Raises:
            Exception: A job failed, with the error of the first that did; the others have ended.
        """
        done = sorted(self.run(jobs), key=lambda it: it.index)
        return [it.unwrap() for it in done]

    @property
    def stats(self) -> BatchingStats:
        """What the common batches were like so far."""
        return self._scorer.stats

    def close(self) -> None:
        """Stops what runs, and closes the environments; a second call does nothing.

        Raises:
            Exception: An environment could not be closed; the others are.
        """
        self._stop.set()
        self._threads.shutdown(wait=True)
        self._scorer.close()
        errors: list[Exception] = []
        with suppress(queue.Empty):
            while True:
                env = self._envs.get_nowait()
                try:
                    env.close()
                except Exception as error:  # noqa: BLE001 - the others are to be closed as well
                    errors.append(error)
        if errors:
            raise errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run_one(self, index: int, job: Job, stop: threading.Event) -> JobResult:
        if stop.is_set():
            return JobResult(index, job, None, CancelledRunError("stopped before it began"))
        try:
            env = self._take_env()
        except Exception as error:  # noqa: BLE001 - whatever stands in the way fails this job alone
            return JobResult(index, job, None, error)
        try:
            result = self._search.run(env, job.task, seed=job.seed, stop=stop)
        except (CancelledRunError, ScorerError) as error:
            self._envs.put(env)
            return JobResult(index, job, None, error)
        except Exception as error:  # noqa: BLE001 - as above
            # Nobody knows what state the environment is in.
            with suppress(Exception):
                env.close()
            return JobResult(index, job, None, error)
        self._envs.put(env)
        return JobResult(index, job, result, None)

    def _take_env(self) -> Environment:
        try:
            return self._envs.get_nowait()
        except queue.Empty:
            return self._make_env()
