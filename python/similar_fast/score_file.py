"""Scores a file of steps row by row: what `similar-fast score` does. An interrupted run goes on.

Three files grow together. `OUT` has a line for each row of which something was scored, in the
order of the rows. `OUT.rejected.jsonl` keeps the rows that failed, with their line and the reason.
`OUT.progress.json` says how far all three are; it is there only while the work is not finished.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import DataError
from similar_fast.reward import RewardModel, ScoredRows
from similar_fast.steps_file import MAX_LINE_BYTES, StepRow, parse_row
from similar_fast.whole_file import write_whole

__all__ = ["ScoreSummary", "progress_path", "rejected_path", "score_file"]

_MAX_KEPT = MAX_LINE_BYTES
"""Bytes that are kept of a row that failed; a longer line is no row and stays in the source."""


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What one file of scores holds.

    Attributes:
        rows: Rows that were read, blank lines left out.
        scored_actions: Actions that have a score.
        rejected: Rows that are kept aside, whole or for one of their actions.
        cut_rows: Rows whose state did not fit the model's positions and was cut.
    """

    rows: int = 0
    scored_actions: int = 0
    rejected: int = 0
    cut_rows: int = 0


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far the work is.

    Attributes:
        model: The model's fingerprint.
        source_bytes: Bytes of the source that were worked off.
        source_digest: BLAKE2b of these bytes.
        lines: Lines in these bytes.
        out_bytes: Bytes of the scores that belong to them.
        rejected_bytes: Bytes of the rejected rows that belong to them.
        summary: What was counted.
    """

    model: str
    source_bytes: int
    source_digest: str
    lines: int
    out_bytes: int
    rejected_bytes: int
    summary: ScoreSummary


def rejected_path(out: Path) -> Path:
    """Where the rows of `out` that failed are kept."""
    return out.with_name(out.name + ".rejected.jsonl")


def progress_path(out: Path) -> Path:
    """What says how far an unfinished `out` is."""
    return out.with_name(out.name + ".progress.json")


def score_file(
    model: RewardModel,
    source: Path,
    *,
    out: Path,
    batch_rows: int = 32,
    resume: bool = False,
    report: Callable[[int], None] = lambda _: None,
) -> ScoreSummary:
    """Scores every row of `source` into `out`.

    A row that cannot be read or scored never stops the work. Rows of one state that follow one
    another are scored together. With one model and one source the files come out the same whether
    or not the work was interrupted, but for the last bits of a score (see `RewardModel`).

    Args:
        model: What scores.
        source: JSON lines, see `similar_fast.steps_file`.
        out: The file to write; `rejected_path(out)` is written beside it where a row fails.
        batch_rows: Rows that are read and scored together, at least 1.
        resume: Whether to go on where an earlier call was interrupted; there must be one.
        report: Told how many bytes of `source` are worked off, after each batch.

    Raises:
        FileExistsError: `out` exists and `resume` is not set.
        DataError: `resume` is set, and the unfinished files are missing, or are of another model or
            another source.
        OSError: A file cannot be read or written.
        ValueError: `batch_rows` is less than 1.
    """
    if batch_rows < 1:
        raise ValueError(f"batch_rows is {batch_rows}; expected at least 1")
    with source.open("rb") as lines, ExitStack() as stack:
        fingerprint = _fingerprint(model)
        digest = hashlib.blake2b()
        if resume:
            done = _read_progress(out, fingerprint)
            _skip(lines, done, digest, source)
        elif out.exists():
            raise FileExistsError(f"{out} exists; expected a new file, or to resume an earlier run")
        else:
            done = _Progress(fingerprint, 0, "", 0, 0, 0, ScoreSummary())
        scores = stack.enter_context(_open_at(out, done.out_bytes))
        rejected = stack.enter_context(_open_at(rejected_path(out), done.rejected_bytes))
        for batch in _batches(lines, digest, batch_rows):
            summary = _score_batch(model, source, batch, done, (scores, rejected))
            done = _Progress(
                model=fingerprint,
                source_bytes=lines.tell(),
                source_digest=digest.hexdigest(),
                lines=done.lines + len(batch),
                out_bytes=_flushed(scores),
                rejected_bytes=_flushed(rejected),
                summary=summary,
            )
            write_whole(progress_path(out), json.dumps(asdict(done)).encode())
            report(done.source_bytes)
    if not done.summary.rejected:
        rejected_path(out).unlink()
    progress_path(out).unlink(missing_ok=True)
    return done.summary


def _score_batch(
    model: RewardModel,
    source: Path,
    batch: Sequence[bytes],
    done: _Progress,
    files: tuple[BinaryIO, BinaryIO],
) -> ScoreSummary:
    """Scores the lines of `batch`, writes them, and returns the counts so far."""
    rows: dict[int, StepRow] = {}
    errors: dict[int, list[str]] = {}
    for i, text in enumerate(batch):
        if text.strip():
            try:
                rows[i] = parse_row(text)
            except DataError as err:
                errors[i] = [str(err)]
    steps = {i: row.steps(source.parent) for i, row in rows.items()}
    scored = model.score_rows([step for group in steps.values() for step in group])
    scores, rejected = files
    first, scored_actions, cut_rows = 0, 0, 0
    for i, group in steps.items():
        span = range(first, first + len(group))
        first += len(group)
        failed = [str(scored.errors[k]) for k in span if k in scored.errors]
        if failed:
            errors[i] = failed
        if len(failed) < len(group):
            line = _record(done.lines + i + 1, rows[i], [s.action for s in group], scored, span)
            scores.write(msgspec.json.encode(line) + b"\n")
        scored_actions += len(group) - len(failed)
        cut_rows += bool(scored.num_cut[span.start])
    for i, messages in sorted(errors.items()):
        line = {
            "line": done.lines + i + 1,
            "errors": list(dict.fromkeys(messages)),
            "row": batch[i][:_MAX_KEPT].decode("utf-8", "replace").rstrip("\r\n"),
        }
        rejected.write(msgspec.json.encode(line) + b"\n")
    before = done.summary
    return ScoreSummary(
        rows=before.rows + sum(1 for text in batch if text.strip()),
        scored_actions=before.scored_actions + scored_actions,
        rejected=before.rejected + len(errors),
        cut_rows=before.cut_rows + cut_rows,
    )


def _record(
    line: int, row: StepRow, actions: Sequence[str], scored: ScoredRows, span: range
) -> dict[str, Any]:
    """What stands in the file of scores for one row."""
    columns = scored.scores
    assert columns.dims is not None  # noqa: S101  # a reward model's scores have all columns
    entries: list[dict[str, Any]] = []
    for k, action in zip(span, actions, strict=True):
        if k in scored.errors:
            entries.append({"action": action, "error": str(scored.errors[k])})
            continue
        dims = zip(DIMENSIONS, columns.dims[k], strict=True)
        entries.append(
            {
                "action": action,
                "total": float(columns.total[k]),
                **{dimension.name.lower(): float(value) for dimension, value in dims},
            }
        )
    record: dict[str, Any] = {"line": line}
    if row.id is not None:
        record["id"] = row.id
    record["scores"] = entries
    if scored.num_cut[span.start]:
        record["num_cut"] = int(scored.num_cut[span.start])
    return record


def _batches(lines: BinaryIO, digest: Any, size: int) -> Iterator[list[bytes]]:  # noqa: ANN401  # hashlib's
    """The lines in groups; what lies beyond the limit of one line is read and left out."""
    batch: list[bytes] = []
    while text := lines.readline(MAX_LINE_BYTES + 1):
        whole = text
        while not whole.endswith(b"\n") and (rest := lines.readline(MAX_LINE_BYTES)):
            digest.update(whole)
            whole = rest
        digest.update(whole)
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _fingerprint(model: RewardModel) -> str:
    files = ((file.name, file.sha256) for file in model.manifest.files)
    return hashlib.blake2b(json.dumps(sorted(files)).encode(), digest_size=16).hexdigest()


def _read_progress(out: Path, fingerprint: str) -> _Progress:
    path = progress_path(out)
    try:
        done = msgspec.json.decode(path.read_bytes(), type=_Progress)
    except FileNotFoundError as err:
        raise DataError(f"there is nothing to resume: {path} is missing") from err
    except msgspec.DecodeError as err:
        raise DataError(f"the progress cannot be read: {err}", path=path) from err
    if done.model != fingerprint:
        raise DataError(f"{out} was begun with another model; expected the same", path=path)
    for file, expected in ((out, done.out_bytes), (rejected_path(out), done.rejected_bytes)):
        size = file.stat().st_size if file.is_file() else -1
        if size < expected:
            raise DataError(f"{file} has {max(size, 0)} bytes; expected {expected} or more")
    return done


def _skip(lines: BinaryIO, done: _Progress, digest: Any, source: Path) -> None:  # noqa: ANN401  # as above
    left = done.source_bytes
    while left and (piece := lines.read(min(left, 1 << 20))):
        digest.update(piece)
        left -= len(piece)
    if left or (done.source_bytes and digest.hexdigest() != done.source_digest):
        raise DataError(f"{source} is not what the work began with; expected the same file")


def _open_at(path: Path, size: int) -> BinaryIO:
    """`path` for writing behind its first `size` bytes; what stood there is cut off."""
    path.touch()
    stream = path.open("r+b")
    stream.truncate(size)
    stream.seek(size)
    return stream


def _flushed(stream: BinaryIO) -> int:
    stream.flush()
    os.fsync(stream.fileno())
    return stream.tell()
