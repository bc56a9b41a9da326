"""`similar-fast eval` as a person or a program meets it."""

import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from similar_fast.cli import main
from similar_fast.dimensions import Dimension
from similar_fast.records import (
    Labels,
    Record,
    StepRecord,
    TrajectoryRecord,
    TrajectoryStep,
    encode_record,
)
from similar_fast.reward.model import RewardModel
from similar_fast.srm.evaluate.baselines import LengthScorer
from similar_fast.srm.evaluate.data import read_pairs
from similar_fast.srm.screenshots import ScreenshotStore, screenshot_name
from similar_fast.types import Scores, Step
from srm_pairs import make_pair, random_pairs

Export = Callable[[str], tuple[Path, Path]]
QUICK = ("--num-draws", "50")


def run(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    code = main(["eval", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def write(path: Path, records: Sequence[Record]) -> Path:
    path.write_bytes(b"".join(encode_record(record) + b"\n" for record in records))
    return path


def document(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> dict[str, Any]:
    code, out, _ = run(capsys, *argv, "--json")
    found: dict[str, Any] = json.loads(out, parse_constant=pytest.fail)
    assert code == int(found["n_invalid"] > 0)
    return found


def accuracies(found: dict[str, Any]) -> dict[str, float]:
    return {row["label"]: row["value"] for row in found["overall"]["groups"]}


def trajectories(split: str, *, task: str) -> list[TrajectoryRecord]:
    return [
        TrajectoryRecord(
            environment="shop",
            task=task,
            trajectory=f"{task}_{i}",
            instruction="Buy",
            split=split,
            steps=(
                TrajectoryStep(
                    step=1,
                    action=action,
                    labels=Labels(
                        helpfulness=value,
                        odds_of_success=value,
                        efficiency=value,
                        task_relevance=1,
                        coherence=1,
                    ),
                ),
            ),
        )
        for i, (action, value) in enumerate((("click Buy", 1.0), ("click", 0.0)))
    ]


def test_table_tells_each_type_and_the_averages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "pairs.jsonl", random_pairs(0))

    code, out, err = run(capsys, "--model", "baseline:oracle", "--data", data, *QUICK)

    assert (code, err) == (0, "")
    assert "baseline:oracle: accuracy in %, chance 50; 12 tasks" in out
    lines = {line.split("\u2502")[1].strip(): line for line in out.splitlines() if "\u2502" in line}
    for name in ("H", "OS", "E", "TR", "C", "total", "traj", "micro", "macro"):
        assert "100.0" in lines[name]
    assert "shop linux" in out


def test_json_is_one_document_with_every_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "pairs.jsonl", random_pairs(0))

    found = document(
        capsys, *("--model", "baseline:random", "--data", data, "--probe", "10", *QUICK)
    )

    assert set(found) >= {"scorer", "chance", "overall", "places", "position", "calibration"}
    assert (found["scorer"], found["chance"]) == ("baseline:random", 0.5)
    assert found["overall"]["accuracy"]["n"] == 200
    assert found["position"]["n"] == 10
    assert found["cost"]["n_pairs"] == 200
    assert set(found["places"]) == {"shop", "shop linux"}


def test_trajectories_are_made_pairs_and_the_split_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*trajectories("eval", task="1"), *trajectories("train", task="2")]
    data = write(tmp_path / "data.jsonl", rows)

    found = document(
        capsys, *("--model", "baseline:length", "--data", data, "--split", "eval", *QUICK)
    )

    assert found["overall"]["accuracy"]["n"] == 5  # H, OS, E, total, traj
    assert found["signs"] == {"H": 1, "OS": 1, "E": 1, "total": 1, "traj": 1}
    assert set(accuracies(found).values()) == {1.0}
    assert found["notes"] == []


def test_length_without_train_data_prefers_the_longer_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "pairs.jsonl", [make_pair(chosen=("a",), rejected=("abc",))])

    code, out, err = run(capsys, "--model", "baseline:length", "--data", data, *QUICK)

    assert code == 0
    assert "note: no train data: signs are not fitted, the longer action is preferred" in err
    assert "signs" not in out


def test_train_data_of_evaluated_tasks_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "eval.jsonl", [make_pair(chosen=("a",), rejected=("abc",))])
    leak = make_pair(chosen=("a",), rejected=("abc",))
    train = [leak, leak, make_pair(task="9", chosen=("abc",), rejected=("a",), split="train")]
    train.append(make_pair(task="8", chosen=("a",), rejected=("abc",), split="eval"))
    other = write(tmp_path / "train.jsonl", train)

    found = document(
        capsys, *("--model", "baseline:length", "--data", data, "--train-data", other, *QUICK)
    )

    assert found["signs"] == {"total": 1}
    assert found["overall"]["micro"]["value"] == 0.0
    assert found["notes"] == ["2 train pairs of tasks that are evaluated were left out"]


