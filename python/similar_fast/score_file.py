"""Scores a file of steps row by row: what `similar-fast score` does. An interrupted run goes on.

Three files grow together. `OUT` has a line for each row of which something was scored, in the
order of the rows. `OUT.rejected.jsonl` keeps the rows that failed, with their line and the reason.
`OUT.progress.json` says how far all three are; it is there only while the work is not finished.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import DataError
from similar_fast.files.file_lock import lock_file
from similar_fast.files.growing_file import cut_back, make_safe, open_growing
from similar_fast.files.packing import NUM_MAGIC_BYTES, packing_of
from similar_fast.files.whole_file import write_whole
from similar_fast.models.tokens import whole_text
from similar_fast.reward.model import RewardModel, ScoredRows
from similar_fast.steps_file import MAX_LINE_BYTES, StepRow, parse_row, unread_fields

__all__ = [
    "MAX_UNREAD_FIELDS",
    "ScoreSummary",
    "check_start",
    "progress_path",
    "rejected_path",
    "score_file",
]

MAX_UNREAD_FIELDS = 8
"""So many names of fields that nothing reads are told."""

_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What one file of scores holds.

    Attributes:
        rows: Rows that were read, blank lines left out.
        scored_actions: Actions that have a score.
        rejected: Rows that are kept aside, whole or for one of their actions.
        cut_rows: Rows whose state did not fit the model's positions and was cut.
        unread_fields: Names in rows that nothing reads, the first `MAX_UNREAD_FIELDS` found, each
            cut to 64 characters.
    """

    rows: int = 0
    scored_actions: int = 0
    rejected: int = 0
    cut_rows: int = 0
    unread_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far the work is.

    Attributes:
        model: The model's fingerprint.
        deterministic: Whether it scores so.
        source_bytes: Bytes of the source that were worked off.
        source_digest: BLAKE2b of these bytes.
        lines: Lines in these bytes.
        out_bytes: Bytes of the scores that belong to them.
        rejected_bytes: Bytes of the rejected rows that belong to them.
        summary: What was counted.
    """

    model: str
    deterministic: bool
    source_bytes: int = 0
    source_digest: str = ""
    lines: int = 0
    out_bytes: int = 0
    rejected_bytes: int = 0
    summary: ScoreSummary = ScoreSummary()


def rejected_path(out: Path) -> Path:
    """Where the rows of `out` that failed are kept."""
    return out.with_name(out.name + ".rejected.jsonl")


def progress_path(out: Path) -> Path:
    """What says how far an unfinished `out` is."""
    return out.with_name(out.name + ".progress.json")


def check_start(source: Path, out: Path, *, resume: bool) -> None:
    """Refuses what `score_file` would refuse before it asks the model; nothing is written.

    Args:
        source: The file to read.
        out: The file to write.
        resume: Whether an earlier call is to be gone on with.

    Raises:
        FileExistsError: `out` or `rejected_path(out)` holds something and `resume` is not set.
        DataError: `resume` is set and `out` is missing or not unfinished.
        FileNotFoundError: `source`, or the folder of `out`, does not exist.
        ValueError: `source` is no regular file, packed, or one that would be written to.
    """
    _check_source(source)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"the folder {out.parent} does not exist")
    progress = progress_path(out)
    for path in (out, rejected_path(out), progress):
        if path.exists() and path.samefile(source):
            raise ValueError(f"{source} would be written to; expected another name for the scores")
    if resume:
        if not progress.exists():
            state = "is finished, or was never begun" if out.exists() else "was never begun"
            raise DataError(f"there is nothing to resume: {out} {state}; {progress} is missing")
        if not out.is_file():
            raise DataError(f"there is nothing to resume: {out} is missing")
    else:
        expected = "to resume it" if progress.exists() else "a new file"
        for path in (out, rejected_path(out)):
            if path.exists() and (not path.is_file() or path.stat().st_size):
                raise FileExistsError(f"{path} exists; expected {expected}")


def _check_source(source: Path) -> None:
    source.stat()
    if not source.is_file():
        raise ValueError(f"{source} is no regular file; expected one that can be read again")
    with source.open("rb") as stream:
        packing = packing_of(stream.read(NUM_MAGIC_BYTES))
    if packing is not None:
        raise ValueError(f"{source} is packed ({packing}); expected JSON lines: unpack it first")


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

    A row that cannot be read or scored never stops the work. Rows of one state in one batch are
    scored together. With one model and one source the files come out the same whether or not the
    work was interrupted, but for the last bits of a score (see `RewardModel`).

    Args:
        model: What scores.
        source: JSON lines, see `similar_fast.steps_file`.
        out: The file to write, by one process at a time; `rejected_path(out)` is written beside it
            where a row fails.
        batch_rows: Rows that are read and scored together, at least 1.
        resume: Whether to go on where an earlier call was interrupted; there must be one.
        report: Told how many bytes of `source` are worked off, after each batch.

    Raises:
        FileExistsError: `out` or `rejected_path(out)` holds something and `resume` is not set.
        DataError: `resume` is set, and the unfinished files are missing, or are of another model,
            another of its modes or another source; or another process writes to `out`.
        OSError: A file cannot be read or written.
        ValueError: `batch_rows` is less than 1, or `source` is no file of its own.
    """
    if batch_rows < 1:
        raise ValueError(f"batch_rows is {batch_rows}; expected at least 1")
    check_start(source, out, resume=resume)
    with ExitStack() as stack:
        lines = stack.enter_context(source.open("rb"))
        scores = stack.enter_context(open_growing(out))
        lock_file(scores, out)
        rejected = stack.enter_context(open_growing(rejected_path(out)))
        digest = hashlib.blake2b()
        done = _begin(model, out, resume=resume)
        _skip(lines, done, digest, source)
        cut_back(scores, done.out_bytes)
        cut_back(rejected, done.rejected_bytes)
        # From here on the work can be resumed, before the first batch is done as well.
        write_whole(progress_path(out), json.dumps(asdict(done)).encode())
        for batch in _batches(lines, digest, batch_rows):
            summary = _score_batch(model, source, batch, done, (scores, rejected))
            done = replace(
                done,
                source_bytes=lines.tell(),
                source_digest=digest.hexdigest(),
                lines=done.lines + len(batch),
                out_bytes=make_safe(scores),
                rejected_bytes=make_safe(rejected),
                summary=summary,
            )
            write_whole(progress_path(out), json.dumps(asdict(done)).encode())
            report(done.source_bytes)
    if not done.summary.rejected:
        rejected_path(out).unlink()
    progress_path(out).unlink()
    return done.summary


