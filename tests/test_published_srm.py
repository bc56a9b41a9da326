"""The bench on the published SRM: its folds do not leak, and it learns from labels alone."""

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import published_srm
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from published.actions import Action, parse, without_numbers
from published.features import STEP_NAMES, step_features, step_vector, trajectory_vector
from published.folds import fold_of_groups, task_groups, task_weights
from published.models import PairRanking, StepRegression, Sum
from published_forms import nested_json
from published_srm import Data, Learn, cross_validate, judged, without_shared
from similar_fast.metrics import accuracy
from similar_fast.records import Labels, TrajectoryRecord, TrajectoryStep
from similar_fast.srm.readers import read_data
from similar_fast.train.data import TrainingSet

NUM_TASKS = 24
THINGS = [
    "lamp",
    "chair",
    "table",
    "mirror",
    "carpet",
    "pillow",
    "blanket",
    "basket",
    "candle",
    "kettle",
    "bottle",
    "hammer",
]
LEARNERS = list(published_srm.CONFIGURATIONS.values())


def made_up(tmp_path: Path, *, num_tasks: int = NUM_TASKS, seed: int = 0) -> list[TrajectoryRecord]:
    """Tasks in the published form; the action that names the thing has the better labels."""
    rng = random.Random(seed)
    records = []
    for task in range(num_tasks):
        wanted, *others = rng.sample(THINGS, 4)
        for number, thing in enumerate([wanted, *others], 1):
            good = float(thing == wanted)
            steps = (
                _step(1, f"click [{rng.randrange(9, 999)}]link '{thing}'", good),
                _step(2, "stop [Done]", good),
            )
            records.append(
                TrajectoryRecord(
                    environment="webarena",
                    task=str(task),
                    trajectory=f"{task}_{number}",
                    instruction=f"{task} {task + 100} {task + 200}: open {wanted}",
                    steps=steps,
                )
            )
    path = tmp_path / "webarena.json"
    path.write_text(nested_json(records), encoding="utf-8")
    return [r for r in read_data(path, environment="webarena") if isinstance(r, TrajectoryRecord)]


def _step(number: int, action: str, good: float) -> TrajectoryStep:
    labels = Labels(
        helpfulness=good / 2,
        odds_of_success=good,
        efficiency=good / 3,
        task_relevance=good,
        coherence=good,
    )
    return TrajectoryStep(step=number, action=action, labels=labels)


def shuffled(records: Sequence[TrajectoryRecord], seed: int) -> list[TrajectoryRecord]:
    """The labels of whole trajectories dealt anew within each task."""
    rng = random.Random(seed)
    tasks: dict[str, list[TrajectoryRecord]] = {}
    for record in records:
        tasks.setdefault(record.task, []).append(record)
    found = []
    for members in tasks.values():
        labels = [[step.labels for step in record.steps] for record in members]
        rng.shuffle(labels)
        for record, dealt in zip(members, labels, strict=True):
            steps = [replace(s, labels=x) for s, x in zip(record.steps, dealt, strict=True)]
            found.append(replace(record, steps=tuple(steps)))
    return found


def value(data: Data, learn: Learn) -> float:
    margins = cross_validate(learn, data, num_folds=6)
    return accuracy(margins, np.zeros(len(margins))).micro


@pytest.mark.parametrize("learn", LEARNERS)
def test_what_the_labels_say_is_learnt(tmp_path: Path, learn: Learn) -> None:
    assert value(Data.of(made_up(tmp_path)), learn) > 0.95


@pytest.mark.parametrize("learn", LEARNERS)
def test_shuffled_labels_end_at_chance(tmp_path: Path, learn: Learn) -> None:
    records = made_up(tmp_path, num_tasks=30)

    found = [value(Data.of(shuffled(records, seed)), learn) for seed in range(4)]

    assert 0.4 < np.mean(found) < 0.6


def test_no_group_of_a_pair_is_learnt_from(tmp_path: Path) -> None:
    data = Data.of(made_up(tmp_path))
    groups = task_groups(data.records)
    seen: list[set[str]] = []

    class Nothing:
        def __init__(self, tasks: set[str]) -> None:
            self._tasks = tasks

        def margins(self, pairs: Sequence[object]) -> np.ndarray:
            held_out = {groups[pair.task] for pair in pairs}  # type: ignore[attr-defined]
            assert not held_out & {groups[task] for task in self._tasks}
            seen.append(held_out)
            return np.ones(len(pairs))

    def learn(pairs: Sequence[object], rows: TrainingSet) -> Nothing:
        return Nothing({p.task for p in pairs} | set(rows.tasks))  # type: ignore[attr-defined]

    margins = cross_validate(learn, data, num_folds=5)  # type: ignore[arg-type]

    assert (margins == 1).all()
    assert set().union(*seen) == set(groups.values())
    assert sum(map(len, seen)) == len(set(groups.values()))


