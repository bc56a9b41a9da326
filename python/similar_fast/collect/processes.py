"""Workers as processes of this machine: a pipe each, and a new process where one dies."""

import contextlib
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, cast

from similar_fast.collect.worker import MakeWorker, Unit, UnitResult
from similar_fast.errors import EnvError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

__all__ = ["ProcessEngine"]

MAX_DEATHS = 3
CLOSE_TIMEOUT_S = 15.0


class ProcessEngine:
    """Labels units in processes; a process that dies costs the unit it was at a second try.

    Args:
        make_worker: Makes a worker in each process.
        workers: How many processes, at most; one is started when there is a unit for it.
    """

    def __init__(self, make_worker: MakeWorker, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self._make_worker = make_worker
        self._count = workers
        self._processes: dict[Connection, BaseProcess] = {}
        self._context = multiprocessing.get_context("spawn")

    def run(self, units: Iterable[Unit]) -> Iterator[UnitResult]:
        """The results, in the order in which they are finished.

        Raises:
            EnvError: A process could not make its worker.
        """
        todo = iter(units)
        running: dict[Connection, Unit] = {}
        deaths: Counter[Unit] = Counter()

        def give(unit: Unit | None, free: Connection | None = None) -> None:
            if unit is not None:
                pipe = self._start() if free is None else free
                running[pipe] = unit
                with contextlib.suppress(OSError):  # a dead one is noticed when it is waited for
                    pipe.send(unit)

        for _ in range(self._count):
            give(next(todo, None))
        while running:
            # On Windows these are of another class than the name says.
            for pipe in cast("list[Connection]", wait(list(running))):
                unit = running.pop(pipe)
                free: Connection | None = pipe
                try:
                    answer = pipe.recv()
                except (EOFError, OSError):
                    self._bury(pipe)
                    deaths[unit] += 1
                    if deaths[unit] < MAX_DEATHS:
                        give(unit)
                        continue
                    free = None
                    answer = UnitResult(
                        unit, "failed", error=f"its process died {MAX_DEATHS} times"
                    )
                if isinstance(answer, Exception):
                    raise answer
                give(next(todo, None), free)
                yield answer

    def close(self) -> None:
        """Ends all processes; a unit that is being labelled is given up."""
        for pipe in self._processes:
            pipe.close()
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        for process in self._processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._processes.clear()

    def _start(self) -> Connection:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, self._make_worker), name="collect", daemon=True
        )
        process.start()
        theirs.close()
        self._processes[ours] = process
        return ours

    def _bury(self, pipe: Connection) -> None:
        process = self._processes.pop(pipe)
        pipe.close()
        process.join()


def _serve(pipe: Connection, make_worker: MakeWorker) -> None:
    """A process's life: units in, results out, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked, and closes the pipe
    try:
        worker = make_worker()
    except Exception as error:  # noqa: BLE001  # whatever it is, the parent raises it
        reason = error if isinstance(error, EnvError | ImportError) else _as_env_error(error)
        with contextlib.suppress(EOFError, OSError):
            pipe.recv()
            pipe.send(reason)
        return
    with worker, contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(worker.label(pipe.recv()))


def _as_env_error(error: Exception) -> EnvError:
    return EnvError(f"a worker could not be made: {type(error).__name__}: {error}")
