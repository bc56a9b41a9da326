"""The adaptive search through Python: what it asks, what it keeps, what it refuses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from similar_fast.errors import SearchError
from similar_fast.tree.adaptive import AdaptiveSearch, Beta, Gaussian

POLICIES: list[dict[str, Any]] = [
    {"prior": Gaussian()},
    {"prior": Beta()},
    {"policy": "widening", "rule": "uct"},
    {"policy": "widening", "rule": "puct"},
]


def run(
    search: AdaptiveSearch, num_simulations: int, value: Callable[[int, int], float], batch: int = 1
) -> AdaptiveSearch:
    """Grows the tree; `value` sees the parent's id and the new child's depth."""
    while (left := num_simulations - search.num_simulations) > 0:
        leaves = search.ask(min(batch, left))
        rows = zip(leaves.parents.tolist(), leaves.depths.tolist(), strict=True)
        search.tell(leaves, [value(parent, depth) for parent, depth in rows])
    return search


def grown(options: dict[str, Any], num_simulations: int = 30) -> AdaptiveSearch:
    noise = np.random.default_rng(3)
    return run(AdaptiveSearch(**options), num_simulations, lambda *_: noise.random(), batch=4)


def noisy(mean: Callable[[int, int], float], seed: int) -> Callable[[int, int], float]:
    """`mean` of a new child, and noise; within [0, 1]."""
    noise = np.random.default_rng(seed)
    return lambda parent, depth: float(
        np.clip(mean(parent, depth) + 0.1 * noise.standard_normal(), 0, 1)
    )


def root_children(search: AdaptiveSearch) -> int:
    return len(search.children())


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("prior", [Gaussian(), Beta()])
def test_abmcts_widens_when_new_ideas_are_good_and_deepens_when_refining_is(
    prior: Gaussian | Beta, batch: int
) -> None:
    def widths(first: float, deeper: float) -> list[int]:
        def mean(_: int, depth: int) -> float:
            return first if depth == 1 else deeper

        searches = [AdaptiveSearch(prior=prior, seed=seed, normalize=None) for seed in range(20)]
        grown = [run(search, 96, noisy(mean, row), batch) for row, search in enumerate(searches)]
        return [root_children(search) for search in grown]

    fresh, refined = widths(0.8, 0.3), widths(0.3, 0.8)

    # Of 96 simulations; a coin would give 48 each.
    assert np.median(fresh) > 72
    assert np.median(refined) < 24
    assert max(refined) < min(fresh)


def test_abmcts_refines_the_better_of_two_ideas() -> None:
    shares = []
    for seed in range(20):
        search = AdaptiveSearch(seed=seed, normalize=None)
        search.tell(search.ask(2), [0.9, 0.1])

        def mean(parent: int, depth: int, search: AdaptiveSearch = search) -> float:
            return 0.2 if depth == 1 else 0.9 if search.path(parent)[0] == 1 else 0.1

        nodes = run(search, 100, noisy(mean, seed)).children()
        shares.append(int(nodes.visits[0]) / int(nodes.visits.sum()))

    assert np.median(shares) > 0.6


def test_visits_in_flight_narrow_the_draws_and_leave_the_means() -> None:
    search = AdaptiveSearch(seed=1, normalize=None)
    run(search, 20, lambda _, depth: 0.5 if depth == 1 else 0.9)
    before = search.arms()

    search.ask(32)

    after, flying = search.arms(), search.children().in_flight
    assert after.generate.in_flight + after.proceed.in_flight == 32
    assert after.proceed.in_flight == flying.sum()
    assert (flying > 0).sum() >= 2
    entered = [child for child, arm in after.children.items() if arm.in_flight]
    for child in entered:
        assert after.children[child].mean == before.children[child].mean
        assert after.children[child].spread < before.children[child].spread


def test_widening_follows_its_limit() -> None:
    search = AdaptiveSearch(policy="widening", k=2.0, alpha=0.5)

    run(search, 200, lambda *_: 0.5)

    # The visits of the root before the last child was generated, at most 199.
    assert root_children(search) == math.ceil(2 * math.sqrt(199))
    assert search.arms().max_children == math.ceil(2 * math.sqrt(200))


def test_widening_enters_the_child_that_is_worth_more() -> None:
    search = AdaptiveSearch(policy="widening", k=2.0, c_puct=0.2, normalize=None)
    good, bad = search.tell(search.ask(2), [0.9, 0.1]).tolist()

    run(search, 60, lambda parent, _: 0.9 if search.path(parent)[:1] == (good,) else 0.1)

    visits = dict(zip(search.children().nodes.tolist(), search.children().visits, strict=True))
    assert visits[good] > 5 * visits[bad]


def test_simulations_that_find_no_place_wait_and_count() -> None:
    search = AdaptiveSearch(policy="widening", k=1.0, alpha=0.5)

    leaves = search.ask(16)
    search.tell(leaves, np.linspace(0, 1, len(leaves)))

    assert leaves.multiplicities.tolist() == [6, 5, 3, 2]
    assert search.children().visits.tolist() == [6, 5, 3, 2]
    assert search.num_simulations == 16


@pytest.mark.parametrize("options", POLICIES)
def test_the_same_calls_give_the_same_tree(options: dict[str, Any]) -> None:
    first, second = (grown(options | {"seed": 5}).to_bytes() for _ in range(2))

    assert first == second


def test_another_seed_gives_another_tree() -> None:
    assert grown({"seed": 5}).to_bytes()[46:] != grown({"seed": 6}).to_bytes()[46:]


def test_scale_and_offset_of_values_do_not_matter_under_minmax() -> None:
    """Great values with small differences keep their variance."""
    parents = []
    for low, step in ((0.0, 1 / 16), (1e6, 1 / 16), (-8.0, 4.0)):
        search = AdaptiveSearch(seed=2)
        numbers = np.random.default_rng(0)
        run(search, 150, lambda *_: low + step * int(numbers.integers(17)))  # noqa: B023  # at once
        parents.append(search.nodes().parents.tolist())

    assert parents[0] == parents[1] == parents[2]


def test_candidates_are_kept_by_node_and_make_paths() -> None:
    search = AdaptiveSearch("root", policy="widening", alpha=0.0)
    node, depth = 0, 0
    for word in ("a", "b", "c"):
        leaves = search.ask(1)
        assert leaves.path(0) == search.path(node) == ("a", "b", "c")[:depth]
        node, depth = int(search.tell(leaves, [0.5], candidates=[word])[0]), depth + 1

    assert search.candidate(0) == "root"
    assert search.candidate(node) == "c"
    assert search.principal_variation() == ("a", "b", "c")
    assert search.nodes().candidates == ["root", "a", "b", "c"]
    assert search.children(1).candidates == ["b"]


def test_ids_stand_where_no_candidate_was_given() -> None:
    search = AdaptiveSearch()
    search.tell(search.ask(1), [0.5])

    assert search.path(1) == (1,)
    assert search.candidate(1) is None


def test_best_is_the_highest_value_or_the_most_visited_end() -> None:
    search = AdaptiveSearch(policy="widening", alpha=0.0, k=2.0, c_puct=0.0)
    assert search.best() is None
    assert search.best(by="visits") is None

    search.tell(search.ask(1), [0.4])
    search.tell(search.ask(1), [0.9])
    for value in (0.1, 0.1, 0.2):
        search.tell(search.ask(1), [value])

    assert search.best() == 2
    assert search.best(by="visits") in search.nodes().nodes[search.nodes().depths >= 2]
    with pytest.raises(ValueError, match='by must be "value" or "visits", got "luck"'):
        search.best(by="luck")  # type: ignore[arg-type]  # the point of the test


def test_root_value_counts_for_best() -> None:
    search = AdaptiveSearch("answer", root_value=0.7)
    search.tell(search.ask(1), [0.6])

    assert search.best() == 0
    assert search.num_simulations == 1
    assert search.nodes().visits.tolist() == [2, 1]


def test_exhausted_parent_is_never_asked_again() -> None:
    search = AdaptiveSearch(seed=1)
    search.tell(search.ask(2), [0.2, 0.8])
    while (leaves := search.ask(1)).parents[0] != 0:
        search.tell(leaves, [0.1])
    simulations = search.num_simulations

    made = search.tell(leaves, [math.nan], exhausted=[True])

    assert made.tolist() == [-1]
    assert (search.num_simulations, search.in_flight) == (simulations, 0)
    assert search.nodes().exhausted[0]
    assert not search.arms().is_fertile
    assert 0 not in search.ask(50).parents


def test_tree_without_any_way_to_grow_is_exhausted() -> None:
    search = AdaptiveSearch(max_depth=1)
    search.tell(search.ask(3), [0.1, 0.2, 0.3])
    search.tell(search.ask(1), [0.0], exhausted=[True])

    assert search.is_exhausted
    assert search.nodes().closed.all()
    with pytest.raises(SearchError, match="the search is exhausted after 3 simulations"):
        search.ask(1)


def test_terminal_nodes_get_no_children() -> None:
    search = AdaptiveSearch(policy="widening", k=2.0)
    search.tell(search.ask(2), [0.9, 0.1], terminal=[True, False])

    parents = [int(p) for _ in range(20) for p in search.ask(1).parents]

    assert 1 not in parents


def test_node_with_dead_ends_alone_gets_one_more_child_at_a_time() -> None:
    search = AdaptiveSearch(policy="widening", alpha=0.0, max_depth=1)
    search.tell(search.ask(1), [0.5])

    leaves = search.ask(4)

    assert (leaves.parents.tolist(), leaves.multiplicities.tolist()) == ([0], [4])


def test_advance_keeps_candidates_and_open_leaves_below() -> None:
    search = AdaptiveSearch("root", policy="widening", k=2.0, alpha=0.0)
    search.tell(search.ask(2), [0.9, 0.1], candidates=["good", "bad"])
    leaves = search.ask(6)
    below = [row for row in range(len(leaves)) if leaves.parents[row] == 1]

    kept = search.advance(1)

    assert kept.tolist() == [1]
    assert search.candidate(0) == "good"
    assert search.num_open == len(below)
    with pytest.raises(SearchError, match="it has advanced 1 times"):
        leaves.path(0)
    made = search.tell(leaves, np.full(len(leaves), 0.5), candidates=list(range(len(leaves))))
    assert (made >= 0).tolist() == [row in below for row in range(len(leaves))]
    assert search.nodes().candidates == ["good", *below]
    assert search.in_flight == 0


@pytest.mark.parametrize("options", POLICIES)
def test_save_and_load_bring_back_the_tree_without_its_open_leaves(options: dict[str, Any]) -> None:
    search = grown(options)
    data, nodes = search.to_bytes(), search.nodes()
    search.ask(5)

    loaded = AdaptiveSearch.from_bytes(search.to_bytes(), candidates=nodes.candidates)

    assert search.to_bytes() == data == loaded.to_bytes()
    assert loaded.in_flight == 0
    assert loaded.nodes().parents.tolist() == nodes.parents.tolist()
    np.testing.assert_array_equal(loaded.nodes().means, nodes.means)


def test_load_refuses_what_is_not_whole() -> None:
    data = grown({}).to_bytes()

    with pytest.raises(SearchError, match="expected the right checksum, found"):
        AdaptiveSearch.from_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(SearchError, match=r'expected "SF-ADAPT" at its beginning, found "PK'):
        AdaptiveSearch.from_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="one for each of 31 nodes, got 2"):
        AdaptiveSearch.from_bytes(data, candidates=["a", "b"])


def test_memory_limit_refuses_to_ask_and_holds() -> None:
    search = AdaptiveSearch(max_nbytes=10_000)

    with pytest.raises(SearchError, match="the tree is full: "):
        run(search, 1000, lambda *_: 0.5, batch=4)

    assert search.num_nodes > 50
    assert search.nbytes <= 10_000
    assert search.in_flight == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "best"}, 'policy must be "abmcts" or "widening", got "best"'),
        ({"rule": "ucb"}, 'rule must be "uct" or "puct", got "ucb"'),
        ({"seed": -1}, "seed must be from 0 to"),
        ({"max_depth": 0}, "max_depth must be from 1 to 65535, got 0"),
        ({"policy": "widening", "k": 0.0}, "k must be from 1e-6 to 1e9, got 0"),
        ({"policy": "widening", "alpha": 1.5}, "alpha must be from 0 to 1, got 1.5"),
        ({"policy": "widening", "c_puct": -1.0}, "c_puct must be from 0 to 1e38, got -1"),
        ({"prior": Gaussian(kappa=0.0)}, "kappa must be from 1e-3 to 1e9, got 0"),
        (
            {"prior": Gaussian(tau_square=math.nan)},
            "tau_square must be from 1e-12 to 1e38, got NaN",
        ),
        ({"prior": Beta(b=-1.0)}, "b must be from 1e-3 to 1e9, got -1"),
        ({"normalize": (1.0, 1.0)}, r"normalize must be a range .* got \(1, 1\)"),
        ({"normalize": "zscore"}, 'normalize must be "minmax", a range'),
        ({"root_value": math.inf}, "root_value must be finite"),
    ],
)
def test_arguments_outside_of_their_range_are_value_errors(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveSearch(**options)


@pytest.mark.parametrize(
    ("values", "columns", "message"),
    [
        ([0.5, math.nan], {}, "row 1: values must be finite"),
        ([0.5], {}, "values must be one for each id, got 1 for 2"),
        ([0.5, 0.5], {"terminal": [True]}, "terminal must be one for each id, got 1 for 2"),
        ([0.5, 0.5], {"candidates": ["a"]}, "candidates must be one for each id, got 1 for 2"),
        (
            [0.5, 0.5],
            {"terminal": [True, False], "exhausted": [True, False]},
            "row 0: terminal must be false where exhausted, got true",
        ),
    ],
)
def test_rows_outside_of_their_range_apply_nothing(
    values: list[float], columns: dict[str, Any], message: str
) -> None:
    search = AdaptiveSearch()
    leaves = search.ask(2)

    with pytest.raises(ValueError, match=message):
        search.tell(leaves, values, **columns)

    assert (search.num_nodes, search.in_flight, search.num_open) == (1, 2, 2)
    search.tell(leaves, [0.5, 0.5])


def test_beta_wants_values_in_its_range() -> None:
    plain = AdaptiveSearch(prior=Beta(), normalize=None)
    ranged = AdaptiveSearch(prior=Beta(), normalize=(-1.0, 1.0))

    with pytest.raises(ValueError, match="row 0: values must be from 0 to 1 with a Beta prior"):
        plain.tell(plain.ask(1), [1.5])
    with pytest.raises(ValueError, match="row 0: values must be within the range of `normalize`"):
        ranged.tell(ranged.ask(1), [1.5])


def test_ids_that_are_not_open_are_search_errors() -> None:
    search = AdaptiveSearch()
    leaves = search.ask(1)

    with pytest.raises(SearchError, match="leaf 77 was never asked for"):
        search.fail([77])
    with pytest.raises(ValueError, match="row 1: ids must be without repeats"):
        search.fail([leaves.ids[0]] * 2)
    search.fail(leaves)
    with pytest.raises(SearchError, match="is finished: it was told or failed before"):
        search.tell(leaves, [0.5])
    with pytest.raises(SearchError, match=r"node 9 is not in the tree \(it holds 1 nodes\)"):
        search.children(9)
    with pytest.raises(SearchError, match="node -1 is not in the tree"):
        search.candidate(-1)
    with pytest.raises(ValueError, match="num_simulations must be at least 1"):
        search.ask(0)
    with pytest.raises(SearchError, match="65536 simulations cannot start"):
        search.ask(65_536)
    with pytest.raises(TypeError, match="candidates must be a list, got one string"):
        search.tell(search.ask(1), [0.5], candidates="a")
