"""Files that grow in safe steps, and are cut back to the last of them when work is taken up."""

import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["cut_back", "make_safe", "open_growing"]


def open_growing(path: Path) -> BinaryIO:
    """`path` for reading and writing; made where it is missing, and what stands there stays."""
    path.touch()
    return path.open("r+b")


def cut_back(stream: BinaryIO, size: int) -> None:
    """Leaves the first `size` bytes and goes behind them."""
    stream.truncate(size)
    stream.seek(size)


def make_safe(stream: BinaryIO) -> int:
    """Has the system write what was given to it; returns the file's size then."""
    stream.flush()
    os.fsync(stream.fileno())
    return stream.tell()
