"""The ablation: each total by a plain formula, and a ridge that sees the training tasks alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ablation
import msgspec
import numpy as np
import pytest
from exports import Export
from similar_fast.dimensions import Dimension
from similar_fast.errors import DataError
from similar_fast.models.heads import LABEL_SCALES
from similar_fast.records import PairRecord, StepRecord, decode_record, encode_record
from similar_fast.train.data import TrainingSet, training_set
from similar_fast.train.gate_settings import GateSettings
from similar_fast.train.run import train
from similar_fast.train.settings import TrainSettings
from similar_fast.types import Step
from train_data import clicks, write_clicks

Arrays = tuple[np.ndarray, np.ndarray]
WIDTH = 3


def features_of(rows: TrainingSet) -> Callable[[tuple[Step, ...]], Arrays]:
    """Made-up features, the same for the same step whatever it stands beside."""
    drawn = np.random.default_rng(0).normal(size=(len(rows), WIDTH)).astype(np.float32)
    known = dict(zip(rows.steps, drawn, strict=True))

    def features(steps: tuple[Step, ...]) -> Arrays:
        found = np.stack([known[step] for step in steps])
        return found, found

    return features


def write_result(run: Path, *, tasks: list[str], alphas: list[float | None]) -> None:
    regression = {str(i): {"alpha": alpha} for i, alpha in enumerate(alphas)}
    document = {"training_tasks": tasks, "regression": regression}
    (run / "result.json").write_text(json.dumps(document))


def test_totals_are_the_sums_that_their_names_tell() -> None:
    rng = np.random.default_rng(0)
    dims, weights, single = rng.normal(size=(4, 5)), rng.random((4, 5)), rng.normal(size=4)

    prior = np.array([0.0, 1.0, -2.0, 0.5])

    found = dict(ablation.totals(dims, weights, single, prior))

    assert len(found) == 6 + 3 * 5
    np.testing.assert_allclose(
        found["gate without the lexical prior"], found["gate"] - weights[:, 3] * prior
    )
    assert found["the lexical prior alone"] is prior
    assert len(dict(ablation.totals(dims, weights, single, np.zeros(4)))) == 4 + 3 * 5
    assert found["one objective: ridge on the total"] is single
    np.testing.assert_allclose(found["gate"], [d @ w for d, w in zip(dims, weights, strict=True)])
    np.testing.assert_allclose(
        found["mean of the dimensions"],
        (dims[:, 0] / 3 + dims[:, 1] / 5 + dims[:, 2] / 5 + dims[:, 3] + dims[:, 4]) / 5,
    )
    np.testing.assert_allclose(found["gate without OS"], found["gate"] - dims[:, 1] * weights[:, 1])
    np.testing.assert_allclose(found["plain sum without C"], dims[:, :4].sum(1))
    np.testing.assert_allclose(found["H alone"], dims[:, 0])


def test_single_objective_is_the_ridge_of_the_training_tasks(tmp_path: Path) -> None:
    rows = training_set(clicks(episodes=2))
    rows = replace(rows, weights=np.linspace(0.25, 1.0, len(rows)))
    features = features_of(rows)
    tasks = ["click-0", "click-3"]
    write_result(tmp_path, tasks=tasks, alphas=[0.1, 10.0, 1.0, None, None])
    judged = np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32)

    found = ablation.single_objective(tmp_path, rows, features, judged)

    # A ridge is least squares with a row of sqrt(alpha) for each weight more.
    kept = rows.of_tasks(tasks)
    root = np.sqrt(rows.weights[kept])
    hidden = features(rows.steps)[0][kept].astype(np.float64)
    labels = (rows.labels * LABEL_SCALES).sum(1)[kept]
    wanted, *_ = np.linalg.lstsq(
        np.vstack([root[:, None] * hidden, np.sqrt(1.0) * np.eye(WIDTH)]),
        np.concatenate([root * labels, np.zeros(WIDTH)]),
    )
    np.testing.assert_allclose(found, judged @ wanted, rtol=1e-9)


def test_single_objective_does_not_see_labels_of_held_out_tasks(tmp_path: Path) -> None:
    rows = training_set(clicks(episodes=2))
    labels = rows.labels.copy()
    labels[rows.of_tasks(["click-5"])] = 9.0
    write_result(tmp_path, tasks=[f"click-{i}" for i in range(5)], alphas=[1.0] * 5)
    judged = np.eye(WIDTH, dtype=np.float32)

    first, second = (
        ablation.single_objective(tmp_path, of, features_of(rows), judged)
        for of in (rows, replace(rows, labels=labels))
    )

    np.testing.assert_array_equal(first, second)


def test_single_objective_without_a_whole_label_is_refused(tmp_path: Path) -> None:
    rows = training_set(clicks(episodes=1))
    write_result(tmp_path, tasks=["type-1"], alphas=[1.0] * 5)

    with pytest.raises(DataError, match="no step of the training tasks has all five labels"):
        ablation.single_objective(tmp_path, rows, features_of(rows), np.eye(WIDTH))


def as_pair(better: StepRecord, worse: StepRecord) -> PairRecord:
    return PairRecord(
        environment=better.environment,
        task=better.task,
        type=Dimension.TOTAL,
        instruction=better.instruction,
        chosen=(better.action,),
        rejected=(worse.action,),
        step=1,
        observation=better.observation,
        split="toy",
    )


@pytest.fixture(scope="module")
def run(exported: Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the first rows, beside its data and pairs of other screens."""
    root = tmp_path_factory.mktemp("ablation")
    data = write_clicks(root / "clicks.jsonl")
    settings = TrainSettings(
        finetune=None, gate=GateSettings(widths=(8,), steps=2), data=(data.name,)
    )
    train(training_set(clicks()), exported("bert")[0], root / "run", settings)
    unseen = list(clicks(seed=1, episodes=2, buttons=2))
    pairs = [
        as_pair(*sorted(unseen[i : i + 2], key=lambda r: -(r.labels.odds_of_success or 0.0)))
        for i in range(0, len(unseen), 2)
    ]
    (root / "pairs.jsonl").write_bytes(b"".join(encode_record(pair) + b"\n" for pair in pairs))
    return root / "run"


