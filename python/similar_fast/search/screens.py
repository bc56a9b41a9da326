"""Screens as a search sees them: what can be done there, and what the scorer says of it."""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from similar_fast.protocols import Environment, Proposer, Scorer
from similar_fast.scoring import candidate_steps, reweighted, score_steps
from similar_fast.types import Action, Observation, Scores

__all__ = ["Screen", "ScreenReader", "TakenScreenshot", "priors_from_scores", "with_picture"]


@dataclass(frozen=True, slots=True)
class Screen:
    """One screen, read once.

    Attributes:
        observation: What is seen.
        actions: The candidates; empty where the episode is over or nothing can be done.
        scores: The scores of `actions`, `[len(actions)]`.
        places: Each action's place among the candidates as they were proposed.
    """

    observation: Observation
    actions: tuple[Action, ...]
    scores: Scores
    places: tuple[int, ...]

    def best_first(self) -> list[int]:
        """The indices of `actions`, best score first; ties as they were proposed."""
        total = self.scores.total
        return sorted(range(len(total)), key=lambda i: (-total[i], self.places[i]))

    def without(self, index: int) -> "Screen":
        """The screen with one candidate less."""
        return Screen(
            self.observation,
            self.actions[:index] + self.actions[index + 1 :],
            self.scores.without(index),
            self.places[:index] + self.places[index + 1 :],
        )

    @property
    def best(self) -> float:
        """The best score of a candidate; only where there is one."""
        return float(self.scores.total.max())


@dataclass(frozen=True, slots=True)
class TakenScreenshot:
    """A screenshot taken while its screen was there; calling it returns `png`."""

    png: bytes

    def __call__(self) -> bytes:  # noqa: D102  # the class says it
        return self.png


@dataclass(frozen=True, slots=True)
class _Unscored:
    observation: Observation
    actions: tuple[Action, ...]
    places: tuple[int, ...]
    history: tuple[Action, ...]
    words: tuple[str, ...]


class ScreenReader:
    """Proposes and scores; a screen seen before (same digest) costs nothing again.

    `look` must be called while an environment shows the screen, from any thread; `read` scores
    everything that was looked at since, in one scorer call, in the order of the digests.

    Args:
        proposer: Proposes the candidates; None asks the environment that shows the screen.
        scorer: Scores them.
        weights: What the five dimensions count in a total; None for the scorer's own total.
        seed: Orders the candidates of a screen, so that ties are broken without favour.

    Attributes:
        scorer_calls: Calls of the scorer so far.
        scored_actions: Actions scored so far.
        lowest: The least score so far; inf before the first.
        highest: The greatest score so far; -inf before the first.
    """

    def __init__(
        self,
        proposer: Proposer | None,
        scorer: Scorer,
        *,
        seed: int,
        weights: Sequence[float] | None = None,
    ) -> None:
        self._proposer = proposer
        self._scorer = scorer
        self._seed = seed
        self._weights = weights
        self._lock = threading.Lock()
        self._screens: dict[str, Screen] = {}
        self._unscored: dict[str, _Unscored] = {}
        self.scorer_calls = 0
        self.scored_actions = 0
        self.lowest = inf
        self.highest = -inf

    def look(self, observation: Observation, history: Sequence[Action], env: Environment) -> None:
        """Takes in the screen that `env` shows now.

        Where several paths lead to it before it is read, the first in order of its words counts, so
        that it does not matter which environment was the quickest. Proposers work side by side.
        """
        digest, words = observation.digest, tuple(map(str, history))
        if not self._is_wanted(digest, words):
            return
        proposed = self._propose(observation, history, env)
        places = list(range(len(proposed)))
        random.Random(f"{self._seed}:{digest}").shuffle(places)  # noqa: S311  # order, no secret
        actions = tuple(proposed[place] for place in places)
        with self._lock:
            if self._is_wanted(digest, words):
                self._unscored[digest] = _Unscored(
                    observation, actions, tuple(places), tuple(history), words
                )

    def _is_wanted(self, digest: str, words: tuple[str, ...]) -> bool:
        if digest in self._screens:
            return False
        known = self._unscored.get(digest)
        return known is None or words < known.words

    def read(self) -> None:
        """Scores every screen that was looked at and is not scored yet, in one call.

        Raises:
            ScorerError: The scorer raised, or its answer does not fit.
        """
        waiting = [self._unscored[digest] for digest in sorted(self._unscored)]
        self._unscored.clear()
        steps = [
            step
            for screen in waiting
            for step in candidate_steps(screen.observation, screen.actions, screen.history)
        ]
        scores = score_steps(self._scorer, steps)
        if steps:
            if self._weights is not None:
                scores = reweighted(scores, self._weights)
            self.scorer_calls += 1
            self.scored_actions += len(steps)
            self.lowest = min(self.lowest, float(scores.total.min()))
            self.highest = max(self.highest, float(scores.total.max()))
        start = 0
        for screen in waiting:
            end = start + len(screen.actions)
            self._screens[screen.observation.digest] = Screen(
                screen.observation, screen.actions, scores.rows(start, end), screen.places
            )
            start = end

    @property
    def score_range(self) -> tuple[float, float]:
        """The least and the greatest score so far; zeros before the first."""
        return (self.lowest, self.highest) if self.scored_actions else (0.0, 0.0)

    def __getitem__(self, digest: str) -> Screen:
        return self._screens[digest]

    def _propose(
        self, observation: Observation, history: Sequence[Action], env: Environment
    ) -> tuple[Action, ...]:
        if self._proposer is None:
            proposed = env.candidates()
        else:
            proposed = self._proposer.propose(observation, history)
        return tuple(dict.fromkeys(proposed))


def with_picture(observation: Observation) -> Observation:
    """`observation` with its picture taken now, while the environment shows the screen."""
    if observation.screenshot is None:
        return observation
    return replace(observation, screenshot=TakenScreenshot(observation.screenshot()))


def priors_from_scores(scores: NDArray[np.float32], *, temperature: float) -> NDArray[np.float64]:
    """`[n]` probabilities: softmax of the scores' z-scores over `temperature`; uniform if all tie.

    Args:
        scores: `[n]`, n >= 1, in the scorer's scale.
        temperature: In (0, inf); small is greedy.
    """
    spread = float(scores.std())
    if spread <= np.finfo(np.float32).tiny:
        return np.full(len(scores), 1.0 / len(scores))
    z = (scores.astype(np.float64) - scores.max()) / (spread * temperature)
    weights = np.exp(z)
    return np.asarray(weights / weights.sum())
