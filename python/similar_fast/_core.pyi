"""Signatures of the compiled module; the public wrappers hold the docstrings."""

from typing import Self, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AdaptiveSearch",
    "Batcher",
    "QueueClosedError",
    "QueueFullError",
    "SearchError",
    "SimilarFastError",
    "TreeSearch",
    "__version__",
    "pairwise_accuracy",
]

__version__: str

class SimilarFastError(Exception): ...
class SearchError(SimilarFastError): ...
class QueueFullError(SimilarFastError): ...
class QueueClosedError(SimilarFastError): ...

@final
class AdaptiveSearch:
    def __new__(
        cls,
        policy: str,
        parameters: list[float],
        *,
        root_value: float | None,
        normalize: str | tuple[float, float] | None,
        seed: int,
        max_depth: int,
        max_nbytes: int | None,
    ) -> Self: ...
    def ask(
        self, num_simulations: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]: ...
    def tell(
        self,
        ids: NDArray[np.int64],
        values: NDArray[np.float32],
        *,
        terminal: NDArray[np.bool_] | None,
        exhausted: NDArray[np.bool_] | None,
    ) -> NDArray[np.int64]: ...
    def fail(self, ids: NDArray[np.int64]) -> None: ...
    def advance(self, node: int) -> NDArray[np.int64]: ...
    def nodes(
        self,
    ) -> tuple[
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.int32],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.float32],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.bool_],
        NDArray[np.bool_],
    ]: ...
    def children(
        self, node: int
    ) -> tuple[
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.int32],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.float32],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.bool_],
        NDArray[np.bool_],
    ]: ...
    def arms(
        self, node: int
    ) -> tuple[
        bool,
        int | None,
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.float64],
        NDArray[np.float64],
    ]: ...
    def path(self, node: int) -> list[int]: ...
    def best(self) -> int | None: ...
    def principal_variation(self) -> list[int]: ...
    def save(self) -> bytes: ...
    @staticmethod
    def load(data: bytes) -> AdaptiveSearch: ...
    @property
    def num_simulations(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def num_open(self) -> int: ...
    @property
    def num_nodes(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def is_exhausted(self) -> bool: ...

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

@final
class TreeSearch:
    def __new__(
        cls,
        count: int,
        *,
        priors: NDArray[np.float32] | None,
        first_values: NDArray[np.float32] | None,
        policy: str,
        backup: str,
        c_puct: float,
        max_depth: int,
        fpu: float | None,
        normalize: str | tuple[float, float] | None,
    ) -> Self: ...
    def ask(
        self, num_simulations: int
    ) -> tuple[
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.bool_],
        int,
    ]: ...
    def ask_edge(
        self, node: int, action: int
    ) -> tuple[
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.int32],
        NDArray[np.bool_],
        int,
    ]: ...
    def tell(
        self,
        ids: NDArray[np.int64],
        values: NDArray[np.float32],
        *,
        terminal: NDArray[np.bool_] | None,
        counts: NDArray[np.int32] | None,
        priors: NDArray[np.float32] | None,
        first_values: NDArray[np.float32] | None,
    ) -> NDArray[np.int64]: ...
    def fail(self, ids: NDArray[np.int64]) -> None: ...
    def advance(
        self,
        action: int,
        *,
        count: int | None,
        priors: NDArray[np.float32] | None,
        first_values: NDArray[np.float32] | None,
    ) -> NDArray[np.int64]: ...
    def edges(
        self, node: int
    ) -> tuple[
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.int64],
        NDArray[np.uint8],
    ]: ...
    def place(self, node: int) -> tuple[int, int, int]: ...
    def path(self, node: int) -> tuple[list[int], list[int]]: ...
    def best_action(self) -> int: ...
    def principal_variation(self) -> tuple[list[int], list[int]]: ...
    @property
    def num_simulations(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def num_parked(self) -> int: ...
    @property
    def num_nodes(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def root(self) -> int: ...
