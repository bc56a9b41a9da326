"""Pairs of trajectories against the published counts, and pairs of states against their rules."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from published_forms import preference_csv, trajectories
from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.errors import DataError
from similar_fast.records import Labels, PairRecord, Provenance, StepRecord
from similar_fast.srm.pairs import (
    STEP_TYPES,
    pairs_of_states,
    pairs_of_trajectories,
    trajectories_of_steps,
)
from similar_fast.srm.readers import read_data
from srm_records import FIVE, step, trajectory

TYPES = ("IP", "E", "TC", "TR", "C", "total", "traj")
ORDER = (
    Dimension.ODDS_OF_SUCCESS,
    Dimension.EFFICIENCY,
    Dimension.HELPFULNESS,
    Dimension.TASK_RELEVANCE,
    Dimension.COHERENCE,
    Dimension.TOTAL,
    Dimension.TRAJECTORY,
)
# The counts that the authors printed, and those of a builder without the lost pairs.
TABLE = [
    ("osworld_linux", "eval", (47, 78, 74, 29, 33, 49, 126), (47, 78, 74, 66, 75, 101, 126)),
    ("osworld_windows", "eval", (8, 5, 7, 0, 0, 4, 21), (8, 5, 7, 0, 0, 8, 21)),
    (
        "webarena",
        "eval",
        (194, 367, 370, 54, 71, 183, 472),
        (194, 367, 370, 124, 178, 383, 472),
    ),
    (
        "webarena",
        "train",
        (286, 766, 749, 166, 82, 376, 1179),
        (286, 766, 749, 341, 185, 809, 1179),
    ),
]


def counts(pairs: list[PairRecord]) -> tuple[int, ...]:
    found = Counter(pair.type for pair in pairs)
    return tuple(found[compared_by] for compared_by in ORDER)


@pytest.mark.parametrize(("name", "split", "as_published", "mended"), TABLE)
def test_the_published_counts(
    name: str,
    split: str,
    as_published: tuple[int, ...],
    mended: tuple[int, ...],
    tmp_path: Path,
) -> None:
    found = trajectories(name, split)

    lost = list(pairs_of_trajectories(found, as_published=True))
    whole = list(pairs_of_trajectories(found))

    assert counts(lost) == as_published
    assert counts(whole) == mended
    assert all(pair.chosen_label > pair.rejected_label for pair in whole)
    for pairs in (lost, whole):
        path = tmp_path / f"{name}.csv"
        path.write_text(preference_csv(pairs), newline="")
        read = list(read_data(path))
        assert counts(read) == counts(pairs)
        assert [(p.chosen, p.rejected, p.history) for p in read] == [
            (p.chosen, p.rejected, p.history) for p in pairs
        ]


def test_pairs_stand_at_the_first_difference_and_carry_what_is_shared() -> None:
    better = replace(FIVE, efficiency=0.5)
    first = trajectory("115_1", "abc")
    second = trajectory("115_2", "axd", labels=better)

    pairs = list(pairs_of_trajectories([first, second]))

    assert [(p.type, p.chosen, p.rejected, p.step) for p in pairs] == [
        (Dimension.EFFICIENCY, ("x",), ("b",), 2),
        (Dimension.TOTAL, ("x",), ("b",), 2),
        (Dimension.TRAJECTORY, ("a", "x", "d"), ("a", "b", "c"), -1),
    ]
    assert [p.history for p in pairs] == [("a",), ("a",), ()]
    assert pairs[0].observation == "screen2"
    assert (pairs[0].chosen_trajectory, pairs[0].rejected_trajectory) == ("115_2", "115_1")
    assert (pairs[1].chosen_label, pairs[1].rejected_label) == (6.75, 1.75)
    assert (pairs[2].chosen_label, pairs[2].rejected_label) == (2.25, 1.25)


def test_as_published_loses_the_second_is_better_pairs_of_three_types() -> None:
    worse = Labels(helpfulness=0, odds_of_success=0, efficiency=-1, task_relevance=0, coherence=-1)
    first, second = trajectory("115_1", "a", labels=worse), trajectory("115_2", "b")

    lost = pairs_of_trajectories([first, second], as_published=True)
    kept = pairs_of_trajectories([second, first], as_published=True)

    assert {pair.type for pair in lost} == {*DIMENSIONS[:3], Dimension.TRAJECTORY}
    assert {pair.type for pair in kept} == set(Dimension)


def test_a_trajectory_ends_before_its_first_missing_number_in_whatever_order() -> None:
    base = trajectory("115_1", "abcd")
    gap = replace(base, steps=(base.steps[3], base.steps[1], base.steps[0]))
    headless = replace(base, trajectory="115_3", steps=base.steps[1:])
    better = trajectory("115_2", "abz", labels=replace(FIVE, coherence=1))

    pairs = list(pairs_of_trajectories([gap, headless, better]))

    assert [(p.type, p.rejected) for p in pairs] == [(Dimension.TRAJECTORY, ("a", "b"))]


@pytest.mark.parametrize("apart", [{"task": "116"}, {"split": "eval"}, {"seed": 1}])
def test_trajectories_of_different_tasks_splits_and_seeds_never_pair(
    apart: dict[str, object],
) -> None:
    first = trajectory("1", "a")
    second = trajectory("2", "b", labels=replace(FIVE, coherence=1), **apart)

    assert list(pairs_of_trajectories([first, second])) == []


def test_a_label_that_is_not_known_makes_no_pair() -> None:
    first = trajectory("1", "a", labels=Labels(coherence=1))
    second = trajectory("2", "b", labels=replace(FIVE, coherence=0))

    pairs = list(pairs_of_trajectories([first, second]))

    assert [pair.type for pair in pairs] == [Dimension.COHERENCE]


def test_steps_become_trajectories_and_keep_their_order() -> None:
    base = [trajectory("1", "abc"), trajectory("2", "xy")]
    rows = [
        StepRecord(
            environment=t.environment,
            task=t.task,
            trajectory=t.trajectory,
            step=s.step,
            instruction=t.instruction,
            action=s.action,
            labels=s.labels,
            observation=s.observation,
        )
        for t in base
        for s in t.steps
    ]

    assert trajectories_of_steps(rows) == base


def odds(value: float, **more: object) -> dict[str, object]:
    return {"labels": replace(FIVE, odds_of_success=value), **more}


def test_states_pair_what_differs_enough_and_is_another_action() -> None:
    rows = [
        step("a", **odds(0.7)),
        step("b", **odds(0.2)),
        step("c", **odds(0.6)),
        step("a", **odds(0.1)),
        step("d", **odds(0.0), state="s1"),
    ]

    pairs = list(
        pairs_of_states(rows, min_difference={Dimension.ODDS_OF_SUCCESS: 0.5, Dimension.TOTAL: 9})
    )

    assert [(p.type, p.chosen[0], p.rejected[0]) for p in pairs] == [
        (Dimension.ODDS_OF_SUCCESS, "c", "a"),
        (Dimension.ODDS_OF_SUCCESS, "a", "b"),  # 0.7 - 0.2 is a little less than 0.5
    ]
    assert all(p.chosen_label > p.rejected_label for p in pairs)


def test_rollouts_below_the_least_are_left_out_and_told_of_others() -> None:
    sure, unsure = Provenance(rollouts=12), Provenance(rollouts=4)
    rows = [
        step("a", **odds(0.9, provenance=sure)),
        step("b", **odds(0.4, provenance=sure)),
        step("c", **odds(0.1, provenance=unsure)),
        step("d", **odds(0.0)),
    ]

    pairs = [p for p in pairs_of_states(rows, min_rollouts=12) if p.type in DIMENSIONS]

    assert [(p.chosen, p.rejected) for p in pairs] == [(("a",), ("b",))]
    assert (pairs[0].chosen_rollouts, pairs[0].rejected_rollouts) == (12, 12)


def test_a_step_without_a_state_and_a_negative_number_are_refused() -> None:
    with pytest.raises(DataError, match="has no state"):
        list(pairs_of_states([step("a", state="")]))
    with pytest.raises(ValueError, match="min_difference is"):
        list(pairs_of_states([], min_difference=-1))
    with pytest.raises(ValueError, match="min_difference is"):
        list(pairs_of_states([], min_difference={Dimension.TRAJECTORY: 1}))
    with pytest.raises(ValueError, match="at least 0"):
        list(pairs_of_states([], min_rollouts=-1))


rows_of_states = st.lists(
    st.builds(
        lambda action, state, value: step(action, state=state, **odds(value)),
        st.sampled_from("abcd"),
        st.sampled_from(["s0", "s1"]),
        st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    ),
    max_size=10,
)


@given(rows_of_states, st.sampled_from([0.0, 0.25, 0.5]), st.integers(0, 4), st.randoms())
def test_pairs_of_states_hold_their_laws_in_any_order(
    rows: list[StepRecord], least: float, most: int, shuffled: random.Random
) -> None:
    pairs = list(pairs_of_states(rows, min_difference=least))
    drawn = list(pairs_of_states(rows, min_difference=least, max_pairs_per_state=most))
    again = rows.copy()
    shuffled.shuffle(again)
    states = {row.state: i for i, row in reversed(list(enumerate(rows)))}
    again.sort(key=lambda row: states[row.state])

    for pair in pairs:
        assert pair.chosen != pair.rejected
        assert pair.chosen_label > pair.rejected_label
        assert pair.chosen_label - pair.rejected_label >= least - 1e-9
        assert pair.type in STEP_TYPES
    expected = sum(
        one.action != two.action and one.labels != two.labels
        for i, one in enumerate(rows)
        for two in rows[:i]
        if one.state == two.state
        and abs(one.labels.odds_of_success - two.labels.odds_of_success) >= least
    )
    assert sum(p.type is Dimension.ODDS_OF_SUCCESS for p in pairs) == expected
    assert list(pairs_of_states(again, min_difference=least)) == pairs
    whole = Counter((p.state, p.type) for p in pairs)
    kept = Counter((p.state, p.type) for p in drawn)
    assert kept == Counter({key: min(n, most) for key, n in whole.items()}) - Counter()
    assert not Counter(map(repr, drawn)) - Counter(map(repr, pairs))