def test_ablation_of_a_run_prints_a_row_a_total_and_the_dtype(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(run), "--data", f"{run.parent}/pairs.jsonl"]
    arguments += ["--labels", f"{run.parent}/clicks.jsonl"]

    assert ablation.main(arguments) == 0
    page = capsys.readouterr().out
    assert ablation.main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)

    assert page.startswith(f"Features of {run}/frozen, float32: ")
    assert "| toy | gate | 12 | " in page
    assert document["dtype"] == "float32"
    assert [row["against_gate"] for row in document["rows"] if row["total"] == "gate"] == [0.0]
    assert len(document["rows"]) == 19


def test_ablation_with_other_labels_than_the_run_was_made_of_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_clicks(tmp_path / "other.jsonl", seed=1)
    pairs = f"{run.parent}/pairs.jsonl"

    assert ablation.main([str(run), "--data", pairs, "--labels", str(other)]) == 2

    error = capsys.readouterr().err
    assert "other.jsonl has " in error
    assert "expected --labels with the run's data in its order: clicks.jsonl" in error


def test_a_run_of_another_version_is_an_error_in_words(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("{", "{}", '{"settings": {"pairs": {"unknown": 1}}}'):
        (tmp_path / "plan.json").write_text(text)

        assert ablation.main([str(tmp_path), "--data", f"{run.parent}/pairs.jsonl"]) == 2
        assert "plan.json or result.json is broken or of another" in capsys.readouterr().err


def test_pairs_of_more_actions_are_left_out_and_counted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (run.parent / "pairs.jsonl").read_bytes()
    first = decode_record(lines.splitlines()[0])
    assert isinstance(first, PairRecord)
    longer = msgspec.structs.replace(first, chosen=(*first.chosen, "x"))
    (tmp_path / "pairs.jsonl").write_bytes(lines + encode_record(longer) + b"\n")
    labels = f"{run.parent}/clicks.jsonl"

    arguments = [str(run), "--data", f"{tmp_path}/pairs.jsonl", "--labels", labels, "--json"]

    assert ablation.main(arguments) == 0
    shown = capsys.readouterr()
    assert "1 of 13 pairs left out" in shown.err
    assert {row["pairs"] for row in json.loads(shown.out)["rows"]} == {12}
