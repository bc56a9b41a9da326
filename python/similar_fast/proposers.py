"""Candidate actions from a screen, and the words in which a scorer reads an action and a screen.

The words are made for matching against the instruction: names keep their case, an action tells the
row its element stands in, the tick or the value it holds now, and for a typed string the words that
stand before it in the instruction. A screen's words do not depend on the action.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from similar_fast.types import Action, Element, Observation

__all__ = ["RuleProposer", "describe_action", "describe_screen", "instruction_strings"]

NAME_LENGTH = 60
CONTEXT_LENGTH = 48
VALUE_LENGTH = 40
MAX_WORDS_BEFORE = 3
BUTTON_ROLES = frozenset({"button", "submit"})
FUNCTION_WORDS = frozenset(
    {"and", "as", "at", "by", "called", "for", "from", "in", "into", "is", "named", "of", "on"}
    | {"or", "to", "with"}
)
ARTICLES = frozenset({"a", "an", "the"})

QUOTED = r'"([^"]+)"'
CAPITALISED = r"\b[A-Z][\w'\u2019-]*(?:,?\s+[A-Z][\w'\u2019-]*)*"
NUMBER = r"\b\d[\d/:.,-]*\d\b|\b\d+\b"
ADDRESS = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
TAG = r"[#@]\w+"
SHORT_VALUE = re.compile(rf"(?:{ADDRESS}|{TAG}|[+(]?\d[\d/:.,() -]*|{CAPITALISED})")


class RuleProposer:
    """Proposes every click, every string into every field, every option with a text of every list.

    The strings are those of the instruction (quoted ones, capitalised runs, numbers, e-mail
    addresses, words that begin with @ or #), but for the names of buttons, and lines of the screen
    that look like a value: an e-mail address, a number, a short name.

    Args:
        max_instruction_strings: How many strings of the instruction are offered, at most.
        max_page_strings: How many strings of the screen are offered beside them, at most.
    """

    def __init__(self, *, max_instruction_strings: int = 8, max_page_strings: int = 4) -> None:
        self.max_instruction_strings = max_instruction_strings
        self.max_page_strings = max_page_strings

    def propose(
        self, observation: Observation, history: Sequence[Action] = ()
    ) -> tuple[Action, ...]:
        """The candidates of `observation` in document order, without repeats.

        Args:
            observation: The screen.
            history: The actions so far; the rules do not look at them.
        """
        del history
        instruction = observation.instruction
        buttons = {e.name.lower() for e in observation.elements if e.role in BUTTON_ROLES}
        strings = [s for s in instruction_strings(instruction) if s.lower() not in buttons]
        strings = strings[: self.max_instruction_strings]
        if any(element.kind == "type" for element in observation.elements):
            strings += page_strings(observation, strings)[: self.max_page_strings]
        rows = Counter((e.role, e.name, e.context) for e in observation.elements)
        actions: dict[Action, None] = {}
        for element in observation.elements:
            has_twin = rows[element.role, element.name, element.context] > 1
            for argument in _arguments(element, strings):
                kind = "click" if argument is None else element.kind
                text = describe_action(element, argument, instruction, has_twin=has_twin)
                actions.setdefault(Action(kind, element.key, argument, text))
        return tuple(actions)


def _arguments(element: Element, strings: Sequence[str]) -> Iterator[str | None]:
    """What can be done with `element`: None is a click."""
    match element.kind:
        case "click":
            yield None
        case "type":
            if not element.is_readonly:
                yield from (string for string in strings if string != element.value)
            yield None
        case "select":
            for option in element.options:
                if option and (element.is_multiple or option not in element.selected):
                    yield option


def instruction_strings(instruction: str) -> list[str]:
    """The strings of an instruction that could be typed, without repeats.

    Quoted strings first, then capitalised runs (without a sentence's first word), then e-mail
    addresses, words that begin with @ or #, and numbers, each group in the order of the text.
    """
    quoted = re.findall(QUOTED, instruction)
    rest = re.sub(QUOTED, " , ", instruction)
    names = [_without_first_word(rest, match) for match in re.finditer(CAPITALISED, rest)]
    marked = re.findall(f"{ADDRESS}|{TAG}|{NUMBER}", rest)
    return _distinct([*quoted, *(string.strip().rstrip(".,:;") for string in [*names, *marked])])


def _without_first_word(text: str, match: re.Match[str]) -> str:
    """A capitalised run of `text`; the word that begins a sentence owes its capital to that."""
    before = text[: match.start()].rstrip()
    if before and before[-1] not in ".!?":
        return match.group()
    return match.group().partition(" ")[2]


def page_strings(observation: Observation, known: Sequence[str] = ()) -> list[str]:
    """What stands on the screen and looks like a value, without repeats and without `known`.

    First the values of read-only fields and each short line that follows a field's name or one of
    `known`, as in a table; then each short line that is a name, a number, an e-mail address or
    begins with @ or #, and e-mail addresses in any line. Short is at most three words and 40
    characters.
    """
    fields = {e.name for e in observation.elements if e.kind == "type"}
    held = [e.value for e in observation.elements if e.is_readonly and e.value]
    labelled: list[str] = []
    found: list[str] = []
    label = ""
    for line in observation.text.splitlines():
        is_short = len(line) <= VALUE_LENGTH and len(line.split()) <= 3
        if is_short and label and (label in fields or label in known):
            labelled.append(line)
        elif is_short and SHORT_VALUE.fullmatch(line):
            found.append(line)
        else:
            found += re.findall(ADDRESS, line)
        label = line
    names = {e.name for e in observation.elements} | {*known}
    return [s for s in _distinct([*held, *labelled, *found]) if s not in names and '"' not in s]


def _distinct(strings: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, strings)))


def words_before(string: str, instruction: str) -> str:
    """The word that stands before `string` in `instruction`, with the function words between.

    Empty where the string is not in the instruction or nothing stands before it. Articles are
    left out; at most three words.
    """
    place = instruction.find(f'"{string}"')
    place = instruction.find(string) if place < 0 else place
    words: list[str] = []
    for word in reversed(re.findall(r"[\w@#'\u2019-]+|[.!?]", instruction[: max(place, 0)])):
        if word in {".", "!", "?"}:
            break
        if word.lower() in ARTICLES:
            continue
        words.insert(0, word)
        if word.lower() not in FUNCTION_WORDS or len(words) == MAX_WORDS_BEFORE:
            break
    return " ".join(words)


def describe_action(
    element: Element, argument: str | None, instruction: str = "", *, has_twin: bool = False
) -> str:
    """An action in words.

    Args:
        element: What it acts on.
        argument: The string to type or the option to select; None for a click.
        instruction: The task in words; tells what a typed string is.
        has_twin: Whether another element has the same role, name and row, so that its place
            among them must be told.

    Example:
        >>> star = Element("span", "star", 3, "click", context="Cathrine Scelerisque")
        >>> describe_action(star, None)
        'click span "star" in "Cathrine Scelerisque"'
        >>> field = Element("textbox", "username", 0, "type")
        >>> describe_action(field, "Karrie", 'Enter the username "Karrie" and log in.')
        'type "Karrie" (after "username") into textbox "username" (empty)'
    """
    target = f'{element.role} "{_cut(element.name, NAME_LENGTH)}"'
    if has_twin:
        target += f" #{element.nth + 1}"
    if element.context and element.context != element.name:
        target += f' in "{_cut(element.context, CONTEXT_LENGTH)}"'
    state = _state(element)
    target += f" ({state})" if state else ""
    if argument is None:
        return f"click {target}"
    if element.kind == "select":
        return f'select "{argument}" in {target}'
    before = words_before(argument, instruction)
    origin = f' (after "{before}")' if before else ""
    return f'type "{argument}"{origin} into {target}'


def _state(element: Element) -> str:
    """The tick or the value that `element` holds now."""
    if element.is_checked is not None:
        return "ticked" if element.is_checked else "not ticked"
    if element.kind == "type":
        return f'has "{_cut(element.value, VALUE_LENGTH)}"' if element.value else "empty"
    if element.kind == "select":
        chosen = ", ".join(element.selected)
        return f'has "{_cut(chosen, VALUE_LENGTH)}"' if chosen else "nothing selected"
    return ""


def describe_screen(pieces: Iterable[tuple[Element | None, str]]) -> str:
    """A screen in words, one line an element or a piece of text.

    Fields with their values come first, then what is ticked, open or selected, then the rest in
    document order.

    Args:
        pieces: In document order: an element with a word on its state (`open`, or nothing), or
            None with a piece of text.
    """
    fields: list[str] = []
    states: list[str] = []
    rest: list[str] = []
    for element, text in pieces:
        if element is None:
            rest.append(text)
            continue
        state = _state(element) or text
        line = f'{element.role} "{element.name}"' + (f": {state}" if state else "")
        group = fields if element.kind != "click" else states if state else rest
        group.append(line)
    return "\n".join([*fields, *states, *rest])


def _cut(text: str, length: int) -> str:
    """`text`, or its first whole words that fit into `length` characters."""
    if len(text) <= length:
        return text
    head = text[: length + 1]
    return (head.rsplit(" ", 1)[0] if " " in head else text[:length]).rstrip()
