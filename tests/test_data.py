"""The data sets that come with the project: what their cards say is what they hold."""

import hashlib
import json
import lzma
from collections import Counter
from pathlib import Path

import pytest
from similar_fast.collect.manifest import label_statistics
from similar_fast.dimensions import Dimension
from similar_fast.envs.miniwob import HELD_OUT_TASKS, TRAIN_TASKS
from similar_fast.records import PairRecord, StepRecord
from similar_fast.srm.evaluate import evaluate_scores
from similar_fast.srm.readers import read_data

DATA = Path(__file__).parents[1] / "data"
STEPS, PAIRS = DATA / "miniwob-steps.jsonl.xz", DATA / "srm-miniwob.jsonl.xz"
ROUNDS = [STEPS, DATA / "miniwob-steps-2.jsonl.xz"]


@pytest.fixture(scope="module", params=ROUNDS, ids=lambda path: path.name.removesuffix(".jsonl.xz"))
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(scope="module")
def steps(path: Path) -> list[StepRecord]:
    found = list(read_data(path))
    assert all(isinstance(record, StepRecord) for record in found)
    return found  # type: ignore[return-value]  # asserted


@pytest.fixture(scope="module")
def pairs() -> list[PairRecord]:
    found = list(read_data(PAIRS))
    assert all(isinstance(record, PairRecord) for record in found)
    return found  # type: ignore[return-value]  # asserted


def test_steps_are_those_of_their_manifest(path: Path, steps: list[StepRecord]) -> None:
    manifest = json.loads(
        path.with_name(path.name.replace(".jsonl.xz", ".manifest.json")).read_text()
    )
    content = lzma.decompress(path.read_bytes())

    assert len(steps) == manifest["steps"]["labels"] >= 6_000
    assert hashlib.sha256(content).hexdigest() == manifest["steps"]["sha256"]
    assert Counter(step.task for step in steps) == manifest["labels_by_task"]
    assert label_statistics(steps) == manifest["labels"]


def test_steps_come_from_train_tasks_and_collection_seeds(steps: list[StepRecord]) -> None:
    assert {step.task for step in steps} == set(TRAIN_TASKS)
    assert {step.seed for step in steps} <= set(range(1000, 1100))


def test_no_action_is_labelled_twice(steps: list[StepRecord]) -> None:
    deeds = Counter((step.state, step.action) for step in steps)

    # Two elements of one screen may share their words; then the proposer numbers them.
    assert max(deeds.values()) == 1


def test_labels_are_what_their_rollouts_say(steps: list[StepRecord]) -> None:
    for step in steps:
        made = step.provenance
        assert made.rollouts is not None
        assert made.successes is not None
        assert step.labels.odds_of_success == pytest.approx(
            made.successes / made.rollouts, abs=1e-6
        )
        assert step.is_final or made.rollouts >= 2


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 8 * 2**20


def test_pairs_come_from_benchmark_seeds(pairs: list[PairRecord]) -> None:
    assert len(pairs) >= 1500
    assert {pair.seed for pair in pairs} <= set(range(4000, 4050))
    assert {pair.task for pair in pairs if pair.split == "train-tasks"} <= set(TRAIN_TASKS)
    assert {pair.task for pair in pairs if pair.split == "held-out"} <= set(HELD_OUT_TASKS)
    assert {pair.split for pair in pairs} == {"train-tasks", "held-out"}


def test_pairs_differ_beyond_their_noise(pairs: list[PairRecord]) -> None:
    least = json.loads((DATA / "srm-miniwob.json").read_text())["min_difference"]
    for pair in pairs:
        assert pair.chosen_label is not None
        assert pair.rejected_label is not None
        assert pair.chosen_label - pair.rejected_label >= least[pair.type.value] - 1e-9


@pytest.mark.parametrize("split", ["train-tasks", "held-out"])
def test_length_and_verb_say_nothing_about_pairs(pairs: list[PairRecord], split: str) -> None:
    found = [pair for pair in pairs if pair.split == split]
    longer = evaluate_scores(
        found,
        [len(" ".join(pair.chosen)) for pair in found],
        [len(" ".join(pair.rejected)) for pair in found],
    )
    verbs = Counter(
        (pair.type, pair.chosen[0].split()[0], pair.rejected[0].split()[0]) for pair in found
    )

    assert longer.overall.micro.value == 0.5
    assert all(verbs[kind, a, b] == verbs[kind, b, a] for kind, a, b in verbs)


def test_pairs_have_the_types_that_rollouts_give(pairs: list[PairRecord]) -> None:
    assert {pair.type for pair in pairs} == {
        Dimension.HELPFULNESS,
        Dimension.ODDS_OF_SUCCESS,
        Dimension.EFFICIENCY,
        Dimension.TOTAL,
    }
