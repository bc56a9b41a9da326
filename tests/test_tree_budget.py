"""When a search can stop, what it may take, and how a decision is planned."""

import numpy as np
import pytest
from similar_fast.errors import SearchError
from similar_fast.tree.columns import EdgeState
from similar_fast.tree.search import TreeSearch


def test_lead_that_cannot_be_caught_up_is_decided() -> None:
    search = TreeSearch(2)
    for _ in range(5):
        leaves = search.ask_edge(search.root, 0)
        search.tell(leaves, [1.0], candidates=np.array([1]))

    assert search.children().visits.tolist() == [5, 0]
    assert search.is_decided(4)
    assert not search.is_decided(5)
    search.ask_edge(search.root, 1)
    assert not search.is_decided(4)


def test_nothing_more_to_come_is_decided() -> None:
    search = TreeSearch(2)

    assert search.is_decided(0)
    assert not search.is_decided(1)
    assert TreeSearch(1).is_decided(10)


def test_solved_root_is_exhausted_and_takes_the_best_ending() -> None:
    search = TreeSearch(["a", "b"], solve=True)

    search.tell(search.ask(2), [0.25, 0.5], terminal=[True, True])

    assert search.children().solved.tolist() == [True, True]
    assert search.is_exhausted
    assert search.is_decided(100)
    assert search.best_action() == 1
    with pytest.raises(SearchError, match="exhausted after 2 simulations: nothing is left"):
        search.ask(1)


def test_proven_action_is_taken_before_a_visited_one() -> None:
    search = TreeSearch(2, solve=True)
    for values in (0.5, 0.5, 0.5):
        leaves = search.ask_edge(search.root, 0)
        search.tell(leaves, [values], candidates=np.array([2]))
    leaves = search.ask_edge(search.root, 1)

    search.tell(leaves, [0.75], terminal=[True])

    assert search.children().visits.tolist() == [3, 1]
    assert search.best_action() == 1


def test_best_of_n_is_best_first_search_of_depth_one() -> None:
    search = TreeSearch(4, policy="best_first", max_depth=1, max_collisions=None)
    leaves = search.ask(100)

    search.tell(leaves, [0.1, 0.9, 0.3, 0.2])

    assert len(leaves) == 4
    assert search.best_action() == 1
    assert search.is_exhausted
    with pytest.raises(SearchError, match="is exhausted"):
        search.ask(1)
    with pytest.raises(ValueError, match="action must be an index"):
        search.ask_edge(search.root, 4)


def test_best_first_refuses_an_edge_that_is_expanded() -> None:
    search = TreeSearch(2, policy="best_first")
    search.tell(search.ask(1), [0.0], candidates=np.array([2]))

    with pytest.raises(ValueError, match="action must be one that best-first search can visit"):
        search.ask_edge(search.root, 0)


def test_beam_visits_a_few_edges_of_each_level() -> None:
    search = TreeSearch(5, policy="beam", beam_width=2, max_depth=3)
    visited = []
    while not search.is_exhausted:
        leaves = search.ask(10)
        visited.append(leaves.depths.tolist())
        search.tell(leaves, [0.5] * len(leaves), candidates=np.full(len(leaves), 3))

    assert visited == [[1, 1], [2, 2], [3, 3]]


def test_candidates_that_need_more_memory_are_not_kept() -> None:
    search = TreeSearch(["a", "b"], max_nbytes=400)
    leaves = search.ask(2)

    nodes = search.tell(leaves, [0.5, 0.5], candidates=[["x"], ["y"] * 30])

    assert (nodes >= 0).tolist() == [True, False]
    assert search.children().states.tolist() == [EdgeState.EXPANDED, EdgeState.DEPTH_LIMIT]
    assert search.is_full
    assert not TreeSearch(2, max_nbytes=400).is_full


def test_advance_makes_room() -> None:
    search = TreeSearch(2, max_nbytes=400)
    search.tell(search.ask(2), [0.5, 0.5], candidates=np.array([1, 30]))

    search.advance(0)

    assert not search.is_full
    leaves = search.ask(1)
    assert search.tell(leaves, [0.5], candidates=np.array([2])).tolist() == [1]


def test_search_over_its_memory_goes_on_with_leaves() -> None:
    search = TreeSearch(3, max_nbytes=0, max_collisions=None)
    while search.num_simulations < 50:
        leaves = search.ask(8)
        search.tell(leaves, [0.5] * len(leaves), candidates=np.full(len(leaves), 2))

    assert (search.num_nodes, search.is_full) == (1, True)


def test_plan_spends_its_simulations_on_the_best_by_noise() -> None:
    search = TreeSearch(
        8, policy="gumbel", max_considered=2, num_simulations=20, max_collisions=None
    )
    search.plan(20, gumbel=[0, 0, 3, 0, 0, 2, 0, 0])

    leaves = search.ask(100)

    assert leaves.actions.tolist() == [2, 5]
    assert leaves.multiplicities.tolist() == [10, 10]
    assert len(search.ask(100)) == 0
    search.tell(leaves, [0.0, 1.0])
    assert search.best_action() == 5


@pytest.mark.parametrize(
    ("policy", "num_simulations", "gumbel", "message"),
    [
        ("puct", 8, None, "policy must be gumbel, to make a plan"),
        ("gumbel", 0, None, "num_simulations must be at least 1, got 0"),
        ("gumbel", 8, [0.0], "gumbel must be one for each candidate, got 1 for 2"),
        ("gumbel", 8, [0.0, np.inf], "gumbel must be finite and at most 1e38 in magnitude"),
        ("gumbel", 8, [[0.0, 1.0]], "gumbel must be one column, got shape"),
    ],
)
def test_plan_refuses(
    policy: str, num_simulations: int, gumbel: list[float] | None, message: str
) -> None:
    search = TreeSearch(2, policy=policy)

    with pytest.raises(ValueError, match=message):
        search.plan(num_simulations, gumbel=gumbel)


def test_no_leaf_is_waited_for_by_more_than_the_cap() -> None:
    search = TreeSearch(1, max_collisions=2)

    leaves = search.ask(10)

    assert leaves.multiplicities.tolist() == [3]
    assert search.in_flight == 3
    assert len(search.ask(10)) == 0
    assert search.in_flight == 3