def _score_batch(
    model: RewardModel,
    source: Path,
    batch: Sequence[bytes],
    done: _Progress,
    files: tuple[BinaryIO, BinaryIO],
) -> ScoreSummary:
    """Scores the lines of `batch`, writes them, and returns the counts so far."""
    rows, errors = _read_rows(batch)
    num_rows = len(rows) + len(errors)
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
            cut_rows += "num_cut" in line
        scored_actions += len(group) - len(failed)
    for i, messages in sorted(errors.items()):
        line = {
            "line": done.lines + i + 1,
            "errors": [whole_text(message) for message in dict.fromkeys(messages)],
            "row": batch[i][:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\r\n"),
        }
        rejected.write(msgspec.json.encode(line) + b"\n")
    before = done.summary
    names = (whole_text(name[:_NAME_CHARS]) for i in rows for name in unread_fields(batch[i]))
    return ScoreSummary(
        rows=before.rows + num_rows,
        scored_actions=before.scored_actions + scored_actions,
        rejected=before.rejected + len(errors),
        cut_rows=before.cut_rows + cut_rows,
        unread_fields=tuple(
            islice(dict.fromkeys((*before.unread_fields, *names)), MAX_UNREAD_FIELDS)
        ),
    )


def _read_rows(batch: Sequence[bytes]) -> tuple[dict[int, StepRow], dict[int, list[str]]]:
    """The rows of `batch` and why others are none, by their index; blank lines are neither."""
    rows: dict[int, StepRow] = {}
    errors: dict[int, list[str]] = {}
    for i, text in enumerate(batch):
        # Of a line beyond the limit only the beginning is here, and that may be blank.
        if text.strip() or len(text) > MAX_LINE_BYTES:
            try:
                rows[i] = parse_row(text)
            except DataError as err:
                errors[i] = [str(err)]
    return rows, errors


def _record(
    line: int, row: StepRow, actions: Sequence[str], scored: ScoredRows, span: range
) -> dict[str, Any]:
    """What stands in the file of scores for one row."""
    columns = scored.scores
    assert columns.dims is not None  # noqa: S101  # a reward model's scores have all columns
    entries: list[dict[str, Any]] = []
    for k, action in zip(span, actions, strict=True):
        if k in scored.errors:
            entries.append({"action": action, "error": whole_text(str(scored.errors[k]))})
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
    # A long action leaves less room for its state, and one that failed was not cut.
    if num_cut := max(int(scored.num_cut[k]) for k in span):
        record["num_cut"] = num_cut
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


def _begin(model: RewardModel, out: Path, *, resume: bool) -> _Progress:
    """Where to start: at nothing, or behind what an earlier call has done."""
    fingerprint = model.manifest.fingerprint
    if not resume:
        return _Progress(fingerprint, model.deterministic)
    path = progress_path(out)
    try:
        done = msgspec.json.decode(path.read_bytes(), type=_Progress)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise DataError(f"the progress cannot be read: {err}", path=path) from err
    if done.model != fingerprint:
        raise DataError(f"{out} was begun with another model; expected the same", path=path)
    if done.deterministic != model.deterministic:
        raise DataError(
            f"{out} was begun with deterministic={done.deterministic}; expected the same", path=path
        )
    for file, expected in ((out, done.out_bytes), (rejected_path(out), done.rejected_bytes)):
        size = file.stat().st_size
        if size < expected:
            raise DataError(f"{file} has {size} bytes; expected {expected} or more")
    return done


def _skip(lines: BinaryIO, done: _Progress, digest: Any, source: Path) -> None:  # noqa: ANN401  # as above
    left = done.source_bytes
    while left and (piece := lines.read(min(left, 1 << 20))):
        digest.update(piece)
        left -= len(piece)
    if left or (done.source_bytes and digest.hexdigest() != done.source_digest):
        raise DataError(f"{source} is not what the work began with; expected the same file")
