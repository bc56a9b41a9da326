"""Baselines of the benchmark: what every reward model has to beat, and what bounds them all.

A baseline may have one free choice a type, the sign of its scores. It is made on the train split
alone, by `fit_signs`, and reported with the result.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from similar_fast.baselines import LexicalScorer, RandomScorer
from similar_fast.dimensions import Dimension
from similar_fast.metrics.pairs import accuracy
from similar_fast.protocols import Scorer
from similar_fast.records import Labels, PairRecord, StepRecord
from similar_fast.srm.evaluate.evaluation import PairScores
from similar_fast.types import Scores, Step

__all__ = [
    "BASELINES",
    "SIGNED_BASELINES",
    "LengthScorer",
    "fit_signs",
    "label_scores",
    "open_baseline",
    "oracle_scores",
    "signed",
]

BASELINES = ("random", "length", "lexical", "embedding", "oracle")
"""The names that `baseline:NAME` knows."""

SIGNED_BASELINES = frozenset({"length"})
"""Those whose scores say nothing of which end is the better one, so that a sign is fitted."""


_Deed = tuple[object, ...]


class LengthScorer:
    """Scores a step by the number of characters of its action: the simplest of all shortcuts."""

    def score(self, steps: Sequence[Step]) -> Scores:
        """`total`: `[n]`, in characters."""
        return Scores(np.array([len(step.action.strip()) for step in steps], np.float32))


def open_baseline(name: str, *, seed: int = 0) -> Scorer:
    """The baseline of that name as a scorer.

    Args:
        name: `random`, `length` or `lexical`. The embedding scorer opens a model and is made by
            itself; the oracle reads labels, which no scorer sees: `oracle_scores`.
        seed: Of the random one.

    Raises:
        ValueError: There is no such baseline.
    """
    if name == "random":
        return RandomScorer(seed)
    if name == "length":
        return LengthScorer()
    if name == "lexical":
        return LexicalScorer()
    raise ValueError(f"there is no baseline {name!r}; expected one of {', '.join(BASELINES)}")


def oracle_scores(pairs: Sequence[PairRecord]) -> PairScores:
    """The labels as scores: accuracy 1, unless the data's own labels contradict its order.

    A pair that names no labels has 1 for the better one and 0 for the other.
    """
    labels = np.array(
        [
            (1.0, 0.0)
            if pair.chosen_label is None or pair.rejected_label is None
            else (pair.chosen_label, pair.rejected_label)
            for pair in pairs
        ],
        np.float64,
    ).reshape(-1, 2)
    return PairScores(labels[:, 0].copy(), labels[:, 1].copy())


def label_scores(pairs: Sequence[PairRecord], steps: Iterable[StepRecord]) -> PairScores:
    """The labels that other steps give to the actions of pairs, as scores.

    What a second labelling of the same actions agrees with is the most that a scorer can be asked
    for.

    Args:
        pairs: `[n]`, of two actions of one state.
        steps: The other labelling.

    Returns:
        NaN for an action that `steps` do not label.
    """
    found: dict[_Deed, Labels] = {
        (step.environment, step.task, step.seed, step.history, step.action): step.labels
        for step in steps
    }

    def value(pair: PairRecord, actions: tuple[str, ...]) -> float:
        deed = (pair.environment, pair.task, pair.seed, pair.history, *actions[:1])
        labels = found.get(deed) if pair.type is not Dimension.TRAJECTORY else None
        return np.nan if labels is None else labels.value(pair.type)

    return PairScores(
        np.array([value(pair, pair.chosen) for pair in pairs], np.float64),
        np.array([value(pair, pair.rejected) for pair in pairs], np.float64),
    )


def fit_signs(pairs: Sequence[PairRecord], scores: PairScores) -> dict[Dimension, int]:
    """The sign of each type that makes most of `pairs` right, ties half; 1 where both do alike.

    Args:
        pairs: `[n]`, of the train split.
        scores: Their scores.
    """
    found = accuracy(scores.chosen, scores.rejected, groups=[pair.type for pair in pairs])
    groups = found.groups
    return {kind: -1 if groups[kind].accuracy < 0.5 else 1 for kind in Dimension if kind in groups}


def signed(
    pairs: Sequence[PairRecord], scores: PairScores, signs: Mapping[Dimension, int]
) -> PairScores:
    """The scores, each times the sign of its pair's type; 1 for a type that has none."""
    factors = np.array([signs.get(pair.type, 1) for pair in pairs], np.float64)
    return PairScores(
        scores.chosen * factors, scores.rejected * factors, scores.errors, scores.cost
    )
