"""Where metrics go beside the log: trackio or wandb, if asked for."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, Protocol

__all__ = ["Tracker", "TrackerName", "open_tracker"]

TrackerName = Literal["none", "trackio", "wandb"]


class Tracker(Protocol):
    """Takes numbers while a run goes on."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Numbers of one moment."""
        ...

    def finish(self) -> None:
        """The run is over."""
        ...


class _Nowhere:
    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Forgets them."""

    def finish(self) -> None:
        """Does nothing."""


class _Library:
    """trackio and wandb have the same three calls."""

    def __init__(self, name: str, project: str, run: str, config: Mapping[str, Any]) -> None:
        self._library: Any = import_module(name)
        self._library.init(project=project, name=run, config=dict(config))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._library.log(dict(metrics), step=step)

    def finish(self) -> None:
        self._library.finish()


def open_tracker(
    name: TrackerName, *, project: str, run: str, config: Mapping[str, Any]
) -> Tracker:
    """The tracker of that name.

    Args:
        name: `trackio`, `wandb`, or `none`, which forgets all.
        project: What the tracker files the run under.
        run: The run's name there.
        config: What the run was made with.

    Raises:
        ModuleNotFoundError: The library is not installed.
    """
    return _Nowhere() if name == "none" else _Library(name, project, run, config)
