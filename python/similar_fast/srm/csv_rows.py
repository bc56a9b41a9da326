"""The rows of a CSV file, one by one: a broken row costs itself, not its neighbours.

The `csv` module has one limit on the size of a field for the whole process, and loses its place at
a stray quote. Here a row ends where its quotes are even, and after a broken one reading goes on at
the next line that begins a whole row.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from similar_fast.errors import DataError
from similar_fast.srm.encodings import Encoding, decode
from similar_fast.srm.lines import MAX_LINE_BYTES, BadRow, Lines

__all__ = ["CsvRow", "read_csv", "split_row"]

MAX_ROW_LINES = 10_000
"""A row with more lines than that is none: somewhere a quote is not closed."""

_FIELD = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|(?:\r?\n)?\Z)')


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row.

    Attributes:
        line: Its first line, from 1.
        raw: Its bytes.
        fields: The text of each field.
    """

    line: int
    raw: bytes
    fields: list[str]


def split_row(text: str) -> list[str]:
    r"""The fields of one row.

    Raises:
        ValueError: A quote stands in a field without quotes, or is not closed.

    Example:
        >>> split_row('1,"a ""b"",\nc",')
        ['1', 'a "b",\nc', '']
    """
    fields: list[str] = []
    at = 0
    while True:
        found = _FIELD.match(text, at)
        if found is None:
            raise ValueError(f"field {len(fields) + 1} is quoted in part, or not to its end")
        quoted, plain, end = found.groups()
        fields.append(plain if quoted is None else quoted.replace('""', '"'))
        if end != ",":
            return fields
        at = found.end()


def read_csv(lines: Lines, *, path: Path, encoding: Encoding) -> Iterator[CsvRow | BadRow]:
    """The rows of a file, the header first; blank lines between rows are left out.

    A row with another number of fields than the header is a `BadRow`.

    Args:
        lines: The file's lines.
        path: The file, for the words of an error.
        encoding: What the lines are in.
    """
    return _Reader(lines, path=path, encoding=encoding).rows()


class _Reader:
    """The lines that were read and are not yet given out, and how wide a row is."""

    def __init__(self, lines: Lines, *, path: Path, encoding: Encoding) -> None:
        self._lines = iter(lines)
        self._path = path
        self._encoding = encoding
        self._ahead: list[tuple[int, bytes] | BadRow] = []
        self._width: int | None = None

    def rows(self) -> Iterator[CsvRow | BadRow]:
        """See `read_csv`."""
        while self._ahead or self._fill():
            first = self._ahead[0]
            if isinstance(first, BadRow):
                yield first
                self._ahead.pop(0)
            elif not first[1].strip():
                self._ahead.pop(0)
            else:
                end = self._end(0)
                row = self._row(0, end)
                if isinstance(row, DataError):
                    end = self._next_good(len(self._ahead) if end is None else end)
                    yield BadRow(row, self._raw(0, end)[:MAX_LINE_BYTES])
                else:
                    self._width = self._width or len(row.fields)
                    yield row
                del self._ahead[:end]

    def _fill(self) -> bool:
        """Reads one line more; False at the end of the file."""
        line = next(self._lines, None)
        if line is not None:
            self._ahead.append(line)
        return line is not None

    def _end(self, start: int) -> int | None:
        """Where the row that begins at line `start` of those ahead ends; None where it does not."""
        quotes = size = 0
        for end in range(start, start + MAX_ROW_LINES):
            if end == len(self._ahead) and not self._fill():
                return None
            line = self._ahead[end]
            if isinstance(line, BadRow):
                return None
            quotes += line[1].count(b'"')
            size += len(line[1])
            if size > MAX_LINE_BYTES:
                return None
            if quotes % 2 == 0:
                return end + 1
        return None

    def _raw(self, start: int, end: int) -> bytes:
        return b"".join(line[1] for line in self._ahead[start:end] if not isinstance(line, BadRow))

    def _row(self, start: int, end: int | None) -> CsvRow | DataError:
        """The row of these lines, or what is wrong with it."""
        first = self._ahead[start]
        assert not isinstance(first, BadRow)  # noqa: S101  # the callers have looked
        number = first[0]
        if end is None:
            words = "a quote is not closed, or the row is longer than a row may be"
            return DataError(f"no row: {words}", path=self._path, line=number)
        raw = self._raw(start, end)
        if b"\0" in raw:
            return DataError("no row: a NUL byte is in it", path=self._path, line=number)
        try:
            fields = split_row(decode(raw, self._encoding))
        except UnicodeDecodeError as err:
            line = number + raw.count(b"\n", 0, err.start)
            words = f"the byte {raw[err.start]:#04x} is no {self._encoding}"
            return DataError(f"no row: {words}", path=self._path, line=line)
        except ValueError as err:
            return DataError(f"no row: {err}", path=self._path, line=number)
        if self._width is not None and len(fields) != self._width:
            words = f"the row has {len(fields)} fields; expected {self._width}"
            return DataError(words, path=self._path, line=number)
        return CsvRow(number, raw, fields)

    def _next_good(self, end: int) -> int:
        """The first line ahead, after the first and before `end`, that begins a whole row."""
        # A file made to be slow must not cost more than a few looks at each line.
        looks = 8 * end + 64
        for start in range(1, end):
            line = self._ahead[start]
            if isinstance(line, BadRow):
                return start
            stop = self._end(start)
            looks -= (len(self._ahead) if stop is None else stop) - start
            if stop is not None and isinstance(self._row(start, stop), CsvRow):
                return start
            if looks < 0:
                break
        return end
