"""Tasks recorded from a real run, played without a browser."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Self

from similar_fast.envs.recording import SUFFIX, Edge, Recording, State, read_header, read_recording
from similar_fast.errors import DataError, EnvError
from similar_fast.types import Action, Observation, StepResult

__all__ = ["Recorded"]


class Recorded:
    """Recorded tasks as an `Environment`: every action is looked up, so replay is exact.

    A recording holds every candidate of every screen up to its depth. An action that it does not
    hold, because of the depth or because it was no candidate, leads nowhere: `error` says why and
    the screen stays as it is.

    Args:
        source: A folder with recordings, or the recordings' files.

    Raises:
        DataError: A file is no recording, or two are of the same task and seed.
        FileNotFoundError: A file does not exist, or a folder holds no recording.

    Example:
        >>> env = Recorded.builtin()
        >>> screen = env.reset("enter-password", seed=2000)
        >>> screen.instruction
        'Enter the password "jrwts" into both text fields and press submit.'
    """

    def __init__(self, source: Path | str | Iterable[Path | str]) -> None:
        self._paths: dict[tuple[str, int], Path] = {}
        for path in _files(source):
            header = read_header(path)
            key = (header.task, header.seed)
            if key in self._paths:
                raise DataError(f"same task and seed as in {self._paths[key]}", path=path)
            self._paths[key] = path
        self._read: dict[tuple[str, int], Recording] = {}
        self._recording: Recording | None = None
        self._state: State | None = None

    @classmethod
    def builtin(cls) -> Self:
        """The recordings that come with the package."""
        return cls(Path(str(resources.files("similar_fast.envs") / "recordings")))

    @property
    def name(self) -> str:
        """`recorded`."""
        return "recorded"

    @property
    def relaunches(self) -> int:
        """0: there is nothing that could die."""
        return 0

    def tasks(self) -> dict[str, tuple[int, ...]]:
        """The recorded tasks and the seeds of each."""
        seeds: dict[str, list[int]] = {}
        for task, seed in sorted(self._paths):
            seeds.setdefault(task, []).append(seed)
        return {task: tuple(found) for task, found in seeds.items()}

    def path(self, task: str, seed: int) -> Path:
        """The file that holds `task` with `seed`.

        Raises:
            EnvError: The task was not recorded, or not with this seed.
        """
        recorded = self.tasks()
        if task not in recorded:
            close = ", ".join(get_close_matches(task, recorded, n=3, cutoff=0.0))
            raise EnvError(f"no recording of task {task!r}; there is {close or 'none at all'}")
        if seed not in recorded[task]:
            found = ", ".join(map(str, recorded[task]))
            raise EnvError(f"no recording of {task!r} with seed {seed}; there is {found}")
        return self._paths[task, seed]

    def reset(self, task: str, *, seed: int) -> Observation:
        """The first screen of a recorded task.

        Raises:
            DataError: The recording is truncated or was altered.
            EnvError: The task was not recorded, or not with this seed.
        """
        path = self.path(task, seed)
        key = (task, seed)
        if key not in self._read:
            self._read[key] = read_recording(path)
        self._recording = self._read[key]
        self._state = self._recording.states[0]
        return self._state.observation

    def candidates(self) -> tuple[Action, ...]:
        """The recorded candidates of the current screen; none when the episode is done."""
        return tuple(edge.action for edge in self._current.edges)

    def step(self, action: Action) -> StepResult:
        """Goes where `action` led in the recorded run.

        Raises:
            EnvError: No episode is running, or it is done.
        """
        state = self._current
        if state.is_done:
            raise EnvError("the episode is done; reset before the next step")
        edge = next((edge for edge in state.edges if edge.action == action), None)
        if edge is None or edge.target is None:
            return StepResult(state.observation, False, False, self._refusal(action, edge))
        assert self._recording is not None  # noqa: S101  # set together with the state
        self._state = reached = self._recording.states[edge.target]
        return StepResult(reached.observation, reached.is_done, reached.success, edge.error)

    def close(self) -> None:
        """Forgets the running episode and what was read."""
        self._state = self._recording = None
        self._read.clear()

    @property
    def _current(self) -> State:
        if self._state is None:
            raise EnvError("no episode is running; reset first")
        return self._state

    def _refusal(self, action: Action, edge: Edge | None) -> str:
        assert self._recording is not None  # noqa: S101  # set together with the state
        if edge is not None:
            return f"beyond the recorded depth of {self._recording.header.depth} actions"
        return f"not recorded on this screen: {action}"


def _files(source: Path | str | Iterable[Path | str]) -> list[Path]:
    if not isinstance(source, Path | str):
        return [Path(path) for path in source]
    path = Path(source)
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise FileNotFoundError(f"{path} holds no recording (*{SUFFIX})")
    return found
