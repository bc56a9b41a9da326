"""Reading labelled data: one door for every form a file may have."""

from collections.abc import Callable, Iterator
from pathlib import Path

from similar_fast.errors import DataError
from similar_fast.records import Record
from similar_fast.srm import parquet, preference_csv, step_csv
from similar_fast.srm.csv_rows import CsvRow, read_csv
from similar_fast.srm.encodings import encoding_of_lines
from similar_fast.srm.forms import FORMS, Form, form_of
from similar_fast.srm.json_rows import read_json_lines, read_nested
from similar_fast.srm.lines import BOM, BadRow, open_data, read_lines
from similar_fast.srm.published import Origin, origin_of

__all__ = ["MAX_DOCUMENT_BYTES", "read_data"]

MAX_DOCUMENT_BYTES = 2**30
"""A nested document, which must be held as a whole, may not have more."""

Report = Callable[[int], None]


def read_data(
    path: Path,
    *,
    form: Form = "auto",
    environment: str | None = None,
    platform: str | None = None,
    on_bad: Callable[[DataError, bytes], None] | None = None,
    report: Report | None = None,
) -> Iterator[Record]:
    """Every record of the file at `path`, in order.

    Args:
        path: The file; JSON lines, a CSV and a nested document may be packed by gzip or xz.
        form: Its form; `auto` looks at what it begins with, not at its name.
        environment: The environment, where the form does not tell; None takes it from the name.
        platform: The platform, as the environment.
        on_bad: Takes the error and the raw row of each row that is no record, which is then left
            out; None raises at the first.
        report: Told now and then how many bytes of the file are read.

    Raises:
        DataError: A row is no record, and `on_bad` is None; or the file has no form that is known.
        ImportError: A Parquet file, and pyarrow is missing.
        OSError: The file cannot be read.
        ValueError: `form` or `platform` is none of those that are known.
    """
    if form not in FORMS:
        raise ValueError(f"the form is {form!r}; expected one of {', '.join(FORMS)}")
    try:
        found = form_of(path) if form == "auto" else form
    except DataError as err:
        if on_bad is None:
            raise
        on_bad(err, b"")
        return
    origin = origin_of(path, environment=environment, platform=platform, form=found)
    for row in _rows(path, found, origin=origin, report=report):
        if not isinstance(row, BadRow):
            yield row
        elif on_bad is None:
            raise row.error
        else:
            on_bad(row.error, row.raw)


def _rows(
    path: Path, form: Form, *, origin: Origin, report: Report | None
) -> Iterator[Record | BadRow]:
    """The records and the bad rows of a file whose form is known."""
    match form:
        case "parquet":
            yield from parquet.read_parquet(path, report=report)
        case "nested-json":
            yield from _nested(path, origin)
        case "preference-csv" | "step-csv":
            yield from _csv(path, form, origin=origin, report=report)
        case _:
            yield from read_json_lines(read_lines(path, report=report), path=path, origin=origin)


def _nested(path: Path, origin: Origin) -> Iterator[Record | BadRow]:
    try:
        with open_data(path) as (stream, _):
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
    except (EOFError, OSError) as err:
        if getattr(err, "errno", None) is not None:
            raise
        yield BadRow(DataError(f"the compressed file is broken: {err}", path=path), b"")
        return
    if len(data) > MAX_DOCUMENT_BYTES:
        words = f"the document has more than {MAX_DOCUMENT_BYTES} bytes"
        yield BadRow(DataError(words, path=path, line=1), b"")
        return
    yield from read_nested(data.removeprefix(BOM), path=path, origin=origin)


def _csv(
    path: Path, form: Form, *, origin: Origin, report: Report | None
) -> Iterator[Record | BadRow]:
    """The records of either CSV form."""
    whole_lines = (line[1] for line in read_lines(path) if not isinstance(line, BadRow))
    encoding = encoding_of_lines(whole_lines)
    rows = read_csv(read_lines(path, report=report), path=path, encoding=encoding)
    header = next(rows, None)
    if not isinstance(header, CsvRow):
        if header is not None:
            yield header
        return
    try:
        if form == "step-csv":
            names = step_csv.column_names(header.fields)
            yield from step_csv.read_steps(rows, names, path=path, origin=origin)
        else:
            names = [name.strip() for name in header.fields]
            missing = [name for name in preference_csv.COLUMNS if name not in names]
            if missing:
                raise ValueError(f"the column {missing[0]} is missing")  # noqa: TRY301  # as above
            yield from preference_csv.read_pairs(rows, names, path=path, origin=origin)
    except ValueError as err:
        yield BadRow(DataError(f"no header: {err}", path=path, line=header.line), header.raw)
