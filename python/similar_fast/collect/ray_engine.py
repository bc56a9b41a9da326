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
        workers: How many actors, of one CPU each; those that the cluster has no room for take part
            as soon as it has.
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
                # Without the word, an address in the environment would be taken.
                address=address or "local",
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
        # An actor that the cluster has no room for yet must hold no unit.
        starting = {actor.is_ready.remote(): actor for actor in self._actors}
        running: dict[Any, tuple[Any, Unit]] = {}
        while starting or running:
            (done,), _ = self._ray.wait([*running, *starting], num_returns=1)
            if done in starting:
                actor, result = starting.pop(done), None
            else:
                actor, unit = running.pop(done)
                result = self._result(done, unit)
            following = next(units, None)
            if following is None:
                starting.clear()
            else:
                running[actor.label.remote(following)] = (actor, following)
            if result is not None:
                yield result

    def _result(self, done: Any, unit: Unit) -> UnitResult:  # noqa: ANN401  # Ray's reference
        errors = self._ray.exceptions
        try:
            result: UnitResult = self._ray.get(done)
        except errors.RayTaskError as error:
            raise EnvError(f"a worker could not be made: {error.cause}") from error
        except errors.RayActorError as error:
            reason = f"its actor died {1 + MAX_RETRIES} times: {type(error).__name__}"
            return UnitResult(unit, "failed", error=reason)
        except errors.RayError as error:
            return UnitResult(unit, "failed", error=f"{type(error).__name__}: {error}")
        return result

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

    def is_ready(self) -> bool:
        return True

    def label(self, unit: Unit) -> UnitResult:
        if self._worker is None:
            self._worker = self._make_worker()
        return self._worker.label(unit)
