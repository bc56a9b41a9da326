"""What the queue learns of a step: how large it is, and which others are the same."""

import itertools
import operator
import weakref
from collections.abc import Callable, Iterable

from similar_fast.types import Step

__all__ = ["StepKey", "StepKeys", "estimate_tokens", "step_sizes"]

_MAX_SIZE = 2**32 - 1


def estimate_tokens(step: Step) -> int:
    """About how many tokens the text of `step` has: its characters / 4, plus 1.

    Four characters a token is the usual rule of thumb for English text; a screenshot counts
    nothing.
    """
    history = sum(len(action) for action in step.history)
    return (len(step.instruction) + history + len(step.action) + len(step.observation)) // 4 + 1


def step_sizes(name: str, size_of: Callable[[Step], int], steps: Iterable[Step]) -> list[int]:
    """The size of each step, checked.

    Raises:
        ValueError: A size is no integer, or out of its range.
    """
    sizes = [_integer(name, size_of(step)) for step in steps]
    for size in sizes:
        if not 0 <= size <= _MAX_SIZE:
            raise ValueError(f"{name} must be in 0..={_MAX_SIZE}, got {size}")
    return sizes


def _integer(name: str, size: int) -> int:
    try:
        return operator.index(size)
    except TypeError:
        raise ValueError(f"{name} must return an integer, got {size!r}") from None


class StepKey:
    """The number of a step, known for as long as a request holds this."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int) -> None:
        self.number = number


class StepKeys:
    """A key for each different step that waits: equal numbers mean equal steps.

    A step that nobody waits for any more is forgotten, its picture with it. Where it comes again,
    or for the first time from two threads at once, it gets another number; that costs a shared row
    and never gives a wrong answer.
    """

    def __init__(self) -> None:
        self._keys: weakref.WeakValueDictionary[tuple[Step, int], StepKey] = (
            weakref.WeakValueDictionary()
        )
        self._next = itertools.count()

    def of(self, steps: Iterable[Step]) -> list[StepKey]:
        """The key of each step, to be held until the step is answered."""
        # The table holds the step and so its picture: no other object takes over the picture's id.
        return [
            self._keys.setdefault((step, id(step.screenshot)), StepKey(next(self._next)))
            for step in steps
        ]
