"""Rows and pairs of training data, what a batch sees of them, and the shuffled control."""

from dataclasses import replace
from functools import partial
from itertools import islice

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from similar_fast.dimensions import Dimension
from similar_fast.models.heads import LABEL_SCALES
from similar_fast.records import (
    Labels,
    PairRecord,
    Provenance,
    Record,
    StepRecord,
    TrajectoryRecord,
    TrajectoryStep,
)
from similar_fast.train.data import PairSettings, TrainingSet, training_set
from similar_fast.train.measures import typed_pairs
from similar_fast.train.sampling import Sampler, SamplingSettings
from similar_fast.train.shuffling import shuffled
from train_data import clicks

SCALES = np.array(LABEL_SCALES)
few = settings(max_examples=40)
ALL = PairSettings(min_difference=1e-9, min_rollouts=0, max_per_state=None)

grid = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
maybe = grid | st.none()
labels = st.builds(
    Labels,
    helpfulness=maybe,
    odds_of_success=maybe,
    efficiency=maybe,
    task_relevance=maybe,
    coherence=maybe,
)
known = st.builds(Labels, **dict.fromkeys(Labels.__struct_fields__, grid))
names = st.sampled_from("ab")
steps = st.builds(
    StepRecord,
    environment=st.just("toy"),
    task=names,
    trajectory=names,
    step=st.integers(1, 2),
    instruction=names,
    action=st.sampled_from("abcdef"),
    labels=known | labels,
    history=st.lists(names, max_size=1).map(tuple),
    state=names,
    is_scaled=st.booleans(),
    is_final=st.booleans() | st.none(),
    provenance=st.builds(Provenance, rollouts=st.integers(0, 5) | st.none()),
)
trajectories = st.builds(
    TrajectoryRecord,
    environment=st.just("toy"),
    task=names,
    trajectory=names,
    instruction=names,
    steps=st.lists(
        st.builds(TrajectoryStep, step=st.integers(1, 5), action=names, labels=labels), max_size=4
    ).map(tuple),
    is_scaled=st.booleans(),
)
pairs = st.builds(
    PairRecord,
    environment=st.just("toy"),
    task=names,
    type=st.sampled_from(list(Dimension)),
    instruction=names,
    chosen=st.lists(names, min_size=1, max_size=2).map(tuple),
    rejected=st.just(("z",)),
    step=st.integers(1, 2),
    state=names,
)
records = st.lists(steps | trajectories | pairs, max_size=12)


def step(action: str, odds: float | None = 1.0, **changes: object) -> StepRecord:
    values = dict.fromkeys(Labels.__struct_fields__, odds)
    record = StepRecord(
        environment="toy",
        task="t",
        trajectory="e",
        step=1,
        instruction="i",
        action=action,
        labels=Labels(**values),
        state="s",
        provenance=Provenance(rollouts=4),
    )
    return msgspec.structs.replace(record, **changes)


def pair(chosen: str, rejected: str, **changes: object) -> PairRecord:
    record = PairRecord(
        environment="toy",
        task="t",
        type=Dimension.TOTAL,
        instruction="i",
        chosen=tuple(chosen),
        rejected=(rejected,),
        step=1,
        state="s",
    )
    return msgspec.structs.replace(record, **changes)


def texts(rows: TrainingSet) -> list[tuple[str, str]]:
    """The actions of each pair."""
    return [(rows.steps[a].action, rows.steps[b].action) for a, b in rows.pairs.tolist()]


def count_steps(found: list[Record]) -> int:
    return sum(
        len(r.steps) if isinstance(r, TrajectoryRecord) else isinstance(r, StepRecord)
        for r in found
    )


@few
@given(records)
def test_every_labelled_step_is_a_row_with_its_labels_in_their_units(found: list[Record]) -> None:
    rows = training_set(found)

    expected: list[np.ndarray] = []
    for record in found:
        if isinstance(record, PairRecord):
            continue
        for labelled in record.steps if isinstance(record, TrajectoryRecord) else [record]:
            values = np.array(labelled.labels.values())
            expected.append(values / SCALES if record.is_scaled else values)
    num_labelled = count_steps(found)
    np.testing.assert_allclose(rows.labels[:num_labelled], np.reshape(expected, (-1, 5)))
    assert np.isnan(rows.labels[num_labelled:]).all()
    assert ((rows.weights > 0) & (rows.weights <= 1)).all()
    columns = (rows.labels, rows.weights, rows.tasks, rows.episodes, rows.states, rows.is_final)
    assert {len(column) for column in columns} == {len(rows)}


