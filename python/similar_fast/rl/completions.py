"""What a policy answered, as an action in words."""

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["MAX_ACTION_CHARS", "action_of", "chosen_of", "completion_text"]

MAX_ACTION_CHARS = 2000
"""The longest answer that is taken for an action."""

_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_NUMBER = re.compile(r"(\d{1,6})\.?")


def completion_text(completion: object) -> str | None:
    """The text of a completion in either of TRL's forms; None where it has none.

    Args:
        completion: A string, or a list of messages, of which the last one counts where it is the
            assistant's. A content in parts is its texts, joined.
    """
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, Sequence) or not completion:
        return None
    last: Any = completion[-1]
    if not isinstance(last, dict) or last.get("role") != "assistant":
        return None
    content = last.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


def action_of(text: str) -> str | None:
    r"""The action that an answer is, without outer blanks; None where it is malformed.

    Thoughts in `<think>` tags before it are left out. What is left must be one line of at most
    `MAX_ACTION_CHARS` characters.

    Example:
        >>> action_of("<think>\nhm\n</think>\n\nclick A\n")
        'click A'
        >>> action_of("click A\nclick B") is None
        True
    """
    action = _THOUGHTS.sub("", text, count=1).strip()
    if not action or len(action) > MAX_ACTION_CHARS or len(action.splitlines()) > 1:
        return None
    return action


def chosen_of(action: str, candidates: Sequence[str]) -> str | None:
    """The candidate that an action names, by its words or by its number from 1; None if none.

    Example:
        >>> chosen_of("2.", ["click A", "click B"])
        'click B'
        >>> chosen_of("click C", ["click A", "click B"]) is None
        True
    """
    listed = [candidate.strip() for candidate in candidates]
    if action in listed:
        return action
    match = _NUMBER.fullmatch(action)
    if match is None or not 1 <= int(match[1]) <= len(listed):
        return None
    return listed[int(match[1]) - 1]
