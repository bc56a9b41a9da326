"""Other names for the words that belong to one episode alone, the same everywhere in a state.

A small model learns by heart that "Karrie" is a user name of its training episodes. Renamed anew
each time, names can only be matched, never remembered. A task's own words (buttons, verbs, roles)
stand in many of its episodes and stay.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from similar_fast.prompts.overlap import marks_of
from similar_fast.train.data import TrainingSet
from similar_fast.types import Step

__all__ = ["Renamer"]

_WORD = re.compile(r"[^\W_]+")
_KEPT_SHARE = 0.3  # a word that stands in so many of a task's episodes is the task's own
_LEAST_EPISODES = 4  # a task with fewer tells nothing about its words


class Renamer:
    """Renames states of the tasks that it was made from.

    Words are replaced by words of the same shape (digits, capitals) out of other episodes. Short
    numbers stay, since they count things. A state in which a name of the instruction is part of a
    longer word ("Bu" and "Burkina") is left as it is: there the letters are the task. So is one
    whose quoted names would have something else in common with the instruction than before.
    """

    def __init__(self, rows: TrainingSet) -> None:
        """Counts the words of each task's episodes.

        Args:
            rows: The training rows alone.
        """
        seen: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for step, task, episode in zip(rows.steps, rows.tasks, rows.episodes.tolist(), strict=True):
            seen[task][episode].update(_words(step))
        self._names: dict[str, frozenset[str]] = {}
        for task, episodes in seen.items():
            counts = Counter(word for words in episodes.values() for word in words)
            most = _KEPT_SHARE * len(episodes)
            few = len(episodes) < _LEAST_EPISODES
            names = (w for w, n in counts.items() if not few and n < most and _is_name(w))
            self._names[task] = frozenset(names)
        pools: dict[str, set[str]] = defaultdict(set)
        for names_of_task in self._names.values():
            for word in names_of_task:
                pools[_shape(word)].add(word)
        self._pools = {shape: sorted(words) for shape, words in pools.items()}

    def rename(self, steps: Sequence[Step], task: str, rng: random.Random) -> tuple[Step, ...]:
        """The steps of one state with other names; unchanged where it cannot be done safely.

        A picture shows the names that it shows, so a state with one is left as it is.

        Args:
            steps: Of one state; they differ in their action alone.
            task: Whose names they have.
            rng: Draws the new names.
        """
        if any(step.screenshot is not None for step in steps):
            return tuple(steps)
        names = self._names.get(task, frozenset())
        words = set().union(*map(_words, steps))
        mine = sorted(words & names)
        asked = set(_WORD.findall(steps[0].instruction)) & names
        if any(a != w and a.lower() in w.lower() for a in asked for w in words):
            return tuple(steps)
        others = {}
        taken = words.union(*(_WORD.findall(action) for action in steps[0].history))
        for word in mine:
            pool = self._pools[_shape(word)]
            new = next((w for w in rng.choices(pool, k=8) if w not in taken), word)
            taken.add(new)
            others[word] = new

        def renamed(text: str) -> str:
            return _WORD.sub(lambda match: others.get(match[0], match[0]), text)

        history = tuple(map(renamed, steps[0].history))
        instruction, observation = renamed(steps[0].instruction), renamed(steps[0].observation)
        found = tuple(
            replace(
                step,
                instruction=instruction,
                history=history,
                observation=observation,
                action=renamed(step.action),
            )
            for step in steps
        )
        # A new name can be part of a word that stays, and so tell what the old one did not.
        return found if _marks(found) == _marks(steps) else tuple(steps)


def _marks(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    """What the quoted names of a state have in common with its instruction."""
    first = steps[0]
    texts = (first.observation, *first.history, *(step.action for step in steps))
    return [marks_of(first.instruction, text) for text in texts]


def _words(step: Step) -> set[str]:
    return set(_WORD.findall(f"{step.instruction}\n{step.observation}\n{step.action}"))


def _is_name(word: str) -> bool:
    return len(word) > 1 and not (word.isdigit() and len(word) <= 2)


def _shape(word: str) -> str:
    if word.isdigit():
        return f"digits {min(len(word), 5)}"
    if any(letter.isdigit() for letter in word):
        return "mixed"
    if word.islower():
        return "lower"
    return "title" if word.istitle() else "capitals"
