"""A file of steps becomes a file of scores: each row where it belongs, with a reason or a score."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from score_rows import BAD, GOOD, as_bytes, interrupt_after, random_rows, records, write_lines
from similar_fast import score_file as module
from similar_fast import steps_file
from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import DataError
from similar_fast.reward.model import RewardModel
from similar_fast.score_file import (
    MAX_UNREAD_FIELDS,
    ScoreSummary,
    progress_path,
    rejected_path,
    score_file,
)
from similar_fast.steps_file import parse_row, unread_fields
from similar_fast.types import Step

Export = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def model(exported: Export) -> RewardModel:
    return RewardModel(exported("bert")[1], providers="cpu", threads=1, deterministic=True)


def test_scores_are_those_of_the_model(exported: Export, tmp_path: Path) -> None:
    rows = random_rows(5)
    folder = exported("qwen2")[1]
    out = tmp_path / "out.jsonl"

    summary = score_file(
        RewardModel(folder, providers="cpu"), write_lines(tmp_path, rows), out=out, batch_rows=3
    )

    fresh = RewardModel(folder, providers="cpu")
    for row, record in zip(rows, records(out), strict=True):
        history = tuple(row["history"])
        expected = fresh.score(
            [Step(row["instruction"], history, a, row["observation"]) for a in row["actions"]]
        )
        assert [entry["action"] for entry in record["scores"]] == row["actions"]
        found = [[e["total"], *(e[d.name.lower()] for d in DIMENSIONS)] for e in record["scores"]]
        assert np.abs(np.array(found)[:, 0] - expected.total).max() < 1e-5
        assert np.abs(np.array(found)[:, 1:] - expected.dims).max() < 1e-5
    assert summary == ScoreSummary(
        rows=len(rows),
        scored_actions=sum(len(row["actions"]) for row in rows),
        cut_rows=sum("num_cut" in record for record in records(out)),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_single_action_has_the_same_scores_as_a_list_of_one(
    model: RewardModel, tmp_path: Path
) -> None:
    listed = {"instruction": GOOD["instruction"], "actions": [GOOD["action"]]}

    score_file(model, write_lines(tmp_path, [GOOD, listed]), out=tmp_path / "out.jsonl")

    single, many = records(tmp_path / "out.jsonl")
    assert single == {"line": 1, "scores": many["scores"]}


@pytest.mark.parametrize("name", [0, "a", None, ["x", {"y": 1.5}], 2**70, "naïve 日本 \u2028"])
def test_an_id_is_copied_as_it_is(name: object, model: RewardModel, tmp_path: Path) -> None:
    score_file(model, write_lines(tmp_path, [{"id": name, **GOOD}]), out=tmp_path / "out.jsonl")

    (record,) = records(tmp_path / "out.jsonl")
    assert record.get("id") == name
    assert ("id" in record) == (name is not None)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blank_lines_count_as_lines_and_not_as_rows(
    end: bytes, model: RewardModel, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(end.join([b"", as_bytes(GOOD), b"  \t", as_bytes(GOOD), b"x", b""]))

    summary = score_file(model, source, out=tmp_path / "out.jsonl", batch_rows=2)

    assert summary == ScoreSummary(rows=3, scored_actions=2, rejected=1)
    assert [record["line"] for record in records(tmp_path / "out.jsonl")] == [2, 4]
    (rejected,) = records(rejected_path(tmp_path / "out.jsonl"))
    assert (rejected["line"], rejected["row"]) == (5, "x")


def test_the_last_line_needs_no_end(model: RewardModel, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(as_bytes(GOOD) + b"\n" + as_bytes(GOOD))

    assert score_file(model, source, out=tmp_path / "out.jsonl").rows == 2


def test_an_empty_file_gives_an_empty_file(model: RewardModel, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"

    summary = score_file(model, write_lines(tmp_path, []), out=out)

    assert summary == ScoreSummary()
    assert out.read_bytes() == b""
    assert not rejected_path(out).exists()
    assert not progress_path(out).exists()


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_kept_aside_and_its_neighbours_are_scored(
    kind: str, model: RewardModel, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"

    summary = score_file(model, write_lines(tmp_path, [GOOD, "", BAD[kind], GOOD]), out=out)

    first, last = records(out)
    assert (first["line"], last["line"]) == (1, 4)
    assert first["scores"] == last["scores"]
    (rejected,) = records(rejected_path(out))
    assert rejected["line"] == 3
    assert rejected["row"] == as_bytes(BAD[kind]).decode("utf-8", "replace")
    assert len(rejected["errors"]) == 1
    assert summary == ScoreSummary(rows=3, scored_actions=2, rejected=1)


@pytest.mark.parametrize("blank", [True, False])
def test_a_line_beyond_the_limit_is_rejected_by_its_beginning(
    *,
    blank: bool,
    model: RewardModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(steps_file, "MAX_LINE_BYTES", 100)
    long = (" " if blank else "") * 500 + json.dumps({**GOOD, "note": "x" * 350})
    out = tmp_path / "out.jsonl"

    source = write_lines(tmp_path, [GOOD, long, GOOD])
    with pytest.raises(KeyboardInterrupt):
        score_file(model, source, out=out, batch_rows=1, report=interrupt_after(2))

    summary = score_file(model, source, out=out, resume=True)

    assert [record["line"] for record in records(out)] == [1, 3]
    (rejected,) = records(rejected_path(out))
    assert rejected["row"] == long[:100]
    assert "more than the 100 bytes" in rejected["errors"][0]
    assert summary.rejected == 1


def test_an_action_that_fails_alone_leaves_the_others_of_its_row(
    model: RewardModel, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    row = {"instruction": "Buy", "actions": ["click " * 2000, "click OK"]}

    summary = score_file(model, write_lines(tmp_path, [row]), out=out)

    (record,) = records(out)
    assert "error" in record["scores"][0]
    assert "total" not in record["scores"][0]
    assert "total" in record["scores"][1]
    (rejected,) = records(rejected_path(out))
    assert rejected["errors"] == [record["scores"][0]["error"]]
    assert summary == ScoreSummary(rows=1, scored_actions=1, rejected=1)


def test_a_row_says_how_much_was_cut_where_one_action_failed_first(
    model: RewardModel, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    observation = "button Buy " * 400
    row = {"instruction": "Buy", "observation": observation, "actions": ["x " * 9000, "click OK"]}

    summary = score_file(model, write_lines(tmp_path, [GOOD, row]), out=out)

    fitting, cut = records(out)
    assert "num_cut" not in fitting
    step = Step("Buy", (), "click OK", observation)
    assert cut["num_cut"] == model.score_rows([step]).num_cut[0] > 0
    assert summary.cut_rows == 1


def test_a_finished_file_is_neither_written_over_nor_resumed(
    model: RewardModel, tmp_path: Path
) -> None:
    source, out = write_lines(tmp_path, [GOOD]), tmp_path / "out.jsonl"
    score_file(model, source, out=out)
    before = out.read_bytes()

    with pytest.raises(FileExistsError, match="expected a new file"):
        score_file(model, source, out=out)
    with pytest.raises(DataError, match="finished"):
        score_file(model, source, out=out, resume=True)

    assert out.read_bytes() == before


@pytest.mark.parametrize("name", [rejected_path, progress_path, lambda out: out])
def test_a_source_is_never_written_to(
    name: Callable[[Path], Path], model: RewardModel, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    source = name(out)
    source.write_bytes(as_bytes(GOOD))

    with pytest.raises(ValueError, match="would be written to"):
        score_file(model, source, out=out)

    assert source.read_bytes() == as_bytes(GOOD)


def test_batches_of_no_rows_are_refused(model: RewardModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_rows is 0"):
        score_file(model, write_lines(tmp_path, [GOOD]), out=tmp_path / "out.jsonl", batch_rows=0)

    assert not (tmp_path / "out.jsonl").exists()


def test_parse_row_names_the_file_and_the_line() -> None:
    with pytest.raises(DataError, match="no row of steps") as caught:
        parse_row(b"no row", path=Path("in.jsonl"), line=3)

    assert (caught.value.path, caught.value.line) == (Path("in.jsonl"), 3)


def test_fields_that_nothing_reads_may_hold_anything_and_are_named() -> None:
    text = b'{"instruction": "a", "action": "b", "acton": 1e999, "x": "\xff", "big": 1%s}' % (
        b"0" * 5000
    )

    assert parse_row(text).steps(Path()) == [Step("a", (), "b")]
    assert unread_fields(text) == ["acton", "x", "big"]


def test_fields_that_nothing_reads_are_counted_once_and_up_to_a_limit(
    model: RewardModel, tmp_path: Path
) -> None:
    rows = [{**GOOD, f"field {i}": 1, "note": 2} for i in range(12)]
    out = tmp_path / "out.jsonl"

    summary = score_file(model, write_lines(tmp_path, rows), out=out, batch_rows=5)

    assert summary.unread_fields == ("field 0", "note", *(f"field {i}" for i in range(1, 7)))
    assert len(summary.unread_fields) == MAX_UNREAD_FIELDS


def test_a_screenshot_is_read_from_the_rows_folder_when_it_is_asked_for(tmp_path: Path) -> None:
    row = parse_row(b'{"instruction": "", "actions": ["a", "b"], "screenshot": "shots/1.png"}')
    first, second = row.steps(tmp_path)
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "1.png").write_bytes(b"png")

    assert first.screenshot is second.screenshot
    assert first.screenshot() == b"png"


@pytest.mark.parametrize("screenshot", ["/dev/zero", "pipe", "."])
def test_screenshot_that_is_no_regular_file_is_rejected_at_once(
    exported: Export, tmp_path: Path, screenshot: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    source = write_lines(tmp_path, [{**GOOD, "screenshot": screenshot}, GOOD])
    seeing = RewardModel(exported("qwen2_vl")[1], providers="cpu", threads=1)

    summary = score_file(seeing, source, out=tmp_path / "out.jsonl")

    (record,) = records(rejected_path(tmp_path / "out.jsonl"))
    assert "no regular file" in record["errors"][0]
    assert (summary.rejected, summary.scored_actions) == (1, 1)


def test_screenshot_that_is_too_large_is_rejected_unread(exported: Export, tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as stream:
        stream.truncate(1 << 40)
    source = write_lines(tmp_path, [{**GOOD, "screenshot": "large.png"}])
    seeing = RewardModel(exported("qwen2_vl")[1], providers="cpu", threads=1)

    score_file(seeing, source, out=tmp_path / "out.jsonl")

    (record,) = records(rejected_path(tmp_path / "out.jsonl"))
    assert "1099511627776 bytes; expected at most" in record["errors"][0]


def test_folder_whose_name_is_no_unicode_stops_nothing(exported: Export, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    folder.mkdir()
    source = write_lines(folder, [{**GOOD, "screenshot": "missing.png"}, GOOD])
    seeing = RewardModel(exported("qwen2_vl")[1], providers="cpu", threads=1)

    summary = score_file(seeing, source, out=folder / "out.jsonl")

    assert (summary.rejected, summary.scored_actions) == (1, 1)


def test_rejected_rows_of_before_are_not_written_over(model: RewardModel, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rejected_path(out).write_text("kept\n")

    with pytest.raises(FileExistsError, match=r"rejected\.jsonl exists"):
        score_file(model, write_lines(tmp_path, [GOOD]), out=out)

    assert rejected_path(out).read_text() == "kept\n"
