"""`similar-fast convert`, `pairs` and `split` as a person or a program meets them."""

import json
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace
from published_forms import nested_json, preference_csv, published, step_csv
from similar_fast.cli import main
from similar_fast.cli.data_files import DataFiles
from similar_fast.cli.output import Output
from similar_fast.dimensions import Dimension
from similar_fast.records import Provenance, encode_record
from similar_fast.srm.pairs import pairs_of_trajectories
from similar_fast.srm.readers import read_data
from similar_fast.srm.writers import write_data
from srm_records import FIVE, step, trajectory

BETTER = replace(FIVE, efficiency=0.5)
TWO = [trajectory("115_1", "abc"), trajectory("115_2", "axd", labels=BETTER)]


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main(list(map(str, argv)))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def bad_file(path: Path) -> Path:
    rows = [encode_record(step("a")), b'{"kind":"step"}', encode_record(step("b")), b"\xff"]
    path.write_bytes(b"\n".join(rows))
    return path


def test_what_was_interrupted_promises_nothing_that_is_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: DataFiles) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DataFiles, "records", interrupt)
    write_data(tmp_path / "in.jsonl", [step("a")])

    code, _, err = run(capsys, "pairs", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl")

    assert (code, err) == (130, "interrupted\n")


def test_words_between_colons_stay_words(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(is_json=False)

    output.text("p.jsonl:100: :smile:")
    output.table("t", ("where",), [("p.jsonl:100: :smile:",)])

    assert capsys.readouterr().out.count("p.jsonl:100: :smile:") == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.xz", ".parquet"])
def test_convert_brings_a_published_file_into_the_schema(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "webarena.json", tmp_path / f"out{suffix}"
    source.write_text(nested_json(TWO))

    code, text, _ = run(capsys, "convert", source, out, "--split", "train")

    assert code == 0
    assert f"2 records written: {out}" in text
    assert "2 trajectory" in text
    assert [(r.task, r.split, r.steps) for r in read_data(out)] == [
        ("115", "train", record.steps) for record in TWO
    ]


def test_convert_takes_the_form_environment_and_platform_that_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "webarena.csv", tmp_path / "out.jsonl"
    source.write_text(step_csv(TWO), newline="")
    given = ["--form", "step-csv", "--environment", "shop", "--platform", "android"]

    assert run(capsys, "convert", source, out, *given)[0] == 0

    assert {(r.environment, r.platform) for r in read_data(out)} == {("shop", "android")}


def test_convert_stops_at_the_first_bad_row_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"

    code, text, err = run(capsys, "convert", bad_file(tmp_path / "in.jsonl"), out, "--json")

    assert code == 3
    assert "in.jsonl:2: no record of the schema" in err
    assert json.loads(text)["error"]["type"] == "DataError"
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_convert_sets_bad_rows_aside_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = bad_file(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"

    code, text, err = run(capsys, "convert", source, out, "--keep-going", "--json")

    aside = tmp_path / "out.jsonl.rejected.jsonl"
    rows = [json.loads(line) for line in aside.read_text().splitlines()]
    assert code == 1
    assert f"2 rows set aside, with the reasons: {aside}" in err
    assert json.loads(text) == {
        "records": 2,
        "kinds": {"step": 2},
        "rejected": 2,
        "out": str(out),
        "rejected_file": str(aside),
    }
    assert [record.action for record in read_data(out)] == ["a", "b"]
    assert [row["line"] for row in rows] == [2, 4]
    assert rows[0]["row"] == '{"kind":"step"}\n'
    assert "in.jsonl:2: no record of the schema" in rows[0]["error"]


def test_rows_set_aside_before_are_forgotten_when_all_are_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = bad_file(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    run(capsys, "convert", source, out, "--keep-going")
    write_data(source, [step("a")])

    assert run(capsys, "convert", source, out, "--keep-going")[0] == 0

    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("in.jsonl", "would be written to"),
        ("out.csv", "ends with none of"),
        ("none/out.jsonl", "does not exist"),
    ],
)
def test_what_cannot_be_written_is_refused_before_reading(
    out: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = bad_file(tmp_path / "in.jsonl")
    before = source.read_bytes()

    for argv in (["convert", source, tmp_path / out], ["pairs", source, "--out", tmp_path / out]):
        code, _, err = run(capsys, *argv)
        assert code == 3
        assert words in err
    assert source.read_bytes() == before


def test_pairs_counts_what_it_writes_by_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "webarena.json", tmp_path / "b.jsonl"
    first.write_text(nested_json(TWO))
    write_data(second, [step("a"), step("b", labels=BETTER), step("c", labels=BETTER)])
    out = tmp_path / "pairs.jsonl"

    code, text, _ = run(capsys, "pairs", first, second, "--out", out, "--json")

    document = json.loads(text)
    pairs = list(read_data(out))
    assert code == 0
    assert document["pairs"] == len(pairs) == 7
    assert [group["data"] for group in document["groups"]] == ["miniwob web", "webarena web"]
    assert document["groups"][0]["efficiency"] == 2
    assert document["groups"][1]["trajectory"] == 1
    assert pairs[:3] == [
        replace(pair, provenance=Provenance(source="nested-json", judge="published"))
        for pair in pairs_of_trajectories(TWO)
    ]


def test_steps_without_a_state_are_paired_as_trajectories(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "webarena.csv", tmp_path / "pairs.parquet"
    source.write_text(step_csv(TWO), newline="")

    code, text, _ = run(capsys, "pairs", source, "--out", out)

    assert code == 0
    assert "3 pairs written" in text
    assert [pair.chosen for pair in read_data(out)] == [
        pair.chosen for pair in pairs_of_trajectories(TWO)
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {Dimension.ODDS_OF_SUCCESS: 3, Dimension.TOTAL: 3}),
        (["--min-difference", "0.5"], {Dimension.ODDS_OF_SUCCESS: 1, Dimension.TOTAL: 3}),
        (
            ["--min-difference", "OS=0.5,total=2"],
            {Dimension.ODDS_OF_SUCCESS: 1, Dimension.TOTAL: 1},
        ),
        (["--min-rollouts", "13"], {}),
        (["--types", "total"], {Dimension.TOTAL: 3}),
        (["--max-per-state", "1"], {Dimension.ODDS_OF_SUCCESS: 1, Dimension.TOTAL: 1}),
    ],
)
def test_options_choose_among_the_pairs_of_states(
    options: list[str],
    expected: dict[Dimension, int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    made = Provenance(rollouts=12)
    odds = {"a": 0.0, "b": 0.25, "c": 0.5}
    rows = [
        step(action, labels=replace(FIVE, odds_of_success=value), provenance=made)
        for action, value in odds.items()
    ]
    write_data(source, rows)

    assert run(capsys, "pairs", source, "--out", out, *options)[0] == 0

    assert Counter(pair.type for pair in read_data(out)) == expected


@pytest.mark.parametrize("text", ["much", "-1", "nan", "OS=x", "shoe=1", "traj=1", "OS=1,"])
def test_a_difference_that_is_none_is_a_usage_error(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["pairs", "x", "--out", "y", f"--min-difference={text}"])

    assert caught.value.code == 2
    assert "no number from 0" in capsys.readouterr().err


def test_pairs_of_pairs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "x.csv"
    source.write_text(preference_csv(pairs_of_trajectories(TWO)), newline="")

    code, _, err = run(capsys, "pairs", source, "--out", tmp_path / "y.jsonl")

    assert code == 3
    assert "is a pair already" in err


def test_split_writes_both_sides_the_same_for_a_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for number, source in enumerate(sources):
        rows = [step("a", task=f"t{i}", instruction=f"do {i}", seed=number) for i in range(10)]
        write_data(source, rows)
    argv = ["split", *sources, "--eval-share", "0.3", "--seed", "5", "--json"]

    code, text, _ = run(capsys, *argv, "--out-dir", tmp_path / "a" / "b")
    run(capsys, *argv, "--out-dir", tmp_path / "c")

    document = json.loads(text)
    train, held = (list(read_data(tmp_path / f"a/b/{name}.jsonl")) for name in ("train", "eval"))
    assert code == 0
    assert document["eval"] == {
        "tasks": 3,
        "records": 6,
        "file": str(tmp_path / "a" / "b" / "eval.jsonl"),
    }
    assert (len(train), len(held)) == (14, 6)
    assert {r.split for r in train} == {"train"}
    assert {r.split for r in held} == {"eval"}
    assert not {r.task for r in train} & {r.task for r in held}
    for name in ("train", "eval"):
        again = (tmp_path / "c" / f"{name}.jsonl").read_bytes()
        assert again == (tmp_path / "a" / "b" / f"{name}.jsonl").read_bytes()


def test_the_whole_way_over_the_published_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, pairs = tmp_path / "webarena.parquet", tmp_path / "pairs.jsonl.gz"

    assert run(capsys, "convert", published("webarena"), out)[0] == 0
    _, text, _ = run(capsys, "pairs", out, "--out", pairs, "--as-published", "--json")

    document = json.loads(text)
    assert {group["split"]: group["total"] for group in document["groups"]} == {
        "eval": 183,
        "train": 376,
    }
    assert sum(1 for _ in read_data(pairs)) == document["pairs"] == 1711 + 3604
