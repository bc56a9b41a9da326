"""Where an environment stands in a search: which path it has walked, and how it gets to another.

A search restores screens by replay: a fresh reset, then the actions of the prefix. `Cursor` walks
on from where the environment is whenever the wanted path continues the walked one, counts every
step and reset, and checks each replayed screen against the one that was seen before.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from similar_fast.errors import SearchError
from similar_fast.protocols import Environment
from similar_fast.types import Action, Observation, StepResult

__all__ = ["Budget", "BudgetSpentError", "Cursor", "DivergedError", "Path", "Seen"]

Path = tuple[Action, ...]


class DivergedError(SearchError):
    """A replayed screen differed from the one seen before; the environment is not repeatable."""


class BudgetSpentError(SearchError):
    """Reaching the wanted screen would take more steps than the budget still allows."""


class Budget:
    """The steps that the environments of a search may send together.

    Args:
        steps: How many, replays included; None for no limit.
    """

    def __init__(self, steps: int | None) -> None:
        self._steps = steps
        self._spent = 0
        self._lock = threading.Lock()

    def take(self, steps: int) -> None:
        """Sets `steps` aside.

        Raises:
            BudgetSpentError: So many are not left; none is set aside.
        """
        with self._lock:
            left = self.left
            if left is not None and steps > left:
                raise BudgetSpentError(
                    f"{steps} steps are needed, {left} of {self._steps} are left"
                )
            self._spent += steps

    def give_back(self, steps: int) -> None:
        """Returns what was set aside and not sent."""
        with self._lock:
            self._spent -= steps

    @property
    def left(self) -> int | None:
        """Steps that are left; None for no limit."""
        return None if self._steps is None else self._steps - self._spent


@dataclass(frozen=True, slots=True)
class Seen:
    """What the actions of a path led to.

    Attributes:
        digest: The screen's.
        is_done: Whether the episode had ended.
    """

    digest: str
    is_done: bool


class Cursor:
    """Moves one environment between the screens of one (task, seed).

    Args:
        env: The environment; this object is its only user while the search runs.
        task: The task's name.
        seed: The task's seed.
        budget: The steps that may be sent; several cursors may share one.
        seen: What each path has led to, so that cursors that share it check one another; a new one
            where None.

    Attributes:
        env_steps: Steps sent so far.
        resets: Resets so far.
        diverged: Replayed screens that differed from what was seen before.
    """

    def __init__(
        self,
        env: Environment,
        task: str,
        *,
        seed: int,
        budget: Budget,
        seen: dict[Path, Seen] | None = None,
    ) -> None:
        self._env = env
        self._task = task
        self._seed = seed
        self._budget = budget
        self._path: Path | None = None
        self._is_done = False
        self._seen = {} if seen is None else seen
        self.env_steps = 0
        self.resets = 0
        self.diverged = 0

    def start(self) -> Observation:
        """The first screen, after a fresh reset.

        Raises:
            DivergedError: It is not the first screen that an earlier reset led to.
        """
        self._path = None
        observation = self._env.reset(self._task, seed=self._seed)
        self.resets += 1
        self._check((), observation.digest, is_done=False)
        self._path = ()
        self._is_done = False
        return observation

    def cost(self, prefix: Path) -> int:
        """How many steps it takes to stand at `prefix` and take one more."""
        return 1 + len(prefix) - len(self._shared(prefix) or ())

    def step_from(self, prefix: Path, action: Action) -> StepResult:
        """Takes `action` on the screen that `prefix` leads to, replaying `prefix` if need be.

        Raises:
            BudgetSpentError: The budget does not reach; nothing was sent.
            DivergedError: A replayed screen differed; the environment stands somewhere else.
            EnvError: The environment failed.
        """
        cost = self.cost(prefix)
        self._budget.take(cost)
        before = self.env_steps
        try:
            walked = self._shared(prefix)
            if walked is None:
                self.start()
                walked = ()
            for replayed in prefix[len(walked) :]:
                self._send(replayed)
            return self._send(action)
        finally:
            self._budget.give_back(cost - (self.env_steps - before))

    def final_run(
        self, actions: Path, *, before_step: Callable[[], None] = lambda: None
    ) -> StepResult | None:
        """The committed actions on a fresh reset; no search steps, and no longer checked.

        A screen that differs from what was seen before counts as diverged; the actions go on, as
        an agent's would.

        Args:
            actions: What was committed.
            before_step: Called before the reset and before each step; may raise to end the run.

        Returns:
            What the last action led to; None if there are no actions. The run ends early where
            the episode does.
        """
        self._path = None
        before_step()
        self._env.reset(self._task, seed=self._seed)
        self.resets += 1
        result = None
        has_diverged = False
        for depth, action in enumerate(actions, start=1):
            before_step()
            result = self._env.step(action)
            seen = self._seen.get(actions[:depth])
            has_diverged |= seen is not None and seen.digest != result.observation.digest
            if result.is_done:
                break
        self.diverged += has_diverged
        return result

    def _shared(self, prefix: Path) -> Path | None:
        """The walked path if it is a beginning of `prefix` that can be walked on from."""
        path = self._path
        if path is None or self._is_done or path != prefix[: len(path)]:
            return None
        return path

    def _send(self, action: Action) -> StepResult:
        path = (*(self._path or ()), action)
        self._path = None  # unknown until the step has come back
        self.env_steps += 1
        result = self._env.step(action)
        self._check(path, result.observation.digest, is_done=result.is_done)
        self._path = path
        self._is_done = result.is_done
        return result

    def _check(self, path: Path, digest: str, *, is_done: bool) -> None:
        seen = self._seen.setdefault(path, Seen(digest, is_done))
        if seen != Seen(digest, is_done):
            self.diverged += 1
            steps = f"after {len(path)} actions" if path else "after the reset"
            raise DivergedError(
                f"the screen {steps} has digest {digest}, it had {seen.digest} before "
                f"(task {self._task!r}, seed {self._seed})"
            )
