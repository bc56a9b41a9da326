import json
from dataclasses import replace

import numpy as np
import pytest
from explained_searches import (
    POLICIES,
    WEIGHTS,
    grown_adaptive,
    grown_channels,
    grown_tree,
    searched,
)
from lock_env import BROKEN, NOTHING, LockEnv
from report_trees import make_result, small_tree
from similar_fast.baselines import ConstantScorer
from similar_fast.dimensions import DIMENSIONS
from similar_fast.search.search import Search
from similar_fast.tree.endings import rank_endings
from similar_fast.tree.explain import explain, explain_steps
from similar_fast.tree.explanation import Explanation
from similar_fast.tree.search import TreeSearch
from similar_fast.types import Action

EVER = 2**40


@pytest.mark.parametrize("policy", ["puct", "uct", "gumbel", "best_first", "beam"])
@pytest.mark.parametrize("num_simulations", [0, 1, 7, 40])
def test_explain_tree_tells_the_numbers_of_the_tree(policy: str, num_simulations: int) -> None:
    search = grown_tree(num_simulations, policy=policy)
    edges = search.children()

    why = explain(search)

    assert why.chosen is not None
    assert why.runner_up is not None
    assert why.chosen.id == search.best_action()
    assert why.chosen.name == "ab"[search.best_action()]
    assert why.policy == policy
    assert why.num_simulations == search.num_simulations
    assert why.is_exhausted == search.is_exhausted
    for option in (why.chosen, why.runner_up):
        assert option.visits == edges.visits[option.id]
        assert option.value == edges.values[option.id]
        assert option.prior == edges.priors[option.id]
        assert option.share == pytest.approx(option.visits / max(1, edges.visits.sum()))
    unvisited = [name for name, visits in zip("ab", edges.visits, strict=True) if not visits]
    assert list(why.unvisited) == unvisited


@pytest.mark.parametrize("policy", ["puct", "uct"])
@pytest.mark.parametrize("num_simulations", [1, 5, 12, 40])
def test_explain_puct_says_when_another_could_be_chosen(policy: str, num_simulations: int) -> None:
    search = grown_tree(num_simulations, policy=policy, depth=8)

    why = explain(search)

    assert why.overtaken_after is not None
    assert all(search.is_decided(n) for n in range(why.overtaken_after))
    assert not search.is_decided(why.overtaken_after)
    count = "1 more simulation" if why.overtaken_after == 1 else f"{why.overtaken_after} more"
    assert f"It takes at least {count}" in str(why)


def test_explain_puct_the_least_number_of_simulations_can_be_enough() -> None:
    search = TreeSearch(["old", "new"], normalize=None, c_puct=0.0)
    search.tell(search.ask_edge(0, 0), [0.5], terminal=[True])
    search.ask(2)
    search.tell(search.ask_edge(0, 1), [1.0], terminal=[True])
    before = explain(search)

    search.ask(before.overtaken_after or 0)

    after = explain(search)
    assert before.chosen is not None
    assert after.chosen is not None
    assert (before.chosen.name, before.overtaken_after, after.chosen.name) == ("old", 2, "new")


@pytest.mark.parametrize("policy", ["best_first", "beam"])
def test_explain_best_first_is_decided_when_it_is_through(policy: str) -> None:
    midway, through = grown_tree(3, policy=policy), grown_tree(10_000, policy=policy)

    assert explain(midway).overtaken_after == 1
    assert "the next simulation may change it" in str(explain(midway))
    assert not midway.is_decided(1)
    assert through.is_exhausted
    assert explain(through).is_decided
    assert through.is_decided(EVER)
    assert "more simulations would find nothing new" in str(explain(through))
    assert ("within the beam" in str(explain(through))) == (policy == "beam")


def test_explain_solved_tree_is_decided() -> None:
    search = TreeSearch(["lose", "win"], solve=True, normalize=None)
    for edge in (0, 1):
        search.tell(search.ask_edge(0, edge), [float(edge)], terminal=[True])

    why = explain(search)

    assert why.is_decided
    assert search.is_decided(EVER)
    assert "exact value 1" in str(why)
    assert "an exact value above that of the most visited one goes first" in str(why)


def test_explain_exhausted_puct_may_still_shift_its_visits() -> None:
    search = grown_tree(10_000, depth=2, policy="puct")

    why = explain(search)

    assert search.is_exhausted
    assert why.overtaken_after is not None
    assert not search.is_decided(why.overtaken_after)
    assert "Nothing new is left to visit. It takes at least" in str(why)


