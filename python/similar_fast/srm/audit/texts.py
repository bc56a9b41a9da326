"""What two texts are compared by: words alone, digits masked, the verb."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

__all__ = [
    "differs_in_element_only",
    "excerpt",
    "first_number",
    "masked",
    "normalised",
    "num_digits",
    "verb",
    "versus",
]

_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")
_ELEMENT = re.compile(r"\[\d+\]")


@lru_cache(maxsize=1 << 16)
def normalised(text: str) -> str:
    """The words of `text` in lower case with single spaces: no punctuation, forms unified (NFKC).

    Example:
        >>> normalised("Cancel  order #299!")
        'cancel order 299'
    """
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


@lru_cache(maxsize=1 << 16)
def masked(action: str) -> str:
    """The action with every run of digits as one `0`.

    Example:
        >>> masked("click [97]link 'Page 12'")
        "click [0]link 'Page 0'"
    """
    return _DIGITS.sub("0", action)


def differs_in_element_only(first: str, second: str) -> bool:
    """Whether two different actions are one but for the first number in brackets.

    Example:
        >>> differs_in_element_only("click [97]link 'A'", "click [98]link 'A'")
        True
        >>> differs_in_element_only("click [97]link 'A'", "click [98]link 'B'")
        False
    """
    return first != second and _ELEMENT.sub("[]", first, 1) == _ELEMENT.sub("[]", second, 1)


def verb(action: str) -> str:
    """The action's first word in lower case; empty where it has none."""
    found = _WORD.search(action)
    return found.group().casefold() if found else ""


def first_number(actions: Sequence[str]) -> float:
    """The first whole number in the actions; -1 where there is none.

    Example:
        >>> first_number(["click [97]link 'Page 12'"])
        97.0
    """
    for action in actions:
        if found := _DIGITS.search(action):
            # 15 digits are exact as a float, and no element has a longer number.
            return float(found.group()[:15])
    return -1.0


@lru_cache(maxsize=1 << 16)
def num_digits(action: str) -> int:
    """How many characters of the action are digits.

    Example:
        >>> num_digits("click [97]link 'Page 12'")
        4
    """
    return sum(map(str.isdigit, action))


def excerpt(text: str, *, length: int = 60) -> str:
    """The beginning of `text` in one line, as a literal: quotes around, controls escaped."""
    return repr(text if len(text) <= length else text[: length - 3] + "...")


def versus(chosen: Sequence[str], rejected: Sequence[str]) -> str:
    """Two sides of a pair in one line."""
    first, second = (excerpt(" ".join(side), length=40) for side in (chosen, rejected))
    return f"{first} over {second}"
