"""Workers as actors of a Ray cluster, for collections that one machine is too small for.

Ray places the actors, notices their death, starts them again and repeats what they were at.
"""

from collections.abc import Iterator
from typing import Any

from similar_fast.collect.worker import MakeWorker, Unit, UnitResult, Worker
from similar_fast.errors import EnvError

__all__ = ["RayEngine"]

MAX_RETRIES = 3


class RayEngine:
    """Labels units in the actors of a Ray cluster.

    Every node needs this package, with what its workers import, and a browser. An actor that dies
    is started again by Ray, and its unit is tried at most `MAX_RETRIES` times more.

    Args:
        make_worker: Makes a worker in each actor.
        workers: How many actors, of one CPU each.
        address: The cluster's; None starts one on this machine, or takes the one that this process
            has joined.

    Raises:
        ImportError: The `ray` extra is not installed.
    """

    def __init__(
        self, make_worker: MakeWorker, workers: int, *, address: str | None = None
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        try:
            import ray  # noqa: PLC0415  # an extra
        except ImportError as err:
            raise ImportError('a Ray cluster needs `pip install "similar-fast[ray]"`') from err
        self._ray = ray
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            ray.init(
                address=address,
                num_cpus=None if address else workers,
                include_dashboard=None if address else False,
                log_to_driver=False,
            )
        actor: Any = ray.remote(max_restarts=-1, max_task_retries=MAX_RETRIES, num_cpus=1)(_Actor)
        self._actors: list[Any] = [actor.remote(make_worker) for _ in range(workers)]

    def run(self, units: Iterator[Unit]) -> Iterator[UnitResult]:
        """The results, in the order in which they are finished.

        Raises:
            EnvError: An actor could not make its worker.
        """
        running: dict[Any, tuple[Any, Unit]] = {}

        def give(actor: Any) -> None:  # noqa: ANN401  # an actor's handle
            unit = next(units, None)
            if unit is not None:
                running[actor.label.remote(unit)] = (actor, unit)

        for actor in self._actors:
            give(actor)
        while running:
            (ready,), _ = self._ray.wait(list(running), num_returns=1)
            actor, unit = running.pop(ready)
            try:
                result = self._ray.get(ready)
            except self._ray.exceptions.RayTaskError as error:
                raise EnvError(f"a worker could not be made: {error.cause}") from error
            except self._ray.exceptions.RayActorError as error:
                reason = f"its actor died {1 + MAX_RETRIES} times: {type(error).__name__}"
                result = UnitResult(unit, "failed", error=reason)
            give(actor)
            yield result

    def close(self) -> None:
        """Ends the actors, and the cluster where it is this object's own."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors.clear()
        if self._is_ours and self._ray.is_initialized():
            self._ray.shutdown()


class _Actor:
    """One worker, made with the first unit so that a failure reaches the caller."""

    def __init__(self, make_worker: MakeWorker) -> None:
        self._make_worker = make_worker
        self._worker: Worker | None = None

    def label(self, unit: Unit) -> UnitResult:
        if self._worker is None:
            self._worker = self._make_worker()
        return self._worker.label(unit)
