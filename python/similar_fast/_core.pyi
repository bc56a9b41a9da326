"""Signatures of the compiled module; the public wrappers hold the docstrings."""

from collections.abc import Sequence
from typing import Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from similar_fast.tree.settings import TreeSettings

__all__ = [
    "AdaptiveSearch",
    "Batcher",
    "Call",
    "PrefixIndex",
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
    "pack",
    "pair_calibration",
    "pairwise_accuracy",
    "rank_correlation",
    "rope_positions",
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
class Call:
    def __new__(cls) -> Call: ...
    def wait(self, timeout_s: float | None = None) -> bool: ...
    def finish(self) -> None: ...

_Rows: TypeAlias = tuple[
    int, int, int, int, float | None, list[int] | None, list[int] | None, list[int] | None
]
_Taken: TypeAlias = tuple[
    list[tuple[int, int, int]], list[tuple[int, int, int]], list[tuple[int, int]]
]

@final
class Batcher:
    def __new__(
        cls,
        max_batch_size: int,
        max_batch_tokens: int | None,
        max_wait_s: float,
        capacity: int,
        max_batch_pixels: int | None = None,
        is_padded: bool = False,
        bucket_edges: Sequence[int] = ...,
        priority_step_s: float = 0.1,
    ) -> Batcher: ...
    def push(self, rows: _Rows, takes_turn: bool) -> _Taken | None: ...
    def push_some(self, rows: _Rows, timeout_s: float, call: Call) -> int: ...
    def take_turn(self, timeout_s: float | None = None) -> _Taken | None: ...
    def next_turn(self, done: list[Call]) -> _Taken | None: ...
    def end_turn(self, done: list[Call]) -> None: ...
    def cancel(self, request: int, count: int) -> int: ...
    def close(self) -> None: ...
    def stats(self) -> tuple[tuple[int, int, int], list[list[int]]]: ...
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

_Tokens: TypeAlias = tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]
_Row: TypeAlias = tuple[
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.bool_],
    NDArray[np.int64],
    NDArray[np.int64],
]

@final
class PrefixIndex:
    def __new__(cls, capacity_bytes: int) -> Self: ...
    def insert(
        self, ids: NDArray[np.int64], keys: NDArray[np.uint64], nbytes: int
    ) -> tuple[int | None, list[int]]: ...
    def find(self, ids: NDArray[np.int64], keys: NDArray[np.uint64]) -> tuple[int, int] | None: ...
    def clear(self) -> None: ...
    def stats(self) -> tuple[tuple[int, int, int], tuple[int, int, int, int]]: ...

def pack(tokens: _Tokens, lengths: list[int], options: tuple[int, int, str]) -> list[_Row]: ...
def rope_positions(
    ids: NDArray[np.int64],
    image_token: int,
    grids: list[tuple[int, int, int]],
    merge_size: int,
    start: int,
) -> tuple[NDArray[np.int64], int]: ...

_Floats: TypeAlias = NDArray[np.float32] | None
_Root: TypeAlias = tuple[int, _Floats, _Floats, _Floats, int]
_Leaves: TypeAlias = tuple[
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.bool_],
    int,
]

@final
class TreeSearch:
    def __new__(cls, settings: TreeSettings, root: _Root) -> Self: ...
    @staticmethod
    def load(file: bytes) -> tuple[TreeSearch, bytes]: ...
    def save(self, extra: bytes) -> bytes: ...
    def plan(self, noise: _Floats, num_simulations: int) -> None: ...
    def ask(self, num_simulations: int) -> _Leaves: ...
    def ask_edge(self, node: int, action: int) -> _Leaves: ...
    def tell(
        self,
        ids: NDArray[np.int64],
        values: NDArray[np.float32],
        *,
        weights: _Floats,
        terminal: NDArray[np.bool_] | None,
        counts: NDArray[np.int32] | None,
        priors: _Floats,
        first_values: _Floats,
        first_weights: _Floats,
        keys: NDArray[np.uint64] | None,
    ) -> NDArray[np.int64]: ...
    def settled(self) -> list[tuple[int, int]]: ...
    def fail(self, ids: NDArray[np.int64]) -> None: ...
    def advance(self, action: int, root: _Root | None) -> NDArray[np.int64]: ...
    def reweight(self, weights: list[float] | None) -> None: ...
    def told(self, node: int) -> NDArray[np.float32]: ...
    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]: ...
    def edges(
        self, node: int
    ) -> tuple[
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.float32],
        NDArray[np.float32],
        NDArray[np.int64],
        NDArray[np.uint8],
        NDArray[np.bool_],
    ]: ...
    def place(self, node: int) -> tuple[int, int, int]: ...
    def path(self, node: int) -> tuple[list[int], list[int]]: ...
    def best_action(self) -> int: ...
    def principal_variation(self) -> tuple[list[int], list[int]]: ...
    def is_decided(self, num_simulations: int) -> bool: ...
    @property
    def is_exhausted(self) -> bool: ...
    @property
    def is_full(self) -> bool: ...
    @property
    def num_open(self) -> int: ...
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