def test_copies_and_templates_are_one_group(tmp_path: Path) -> None:
    first, *others = made_up(tmp_path, num_tasks=4)
    copy = replace(first, task="copy", instruction="nothing of the kind")
    alike = replace(others[-1], task="alike", instruction=others[-1].instruction + " now")

    groups = task_groups([first, *others, copy, alike])

    assert groups["copy"] == groups[first.task]
    assert groups["alike"] == groups[others[-1].task]
    assert len(set(groups.values())) == 4


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=30), num_folds=st.integers(2, 12))
def test_prop_folds_hold_whole_groups(sizes: list[int], num_folds: int) -> None:
    groups = {f"{g}-{i}": f"{g}-0" for g in range(len(sizes)) for i in range(2)}
    tasks = [f"{g}-{i % 2}" for g, size in enumerate(sizes) for i in range(size)]

    fold = fold_of_groups(groups, tasks, num_folds=num_folds)

    assert all(fold[task] == fold[group] for task, group in groups.items())
    assert len(set(fold.values())) == min(num_folds, len(sizes))


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_prop_each_task_weighs_the_same(tasks: list[str]) -> None:
    weights = task_weights(tasks)

    sums = [weights[[t == task for t in tasks]].sum() for task in set(tasks)]
    np.testing.assert_allclose(sums, sums[0])
    assert weights.mean() == pytest.approx(1)


def test_instructions_of_the_other_split_are_left_out(tmp_path: Path) -> None:
    records = made_up(tmp_path, num_tasks=3)
    other = replace(records[0], task="99", instruction="  " + records[0].instruction.upper())

    kept = without_shared(records, [other, replace(records[-1], instruction="else")])

    assert {record.task for record in kept} == {"1"}


def test_swapping_the_sides_turns_the_sign(tmp_path: Path) -> None:
    data = Data.of(made_up(tmp_path))
    swapped = [replace(p, chosen=p.rejected, rejected=p.chosen) for p in data.pairs]
    ranking = PairRanking.fit(data.pairs, penalty=1.0)
    steps = StepRegression.fit(data.rows, alpha=100.0)

    for model in (ranking, steps, Sum.of([ranking, steps], data.pairs)):
        np.testing.assert_allclose(
            model.margins(swapped), -model.margins(data.pairs), rtol=1e-9, atol=1e-12
        )


def test_labels_of_the_judged_fold_have_no_say(tmp_path: Path) -> None:
    records = made_up(tmp_path)
    data = Data.of(records)
    fold = fold_of_groups(task_groups(records), [p.task for p in data.pairs], num_folds=6)
    first = np.array([fold[pair.task] == 0 for pair in data.pairs])
    labels = data.rows.labels.copy()
    labels[[fold[task] == 0 for task in data.rows.tasks]] = 0.5
    other = Data(records, data.pairs, dataclasses.replace(data.rows, labels=labels))

    before, after = (
        cross_validate(published_srm.learn_steps, x, num_folds=6) for x in (data, other)
    )

    np.testing.assert_array_equal(before[first], after[first])
    assert not np.array_equal(before[~first], after[~first])


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("click [97]link '\\ue608 CATALOG'", Action("click", 97, "link", "CATALOG")),
        ("type [12] [Chloe tank] [1]", Action("type", 12, text="Chloe tank")),
        ("stop [N/A]", Action("stop", text="N/A")),
        ("scroll [down]", Action("scroll", text="down")),
        ("go_back", Action("go_back")),
        ("", Action("")),
    ],
)
def test_an_action_is_taken_apart(text: str, action: Action) -> None:
    assert parse(text) == action


def test_numbers_and_icons_are_no_part_of_a_name() -> None:
    assert without_numbers("click [97]link '\ue608 CATALOG'") == "click link ' CATALOG'"
    assert without_numbers("stop [4]") == "stop [4]"


@given(st.text(max_size=30), st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_prop_any_text_has_finite_features(instruction: str, actions: list[str]) -> None:
    vector = step_vector(instruction, tuple(actions[:-1]), actions[-1])

    assert np.isfinite(vector).all()
    assert np.isfinite(trajectory_vector(instruction, tuple(actions))).all()
    assert set(step_features(instruction, (), actions[0])) <= set(STEP_NAMES)


def test_a_scorer_is_compared_with_the_baselines_on_the_same_pairs(tmp_path: Path) -> None:
    data = Data.of(made_up(tmp_path))

    found = judged(data.pairs, {"all right": np.ones(len(data.pairs))})

    evaluation, less = found["all right"]
    assert evaluation.overall.macro.value == 1
    assert set(less) == set(published_srm.BASELINES)
    for base, difference in less.items():
        assert difference.value == pytest.approx(1 - found[base][0].overall.macro.value)
