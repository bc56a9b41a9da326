r"""Steps in a file, one JSON object a line: what `similar-fast score` reads.

    {"instruction": "Buy a ticket", "action": "click button \"Buy\""}
    {"instruction": "Buy a ticket", "history": ["click link \"Tickets\""], "observation": "...",
     "screenshot": "shots/2.png", "actions": ["click button \"Buy\"", "click link \"Help\""]}

A row names one `action`, or the candidate `actions` of one state. A screenshot is a path from the
file's folder, or an absolute one. Further fields are left alone, see `unread_fields`; `id` is
copied to the row's scores.
"""

import stat
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from similar_fast.errors import DataError
from similar_fast.processing.images import MAX_BYTES
from similar_fast.types import Step

__all__ = ["MAX_LINE_BYTES", "StepRow", "parse_row", "read_screenshot", "unread_fields"]

MAX_LINE_BYTES = 16 * 2**20
"""A longer line is no row."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """One line of the file.

    Attributes:
        instruction: The task in words.
        action: The candidate; None where `actions` are given.
        actions: The candidates of one state.
        history: The actions so far, oldest first.
        observation: The screen in words.
        screenshot: Path of a PNG, JPEG or WebP file, from the file's folder or absolute.
        id: Anything.
    """

    instruction: str
    action: str | None = None
    actions: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    observation: str = ""
    screenshot: str | None = None
    id: Any = None

    def steps(self, folder: Path) -> list[Step]:
        """The row's steps; the screenshot is read when a model asks for it.

        Args:
            folder: What `screenshot` starts from.
        """
        shot = (
            None if self.screenshot is None else partial(read_screenshot, folder / self.screenshot)
        )
        return [
            Step(self.instruction, self.history, action, self.observation, shot)
            for action in ((self.action,) if self.action is not None else self.actions)
        ]


_FIELDS = frozenset(field.name for field in fields(StepRow))


def parse_row(text: bytes, *, path: Path | None = None, line: int | None = None) -> StepRow:
    """The row that `text` holds.

    Raises:
        DataError: It is no JSON object, a field has the wrong type, or not exactly one of `action`
            and `actions` is there.
    """
    if len(text) > MAX_LINE_BYTES:
        raise DataError(
            f"the line has more than the {MAX_LINE_BYTES} bytes that a row may have",
            path=path,
            line=line,
        )
    try:
        row = msgspec.json.decode(text, type=StepRow)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise DataError(f"no row of steps: {err}", path=path, line=line) from err
    if (row.action is None) == (not row.actions):
        found = "both" if row.actions else "neither"
        raise DataError(f"the row has {found}; expected action or actions", path=path, line=line)
    return row


def unread_fields(text: bytes) -> list[str]:
    """The names in a row, as `parse_row` takes it, that nothing reads."""
    try:
        names = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    return [name for name in names if name not in _FIELDS]


def read_screenshot(path: Path) -> bytes:
    """The file's bytes; nothing is read of a device, a pipe or a file that is too large.

    Raises:
        DataError: It is one of these, or cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"the screenshot {path} is no regular file")
        if status.st_size > MAX_BYTES:
            raise DataError(
                f"the screenshot {path} has {status.st_size} bytes; expected at most {MAX_BYTES}"
            )
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise DataError(f"the screenshot {path} cannot be read: {reason}") from err
