"""Scorers that have learnt nothing: what every learnt one is held against."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from similar_fast.types import Scores, Step

__all__ = ["ConstantScorer", "LexicalScorer", "RandomScorer"]

_WORD = re.compile(r"[a-z0-9@#']+")
_ACTION = re.compile(
    r'(?P<kind>click|type|select) (?:"(?P<argument>.*?)" (?:\([^)]*\) )?(?:into|in) )?'
    r'(?P<role>\S+) "(?P<name>.*?)"(?P<rest>(?: [(#i].*)?)$'
)
_CONTEXT = re.compile(r' in "(?P<context>.*?)"(?: \(|$)')
_HELD = re.compile(r'\(has "(?P<held>.*)"\)$')

_STOP_WORDS = frozenset(
    _WORD.findall(
        "a an and as box button by click enter field fields find following for from in input into"
        " is it item items link list name named of on option options or page press section select"
        " submit tab tabs text that the then this to use using with your"
    )
)
_FINISHING_WORDS = frozenset(
    _WORD.findall("book buy done get go login next ok post results save search send submit yes")
)


class ConstantScorer:
    """Gives every step the score 0: what a search does when nothing guides it."""

    def score(self, steps: Sequence[Step]) -> Scores:
        """`total`: `[n]` zeros."""
        return Scores(np.zeros(len(steps), dtype=np.float32))


class RandomScorer:
    """Gives every step a uniform random score in [0, 1) that depends on the step and the seed.

    Args:
        seed: Another seed, other scores; the same step always gets the same score.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def score(self, steps: Sequence[Step]) -> Scores:
        """`total`: `[n]` in [0, 1)."""
        return Scores(np.array([self._draw(step) for step in steps], dtype=np.float32))

    def _draw(self, step: Step) -> float:
        text = "\x1f".join((str(self._seed), step.instruction, *step.history, step.action))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:3]) / 2**24


class LexicalScorer:
    """Scores a step by the words that its action shares with the instruction.

    It knows no task, no reward and no future. For a click it adds up the share of the element's
    words found in the instruction, a bonus where the whole name is found, and the row's words; for
    typing, whether the field's words stand next to the typed string in the instruction; for an
    option, whether the instruction names it. Words that finish a form (`submit`, `ok`) keep a
    modest score, so that they come after everything that matches; an action that was done before
    loses 0.8 each time.

    The weights were set by hand, once, and are not fitted to anything.
    """

    def score(self, steps: Sequence[Step]) -> Scores:
        """`total`: `[n]`, about -2 to 2."""
        cache: dict[str, _Instruction] = {}
        totals = []
        for step in steps:
            instruction = cache.get(step.instruction)
            if instruction is None:
                instruction = cache[step.instruction] = _Instruction.of(step.instruction)
            totals.append(_score(instruction, step))
        return Scores(np.array(totals, dtype=np.float32))


@dataclass(frozen=True, slots=True)
class _Instruction:
    text: str
    words: frozenset[str]

    @classmethod
    def of(cls, text: str) -> "_Instruction":
        return cls(text.lower(), frozenset(_words(text)) - _STOP_WORDS)

    def share(self, words: Sequence[str]) -> float:
        """The share of `words` that the instruction holds; stop words count only if alone."""
        content = [word for word in words if word not in _STOP_WORDS] or list(words)
        return sum(word in self.words for word in content) / len(content) if content else 0.0


def _score(instruction: _Instruction, step: Step) -> float:
    match = _ACTION.match(step.action)
    repeats = sum(_same_deed(past, step.action) for past in step.history)
    if match is None:
        return instruction.share(_words(step.action)) - 0.8 * repeats
    kind, name, rest = match["kind"], match["name"], match["rest"]
    if kind == "click":
        value = _score_click(instruction, match["role"], name, rest)
    elif kind == "type":
        value = _score_typing(instruction, match["argument"] or "", name, rest, step.history)
    else:
        value = _score_option(instruction, match["argument"] or "", rest)
    return value - 0.8 * repeats


def _score_click(instruction: _Instruction, role: str, name: str, rest: str) -> float:
    if rest.endswith("(ticked)"):
        return -1.0
    if role == "textbox":
        return 0.05
    words = _words(name)
    value = instruction.share(words)
    if len(name) > 1 and name.lower() in instruction.text:
        value += 0.5
    if context := _CONTEXT.search(rest):
        shared = [word for word in _words(context["context"])[:12] if word in instruction.words]
        value += 0.6 * min(1.0, len(shared) / 2)
    if words and words[0] in _FINISHING_WORDS and len(words) < 3:
        value = value if 0.35 < value < 0.5 else 0.35  # after all that matches, before the rest
    return value - (0.3 if "expanded" in rest else 0.0)


def _score_typing(
    instruction: _Instruction, argument: str, name: str, rest: str, history: Sequence[str]
) -> float:
    if _HELD.search(rest):
        return 0.05
    place = instruction.text.find(argument.lower())
    if place < 0:
        return 0.1
    before = _words(instruction.text[:place])[-6:]
    after = _words(instruction.text[place + len(argument) :])[:4]
    label = [word for word in _words(name) if len(word) > 1]
    value = 0.6
    value += 0.7 if any(word in before for word in label) else 0.0
    value += 0.2 if any(word in after for word in label) else 0.0
    value += 0.2 if f'"{argument.lower()}"' in instruction.text else 0.0
    if any(past.startswith(f'type "{argument}" ') for past in history):
        value -= 0.4
    return value


def _score_option(instruction: _Instruction, argument: str, rest: str) -> float:
    held = _HELD.search(rest)
    if held and argument in held["held"].split(", "):
        return -1.0
    option = argument.lower()
    named = option and re.search(rf"\b{re.escape(option)}(?!\w)", instruction.text)
    return 1.2 if named else 0.05


def _same_deed(past: str, action: str) -> bool:
    """Whether two texts name the same action, whatever they tell of the screen in parentheses."""
    return _bare(past) == _bare(action)


def _bare(action: str) -> str:
    return re.sub(r' \((?:[^()"]|"[^"]*")*\)', "", action)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
