"""States that were run and are kept, by their tokens, within a bound of bytes.

A *state* is everything that the candidates of one screen share. Its keys and values are what the
decoder would compute again for each of them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from similar_fast.kept import CacheStats
from similar_fast.models.runtime import Tensor
from similar_fast.reward.prefix import PrefixIndex

__all__ = ["PromptTokens", "State", "StateCache"]


@dataclass(frozen=True, slots=True, eq=False)
class PromptTokens:
    """A state's tokens.

    Attributes:
        ids: `[P]` int64.
        keys: `[P]` uint64, 0 for text; what else must agree for two equal ids to be the same token,
            which is the picture that an image token shows a part of.
        positions: `[A, P]` int64.
        next_position: Where a continuation starts.
    """

    ids: NDArray[np.int64]
    keys: NDArray[np.uint64]
    positions: NDArray[np.int64]
    next_position: int


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A state that was run through the decoder.

    Attributes:
        tokens: Its tokens.
        past: Keys and values by input name, each `[1, KV, P, D]`.
        prompt_hidden: `[H]` float32, the token that the gate reads.
        nbytes: Of `past`.
    """

    tokens: PromptTokens
    past: Mapping[str, Tensor]
    prompt_hidden: NDArray[np.float32]
    nbytes: int


class StateCache:
    """States by their tokens, the least recently used given up first; safe in threads."""

    def __init__(self, capacity_bytes: int, *, shares_beginnings: bool = True) -> None:
        """An empty cache.

        Args:
            capacity_bytes: Most bytes of keys and values.
            shares_beginnings: Whether a state's beginning is of use to another: not where its
                tokens see what stands behind them, nor where a score's bits may depend on nothing
                else.
        """
        self._shares_beginnings = shares_beginnings
        self._index = PrefixIndex(capacity_bytes)
        self._states: dict[int, State] = {}
        self._lock = Lock()

    def find(self, tokens: PromptTokens) -> tuple[State, int] | None:
        """The state that shares the longest beginning with `tokens`, and that beginning's length.

        The whole was found where that is the length of both.
        """
        with self._lock:
            if self._shares_beginnings:
                found = self._index.find(tokens.ids, tokens.keys)
                return None if found is None else (self._states[found[0]], found[1])
            found = self._index.find(*_digest(tokens))
            return None if found is None else (self._states[found[0]], len(tokens.ids))

    def insert(self, state: State) -> None:
        """Keeps `state`, unless it alone is larger than the cache."""
        with self._lock:
            tokens = state.tokens
            key = (tokens.ids, tokens.keys) if self._shares_beginnings else _digest(tokens)
            entry, evicted = self._index.insert(*key, state.nbytes)
            for old in evicted:
                del self._states[old]
            if entry is not None:
                self._states[entry] = state

    def clear(self) -> None:
        """Forgets every state; the counts stay."""
        with self._lock:
            self._index.clear()
            self._states.clear()

    @property
    def stats(self) -> CacheStats:
        """What it holds now and how often it helped."""
        index = self._index
        with self._lock:
            return CacheStats(
                entries=index.entries,
                nbytes=index.nbytes,
                capacity_bytes=index.capacity_bytes,
                hits=index.hits,
                partial_hits=index.partial_hits,
                misses=index.misses,
                evictions=index.evictions,
            )


def _digest(tokens: PromptTokens) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """One token that stands for all of them: nothing but the whole begins like it."""
    data = tokens.ids.tobytes() + tokens.keys.tobytes()
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return np.frombuffer(digest[:8], np.int64), np.frombuffer(digest[8:], np.uint64)
