"""Pairwise accuracy: how often a scorer puts the chosen step above the rejected one."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from similar_fast import _core

__all__ = ["Accuracy", "GroupAccuracy", "TieRule", "accuracy"]

TieRule = Literal["half", "wrong", "exclude"]


@dataclass(frozen=True, slots=True)
class GroupAccuracy:
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
class Accuracy:
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
    groups: Iterable[Hashable] | NDArray[Any] | None = None,
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
    columns = _columns(chosen, rejected)
    labels, codes = _coded(groups, len(columns[0]))
    per_group, (counts, micro), macro = _core.pairwise_accuracy(
        columns, codes, len(labels), ties, tie_tolerance
    )
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
        n_undefined_groups=sum(bool(np.isnan(group.accuracy)) for group in by_label.values()),
    )


def _columns(
    chosen: ArrayLike, rejected: ArrayLike
) -> (
    tuple[NDArray[np.float32], NDArray[np.float32]]
    | tuple[NDArray[np.float64], NDArray[np.float64]]
):
    left, right = np.asarray(chosen), np.asarray(rejected)
    if left.ndim != 1 or left.shape != right.shape:
        raise ValueError(
            f"chosen and rejected must both be [n], got {left.shape} and {right.shape}"
        )
    if left.dtype == right.dtype == np.float32:
        return np.ascontiguousarray(left, np.float32), np.ascontiguousarray(right, np.float32)
    return np.ascontiguousarray(left, np.float64), np.ascontiguousarray(right, np.float64)


def _coded(
    groups: Iterable[Hashable] | NDArray[Any] | None, n: int
) -> tuple[list[Hashable], NDArray[np.uint32]]:
    """The distinct labels in the order of their first appearance, and each pair's place there."""
    if groups is None:
        return [None], np.zeros(n, np.uint32)
    if isinstance(groups, np.ndarray) and groups.dtype != np.object_:
        shape = groups.shape
        labels, codes = _coded_array(groups.reshape(-1))
    else:
        place: dict[Hashable, int] = {}
        codes = np.asarray([place.setdefault(label, len(place)) for label in groups], np.uint32)
        labels, shape = list(place), codes.shape
    if shape != (n,):
        raise ValueError(f"groups must be [n] like chosen, got {shape} and {(n,)}")
    return labels, codes


def _coded_array(groups: NDArray[Any]) -> tuple[list[Hashable], NDArray[np.uint32]]:
    n = len(groups)
    if n > 0 and np.issubdtype(groups.dtype, np.integer):
        low, high = int(groups.min()), int(groups.max())
        if high - low < n and low > -(2**62) and high < 2**62:
            # Few distinct integers need no sorting. Written backwards, the first place stays.
            offsets = groups.astype(np.int64) - low
            first_at = np.full(high - low + 1, n)
            first_at[offsets[::-1]] = np.arange(n - 1, -1, -1)
            order = np.argsort(first_at)[: np.count_nonzero(first_at < n)]
            rank = np.empty(len(first_at), np.uint32)
            rank[order] = np.arange(len(order), dtype=np.uint32)
            return (order + low).tolist(), rank[offsets]
    values, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    return values[order].tolist(), rank[inverse]
