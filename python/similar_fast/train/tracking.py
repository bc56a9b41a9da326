"""Where metrics go beside the log: trackio or wandb, if asked for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal, Protocol

__all__ = ["Tracker", "TrackerName", "open_tracker"]

TrackerName = Literal["none", "trackio", "wandb"]


class Tracker(Protocol):
    """Takes numbers while a run goes on."""

    def log(self, stage: str, metrics: Mapping[str, float], step: int) -> None:
        """Numbers of one moment.

        Args:
            stage: In words.
            metrics: By name.
            step: Of the stage; each stage counts from the beginning.
        """
        ...


class _Nowhere:
    def log(self, stage: str, metrics: Mapping[str, float], step: int) -> None:
        """Forgets them."""


class _Library:
    """trackio and wandb have the same calls.

    Both drop numbers of a step below one that they have seen. So they count themselves, and a
    stage's own step is a number beside the others.
    """

    def __init__(self, library: Any) -> None:  # noqa: ANN401  # a module
        self._library = library

    def log(self, stage: str, metrics: Mapping[str, float], step: int) -> None:
        named = {f"{stage}/{name}": value for name, value in metrics.items()}
        self._library.log({**named, f"{stage}/step": step})


@contextmanager
def open_tracker(
    name: TrackerName, *, project: str, run: str, config: Mapping[str, Any]
) -> Iterator[Tracker]:
    """The tracker of that name, until the run is over.

    Args:
        name: `trackio`, `wandb`, or `none`, which forgets all.
        project: What the tracker files the run under.
        run: The run's name there.
        config: What the run was made with.

    Raises:
        ImportError: The library is not installed.
    """
    if name == "none":
        yield _Nowhere()
        return
    try:
        library: Any = import_module(name)
    except ImportError as err:
        raise ImportError(f"tracking with {name} needs `pip install {name}`") from err
    library.init(project=project, name=run, config=dict(config))
    try:
        yield _Library(library)
    finally:
        library.finish()
