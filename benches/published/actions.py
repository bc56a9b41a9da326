"""An action of WebArena's text form, taken apart: `click [97]link 'Catalog'`, `stop [N/A]`, ..."""

import re
from dataclasses import dataclass

VERBS = ("click", "type", "scroll", "stop", "goto", "go_back", "press", "hover")

_ICON = re.compile(r"[\ue000-\uf8ff]|\\u[ef][0-9a-f]{3}")  # an icon's letter, or its escape
_CLICK = re.compile(r"\[(\d+)\]\s*([A-Za-z]+)?\s*(.*)$", re.DOTALL)
_TYPE = re.compile(r"\[(\d+)\]\s*\[(.*?)\](?:\s*\[[01]\])?\s*$", re.DOTALL)
_NUMBER = re.compile(r"\[\d+\](?=\s*[\w\[])")
_WORD = re.compile(r"[a-z0-9@#']+")
_COMMON = frozenset(
    _WORD.findall(
        "a all an and as at by do find for from get give has have how i if in into is it its list"
        " me my of on or our please s show tell that the their them this to up use what when where"
        " which who whom with you your"
    )
)


@dataclass(frozen=True)
class Action:
    """What an action says.

    Attributes:
        verb: Its first word in lower case; empty where there is none.
        number: The element's number on its page; None where none is named.
        role: Of the element that is clicked.
        name: Of the element that is clicked, without icons.
        text: What is typed, answered or scrolled.
    """

    verb: str
    number: int | None = None
    role: str = ""
    name: str = ""
    text: str = ""


def parse(action: str) -> Action:
    """The parts of an action; what is not understood is left empty."""
    action = action.strip()
    verb = action.split(None, 1)[0].split("[")[0].lower() if action else ""
    rest = action[len(verb) :].strip()
    if verb in {"click", "hover"} and (found := _CLICK.match(rest)):
        name = _ICON.sub("", found[3]).strip(" '\"")
        return Action(verb, int(found[1]), (found[2] or "").lower(), name)
    if verb == "type" and (found := _TYPE.match(rest)):
        return Action(verb, int(found[1]), text=found[2])
    return Action(verb, text=rest.strip("[] "))


def without_numbers(action: str) -> str:
    """The action without icons and element numbers, which differ from one visit to the next."""
    return _NUMBER.sub("", _ICON.sub("", action)).strip()


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(text.lower())


def content(text: str) -> set[str]:
    """Its words but for common ones, in the singular as far as an `s` tells."""
    stems = {word[:-1] if len(word) > 3 and word.endswith("s") else word for word in words(text)}
    return stems - _COMMON
