"""What a `TreeSearch` refuses, and that it then changes nothing."""

from typing import Any

import numpy as np
import pytest
from similar_fast.errors import SearchError
from similar_fast.tree.search import TreeSearch


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"candidates": 0}, "candidates must be 1 to 65535, got 0"),
        ({"candidates": -3}, "candidates must be 1 to 65535"),
        ({"candidates": []}, "candidates must be 1 to 65535, got 0"),
        ({"candidates": 70_000}, "candidates must be 1 to 65535, got 70000"),
        ({"priors": [1.0]}, "priors must be one for each candidate, got 1 for 2"),
        ({"priors": [1.0, -1.0]}, "priors must be finite and at least 0, got -1"),
        ({"priors": [0.0, 0.0]}, "priors must be above 0 in sum, got 0"),
        ({"priors": [[1.0, 1.0]]}, "priors must be one column, got shape"),
        ({"first_values": [np.inf, 0.0]}, "first_values must be finite"),
        (
            {"policy": "best"},
            'policy must be "puct", "uct", "gumbel", "best_first" or "beam", got "best"',
        ),
        (
            {"backup": "min"},
            'backup must be "mean", "max", "power_mean" or "discounted", got "min"',
        ),
        ({"c_puct": -1.0}, "c_puct must be from 0 to 1e30, got -1"),
        ({"c_puct": np.nan}, "c_puct must be from 0 to 1e30, got NaN"),
        ({"max_depth": 0}, "max_depth must be from 1 to 65535, got 0"),
        ({"max_depth": 65_536}, "max_depth must be from 1 to 65535, got 65536"),
        ({"fpu": np.inf}, "fpu must be finite"),
        ({"fpu": "child"}, 'fpu must be a number or "parent", got "child"'),
        ({"normalize": "range"}, 'normalize must be "minmax", a range'),
        ({"normalize": (1.0, 1.0)}, "normalize must be a range"),
    ],
)
def test_constructor_refuses(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeSearch(**{"candidates": 2, **given})


def test_one_string_is_no_list_of_candidates() -> None:
    search = TreeSearch(1)

    with pytest.raises(TypeError, match="got one string"):
        TreeSearch("click")
    with pytest.raises(TypeError, match="row 0: candidates must be a list"):
        search.tell(search.ask(1), [0.0], candidates=["click"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"values": [0.0]}, "values must be one for each id, and for each channel, got 1 for 2"),
        ({"values": [0.0, np.nan]}, "row 1: values must be finite .* got NaN"),
        ({"values": [0.0, 1e39]}, "row 1: values must be finite .* got inf"),
        ({"terminal": [True]}, "terminal must be one for each id, got 1 for 2"),
        ({"candidates": np.array([2])}, "candidates must be one for each id, got 1 for 2"),
        (
            {"candidates": [["x"], None], "terminal": [True, False]},
            "row 0: candidates must be none",
        ),
        ({"candidates": np.array([2, 70_000])}, "row 1: candidates must be at most 65535"),
        ({"candidates": np.array([1, 2]), "priors": np.ones(2)}, "priors must be one for each"),
        (
            {"candidates": np.array([1, 2]), "priors": [[1.0], [1.0]]},
            "row 1: priors must be one for",
        ),
        ({"candidates": np.array([1, 2]), "priors": [[1.0]]}, "priors must be one list or None"),
        (
            {"candidates": np.array([1, 2]), "priors": np.array([1, 0, 0.0])},
            "row 1: priors must be",
        ),
        (
            {"candidates": np.array([1, 1]), "first_values": np.array([1, np.nan])},
            "row 1: first_values",
        ),
    ],
)
def test_tell_refuses_and_applies_nothing(given: dict[str, Any], message: str) -> None:
    search = TreeSearch(2)
    leaves = search.ask(2)

    with pytest.raises(ValueError, match=message):
        search.tell(leaves, **{"values": [0.0, 1.0], **given})

    assert search.in_flight == 2
    search.tell(leaves, [0.0, 1.0])
    assert search.num_simulations == 2


def test_tell_refuses_counts_that_are_no_integers() -> None:
    search = TreeSearch(1)

    with pytest.raises(TypeError, match="candidates must be integer counts or lists, got float64"):
        search.tell(search.ask(1), [0.0], candidates=np.ones(1))


def test_leaf_that_wants_candidates_refuses_to_go_without() -> None:
    search = TreeSearch(1)
    search.tell(search.ask(1), [0.0])
    leaves = search.ask(1)

    with pytest.raises(ValueError, match="row 0: candidates must be given"):
        search.tell(leaves, [0.0])

    assert search.in_flight == 1


def test_same_leaf_twice_in_one_call_is_refused() -> None:
    search = TreeSearch(1)
    leaf = search.ask(1).ids[0]

    with pytest.raises(ValueError, match="row 1: ids must be without repeats"):
        search.tell([leaf, leaf], [0.0, 0.0])
    with pytest.raises(ValueError, match="row 1: ids must be without repeats"):
        search.fail([leaf, leaf])


def test_finished_and_unknown_leaves_raise_search_errors() -> None:
    search = TreeSearch(1)
    leaves = search.ask(1)
    search.tell(leaves, [0.0])

    with pytest.raises(SearchError, match="is finished"):
        search.tell(leaves, [0.0])
    with pytest.raises(SearchError, match="is finished"):
        search.fail(leaves)
    with pytest.raises(SearchError, match="leaf 5 was never asked for"):
        search.tell([5], [0.0])
    with pytest.raises(SearchError, match="was never asked for"):
        search.fail([-1])


def test_ask_refuses_what_does_not_fit() -> None:
    search = TreeSearch(1, max_collisions=None)
    search.ask(65_535)

    with pytest.raises(SearchError, match="1 simulations cannot start: 65535 are in flight"):
        search.ask(1)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="num_simulations must be at least 1"):
            search.ask(wrong)


def test_unknown_nodes_raise_search_errors() -> None:
    search = TreeSearch(1)

    for wrong in (1, -1, 2**40):
        with pytest.raises(SearchError, match=rf"node {wrong} is not in the tree \(it holds 1"):
            search.children(wrong)
        with pytest.raises(SearchError, match="is not in the tree"):
            search.path(wrong)


def test_advance_refuses_and_changes_nothing() -> None:
    search = TreeSearch(2)
    search.tell(search.ask(2), [0.0, 1.0], terminal=[True, False])

    for wrong in (2, -1):
        with pytest.raises(ValueError, match="action must be an index of the root's candidates"):
            search.advance(wrong)
    with pytest.raises(SearchError, match="action 0 is terminal"):
        search.advance(0, candidates=2)
    with pytest.raises(SearchError, match="action 1 is not expanded"):
        search.advance(1)
    with pytest.raises(ValueError, match="candidates must be 1 to 65535, got 0"):
        search.advance(1, candidates=[])

    assert search.num_simulations == 2