@few
@given(records, st.sampled_from([0.0, 1.0, 4.0]), st.integers(0, 5))
def test_pairs_are_of_one_state_or_of_endings_and_differ_enough(
    found: list[Record], min_difference: float, min_rollouts: int
) -> None:
    by = PairSettings(min_difference=min_difference + 1e-9, min_rollouts=min_rollouts)

    rows = training_set(found, compared_by=by)

    totals = rows.labels @ SCALES
    given_pairs = sum(
        isinstance(r, PairRecord) and r.type is not Dimension.TRAJECTORY and len(r.chosen) == 1
        for r in found
    )
    assert len(rows.pair_types) == len(rows.pair_weights) == len(rows.pairs)
    assert given_pairs + rows.num_left_out == sum(isinstance(r, PairRecord) for r in found)
    for better, worse in rows.pairs[:given_pairs].tolist():
        assert rows.states[better] == rows.states[worse]
    for (better, worse), weight in zip(
        rows.pairs[given_pairs:].tolist(), rows.pair_weights[given_pairs:].tolist(), strict=True
    ):
        assert totals[better] - totals[worse] >= min_difference
        assert weight == min(rows.weights[[better, worse]])
        assert rows.rollouts[[better, worse]].min() >= min_rollouts
        if rows.states[better] != rows.states[worse]:
            assert rows.is_final[[better, worse]].all()
            assert rows.episodes[better] == rows.episodes[worse]
            assert rows.labels[better, 1] > rows.labels[worse, 1]


@few
@given(st.lists(steps, max_size=10))
def test_no_pair_is_missed(found: list[StepRecord]) -> None:
    rows = training_set(found, compared_by=replace(ALL, across_endings=False))

    totals = rows.labels @ SCALES
    expected = {
        (a, b)
        for a in range(len(rows))
        for b in range(len(rows))
        if rows.states[a] == rows.states[b]
        and rows.steps[a].action != rows.steps[b].action
        and totals[a] - totals[b] >= ALL.min_difference
    }
    assert {tuple(pair) for pair in rows.pairs.tolist()} == expected


@few
@given(st.lists(steps, max_size=10))
def test_steps_of_one_state_differ_in_their_action_alone(found: list[StepRecord]) -> None:
    rows = training_set(found)

    for state in set(rows.states.tolist()):
        members = [rows.steps[i] for i in np.flatnonzero(rows.states == state)]
        assert len({(s.instruction, s.observation, s.history) for s in members}) == 1
        assert len({rows.episodes[i] for i in np.flatnonzero(rows.states == state)}) == 1


@few
@given(records, st.data())
def test_rows_keeps_the_pairs_right(found: list[Record], data: st.DataObject) -> None:
    rows = training_set(found, compared_by=ALL)
    keep = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), bool
    )

    part = rows.rows(keep)

    def told(of: TrainingSet, pairs: np.ndarray) -> list[tuple[object, ...]]:
        return [tuple((of.steps[i], of.states[i]) for i in pair) for pair in pairs.tolist()]

    stays = keep[rows.pairs].all(axis=1)
    assert told(part, part.pairs) == told(rows, rows.pairs[stays])
    assert part.pair_types == tuple(np.array(rows.pair_types, object)[stays])
    np.testing.assert_array_equal(part.pair_weights, rows.pair_weights[stays])
    np.testing.assert_array_equal(part.labels, rows.labels[keep])


def test_least_rollouts_above_those_that_count_whole_are_kept_to() -> None:
    found = [
        step("good", provenance=Provenance(rollouts=8)),
        step("bad", 0.0, provenance=Provenance(rollouts=6)),
        step("seen five times", 0.0, provenance=Provenance(rollouts=5)),
    ]

    rows = training_set(found, compared_by=PairSettings(min_rollouts=6))

    assert texts(rows) == [("good", "bad")]
    assert rows.rollouts.tolist() == [8, 6, 5]
    assert rows.weights.tolist() == [1, 1, 1]


def test_least_difference_and_least_rollouts_are_kept_to() -> None:
    few = Provenance(rollouts=1)
    found = [
        step("good"),
        step("fair", 0.8),
        step("bad", 0.0),
        step("seen once", 0.0, provenance=few),
        step("ended", 0.0, provenance=few, is_final=True),
    ]

    rows = training_set(found, compared_by=PairSettings(min_difference=3.5, min_rollouts=2))

    assert texts(rows) == [
        ("good", "bad"),
        ("good", "ended"),
        ("fair", "bad"),
        ("fair", "ended"),
    ]
    assert rows.weights.tolist() == [1, 1, 1, 0.25, 1]


