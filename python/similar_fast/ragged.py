"""Columns that callers give as arrays or, ragged, as lists."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "RaggedCandidates",
    "RaggedFloats",
    "column",
    "floats",
    "ragged_candidates",
    "ragged_floats",
]

RaggedCandidates: TypeAlias = NDArray[np.integer[Any]] | Sequence[Sequence[object] | None]
"""`[n]` counts, -1 where not known; or for each row its candidates or None."""
RaggedFloats: TypeAlias = NDArray[np.floating[Any]] | Sequence[Sequence[float] | None]
"""One flat column; or for each row its numbers or None."""
Scalar = TypeVar("Scalar", bound=np.generic)


def column(name: str, values: ArrayLike, dtype: type[Scalar]) -> NDArray[Scalar]:
    """`values` as `[n]` of `dtype`.

    Raises:
        ValueError: It has not exactly one axis.
    """
    with np.errstate(over="ignore"):  # the core names the row of a number too great for float32
        column = np.asarray(values, dtype=dtype)
    if column.ndim != 1:
        raise ValueError(f"{name} must be one column, got shape {column.shape}")
    return column


def floats(name: str, values: ArrayLike | None) -> NDArray[np.float32] | None:
    """`values` as `[n]` float32, None as None; see `column`."""
    return None if values is None else column(name, values, np.float32)


def ragged_candidates(
    candidates: RaggedCandidates | None,
) -> tuple[NDArray[np.int32] | None, Sequence[Sequence[object] | None] | None]:
    """`[n]` int32 counts, -1 for None, and the objects where they were given.

    Raises:
        TypeError: An array of anything but integers, or a string in place of a list.
    """
    if candidates is None:
        return None, None
    if isinstance(candidates, np.ndarray):
        if candidates.dtype.kind not in "iu":
            raise TypeError(f"candidates must be integer counts or lists, got {candidates.dtype}")
        return column("candidates", candidates, np.int32), None
    for row, given in enumerate(candidates):
        if isinstance(given, str | bytes):
            raise TypeError(f"row {row}: candidates must be a list or None, got one string")
    counts = [-1 if given is None else len(given) for given in candidates]
    return np.array(counts, dtype=np.int32), candidates


def ragged_floats(
    name: str, rows: RaggedFloats | None, counts: NDArray[np.int32] | None
) -> NDArray[np.float32] | None:
    """The numbers of all rows in one flat float32 column; an array passes as it is.

    Raises:
        ValueError: There is not one list or None for each row, or not one number for each of the
            row's candidates.
    """
    if rows is None or isinstance(rows, np.ndarray):
        return floats(name, rows)
    found = [0 if row is None else len(row) for row in rows]
    expected = [0] * len(found) if counts is None else np.maximum(counts, 0).tolist()
    if len(found) != len(expected):
        raise ValueError(f"{name} must be one list or None for each leaf, got {len(found)}")
    for row, (length, count) in enumerate(zip(found, expected, strict=True)):
        if length != count:
            raise ValueError(
                f"row {row}: {name} must be one for each of {count} candidates, got {length}"
            )
    flat = chain.from_iterable(row for row in rows if row is not None)
    return np.fromiter(flat, dtype=np.float32, count=sum(found))
