import threading
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from similar_fast.errors import SearchError
from similar_fast.tree.columns import EdgeState
from similar_fast.tree.search import TreeSearch


def lazily(search: TreeSearch, num_simulations: int, *, batch: int = 8) -> None:
    """Values are the share of `b` on the path; candidates come when they are wanted."""
    while search.num_simulations < num_simulations:
        leaves = search.ask(min(batch, num_simulations - search.num_simulations))
        values = [path.count("b") / len(path) for path in leaves.paths()]
        candidates = [["a", "b"] if wants else None for wants in leaves.wants_candidates]
        search.tell(leaves, values, candidates=candidates)


def test_first_ask_evaluates_the_roots_edges() -> None:
    search = TreeSearch(["left", "right"], priors=[1, 3], normalize=None, max_collisions=None)

    leaves = search.ask(3)

    assert len(leaves) == 2
    assert leaves.paths() == [("left",), ("right",)]
    assert leaves.path(1) == ("right",)
    assert leaves.parents.tolist() == [search.root] * 2
    assert leaves.actions.tolist() == [0, 1]
    assert leaves.depths.tolist() == [1, 1]
    assert leaves.multiplicities.tolist() == [1, 2]
    assert leaves.wants_candidates.tolist() == [False, False]
    assert search.in_flight == 3


def test_value_counts_once_for_each_simulation() -> None:
    search = TreeSearch(1, max_collisions=None)
    leaves = search.ask(3)

    search.tell(leaves, [0.5])

    children = search.children()
    assert children.visits.tolist() == [3]
    assert children.in_flight.tolist() == [0]
    assert children.values.tolist() == [0.5]
    assert search.num_simulations == 3


def test_second_visit_wants_candidates_and_goes_on_from_the_new_node() -> None:
    search = TreeSearch(["only"], max_collisions=None)
    search.tell(search.ask(1), [1.0])

    leaves = search.ask(2)

    assert leaves.wants_candidates.tolist() == [True]
    nodes = search.tell(leaves, [np.nan], candidates=[["x", "y"]])
    assert nodes.tolist() == search.children().nodes.tolist()
    assert search.num_parked == 2
    assert search.num_simulations == 1
    below = search.ask(2)
    assert below.paths() == [("only", "x"), ("only", "y")]
    search.tell(below, [0.0, 0.5])
    assert search.children().visits.tolist() == [3]
    assert search.children().values.tolist() == [0.5]


def test_candidates_with_the_value_are_not_asked_for_again() -> None:
    search = TreeSearch(1)

    nodes = search.tell(search.ask(1), [0.0], candidates=np.array([2]))

    assert search.children(int(nodes[0])).states.tolist() == [EdgeState.FRESH] * 2
    assert search.ask(2).wants_candidates.tolist() == [False, False]


def test_expanded_with_no_candidates_is_terminal() -> None:
    search = TreeSearch(1, max_collisions=None)
    search.tell(search.ask(1), [0.25])

    search.tell(search.ask(4), [0.0], candidates=[[]])

    assert search.children().states.tolist() == [EdgeState.TERMINAL]
    assert search.children().visits.tolist() == [5]
    assert search.children().values.tolist() == [0.25]


def test_revisits_of_a_terminal_leaf_are_completed_by_ask() -> None:
    search = TreeSearch(1)
    search.tell(search.ask(1), [0.25], terminal=[True])

    leaves = search.ask(7)

    assert len(leaves) == 0
    assert leaves.num_completed == 7
    assert search.num_simulations == 8
    assert search.in_flight == 0


def test_revisits_at_the_depth_limit_are_completed_by_ask() -> None:
    search = TreeSearch(1, max_depth=1)
    nodes = search.tell(search.ask(1), [0.25], candidates=np.array([3]))

    assert nodes.tolist() == [-1]
    assert search.children().states.tolist() == [EdgeState.DEPTH_LIMIT]
    assert search.ask(2).num_completed == 2


def test_open_leaf_gathers_simulations_and_no_new_row() -> None:
    search = TreeSearch(1, max_collisions=None)
    leaves = search.ask(1)

    assert len(search.ask(4)) == 0
    search.tell(leaves, [1.0])

    assert search.num_simulations == 5


def test_fail_restores_the_tree() -> None:
    search = TreeSearch(["a", "b"])
    lazily(search, 40)
    before = [search.children(node).visits.tolist() for node in range(search.num_nodes)]

    leaves = search.ask(30)
    search.fail(leaves)

    assert [search.children(node).visits.tolist() for node in range(search.num_nodes)] == before
    assert search.in_flight == search.num_parked == 0


def test_best_line_is_found_and_named() -> None:
    search = TreeSearch(["a", "b"])

    lazily(search, 400)

    assert search.num_simulations == 400
    assert search.best_action() == 1
    assert search.principal_variation()[:2] == ("b", "b")
    node = int(search.children().nodes[1])
    assert search.path(node) == ("b",)
    assert search.path(node, action=0) == ("b", "a")
    assert search.children(node).candidates == ["a", "b"]


def test_paths_without_objects_are_indices() -> None:
    search = TreeSearch(2)
    search.tell(search.ask(2), [0.0, 1.0], candidates=np.array([2, 2]))

    assert search.ask(1).paths() == [(1, 0)]
    assert search.children().candidates is None


def test_advance_keeps_the_subtree_and_its_names() -> None:
    search = TreeSearch(["a", "b"])
    lazily(search, 200)
    child = int(search.children().nodes[1])
    visits = search.children(child).visits.tolist()
    nbytes, num_nodes = search.nbytes, search.num_nodes

    kept = search.advance(1)

    assert kept[search.root] == child
    assert len(kept) == search.num_nodes
    assert search.children().visits.tolist() == visits
    assert search.num_simulations == sum(visits)
    assert search.children().candidates == ["a", "b"]
    assert search.num_nodes < num_nodes
    assert search.nbytes < nbytes
    assert search.principal_variation()[0] == "b"
    lazily(search, 300)
    assert search.num_simulations == 300


