"""Playing rollouts in the real environment: replay a prefix, take the action, play to the end."""

import logging
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from similar_fast.collect.policies import RolloutPolicy
from similar_fast.collect.trie import Path, State, Trie
from similar_fast.errors import EnvError
from similar_fast.protocols import Environment
from similar_fast.types import Action, Observation

__all__ = ["Counts", "Player", "Rollout"]

MAX_LOST = 3

logger = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(slots=True)
class Counts:
    """What an episode's labels cost.

    Attributes:
        rollouts: Rollouts that were filed.
        env_steps: Steps sent to the environment, replays included.
        resets: Resets of the environment.
        diverged: Rollouts dropped because a replay showed another screen than before.
        lost: Rollouts played again because the environment failed.
        idle: Actions that changed nothing, whether `CollectSettings.idle` labels them or not.
        relaunches: Times the environment died and brought itself back.
        missing: Actions that were to be labelled and are not offered.
    """

    rollouts: int = 0
    env_steps: int = 0
    resets: int = 0
    diverged: int = 0
    lost: int = 0
    idle: int = 0
    relaunches: int = 0
    missing: int = 0

    def to_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a rollout ended.

    Attributes:
        path: All its actions from the start.
        success: Whether it reached the goal.
    """

    path: Path
    success: bool


class _DivergedError(Exception):
    """The replay showed another screen than before; never leaves this file."""


class _IdleError(Exception):
    """The first action changed nothing; never leaves this file."""


class Player:
    """Plays the rollouts of one (task, seed) and files them.

    Args:
        env: The environment; this object is its only user meanwhile.
        task: The environment's name of the task.
        seed: The task's seed.
        policy: Plays on where no action is given.
        max_steps: Actions of a rollout, at most.
        draws: Seeds all chance, together with the task, the seed, the path and the action.
        budget: Environment steps at most, a rollout that has begun is played to its end; None for
            no limit.
    """

    def __init__(
        self,
        env: Environment,
        task: str,
        *,
        seed: int,
        policy: RolloutPolicy,
        max_steps: int,
        draws: int = 0,
        budget: int | None = None,
    ) -> None:
        self._env = env
        self._task = task
        self._seed = seed
        self._policy = policy
        self._max_steps = max_steps
        self._draws = draws
        self._budget = budget
        self._relaunches = env.relaunches
        self.trie = Trie()
        self.counts = Counts()

    @property
    def max_steps(self) -> int:
        """Actions of a rollout, at most."""
        return self._max_steps

    @property
    def is_spent(self) -> bool:
        """Whether the budget allows no further rollout."""
        return self._budget is not None and self.counts.env_steps >= self._budget

    def rng(self, *words: object) -> random.Random:
        """Draws that depend on the episode and on `words` alone."""
        text = "/".join(str(word) for word in (self._draws, self._task, self._seed, *words))
        return random.Random(text)  # noqa: S311  # play, no secret

    def look(self) -> State:
        """The first state."""
        if () not in self.trie:
            self._with_retries(lambda: self._walk(()))
        return self.trie[()]

    def rollout(
        self,
        path: Path,
        action: Action | None = None,
        *,
        number: int,
        through_idle: bool = False,
    ) -> Rollout | None:
        """Plays one rollout from `path` and files it.

        None where its replay diverged, or where `action` changed nothing that can be seen: then
        nothing is filed, and the action's edge says which of the two it was.

        Args:
            path: Actions to replay; their states were seen before.
            action: The first action after them; None leaves it to the policy.
            number: Which rollout of this action it is, from 0; another number, other draws.
            through_idle: Whether to play on, and to file, where `action` changed nothing.

        Raises:
            EnvError: The environment failed `MAX_LOST` times in a row.
            ScorerError: The policy's scorer failed.
        """
        forced = path if action is None else (*path, action)
        words = [(step.kind, *step.target, step.argument) for step in forced]
        try:
            found = self._with_retries(
                lambda: self._play(
                    path,
                    action,
                    rng=self.rng(words, number),
                    number=number,
                    stops_idle=not through_idle,
                )
            )
        except _DivergedError:
            self.counts.diverged += 1
            if action is not None:
                self.trie.edge(path, action).diverged += 1
            return None
        except _IdleError:
            return None
        self.counts.rollouts += 1
        self.trie.file(found.path, num_fixed=len(path), success=found.success)
        return found

    def _with_retries(self, play: Callable[[], _T]) -> _T:
        """Does `play`; where the environment fails, once more from the start."""
        for attempt in range(1, MAX_LOST + 1):
            try:
                return play()
            except EnvError as error:
                if attempt == MAX_LOST:
                    raise
                self.counts.lost += 1
                logger.warning("a rollout of %s/%s was lost: %s", self._task, self._seed, error)
            finally:
                self.counts.relaunches = self._env.relaunches - self._relaunches
        raise AssertionError  # the last attempt returns or raises

    def _play(
        self,
        path: Path,
        action: Action | None,
        *,
        rng: random.Random,
        number: int,
        stops_idle: bool,
    ) -> Rollout:
        state = self._walk(path)
        taken = {(self.trie[path[:place]].observation.digest, a) for place, a in enumerate(path)}
        while not state.is_done and len(path) < self._max_steps and state.candidates:
            chosen = action or self._policy.choose(
                state.observation, state.candidates, path, taken=taken, rng=rng, number=number
            )
            taken.add((state.observation.digest, chosen))
            after = self._step(path, chosen)
            if action is not None and stops_idle and self.trie.edge(path, chosen).is_idle:
                raise _IdleError
            action = None
            path, state = (*path, chosen), after
        return Rollout(path, state.success)

    def _walk(self, path: Path) -> State:
        """A fresh reset, and the actions of `path`."""
        self.counts.resets += 1
        observation = self._env.reset(self._task, seed=self._seed)
        state = self._visit((), observation, is_done=False, success=False)
        for place, action in enumerate(path):
            if state.is_done:
                raise _DivergedError
            state = self._step(path[:place], action)
        return state

    def _step(self, path: Path, action: Action) -> State:
        self.counts.env_steps += 1
        result = self._env.step(action)
        after = (*path, action)
        state = self._visit(
            after, result.observation, is_done=result.is_done, success=result.success
        )
        self.trie.note(path, action)
        return state

    def _visit(
        self, path: Path, observation: Observation, *, is_done: bool, success: bool
    ) -> State:
        """The state at `path`: as it was seen before, or new.

        Raises:
            _DivergedError: It is not as it was seen before.
        """
        known = self.trie.states.get(path)
        if known is not None:
            now = (observation.digest, is_done, success)
            if (known.observation.digest, known.is_done, known.success) != now:
                raise _DivergedError
            return known
        # The picture can no longer be taken once the environment has moved on.
        state = State(
            replace(observation, screenshot=None),
            is_done=is_done,
            success=success,
            candidates=() if is_done else tuple(dict.fromkeys(self._env.candidates())),
        )
        self.trie.states[path] = state
        return state
