"""What the parts of a search expect of one another."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from similar_fast.types import (
    Action,
    JudgeCase,
    Judgement,
    Observation,
    Scores,
    Step,
    StepResult,
)

__all__ = ["Environment", "Judge", "Proposer", "Scorer"]


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores steps. Higher is better.

    A scorer may have an attribute `scale = (low, high)`, the least and the greatest total it gives;
    a search then normalises its scores by it, and by the scores it has seen otherwise.
    """

    def score(self, steps: Sequence[Step]) -> Scores:
        """The scores of `steps`, in their order: `total` is `[len(steps)]`."""
        ...


@runtime_checkable
class Proposer(Protocol):
    """Anything that proposes the candidate actions of a screen."""

    def propose(self, observation: Observation, history: Sequence[Action]) -> Sequence[Action]:
        """The candidates, without repeats, each with its `text`; none where nothing can be done."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Anything that says of steps whether they are relevant to the task and coherent."""

    @property
    def name(self) -> str:
        """Who judges, as the data tells it: `proxy`, `llm:MODEL`."""
        ...

    def judge(self, cases: Sequence[JudgeCase]) -> Sequence[Judgement]:
        """One judgement a case, in their order; a case's judgement depends on that case alone."""
        ...


@runtime_checkable
class Environment(Protocol):
    """A platform that an agent acts on, one episode at a time.

    The same (task, seed) followed by the same actions leads to the same screens; `replay` and
    `audit` check that.
    """

    @property
    def name(self) -> str:
        """The platform's short name, as `--env` takes it."""
        ...

    @property
    def relaunches(self) -> int:
        """How often the platform died under this object and was brought back."""
        ...

    def reset(self, task: str, *, seed: int) -> Observation:
        """The first screen of a fresh episode.

        Raises:
            EnvError: The task is unknown, or the platform cannot be reached.
        """
        ...

    def candidates(self) -> Sequence[Action]:
        """The actions that the current screen offers, without repeats; none when it is done."""
        ...

    def step(self, action: Action) -> StepResult:
        """Carries `action` out and returns what it led to.

        Raises:
            EnvError: No episode is running, or the platform died and could not be brought back.
        """
        ...

    def close(self) -> None:
        """Lets everything go; a second call does nothing."""
        ...
