"""What the queue learns of a step: how large it is, and which others are the same."""

import itertools
from collections.abc import Callable, Iterable

from similar_fast.types import Step

__all__ = ["StepKeys", "estimate_tokens", "step_sizes"]

_MAX_SIZE = 2**32 - 1
# Steps whose keys are remembered, so that equal ones among those that wait are noticed.
_MAX_KEYS = 2**16


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
        ValueError: A size is out of its range.
    """
    sizes = [size_of(step) for step in steps]
    for size in sizes:
        if not 0 <= size <= _MAX_SIZE:
            raise ValueError(f"{name} must be in 0..={_MAX_SIZE}, got {size}")
    return sizes


class StepKeys:
    """A number for each different step: equal numbers mean equal steps.

    A step that was forgotten and comes again gets another number, so forgetting costs a shared row
    and never a wrong answer.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[Step, int], int] = {}
        self._next = itertools.count()

    def of(self, steps: Iterable[Step]) -> list[int]:
        """The number of each step."""
        if len(self._numbers) > _MAX_KEYS:
            self._numbers = {}
        # The table holds the step and so its picture: no other object takes over the picture's id.
        numbers = self._numbers
        return [numbers.setdefault((step, id(step.screenshot)), next(self._next)) for step in steps]
