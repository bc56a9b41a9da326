"""The labels of MCTS-P: examples computed by hand, and what must hold for any outcomes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from similar_fast.collect.labels import (
    Outcome,
    accumulated,
    efficiency,
    helpfulness,
    label_candidates,
    odds_of_success,
    reached,
    remaining_length,
)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    rollouts = draw(st.integers(1, 12))
    successes = draw(st.integers(0, rollouts))
    remaining = draw(st.integers(0, 8 * successes))
    return Outcome(rollouts, successes, remaining)


def test_first_step_by_hand() -> None:
    # M = 4; three of four rollouts reach the goal, after 2, 3 and 4 more actions.
    (labels,) = label_candidates([Outcome(4, 3, 9)], step=1, mean_length=4.0)

    assert labels.odds_of_success == 0.75
    assert labels.helpfulness == 1 / 4  # (1 - 0) / (4 - 1 + 1) * (2 * 1 - 1)
    assert labels.efficiency == (4 - 3) / 4
    assert (labels.accumulated, labels.remaining) == (1 / 4, 3.0)


def test_second_step_by_hand() -> None:
    good, bad = label_candidates(
        [Outcome(2, 2, 2), Outcome(2, 0, 0)],
        step=2,
        mean_length=4.0,
        accumulated_before=0.25,
        remaining_before=3.0,
    )

    assert good.helpfulness == pytest.approx(0.75 / 3)  # (1 - 0.25) / (4 - 2 + 1)
    assert good.efficiency == (3 - 1) / 4
    assert good.accumulated == pytest.approx(0.5)
    assert bad.helpfulness == pytest.approx(-0.75 / 3)
    assert bad.efficiency == (3 - 4) / 4  # Len is M where nothing succeeded
    assert (bad.accumulated, bad.remaining) == (0.25, 4.0)


def test_all_fail() -> None:
    labels = label_candidates([Outcome(4, 0, 0)] * 3, step=1, mean_length=2.0)

    assert {(x.odds_of_success, x.helpfulness, x.efficiency) for x in labels} == {(0.0, -0.5, 0.0)}
    assert {x.accumulated for x in labels} == {0.0}


def test_all_succeed_at_once() -> None:
    (labels,) = label_candidates([Outcome(3, 3, 0)], step=1, mean_length=1.0)

    assert (labels.helpfulness, labels.odds_of_success, labels.efficiency) == (1.0, 1.0, 1.0)
    assert (labels.accumulated, labels.remaining) == (1.0, 0.0)


def test_mean_rule_makes_twice_the_odds_less_one() -> None:
    (labels,) = label_candidates([Outcome(4, 3, 9)], step=1, mean_length=4.0, rule="mean")

    assert labels.helpfulness == pytest.approx((2 * 0.75 - 1) / 4)


def test_majority_counts_half_as_reached() -> None:
    assert [reached(odds) for odds in (0.49, 0.5, 1.0)] == [0.0, 1.0, 1.0]


def test_shared_odds_are_the_mean_of_the_siblings() -> None:
    labels = label_candidates(
        [Outcome(1, 1, 1), Outcome(1, 0, 0), Outcome(1, 0, 0), Outcome(1, 1, 2)],
        step=1,
        mean_length=2.0,
        share_odds=True,
    )

    assert [x.odds_of_success for x in labels] == [0.5] * 4


@given(st.lists(outcomes(), min_size=1, max_size=8), st.floats(0.5, 12))
def test_prop_accumulated_stays_in_the_unit_interval(
    path: list[Outcome], mean_length: float
) -> None:
    before, remaining = 0.0, mean_length
    for step, outcome in enumerate(path, 1):
        (labels,) = label_candidates(
            [outcome],
            step=step,
            mean_length=mean_length,
            accumulated_before=before,
            remaining_before=remaining,
        )

        assert before <= labels.accumulated <= 1
        assert abs(labels.helpfulness) <= 1 - before + 1e-12  # the divisor is never below 1
        before, remaining = labels.accumulated, labels.remaining


@given(st.integers(1, 12))
def test_prop_helpfulness_fills_the_task_along_a_successful_path(length: int) -> None:
    total = 0.0
    for step in range(1, length + 1):
        total = accumulated(
            total, helpfulness(step=step, mean_length=length, accumulated=total, reached=1.0)
        )

    assert total == pytest.approx(1.0)


@given(st.integers(1, 12), st.integers(1, 5))
def test_prop_efficiency_adds_up_to_one_along_a_shortest_path(length: int, rollouts: int) -> None:
    before = float(length)
    total = 0.0
    for step in range(1, length + 1):
        left = length - step
        (labels,) = label_candidates(
            [Outcome(rollouts, rollouts, rollouts * left)],
            step=step,
            mean_length=length,
            remaining_before=before,
        )
        total += labels.efficiency
        before = labels.remaining

    assert total == pytest.approx(1.0)


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_prop_odds_are_the_mean_of_outcomes(won: list[bool]) -> None:
    outcome = Outcome(len(won), sum(won), 0)

    assert odds_of_success(outcome) == pytest.approx(sum(map(float, won)) / len(won))


@given(outcomes(), st.floats(0.5, 12))
def test_prop_remaining_is_between_least_and_most_or_the_mean_length(
    outcome: Outcome, mean_length: float
) -> None:
    found = remaining_length(outcome, mean_length)

    assert found == mean_length if outcome.successes == 0 else 0 <= found <= 8


@given(st.floats(0, 20), st.floats(0, 20), st.floats(0, 20), st.floats(0.5, 12))
def test_prop_efficiency_telescopes(a: float, b: float, c: float, mean_length: float) -> None:
    parts = efficiency(before=a, after=b, mean_length=mean_length) + efficiency(
        before=b, after=c, mean_length=mean_length
    )

    assert math.isclose(parts, efficiency(before=a, after=c, mean_length=mean_length), abs_tol=1e-9)


@pytest.mark.parametrize("numbers", [(0, 0, 0), (2, 3, 0), (2, -1, 0), (2, 0, 1), (2, 1, -1)])
def test_impossible_outcome_raises(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected at least 1 rollout|sum_remaining"):
        Outcome(*numbers)


@pytest.mark.parametrize(
    "arguments",
    [
        {"step": 0, "mean_length": 1.0},
        {"step": 1, "mean_length": 0.0},
        {"step": 1, "mean_length": math.nan},
        {"step": 1, "mean_length": 1.0, "accumulated_before": 1.5},
    ],
)
def test_impossible_place_raises(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected mean_length > 0"):
        label_candidates([Outcome(1, 1, 0)], **arguments)  # type: ignore[arg-type]
