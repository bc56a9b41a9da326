"""Workers as processes of this machine: a pipe each, and a new process where one dies."""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

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
        workers: How many processes.
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
        deaths: dict[Unit, int] = {}
        again: list[Unit] = []

        def give(pipe: Connection) -> None:
            unit = again.pop() if again else next(todo, None)
            if unit is not None:
                running[pipe] = unit
                with contextlib.suppress(OSError):  # a dead one is noticed when it is waited for
                    pipe.send(unit)

        while len(self._processes) < self._count:
            give(self._start())
        while running:
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)  # noqa: S101  # nothing else is waited for
                unit = running.pop(pipe)
                try:
                    answer = pipe.recv()
                except (EOFError, OSError):
                    self._bury(pipe)
                    deaths[unit] = deaths.get(unit, 0) + 1
                    if deaths[unit] < MAX_DEATHS:
                        again.append(unit)
                    else:
                        times = f"its process died {MAX_DEATHS} times"
                        yield UnitResult(unit, "failed", error=times)
                    give(self._start())
                    continue
                if isinstance(answer, Exception):
                    raise answer
                give(pipe)
                yield answer

    def close(self) -> None:
        """Ends all processes; a unit that is being labelled is given up."""
        for pipe in self._processes:
            pipe.close()
        for process in self._processes.values():
            process.join(CLOSE_TIMEOUT_S)
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