def test_types_are_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write(tmp_path / "pairs.jsonl", random_pairs(0))

    found = document(
        capsys, *("--model", "baseline:oracle", "--data", data, "--types", "H,traj", *QUICK)
    )

    assert set(accuracies(found)) == {"helpfulness", "trajectory"}


def test_compare_tests_the_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write(tmp_path / "pairs.jsonl", random_pairs(0))
    argv = ("--model", "baseline:oracle", "--compare", "baseline:random", "--data", data, *QUICK)

    code, out, _ = run(capsys, *argv)
    found = document(capsys, *argv)

    assert code == 0
    assert "baseline:oracle less baseline:random, in points" in out
    paired = found["comparison"]["paired"]
    assert paired["overall"]["first"] == 1.0
    assert paired["overall"]["mcnemar"]["p_value"] < 1e-6
    assert found["comparison"]["second"]["scorer"] == "baseline:random"


def test_rows_name_what_became_of_each_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(_self: LengthScorer, steps: Sequence[Step]) -> Scores:
        if any(step.action == "bad" for step in steps):
            raise RuntimeError("a bad action")
        return whole(_self, steps)

    whole = LengthScorer.score
    monkeypatch.setattr(LengthScorer, "score", score)
    sides = ((("abc",), ("a",)), (("a",), ("abc",)), (("a",), ("b",)), (("bad",), ("abcd",)))
    pairs = [make_pair(task=str(i), chosen=c, rejected=r) for i, (c, r) in enumerate(sides)]
    data, out = write(tmp_path / "pairs.jsonl", pairs), tmp_path / "rows.jsonl"
    argv = ("--model", "baseline:length", "--data", data, *QUICK, "--out", out)

    code, _, err = run(capsys, *argv, "--compare", "baseline:oracle")

    assert code == 1
    assert "1 pair without a score: the scorer raised RuntimeError: a bad action" in err
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert [row["scores"]["outcome"] for row in rows] == ["correct", "wrong", "tie", "invalid"]
    assert rows[3]["scores"]["reason"] == "the scorer raised RuntimeError: a bad action"
    assert rows[0]["scores"] == {"chosen": 3.0, "rejected": 1.0, "outcome": "correct"}
    assert [row["second"]["outcome"] for row in rows] == ["correct"] * 4
    assert [(row["index"], row["type"], row["task"]) for row in rows[:2]] == [
        (0, "total", "0"),
        (1, "total", "1"),
    ]


