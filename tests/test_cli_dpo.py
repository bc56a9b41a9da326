"""`similar-fast dpo` as a person or a program meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace
from pictures import draw, encode
from similar_fast import RewardModel
from similar_fast.cli import main
from similar_fast.dimensions import Dimension
from similar_fast.rl.preferences import preferences_from_scores
from similar_fast.srm.screenshots import ScreenshotStore
from similar_fast.srm.writers import write_data
from srm_pairs import make_pair
from srm_records import FIVE, step, trajectory

LOW = replace(FIVE, odds_of_success=0.0, helpfulness=0.5)
STATES = [
    step('click "it"', split="train"),
    step('click "x"', labels=LOW, split="train"),
    step('click "y"', labels=LOW, split="train"),
]


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main(["dpo", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def content(row: dict, key: str) -> str:
    return row[key][-1]["content"]


def test_pairs_steps_and_trajectories_become_rows_of_the_total(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    two = [trajectory("1", "abc"), trajectory("2", "axd", labels=replace(FIVE, efficiency=0.5))]
    pairs = [make_pair(), make_pair(Dimension.EFFICIENCY)]
    write_data(source, [*STATES, *two, *pairs])

    code, text, _ = run(capsys, source, "--out", out)

    assert code == 0
    assert [content(row, "chosen") for row in rows_of(out)] == [
        "click Buy",
        "x",
        'click "it"',
        'click "it"',
    ]
    assert f"4 rows written: {out}" in text
    assert "1 pair left out: pair of trajectories" in text
    assert "left out: other type" in text


def test_options_choose_types_margin_split_and_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_data(source, [*STATES, make_pair(Dimension.HELPFULNESS)])
    options = ["--types", "H,OS", "--min-margin", "0.4", "--split", "train", "--form", "standard"]

    code, text, _ = run(capsys, source, "--out", out, *options, "--candidates", "--json")

    assert code == 0
    summary = json.loads(text)
    assert (summary["rows"], summary["types"]) == (2, {"odds of success": 2})
    assert summary["left_out"] == {"margin too small": 2, "other type": 2}
    for row in rows_of(out):
        assert row["chosen"] == 'click "it"'
        assert '1. click "it"\n2. click "x"\n3. click "y"\n' in row["prompt"]


def test_a_baseline_orders_the_candidates_whatever_the_labels_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    write_data(source, [replace(r, labels=FIVE, instruction="Find y") for r in STATES])
    model = ["--model", "baseline:lexical", "--candidates"]

    code, text, _ = run(capsys, source, "--out", out, *model, "--json")

    assert code == 0
    (row,) = pq.read_table(out).to_pylist()
    assert content(row, "chosen") == 'click "y"'
    assert "3. " in content(row, "prompt")
    assert json.loads(text)["pairing"] == "extremes"


def test_a_model_orders_the_candidates_as_it_scores_them(
    exported: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = exported("qwen2_vl")[1]
    store = ScreenshotStore(tmp_path / "shots")
    name = store.put(encode(draw(90, 60)))
    states = [replace(record, screenshot=name) for record in STATES]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_data(source, states)
    options = ["--screenshots", store.folder, "--pairing", "all", "--types", "E"]

    code, _, _ = run(capsys, source, "--out", out, "--model", folder, *options)

    assert code == 0
    wanted = preferences_from_scores(
        states,
        RewardModel(folder),
        types=[Dimension.EFFICIENCY],
        pairing="all",
        screenshots=store,
    )
    found = rows_of(out)
    assert [(content(r, "chosen"), content(r, "rejected")) for r in found] == [
        (pair.chosen[0], pair.rejected[0]) for pair in wanted
    ]
    assert len(found) == 3
    assert {row["images"][0] for row in found} == {str(store.folder / name)}


def test_a_split_that_no_record_has_is_refused_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_data(source, STATES)

    code, _, err = run(capsys, source, "--out", out, "--split", "nope")

    assert code == 3
    assert "no record is of the split 'nope'; the splits are: train" in err
    assert not out.exists()


def test_candidates_that_cannot_be_scored_are_told(
    exported: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = ScreenshotStore(tmp_path / "shots")
    name = store.put(b"\x89PNG\r\n\x1a\nbroken")
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_data(source, [*STATES, *(replace(state, screenshot=name) for state in STATES[:2])])
    options = ["--model", exported("qwen2_vl")[1], "--screenshots", store.folder]

    code, text, err = run(capsys, source, "--out", out, *options, "--json")

    assert code == 1
    assert json.loads(text)["failed"] == 2
    assert "2 candidates could not be scored" in err
    assert len(rows_of(out)) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "out.csv"], "ends with none of .jsonl, .parquet"),
        (["--pairing", "all"], "--pairing has no effect without --model"),
        (["--types", "traj"], "--types names the trajectory"),
        (["--types", "x"], "is no type"),
        (["--model", "baseline:oracle"], "expected baseline:"),
        (["--model", "nowhere"], "nowhere"),
        (["--min-margin", "-1"], "at least 0"),
        (["--model", "baseline:lexical", "--types", "E"], "gives no dimensions"),
    ],
)
def test_what_cannot_be_done_is_an_error_and_leaves_no_file(
    options: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "in.jsonl", STATES)

    code, text, err = run(capsys, "in.jsonl", "--out", "out.jsonl", *options, "--json")

    assert code == 3
    assert words in err
    assert json.loads(text)["error"]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_model_is_not_asked_about_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_data(source, [make_pair()])

    code, _, err = run(capsys, source, "--out", out, "--model", "baseline:lexical")

    assert code == 3
    assert "DataError: a record is a pair; expected steps" in err
