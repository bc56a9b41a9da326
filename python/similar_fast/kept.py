"""What was made before and is kept, within a bound of bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["CacheStats", "Kept", "PatientLock"]

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds and how often it helped.

    Attributes:
        entries: Things it holds.
        nbytes: Bytes it holds.
        capacity_bytes: Most bytes it may hold.
        hits: Look-ups that found the whole.
        partial_hits: Look-ups that found a beginning; only where beginnings can be shared.
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


class PatientLock:
    """A lock that tells whether it had to be waited for: then somebody may have done the work.

    Example:
        >>> with PatientLock() as has_waited:
        ...     has_waited
        False
    """

    def __init__(self) -> None:
        self._lock = Lock()

    def __enter__(self) -> bool:
        if self._lock.acquire(blocking=False):
            return False
        self._lock.acquire()
        return True

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Kept(Generic[_Key, _Value]):
    """Values by key; the least recently used go first. Safe to use from many threads.

    Attributes:
        max_bytes: Most bytes to keep, as the callers count them.
        hits: Look-ups that found a value.
        misses: Look-ups that did not.
        evictions: Values that gave way to others.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = self.evictions = 0
        self._entries: OrderedDict[_Key, tuple[_Value, int]] = OrderedDict()
        self._num_bytes = 0
        self._lock = Lock()

    @property
    def num_bytes(self) -> int:
        """Bytes that are kept now."""
        return self._num_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: _Key) -> _Value | None:
        """The value of `key`, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self.misses += 1
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: _Key, value: _Value, num_bytes: int) -> None:
        """Keeps `value`, unless it alone is over the bound.

        Args:
            key: Its key.
            value: The value, not None.
            num_bytes: Bytes of key and value together.
        """
        with self._lock:
            if num_bytes > self.max_bytes or key in self._entries:
                return
            self._entries[key] = (value, num_bytes)
            self._num_bytes += num_bytes
            while self._num_bytes > self.max_bytes:
                _, (_, freed) = self._entries.popitem(last=False)
                self._num_bytes -= freed
                self.evictions += 1

    def clear(self) -> None:
        """Forgets every value; the counts stay."""
        with self._lock:
            self._entries.clear()
            self._num_bytes = 0

    @property
    def stats(self) -> CacheStats:
        """What it holds now and how often it helped."""
        with self._lock:
            return CacheStats(
                entries=len(self._entries),
                nbytes=self._num_bytes,
                capacity_bytes=self.max_bytes,
                hits=self.hits,
                partial_hits=0,
                misses=self.misses,
                evictions=self.evictions,
            )
