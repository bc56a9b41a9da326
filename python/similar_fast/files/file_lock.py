"""Files that one process at a time writes to."""

from pathlib import Path
from typing import BinaryIO

from similar_fast.errors import DataError

__all__ = ["lock_file"]


def lock_file(file: BinaryIO, path: Path) -> None:
    """Takes the open `file` for this process until it is closed; nothing where there are no locks.

    Raises:
        DataError: Another process has it.
    """
    try:
        import fcntl  # noqa: PLC0415  # not on every system
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        raise DataError("another process is writing to this file", path=path) from err