def test_advance_to_an_unexpanded_child_begins_anew() -> None:
    search = TreeSearch(["a", "b"])

    kept = search.advance(1, candidates=["c", "d", "e"], priors=[1, 1, 2])

    assert kept.tolist() == []
    assert kept.dtype == np.int64
    assert search.num_nodes == 1
    assert search.children().candidates == ["c", "d", "e"]
    assert search.children().priors.tolist() == [0.25, 0.25, 0.5]


def test_leaves_outside_of_the_kept_subtree_are_discarded_in_silence() -> None:
    search = TreeSearch(2, c_puct=8.0)
    search.tell(search.ask(2), [0.0, 1.0], candidates=np.array([2, 2]))
    leaves = search.ask(4)
    outside = leaves.parents == search.children().nodes[0]
    assert 0 < outside.sum() < 4

    search.advance(1)

    told = search.tell(leaves, np.ones(len(leaves)), candidates=np.full(len(leaves), 2))
    assert (told[outside] == -1).all()
    assert (told[~outside] >= 0).all()
    assert search.in_flight == 0
    with pytest.raises(SearchError, match="is finished"):
        search.fail(leaves)


def test_a_column_beside_the_tree_follows_an_advance() -> None:
    search = TreeSearch(["a", "b"])
    lazily(search, 200)
    column = [search.path(node) for node in range(search.num_nodes)]

    kept = search.advance(1)

    after = [search.path(node) for node in range(search.num_nodes)]
    assert [column[old] for old in kept] == [("b", *path) for path in after]


def test_leaves_have_no_path_after_an_advance() -> None:
    search = TreeSearch(2, c_puct=8.0)
    search.tell(search.ask(2), [0.0, 1.0], candidates=np.array([2, 2]))
    leaves = search.ask(4)

    search.advance(1)

    with pytest.raises(SearchError, match="it has advanced 1 times"):
        leaves.paths()
    search.fail(leaves)
    assert search.ask(2).paths() == [(0,), (1,)]


def test_first_values_and_fpu_fill_the_values() -> None:
    first = TreeSearch(2, first_values=[0.5, -1.0]).children().values.tolist()
    fixed = TreeSearch(2, fpu=0.25).children().values.tolist()
    search = TreeSearch(1, fpu="parent")
    node = search.tell(search.ask(1), [0.75], candidates=np.array([2]))[0]

    assert first == [0.5, -1.0]
    assert fixed == [0.25, 0.25]
    assert search.children(int(node)).values.tolist() == [0.75, 0.75]


def test_uct_takes_unvisited_edges_by_prior_first() -> None:
    search = TreeSearch(3, policy="uct", priors=[1, 4, 2])

    taken = [search.ask(1).actions.tolist() for _ in range(3)]

    assert taken == [[1], [2], [0]]


def test_max_backup_keeps_the_greatest() -> None:
    search = TreeSearch(1, backup="max")
    search.tell(search.ask(1), [0.5], candidates=np.array([2]))

    search.tell(search.ask(2), [0.25, 0.75])

    assert search.children().values.tolist() == [0.75]


def test_ragged_lists_and_flat_columns_agree() -> None:
    trees = []
    for priors in ([[1.0, 3.0], None, [1.0]], np.array([1.0, 3.0, 1.0])):
        search = TreeSearch(3)
        leaves = search.ask(3)
        nodes = search.tell(
            leaves, [0.0, 0.5, 1.0], candidates=[["x", "y"], None, ["z"]], priors=priors
        )
        trees.append([search.children(int(node)).priors.tolist() for node in nodes[[0, 2]]])

    assert trees[0] == trees[1] == [[0.25, 0.75], [1.0]]


def test_results_are_frozen() -> None:
    search = TreeSearch(2)

    with pytest.raises(FrozenInstanceError):
        search.children().node = 1  # type: ignore[misc]  # the point of the test
    with pytest.raises(FrozenInstanceError):
        search.ask(1).num_completed = 1  # type: ignore[misc]  # the point of the test


def test_threads_share_one_search() -> None:
    search = TreeSearch(["a", "b", "c"], max_depth=20)
    done = 0
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        nonlocal done
        try:
            for turn in range(60):
                leaves = search.ask(5)
                paths = leaves.paths()
                assert all(set(path) <= {"a", "b", "c"} for path in paths)
                if turn % 4 == 3:
                    search.fail(leaves)
                    continue
                search.tell(leaves, [0.5] * len(paths), candidates=[["a", "b", "c"]] * len(paths))
                with lock:
                    done += 1
        except BaseException as error:  # noqa: BLE001  a thread's error must reach the test
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert done == 4 * 45
    assert search.num_parked == search.in_flight
    while search.in_flight:
        leaves = search.ask(search.num_parked)
        search.tell(leaves, [0.5] * len(leaves), candidates=np.zeros(len(leaves), dtype=int))
    children = search.children()
    assert children.in_flight.sum() == 0
    assert children.visits.sum() == search.num_simulations
    assert (children.values[children.visits > 0] == 0.5).all()


@pytest.mark.parametrize("candidates", [2, ["a", "b"]])
@pytest.mark.parametrize("action", [-1, 2])
def test_path_by_an_action_that_is_not_there_is_an_error(
    candidates: int | list[str], action: int
) -> None:
    with pytest.raises(ValueError, match=f"got {action} of 2"):
        TreeSearch(candidates).path(0, action=action)
