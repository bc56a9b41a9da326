"""The file of one recorded task: every screen within some depth, and what each action leads to.

Gzipped JSON Lines. The first line is the header: format, version, where the recording comes from,
how many states follow and the SHA-256 of those lines. Each further line is one state; the first of
them is the screen after the reset, and a state's number is its place.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from similar_fast.errors import DataError
from similar_fast.files.whole_file import write_whole
from similar_fast.types import Action, Element, Observation

__all__ = [
    "Edge",
    "Recording",
    "RecordingHeader",
    "State",
    "read_header",
    "read_recording",
    "recording_name",
    "write_recording",
]

FORMAT = "similar-fast recording"
VERSION = 1
SUFFIX = ".jsonl.gz"


@dataclass(frozen=True, slots=True)
class RecordingHeader:
    """Where a recording comes from.

    Attributes:
        env: The name of the environment that was recorded.
        task: That environment's name of the task.
        seed: The task's seed.
        depth: Actions after a reset up to which every candidate was tried.
        versions: The version of each program that took part.
        states: How many states there are.
        sha256: Hex digest of the states' lines.
    """

    env: str
    task: str
    seed: int
    depth: int
    versions: Mapping[str, str]
    states: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Edge:
    """What one candidate of a state leads to.

    Attributes:
        action: The candidate.
        target: The state's number; None where it was not tried because of the depth.
        error: What the environment said where it could not carry the action out.
    """

    action: Action
    target: int | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """One recorded screen.

    Attributes:
        observation: The screen, without a picture.
        is_done: Whether the episode has ended here.
        success: Whether it ended with the task fully solved.
        edges: The candidates and where they lead.
    """

    observation: Observation
    is_done: bool
    success: bool
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """A header and its states; the first is the screen after the reset."""

    header: RecordingHeader
    states: tuple[State, ...]


def recording_name(task: str, seed: int) -> str:
    """The name of the file that holds a recording."""
    return f"{task}-{seed}{SUFFIX}"


def write_recording(
    folder: Path, header: Mapping[str, Any], instruction: str, states: Iterable[State]
) -> Path:
    """Writes `folder`/task-seed.jsonl.gz at once or not at all, and returns its path.

    Args:
        folder: Made where it does not exist.
        header: The fields of a `RecordingHeader` but for `states` and `sha256`.
        instruction: The task in words, the same in every state.
        states: The states, the first screen first.
    """
    lines = [_line(_state_record(state)) for state in states]
    content = "".join(lines).encode()
    first = {
        "format": FORMAT,
        "version": VERSION,
        **header,
        "instruction": instruction,
        "states": len(lines),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / recording_name(header["task"], header["seed"])
    # Without a time stamp the same recording is the same file.
    return write_whole(path, gzip.compress(_line(first).encode() + content, mtime=0))


def read_header(path: Path) -> RecordingHeader:
    """The first line of a recording, checked.

    Raises:
        DataError: The file is no recording of this version.
        FileNotFoundError: There is no such file.
    """
    try:
        with gzip.open(path, "rb") as file:
            return _header(_object(file.readline(), path, 1), path)
    except (OSError, EOFError, zlib.error) as err:
        raise _unreadable(err, path) from err


def read_recording(path: Path) -> Recording:
    """A whole recording, checked.

    Raises:
        DataError: The file is truncated or altered, or a line of it is invalid; with `path` and,
            where it is known, `line`.
        FileNotFoundError: There is no such file.
    """
    try:
        first, *lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    except (OSError, EOFError, zlib.error) as err:
        raise _unreadable(err, path) from err
    except ValueError as err:
        raise DataError("the file is empty", path=path) from err
    record = _object(first, path, 1)
    header = _header(record, path)
    if len(lines) != header.states:
        raise DataError(
            f"expected {header.states} states, found {len(lines)} lines", path=path, line=1
        )
    found = hashlib.sha256(b"".join(lines)).hexdigest()
    if found != header.sha256:
        raise DataError(
            f"the states were altered: their SHA-256 is {found}, expected {header.sha256}",
            path=path,
        )
    instruction = record["instruction"]
    states = tuple(
        _state(_object(line, path, number), instruction, header, path, number)
        for number, line in enumerate(lines, start=2)
    )
    return Recording(header, states)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"


def _unreadable(err: Exception, path: Path) -> Exception:
    if isinstance(err, FileNotFoundError):
        return err
    return DataError(f"not a whole gzip file: {err}", path=path)


def _object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as err:
        raise DataError(f"not JSON: {err}", path=path, line=number) from err
    if not isinstance(record, dict):
        raise DataError(
            f"expected a JSON object, found {type(record).__name__}", path=path, line=number
        )
    return record


def _take(record: Mapping[str, Any], key: str, kind: type, path: Path, number: int) -> Any:  # noqa: ANN401  # of `kind`
    value = record.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DataError(
            f"{key!r}: expected {kind.__name__}, found {value!r}", path=path, line=number
        )
    return value


def _header(record: Mapping[str, Any], path: Path) -> RecordingHeader:
    if record.get("format") != FORMAT or record.get("version") != VERSION:
        raise DataError(
            f"expected {FORMAT!r} version {VERSION}, found {record.get('format')!r} "
            f"version {record.get('version')!r}",
            path=path,
            line=1,
        )
    _take(record, "instruction", str, path, 1)
    kinds = {"versions": dict, "seed": int, "depth": int, "states": int}
    values = {
        field.name: _take(record, field.name, kinds.get(field.name, str), path, 1)
        for field in fields(RecordingHeader)
    }
    return RecordingHeader(**values)


ELEMENT_DEFAULTS = {
    field.name: field.default for field in fields(Element) if isinstance(field.default, object)
}


def _state_record(state: State) -> dict[str, Any]:
    observation = state.observation
    places = {element.key: place for place, element in enumerate(observation.elements)}
    edges = []
    for edge in state.edges:
        action = edge.action
        end = edge.target if edge.error is None else [edge.target, edge.error]
        edges.append([places[action.target], action.kind, action.argument, action.text, end])
    record: dict[str, Any] = {
        "digest": observation.digest,
        "text": observation.text,
        "elements": [_element_record(element) for element in observation.elements],
        "edges": edges,
    }
    if state.is_done:
        record["success"] = state.success
    return record


def _element_record(element: Element) -> dict[str, Any]:
    return {
        key: value for key, value in asdict(element).items() if value != ELEMENT_DEFAULTS.get(key)
    }


def _state(
    record: Mapping[str, Any], instruction: str, header: RecordingHeader, path: Path, number: int
) -> State:
    elements = tuple(
        _element(entry, path, number) for entry in _take(record, "elements", list, path, number)
    )
    observation = Observation(
        instruction,
        _take(record, "text", str, path, number),
        elements,
        _take(record, "digest", str, path, number),
    )
    is_done = "success" in record
    success = _take(record, "success", bool, path, number) if is_done else False
    edges = tuple(
        _edge(entry, elements, header.states, path, number)
        for entry in _take(record, "edges", list, path, number)
    )
    return State(observation, is_done, success, edges)


def _element(entry: Any, path: Path, number: int) -> Element:  # noqa: ANN401  # unchecked JSON
    try:
        lists = {key: tuple(entry[key]) for key in ("options", "selected") if key in entry}
        return Element(**{**entry, **lists})
    except TypeError as err:
        raise DataError(f"invalid element {entry!r}: {err}", path=path, line=number) from err


def _edge(
    entry: Any,  # noqa: ANN401  # unchecked JSON
    elements: Sequence[Element],
    num_states: int,
    path: Path,
    number: int,
) -> Edge:
    try:
        place, kind, argument, text, end = entry
        target, error = end if isinstance(end, list) else (end, None)
        action = Action(kind, elements[place].key, argument, text)
    except (TypeError, ValueError, IndexError) as err:
        raise DataError(f"invalid edge {entry!r}: {err}", path=path, line=number) from err
    if target is not None and target not in range(num_states):
        raise DataError(f"edge {entry!r} leads to no state", path=path, line=number)
    return Edge(action, target, error)
