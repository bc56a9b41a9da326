"""Whole searches through Python: numpy columns, lists of strings, and two searches in Python.

Time with `pytest benches --benchmark-enable --benchmark-timer=time.process_time`.

The work: four candidates everywhere, depth limit 12, values and priors are hashes of the path,
`c_puct` = 8, so that nearly every simulation makes a leaf. Small in the ordinary suite; with
`--benchmark-enable` as large as the core's own bench.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from reference import Config, ReferenceSearch, Row
from similar_fast.tree.search import TreeSearch

BRANCHING = 4
MAX_DEPTH = 12
C_PUCT = 2.0 * BRANCHING
BATCH = 256
ROOT = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
WORDS = [f"click the element number {action}" for action in range(BRANCHING)]


def extend(path: int, action: int) -> int:
    """The hash of a path that is extended by an action (one step of splitmix64)."""
    mixed = (path + (action + 1) * ROOT) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    return mixed ^ (mixed >> 27)


def extend_all(
    paths: NDArray[np.uint64], actions: NDArray[np.integer] | range
) -> NDArray[np.uint64]:
    """As `extend`, for columns."""
    steps = (np.asarray(actions, dtype=np.uint64) + np.uint64(1)) * np.uint64(ROOT)
    mixed = paths + steps
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(27))


def value(path: int) -> float:
    return (path >> 40) * (2.0 / 16777216.0) - 1.0


def prior(path: int) -> float:
    return (path & 0xFFFF) / 65536.0 + 0.5


def priors_below(paths: NDArray[np.uint64]) -> NDArray[np.float32]:
    below = extend_all(paths[:, None], range(BRANCHING)) & np.uint64(0xFFFF)
    return (below.astype(np.float32) / np.float32(65536) + np.float32(0.5)).ravel()


def new_search(candidates: int | list[str]) -> TreeSearch:
    return TreeSearch(
        candidates,
        priors=priors_below(np.array([ROOT], dtype=np.uint64)),
        c_puct=C_PUCT,
        max_depth=MAX_DEPTH,
        normalize=None,
    )


def search_columns(num_simulations: int, batch: int = BATCH) -> TreeSearch:
    search = new_search(BRANCHING)
    paths = np.zeros(num_simulations + 1, dtype=np.uint64)
    paths[search.root] = ROOT
    while (left := num_simulations - search.num_simulations) > 0:
        leaves = search.ask(min(batch, left))
        here = extend_all(paths[leaves.parents], leaves.actions)
        wants = leaves.wants_candidates
        values = (here >> np.uint64(40)).astype(np.float32) * np.float32(2 / 16777216) - 1
        counts = np.where(wants, BRANCHING, -1)
        nodes = search.tell(leaves, values, candidates=counts, priors=priors_below(here[wants]))
        paths[nodes[wants]] = here[wants]
    return search


def search_words(num_simulations: int) -> TreeSearch:
    """Candidates as lists of strings, scored in numpy."""
    search = new_search(WORDS)
    paths = np.zeros(num_simulations + 1, dtype=np.uint64)
    paths[search.root] = ROOT
    while (left := num_simulations - search.num_simulations) > 0:
        leaves = search.ask(min(BATCH, left))
        here = extend_all(paths[leaves.parents], leaves.actions)
        wants = leaves.wants_candidates
        values = (here >> np.uint64(40)).astype(np.float32) * np.float32(2 / 16777216) - 1
        candidates = [list(WORDS) if wanted else None for wanted in wants.tolist()]
        nodes = search.tell(leaves, values, candidates=candidates, priors=priors_below(here[wants]))
        paths[nodes[wants]] = here[wants]
    return search


def search_strings(num_simulations: int) -> TreeSearch:
    """Candidates and priors as lists, scored one by one in Python."""
    search = new_search(WORDS)
    paths = {search.root: ROOT}
    while (left := num_simulations - search.num_simulations) > 0:
        leaves = search.ask(min(BATCH, left))
        parents, actions = leaves.parents.tolist(), leaves.actions.tolist()
        here = [extend(paths[node], action) for node, action in zip(parents, actions, strict=True)]
        wants = leaves.wants_candidates.tolist()
        candidates = [list(WORDS) if wanted else None for wanted in wants]
        priors = [
            [prior(extend(path, action)) for action in range(BRANCHING)] if wanted else None
            for path, wanted in zip(here, wants, strict=True)
        ]
        values = [value(path) for path in here]
        nodes = search.tell(leaves, values, candidates=candidates, priors=priors)
        paths.update(zip(nodes.tolist(), here, strict=True))
    return search


@dataclass(slots=True)
class Node:
    prior: float
    path: int
    depth: int
    visits: int = 0
    value_sum: float = 0.0
    children: dict[str, "Node"] = field(default_factory=dict)


def search_by_hand(num_simulations: int) -> Node:
    """PUCT as one writes it in Python: objects, a dict of children, one leaf at a time."""
    root = Node(1.0, ROOT, 0, visits=1)
    expand(root)
    for _ in range(num_simulations):
        node, way = root, [root]
        while node.children:
            bonus = C_PUCT * math.sqrt(node.visits)
            best, best_score = node, -math.inf
            for child in node.children.values():
                q = child.value_sum / child.visits if child.visits else 0.0
                score = q + bonus * child.prior / (1 + child.visits)
                if score > best_score:
                    best, best_score = child, score
            node = best
            way.append(node)
        if node.visits and node.depth < MAX_DEPTH:
            expand(node)
            node = max(node.children.values(), key=lambda child: child.prior)
            way.append(node)
        leaf_value = value(node.path)
        for passed in way:
            passed.visits += 1
            passed.value_sum += leaf_value
    return root


def expand(node: Node) -> None:
    paths = [extend(node.path, action) for action in range(BRANCHING)]
    total = sum(prior(path) for path in paths)
    for word, path in zip(WORDS, paths, strict=True):
        node.children[word] = Node(prior(path) / total, path, node.depth + 1)


def search_oracle(num_simulations: int) -> ReferenceSearch:
    """The tests' reference: slow on purpose, the same tree to the bit as `search_columns`."""
    config = Config(c_puct=C_PUCT, max_depth=MAX_DEPTH, normalize=None)
    search = ReferenceSearch(config, row_below((), ROOT, evaluated=True))
    paths = {(): ROOT}
    done = 0
    while done < num_simulations:
        asked = search.ask(min(BATCH, num_simulations - done))
        rows = []
        for way, (kind, _) in asked.leaves.items():
            paths[way] = extend(paths[way[:-1]], way[-1])
            rows.append(row_below(way, paths[way], evaluated=kind == "expand"))
        search.tell(rows)
        done = sum(edge.visits - edge.in_flight for edge in search.nodes[()])
    return search


