"""Pairwise accuracy: how often a scorer puts the chosen step above the rejected one."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike

from similar_fast import _core
from similar_fast.metrics.columns import Labels, coded, score_columns
from similar_fast.metrics.record import Record

__all__ = ["Accuracy", "GroupAccuracy", "TieRule", "accuracy"]

TieRule = Literal["half", "wrong", "exclude"]

# Valid, correct, tied and invalid pairs, and the accuracy.
CountedGroup = tuple[tuple[int, int, int, int], float]

# Each group, overall, the macro average.
Counted = tuple[list[CountedGroup], CountedGroup, float]


@dataclass(frozen=True, slots=True)
class GroupAccuracy(Record):
    """The pairs of one group, counted.

    Attributes:
        n: Valid pairs: correct, tied and wrong ones.
        n_correct: Valid pairs whose chosen score is greater by more than the tolerance.
        n_ties: Valid pairs whose scores differ by no more than the tolerance.
        n_invalid: Pairs with a score that is NaN or infinite; no part of `n`.
        accuracy: In [0, 1]; NaN where no pair counts.
    """

    n: int
    n_correct: int
    n_ties: int
    n_invalid: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class Accuracy(Record):
    """Pairwise accuracy per group and overall. Each pair is in exactly one group and one count.

    Attributes:
        groups: Each label's counts, in the order in which the labels first appear.
        micro: Accuracy over all pairs, in [0, 1]; NaN where no pair counts.
        macro: Mean of the groups' accuracies, in [0, 1], over the groups that have one; NaN where
            none has.
        n: Valid pairs.
        n_correct: Valid pairs whose chosen score is greater by more than the tolerance.
        n_ties: Valid pairs whose scores differ by no more than the tolerance.
        n_invalid: Pairs with a score that is NaN or infinite; no part of `n`.
        n_undefined_groups: Groups without an accuracy, which `macro` therefore leaves out.
    """

    groups: dict[Hashable, GroupAccuracy]
    micro: float
    macro: float
    n: int
    n_correct: int
    n_ties: int
    n_invalid: int
    n_undefined_groups: int


def accuracy(
    chosen: ArrayLike,
    rejected: ArrayLike,
    *,
    groups: Labels | None = None,
    ties: TieRule = "half",
    tie_tolerance: float = 0.0,
) -> Accuracy:
    """How often `chosen` scores above `rejected`, per group and overall.

    A pair is correct where `chosen - rejected > tie_tolerance`, a tie where
    `|chosen - rejected| <= tie_tolerance`, and invalid where either score is NaN or infinite.
    Differences are taken in float64. Under `half`, and under every rule where no pair ties,
    swapping the two columns turns an accuracy `a` into `1 - a`. O(n).

    Args:
        chosen: `[n]` scores of the preferred steps; float32 is read as it is, all else as float64.
        rejected: `[n]` scores of the steps they are compared with.
        groups: `[n]` labels, anything hashable; None puts all pairs into one group labelled None.
        ties: What a tie is worth: `half` a correct pair (what a coin flip would earn), as a
            `wrong` one nothing, or `exclude` it from the accuracy, though not from the counts.
        tie_tolerance: The greatest difference that is a tie, at least 0, in the scores' unit.

    Returns:
        Counts and accuracies; `n + n_invalid` is the number of pairs given.

    Raises:
        ValueError: The shapes differ or are not `[n]`, `ties` is no rule, or `tie_tolerance` is
            negative, NaN or infinite.
        TypeError: A label is not hashable.

    Example:
        >>> result = accuracy([2.0, 1.0, 0.0], [1.0, 1.0, 3.0], groups=["web", "web", "pc"])
        >>> result.micro, result.groups["web"].accuracy, result.n_ties
        (0.5, 0.75, 1)

    Source:
        RewardBench's accuracy (Lambert et al. 2024, arXiv 2403.13787), with ties and invalid
        pairs made explicit.
    """
    columns = score_columns(chosen, rejected)
    labels, codes = coded(groups, len(columns[0]))
    counted = _core.pairwise_accuracy(columns, (codes, len(labels)), (ties, tie_tolerance))
    return accuracy_of(labels, counted)


def accuracy_of(labels: list[Hashable], counted: Counted) -> Accuracy:
    """What the core counted, by label."""
    per_group, (counts, micro), macro = counted
    by_label = {
        label: GroupAccuracy(*row, accuracy=value)
        for label, (row, value) in zip(labels, per_group, strict=True)
    }
    n, n_correct, n_ties, n_invalid = counts
    return Accuracy(
        groups=by_label,
        micro=micro,
        macro=macro,
        n=n,
        n_correct=n_correct,
        n_ties=n_ties,
        n_invalid=n_invalid,
        n_undefined_groups=sum(math.isnan(group.accuracy) for group in by_label.values()),
    )
