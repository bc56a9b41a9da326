"""Which form a data file has, seen from its first bytes; its name takes no part."""

import re
from pathlib import Path
from typing import Literal, get_args

import msgspec

from similar_fast.errors import DataError
from similar_fast.srm.lines import BOM, open_data

__all__ = ["FORMS", "Form", "form_of"]

Form = Literal["auto", "jsonl", "parquet", "preference-csv", "step-csv", "nested-json"]
"""The forms that are read; `jsonl` holds lines of the schema or published trajectories."""

FORMS: tuple[str, ...] = get_args(Form)

_HEAD_BYTES = 2**16
_OBJECT_OF_OBJECTS = re.compile(rb'\s*\{\s*(?:\}|"(?:[^"\\]|\\.)*"\s*:\s*\{)', re.DOTALL)
_PREFERENCE = {"chosen", "rejected", "type"}
_GOALS = {"instruction", "goal"}


def form_of(path: Path) -> Form:
    """The form of the file at `path`; `jsonl` where it is empty.

    Raises:
        DataError: It has none of the forms.
        OSError: It cannot be read.
    """
    try:
        with open_data(path) as (stream, _):
            head = stream.read(_HEAD_BYTES).removeprefix(BOM)
    except OSError as err:
        if err.errno is not None:
            raise
        raise DataError(f"the compressed file is broken: {err}", path=path) from err
    except (EOFError, ValueError) as err:
        raise DataError(f"the compressed file is broken: {err}", path=path) from err
    if head.startswith(b"PAR1"):
        return "parquet"
    if not head.strip():
        return "jsonl"
    if head.lstrip().startswith(b"{"):
        return _json_form(head)
    first = head.lstrip().splitlines()[0]
    columns = {re.sub(r"\W", "", name) for name in first.decode("latin-1").lower().split(",")}
    if columns >= _PREFERENCE:
        return "preference-csv"
    if "action" in columns and columns & _GOALS:
        return "step-csv"
    # A first line that is broken does not hide the good ones after it.
    if b"\n{" in head:
        return "jsonl"
    raise DataError(
        f"the file has no form that is known: it begins with {first[:60]!r}; "
        f"expected one of {', '.join(FORMS[1:])}",
        path=path,
        line=1,
    )


def _json_form(head: bytes) -> Form:
    """Whether a text that begins with a brace is one nested document or lines."""
    if _OBJECT_OF_OBJECTS.match(head) is None:
        return "jsonl"
    try:
        row = msgspec.json.decode(head.lstrip().split(b"\n", 1)[0], type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "nested-json"
    return "jsonl" if "kind" in row else "nested-json"
