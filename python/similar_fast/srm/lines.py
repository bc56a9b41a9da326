"""The lines of a data file, compressed or not, with a bound on each."""

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from similar_fast.errors import DataError
from similar_fast.files.packing import NUM_MAGIC_BYTES, packing_of
from similar_fast.steps_file import MAX_LINE_BYTES

__all__ = ["BOM", "MAX_LINE_BYTES", "BadRow", "Lines", "open_data", "read_lines"]

BOM = b"\xef\xbb\xbf"
_REPORT_EVERY = 1000


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no record.

    Attributes:
        error: Why, with the file and the line.
        raw: Its bytes, or the first `MAX_LINE_BYTES` of them; empty where they cannot be had.
    """

    error: DataError
    raw: bytes


Lines = Iterable[tuple[int, bytes] | BadRow]
"""Lines with their numbers from 1; a line that cannot be had stands as a `BadRow`."""


@contextmanager
def open_data(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file's content as a stream, unpacked where it is gzip or xz, and the file itself.

    Raises:
        OSError: The file cannot be opened.
    """
    with path.open("rb") as packed:
        packing = packing_of(packed.read(NUM_MAGIC_BYTES))
        packed.seek(0)
        if packing == "gzip":
            with gzip.GzipFile(fileobj=packed) as stream:
                yield cast("BinaryIO", stream), packed
        elif packing == "xz":
            with lzma.LZMAFile(packed) as stream:
                yield cast("BinaryIO", stream), packed
        else:
            yield packed, packed


def read_lines(
    path: Path, *, report: Callable[[int], None] | None = None
) -> Iterator[tuple[int, bytes] | BadRow]:
    """Every line of the file, its line break included; a byte order mark is left out.

    Args:
        path: The file, or the same packed by gzip or xz.
        report: Told now and then how many bytes of the file are read.

    Raises:
        OSError: The file cannot be opened.
    """
    number = 0
    with open_data(path) as (stream, packed):
        try:
            while text := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1:
                    text = text.removeprefix(BOM)
                if len(text) > MAX_LINE_BYTES:
                    yield _too_long(stream, text, path=path, line=number)
                else:
                    yield number, text
                if report is not None and number % _REPORT_EVERY == 0:
                    report(packed.tell())
        except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as err:
            error = DataError(
                f"the compressed file is broken after {number} lines: {err}",
                path=path,
                line=number + 1,
            )
            yield BadRow(error, b"")


def _too_long(stream: BinaryIO, text: bytes, *, path: Path, line: int) -> BadRow:
    """Skips the rest of the line."""
    rest = text
    while rest and not rest.endswith(b"\n"):
        rest = stream.readline(MAX_LINE_BYTES)
    error = DataError(
        f"the line has more than the {MAX_LINE_BYTES} bytes that a row may have",
        path=path,
        line=line,
    )
    return BadRow(error, text[:MAX_LINE_BYTES])
