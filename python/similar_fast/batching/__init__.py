"""Any scorer behind a batching queue, for any number of threads and tasks."""

from similar_fast.batching.scorer import BatchingScorer
from similar_fast.batching.sizes import estimate_tokens
from similar_fast.batching.stats import BatchingStats, Histogram

__all__ = ["BatchingScorer", "BatchingStats", "Histogram", "estimate_tokens"]
