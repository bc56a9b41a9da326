"""What scorings that begin alike can share: rows, positions, and which beginnings are known.

Ids come in, arrays and entry ids go out; embeddings, keys and values of the attention stay with
whoever runs the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from similar_fast import _core
from similar_fast.ragged import column

__all__ = ["Attention", "Pack", "PrefixIndex", "pack", "rope_positions"]

Attention = Literal["causal", "block"]
"""What a token sees beside the past: what stands before it, or the whole of its own sequence."""
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """One row of S tokens, in which K sequences end.

    Attributes:
        input_ids: `[S]` int64.
        positions: `[A, S]` int64.
        mask: `[S, past + S]` bool, whether a token (down) may attend to another (across); the past
            stands before the row.
        score_index: `[K]` int64, where in the row each sequence's last token stands.
        sequences: `[K]` int64, which sequence of the input each is, ascending.
    """

    input_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    mask: NDArray[np.bool_]
    score_index: NDArray[np.int64]
    sequences: NDArray[np.int64]


def pack(
    suffixes: Sequence[NDArray[np.int64]],
    positions: Sequence[NDArray[np.int64]],
    *,
    past: int,
    max_tokens: int,
    attention: Attention = "causal",
    keys: Sequence[NDArray[np.uint64]] | None = None,
) -> tuple[Pack, ...]:
    """Rows of sequences that follow one past, with a mask that keeps them apart.

    Under `causal` a row is a trie: tokens that sequences share from their start, equal in id, key
    and positions, stand in it once. Under `block` only equal sequences are shared. Every sequence
    ends in exactly one row, and a group that shares a beginning is split only where it does not fit
    into a row. O(tokens + bytes of the masks).

    Args:
        suffixes: `[s_i]` int64 each, at least one token; the ids.
        positions: `[A, s_i]` int64 each, 1 to 3 axes and as many for all.
        past: Tokens whose keys and values are there already, seen by every token; at least 0.
        max_tokens: Most tokens of a row, at least 1; a longer sequence has a row of its own.
        attention: What a token sees beside the past.
        keys: `[s_i]` uint64 each, what tells tokens of equal id apart; None where nothing does.

    Raises:
        ValueError: A sequence is empty, shapes disagree, an argument is out of its range, or the
            masks would take more than 1 GiB.

    Example:
        >>> ids = [np.array([5, 6, 7]), np.array([5, 6, 8])]
        >>> (row,) = pack(ids, [np.array([[9, 10, 11]])] * 2, past=0, max_tokens=512)
        >>> row.input_ids.tolist(), row.score_index.tolist()
        ([5, 6, 7, 8], [2, 3])
        >>> row.mask[3].tolist()
        [True, True, False, True]

    Source: Miao et al. 2024 (SpecInfer), section 4.2, tree attention.
    """
    _check_at_least("past", past, 0)
    _check_at_least("max_tokens", max_tokens, 1)
    ids = _columns("suffixes", suffixes, np.int64)
    lengths = [len(sequence) for sequence in ids]
    tokens = (
        np.concatenate([np.empty(0, np.int64), *ids]),
        _flat_keys(keys, lengths),
        _flat_positions(positions, lengths),
    )
    rows = _core.pack(tokens, lengths, (past, max_tokens, attention))
    return tuple(Pack(*row) for row in rows)


def rope_positions(
    ids: NDArray[np.int64],
    *,
    image_token: int,
    grids: Sequence[tuple[int, int, int]],
    merge_size: int,
    start: int = 0,
) -> tuple[NDArray[np.int64], int]:
    """Positions `[3, n]` (time, row, column) of a prompt with pictures, and the one that follows.

    Text advances all three axes by one. A picture of (t, h, w) patches is one run of
    t (h / m) (w / m) image tokens, m = `merge_size`; it stands at the position it begins at, plus
    its place in the grid on each axis. What follows comes one after the greatest of these, so it
    may be fewer than n positions from `start`. O(n).

    Args:
        ids: `[n]` int64.
        image_token: The id that stands for one merged patch.
        grids: (time, rows, columns) in patches of each picture, in the order of the prompt.
        merge_size: Patches, down and across, that one token stands for; at least 1.
        start: Where the first token stands, at least 0.

    Returns:
        `[3, n]` int64, and the position of whatever follows.

    Raises:
        ValueError: A run of image tokens is not as long as its grid says, there are not as many
            grids as runs, or an argument is out of its range.

    Example:
        >>> ids = np.array([7, 0, 0, 8])
        >>> rope_positions(ids, image_token=0, grids=[(1, 2, 4)], merge_size=2)[0].tolist()
        [[0, 1, 1, 3], [0, 1, 1, 3], [0, 1, 2, 3]]

    Source: Wang et al. 2024 (Qwen2-VL), section 2.1, multimodal rotary position embedding.
    """
    tokens = np.ascontiguousarray(column("ids", ids, np.int64))
    return _core.rope_positions(tokens, image_token, list(grids), merge_size, start)


class PrefixIndex:
    """Sequences of tokens by their beginnings, the least recently used given up first.

    An entry stands for what the caller keeps for a sequence, such as keys and values, and takes the
    bytes that the caller says. A token is an id and a key. Entry ids are never given twice. The
    index itself takes 16 bytes a token of what it holds. Safe in threads.

    Example:
        >>> index, keys = PrefixIndex(100), np.zeros(3, np.uint64)
        >>> index.insert(np.array([5, 6, 7]), keys, 60)
        (0, [])
        >>> index.find(np.array([5, 6, 9]), keys)
        (0, 2)
        >>> index.insert(np.array([8, 6, 7]), keys, 60)
        (1, [0])
    """

    def __init__(self, capacity_bytes: int) -> None:
        """An empty index.

        Args:
            capacity_bytes: Most bytes that its entries may take together, at least 0.

        Raises:
            ValueError: It is negative.
        """
        _check_at_least("capacity_bytes", capacity_bytes, 0)
        self._index = _core.PrefixIndex(capacity_bytes)

    def insert(
        self, ids: NDArray[np.int64], keys: NDArray[np.uint64], nbytes: int
    ) -> tuple[int | None, list[int]]:
        """The entry of a sequence, put in as the most recently used, and those that gave way to it.

        If the same sequence is in already, it keeps its entry, which takes `nbytes` from now on.
        The entry is None, and nothing changes, where `nbytes` alone exceeds the capacity. O(n),
        amortised.

        Args:
            ids: `[n]` int64, at least one token.
            keys: `[n]` uint64, what else must agree for two equal ids to be the same token.
            nbytes: Bytes that its entry takes, at least 0.

        Returns:
            The entry, and the entries that were evicted, least recently used first.

        Raises:
            ValueError: There is no token, not one key for each, or `nbytes` is negative.
        """
        _check_at_least("nbytes", nbytes, 0)
        return self._index.insert(*_tokens(ids, keys), nbytes)

    def find(self, ids: NDArray[np.int64], keys: NDArray[np.uint64]) -> tuple[int, int] | None:
        """The entry that shares the longest beginning with a sequence, and how many tokens that is.

        Of several, the entry whose own sequence ends there if there is one, else any. It becomes
        the most recently used. Counted as a hit where the sequences are equal, as a partial hit
        where they are not, and as a miss where no first token is the same. O(n), amortised.

        Args:
            ids: `[n]` int64.
            keys: `[n]` uint64.

        Returns:
            The entry and the number of tokens, at least 1; None for a miss.

        Raises:
            ValueError: There is not one key for each token.
        """
        return self._index.find(*_tokens(ids, keys))

    def clear(self) -> None:
        """Forgets every entry; what was counted stays, and these are no evictions."""
        self._index.clear()

    @property
    def entries(self) -> int:
        """Entries it holds."""
        return self._index.stats()[0][0]

    @property
    def nbytes(self) -> int:
        """Bytes that its entries take."""
        return self._index.stats()[0][1]

    @property
    def capacity_bytes(self) -> int:
        """Most bytes that its entries may take."""
        return self._index.stats()[0][2]

    @property
    def hits(self) -> int:
        """Finds of an equal sequence."""
        return self._index.stats()[1][0]

    @property
    def partial_hits(self) -> int:
        """Finds of a sequence that begins alike."""
        return self._index.stats()[1][1]

    @property
    def misses(self) -> int:
        """Finds of nothing."""
        return self._index.stats()[1][2]

    @property
    def evictions(self) -> int:
        """Entries that gave way to others."""
        return self._index.stats()[1][3]


def _tokens(
    ids: NDArray[np.int64], keys: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    tokens = np.ascontiguousarray(column("ids", ids, np.int64))
    also = np.ascontiguousarray(column("keys", keys, np.uint64))
    if len(also) != len(tokens):
        raise ValueError(f"keys must be one for each of {len(tokens)} ids, got {len(also)}")
    return tokens, also


def _columns(
    name: str, sequences: Sequence[ArrayLike], dtype: type[Scalar]
) -> list[NDArray[Scalar]]:
    return [column(f"{name}[{i}]", sequence, dtype) for i, sequence in enumerate(sequences)]


def _flat_keys(keys: Sequence[ArrayLike] | None, lengths: list[int]) -> NDArray[np.uint64]:
    """`[T]`, or nothing where nothing is given."""
    if keys is None:
        return np.empty(0, np.uint64)
    columns = _columns("keys", keys, np.uint64)
    found = [len(column) for column in columns]
    if found != lengths:
        raise ValueError(f"keys must be one for each token ({lengths}), got {found}")
    return np.concatenate([np.empty(0, np.uint64), *columns])


def _flat_positions(positions: Sequence[ArrayLike], lengths: list[int]) -> NDArray[np.int64]:
    """`[A * T]`, one axis after another."""
    tables = [np.asarray(table, dtype=np.int64) for table in positions]
    axes = tables[0].shape[0] if tables and tables[0].ndim == 2 else 1
    expected = [(axes, length) for length in lengths]
    found = [table.shape for table in tables]
    if found != expected:
        raise ValueError(
            f"positions must be one on each axis for each token ({expected}), got {found}"
        )
    return np.concatenate([np.empty((axes, 0), np.int64), *tables], axis=1).reshape(-1)


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
