"""States by their keys: strings, digests or numbers; the second one is merged with the first."""

import numpy as np
import pytest
from similar_fast.tree.columns import EdgeState
from similar_fast.tree.search import TreeSearch

Key = str | bytes | int


def tell(
    search: TreeSearch, action: int, value: float, key: Key | None, *, grows: bool = True
) -> int:
    leaves = search.ask_edge(search.root, action)
    candidates = [["x", "y"]] if grows else None
    return int(search.tell(leaves, [value], candidates=candidates, keys=[key])[0])


@pytest.mark.parametrize("key", ["a screen", b"\x00digest", 7, 2**64 - 1])
def test_leaf_with_a_known_key_is_merged_and_needs_no_value(key: Key) -> None:
    search = TreeSearch(2)
    node = tell(search, 0, 0.75, key)
    assert search.find([key, "another"]).tolist() == [node, -1]

    assert tell(search, 1, np.nan, key) == -1

    children = search.children()
    assert children.states.tolist() == [EdgeState.EXPANDED, EdgeState.MERGED]
    assert children.nodes.tolist() == [node, node]
    assert children.values.tolist() == [0.75, 0.75]
    assert search.ask_edge(search.root, 1).num_completed == 1


def test_leaf_that_wants_candidates_is_merged_without_any() -> None:
    search = TreeSearch(2)
    tell(search, 0, 0.75, "known")
    tell(search, 1, 0.25, None, grows=False)
    leaves = search.ask_edge(search.root, 1)
    assert leaves.wants_candidates.tolist() == [True]

    search.tell(leaves, [0.0], keys=["known"])

    assert search.children().states.tolist() == [EdgeState.EXPANDED, EdgeState.MERGED]


def test_root_has_a_key_and_its_value_is_the_mean_of_its_edges() -> None:
    search = TreeSearch(2, key="home")
    assert search.find(["home"]).tolist() == [search.root]
    tell(search, 0, 0.5, None)

    with pytest.raises(ValueError, match="row 0: values must be finite"):
        search.tell(search.ask_edge(search.root, 1), [np.nan], keys=["home"])
    tell_open = search.ask_edge(search.root, 1)
    assert len(tell_open) == 0


def test_leaf_with_the_roots_key_has_the_roots_value() -> None:
    search = TreeSearch(2, key="home")
    tell(search, 0, 0.5, None)

    tell(search, 1, -1.0, "home")

    assert search.children().values.tolist() == [0.5, 0.5]
    assert search.children().nodes.tolist()[1] == search.root


def test_none_and_zero_are_no_keys() -> None:
    search = TreeSearch(2)
    first = tell(search, 0, 0.0, None)
    second = tell(search, 1, 0.0, 0)

    assert first >= 0
    assert second >= 0
    assert search.find([None, 0]).tolist() == [-1, -1]


def test_strings_and_their_bytes_are_the_same_key() -> None:
    search = TreeSearch(2)
    node = tell(search, 0, 0.0, "é")

    assert search.find(["é".encode(), "e"]).tolist() == [node, -1]


def test_columns_of_numbers_are_keys() -> None:
    search = TreeSearch(2)
    leaves = search.ask(2)

    nodes = search.tell(
        leaves, [0.0, 0.0], candidates=np.array([1, 1]), keys=np.array([5, 5], np.uint64)
    )

    assert (nodes >= 0).tolist() == [True, False]
    assert search.find(np.array([5, 6])).tolist() == [nodes[0], -1]


@pytest.mark.parametrize("key", [-1, 2**64])
def test_numbers_out_of_range_are_refused(key: int) -> None:
    search = TreeSearch(1)

    with pytest.raises(ValueError, match=r"a key must be from 0 to 2\^64 - 1, got"):
        search.find([key])
    with pytest.raises(ValueError, match=r"a key must be from 0 to 2\^64 - 1, got"):
        TreeSearch(1, key=key)
    with pytest.raises(ValueError, match="keys must be one for each id, got 2 for 1"):
        search.tell(search.ask(1), [0.0], keys=[1, 2])


def test_advance_forgets_the_keys_of_what_it_frees() -> None:
    search = TreeSearch(2)
    tell(search, 0, 0.0, "freed")
    tell(search, 1, 0.0, "kept")

    search.advance(1)

    assert search.find(["freed", "kept"]).tolist() == [-1, search.root]
