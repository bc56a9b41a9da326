"""Screenshots in a folder, each under the SHA-256 of its bytes: kept once, and never changed."""

import hashlib
import re
from pathlib import Path

from similar_fast.errors import DataError
from similar_fast.files.whole_file import write_whole
from similar_fast.processing.images import MAX_BYTES

__all__ = ["ScreenshotStore", "screenshot_name"]

_NAME = re.compile(r"[0-9a-f]{64}\.(?:png|webp)")


def screenshot_name(data: bytes) -> str:
    """The name of a picture: `SHA-256.png` or `SHA-256.webp`.

    Args:
        data: The bytes of a PNG or WebP file.

    Raises:
        DataError: They begin like neither, or are more than a picture may have.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"the screenshot has {len(data)} bytes; expected {MAX_BYTES} at most")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        suffix = "png"
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        suffix = "webp"
    else:
        raise DataError(f"the screenshot begins with {data[:12]!r}; expected PNG or WebP")
    return f"{hashlib.sha256(data).hexdigest()}.{suffix}"


class ScreenshotStore:
    """A folder of pictures; any number of threads and processes may use it at once.

    Args:
        folder: Where they lie; made when the first is put.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def put(self, data: bytes) -> str:
        """Keeps a picture and returns its name; one that is there already is not written again.

        Args:
            data: The bytes of a PNG or WebP file.

        Raises:
            DataError: They are neither, or too many.
            OSError: The file cannot be written.
        """
        name = screenshot_name(data)
        path = self.folder / name
        # A file that was damaged since is mended.
        if not path.is_file() or path.read_bytes() != data:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
        return name

    def open(self, name: str) -> bytes:
        """The bytes of the picture of that name.

        Raises:
            DataError: The name is none of a picture, or what the file holds is another one.
            FileNotFoundError: There is no such picture.
            OSError: The file cannot be read.
        """
        path = self._place(name)
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if screenshot_name(data) != name:
            raise DataError("the screenshot does not hold what its name says", path=path)
        return data

    def path(self, name: str) -> Path:
        """Where the picture of that name lies; what the file holds is not read.

        Raises:
            DataError: The name is none of a picture.
            FileNotFoundError: There is no such picture.
        """
        path = self._place(name)
        if not path.is_file():
            raise FileNotFoundError(f"the screenshot {path} is missing")
        return path

    def _place(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise DataError(f"the screenshot {name!r:.100} is no SHA-256 with .png or .webp")
        return self.folder / name