def test_explain_one_candidate_has_no_runner_up() -> None:
    search = TreeSearch(["only"])
    search.tell(search.ask(1), [0.5])

    why = explain(search)

    assert why.runner_up is None
    assert why.is_decided
    assert "the only candidate" in str(why)
    assert "There is no other candidate here." in str(why)


def test_explain_channels_tells_the_dimensions_and_what_they_weigh() -> None:
    search = grown_channels()
    told = search.told()

    why = explain(search)

    assert why.dim_names == tuple(DIMENSIONS)
    assert why.chosen is not None
    assert why.runner_up is not None
    assert why.chosen.dims == tuple(told[why.chosen.id].tolist())
    assert why.chosen.score == pytest.approx(np.dot(told[why.chosen.id], WEIGHTS), rel=1e-6)
    for dimension, mine, theirs in zip(
        DIMENSIONS, told[why.chosen.id], told[why.runner_up.id], strict=True
    ):
        assert (dimension in why.higher_in) == (mine > theirs)
        assert (dimension in why.lower_in) == (mine < theirs)
        assert f"{dimension} ({float(mine) - float(theirs):+.4g})" in str(why)


def test_explain_after_reweight_tells_the_new_values() -> None:
    search = grown_channels()
    search.reweight((0.0, 0.0, 0.0, 0.0, 1.0))

    why = explain(search)

    assert why.chosen is not None
    assert why.chosen.dims is not None
    assert why.chosen.score == pytest.approx(why.chosen.dims[4])
    assert why.chosen.value == search.children().values[why.chosen.id]


def test_explain_without_channels_knows_no_score() -> None:
    why = explain(grown_tree())

    assert why.chosen is not None
    assert (why.chosen.score, why.chosen.dims, why.dim_names) == (None, None, ())
    assert "score" not in str(why)


@pytest.mark.parametrize("policy", ["abmcts", "widening"])
def test_explain_adaptive_by_value_names_the_best_node(policy: str) -> None:
    search = grown_adaptive(policy=policy)
    values = search.nodes().values

    why = explain(search)

    first, second = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:2]
    assert why.chosen is not None
    assert why.runner_up is not None
    assert (why.chosen.id, why.runner_up.id) == (first, second)
    assert why.chosen.id == search.best()
    assert why.chosen.score == values[first]
    assert why.chosen.name == search.candidate(int(first))
    assert why.num_options == np.isfinite(values).sum()
    assert why.policy == policy
    assert why.overtaken_after == 1
    assert f"one of {why.num_options} nodes with a value" in str(why)


@pytest.mark.parametrize("policy", ["abmcts", "widening"])
def test_explain_adaptive_by_visits_names_the_most_visited_child(policy: str) -> None:
    search = grown_adaptive(policy=policy)
    children = search.children()

    why = explain(search, by="visits")

    assert why.chosen is not None
    assert why.chosen.name == search.principal_variation()[0]
    assert why.chosen.visits == children.visits.max()
    if why.runner_up is not None:
        assert why.overtaken_after == max(1, why.chosen.visits - why.runner_up.visits)
        assert why.runner_up.visits == sorted(children.visits)[-2]


def test_explain_exhausted_adaptive_is_decided() -> None:
    search = grown_adaptive(3)
    while not search.is_exhausted:
        leaves = search.ask(1)
        search.tell(leaves, [0.0], exhausted=[True])

    assert explain(search).is_decided
    assert explain(search, by="visits").is_exhausted


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("commit", ["ending", "visits"])
def test_explain_result_tells_every_committed_step(policy: str, commit: str) -> None:
    result = searched(policy, commit=commit)

    steps = explain_steps(result)

    assert len(steps) == len(result.actions) > 0
    for step, (why, action, score) in enumerate(
        zip(steps, result.actions, result.scores, strict=True)
    ):
        assert why == explain(result, step=step)
        assert why.chosen is not None
        node = result.nodes[why.chosen.id]
        siblings = [it for it in result.nodes if it.parent == node.parent]
        assert why.chosen.name == str(action)
        assert (why.chosen.score, why.chosen.dims) == (score.total, score.dims)
        assert (why.chosen.visits, why.chosen.value) == (node.visits, node.value)
        assert why.num_options == len(siblings)
        assert len(why.unvisited) == sum(not it.visits for it in siblings)
        assert why.decided_by == result.committed_by
        assert why.runner_up is not None
        assert result.nodes[why.runner_up.id].parent == node.parent
        assert why.runner_up.id != why.chosen.id


