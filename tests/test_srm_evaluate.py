"""SRMEval: which steps are scored, what a pair's values are, how pairs are counted."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from similar_fast import evaluate
from similar_fast.dimensions import DIMENSIONS, Dimension, parse_types
from similar_fast.errors import DataError
from similar_fast.metrics import accuracy_intervals
from similar_fast.records import PairRecord
from similar_fast.reward.model import ScoredRows
from similar_fast.srm.evaluate import Counting, compare_evaluations, evaluate_scores
from similar_fast.srm.evaluate.data import without_tasks
from similar_fast.srm.evaluate.evaluation import cluster_of, place_of
from similar_fast.srm.evaluate.plan import plan_pairs
from similar_fast.srm.evaluate.scored import score_plan
from similar_fast.types import Scores, Step
from srm_pairs import NumberScorer, make_pair, random_pairs

FEW = Counting(num_draws=200)


def outcomes(pairs: Sequence[PairRecord], scorer: object) -> tuple[list[float], list[float]]:
    scores = score_plan(scorer, plan_pairs(pairs))  # type: ignore[arg-type]
    return scores.chosen.tolist(), scores.rejected.tolist()


def test_each_distinct_step_is_scored_once_and_states_stay_together() -> None:
    one = make_pair(Dimension.HELPFULNESS, chosen=("1 a",), rejected=("2 b",))
    other = make_pair(Dimension.TOTAL, task="2", chosen=("1 a",), rejected=("2 b",))
    again = make_pair(Dimension.EFFICIENCY, chosen=("2 b",), rejected=("3 c",))

    plan = plan_pairs([one, other, again])

    keys = [(step.instruction, step.action) for step in plan.steps]
    assert len(keys) == len(set(keys)) == 5
    assert [key[0] for key in keys] == ["Buy ticket 1"] * 3 + ["Buy ticket 2"] * 2


def test_steps_that_differ_in_any_part_are_distinct() -> None:
    pairs = [
        make_pair(),
        make_pair(instruction="Other"),
        make_pair(history=("click",)),
        make_pair(observation="a page"),
        make_pair(screenshot="a.png"),
        make_pair(screenshot="b.png"),
    ]

    plan = plan_pairs(pairs, open_screenshot=lambda name: name.encode())

    assert len(plan.steps) == 12
    pictures = [step.screenshot() for step in plan.steps if step.screenshot is not None]
    assert sorted(pictures) == [b"a.png"] * 2 + [b"b.png"] * 2
    assert len(plan_pairs(pairs).steps) == 8  # pictures that nobody opens make no difference


def test_a_coin_says_which_side_comes_first() -> None:
    pairs = [make_pair(task=str(i)) for i in range(400)]

    first = [step.action == "click Buy" for step in plan_pairs(pairs).steps[::2]]

    assert 150 < sum(first) < 250
    assert first != [step.action == "click Buy" for step in plan_pairs(pairs, seed=1).steps[::2]]


@pytest.mark.parametrize("place", range(5))
def test_a_type_reads_its_dimension_and_else_the_total(place: int) -> None:
    pair = make_pair(DIMENSIONS[place], chosen=("3 a",), rejected=("2 b",))

    assert outcomes([pair], NumberScorer(has_dims=True)) == (
        [3.0 * (place + 1)],
        [2.0 * (place + 1)],
    )
    assert outcomes([pair], NumberScorer()) == ([3.0], [2.0])


def test_total_reads_the_total() -> None:
    pair = make_pair(Dimension.TOTAL, chosen=("3 a",), rejected=("2 b",))

    assert outcomes([pair], NumberScorer(has_dims=True)) == ([3.0], [2.0])


def test_a_trajectory_is_the_mean_of_the_plain_sums_each_step_with_those_before_it() -> None:
    pair = make_pair(Dimension.TRAJECTORY, chosen=("1 a", "5 b"), rejected=("2 c",))
    scorer = NumberScorer(has_dims=True)

    chosen, rejected = outcomes([pair], scorer)

    assert (chosen, rejected) == ([15.0 * 3], [15.0 * 2])
    assert outcomes([pair], NumberScorer()) == ([3.0], [2.0])
    steps = {step.action: step.history for call in scorer.calls for step in call}
    assert steps == {"1 a": (), "5 b": ("1 a",), "2 c": ()}


@settings(max_examples=40)
@given(seed=st.integers(0, 50), batch_size=st.integers(1, 40), has_dims=st.booleans())
def test_prop_values_do_not_depend_on_batches_or_order(
    *, seed: int, batch_size: int, has_dims: bool
) -> None:
    pairs = random_pairs(seed, n=30)

    whole = score_plan(NumberScorer(has_dims=has_dims), plan_pairs(pairs), batch_size=1000)
    apart = score_plan(
        NumberScorer(has_dims=has_dims), plan_pairs(pairs, seed=seed + 1), batch_size=batch_size
    )

    np.testing.assert_array_equal(whole.chosen, apart.chosen)
    np.testing.assert_array_equal(whole.rejected, apart.rejected)
    assert whole.errors == apart.errors == {}


class Failing(NumberScorer):
    """Raises for a call that holds a bad action, and answers NaN for a worse one."""

    def score(self, steps: Sequence[Step]) -> Scores:
        if any("bad" in step.action for step in steps):
            raise RuntimeError("a bad action")
        found = super().score(steps)
        found.total[[("nan" in step.action) for step in steps]] = np.nan
        return found


def test_one_bad_item_never_fails_its_neighbours() -> None:
    pairs = random_pairs(3, n=60)
    pairs[7] = make_pair(chosen=("9 bad",), rejected=("1 x",))
    pairs[20] = make_pair(Dimension.TRAJECTORY, chosen=("9 y", "8 bad"), rejected=("1 x",))
    pairs[21] = make_pair(Dimension.COHERENCE, chosen=("9 y",), rejected=("3 nan",))
    pairs[22] = make_pair(Dimension.COHERENCE, chosen=("9 y", "8 z"), rejected=("3 q",))
    pairs[23] = make_pair(Dimension.TRAJECTORY, chosen=(), rejected=("3 q",))

    scorer = Failing()
    found = evaluate(scorer, pairs, counting=FEW, num_probe=0)

    assert found.n_invalid == 5
    assert found.overall.accuracy.n == 55
    assert found.scores.errors == {
        7: "the scorer raised RuntimeError: a bad action",
        20: "the scorer raised RuntimeError: a bad action",
        21: "the score is nan; expected a finite number",
        22: "a step pair with 2 and 1 actions; expected 1 and 1",
        23: "a trajectory without actions",
    }
    assert found.reasons()[0] == ("the scorer raised RuntimeError: a bad action", 2)
    good = [i for i in range(60) if i not in found.scores.errors]
    clean = score_plan(NumberScorer(), plan_pairs([pairs[i] for i in good]))
    np.testing.assert_array_equal(found.scores.chosen[good], clean.chosen)


def test_rows_of_a_reward_model_fail_by_row() -> None:
    class Rows(NumberScorer):
        def score_rows(self, steps: Sequence[Step]) -> ScoredRows:
            found = self.score(steps)
            bad = {i: DataError("no picture") for i, s in enumerate(steps) if "bad" in s.action}
            found.total[list(bad)] = np.nan
            return ScoredRows(found, bad, np.zeros(len(steps), np.int64))

    scorer = Rows()
    pairs = [
        make_pair(chosen=("2 a",), rejected=("1 bad",)),
        make_pair(task="2", chosen=("3 b",), rejected=("1 c",)),
    ]

    found = evaluate(scorer, pairs, counting=FEW, num_probe=0)

    assert found.scores.errors == {0: "no picture"}
    assert found.overall.micro.value == 1.0
    assert len(scorer.calls) == 1


def test_everything_that_fails_is_counted() -> None:
    pairs = [make_pair(chosen=("1 bad",), rejected=("2 bad",), task=str(i)) for i in range(3)]

    found = evaluate(Failing(), pairs, counting=FEW)

    assert (found.n_invalid, found.overall.accuracy.n) == (3, 0)
    assert math.isnan(found.overall.macro.value)
    assert found.calibration is None
    assert found.misses == ()
    assert found.position is not None
    assert (found.position.n, found.position.n_invalid) == (0, 3)
    assert found.to_dict()["overall"]["macro"]["value"] is None


def test_counts_are_those_of_the_metrics() -> None:
    pairs = random_pairs(5)
    chosen, rejected = outcomes(pairs, NumberScorer())

    found = evaluate_scores(pairs, chosen, rejected, counting=FEW)

    expected = accuracy_intervals(
        chosen,
        rejected,
        clusters=[cluster_of(pair) for pair in pairs],
        groups=[pair.type for pair in pairs],
        num_draws=200,
    )
    assert found.overall == expected
    for place, of_place in found.places.items():
        members = [i for i, pair in enumerate(pairs) if place_of(pair) == place]
        alone = evaluate_scores(
            [pairs[i] for i in members],
            [chosen[i] for i in members],
            [rejected[i] for i in members],
            counting=FEW,
        )
        assert of_place == alone.overall
    assert set(found.places) == {"shop", "shop linux"}


def test_tasks_of_one_name_in_two_places_are_two() -> None:
    pairs = [make_pair(task="3", platform=platform) for platform in ("linux", "windows")]

    found = evaluate_scores(pairs, [1, 1], [0, 0], counting=FEW)

    assert found.overall.n_clusters == 2
    assert set(found.places) == {"shop linux", "shop windows"}


@settings(max_examples=40)
@given(st.integers(0, 30), st.data())
def test_prop_swapping_the_sides_turns_each_accuracy_round(seed: int, data: st.DataObject) -> None:
    pairs = random_pairs(seed, n=40)
    columns = st.lists(st.integers(0, 5), min_size=40, max_size=40)
    chosen, rejected = data.draw(columns), data.draw(columns)

    there = evaluate_scores(pairs, chosen, rejected, counting=Counting(num_draws=20))
    back = evaluate_scores(pairs, rejected, chosen, counting=Counting(num_draws=20))

    assert there.overall.micro.value == pytest.approx(1 - back.overall.micro.value)
    assert there.overall.macro.value == pytest.approx(1 - back.overall.macro.value)
    for kind, estimate in there.overall.groups.items():
        assert estimate.value == pytest.approx(1 - back.overall.groups[kind].value)


@pytest.mark.parametrize(("ties", "value"), [("half", 0.75), ("wrong", 0.5), ("exclude", 1.0)])
def test_a_tie_is_worth_what_was_said(ties: str, value: float) -> None:
    pairs = [make_pair(), make_pair(task="2")]

    found = evaluate_scores(pairs, [1, 1], [0, 1], counting=Counting(ties=ties, num_draws=10))  # type: ignore[arg-type]

    assert found.overall.micro.value == value
    assert found.overall.accuracy.n_ties == 1


def test_calibration_of_log_odds_is_found_on_the_other_half() -> None:
    rng = np.random.default_rng(0)
    pairs = [make_pair(task=str(i % 301)) for i in range(8000)]
    odds = rng.normal(0, 2, 8000)
    is_right = rng.random(8000) < 1 / (1 + np.exp(-np.abs(odds)))
    margin = np.where(is_right, np.abs(odds), -np.abs(odds)) * 7

    found = evaluate_scores(pairs, margin, np.zeros(8000), counting=FEW).calibration

    assert found is not None
    assert found.temperatures[Dimension.TOTAL] == pytest.approx(7, rel=0.1)
    assert found.pairs.table.expected_error < 0.03
    assert found.n_fitted + found.pairs.table.n == 8000
    assert 3000 < found.n_fitted < 5000


def test_calibration_leaves_out_and_names_a_type_without_a_temperature() -> None:
    kinds = (Dimension.TOTAL, Dimension.EFFICIENCY, Dimension.COHERENCE)
    pairs = [make_pair(kind, task=str(i)) for i in range(40) for kind in kinds]
    margins = np.array([(1, -1 if i % 3 else 1, 1 if i % 3 else -1) for i in range(40)], float)

    found = evaluate_scores(pairs, margins.ravel(), np.zeros(120), counting=FEW).calibration

    assert found is not None
    assert found.left_out == (Dimension.TOTAL,)  # no pair is wrong
    assert found.temperatures[Dimension.EFFICIENCY] == math.inf  # says nothing, so a coin
    assert math.isfinite(found.temperatures[Dimension.COHERENCE])
    assert found.pairs.table.n == 40
    assert found.to_dict()["temperatures"]["E"] is None


def test_misses_are_the_worst_of_each_task_and_type_and_a_text_comes_once() -> None:
    pairs = [make_pair(task=task, rejected=(str(i),)) for i, task in enumerate("11234")]
    pairs.append(make_pair(Dimension.EFFICIENCY, task="1", rejected=("9",)))
    pairs.append(make_pair(Dimension.COHERENCE, task="1", rejected=("1",)))  # a text of the first

    found = evaluate_scores(
        pairs, [0, 0, 0, 1, float("nan"), 0, 0], [2, 3, 1, 0, 9, 100, 8], counting=FEW
    )

    assert [miss.index for miss in found.misses] == [1, 5, 2]
    assert [miss.margin for miss in found.misses] == [2.0, 1.0, pytest.approx(2 / 3)]
    assert found.misses[0].rejected == 3.0
    assert evaluate_scores(pairs, [1] * 7, [0] * 7, counting=FEW).misses == ()


def test_compare_is_first_less_second_on_the_same_draws() -> None:
    pairs = random_pairs(8)
    good = evaluate(NumberScorer(), pairs, counting=FEW)
    none = evaluate_scores(pairs, np.zeros(200), np.zeros(200), counting=FEW)

    found = compare_evaluations(pairs, good, none, counting=FEW)

    overall = found.paired.overall
    assert overall.difference.estimate.value == pytest.approx(good.overall.micro.value - 0.5)
    assert overall.first == good.overall.micro.value
    assert overall.n_first_better > overall.n_second_better
    assert overall.mcnemar.p_value < 1e-6
    assert set(found.paired.groups) == set(good.overall.groups)


def test_cost_counts_pairs_and_distinct_actions() -> None:
    pairs = [make_pair(), make_pair(Dimension.EFFICIENCY), make_pair(task="2")]
    pairs = [*pairs, make_pair(task="3", chosen=("1",), rejected=("2",))]
    told: list[tuple[int, int]] = []

    class Constant(NumberScorer):
        def score(self, steps: Sequence[Step]) -> Scores:
            return Scores(np.zeros(len(steps), np.float32))

    found = evaluate(
        Constant(), pairs, counting=FEW, batch_size=4, report=lambda *at: told.append(at)
    )

    cost = found.scores.cost
    assert cost is not None
    assert (cost.n_pairs, cost.n_actions) == (4, 6)
    assert told == [(0, 6), (4, 6), (6, 6)]
    assert cost.to_dict()["actions_per_second"] == pytest.approx(6 / cost.seconds)
    assert found.name == "Constant"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": []}, "there is no pair to evaluate"),
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"counting": Counting(ties="no")}, "no"),  # type: ignore[arg-type]
        ({"counting": Counting(num_draws=0)}, "num_draws"),
        ({"counting": Counting(level=1.5)}, "level"),
    ],
)
def test_evaluate_refuses_what_makes_no_sense(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"pairs": [make_pair(chosen=("1",), rejected=("2",))], **change}

    with pytest.raises(ValueError, match=message):
        evaluate(NumberScorer(), **given)  # type: ignore[arg-type]


def test_evaluate_scores_refuses_columns_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"are \(1,\) and \(2,\); expected \(2,\)"):
        evaluate_scores([make_pair(), make_pair()], [1], [0, 0])


def test_parse_types_reads_symbols_and_names_in_any_order() -> None:
    assert parse_types("traj, os,h") == (
        Dimension.HELPFULNESS,
        Dimension.ODDS_OF_SUCCESS,
        Dimension.TRAJECTORY,
    )
    assert parse_types("task_relevance,total") == (Dimension.TASK_RELEVANCE, Dimension.TOTAL)
    with pytest.raises(ValueError, match="'x' is no type; expected some of H, OS, E, TR, C"):
        parse_types("H,x")


def test_without_tasks_leaves_none_of_theirs() -> None:
    pairs = [make_pair(task=task) for task in ("1", "2", "3", "2")]

    kept, num_left = without_tasks(
        pairs, [make_pair(task="2"), make_pair(task="1", platform="linux")]
    )

    assert [pair.task for pair in kept] == ["1", "3"]
    assert num_left == 2


def test_answer_is_the_same_for_a_seed() -> None:
    pairs = random_pairs(11)

    first, second = (evaluate(NumberScorer(), pairs, counting=FEW).to_dict() for _ in range(2))

    first.pop("cost")
    second.pop("cost")
    assert first == second
