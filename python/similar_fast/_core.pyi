"""Signatures of the compiled module; the public wrappers hold the docstrings."""

from typing import Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Batcher",
    "QueueClosedError",
    "QueueFullError",
    "SearchError",
    "SimilarFastError",
    "TreeSearch",
    "__version__",
    "accuracy_intervals",
    "calibration_table",
    "compare",
    "fit_temperature",
    "mcnemar",
    "pair_calibration",
    "pairwise_accuracy",
    "rank_correlation",
    "wilson",
]

_Columns: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
_Ids: TypeAlias = tuple[NDArray[np.uint32], int]
_Accuracy: TypeAlias = tuple[tuple[int, int, int, int], float]
_Accuracies: TypeAlias = tuple[list[_Accuracy], _Accuracy, float]
_Estimate: TypeAlias = tuple[float, tuple[float, float], float, int]
_Difference: TypeAlias = tuple[_Estimate, float]
_Comparison: TypeAlias = tuple[
    tuple[int, int, int, int, int], tuple[float, float], tuple[float, float], _Difference
]
_Correlation: TypeAlias = tuple[int, int, float, float]
_Bin: TypeAlias = tuple[tuple[float, float], int, tuple[float, float]]
_Table: TypeAlias = tuple[list[_Bin], tuple[int, int], tuple[float, float, float]]

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

def accuracy_intervals(
    scores: _Columns,
    groups: _Ids,
    clusters: _Ids,
    tie_options: tuple[str, float],
    draw_options: tuple[int, float, int, str],
) -> tuple[_Accuracies, list[_Estimate], _Estimate, _Estimate, int]: ...
def calibration_table(
    predicted: NDArray[np.float64],
    observed: NDArray[np.float64],
    bin_options: tuple[int, str],
    bounds: tuple[float, float] | None,
) -> _Table: ...
def compare(
    scorers: list[_Columns],
    groups: _Ids,
    clusters: _Ids,
    tie_options: tuple[str, float],
    draw_options: tuple[int, float, int, str],
) -> tuple[list[_Comparison], _Comparison, tuple[float, float, _Difference], int]: ...
def fit_temperature(scores: _Columns) -> tuple[float, float, int, int]: ...
def mcnemar(first: int, second: int) -> tuple[float, float]: ...
def pair_calibration(
    scores: _Columns, temperature: float, bin_options: tuple[int, str]
) -> tuple[_Table, float, float]: ...
def pairwise_accuracy(
    scores: tuple[NDArray[np.float32], NDArray[np.float32]] | _Columns,
    groups: _Ids,
    tie_options: tuple[str, float],
) -> _Accuracies: ...
def rank_correlation(
    x: NDArray[np.float64], y: NDArray[np.float64], groups: _Ids
) -> tuple[list[_Correlation], _Correlation, tuple[float, float]]: ...
def wilson(successes: float, n: int, level: float) -> tuple[float, float]: ...

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
