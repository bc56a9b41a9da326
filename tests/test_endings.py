from dataclasses import replace

import pytest
from explained_searches import POLICIES, WEIGHTS, DimensionScorer, searched
from lock_env import LockEnv
from similar_fast.baselines import ConstantScorer
from similar_fast.errors import ScorerError
from similar_fast.search.search import Search
from similar_fast.tree.endings import rank_endings, rerank
from similar_fast.types import SearchResult


def whole(**settings: object) -> SearchResult:
    """A search that has visited all there is, without favour to any ending."""
    given = {"num_simulations": 100_000, "max_depth": 3, "greedy_margin": 0.0, **settings}
    return Search(DimensionScorer(), policy="best_first", **given).run(LockEnv(), "hard", seed=7)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("ending_value", ["mean", "last"])
def test_rank_endings_puts_the_committed_one_first(policy: str, ending_value: str) -> None:
    result = searched(policy, ending_value=ending_value)

    ranked = rank_endings(result)

    assert result.committed_by == "ending"
    assert ranked[0].is_committed
    assert ranked[0].actions == tuple(str(action) for action in result.actions)
    totals = [score.total for score in result.scores]
    worth = totals[-1] if ending_value == "last" else sum(totals) / len(totals)
    assert ranked[0].value == pytest.approx(worth)
    assert [e.total for e in ranked] == sorted((e.total for e in ranked), reverse=True)
    assert len(ranked) == sum(node.is_done for node in result.nodes)
    assert sum(ending.is_committed for ending in ranked) == 1


def test_rank_endings_favours_the_greedy_one_alone() -> None:
    result = searched(greedy_margin=0.5)
    low, high = result.score_range

    ranked = rank_endings(result)

    assert {ending.bonus for ending in ranked} == {0.0, 0.5 * (high - low)}
    (greedy,) = (ending for ending in ranked if ending.bonus)
    assert result.nodes[greedy.node].is_greedy


def test_rerank_by_the_scorers_own_weights_changes_nothing() -> None:
    result = searched(greedy_margin=0.2)

    again = rerank(result, WEIGHTS)

    assert [e.node for e in again] == [e.node for e in rank_endings(result)]
    for before, after in zip(rank_endings(result), again, strict=True):
        assert after.value == pytest.approx(before.value, abs=1e-5)
        assert after.bonus == pytest.approx(before.bonus, abs=1e-5)


@pytest.mark.parametrize(
    "weights", [(1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0, 2.0), (-1.0, 0.5, 0.0, 0.0, 0.0)]
)
@pytest.mark.parametrize("ending_value", ["mean", "last"])
def test_rerank_finds_what_a_search_by_these_weights_commits(
    weights: tuple[float, ...], ending_value: str
) -> None:
    found = whole(ending_value=ending_value)
    searched_so = whole(ending_value=ending_value, weights=weights)

    best = rerank(found, weights)[0]

    assert found.stopped_by == searched_so.stopped_by == "exhausted"
    assert best.actions == tuple(str(action) for action in searched_so.actions)
    assert best.actions != tuple(str(action) for action in found.actions)
    totals = [score.total for score in searched_so.scores]
    worth = totals[-1] if ending_value == "last" else sum(totals) / len(totals)
    assert best.value == pytest.approx(worth, abs=1e-5)


def test_rerank_calls_no_scorer() -> None:
    scorer = DimensionScorer()
    result = Search(scorer, num_simulations=30).run(LockEnv(), "hard", seed=7)
    calls = scorer.calls

    rerank(result, (1.0, 2.0, 3.0, 4.0, 5.0))

    assert scorer.calls == calls == result.scorer_calls


def test_rerank_without_dimensions_raises_scorer_error() -> None:
    result = Search(ConstantScorer(), num_simulations=30).run(LockEnv(), "hard", seed=7)

    with pytest.raises(ScorerError, match="no dimensions"):
        rerank(result, WEIGHTS)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 3.0, 4.0, float("nan")), ()])
def test_rerank_with_bad_weights_raises_value_error(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weights must be 5 finite numbers"):
        rerank(searched(), weights)


@pytest.mark.parametrize("margin", [-0.1, float("nan"), float("inf")])
def test_rerank_with_a_bad_margin_raises_value_error(margin: float) -> None:
    with pytest.raises(ValueError, match="greedy_margin must be finite"):
        rerank(searched(), WEIGHTS, greedy_margin=margin)


def test_rank_endings_of_a_result_without_nodes_raises_value_error() -> None:
    with pytest.raises(ValueError, match="no nodes"):
        rank_endings(replace(searched(), nodes=()))


def test_rank_endings_where_nothing_ended_is_empty() -> None:
    result = Search(ConstantScorer(), num_simulations=1).run(LockEnv(), "hard", seed=7)

    assert rank_endings(result) == ()
