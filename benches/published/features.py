"""What the texts of a step, or of a whole trajectory, say in numbers.

Nothing enters that is not known when the action is chosen: the instruction, the actions before it,
the action. No label, no length of what follows, no id of a screen or of a trajectory.
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray
from published.actions import VERBS, Action, content, parse, without_numbers, words
from similar_fast.baselines import LexicalScorer
from similar_fast.types import Step

Features = dict[str, float]
Vector = NDArray[np.float64]

_ASKS = re.compile(
    r"\s*(what|which|who|how|when|where|tell+|list|show|get|find|give|is|are|display|compare)\b",
    re.IGNORECASE,
)
_ASKS_NUMBER = re.compile(
    r"\b(how many|number of|count|total|price|cost|percentage|phone|duration|id|order number|date"
    r"|when|range|spend|amount)\b",
    re.IGNORECASE,
)
_ASKS_MAIL = re.compile(r"\be-?mail\b", re.IGNORECASE)
_DENIES = re.compile(r"\b(no|not|cannot|unable|none)\b")
_ROLES = (
    *("link", "button", "menuitem", "textbox", "searchbox", "combobox", "tab", "checkbox"),
    *("radio", "img", "statictext", "heading", ""),
)
_MIDDLE_NUMBER = 1000  # of an element on a page
_MEAN_OF = ("overlap", "lexical", "repeats", "click share", "type share", "click cover", "length")


@lru_cache(maxsize=100_000)
def step_features(instruction: str, history: tuple[str, ...], action: str) -> Features:
    """The features of one action; one that is not there is 0."""
    deed = parse(action)
    return {
        **_verb_features(deed, len(history)),
        **_answer_features(instruction, deed, len(history)),
        **_click_features(instruction, deed),
        **_type_features(instruction, deed),
        **_history_features(history, action),
        **_overlap_features(instruction, history, action),
    }


def trajectory_features(instruction: str, actions: tuple[str, ...]) -> Features:
    """The features of a whole trajectory, none of which is one of a step."""
    steps = [step_features(instruction, actions[:i], action) for i, action in enumerate(actions)]
    n, goal = len(actions), content(instruction)
    deeds = [parse(action) for action in actions]
    seen: set[str] = set().union(*(content(action) for action in actions[:-1]))
    found = {
        "whole: steps": math.log(n),
        "whole: different": len({without_numbers(action) for action in actions}) / n,
        "whole: answers": float(deeds[-1].verb == "stop"),
        "whole: cover": len(seen & goal) / max(1, len(goal)),
    }
    for verb in ("scroll", "type", "click"):
        found[f"whole: {verb}"] = sum(deed.verb == verb for deed in deeds) / n
    for name in _MEAN_OF:
        found[f"whole: {name}"] = sum(step.get(name, 0.0) for step in steps) / n
    last = steps[-1]
    return found | {f"whole: {name}": last[name] for name in last if name.startswith("answer")}


@lru_cache(maxsize=100_000)
def step_vector(instruction: str, history: tuple[str, ...], action: str) -> Vector:
    """`[len(STEP_NAMES)]`, the features of one action."""
    found = step_features(instruction, history, action)
    return np.array([found.get(name, 0.0) for name in STEP_NAMES])


@lru_cache(maxsize=100_000)
def trajectory_vector(instruction: str, actions: tuple[str, ...]) -> Vector:
    """`[len(TRAJECTORY_NAMES)]`, the features of a whole trajectory."""
    found = trajectory_features(instruction, actions)
    return np.array([found.get(name, 0.0) for name in TRAJECTORY_NAMES])


def _verb_features(deed: Action, done: int) -> dict[str, float]:
    found = {f"verb {verb}": float(deed.verb == verb) for verb in VERBS}
    found["verb other"] = float(deed.verb not in VERBS)
    for verb in ("click", "type", "scroll", "stop"):
        found[f"late {verb}"] = (deed.verb == verb) * math.log1p(done)
    if deed.number:
        # About 0 in the middle, so that an action without an element is none of a low number.
        found["number"] = math.log(deed.number / _MIDDLE_NUMBER)
    return found


def _answer_features(instruction: str, deed: Action, done: int) -> dict[str, float]:
    """Of `stop [answer]`: whether it looks like what was asked for."""
    if deed.verb != "stop":
        return {}
    text = deed.text.lower()
    asks = bool(_ASKS.match(instruction))
    declines = text in {"", "none", "na"} or "n/a" in text
    has_number, has_mail = bool(re.search(r"\d", text)), "@" in text
    wants_number, wants_mail = (
        bool(pattern.search(instruction)) for pattern in (_ASKS_NUMBER, _ASKS_MAIL)
    )
    told, goal = content(text), content(instruction)
    return {
        "answer at once": float(done == 0),
        "answer asked": float(asks),
        "answer not asked": float(not asks),
        "answer declines": float(declines),
        "answer declines a question": float(declines and asks),
        "answer length": 0.0 if declines else math.log1p(len(deed.text)),
        "answer words": math.log1p(len(words(text))),
        "answer number": float(wants_number and has_number),
        "answer no number": float(wants_number and not has_number and not declines),
        "answer mail": float(wants_mail and has_mail),
        "answer no mail": float(wants_mail and not has_mail and not declines),
        "answer zero": float(text in {"0", "zero", "0.0"}),
        "answer empty": float(not text),
        "answer empty, not asked": float(not text and not asks),
        "answer text, not asked": float(bool(text) and not asks and not declines),
        "answer denies": float(bool(_DENIES.search(text)) and not declines),
        "answer overlap": len(told & goal) / max(1, len(told)),
    }


def _click_features(instruction: str, deed: Action) -> dict[str, float]:
    if deed.verb != "click":
        return {}
    name, goal = content(deed.name), content(instruction)
    shared = len(name & goal)
    return {f"role {role or 'none'}": float(deed.role == role) for role in _ROLES} | {
        "click share": shared / max(1, len(name)),
        "click any": float(shared > 0),
        "click cover": shared / max(1, len(goal)),
        "click length": math.log1p(len(deed.name)),
        "click nameless": float(not deed.name),
        "click quoted": float(len(deed.name) > 2 and deed.name.lower() in instruction.lower()),
    }


def _type_features(instruction: str, deed: Action) -> dict[str, float]:
    if deed.verb == "scroll":
        return {"scroll up": float("up" in deed.text.lower())}
    if deed.verb != "type":
        return {}
    typed, goal = content(deed.text), content(instruction)
    return {
        "type share": len(typed & goal) / max(1, len(typed)),
        "type cover": len(typed & goal) / max(1, len(goal)),
        "type quoted": float(bool(deed.text) and deed.text.lower() in instruction.lower()),
        "type length": math.log1p(len(deed.text)),
        "type words": math.log1p(len(words(deed.text))),
    }


def _history_features(history: Sequence[str], action: str) -> dict[str, float]:
    before = [without_numbers(past) for past in history]
    bare, verb = without_numbers(action), parse(action).verb
    run = sum(1 for _ in takewhile(lambda past: parse(past).verb == verb, reversed(history)))
    return {
        "repeats to the number": float(action in history),
        "repeats": float(min(3, before.count(bare))),
        "repeats the last": float(before[-1:] == [bare]),
        "verb again": float(run > 0),
        "verb run": math.log1p(run),
    }


def _overlap_features(instruction: str, history: tuple[str, ...], action: str) -> dict[str, float]:
    goal, told = content(instruction), content(without_numbers(action))
    before: set[str] = set().union(*(content(past) for past in history))
    lexical = LexicalScorer().score([Step(instruction, history, action)]).total[0]
    return {
        "overlap": len(told & goal) / max(1, len(told)),
        "cover": len(told & goal) / max(1, len(goal)),
        "new cover": len((told & goal) - before) / max(1, len(goal)),
        "length": math.log1p(len(without_numbers(action))),
        "lexical": float(lexical),
    }


_KINDS = ("click [1]link 'a'", "type [1] [a] [1]", "scroll [down]", "stop [a]")
STEP_NAMES = tuple(sorted({name for kind in _KINDS for name in step_features("", (), kind)}))
"""The features of a step, in the order of a vector."""

TRAJECTORY_NAMES = tuple(sorted(trajectory_features("", _KINDS)))
"""The features of a trajectory, in the order of a vector."""
