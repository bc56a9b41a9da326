"""Collects labels over tasks and seeds: the plan, the engine, the journal, the sums."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from similar_fast.collect.journal import Journal, sum_costs
from similar_fast.collect.worker import Unit, UnitResult
from similar_fast.errors import EnvError

__all__ = ["CollectProgress", "CollectSummary", "Engine", "collect"]

MAX_FAILURES_IN_A_ROW = 5


class Engine(Protocol):
    """Runs units somewhere."""

    def run(self, units: Iterator[Unit]) -> Iterator[UnitResult]:
        """The results, in any order; takes a unit when a worker is free for it."""
        ...

    def close(self) -> None:
        """Lets all workers go."""
        ...


@dataclass(frozen=True, slots=True)
class CollectProgress:
    """Where a collection stands.

    Attributes:
        done: Units that are finished, those of earlier runs included.
        units: Units in all.
        labels: Labels so far, those of earlier runs included.
        labels_per_hour: Of this run, by wall time; 0 before its first unit.
    """

    done: int
    units: int
    labels: int
    labels_per_hour: float


@dataclass(frozen=True, slots=True)
class CollectSummary:
    """What a collection holds, all its runs together, unless it says otherwise.

    Attributes:
        episodes: Episodes that were labelled.
        skipped: Episodes without a success from the start.
        failed: Episodes that the environment did not bring to an end; tried again on resume.
        labels: Labelled steps.
        sampled: Those of them that were labelled on purpose; rollouts passed through the rest.
        solved: Greedy walks that reached the goal; None where no walk was greedy.
        last_error: Why the last of the failed episodes failed; empty where none did.
        counts: Sums of the episodes' costs, as `sum_costs`, attempts that failed included.
        worker_seconds: Wall time of the episodes and these attempts, added up over workers.
        seconds: Wall time of this run.
        new_labels: Labels of this run.
        is_complete: Whether nothing is left to do.
    """

    episodes: int
    skipped: int
    failed: int
    labels: int
    sampled: int
    solved: int | None
    last_error: str
    counts: dict[str, int]
    worker_seconds: float
    seconds: float
    new_labels: int
    is_complete: bool

    @property
    def labels_per_hour(self) -> float:
        """Labels an hour of this run, by wall time."""
        return 3600 * self.new_labels / self.seconds if self.seconds else 0.0


def collect(
    engine: Engine,
    units: Sequence[Unit],
    *,
    out: Path,
    plan: Mapping[str, Any],
    resume: bool = False,
    max_labels: int | None = None,
    report: Callable[[CollectProgress], None] | None = None,
) -> CollectSummary:
    """Labels `units` and keeps every finished one at once; closes the engine.

    Finished units are written in the order of `units`, so that the same plan gives the same file
    whatever the number of workers; a kill loses those that are not written yet, and nothing else.

    Args:
        engine: Where the work is done.
        units: What to label.
        out: The folder of the files; see `Journal`.
        plan: What is asked for, fit for JSON; a resumed collection must have the same.
        resume: Whether a collection in `out` is to be gone on with.
        max_labels: No more units are begun once so many labels are there.
        report: Called before the first unit, and after each one that was written.

    Raises:
        FileExistsError, DataError: As `Journal`.
        EnvError: No worker can be made, or five units failed one after another.
    """
    try:
        with_journal = Journal(out, plan, resume=resume)
    except BaseException:
        engine.close()
        raise
    run = _Run(with_journal, units, max_labels, report)
    try:
        run.work(engine)
    finally:
        engine.close()
        with_journal.close()
    return run.summary()


class _Run:
    """One call of `collect`."""

    def __init__(
        self,
        journal: Journal,
        units: Sequence[Unit],
        max_labels: int | None,
        report: Callable[[CollectProgress], None] | None,
    ) -> None:
        self._journal = journal
        self._units = len(set(units))
        self._max_labels = max_labels
        self._report = report
        finished = journal.finished
        self._left = [unit for unit in dict.fromkeys(units) if unit not in finished]
        self._before = sum(row["labels"] for row in journal.rows)
        self._labels = self._before
        self._num_written = 0
        self._failures = 0
        self._started = time.perf_counter()
        self._seconds = 0.0

    def work(self, engine: Engine) -> None:
        waiting: dict[Unit, UnitResult] = {}
        try:
            self._tell()
            for result in engine.run(self._handed_out()):
                waiting[result.unit] = result
                while self._num_written < len(self._left):
                    next_result = waiting.pop(self._left[self._num_written], None)
                    if next_result is None:
                        break
                    self._write(next_result)
        finally:
            self._seconds = time.perf_counter() - self._started

    def _handed_out(self) -> Iterator[Unit]:
        for unit in self._left:
            if self._is_full:
                return
            yield unit

    @property
    def _is_full(self) -> bool:
        return self._max_labels is not None and self._labels >= self._max_labels

    def _write(self, result: UnitResult) -> None:
        if self._is_full:
            return  # begun before the last unit that was wanted came in
        self._journal.append(result)
        self._num_written += 1
        self._labels += len(result.lines)
        self._failures = self._failures + 1 if result.status == "failed" else 0
        if self._failures == MAX_FAILURES_IN_A_ROW:
            raise EnvError(
                f"{self._failures} episodes failed one after another, the last: {result.error}"
            )
        self._tell()

    def _tell(self) -> None:
        if self._report is not None:
            seconds = time.perf_counter() - self._started
            done = self._units - len(self._left) + self._num_written
            rate = 3600 * (self._labels - self._before) / seconds if self._num_written else 0.0
            self._report(CollectProgress(done, self._units, self._labels, rate))

    def summary(self) -> CollectSummary:
        latest = {(row["task"], row["seed"]): row for row in self._journal.rows}
        rows = list(latest.values())
        walks = [row["success"] for row in rows if row["success"] is not None]
        errors = [row["error"] for row in rows if row["status"] == "failed"]
        failed = len(errors)
        return CollectSummary(
            episodes=sum(row["status"] == "labelled" for row in rows),
            skipped=sum(row["status"] == "skipped" for row in rows),
            failed=failed,
            labels=sum(row["labels"] for row in rows),
            sampled=sum(row["sampled"] for row in rows),
            solved=sum(walks) if walks else None,
            last_error=errors[-1] if errors else "",
            counts=sum_costs(self._journal.rows),
            worker_seconds=sum(row["seconds"] for row in self._journal.rows),
            seconds=self._seconds,
            new_labels=self._labels - self._before,
            is_complete=len(rows) - failed == self._units,
        )
