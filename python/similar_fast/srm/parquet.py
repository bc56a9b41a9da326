"""Records as a Parquet file: one typed table for all three kinds, for DuckDB, pandas and Polars.

A column that a record's kind does not have is null. Labels and provenance are structs, the steps of
a trajectory a list of structs. Needs pyarrow, from `similar-fast[data]`.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import DataError
from similar_fast.records import SCHEMA_VERSION, Provenance, Record
from similar_fast.srm.lines import BadRow

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["has_nan", "parquet_schema", "read_parquet", "write_parquet"]

_ROWS = 4096
_FILLED = {
    "step": {"platform": "web", "split": "", "observation": "", "state": "", "is_scaled": False},
    "trajectory": {"platform": "web", "split": "", "is_scaled": False},
    "pair": {
        "platform": "web",
        "split": "",
        "observation": "",
        "state": "",
        "columns_swapped": False,
    },
}
"""Defaults that are written out, so that a query need not know them."""


def parquet_schema() -> "pa.Schema":
    """The columns of the file; docs/data.md has them in a table.

    Raises:
        ImportError: pyarrow is missing.
    """
    pa = _pyarrow()
    text, number, real, flag = pa.string(), pa.int64(), pa.float64(), pa.bool_()
    labels = pa.struct([(dimension.name.lower(), real) for dimension in DIMENSIONS])
    kinds = {str: text, int: number, float: real}
    provenance = pa.struct(
        [
            (field.name, kinds[next(kind for kind in kinds if kind.__name__ in str(field.type))])
            for field in msgspec.structs.fields(Provenance)
        ]
    )
    step = pa.struct(
        [
            ("step", number),
            ("action", text),
            ("labels", labels),
            ("observation", text),
            ("screenshot", text),
        ]
    )
    texts = pa.list_(text)
    columns = {
        text: "kind environment platform task trajectory split instruction state action type",
        number: "schema seed step chosen_rollouts rejected_rollouts",
        real: "chosen_label rejected_label",
        flag: "is_scaled is_final columns_swapped",
        texts: "history chosen rejected",
    }
    fields = [(name, kind) for kind, names in columns.items() for name in names.split()]
    fields += [(name, text) for name in ("observation", "screenshot")]
    fields += [(f"{which}_trajectory", text) for which in ("chosen", "rejected")]
    fields += [("labels", labels), ("steps", pa.list_(step)), ("provenance", provenance)]
    return pa.schema(fields)


def write_parquet(stream: BinaryIO, records: Iterable[Record]) -> int:
    """Writes the records as one table and returns how many they are.

    Raises:
        ImportError: pyarrow is missing.
        DataError: A number of a record does not fit a column.
    """
    pa = _pyarrow()
    import pyarrow.parquet as pq  # noqa: PLC0415  # an extra

    schema, written = parquet_schema(), 0
    source = iter(records)
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:  # type: ignore[no-untyped-call]  # ships no types
        while rows := [_row(record) for record in islice(source, _ROWS)]:
            try:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            except (pa.ArrowException, OverflowError, UnicodeEncodeError) as err:
                first, last = written + 1, written + len(rows)
                raise DataError(f"a record of {first} to {last} fits no column: {err}") from err
            written += len(rows)
    return written


def read_parquet(
    path: Path, *, report: Callable[[int], None] | None = None
) -> Iterator[Record | BadRow]:
    """The records of the file; the line of an error is the number of its row, from 1.

    Columns that the schema does not have are left alone.

    Args:
        path: The file.
        report: Told now and then how many bytes of the file are read, as its rows go.

    Raises:
        ImportError: pyarrow is missing.
        OSError: The file cannot be opened.
    """
    pa = _pyarrow()
    import pyarrow.parquet as pq  # noqa: PLC0415  # an extra

    number = 0
    try:
        with pq.ParquetFile(path) as file:  # type: ignore[no-untyped-call]  # as above
            for batch in file.iter_batches(batch_size=_ROWS):
                for row in _rows(batch):
                    number += 1
                    yield _record(row, path, number)
                if report is not None:
                    report(path.stat().st_size * number // file.metadata.num_rows)
    except (pa.ArrowException, OSError) as err:
        if isinstance(err, OSError) and err.errno is not None:
            raise
        words = f"the Parquet file is broken after {number} rows: {err!s:.200}"
        yield BadRow(DataError(words, path=path, line=number + 1), b"")


def has_nan(record: Record) -> bool:
    """Whether a number of the record is NaN or infinite, which no label may be."""
    numbers: tuple[float | None, ...]
    match record.__struct_config__.tag:
        case "step":
            numbers = msgspec.structs.astuple(record.labels)  # type: ignore[union-attr]  # a step
        case "trajectory":
            numbers = tuple(
                value
                for step in record.steps  # type: ignore[union-attr]  # a trajectory
                for value in msgspec.structs.astuple(step.labels)
            )
        case _:
            numbers = (record.chosen_label, record.rejected_label)  # type: ignore[union-attr]  # a pair
    numbers += (record.provenance.remaining,)
    return not all(value is None or math.isfinite(value) for value in numbers)


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(record)
    return {**_FILLED[row["kind"]], "schema": SCHEMA_VERSION, **row}


def _record(row: dict[str, Any], path: Path, number: int) -> Record | BadRow:
    """The record of a row as pyarrow gives it, or why it is none."""
    try:
        record: Record = msgspec.convert(row, Record)
        if has_nan(record):
            raise ValueError("a label is NaN or infinite; expected a number, or null")  # noqa: TRY301  # one way out
    except (msgspec.ValidationError, ValueError) as err:
        error = DataError(f"no record of the schema: {err}", path=path, line=number)
        return BadRow(error, repr(row).encode("utf-8", "backslashreplace"))
    if record.schema != SCHEMA_VERSION:
        words = f"the record has schema {record.schema}; expected {SCHEMA_VERSION}"
        return BadRow(DataError(words, path=path, line=number), repr(row).encode())
    return record


def _rows(batch: "pa.RecordBatch") -> Iterator[dict[str, Any]]:
    """The rows of a batch as dicts without the nulls; most columns belong to other kinds."""
    names = [name for name in batch.schema.names if batch[name].null_count < len(batch)]
    if not names:
        yield from ({} for _ in range(len(batch)))
        return
    for row in zip(*(_values(batch[name]) for name in names), strict=True):
        yield {name: value for name, value in zip(names, row, strict=True) if value is not None}


def _values(array: Any) -> list[Any]:  # noqa: ANN401  # an array of an extra
    """What `array.to_pylist()` gives, but for nulls in structs, which are left out; 10x faster."""
    from pyarrow import types  # noqa: PLC0415  # an extra

    kind = array.type
    values: list[Any]
    if types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        values = [
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in zip(*map(_values, array.flatten()), strict=True)
        ]
    elif types.is_list(kind) or types.is_large_list(kind):
        inner, offsets = _values(array.values), array.offsets.to_numpy().tolist()
        values = [inner[start:end] for start, end in pairwise(offsets)]
    elif types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        zero = False if types.is_boolean(kind) else 0
        filled = array.fill_null(zero) if array.null_count else array
        values = filled.to_numpy(zero_copy_only=False).tolist()
    elif types.is_string(kind) or types.is_large_string(kind):
        return list(array.to_numpy(zero_copy_only=False).tolist())
    else:
        return list(array.to_pylist())
    if array.null_count:
        nulls = array.is_null().to_numpy(zero_copy_only=False).tolist()
        values = [None if is_null else value for value, is_null in zip(values, nulls, strict=True)]
    return values


def _pyarrow() -> Any:  # noqa: ANN401  # a module of an extra
    try:
        import pyarrow  # noqa: ICN001, PLC0415  # an extra
    except ImportError as err:
        raise ImportError('Parquet needs `pip install "similar-fast[data]"`') from err
    return pyarrow
