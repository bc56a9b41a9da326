"""The published preference CSV: one row for each pair and each type it is compared by.

The two actions stand twice: in the messages `chosen` and `rejected`, and in two columns that the
published builder swaps for some types. The messages win; `PairRecord.columns_swapped` tells.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from similar_fast.dimensions import Dimension
from similar_fast.errors import DataError
from similar_fast.records import PairRecord
from similar_fast.srm.csv_rows import CsvRow
from similar_fast.srm.lines import BadRow
from similar_fast.srm.published import (
    Origin,
    action_texts,
    label,
    observation_id,
    task_of_trajectory,
    type_of,
)

__all__ = ["COLUMNS", "OPTIONAL_COLUMNS", "messages_action", "pair_of_row", "read_pairs"]

COLUMNS = ("compare_id", "step_idx", "instruction", "type", "chosen", "rejected")
"""Columns that must be there."""

OPTIONAL_COLUMNS = (
    "reason_steps",
    "image_url",
    "chosen_action",
    "rejected_action",
    "chosen_score",
    "rejected_score",
)
"""Columns that may be missing."""

MAX_LITERAL_CHARS = 2**20
MAX_LITERAL_DEPTH = 8

_STEP = re.compile(r"-?\d{1,9}(?:\.0)?")
_BEGINNING = re.compile(r"\s*\[\s*\{")
_STRING = re.compile(r"'[^'\\]*(?:\\.[^'\\]*)*'|\"[^\"\\]*(?:\\.[^\"\\]*)*\"", re.DOTALL)
_SKELETON = re.compile(r"[\s\[\]{}(),:\d.A-Za-z-]*")
# An escape that Python does not know stands for itself, with a warning that nobody asked for.
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_KNOWN_ESCAPES = "\n\\'\"abfnrtv01234567xNuU"


@cache
def _published_shape() -> re.Pattern[str]:
    """The list as the published builder writes it, the answer of the assistant as its one group.

    It matches nothing that `ast.literal_eval` would refuse or read otherwise. Every repetition but
    that of the messages is possessive, so that a text which does not match costs two looks at most.
    """
    number = r"x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}"
    escape = rf"""\\(?:[\\'"abfnrtv]|{number})"""
    # No source holds a raw line break within a string, a NUL, or half of a surrogate pair.
    no_character = r"\\\n\r\0\ud800-\udfff"
    string = "(?:{})".format(
        "|".join(f"{quote}(?>[^{quote}{no_character}]+|{escape})*+{quote}" for quote in "'\"")
    )
    flat = rf"\{{{string}: {string}(?:, {string}: {string})*+\}}"
    part = rf"\{{{string}: (?:{string}|{flat})(?:, {string}: (?:{string}|{flat}))*+\}}"
    content = rf"(?:{string}|\[(?:{part}(?:, {part})*+)?\])"
    message = rf"\{{'role': {string}, 'content': {content}\}}"
    answer = rf"\{{'role': 'assistant', 'content': ({string})\}}"
    return re.compile(rf"\[(?:{message}, )*?{answer}\]")


def read_pairs(
    rows: Iterator[CsvRow | BadRow], header: Sequence[str], *, path: Path, origin: Origin
) -> Iterator[PairRecord | BadRow]:
    """The pairs of the rows below the header.

    Args:
        rows: The rows.
        header: The names of the columns.
        path: The file, for the words of an error.
        origin: What the form does not say.
    """
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            yield pair_of_row(dict(zip(header, row.fields, strict=True)), origin)
        except ValueError as err:
            yield BadRow(DataError(f"no pair: {err}", path=path, line=row.line), row.raw)


def pair_of_row(row: dict[str, str], origin: Origin) -> PairRecord:
    """The pair of one row.

    `compare_id` becomes the state: rows of one id compare the same two trajectories. The columns
    do not say which of the two the better action stands in.

    Raises:
        ValueError: A field does not hold what it should.
    """
    compared_by = type_of(row["type"])
    is_trajectory = compared_by is Dimension.TRAJECTORY
    chosen, rejected = (messages_action(row[name], name) for name in ("chosen", "rejected"))
    step = row["step_idx"].strip()
    if not _STEP.fullmatch(step):
        raise ValueError(f"step_idx is {step!r:.40}; expected a number")
    reasons = row.get("reason_steps", "")
    history = action_texts(reasons)
    if history is None:
        history = () if is_trajectory or not reasons.strip() else (reasons,)
    return PairRecord(
        environment=origin.environment,
        platform=origin.platform,
        task=task_of_trajectory(row["compare_id"].rpartition("_vs_")[2]),
        type=compared_by,
        instruction=row["instruction"],
        chosen=_actions(chosen, is_trajectory=is_trajectory),
        rejected=_actions(rejected, is_trajectory=is_trajectory),
        step=int(step.removesuffix(".0")),
        history=history,
        observation=observation_id(row.get("image_url", "")),
        chosen_label=label(row.get("chosen_score"), "chosen_score"),
        rejected_label=label(row.get("rejected_score"), "rejected_score"),
        state=row["compare_id"],
        columns_swapped=_is_swapped(row, chosen, rejected),
        provenance=origin.provenance,
    )


def messages_action(text: str, name: str) -> str:
    """What the assistant says last in a Python-literal list of messages.

    A text that is no list is the action itself: in some published files the lists are left out.

    Args:
        text: The field.
        name: Its name, for the words of an error.

    Raises:
        ValueError: It is too long or too deep, no list of messages, or nobody says anything.
    """
    if answer := _published_answer(text):
        return answer
    if _BEGINNING.match(text):
        return _last_answer(text, name)
    if not text.strip():
        raise ValueError(f"{name} is empty; expected messages or an action")
    return text


def _published_answer(text: str) -> str | None:
    """What `_last_answer` finds, without reading the rest; None or empty where it has to look."""
    found = _published_shape().fullmatch(text)
    if found is None or len(text) > MAX_LITERAL_CHARS:
        return None
    answer = found[1][1:-1]
    if "\\" not in answer:
        return answer
    # As Python reads a literal: what is not ASCII becomes an escape, then all escapes are read.
    return answer.encode("ascii", "backslashreplace").decode("unicode_escape")


def _last_answer(text: str, name: str) -> str:
    """The same of any list of messages."""
    for message in reversed(_literal(text, name)):
        if isinstance(message, dict) and message.get("role") == "assistant":
            content = message.get("content")
            if isinstance(content, list):
                parts = [part.get("text") for part in content if isinstance(part, dict)]
                content = "".join(part for part in parts if isinstance(part, str))
            if isinstance(content, str) and content:
                return content
    raise ValueError(f"{name} holds no text of the assistant")


def _literal(text: str, name: str) -> list[object]:
    """The list that `text` is, by `ast.literal_eval` on what cannot hurt it."""
    if len(text) > MAX_LITERAL_CHARS:
        raise ValueError(f"{name} has {len(text)} characters; expected {MAX_LITERAL_CHARS} at most")
    skeleton = _STRING.sub("", text)
    depth = deepest = 0
    for bracket in re.findall(r"[\[\](){}]", skeleton):
        depth += 1 if bracket in "[({" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_LITERAL_DEPTH or _SKELETON.fullmatch(skeleton) is None:
        raise ValueError(f"{name} is no plain list of messages")
    try:
        found = ast.literal_eval(_ESCAPE.sub(_kept_escape, text).strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as err:
        raise ValueError(f"{name} is no Python literal: {err!s:.80}") from err
    if not isinstance(found, list):
        raise ValueError(f"{name} is a {type(found).__name__}; expected a list of messages")  # noqa: TRY004  # a row's fault, not a caller's
    return found


def _kept_escape(found: re.Match[str]) -> str:
    return found[0] if found[1] in _KNOWN_ESCAPES else "\\\\" + found[1]


def _actions(text: str, *, is_trajectory: bool) -> tuple[str, ...]:
    """One action, or those of a trajectory."""
    return (action_texts(text) or (text,)) if is_trajectory else (text,)


def _is_swapped(row: dict[str, str], chosen: str, rejected: str) -> bool:
    """Whether the columns name the two actions the other way round than the messages do."""
    columns = row.get("chosen_action", "").strip(), row.get("rejected_action", "").strip()
    return columns == (rejected.strip(), chosen.strip()) and columns[0] != columns[1]