@pytest.mark.parametrize("policy", POLICIES)
def test_explain_result_compares_the_endings_behind(policy: str) -> None:
    result = searched(policy, greedy_margin=0.0)
    ranked = rank_endings(result)

    why = explain(result)

    assert why.chosen is not None
    assert why.runner_up is not None
    first = str(result.actions[0])
    others = [ending for ending in ranked if ending.actions[0] != first]
    assert why.num_endings == len(ranked)
    assert why.chosen.ending == ranked[0]
    assert why.runner_up.ending == (others[0] if others else None)
    assert f"the best of {len(ranked)} endings is committed" in str(why)
    assert f"It leads to an ending worth {ranked[0].total:.4g}." in str(why)
    if others:
        assert f"through another candidate is worth {others[0].total:.4g}." in str(why)
        assert why.runner_up.name == others[0].actions[0]
    else:
        assert "No explored path through another candidate ended its episode." in str(why)


def test_explain_result_names_the_greedy_favour() -> None:
    result = searched(greedy_margin=1.0)

    why = explain(result)

    low, high = result.score_range
    assert why.chosen is not None
    assert why.chosen.ending is not None
    assert why.chosen.ending.bonus == high - low
    assert "the greedy ending is favoured by 1 of the range of scores" in str(why)
    assert f"and {high - low:.4g} as the greedy one" in str(why)
    assert "favoured" not in str(explain(searched("abmcts", greedy_margin=1.0)))


def test_explain_result_names_what_a_new_ending_must_beat() -> None:
    result = searched(num_simulations=12)
    more = searched(num_simulations=40)

    why = explain(result)

    assert why.to_beat == rank_endings(result)[0].total
    assert f"a new ending worth more than {why.to_beat:.4g}" in str(why)
    if more.actions != result.actions:
        assert rank_endings(more)[0].total >= why.to_beat


def test_explain_result_without_an_ending_says_so() -> None:
    result = Search(ConstantScorer(), num_simulations=2, budget=2).run(LockEnv(), "hard", seed=7)

    why = explain(result)

    assert result.committed_by == "visits"
    assert why.num_endings == 0
    assert why.to_beat is None
    assert "no ending was reached, so the most visited path is committed" in str(why)
    assert "the next simulation may change it" in str(why)


def test_explain_result_ranks_what_leads_nowhere_last() -> None:
    result = Search(
        ConstantScorer(), num_simulations=60, policy="puct", max_depth=2, commit="visits"
    ).run(LockEnv(), "hard", seed=7)

    why = explain(result)

    closed = {it.action for it in result.nodes if it.is_closed and it.parent == 0}
    assert closed == {str(NOTHING), str(BROKEN)}
    assert why.runner_up is not None
    assert why.runner_up.name not in closed


@pytest.mark.parametrize(
    ("settings", "stopped_by", "words"),
    [
        ({"num_simulations": 5}, "simulations", "its simulations were spent (num_simulations)"),
        ({"budget": 9}, "budget", "its environment steps were spent (budget)"),
        ({"max_seconds": 0.0}, "seconds", "its time was spent (max_seconds)"),
        ({"max_scorer_calls": 1}, "scorer calls", "its scorer calls were spent"),
        ({"policy": "best_first", "num_simulations": 999}, "exhausted", "nothing was left"),
    ],
)
def test_explain_result_says_what_stopped_the_search(
    settings: dict[str, object], stopped_by: str, words: str
) -> None:
    result = searched(**{"policy": "puct", **settings})

    why = explain(result)

    assert result.stopped_by == why.stopped_by == stopped_by
    assert why.is_exhausted == (stopped_by == "exhausted")
    assert why.is_decided == (stopped_by == "exhausted")
    assert words in str(why)
    assert f"stopped after {result.num_simulations} simulations" in str(why)


def test_explain_result_of_a_decided_search_compares_with_its_full_run() -> None:
    settings = {"commit": "visits", "solve": False, "c_puct": 0.1, "num_simulations": 60}
    early = searched(**settings)
    full = searched(early_stop=False, **settings)

    why = explain(early)

    assert early.stopped_by == "decided"
    assert early.num_simulations < full.num_simulations == 60
    assert early.actions[0] == full.actions[0]
    assert "what was left of its simulations could not change the first action" in str(why)
    assert "Rule: the most visited path is committed; of equals the highest value." in str(why)
    assert why.overtaken_after == 1


