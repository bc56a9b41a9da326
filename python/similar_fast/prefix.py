"""What scorings that begin alike can share: rows of suffixes, positions, and known prefixes.

The plan is the Rust core's (`rust/core/src/prefix.rs`); here are its arrays. Keys and values of the
attention stay with whoever runs the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from similar_fast import _core

__all__ = ["CacheStats", "Pack", "PrefixIndex", "pack", "rope_positions"]


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """One row of S tokens, in which K sequences end.

    Attributes:
        input_ids: `[S]` int64.
        positions: `[A, S]` int64.
        mask: `[S, past + S]` bool, what each token may attend to.
        score_index: `[K]` int64, where in the row each sequence's last token stands.
        sequences: `[K]` int64, which of the sequences that were given each is, ascending.
    """

    input_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    mask: NDArray[np.bool_]
    score_index: NDArray[np.int64]
    sequences: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds and how often it helped.

    Attributes:
        entries: Things it holds.
        nbytes: Bytes it holds.
        capacity_bytes: Most bytes it may hold.
        hits: Look-ups that found the whole.
        partial_hits: Look-ups that found a beginning.
        misses: Look-ups that found nothing.
        evictions: Things that gave way to others.
    """

    entries: int
    nbytes: int
    capacity_bytes: int
    hits: int
    partial_hits: int
    misses: int
    evictions: int


def pack(
    sequences: Sequence[NDArray[np.int64]],
    positions: Sequence[NDArray[np.int64]],
    *,
    past: int,
    max_tokens: int,
    attention: Literal["causal", "block"] = "causal",
) -> tuple[Pack, ...]:
    """Lays sequences that continue one past into rows, with masks that keep them apart.

    With `causal` attention a row is a trie: what sequences share from their start stands in it
    once. With `block` attention, where a token sees the whole of its sequence, only equal sequences
    are shared. Every sequence ends in exactly one row. O(tokens + bytes of the masks).

    Args:
        sequences: `[s]` int64 token ids each, at least one.
        positions: `[A, s]` int64 each, on 1 to 3 axes.
        past: Tokens before all of them, which every token attends to.
        max_tokens: Most tokens of a row, at least 1; a longer sequence has a row of its own.
        attention: What a token may attend to in its own sequence.

    Raises:
        ValueError: An argument is out of its range, sequences and positions do not fit together,
            or the masks would take more than 1 GiB.

    Source: tree attention, Miao et al. 2024 (SpecInfer), section 4.2.
    """
    if len(sequences) != len(positions):
        raise ValueError(f"{len(positions)} positions for {len(sequences)} sequences")
    if not sequences:
        return ()
    rows = _core.pack(
        np.ascontiguousarray(np.concatenate(sequences)),
        np.concatenate(positions, axis=1).ravel(),
        [len(sequence) for sequence in sequences],
        past=past,
        max_tokens=max_tokens,
        attention=attention,
    )
    return tuple(Pack(*row) for row in rows)


def rope_positions(
    ids: NDArray[np.int64],
    *,
    image_token: int,
    grids: Sequence[tuple[int, int, int]],
    merge_size: int,
    start: int = 0,
) -> tuple[NDArray[np.int64], int]:
    """`[3, n]` positions (time, row, column) of n tokens, and the position of what follows. O(n).

    Args:
        ids: `[n]` int64.
        image_token: The token that stands for (a part of) a picture.
        grids: (time, rows, columns) in patches of each picture, in the prompt's order.
        merge_size: Patches, down and across, that one token stands for.
        start: The first token's position, at least 0.

    Raises:
        ValueError: A run of image tokens does not fit its grid, or an argument is out of its range.

    Source: Wang et al. 2024 (Qwen2-VL), section 2.1, multimodal rotary position embedding.
    """
    return _core.rope_positions(
        np.ascontiguousarray(ids),
        image_token=image_token,
        grids=grids,
        merge_size=merge_size,
        start=start,
    )


class PrefixIndex:
    """Knows which cached entries begin alike, within a bound of bytes; safe in threads."""

    def __init__(self, capacity_bytes: int) -> None:
        """An empty index.

        Args:
            capacity_bytes: Most bytes of all entries together, at least 0.

        Raises:
            OverflowError: `capacity_bytes` is below 0.
        """
        self._index = _core.PrefixIndex(capacity_bytes)

    def insert(
        self, ids: NDArray[np.int64], keys: NDArray[np.uint64], nbytes: int
    ) -> tuple[int | None, list[int]]:
        """Notes an entry, the last used one now; returns it and the entries that gave way to it.

        Args:
            ids: `[n]` int64, at least one token.
            keys: `[n]` uint64, what else must agree for two equal ids to be one token.
            nbytes: Bytes of what the entry stands for.

        Returns:
            The entry's number, the old one where these tokens are there already and None where it
            alone exceeds the bound; and the numbers of what is no longer there.

        Raises:
            ValueError: There is no token, or not as many keys as ids.
        """
        return self._index.insert(np.ascontiguousarray(ids), np.ascontiguousarray(keys), nbytes)

    def find(self, ids: NDArray[np.int64], keys: NDArray[np.uint64]) -> tuple[int, int] | None:
        """The entry that shares the longest beginning, and that beginning's length. O(n).

        Args:
            ids: As for `insert`.
            keys: As for `insert`.

        Raises:
            ValueError: As `insert`.
        """
        return self._index.find(np.ascontiguousarray(ids), np.ascontiguousarray(keys))

    def clear(self) -> None:
        """Forgets every entry; the counts stay."""
        self._index.clear()

    @property
    def stats(self) -> CacheStats:
        """What it holds now and how often it helped."""
        return CacheStats(*self._index.stats())
