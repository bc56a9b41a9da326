"""Stage 1 of the pipeline as it is, on the frozen states of an exported reward model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from published.actions import without_numbers
from similar_fast.dimensions import DIMENSIONS
from similar_fast.records import PairRecord
from similar_fast.reward.model import RewardModel
from similar_fast.train.data import TrainingSet
from similar_fast.train.features import cached_features
from similar_fast.train.regression import fit_regression
from similar_fast.types import Step

Key = tuple[str, tuple[str, ...], str]
States = dict[Key, NDArray[np.float32]]

_MAX_HISTORY = 8
_MAX_LETTERS = 600  # of an action: answers may be pages


def key_of(instruction: str, history: Sequence[str], action: str) -> Key:
    """What the encoder reads: no element numbers, which are words of no meaning to it."""
    before = tuple(without_numbers(past)[:_MAX_LETTERS] for past in history[-_MAX_HISTORY:])
    return instruction, before, without_numbers(action)[:_MAX_LETTERS]


def keys_of(pair: PairRecord, actions: tuple[str, ...]) -> list[Key]:
    """One a step of the side."""
    return [
        key_of(pair.instruction, (*pair.history, *actions[:i]), action)
        for i, action in enumerate(actions)
    ]


def frozen_states(
    model: Path, rows: TrainingSet, pairs: Sequence[PairRecord], *, cache: Path
) -> States:
    """The state h of every step of both, computed once and kept under `cache`."""
    keys = {key_of(step.instruction, step.history, step.action): None for step in rows.steps}
    for pair in pairs:
        keys |= dict.fromkeys([*keys_of(pair, pair.chosen), *keys_of(pair, pair.rejected)])
    steps = [Step(*key) for key in keys]
    hidden, _ = cached_features(RewardModel(model, providers="cpu"), steps, folder=cache)
    return dict(zip(keys, hidden, strict=True))


@dataclass(frozen=True)
class FrozenRegression:
    """r = W h, with W by `fit_regression` on the labels as they are, its alphas chosen by itself.

    Attributes:
        states: h of every step.
        coefficients: `[5, H]`.
    """

    states: States
    coefficients: NDArray[np.float64]

    @classmethod
    def learner(cls, states: States) -> Callable[..., "FrozenRegression"]:
        """What fits it on the rows that it is given."""

        def learn(_pairs: Sequence[PairRecord], rows: TrainingSet) -> "FrozenRegression":
            hidden = [states[key_of(s.instruction, s.history, s.action)] for s in rows.steps]
            fit = fit_regression(np.stack(hidden), rows.labels, groups=rows.tasks, seed=0)
            return cls(states, fit.regression)

        return learn

    def margins(self, pairs: Sequence[PairRecord]) -> NDArray[np.float64]:
        return np.array([self._value(p, p.chosen) - self._value(p, p.rejected) for p in pairs])

    def _value(self, pair: PairRecord, actions: tuple[str, ...]) -> float:
        hidden = np.mean([self.states[key] for key in keys_of(pair, actions)], axis=0)
        five = self.coefficients @ hidden
        return float(five[DIMENSIONS.index(pair.type)] if pair.type in DIMENSIONS else five.sum())
