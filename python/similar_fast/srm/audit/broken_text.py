"""Checks of the text: characters that were lost, text that was read in a wrong encoding."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from similar_fast.records import PairRecord, Record, StepRecord
from similar_fast.srm.audit.findings import Finding, Place, Severity, Tally
from similar_fast.srm.audit.rows import AuditData
from similar_fast.srm.audit.texts import excerpt

__all__ = ["broken_text", "misread"]

_CHECK = "encodings"


def _bytes_of_characters() -> dict[str, int]:
    """The byte that a character stands for in ISO-8859-1 or, as punctuation, in Windows-1252."""
    found = {chr(byte): byte for byte in range(0x80, 0x100)}
    for byte in range(0x80, 0xA0):
        found[bytes([byte]).decode("cp1252", "ignore") or chr(byte)] = byte
    return found


_BYTES = _bytes_of_characters()
_CONTINUATIONS = "".join(re.escape(c) for c, byte in _BYTES.items() if byte < 0xC0)
_LATIN_RUN = re.compile(f"(?:[\xc2-\xf4][{_CONTINUATIONS}]{{1,3}})+")
_HIGH_RUN = re.compile("[\xa1-\xfe]{4,}")
_CHINESE_RUN = re.compile("[\u0391-\uffe5]{2,}")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PRIVATE = re.compile("[\ue000-\uf8ff]|\\\\u(?:[eE][0-9a-fA-F]|[fF][0-8])[0-9a-fA-F]{2}")
# What GBK makes of the UTF-8 of two replacement characters.
_REPLACED_TWICE = "锟斤拷"


def misread(text: str) -> str | None:
    """What a piece of `text` that was read in a wrong encoding should be; None where none was.

    Found are UTF-8 read as ISO-8859-1, Windows-1252 or GBK, and Chinese text read as ISO-8859-1.

    Example:
        >>> misread("cafÃ© au lait")
        'é'
        >>> misread("café au lait") is None
        True
    """
    for run in _LATIN_RUN.findall(text):
        if meant := _decoded(bytes(_BYTES[c] for c in run), "utf-8"):
            return meant
    for run in _HIGH_RUN.findall(text):
        if len(run) % 2 == 0 and (meant := _decoded(run.encode("latin-1"), "gb2312")):
            return meant
    for run in _CHINESE_RUN.findall(text):
        if _REPLACED_TWICE in run:
            return "\ufffd"
        try:
            data = run.encode("gbk")
        except UnicodeEncodeError:
            continue
        if meant := _decoded(data, "utf-8"):
            return meant
    return None


def _decoded(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class _Kind:
    """One thing that may be wrong with a text; `find` returns what a reader is told, or None."""

    severity: Severity
    words: str
    find: Callable[[str], str | None]


def _replaced(text: str) -> str | None:
    at = text.find("\ufffd")
    return None if at < 0 else _around(text, at)


def _misread(text: str) -> str | None:
    if text.isascii():
        return None
    meant = misread(text)
    return None if meant is None else f"{excerpt(text)}; {excerpt(meant, length=20)} is meant"


def _control(text: str) -> str | None:
    found = _CONTROL.search(text)
    return _around(text, found.start()) if found else None


def _private(text: str) -> str | None:
    found = _PRIVATE.search(text)
    return _around(text, found.start()) if found else None


def _around(text: str, at: int) -> str:
    return excerpt(text[max(0, at - 20) :])


_KINDS = (
    _Kind("fault", "texts have characters that were lost (U+FFFD)", _replaced),
    _Kind("fault", "texts were read in a wrong encoding", _misread),
    _Kind("warning", "texts have control characters", _control),
    _Kind("note", "texts have icons from the private use area, which no model reads", _private),
)


def broken_text(data: AuditData, limit: int) -> list[Finding]:
    """Lost, misread and control characters, icons, and files in different encodings.

    Each distinct text is looked at, and counted, once.
    """
    tallies = [Tally(limit) for _ in _KINDS]
    seen: set[str] = set()
    for place, record in data.records:
        for text in _texts(record):
            if text in seen:
                continue
            seen.add(text)
            for kind, tally in zip(_KINDS, tallies, strict=True):
                if words := kind.find(text):
                    tally.add(place, words)
    found = [
        finding
        for kind, tally in zip(_KINDS, tallies, strict=True)
        for finding in tally.findings(_CHECK, kind.severity, words=kind.words)
    ]
    return [*found, *_mixed(data, limit)]


def _mixed(data: AuditData, limit: int) -> list[Finding]:
    """Files that are not all in one encoding, or not in UTF-8."""
    names = set(data.encodings.values())
    if names <= {"utf-8"}:
        return []
    tally = Tally(limit)
    for path, name in data.encodings.items():
        if name != "utf-8" or len(names) > 1:
            tally.add(Place(path), name)
    if len(names) > 1:
        words = f"files are in different encodings ({', '.join(sorted(names))})"
        return tally.findings(_CHECK, "warning", words=words)
    return tally.findings(_CHECK, "note", words="files are not in UTF-8")


def _texts(record: Record) -> Iterator[str]:
    yield record.task
    yield record.instruction
    if isinstance(record, PairRecord):
        yield from (record.observation, *record.history, *record.chosen, *record.rejected)
    elif isinstance(record, StepRecord):
        yield from (record.observation, *record.history, record.action)
    else:
        for step in record.steps:
            yield from (step.observation, step.action)