def test_reward_model_is_evaluated_with_its_dimensions(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported("bert")[1]
    pairs = [
        make_pair(kind, task=str(i), chosen=(f"click {i}",), rejected=(f"type {i}",))
        for i in range(3)
        for kind in (Dimension.EFFICIENCY, Dimension.TOTAL)
    ]
    data, out = write(tmp_path / "pairs.jsonl", pairs), tmp_path / "rows.jsonl"

    found = document(
        capsys, *("--model", folder, "--data", data, "--device", "cpu", "--out", out, *QUICK)
    )

    assert found["cost"]["n_actions"] == 6
    assert found["position"]["n_changed"] == 0
    model = RewardModel(folder, providers="cpu")
    rows = [json.loads(line)["scores"] for line in out.read_bytes().splitlines()]
    for pair, row in zip(pairs, rows, strict=True):
        scores = model.score([Step(pair.instruction, (), pair.chosen[0])])
        assert row["chosen"] == pytest.approx(scores[0][pair.type], abs=1e-5)


def test_missing_screenshot_makes_its_pairs_invalid(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported("qwen2_vl")[1]
    picture = io.BytesIO()
    PIL.Image.new("RGB", (64, 48)).save(picture, "png")
    store = ScreenshotStore(tmp_path / "screenshots")
    there, gone = screenshot_name(picture.getvalue()), "0" * 64 + ".png"
    data = write(
        tmp_path / "pairs.jsonl",
        [
            make_pair(screenshot=there),
            make_pair(task="2", screenshot=gone),
            make_pair(task="3"),
        ],
    )
    argv = ("--model", folder, "--data", data, "--device", "cpu", "--probe", "0", *QUICK)

    none = document(capsys, *argv)
    store.put(picture.getvalue())
    some = document(capsys, *argv)

    assert none["n_invalid"] == 0
    assert "2 pairs name a screenshot, and there is no folder of them" in none["notes"][0]
    assert some["notes"] == []
    assert some["n_invalid"] == 1
    assert f"the screenshot {gone} is missing in" in some["invalid"][0]["reason"]


def write_steps(path: Path) -> Path:
    step = StepRecord(
        environment="shop",
        task="1",
        trajectory="1",
        step=1,
        instruction="Buy",
        action="click",
        labels=Labels(),
    )
    return write(path, [step])


def test_refusals_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = write(tmp_path / "pairs.jsonl", random_pairs(0, n=20))
    steps = write_steps(tmp_path / "steps.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"kind": "pair"\n')
    random = ("--model", "baseline:random")
    answers = {
        "there is no baseline 'best'": ("--model", "baseline:best", "--data", pairs),
        "steps.jsonl: the file holds single steps": (*random, "--data", steps),
        "bad.jsonl:1: ": (*random, "--data", tmp_path / "bad.jsonl"),
        "gone.jsonl": (*random, "--data", tmp_path / "gone.jsonl"),
        "no pair of the split 'eval'": (*random, "--data", pairs, "--split", "eval"),
        "'x' is no type": (*random, "--data", pairs, "--types", "x"),
        "the folder none does not exist": (*random, "--data", pairs, "--html", "none/out.html"),
        "the folder nil does not exist": (*random, "--data", pairs, "--out", "nil/rows.jsonl"),
        "pairs.jsonl would be written to": (*random, "--data", pairs, "--out", pairs),
        "would be written to; expected": (*random, "--data", pairs, "--html", pairs),
        "steps.jsonl would be": ("--model", f"labels:{steps}", "--data", pairs, "--out", steps),
        "are both": (*random, "--data", pairs, "--html", tmp_path / "x", "--out", tmp_path / "x"),
        "num_draws must be in": (*random, "--data", pairs, "--num-draws", "0"),
        "holds no similar.json": ("--model", tmp_path, "--data", pairs),
    }

    for message, argv in answers.items():
        code, out, err = run(capsys, *argv)

        assert (code, out) == (3, ""), message
        assert err.startswith("error: "), err
        assert err.count("\n") == 1
        assert message in err
    assert read_pairs([pairs])


def test_interrupt_ends_it_with_130(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_self: LengthScorer, _steps: Sequence[Step]) -> Scores:
        raise KeyboardInterrupt

    monkeypatch.setattr(LengthScorer, "score", interrupt)
    data, out = write(tmp_path / "pairs.jsonl", random_pairs(0)), tmp_path / "rows.jsonl"

    code, _, err = run(capsys, "--model", "baseline:length", "--data", data, "--out", out)

    assert (code, err) == (130, "interrupted\n")
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "macro"), [("webarena", 19), ("osworld_linux", 21), ("osworld_windows", 3)]
)
def test_published_labels_are_read_and_the_oracle_is_right(
    name: str, macro: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = os.environ.get("SIMILAR_FAST_SRM_DATA")
    if folder is None:
        pytest.skip("did not run: SIMILAR_FAST_SRM_DATA names no folder of the published data")
    data = Path(folder) / f"{name}.jsonl"

    found = document(
        capsys, *("--model", "baseline:oracle", "--data", data, "--split", "eval", *QUICK)
    )

    assert set(accuracies(found).values()) == {1.0}
    assert found["overall"]["n_clusters"] == macro
    counts = [row["n"] for row in found["overall"]["accuracy"]["groups"]]
    assert sum(counts) == {"webarena": 2088, "osworld_linux": 567, "osworld_windows": 49}[name]


def relabelled(*odds: tuple[str, float | None]) -> list[StepRecord]:
    """Another labelling of the actions of `make_pair`, by text."""
    return [
        StepRecord(
            environment="shop",
            task="1",
            trajectory="1",
            step=1,
            instruction="Buy ticket 1",
            action=action,
            labels=Labels(odds_of_success=value),
        )
        for action, value in odds
    ]


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"), [(1.0, 0.5, 1.0), (0.5, 1.0, 0.0), (0.5, 0.5, 0.5)]
)
def test_second_labelling_is_held_against_the_pairs_it_labels(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    chosen: float,
    rejected: float,
    expected: float,
) -> None:
    kind = Dimension.ODDS_OF_SUCCESS
    pairs = [make_pair(kind), make_pair(kind, rejected=("click Sell",))]
    data = write(tmp_path / "pairs.jsonl", pairs)
    again = write(
        tmp_path / "again.jsonl", relabelled(("click Buy", chosen), ("click Help", rejected))
    )

    found = document(capsys, "--model", f"labels:{again}", "--data", data, *QUICK)

    assert list(accuracies(found).values()) == [expected]
    assert "1 pair not labelled in again.jsonl" in found["notes"][0]


def test_labelling_of_other_actions_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "pairs.jsonl", [make_pair(Dimension.ODDS_OF_SUCCESS)])
    again = write(tmp_path / "again.jsonl", relabelled(("click Buy", 1.0)))

    code, _, err = run(capsys, "--model", f"labels:{again}", "--data", data)

    assert (code, "labels both actions of no pair" in err) == (3, True)
