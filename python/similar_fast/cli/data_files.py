"""Reading the files that a command is given, with one bar for all of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.output import Bar, Output
from similar_fast.errors import DataError

if TYPE_CHECKING:
    from similar_fast.records import Record

__all__ = ["DataFiles", "refuse_inputs"]


class DataFiles:
    """The files, and the bar that shows how far reading is.

    Attributes:
        splits: Those of the records that were read, the empty one included.
    """

    def __init__(self, paths: Sequence[Path], bar: Bar) -> None:
        self._paths = paths
        self._bar = bar
        self.splits: set[str] = set()

    @classmethod
    @contextmanager
    def shown(
        cls, paths: Sequence[Path], output: Output, *, passes: int = 1
    ) -> Iterator["DataFiles"]:
        """The files while a bar is shown.

        Args:
            paths: The files.
            output: Where the bar goes.
            passes: How often the files are read.

        Raises:
            OSError: There is no such file.
        """
        total = passes * sum(path.stat().st_size for path in paths)
        with output.progress(total, "bytes read") as bar:
            yield cls(paths, bar)

    def of_split(self, split: str | None) -> Iterator["Record"]:
        """As `records`, of one split alone where one is named.

        Raises:
            DataError: A row is no record, or at the end: no record is of the split.
        """
        for record in self.records():
            self.splits.add(record.split)
            if split is None or record.split == split:
                yield record
        if split is not None and split not in self.splits:
            known = ", ".join(sorted(self.splits - {""})) or "none"
            raise DataError(f"no record is of the split {split!r}; the splits are: {known}")

    def records(self) -> Iterator["Record"]:
        """Every record of every file, in order.

        Raises:
            DataError: A row is no record.
        """
        from similar_fast.srm.readers import read_data

        for path in self._paths:
            size, done = path.stat().st_size, 0

            def report(num_bytes: int, size: int = size) -> None:
                nonlocal done
                done, before = min(num_bytes, size), done
                self._bar.advance(amount=done - before)

            yield from read_data(path, report=report)
            report(size)


def refuse_inputs(paths: Sequence[Path], out: Path) -> None:
    """Refuses to write to a file that is read.

    Raises:
        ValueError: `out` is one of `paths`.
        FileNotFoundError: One of `paths`, or the folder of `out`, does not exist.
    """
    for path in paths:
        path.stat()
        if out.exists() and out.samefile(path):
            raise ValueError(f"{path} would be written to; expected another name")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"the folder {out.parent} does not exist")
