"""Columns that callers give as arrays or, ragged, as lists."""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "RaggedCandidates",
    "RaggedFloats",
    "StateKey",
    "column",
    "floats",
    "ragged_candidates",
    "ragged_floats",
    "state_key",
    "state_keys",
    "table",
]

RaggedCandidates: TypeAlias = NDArray[np.integer[Any]] | Sequence[Sequence[object] | None]
"""`[n]` counts, -1 where not known; or for each row its candidates or None."""
RaggedFloats: TypeAlias = NDArray[np.floating[Any]] | Sequence[ArrayLike | None]
"""One column for all rows; or for each row its numbers or None."""
StateKey: TypeAlias = str | bytes | int | None
"""What a state is known by: a digest or a number below 2^64; None or 0 where by nothing."""
Scalar = TypeVar("Scalar", bound=np.generic)
_STRINGS = frozenset((str, bytes))


def column(name: str, values: ArrayLike, dtype: type[Scalar]) -> NDArray[Scalar]:
    """`values` as `[n]` of `dtype`.

    Raises:
        ValueError: It has not exactly one axis.
    """
    if isinstance(values, np.ndarray) and values.dtype == dtype and values.ndim == 1:
        return values
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
    if not _STRINGS.isdisjoint(map(type, candidates)):
        row = [type(given) in _STRINGS for given in candidates].index(True)
        raise TypeError(f"row {row}: candidates must be a list or None, got one string")
    counts = [-1 if given is None else len(given) for given in candidates]
    return np.array(counts, dtype=np.int32), candidates


def table(name: str, values: ArrayLike | None, width: int) -> NDArray[np.float32] | None:
    """`values`, `[n]` or, with a `width` above 0, `[n, width]`, as one flat float32 column.

    Raises:
        ValueError: It has another shape.
    """
    if values is None:
        return None
    if width == 0:
        return column(name, values, np.float32)
    with np.errstate(over="ignore"):  # the core names the row of a number too great for float32
        rows = np.asarray(values, dtype=np.float32)
    if rows.size == 0:
        return rows.reshape(-1)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{name} must be [n, {width}], got shape {rows.shape}")
    return np.ascontiguousarray(rows).reshape(-1)


def ragged_floats(
    name: str, rows: RaggedFloats | None, counts: NDArray[np.int32] | None, *, width: int = 0
) -> NDArray[np.float32] | None:
    """The numbers of all rows in one flat float32 column; an array is taken as a `table`.

    Raises:
        ValueError: There is not one list or None for each row, or not one number (or `width`
            numbers) for each of the row's candidates.
    """
    if rows is None:
        return None
    if isinstance(rows, np.ndarray):
        return table(name, rows, width)
    found = [0 if row is None else len(row) for row in rows]  # type: ignore[arg-type]  # a list
    expected = [0] * len(found) if counts is None else np.maximum(counts, 0).tolist()
    if len(found) != len(expected):
        raise ValueError(f"{name} must be one list or None for each leaf, got {len(found)}")
    if found != expected:
        pairs = enumerate(zip(found, expected, strict=True))
        row, (length, count) = next((row, pair) for row, pair in pairs if pair[0] != pair[1])
        raise ValueError(
            f"row {row}: {name} must be one for each of {count} candidates, got {length}"
        )
    given = [row for row in rows if row is not None]
    if width == 0:
        flat = chain.from_iterable(given)  # type: ignore[arg-type]  # as above
        return np.fromiter(flat, dtype=np.float32, count=sum(found))
    parts = [table(f"row {row}: {name}", part, width) for row, part in enumerate(given)]
    return np.concatenate([part for part in parts if part is not None] or [np.empty(0, np.float32)])


def state_key(key: StateKey) -> int:
    """`key` as a number below 2^64: of a digest the first 8 bytes of its BLAKE2b hash.

    Raises:
        ValueError: A number is out of range.
    """
    if key is None:
        return 0
    if isinstance(key, str | bytes):
        data = key.encode() if isinstance(key, str) else key
        return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") or 1
    if not 0 <= key < 2**64:
        raise ValueError(f"a key must be from 0 to 2^64 - 1, got {key}")
    return int(key)


def state_keys(keys: Sequence[StateKey] | NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """`keys` as `[n]` uint64; see `state_key`.

    Raises:
        ValueError: A number is out of range.
    """
    if isinstance(keys, np.ndarray) and keys.dtype == np.uint64:
        return column("keys", keys, np.uint64)
    return np.array([state_key(key) for key in keys], dtype=np.uint64)
