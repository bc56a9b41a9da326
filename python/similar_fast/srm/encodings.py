"""Which encoding a published file is in: UTF-8, GB2312, GBK, GB18030 or ISO-8859-1."""

import re
from collections.abc import Iterable
from typing import Literal

__all__ = ["Encoding", "decode", "detect_encoding", "encoding_of_lines"]

Encoding = Literal["utf-8", "gb2312", "gbk", "gb18030", "iso-8859-1"]

_CHINESE: tuple[Encoding, ...] = ("gb2312", "gbk", "gb18030")
# A lead byte and a trail byte that are both high: what Chinese text is made of, and what ISO-8859-1
# text, in which an accented letter stands between plain ones, hardly has.
_HIGH_PAIR = re.compile(rb"[\xa1-\xfe][\xa1-\xfe]")
_HIGH = re.compile(rb"[\x80-\xff]")
_CONTROL = re.compile(r"[\x80-\x9f]")


def detect_encoding(data: bytes) -> Encoding:
    """The encoding of `data`; `utf-8` for plain ASCII and where a byte order mark says so.

    A few broken lines do not change the answer: it is UTF-8 where at least half of the lines that
    are not ASCII are, else the first of GB2312, GBK and GB18030 that nine tenths of these lines are
    in (and whose letters are mostly pairs of high bytes), else ISO-8859-1.

    Example:
        >>> detect_encoding("打开设置".encode("gbk"))
        'gb2312'
        >>> detect_encoding("déjà vu".encode("iso-8859-1"))
        'iso-8859-1'
    """
    return encoding_of_lines(data.splitlines())


def encoding_of_lines(lines: Iterable[bytes]) -> Encoding:
    """As `detect_encoding`, for a file that is read line by line."""
    total = high = paired = 0
    votes: dict[Encoding, int] = dict.fromkeys(("utf-8", *_CHINESE), 0)
    for line in lines:
        if line.isascii():
            continue
        total += 1
        if _is_in(line, "utf-8"):
            votes["utf-8"] += 1
            continue
        high += len(_HIGH.findall(line))
        paired += 2 * len(_HIGH_PAIR.findall(line))
        for encoding in _CHINESE:
            votes[encoding] += _is_in(line, encoding)
    if 2 * votes["utf-8"] >= total:
        return "utf-8"
    if 2 * paired >= high:
        for encoding in _CHINESE:
            if 10 * votes[encoding] >= 9 * (total - votes["utf-8"]):
                return encoding
    return "iso-8859-1"


def decode(data: bytes, encoding: Encoding) -> str:
    """The text of `data`.

    Raises:
        UnicodeDecodeError: A byte is no part of the encoding; a control character from 0x80 to 0x9F
            is none of ISO-8859-1, where no text has it.
    """
    text = data.decode(encoding)
    if encoding == "iso-8859-1" and (found := _CONTROL.search(text)):
        at = found.start()
        raise UnicodeDecodeError(encoding, data, at, at + 1, "a control character")
    return text


def _is_in(line: bytes, encoding: Encoding) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