def test_greatest_differences_of_a_state_are_kept() -> None:
    found = [step(str(i), i / 8) for i in range(9)]

    rows = training_set(found, compared_by=PairSettings(max_per_state=3))

    assert texts(rows) == [("8", "0"), ("7", "0"), ("8", "1")]


def test_endings_are_compared_across_states_success_with_failure() -> None:
    found = [
        step("won", 1.0, step=2, state="b", is_final=True),
        step("lost", 0.0, is_final=True),
        step("went on", 0.0),
        step("lost elsewhere", 0.0, trajectory="other", is_final=True),
        step("won too", 1.0, step=3, state="c", is_final=True),
    ]

    assert texts(training_set(found)) == [("won", "lost"), ("won too", "lost")]
    assert not texts(training_set(found, compared_by=PairSettings(across_endings=False)))
    one_state = [step("won", 1.0, is_final=True), step("lost", 0.0, is_final=True)]
    assert texts(training_set(one_state)) == [("won", "lost")]


def test_label_that_is_not_known_stays_unknown_and_makes_no_pair() -> None:
    partial_labels = Labels(odds_of_success=1.0)

    rows = training_set([step("a", labels=partial_labels), step("b", 0.0)])

    np.testing.assert_array_equal(rows.labels[0], [np.nan, 1, np.nan, np.nan, np.nan])
    assert not len(rows.pairs)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_given_pair_takes_labelled_rows_wherever_they_stand(order: slice) -> None:
    found: list[Record] = [step("a"), step("b", 0.5), pair("b", "a", type=Dimension.COHERENCE)]

    rows = training_set(found[order], compared_by=PairSettings(min_difference=99))

    assert len(rows) == 2
    assert texts(rows) == [("b", "a")]
    assert rows.pair_types == (Dimension.COHERENCE,)


def test_given_pair_of_two_states_becomes_a_state_of_its_own() -> None:
    """As in published data, where the two actions are of two trajectories."""
    found = [step("a", trajectory="1"), step("b", trajectory="2"), pair("a", "b"), pair("a", "b")]

    rows = training_set(found)

    assert len(rows) == 4
    assert rows.pairs.tolist() == [[2, 3], [2, 3]]
    assert rows.states[2] == rows.states[3] not in rows.states[:2].tolist()
    assert np.isnan(rows.labels[2:]).all()


def test_trajectory_becomes_steps_with_a_growing_history() -> None:
    record = TrajectoryRecord(
        environment="toy",
        task="t",
        trajectory="e",
        instruction="i",
        steps=tuple(
            TrajectoryStep(step=i, action=a, labels=Labels(efficiency=5.0), screenshot=f"{i}.png")
            for i, a in ((1, "a"), (3, "b"))
        ),
        is_scaled=True,
    )

    rows = training_set([record], open_screenshot=partial(partial, str.encode))

    assert [s.history for s in rows.steps] == [(), ("a",)]
    assert rows.labels[:, 2].tolist() == [1, 1]
    assert [s.screenshot() for s in rows.steps if s.screenshot] == [b"1.png", b"3.png"]
    assert all(s.screenshot is None for s in training_set([record]).steps)


def test_trajectories_that_begin_alike_share_their_states() -> None:
    good, bad = (
        TrajectoryRecord(
            environment="toy",
            task="a",
            trajectory=name,
            instruction="go",
            steps=tuple(
                TrajectoryStep(step=i, action=action, labels=step("x", odds).labels)
                for i, action in enumerate(("first", action), 1)
            ),
        )
        for name, action, odds in (("t", "right", 1.0), ("u", "wrong", 0.0))
    )
    rows = training_set([good, bad], compared_by=ALL)
    found = {(rows.steps[a].action, rows.steps[b].action) for a, b in rows.pairs.tolist()}

    assert ("right", "wrong") in found
    assert all(better != worse for better, worse in found)
    assert len(typed_pairs(rows)[Dimension.TOTAL][0]) == 1
    batches = Sampler(rows, SamplingSettings(plain_share=1.0), seed=0)
    assert sorted(len(state) for state in next(iter(batches))) == [2, 2]


@pytest.mark.parametrize(
    "changes", [{"min_difference": 0.0}, {"min_difference": float("nan")}, {"max_per_state": 0}]
)
def test_pair_settings_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(changes))} is"):
        PairSettings(**changes)


