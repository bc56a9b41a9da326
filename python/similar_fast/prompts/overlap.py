"""What an action's quoted words have in common with the instruction, in words.

A small encoder reads pieces of words in lower case: that a long name is the very string of the
instruction costs it layers, and that "Eu" is not "eu" it cannot see at all. These marks say both.
They are made of the instruction and the action alone, when a prompt is written, so what is
compared stays the same text for every scorer.
"""

import re

__all__ = ["overlap_text"]

_QUOTED = re.compile(r'"([^"]*)"')
_WORD = re.compile(r"[\w@#']+")
_MOST_MARKS = 4
_COMMON = frozenset(
    "a an and as at box button by click enter field find for from in into is it item link list"
    " of on option or press select submit tab text that the then this to with".split()
)


def overlap_text(instruction: str, action: str) -> str:
    """One mark for each of the action's first four quoted strings; empty where it has none.

    `same`: the instruction holds the whole string, letter for letter. `alike`: it does but for the
    letters' case. `some`: it holds some of the string's words, small common ones aside. `none`.

    Example:
        >>> overlap_text('Click on "Eu".', 'click span "eu" in "Eu, dolor"')
        'match alike some'
    """
    marks = [_mark(instruction, string) for string in _QUOTED.findall(action)[:_MOST_MARKS]]
    return " ".join(["match", *marks]) if marks else ""


def _mark(instruction: str, string: str) -> str:
    if _holds(instruction, string):
        return "same"
    if _holds(instruction.lower(), string.lower()):
        return "alike"
    words = set(_WORD.findall(string.lower())) - _COMMON
    return "some" if words & set(_WORD.findall(instruction.lower())) else "none"


def _holds(text: str, string: str) -> bool:
    """Whether `string` stands in `text`, not as a part of a longer word."""
    return bool(string) and bool(re.search(rf"(?<!\w){re.escape(string)}(?!\w)", text))
