"""What comes in: scores as columns, and labels as ids in the order of their first appearance."""

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Labels", "coded", "columns64", "score_columns"]

Labels = Iterable[Hashable] | NDArray[Any]


def columns64(
    first: ArrayLike, second: ArrayLike, names: tuple[str, str] = ("chosen", "rejected")
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two `[n]` columns as contiguous float64."""
    left, right = np.asarray(first), np.asarray(second)
    if left.ndim != 1 or left.shape != right.shape:
        found = f"{left.shape} and {right.shape}"
        raise ValueError(f"{names[0]} and {names[1]} must both be [n], got {found}")
    return np.ascontiguousarray(left, np.float64), np.ascontiguousarray(right, np.float64)


def score_columns(
    chosen: ArrayLike, rejected: ArrayLike
) -> (
    tuple[NDArray[np.float32], NDArray[np.float32]]
    | tuple[NDArray[np.float64], NDArray[np.float64]]
):
    """`chosen` and `rejected` as contiguous float32 where both are, else as float64."""
    left, right = np.asarray(chosen), np.asarray(rejected)
    if left.dtype == right.dtype == np.float32 and left.ndim == 1 and left.shape == right.shape:
        return np.ascontiguousarray(left, np.float32), np.ascontiguousarray(right, np.float32)
    return columns64(left, right)


def coded(
    labels: Labels | None, n: int, *, name: str = "groups"
) -> tuple[list[Hashable], NDArray[np.uint32]]:
    """The distinct labels in the order of their first appearance, and each row's place there."""
    if labels is None:
        return [None], np.zeros(n, np.uint32)
    if isinstance(labels, np.ndarray) and labels.dtype != np.object_:
        shape = labels.shape
        distinct, codes = _coded_array(labels.reshape(-1))
    else:
        place: dict[Hashable, int] = {}
        codes = np.asarray([place.setdefault(label, len(place)) for label in labels], np.uint32)
        distinct, shape = list(place), codes.shape
    if shape != (n,):
        raise ValueError(f"{name} must be [n] like the scores, got {shape} and {(n,)}")
    return distinct, codes


def _coded_array(labels: NDArray[Any]) -> tuple[list[Hashable], NDArray[np.uint32]]:
    n = len(labels)
    if n > 0 and np.issubdtype(labels.dtype, np.integer):
        low, high = int(labels.min()), int(labels.max())
        if high - low < n and low > -(2**62) and high < 2**62:
            # Few distinct integers need no sorting. Written backwards, the first place stays.
            offsets = labels.astype(np.int64) - low
            first_at = np.full(high - low + 1, n)
            first_at[offsets[::-1]] = np.arange(n - 1, -1, -1)
            order = np.argsort(first_at)[: np.count_nonzero(first_at < n)]
            rank = np.empty(len(first_at), np.uint32)
            rank[order] = np.arange(len(order), dtype=np.uint32)
            return (order + low).tolist(), rank[offsets]
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    return values[order].tolist(), rank[inverse]
