"""Scorers that the batching tests wrap."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
from similar_fast.types import Scores, Step

PATIENCE_S = 30.0
"""Far longer than any wait here takes; reached only where something hangs."""


def step(number: int, *, text: str = "") -> Step:
    return Step("a task", (), str(number), text)


def steps(*numbers: int) -> list[Step]:
    return [step(number) for number in numbers]


def until(condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds; fails where it never does."""
    tick = threading.Event()
    for _ in range(int(PATIENCE_S / 0.001)):
        if condition():
            return
        tick.wait(0.001)
    raise AssertionError("the condition never came true")


class NumberScorer:
    """Scores a step by its action, read as a number; keeps the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def score(self, steps: Sequence[Step]) -> Scores:
        numbers = [int(step.action) for step in steps]
        self.batches.append(numbers)
        total = np.sin(np.array(numbers, np.float32))
        dims = total[:, None] * np.arange(1, 6, dtype=np.float32)
        return Scores(total, dims, np.full_like(dims, 0.2))


class GatedScorer(NumberScorer):
    """Waits in its first call until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()

    def score(self, steps: Sequence[Step]) -> Scores:
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        return super().score(steps)


class FaultyScorer(NumberScorer):
    """Answers wrongly, as `fault` makes it, each batch that holds the step 13."""

    def __init__(self, fault: Callable[[Scores], object]) -> None:
        super().__init__()
        self.fault = fault

    def score(self, steps: Sequence[Step]) -> Scores:
        scores = super().score(steps)
        if 13 in self.batches[-1]:
            return self.fault(scores)  # type: ignore[return-value]  # the mistake under test
        return scores
