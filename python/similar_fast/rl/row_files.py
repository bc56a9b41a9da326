"""Rows in a file that `datasets` loads: JSON lines, or Parquet."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from similar_fast.errors import DataError
from similar_fast.files.whole_file import whole_file

__all__ = ["SUFFIXES", "check_row_suffix", "write_rows"]

SUFFIXES = (".jsonl", ".parquet")
"""What the name of a file of rows may end with."""

_ROWS = 4096
_TEXTS = ("environment", "task", "split", "state", "type")
_NUMBERS = ("seed", "step", "chosen_rollouts", "rejected_rollouts")


def check_row_suffix(path: Path) -> str:
    """The one of `SUFFIXES` that the name ends with.

    Raises:
        ValueError: It ends with neither.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"the name {path.name!r} ends with none of {', '.join(SUFFIXES)}")
    return path.suffix


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Writes the rows of `step_dpo_rows` to `path` and returns how many they are.

    The file is there as a whole or not at all. Equal rows make equal bytes.

    Raises:
        DataError: A text is no Unicode, or a number does not fit a column.
        FileNotFoundError: The folder of `path` does not exist.
        ImportError: A Parquet file, and pyarrow is missing.
        ValueError: The suffix is not known.
    """
    suffix = check_row_suffix(path)
    with whole_file(path) as stream:
        if suffix == ".parquet":
            return _write_parquet(stream, rows)
        written = 0
        for row in rows:
            try:
                stream.write(msgspec.json.encode(row) + b"\n")
            except UnicodeEncodeError as err:
                raise DataError(f"row {written + 1} holds a text that is no Unicode") from err
            written += 1
        return written


def _write_parquet(stream: BinaryIO, rows: Iterable[dict[str, Any]]) -> int:
    try:
        import pyarrow as pa  # noqa: PLC0415  # an extra
        import pyarrow.parquet as pq  # noqa: PLC0415  # as above
    except ImportError as err:
        raise ImportError('Parquet needs `pip install "similar-fast[data]"`') from err
    source, written = iter(rows), 0
    first = list(islice(source, _ROWS))
    schema = _schema(pa, first[0] if first else {})
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:  # type: ignore[no-untyped-call]  # ships no types
        chunk = first
        while chunk:
            try:
                writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
            except (pa.ArrowException, OverflowError, UnicodeEncodeError) as err:
                last = written + len(chunk)
                raise DataError(f"a row of {written + 1} to {last} fits no column: {err}") from err
            written += len(chunk)
            chunk = list(islice(source, _ROWS))
    return written


def _schema(pa: Any, row: dict[str, Any]) -> Any:  # noqa: ANN401  # a module of an extra
    """The columns, so that one that is None everywhere has its type all the same."""
    message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    text = pa.string() if isinstance(row.get("prompt"), str) else message
    fields = [(name, text) for name in ("prompt", "chosen", "rejected")]
    if "images" in row:
        fields.append(("images", pa.list_(pa.string())))
    fields += [(name, pa.string()) for name in _TEXTS]
    fields += [(name, pa.int64()) for name in _NUMBERS]
    return pa.schema([*fields, ("margin", pa.float64())])
