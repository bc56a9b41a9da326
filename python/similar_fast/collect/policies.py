"""Who plays the rollouts: a scorer's softmax, with a share of uniform choices."""

import math
import random
from collections.abc import Sequence

from similar_fast.protocols import Scorer
from similar_fast.scoring import candidate_steps, score_steps
from similar_fast.types import Action, Observation

__all__ = ["RolloutPolicy", "ScoreCache"]


class ScoreCache:
    """The scores of candidates, each state's once.

    Args:
        scorer: Scores the candidates of a state in one call.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._known: dict[tuple[str, tuple[str, ...]], list[float]] = {}

    def scores(
        self, observation: Observation, candidates: Sequence[Action], history: Sequence[Action]
    ) -> list[float]:
        """`[len(candidates)]` totals, higher is better.

        Raises:
            ScorerError: The scorer raised, or its answer does not fit.
        """
        key = (observation.digest, tuple(str(action) for action in history))
        found = self._known.get(key)
        if found is None:
            steps = candidate_steps(observation, candidates, history)
            found = score_steps(self._scorer, steps).total.astype(float).tolist()
            self._known[key] = found
        return found

    def clear(self) -> None:
        """Forgets all scores, as a new episode needs none of them."""
        self._known.clear()


class RolloutPolicy:
    """Plays by a scorer, with chance; never the same action twice on the same screen.

    Every second rollout of an action chooses uniformly with probability `epsilon`, so that rollouts
    differ even where the scorer is sure.

    Args:
        cache: Knows the scores.
        temperature: T of softmax(score / T), in the scorer's scale, above 0.
        epsilon: Share of uniform choices in every second rollout, in [0, 1].
    """

    def __init__(
        self, cache: ScoreCache, *, temperature: float = 0.08, epsilon: float = 0.5
    ) -> None:
        if not temperature > 0 or not 0 <= epsilon <= 1:
            raise ValueError(
                f"expected temperature > 0 and epsilon in [0, 1], got {temperature} and {epsilon}"
            )
        self._cache = cache
        self._temperature = temperature
        self._epsilon = epsilon

    def choose(
        self,
        observation: Observation,
        candidates: Sequence[Action],
        history: Sequence[Action],
        *,
        taken: set[tuple[str, Action]],
        rng: random.Random,
        number: int,
    ) -> Action:
        """The next action of a rollout.

        Args:
            observation: The screen.
            candidates: What it offers, at least one.
            history: The actions so far.
            taken: (digest, action) of every step of the rollout so far.
            rng: Draws; the same draws choose the same action.
            number: Which rollout of its action this is, from 0.
        """
        fresh = [
            place
            for place, action in enumerate(candidates)
            if (observation.digest, action) not in taken
        ] or list(range(len(candidates)))
        if number % 2 and rng.random() < self._epsilon:
            return candidates[rng.choice(fresh)]
        totals = self._cache.scores(observation, candidates, history)
        best = max(totals[place] for place in fresh)
        weights = [math.exp((totals[place] - best) / self._temperature) for place in fresh]
        return candidates[rng.choices(fresh, weights)[0]]
