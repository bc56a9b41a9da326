"""What quoted names have in common with the instruction, said in words beside them.

A small encoder reads pieces of lower-case words. That a name is the very string of the instruction
costs it layers, and that "Eu" is not "eu" it cannot see at all; these marks say both. They are made
of the step's own texts when a prompt is written, so what is compared stays the same text for every
scorer, and a screen's marks do not depend on the action.

A mark is `same`: the instruction holds the whole name, letter for letter; `alike`: it does, but for
the letters' case; `begins`, `ends` or both: the name begins or ends with a quoted string of the
instruction; `some`: they share a word, small common ones aside; `none`.
"""

import re

__all__ = ["mark_action", "mark_observation", "marks_of"]

_QUOTED = re.compile(r'"([^"]+)"')
_WORD = re.compile(r"[\w@#']+")
_MOST_MARKS = 4
_WEAK = frozenset({"some", "none"})
_COMMON = frozenset(
    _WORD.findall(
        "a an and as at box button by click enter field find for from in into is it item link list"
        " of on option or press select submit tab text that the then this to with"
    )
)


def mark_action(instruction: str, action: str) -> str:
    """`action` with one mark for each of its first four quoted names.

    Example:
        >>> mark_action('Click on "Eu".', 'click span "eu" in "Ut eu dolor"')
        'click span "eu" in "Ut eu dolor" : alike some'
    """
    texts = _Texts(instruction)
    marks = [texts.mark(name) for name in _QUOTED.findall(action)[:_MOST_MARKS]]
    return f"{action} : {' '.join(marks)}" if marks else action


def mark_observation(instruction: str, observation: str) -> str:
    r"""`observation` with the marks of each line's quoted names; `some` and `none` are left out.

    Example:
        >>> mark_observation('Select aB and click Submit.', 'checkbox "aB": ticked\nbutton "Ok"')
        'checkbox "aB": ticked : same\nbutton "Ok"'
    """
    texts = _Texts(instruction)
    lines = []
    for line in observation.split("\n"):
        marks = [texts.mark(name) for name in _QUOTED.findall(line)[:_MOST_MARKS]]
        told = " ".join(mark for mark in marks if mark not in _WEAK)
        lines.append(f"{line} : {told}" if told else line)
    return "\n".join(lines)


def marks_of(instruction: str, text: str) -> tuple[str, ...]:
    """The mark of every quoted name of `text`, in their order.

    Example:
        >>> marks_of('Click on "Eu".', 'link "eu", link "dolor"')
        ('alike', 'none')
    """
    texts = _Texts(instruction)
    return tuple(texts.mark(name) for name in _QUOTED.findall(text))


class _Texts:
    """An instruction, read once for many names."""

    def __init__(self, instruction: str) -> None:
        self._text = instruction
        self._lower = instruction.lower()
        self._words = frozenset(_WORD.findall(self._lower)) - _COMMON
        self._quoted = [string.lower() for string in _QUOTED.findall(instruction)]
        self._known: dict[str, str] = {}

    def mark(self, name: str) -> str:
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._mark(name)
        return found

    def _mark(self, name: str) -> str:
        lower = name.lower()
        if lower in self._lower and _stands_in(self._lower, lower):
            return "same" if _stands_in(self._text, name) else "alike"
        begins = any(lower.startswith(string) for string in self._quoted)
        ends = any(lower.endswith(string) for string in self._quoted)
        if begins or ends:
            return " ".join(["begins"] * begins + ["ends"] * ends)
        return "some" if self._words.intersection(_WORD.findall(lower)) else "none"


def _stands_in(text: str, name: str) -> bool:
    """Whether `name` is in `text`, and not as a part of a longer word."""
    start = text.find(name)
    while start >= 0:
        stop = start + len(name)
        if not (_joins(text, start - 1, name[0]) or _joins(text, stop, name[-1])):
            return True
        start = text.find(name, start + 1)
    return False


def _joins(text: str, index: int, letter: str) -> bool:
    return 0 <= index < len(text) and text[index].isalnum() and letter.isalnum()
