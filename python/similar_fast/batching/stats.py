"""What a `BatchingScorer` has done so far, in numbers."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["BatchingStats", "Histogram"]


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often a value fell between two powers of two.

    Attributes:
        counts: `[n]` int64: zeros, then the values in [1, 2), [2, 4), [4, 8), ... times `unit`;
            the last one counts all that are larger still.
        unit: What one is: 1 for counts, 0.001 for milliseconds that were measured in microseconds.
    """

    counts: NDArray[np.int64]
    unit: float = 1.0

    @property
    def edges(self) -> NDArray[np.float64]:
        """`[n + 1]` edges: `counts[i]` values lie in [edges[i], edges[i + 1]); the last is inf."""
        powers = np.ldexp(self.unit, np.arange(len(self.counts) - 1))
        return np.concatenate([[0.0], powers, [np.inf]])

    def percentile(self, q: float) -> float:
        """The edge that at least `q` percent of the values lie below; 0 where there are none.

        It is at most twice too large.

        Args:
            q: In [0, 100].

        Raises:
            ValueError: `q` is out of its range.
        """
        if not 0 <= q <= 100:
            raise ValueError(f"q must be in [0, 100], got {q}")
        below = np.cumsum(self.counts)
        if below[-1] == 0:
            return 0.0
        bar = int(np.searchsorted(below, max(1.0, below[-1] * q / 100)))
        return 0.0 if bar == 0 else float(self.edges[bar + 1])


def _empty() -> Histogram:
    return Histogram(np.zeros(1, np.int64))


@dataclass(frozen=True, slots=True)
class BatchingStats:
    """What a `BatchingScorer` has done so far.

    Attributes:
        batches: Batches that were handed to the wrapped scorer, retries excluded.
        rows: Steps in these batches.
        retries: Further calls, with one caller's part of a batch that had failed as a whole.
        mean_fill: Mean size of a batch over `max_batch_size`, in [0, 1]; 0 before the first.
        queue_length: Steps that wait now.
        cancelled: Steps whose caller left while they waited.
        expired: Steps whose timeout passed while they waited.
        coalesced: Steps that were answered by an equal step's row.
        queue_lengths: Steps that waited when a call came; one value a push.
        wait_ms: Milliseconds from the push to the batch; one value a step.
        batch_sizes: Steps of a batch; one value a batch.
    """

    batches: int
    rows: int
    retries: int
    mean_fill: float
    queue_length: int
    cancelled: int = 0
    expired: int = 0
    coalesced: int = 0
    queue_lengths: Histogram = field(default_factory=_empty, repr=False, compare=False)
    wait_ms: Histogram = field(default_factory=_empty, repr=False, compare=False)
    batch_sizes: Histogram = field(default_factory=_empty, repr=False, compare=False)

    @property
    def wait_ms_p50(self) -> float:
        """Milliseconds that half of the steps waited less than, at most twice too large."""
        return self.wait_ms.percentile(50)

    @property
    def wait_ms_p99(self) -> float:
        """Milliseconds that 99 of 100 steps waited less than, at most twice too large."""
        return self.wait_ms.percentile(99)
