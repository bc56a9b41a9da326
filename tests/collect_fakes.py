"""Workers on the toy lock, for tests; importable, so that other processes can make them."""

import os
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lock_env import LockEnv
from similar_fast.collect.settings import CollectSettings
from similar_fast.collect.worker import Unit, UnitResult, Worker
from similar_fast.errors import EnvError
from similar_fast.types import Observation, Scores, Step

SETTINGS = CollectSettings(
    max_steps=5, root_rollouts=40, root_successes=3, width=5, num_simulations=16, temperature=1.0
)


class HintScorer:
    """Likes the code's next letter, and `open` behind it: rollouts reach the goal now and then."""

    def score(self, steps: Sequence[Step]) -> Scores:
        return Scores(np.array([self._score(step) for step in steps], np.float32))

    @staticmethod
    def _score(step: Step) -> float:
        code = step.instruction.rsplit(" ", 1)[1]
        typed = "".join(re.findall(r'button "(\w)"', " ".join(step.history)))
        wanted = code[len(typed)] if code.startswith(typed) and typed != code else "open"
        return 1.5 * (f'"{wanted}"' in step.action)


def lock_worker(env: LockEnv | None = None, settings: CollectSettings = SETTINGS) -> Worker:
    return Worker(env or LockEnv(), HintScorer(), settings, policy="random", versions="lock=1")


class DyingWorker(Worker):
    """Kills its process at one unit, the first time only: a file tells that it has."""

    def __init__(self, unit: Unit, mark: Path, *, always: bool) -> None:
        super().__init__(LockEnv(), HintScorer(), SETTINGS, policy="random", versions="lock=1")
        self._unit, self._mark, self._always = unit, mark, always

    def label(self, unit: Unit) -> UnitResult:
        if unit == self._unit and (self._always or not self._mark.exists()):
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().label(unit)


@dataclass(frozen=True)
class MakeDying:
    unit: Unit
    mark: Path
    always: bool = False

    def __call__(self) -> Worker:
        return DyingWorker(self.unit, self.mark, always=self.always)


@dataclass(frozen=True)
class MakeBuggy:
    """Makes a worker that raises what no worker should at one unit."""

    unit: Unit

    def __call__(self) -> Worker:
        env = LockEnv()
        reset = env.reset

        def buggy(task: str, *, seed: int) -> Observation:
            if Unit(task, seed) == self.unit:
                raise OSError("no space left")
            return reset(task, seed=seed)

        env.reset = buggy  # type: ignore[method-assign]
        return lock_worker(env)


class SlowWorker(Worker):
    """Takes a moment for every unit, so that a kill finds it at work."""

    def label(self, unit: Unit) -> UnitResult:
        time.sleep(0.05)
        return super().label(unit)


def slow_worker() -> Worker:
    return SlowWorker(LockEnv(), HintScorer(), SETTINGS, policy="random", versions="lock=1")


def broken_worker() -> Worker:
    raise EnvError("there is no lock")