def row_below(way: tuple[int, ...], path: int, *, evaluated: bool) -> Row:
    if not evaluated:
        return Row(way, value=value(path))
    priors = [prior(extend(path, action)) for action in range(BRANCHING)]
    return Row(way, candidates=BRANCHING, priors=priors)


def root_visits(search: TreeSearch | Node | ReferenceSearch) -> list[int]:
    if isinstance(search, TreeSearch):
        return search.children().visits.tolist()
    if isinstance(search, Node):
        return [child.visits for child in search.children.values()]
    return [edge.visits for edge in search.nodes[()]]


@pytest.mark.parametrize(
    ("run", "full_size"),
    [
        pytest.param(search_columns, 100_000, id="columns"),
        pytest.param(search_words, 100_000, id="words"),
        pytest.param(search_strings, 100_000, id="strings"),
        pytest.param(search_by_hand, 20_000, id="by_hand"),
        pytest.param(search_oracle, 5_000, id="oracle"),
    ],
)
def test_bench_tree_search(
    benchmark: BenchmarkFixture,
    run: Callable[[int], TreeSearch | Node | ReferenceSearch],
    full_size: int,
) -> None:
    num_simulations = 1_000 if benchmark.disabled else full_size
    benchmark.extra_info["num_simulations"] = num_simulations

    search = benchmark.pedantic(run, args=(num_simulations,), rounds=5)

    visits = root_visits(search)
    assert sum(visits) == num_simulations
    if not isinstance(search, Node):
        assert visits == root_visits(search_columns(num_simulations))


def test_search_by_hand_gives_the_same_visits() -> None:
    one_by_one = search_columns(1_000, batch=1)

    assert root_visits(one_by_one) == root_visits(search_by_hand(1_000))
