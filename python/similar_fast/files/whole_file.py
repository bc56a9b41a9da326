"""Files that are there as a whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["whole_file", "write_whole"]


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file at `path` when the block ends without an error.

    Any number of threads and processes may write to one path; the last one wins. Whatever ends the
    block early, the old file stays and no other is left.

    Raises:
        FileNotFoundError: The folder of `path` does not exist.
        OSError: The file cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist")
    part = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Writes `data` to `path` as `whole_file` does, and returns the path.

    Raises:
        FileNotFoundError: The folder of `path` does not exist.
        OSError: The file cannot be written.
    """
    with whole_file(path) as stream:
        stream.write(data)
    return Path(path)
