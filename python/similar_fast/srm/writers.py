"""Writing labelled data: JSON lines, packed or not, and Parquet."""

import gzip
import lzma
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import BinaryIO, cast

from similar_fast.errors import DataError
from similar_fast.files.whole_file import whole_file
from similar_fast.records import Record, encode_record
from similar_fast.srm.parquet import has_nan, write_parquet

__all__ = ["SUFFIXES", "check_suffix", "write_data"]

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.xz", ".parquet")
"""What the name of a file that is written may end with."""


def check_suffix(path: Path) -> str:
    """The one of `SUFFIXES` that the name ends with.

    Raises:
        ValueError: It ends with none of them.
    """
    found = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if found is None:
        raise ValueError(f"the name {path.name!r} ends with none of {', '.join(SUFFIXES)}")
    return found


def write_data(path: Path, records: Iterable[Record]) -> int:
    """Writes the records to `path` and returns how many they are.

    The form follows the name's suffix. The file is there as a whole or not at all: an error of
    `records` itself leaves what was there before. Equal records make equal bytes.

    Raises:
        DataError: A number of a record is NaN or infinite, or a text is no Unicode.
        FileNotFoundError: The folder of `path` does not exist.
        ImportError: A Parquet file, and pyarrow is missing.
        ValueError: The suffix is not known.
    """
    suffix = check_suffix(path)
    checked = _checked(records, path)
    with whole_file(path) as stream:
        if suffix == ".parquet":
            return write_parquet(stream, checked)
        return _write_lines(stream, suffix, checked)


def _write_lines(stream: BinaryIO, suffix: str, records: Iterable[Record]) -> int:
    written = 0
    with ExitStack() as stack:
        if suffix == ".jsonl.gz":
            # The time and the name would make the bytes differ from run to run.
            packed = gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0)
            stream = cast("BinaryIO", stack.enter_context(packed))
        elif suffix == ".jsonl.xz":
            stream = cast("BinaryIO", stack.enter_context(lzma.LZMAFile(stream, "wb")))
        for record in records:
            try:
                line = encode_record(record)
            except UnicodeEncodeError as err:
                raise DataError(f"record {written + 1} holds a text that is no Unicode") from err
            stream.write(line + b"\n")
            written += 1
    return written


def _checked(records: Iterable[Record], path: Path) -> Iterable[Record]:
    for number, record in zip(count(1), records, strict=False):
        if has_nan(record):
            raise DataError("a label is NaN or infinite; expected a number", path=path, line=number)
        yield record
