"""Whole adaptive searches through Python, beside the plain-Python one.

Time with `pytest benches --benchmark-enable --benchmark-timer=time.process_time`.

The work: no scale, values are hashes of the number of nodes before. Small in the ordinary suite.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from reference_adaptive import Config, ReferenceAdaptive
from similar_fast.tree.adaptive import AdaptiveSearch

ABMCTS: dict[str, Any] = {"normalize": None}
WIDENING: dict[str, Any] = {"normalize": None, "policy": "widening", "c_puct": 1.0}


def values(first: int, count: int) -> NDArray[np.float32]:
    """`[count]` in [0, 1): one step of splitmix64 for each number from `first` on."""
    mixed = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    return (mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**24)


def search_core(options: dict[str, Any], num_simulations: int, batch: int) -> AdaptiveSearch:
    search = AdaptiveSearch(**options)
    while (left := num_simulations - search.num_simulations) > 0:
        leaves = search.ask(min(batch, left))
        search.tell(leaves, values(search.num_nodes, len(leaves)))
    return search


def search_oracle(num_simulations: int) -> ReferenceAdaptive:
    search = ReferenceAdaptive(Config(normalize=None))
    for done in range(num_simulations):
        ((leaf, _, _),) = search.ask(1)
        search.tell([(leaf, float(values(done + 1, 1)[0]), False)])
    return search


@pytest.mark.parametrize(
    ("options", "num_simulations", "batch"),
    [
        pytest.param(ABMCTS, 100, 1, id="abmcts-100"),
        pytest.param(ABMCTS, 10_000, 1, id="abmcts-10000"),
        pytest.param(WIDENING, 100_000, 256, id="widening-100000-batch"),
    ],
)
def test_bench_adaptive(
    benchmark: BenchmarkFixture, options: dict[str, Any], num_simulations: int, batch: int
) -> None:
    size = min(num_simulations, 1_000) if benchmark.disabled else num_simulations
    benchmark.extra_info["num_simulations"] = size

    search = benchmark.pedantic(search_core, args=(options, size, batch), rounds=5)

    assert search.num_simulations == size
    assert search.in_flight == 0


def test_bench_adaptive_oracle(benchmark: BenchmarkFixture) -> None:
    search = benchmark.pedantic(search_oracle, args=(100,), rounds=3)

    parents = search_core(ABMCTS, 100, 1).nodes().parents.tolist()
    assert [node.parent for node in search.nodes] == parents
