"""Baselines and the probe of positions."""

from collections.abc import Sequence

import numpy as np
import pytest
from similar_fast import evaluate
from similar_fast.baselines import LexicalScorer, RandomScorer
from similar_fast.dimensions import Dimension
from similar_fast.srm.evaluate import Counting, PairScores, evaluate_scores
from similar_fast.srm.evaluate.baselines import (
    BASELINES,
    LengthScorer,
    fit_signs,
    open_baseline,
    oracle_scores,
    signed,
)
from similar_fast.srm.evaluate.position import probe_position
from similar_fast.types import Scores, Step
from srm_pairs import FirstScorer, NumberScorer, make_pair, random_pairs

FEW = Counting(num_draws=200)


def test_oracle_reads_the_labels_and_is_right_about_all() -> None:
    pairs = [
        *random_pairs(0),
        make_pair(chosen_label=None),
        make_pair(chosen_label=-5.0, rejected_label=-6.0),
    ]

    scores = oracle_scores(pairs)
    found = evaluate_scores(pairs, scores.chosen, scores.rejected, counting=FEW)

    assert found.overall.micro.value == found.overall.macro.value == 1.0
    assert scores.chosen[-1] == -5.0


def test_oracle_shows_labels_that_contradict_the_pair() -> None:
    pairs = [make_pair(), make_pair(chosen_label=0.0, rejected_label=1.0)]

    scores = oracle_scores(pairs)

    assert (scores.chosen > scores.rejected).tolist() == [True, False]


def test_length_counts_characters() -> None:
    steps = [Step("x", (), action) for action in ("abc", " abc\n", "")]

    assert LengthScorer().score(steps).total.tolist() == [3, 3, 0]


def test_signs_are_fitted_by_type_on_train_alone() -> None:
    short, long = ("ab",), ("abcd",)
    train = [
        *(make_pair(Dimension.EFFICIENCY, chosen=short, rejected=long) for _ in range(3)),
        make_pair(Dimension.EFFICIENCY, chosen=long, rejected=short),
        make_pair(Dimension.COHERENCE, chosen=long, rejected=short),
        make_pair(Dimension.TOTAL, chosen=long, rejected=short),
        make_pair(Dimension.TOTAL, chosen=short, rejected=long),
    ]
    pairs = [
        make_pair(kind, task=task, chosen=short, rejected=long)
        for kind in (
            Dimension.EFFICIENCY,
            Dimension.COHERENCE,
            Dimension.TOTAL,
            Dimension.HELPFULNESS,
        )
        for task in "23"
    ]

    found = evaluate(LengthScorer(), pairs, counting=FEW, sign_pairs=train)

    assert found.signs == {Dimension.EFFICIENCY: -1, Dimension.COHERENCE: 1, Dimension.TOTAL: 1}
    accuracies = {kind: estimate.value for kind, estimate in found.overall.groups.items()}
    assert accuracies == {
        Dimension.EFFICIENCY: 1.0,
        Dimension.COHERENCE: 0.0,
        Dimension.TOTAL: 0.0,
        Dimension.HELPFULNESS: 0.0,  # no train pair of it, so the scores stay as they are
    }
    assert evaluate(LengthScorer(), pairs, counting=FEW).signs == {}


def test_fitted_signs_are_never_below_a_coin_on_train() -> None:
    pairs = random_pairs(2)
    rng = np.random.default_rng(0)
    scores = PairScores(rng.normal(size=200), rng.normal(size=200))

    fitted = signed(pairs, scores, fit_signs(pairs, scores))

    found = evaluate_scores(pairs, fitted.chosen, fitted.rejected, counting=FEW)
    assert all(estimate.value >= 0.5 for estimate in found.overall.groups.values())


def test_open_baseline_knows_its_names() -> None:
    assert isinstance(open_baseline("random", seed=3), RandomScorer)
    assert isinstance(open_baseline("length"), LengthScorer)
    assert isinstance(open_baseline("lexical"), LexicalScorer)
    assert set(BASELINES) == {"random", "length", "lexical", "embedding", "oracle"}
    with pytest.raises(ValueError, match="there is no baseline 'best'; expected one of random"):
        open_baseline("best")


def test_random_is_near_a_coin() -> None:
    pairs = random_pairs(4, n=3000, n_tasks=500)

    found = evaluate(RandomScorer(0), pairs, counting=FEW, num_probe=0)

    assert abs(found.overall.micro.value - 0.5) < 0.03


def test_probe_of_a_scorer_that_reads_each_step_alone_finds_nothing() -> None:
    found = probe_position(NumberScorer(), random_pairs(1), num_pairs=50)

    assert (found.n, found.n_invalid, found.n_changed) == (50, 0, 0)
    assert (found.share_first, found.max_difference) == (0.5, 0.0)


@pytest.mark.parametrize("batch_size", [2, 3, 64])
def test_probe_finds_a_scorer_that_prefers_the_first(batch_size: int) -> None:
    found = probe_position(FirstScorer(), random_pairs(1), num_pairs=50, batch_size=batch_size)

    assert (found.share_changed, found.share_first) == (1.0, 1.0)
    assert (found.n_first, found.n_second) == (100, 0)


def test_evaluation_gives_nothing_to_a_scorer_that_prefers_the_first() -> None:
    pairs = [make_pair(task=str(i), chosen=("a",), rejected=("b",)) for i in range(2000)]

    found = evaluate(FirstScorer(), pairs, counting=FEW)

    assert abs(found.overall.micro.value - 0.5) < 0.04
    assert found.position is not None
    assert found.position.share_first == 1.0


def test_probe_leaves_trajectories_out_and_counts_what_fails() -> None:
    class Bad(NumberScorer):
        def score(self, steps: Sequence[Step]) -> Scores:
            found = super().score(steps)
            found.total[[step.action.startswith("7") for step in steps]] = np.inf
            return found

    pairs = [
        make_pair(Dimension.TRAJECTORY, chosen=("1", "2"), rejected=("3",)),
        make_pair(chosen=("2",), rejected=("1",)),
        make_pair(chosen=("1",), rejected=("7",)),
        make_pair(chosen=("1",), rejected=("1 x",)),
    ]

    found = probe_position(Bad(), pairs)

    assert (found.n, found.n_invalid) == (2, 1)
    assert (found.n_first, found.n_second, found.share_first) == (1, 1, 0.5)


def test_probe_of_no_pairs_says_so() -> None:
    with pytest.raises(
        ValueError, match="num_pairs is 0 and batch_size 1; expected at least 1 and 2"
    ):
        probe_position(NumberScorer(), [], num_pairs=0, batch_size=1)
