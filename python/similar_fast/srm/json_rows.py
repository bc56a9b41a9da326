"""JSON of our own and of the published forms: lines, and one nested document."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from similar_fast.errors import DataError
from similar_fast.records import Record, TrajectoryRecord, TrajectoryStep, decode_record
from similar_fast.srm.encodings import decode, detect_encoding
from similar_fast.srm.lines import BadRow, Lines
from similar_fast.srm.published import Origin, labels_of, observation_id

__all__ = ["read_json_lines", "read_nested"]


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a published trajectory."""

    step: int
    action: str
    IP: float | None = None
    E: float | None = None
    TC: float | None = None
    TR: float | None = None
    C: float | None = None
    observation: str = ""
    observation_url: str = ""
    instruction: str = ""

    def record(self) -> TrajectoryStep:
        """As the schema has it."""
        return TrajectoryStep(
            step=self.step,
            action=self.action,
            labels=labels_of(msgspec.structs.asdict(self)),
            observation=self.observation or observation_id(self.observation_url),
        )


class _NestedStep(_Step, frozen=True, kw_only=True):
    """One step of the nested document, whose number is its key."""

    step: int = 0


class _Trajectory(msgspec.Struct, frozen=True):
    """One line of the published trajectories."""

    task: str | int
    traj: str | int
    instruction: str
    steps: tuple[_Step, ...]
    split: str = ""


_LINE = msgspec.json.Decoder(_Trajectory)
_TASKS = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])
_STEPS = msgspec.json.Decoder(dict[int, _NestedStep])
_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def read_json_lines(lines: Lines, *, path: Path, origin: Origin) -> Iterator[Record | BadRow]:
    """The records of lines of the schema, or of published trajectories; blank ones are left out.

    Args:
        lines: The file's lines.
        path: The file, for the words of an error.
        origin: What published trajectories do not say.
    """
    for row in lines:
        if isinstance(row, BadRow):
            yield row
            continue
        number, text = row
        if not text.strip():
            continue
        try:
            yield decode_record(text, path=path, line=number)
        except DataError as err:
            is_ours = b'"kind"' in text or b'"traj"' not in text
            yield BadRow(err, text) if is_ours else _published(text, number, path, origin)


def _published(text: bytes, line: int, path: Path, origin: Origin) -> Record | BadRow:
    try:
        found = _LINE.decode(text)
        steps = tuple(step.record() for step in found.steps)
    except _ERRORS as err:
        return BadRow(DataError(f"no trajectory: {err}", path=path, line=line), text)
    return _trajectory(
        origin,
        steps,
        task=str(found.task),
        name=str(found.traj),
        instruction=found.instruction,
        split=found.split,
    )


def read_nested(data: bytes, *, path: Path, origin: Origin) -> Iterator[Record | BadRow]:
    """The trajectories of a nested document: task, then trajectory, then step number.

    Steps stay in the order of the document, which may be that of their numbers as text.

    Args:
        data: The document.
        path: The file, for the words of an error.
        origin: What the form does not say.
    """
    try:
        encoding = detect_encoding(data)
        if encoding != "utf-8":
            data = decode(data, encoding).encode()
        tasks = _TASKS.decode(data)
    except _ERRORS as err:
        yield BadRow(DataError(f"no nested document: {err}", path=path, line=_line(data, err)), b"")
        return
    at = 0
    for task, trajectories in tasks.items():
        for name, raw in trajectories.items():
            text = bytes(raw)
            at = max(data.find(text, at), 0)
            try:
                found = _STEPS.decode(text)
                steps = tuple(
                    msgspec.structs.replace(step.record(), step=number)
                    for number, step in found.items()
                )
            except _ERRORS as err:
                line = data.count(b"\n", 0, at) + 1
                words = f"trajectory {name!r} of task {task!r} is none: {err}"
                yield BadRow(DataError(words, path=path, line=line), text)
                continue
            instruction = next(iter(found.values())).instruction if found else ""
            yield _trajectory(origin, steps, task=task, name=name, instruction=instruction)


def _trajectory(
    origin: Origin,
    steps: tuple[TrajectoryStep, ...],
    *,
    task: str,
    name: str,
    instruction: str,
    split: str = "",
) -> TrajectoryRecord:
    return TrajectoryRecord(
        environment=origin.environment,
        platform=origin.platform,
        task=task,
        trajectory=name,
        instruction=instruction,
        steps=steps,
        split=split,
        is_scaled=origin.is_scaled,
        provenance=origin.provenance,
    )


def _line(data: bytes, err: Any) -> int:  # noqa: ANN401  # one of _ERRORS
    """The line of the byte that the error is at; the last one where it does not say."""
    start = getattr(err, "start", None)
    if start is None:
        found = str(err).rpartition("(byte ")[2].rstrip(")")
        start = int(found) if found.isdigit() else len(data)
    return data.count(b"\n", 0, start) + 1