def test_explain_result_that_commits_nothing_says_so() -> None:
    class Empty(LockEnv):
        def candidates(self) -> tuple[()]:
            return ()

    result = Search(ConstantScorer()).run(Empty(), "hard", seed=7)

    why = explain(result)

    assert why.chosen is None
    assert why.is_decided
    assert str(why) == (
        "Nothing was chosen: there is no candidate.\nThe search, by policy gumbel, stopped "
        "after 0 simulations: the first screen has no candidates."
    )


def test_explain_result_says_whether_anything_was_visited() -> None:
    class Stuck(LockEnv):
        def candidates(self) -> tuple[Action, ...]:
            return (BROKEN, NOTHING)

    visited, unvisited = (
        Search(ConstantScorer(), num_simulations=1, budget=budget).run(Stuck(), "hard", seed=7)
        for budget in (8, 0)
    )

    assert visited.actions == unvisited.actions == ()
    assert "Nothing was chosen: every candidate that was visited leads nowhere." in str(
        explain(visited)
    )
    assert "Nothing was chosen: no candidate was visited." in str(explain(unvisited))


@pytest.mark.parametrize("source", [grown_tree(), grown_channels(), grown_adaptive(), searched()])
def test_to_dict_is_json_and_holds_the_sentences(source: object) -> None:
    why = explain(source)  # type: ignore[arg-type]

    document = json.loads(json.dumps(why.to_dict(), allow_nan=False))

    assert document["sentences"] == str(why).split("\n")
    assert document["chosen"]["visits"] == why.chosen.visits  # type: ignore[union-attr]
    assert document["higher_in"] == list(why.higher_in)
    assert document["is_decided"] == why.is_decided
    assert [it["name"] for it in document["differences"]] == [it.name for it in why.differences]


def test_to_dict_names_no_number_that_json_lacks() -> None:
    why = explain(replace(make_result(small_tree()), score_range=(0.0, 1.0)))
    odd = replace(why, greedy_margin=float("nan"), to_beat=float("inf"))

    assert odd.to_dict()["greedy_margin"] is None
    assert odd.to_dict()["to_beat"] is None


def test_differences_are_chosen_less_runner_up() -> None:
    why = explain(make_result(small_tree()))

    amounts = {it.name: it.amount for it in why.differences}
    assert amounts["visits"] == 3
    assert amounts["value"] == pytest.approx(0.75 - 0.3125)
    assert amounts["prior"] == 0.25
    assert all(amounts[dimension] == 0 for dimension in DIMENSIONS)
    assert set(why.higher_in) == {"visits", "value", "prior", "score"}
    assert why.lower_in == ()


def test_sentences_clip_long_and_broken_names() -> None:
    why = explain(TreeSearch(["a\nb" * 200, "c"]))

    (line,) = (it for it in why.sentences if it.startswith("Chosen: "))

    assert "\n" not in str(line)
    assert len(line) < 180
    assert "..., one of 2 candidates." in line


def test_sentences_tell_the_share_of_visits_and_of_which() -> None:
    step, node = explain(make_result(small_tree()), step=1), explain(grown_adaptive())

    assert step.chosen is not None
    assert node.chosen is not None
    assert step.chosen.share == 4 / 5
    assert "It has 4 visits (80% of those here), value 0.875" in str(step)
    assert node.chosen.share == node.chosen.visits / 30
    assert f"({node.chosen.visits / 30:.0%} of all)" in str(node)


def test_sentences_list_at_most_five_unvisited() -> None:
    why = explain(TreeSearch([f"c{i}" for i in range(9)]))

    (line,) = (it for it in why.sentences if it.startswith("Never visited"))

    assert line == "Never visited: 9 of 9 candidates: c0; c1; c2; c3; c4; and 4 more."


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: explain(3), TypeError, "expected a TreeSearch, .* got int"),  # type: ignore[arg-type]
        (lambda: explain(grown_tree(), step=1), ValueError, "step must be 0"),
        (lambda: explain(searched(), step=99), ValueError, r"step must be in \[0, .*got 99"),
        (lambda: explain(searched(), step=-1), ValueError, "step must be in"),
        (lambda: explain(make_result()), ValueError, "no nodes"),
        (lambda: explain(grown_adaptive(), by="age"), ValueError, "by must be"),  # type: ignore[arg-type]
        (
            lambda: explain(make_result(small_tree()[:1]), step=1),
            ValueError,
            "the nodes mark 1 committed steps",
        ),
    ],
)
def test_explain_of_what_is_not_there_raises(
    call: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]


def test_explanation_is_equal_where_its_facts_are() -> None:
    assert explain(grown_tree()) == explain(grown_tree())
    assert isinstance(explain(grown_tree()), Explanation)
