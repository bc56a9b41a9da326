"""Files that are there as a whole or not at all."""

import os
import secrets
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Writes `data` to `path`, in place of what was there before, and returns the path.

    Any number of threads and processes may write to one path; the last one wins. Whatever ends the
    call early, the old file stays and no other is left.

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
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
