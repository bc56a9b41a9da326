"""Signatures of the compiled module; the public wrappers hold the docstrings."""

from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Batcher",
    "QueueClosedError",
    "QueueFullError",
    "SearchError",
    "SimilarFastError",
    "__version__",
    "pairwise_accuracy",
]

__version__: str

class SimilarFastError(Exception): ...
class SearchError(SimilarFastError): ...
class QueueFullError(SimilarFastError): ...
class QueueClosedError(SimilarFastError): ...

@final
class Batcher:
    def __new__(
        cls, max_batch_size: int, max_batch_tokens: int | None, max_wait_s: float, capacity: int
    ) -> Batcher: ...
    def push(self, ids: list[int], tokens: list[int]) -> None: ...
    def push_some(self, ids: list[int], tokens: list[int], timeout_s: float) -> int: ...
    def take(self, timeout_s: float | None = None) -> list[int] | None: ...
    def cancel(self, ids: list[int]) -> int: ...
    def close(self) -> None: ...
    def __len__(self) -> int: ...

def pairwise_accuracy(
    scores: tuple[NDArray[np.float32], NDArray[np.float32]]
    | tuple[NDArray[np.float64], NDArray[np.float64]],
    groups: NDArray[np.uint32],
    num_groups: int,
    ties: str,
    tie_tolerance: float,
) -> tuple[
    list[tuple[tuple[int, int, int, int], float]], tuple[tuple[int, int, int, int], float], float
]: ...
