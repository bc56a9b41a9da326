"""Where an environment stands in a search: which path it has walked, and how it gets to another.

A search restores screens by replay: a fresh reset, then the actions of the prefix. `Cursor` walks
on from where the environment is whenever the wanted path continues the walked one, counts every
step and reset, and checks each replayed screen against the one that was seen before.
"""

from dataclasses import dataclass

from similar_fast.errors import SearchError
from similar_fast.protocols import Environment
from similar_fast.types import Action, Observation, StepResult

__all__ = ["BudgetSpentError", "Cursor", "DivergedError", "Path"]

Path = tuple[Action, ...]


class DivergedError(SearchError):
    """A replayed screen differed from the one seen before; the environment is not repeatable."""


class BudgetSpentError(SearchError):
    """Reaching the wanted screen would take more steps than the budget still allows."""


@dataclass(frozen=True, slots=True)
class _Seen:
    digest: str
    is_done: bool


class Cursor:
    """Moves one environment between the screens of one (task, seed).

    Args:
        env: The environment; this object is its only user while the search runs.
        task: The task's name.
        seed: The task's seed.
        budget: How many steps may be sent, replays included; None for no limit.

    Attributes:
        env_steps: Steps sent so far.
        resets: Resets so far.
        diverged: Replayed screens that differed from what was seen before.
    """

    def __init__(self, env: Environment, task: str, *, seed: int, budget: int | None) -> None:
        self._env = env
        self._task = task
        self._seed = seed
        self._budget = budget
        self._path: Path | None = None
        self._is_done = False
        self._seen: dict[Path, _Seen] = {}
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
        if self._budget is not None and self.env_steps + self.cost(prefix) > self._budget:
            raise BudgetSpentError(
                f"{self.cost(prefix)} steps are needed, "
                f"{self._budget - self.env_steps} of {self._budget} are left"
            )
        walked = self._shared(prefix)
        if walked is None:
            self.start()
            walked = ()
        for replayed in prefix[len(walked) :]:
            self._send(replayed)
        return self._send(action)

    def final_run(self, actions: Path) -> StepResult | None:
        """The committed actions on a fresh reset; no search steps, and no longer checked.

        A screen that differs from what was seen before counts as diverged; the actions go on, as
        an agent's would.

        Returns:
            What the last action led to; None if there are no actions. The run ends early where
            the episode does.
        """
        self._path = None
        self._env.reset(self._task, seed=self._seed)
        self.resets += 1
        result = None
        has_diverged = False
        for depth, action in enumerate(actions, start=1):
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
        seen = self._seen.setdefault(path, _Seen(digest, is_done))
        if seen != _Seen(digest, is_done):
            self.diverged += 1
            steps = f"after {len(path)} actions" if path else "after the reset"
            raise DivergedError(
                f"the screen {steps} has digest {digest}, it had {seen.digest} before "
                f"(task {self._task!r}, seed {self._seed})"
            )
