"""Deterministic searches: the tree does not depend on who answers first, nor on how many answer."""

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from similar_fast.errors import SearchError
from similar_fast.tree.search import TreeSearch
from similar_fast.tree.settings import Policy

WORDS = ["left", "right", "back"]


def answer(path: tuple[object, ...]) -> tuple[float, list[str] | None, bool]:
    """A value, candidates and an end, drawn from the path alone."""
    rng = random.Random("/".join(map(str, path)))
    is_end = rng.random() < 0.1
    candidates = WORDS[: rng.randint(1, 3)] if not is_end else None
    return rng.random(), candidates, is_end


def run(num_threads: int, policy: Policy) -> list[Any]:
    """The whole tree of a search whose leaves are told one by one by so many threads."""
    search = TreeSearch(WORDS, deterministic=True, max_collisions=None, policy=policy)

    def tell(leaf: int, path: tuple[object, ...]) -> None:
        value, candidates, is_end = answer(path)
        search.tell([leaf], [value], candidates=[candidates], terminal=[is_end])

    with ThreadPoolExecutor(num_threads) as pool:
        while search.num_simulations < 150:
            leaves = search.ask(12)
            rows = list(zip(leaves.ids.tolist(), leaves.paths(), strict=True))
            random.Random(num_threads).shuffle(rows)
            list(pool.map(lambda row: tell(*row), rows))
    table = []
    for node in range(search.num_nodes):
        children = search.children(node)
        columns = (children.visits, children.values.view(np.uint32), children.states)
        table.append([search.path(node), children.candidates, [c.tolist() for c in columns]])
    return table


@pytest.mark.parametrize("policy", ["puct", "gumbel"])
def test_any_number_of_threads_gives_the_same_tree(policy: Policy) -> None:
    alone = run(1, policy)

    assert len(alone) > 20
    assert run(2, policy) == alone
    assert run(8, policy) == alone


def test_nodes_are_made_when_the_round_is_told() -> None:
    search = TreeSearch(2, deterministic=True)
    leaves = search.ask(2)

    first = search.tell(leaves.ids[1:], [0.5], candidates=[["x"]])
    assert first.tolist() == [-1]
    assert len(search.ask(2)) == 0
    last = search.tell(leaves.ids[:1], [0.5], candidates=[["y", "z"]])

    assert last.tolist() == [1]
    nodes = search.children().nodes.tolist()
    assert nodes == [1, 2]
    assert [search.children(node).candidates for node in nodes] == [["y", "z"], ["x"]]


def test_failed_leaf_ends_the_round() -> None:
    search = TreeSearch(["a", "b"], deterministic=True)
    leaves = search.ask(2)
    search.tell(leaves.ids[:1], [0.5], candidates=[["x"]])

    search.fail(leaves.ids[1:])

    assert search.children().visits.tolist() == [1, 0]
    assert search.children(1).candidates == ["x"]


def test_advance_ends_the_round_of_what_it_keeps() -> None:
    search = TreeSearch(["a", "b"], deterministic=True, c_puct=8.0)
    search.tell(search.ask(2), [0.5, 0.5], candidates=[["x", "y"], ["z"]])
    leaves = search.ask(3)
    below = leaves.parents == search.children().nodes[0]
    assert below.sum() == 2
    kept = leaves.ids[below]
    search.tell(kept, [0.5, 0.5], candidates=[["p"], ["q"]])

    search.advance(0)

    assert search.num_open == 0
    assert [search.path(node) for node in range(search.num_nodes)] == [(), ("x",), ("y",)]
    assert [search.children(node).candidates for node in (1, 2)] == [["p"], ["q"]]
    outside = leaves.ids[~below]
    assert search.tell(outside, [0.0]).tolist() == [-1]
    with pytest.raises(SearchError, match="is finished"):
        search.tell(outside, [0.0])


def test_told_twice_in_one_round_is_an_error() -> None:
    search = TreeSearch(2, deterministic=True)
    leaves = search.ask(2)
    search.tell(leaves.ids[:1], [0.5])

    with pytest.raises(SearchError, match="is finished"):
        search.tell(leaves.ids[:1], [0.5])
    with pytest.raises(SearchError, match="is finished"):
        search.fail(leaves.ids[:1])


def test_candidates_may_be_arrays() -> None:
    search = TreeSearch(2, deterministic=True, c_puct=8.0)
    leaves = search.ask(2)
    assert len(leaves) == 2

    search.tell(leaves.ids[1:], [0.5], candidates=[np.array(["x", "y"])])
    search.tell(leaves.ids[:1], [0.4], candidates=[np.array(["u", "v"])])

    stored = [search.children(node).candidates for node in (1, 2)]
    assert [list(given) for given in stored if given is not None] == [["u", "v"], ["x", "y"]]
