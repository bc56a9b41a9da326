"""Lexical overlap as a prior: what is left to go by where a model has learnt nothing.

A small model that saw a dozen tasks is nearly indifferent between some actions of other tasks, and
wrong about others. Words that an action shares with its instruction tell the two apart more often
than not. They weigh little enough to change nothing where the model is sure.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from similar_fast.baselines import LexicalScorer
from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.types import Scores, Step

__all__ = ["add_lexical_prior"]

_RELEVANCE = DIMENSIONS.index(Dimension.TASK_RELEVANCE)
_MOST_CHARACTERS = 10_000  # of a text, and
_MOST_ACTIONS = 32  # of a history, the last ones: a score takes bounded time


def add_lexical_prior(scores: Scores, steps: Sequence[Step], weight: float) -> Scores:
    """`scores` with `weight` times the lexical overlap of each step added to its task relevance.

    The total changes with it, so that it stays the weighted sum of the dimensions. A step's prior
    depends on that step alone.

    Args:
        scores: Of n steps, with dimensions and weights.
        steps: The same steps.
        weight: In units of the heads' task relevance; 0 gives `scores` back.
    """
    if weight == 0 or not len(steps):
        return scores
    assert scores.dims is not None  # noqa: S101  # a reward model's scores have all columns
    assert scores.weights is not None  # noqa: S101  # as above
    prior = np.float32(weight) * LexicalScorer().score([_bounded(step) for step in steps]).total
    dims = scores.dims.copy()
    dims[:, _RELEVANCE] += prior
    return Scores(scores.total + scores.weights[:, _RELEVANCE] * prior, dims, scores.weights)


def _bounded(step: Step) -> Step:
    return replace(
        step,
        instruction=step.instruction[:_MOST_CHARACTERS],
        history=tuple(past[:_MOST_CHARACTERS] for past in step.history[-_MOST_ACTIONS:]),
        observation="",
        action=step.action[:_MOST_CHARACTERS],
        screenshot=None,
    )
