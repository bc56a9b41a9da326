"""Steps and pairs through a scorer; one that fails fails alone."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import ScorerError
from similar_fast.models.tokens import whole_text
from similar_fast.protocols import Scorer
from similar_fast.reward.model import ScoredRows
from similar_fast.scoring import call_scorer
from similar_fast.srm.evaluate.evaluation import Cost, PairScores
from similar_fast.srm.evaluate.plan import PairPlan
from similar_fast.types import Scores, Step

__all__ = ["Report", "StepValues", "score_apart", "score_plan"]

Report = Callable[[int, int], None]
"""Told how many steps are scored, and of how many."""


@runtime_checkable
class _RowScorer(Protocol):
    """A scorer that tells for each step why it has no score, as `RewardModel` does."""

    def score_rows(self, steps: Sequence[Step]) -> ScoredRows: ...


@dataclass(frozen=True, slots=True, eq=False)
class StepValues:
    """What s steps are worth under each type.

    Attributes:
        values: `[s, 7]` float64 in the order of `Dimension`: the five dimensions, or the total
            where the scorer has none; the total; the plain sum of the five, or the total.
        errors: Why a step has no score, by its index.
    """

    values: NDArray[np.float64]
    errors: dict[int, str] = field(default_factory=dict)


def score_apart(
    scorer: Scorer,
    steps: Sequence[Step],
    *,
    batch_size: int = 64,
    report: Report = lambda _done, _total: None,
) -> StepValues:
    """What `steps` are worth; a step that makes the scorer fail has NaN and the reason.

    Where a batch fails, its halves are scored, and theirs, down to the steps that fail alone:
    O(log batch_size) more calls for each of them.

    Args:
        scorer: One with `score_rows`, such as `RewardModel`, is asked through it.
        steps: `[s]`.
        batch_size: Steps in one call, at least 1.
        report: Told after each batch.

    Raises:
        ValueError: `batch_size` is less than 1.

    Source: the values of the types are those of Miao et al. 2025, section 5; a trajectory's is the
        mean over its steps of the plain sum of the five.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    found = StepValues(np.full((len(steps), len(DIMENSIONS) + 2), np.nan))
    report(0, len(steps))
    for start in range(0, len(steps), batch_size):
        stop = min(start + batch_size, len(steps))
        _score_span(scorer, steps, (start, stop), found)
        report(stop, len(steps))
    return found


def score_plan(
    scorer: Scorer,
    plan: PairPlan,
    *,
    batch_size: int = 64,
    report: Report = lambda _done, _total: None,
) -> PairScores:
    """The scores of the plan's pairs, each under its own type; arguments as `score_apart`."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = score_apart(scorer, plan.steps, batch_size=batch_size, report=report)
    n = len(plan.types)
    values = found.values[plan.step, plan.types[plan.owner // 2]]
    counts = np.bincount(plan.owner, minlength=2 * n)
    sums = np.bincount(plan.owner, values, minlength=2 * n)
    means = np.full(2 * n, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    chosen, rejected = means.reshape(n, 2).T.copy()
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    return PairScores(
        chosen,
        rejected,
        _pair_errors(plan, found, chosen, rejected),
        Cost(seconds, cpu_seconds, n, len(plan.steps)),
    )


def _score_span(
    scorer: Scorer, steps: Sequence[Step], span: tuple[int, int], found: StepValues
) -> None:
    """Scores the steps of `span` into `found`."""
    start, stop = span
    if isinstance(scorer, _RowScorer):
        rows = scorer.score_rows(steps[start:stop])
        found.values[start:stop] = _values(rows.scores)
        found.errors.update((start + i, whole_text(str(err))) for i, err in rows.errors.items())
        return
    try:
        found.values[start:stop] = _values(call_scorer(scorer, steps[start:stop]))
    except ScorerError as err:
        if stop - start == 1:
            found.errors[start] = whole_text(str(err))
            return
        middle = (start + stop) // 2
        _score_span(scorer, steps, (start, middle), found)
        _score_span(scorer, steps, (middle, stop), found)


def _values(scores: Scores) -> NDArray[np.float64]:
    """`[s, 7]`, see `StepValues`."""
    total = scores.total.astype(np.float64)
    if scores.dims is None:
        return np.repeat(total[:, None], len(DIMENSIONS) + 2, axis=1)
    dims = scores.dims.astype(np.float64)
    # A sum of opposite infinities is NaN, and its pair invalid: nothing to warn of.
    with np.errstate(invalid="ignore"):
        return np.column_stack([dims, total, dims.sum(axis=1)])


def _pair_errors(
    plan: PairPlan,
    found: StepValues,
    chosen: NDArray[np.float64],
    rejected: NDArray[np.float64],
) -> dict[int, str]:
    """Why a pair has not two finite scores: its fault, the first error of a step, or the score."""
    errors = dict(plan.faults)
    for place in np.flatnonzero(np.isin(plan.step, list(found.errors))).tolist():
        errors.setdefault(int(plan.owner[place]) // 2, found.errors[int(plan.step[place])])
    for i in np.flatnonzero(~(np.isfinite(chosen) & np.isfinite(rejected))).tolist():
        bad = rejected[i] if np.isfinite(chosen[i]) else chosen[i]
        errors.setdefault(i, f"the score is {bad}; expected a finite number")
    return errors
