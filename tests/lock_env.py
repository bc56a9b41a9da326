"""A toy platform for tests: a lock that opens when its code is typed and `open` is clicked."""

import hashlib
from collections.abc import Sequence

from similar_fast.errors import EnvError
from similar_fast.types import Action, Element, Observation, StepResult

CODES = {"easy": "ab", "hard": "cab", "endless": "zzz"}
LETTERS = "abc"


def press(letter: str) -> Action:
    return Action("click", ("button", letter, 0), text=f'click button "{letter}"')


OPEN = Action("click", ("button", "open", 0), text='click button "open"')
NOTHING = Action("click", ("span", "nothing", 0), text='click span "nothing"')
BROKEN = Action("click", ("button", "broken", 0), text='click button "broken"')


class LockEnv:
    """Pressing a letter appends it; `nothing` changes nothing; `broken` cannot be done.

    Args:
        flaky_at: The step with this number, from 1, leads to a screen that flickers.
        dies_at: The step with this number, from 1, raises EnvError.
    """

    def __init__(self, *, flaky_at: int | None = None, dies_at: int | None = None) -> None:
        self.steps = 0
        self.resets = 0
        self.closed = False
        self._flaky_at = flaky_at
        self._dies_at = dies_at
        self._typed: str | None = None

    name = "lock"
    relaunches = 0

    def reset(self, task: str, *, seed: int) -> Observation:
        if task not in CODES:
            raise EnvError(f"task {task!r} is unknown, there are {sorted(CODES)}")
        self.resets += 1
        self._code, self._typed, self._seed = CODES[task], "", seed
        return self._observe(is_done=False)

    def candidates(self) -> Sequence[Action]:
        if self._typed is None or len(self._typed) > 4:
            return ()
        return (*map(press, LETTERS), OPEN, NOTHING, BROKEN, OPEN)

    def step(self, action: Action) -> StepResult:
        if self._typed is None:
            raise EnvError("no episode is running")
        self.steps += 1
        if self.steps == self._dies_at:
            raise EnvError("the lock fell apart")
        if action == BROKEN:
            return StepResult(self._observe(is_done=False), False, False, "it is stuck")
        if action == OPEN:
            success = self._typed == self._code
            observation = self._observe(is_done=True)
            self._typed = None
            return StepResult(observation, True, success)
        if action != NOTHING:
            self._typed += action.target[1]
        return StepResult(self._observe(is_done=False), False, False)

    def close(self) -> None:
        self.closed = True

    def _observe(self, *, is_done: bool) -> Observation:
        text = f"typed {self._typed} done {is_done} seed {self._seed}"
        if self._typed and self.steps == self._flaky_at:
            text += " flicker"
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        elements = tuple(Element("button", letter, 0, "click") for letter in LETTERS)
        return Observation(f"open the lock with {self._code}", text, elements, digest)
