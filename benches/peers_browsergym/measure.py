"""One episode of MCTS-P in any environment, with the clock on its resets and steps."""

import time
from collections.abc import Sequence
from typing import Any

from similar_fast.baselines import LexicalScorer
from similar_fast.collect.episode import collect_episode
from similar_fast.collect.policies import ScoreCache
from similar_fast.collect.settings import CollectSettings
from similar_fast.protocols import Environment
from similar_fast.types import Action, Observation, StepResult


class Timed:
    """An environment that adds up what its calls take.

    Attributes:
        reset_s: Seconds in `reset`.
        step_s: Seconds in `step`.
        instructions: The instructions of the episodes, in order.
    """

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.reset_s = self.step_s = 0.0
        self.instructions: list[str] = []

    @property
    def name(self) -> str:
        return self._env.name

    @property
    def relaunches(self) -> int:
        return self._env.relaunches

    def reset(self, task: str, *, seed: int) -> Observation:
        start = time.perf_counter()
        observation = self._env.reset(task, seed=seed)
        self.reset_s += time.perf_counter() - start
        self.instructions.append(observation.instruction)
        return observation

    def candidates(self) -> Sequence[Action]:
        return self._env.candidates()

    def step(self, action: Action) -> StepResult:
        start = time.perf_counter()
        result = self._env.step(action)
        self.step_s += time.perf_counter() - start
        return result

    def close(self) -> None:
        self._env.close()


def measure(env: Environment, task: str, *, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """What an episode gave and what it took; rollouts are played by the lexical scorer."""
    timed = Timed(env)
    episode = collect_episode(
        timed,
        task,
        seed=seed,
        settings=CollectSettings.from_dict(settings),
        cache=ScoreCache(LexicalScorer()),
    )
    return {
        "task": task,
        "instruction": timed.instructions[0],
        "labels": len(episode.steps),
        "seconds": episode.seconds,
        "reset_s": timed.reset_s,
        "step_s": timed.step_s,
        **episode.counts.to_dict(),
    }