def test_pairs_of_whole_trajectories_are_counted_and_left_out() -> None:
    whole = [pair("a", "b", type=Dimension.TRAJECTORY), pair("ab", "b")]

    rows = training_set(whole)

    assert (len(rows), len(rows.pairs), rows.num_left_out) == (0, 0, 2)


def test_fingerprint_tells_sets_apart() -> None:
    found = [step("a"), step("b", 0.0)]
    changed = [
        [step("a"), step("b", 0.5)],
        [step("a"), step("c", 0.0)],
        [step("a"), step("b", 0.0, is_final=True)],
        [step("a", task="u"), step("b", 0.0, task="u")],
        [step("a", observation="o"), step("b", 0.0, observation="o")],
        [*found, pair("a", "b")],
        [*found, pair("a", "b", type=Dimension.COHERENCE)],
    ]

    prints = [training_set(x).fingerprint() for x in (found, *changed)]

    assert training_set(found).fingerprint() == prints[0]
    assert len(set(prints)) == len(prints)

    def shown(name: str) -> str:
        record = step("a", screenshot=name)
        return training_set([record], open_screenshot=partial(partial, str.encode)).fingerprint()

    assert shown("x") == shown("x") != shown("y")


def test_epoch_sees_each_state_with_pairs_once_and_its_episode_side_by_side() -> None:
    found = [
        step(action, odds, trajectory=str(episode), step=k, state=str(k))
        for episode in range(6)
        for k in range(3)
        for action, odds in (("a", 1.0), ("b", 0.0 if k else 1.0))
    ]
    rows = training_set(found)
    sampler = Sampler(rows, SamplingSettings(batch_states=4, plain_share=0.0), seed=3)

    batches = list(islice(sampler, sampler.steps_an_epoch()))

    states = [rows.states[s[0]] for batch in batches for s in batch]
    decisive = set(rows.states[rows.pairs[:, 0]].tolist())
    assert sorted(states) == sorted(decisive)
    assert len(decisive) == 12
    for batch in batches:
        assert len(batch) == 4
        episodes = [rows.episodes[s[0]] for s in batch]
        assert all(episodes.count(e) == 2 for e in episodes)
    again = Sampler(rows, SamplingSettings(batch_states=4, plain_share=0.0), seed=3)
    assert list(islice(again, 9)) == list(islice(sampler, 9))
    other = Sampler(rows, SamplingSettings(batch_states=4, plain_share=0.0), seed=4)
    assert list(islice(other, 9)) != list(islice(sampler, 9))


def test_sampler_draws_at_most_so_many_actions_and_refuses_to_see_nothing() -> None:
    rows = training_set([step(str(i), 1.0) for i in range(9)])
    sampler = Sampler(rows, SamplingSettings(max_actions=4, plain_share=1.0), seed=0)

    drawn = [state for batch in islice(sampler, 20) for state in batch]

    assert {len(state) for state in drawn} == {4}
    assert len({tuple(state) for state in drawn}) > 5
    assert set().union(*drawn) == set(range(9))
    with pytest.raises(ValueError, match="none of 9 rows has a pair in its state"):
        Sampler(rows, SamplingSettings(plain_share=0.0), seed=0)


def test_shuffled_labels_stay_in_their_task_and_say_nothing() -> None:
    rows = training_set([*clicks(episodes=40), pair("a", "b"), pair("c", "d")])

    control = shuffled(rows, PairSettings(), seed=1)

    labelled = slice(0, len(rows) - 4)
    for task in sorted(set(rows.tasks[labelled])):
        mine = rows.of_tasks([task])
        for column in ("labels", "weights", "is_final"):
            before, after = (getattr(of, column)[mine] for of in (rows, control))
            np.testing.assert_array_equal(np.sort(before, axis=0), np.sort(after, axis=0))
    is_named = np.array([s.instruction[6:] == s.action[6:] for s in rows.steps[labelled]])
    assert rows.labels[labelled][is_named, 1].mean() == 1
    assert abs(control.labels[labelled][is_named, 1].mean() - 1 / 3) < 0.1
    assert {frozenset(p) for p in control.pairs[:2].tolist()} == {
        frozenset(p) for p in rows.pairs[:2].tolist()
    }
    assert control.pair_types[:2] == rows.pair_types[:2]
    flipped = sum(
        shuffled(rows, PairSettings(), seed=s).pairs[0].tolist() != rows.pairs[0].tolist()
        for s in range(40)
    )
    assert 10 < flipped < 30
