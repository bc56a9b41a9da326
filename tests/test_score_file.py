"""A file of steps becomes a file of scores: every row accounted for, wherever it was cut off."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from similar_fast import score_file as module
from similar_fast import steps_file
from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import DataError
from similar_fast.file_lock import lock_file
from similar_fast.manifest import read_manifest, write_manifest
from similar_fast.reward import RewardModel
from similar_fast.score_file import ScoreSummary, progress_path, rejected_path, score_file
from similar_fast.steps_file import parse_row, read_steps
from similar_fast.types import Step
from similar_fast_export.verify import random_states

Export = Callable[[str], tuple[Path, Path]]
Lines = Callable[[Sequence[object]], Path]
GOOD = {"instruction": "Buy a ticket", "action": 'click button "Buy"'}
BAD = {
    "not json": "not json",
    "no object": "[1]",
    "no UTF-8": b'{"instruction": "\xff", "action": "x"}',
    "half a row": '{"instruction": "Buy", "action": "cl',
    "no instruction": '{"action": "x"}',
    "an action that is no string": '{"instruction": "Buy", "action": 3}',
    "a history that is no list": '{"instruction": "Buy", "action": "x", "history": "y"}',
    "both": '{"instruction": "Buy", "action": "x", "actions": ["y"]}',
    "neither": '{"instruction": "Buy"}',
    "no candidates": '{"instruction": "Buy", "actions": []}',
    "nothing but brackets": "[" * 5000,
}


@pytest.fixture(scope="module")
def model(exported: Export) -> RewardModel:
    return RewardModel(exported("bert")[1], providers="cpu", threads=1, deterministic=True)


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """Writes lines, of records, texts or bytes, and returns the file."""

    def write(rows: Sequence[object]) -> Path:
        path = tmp_path / "in.jsonl"
        path.write_bytes(b"".join(as_bytes(row) + b"\n" for row in rows))
        return path

    return write


def as_bytes(row: object) -> bytes:
    if isinstance(row, bytes):
        return row
    return (row if isinstance(row, str) else json.dumps(row)).encode()


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def random_rows(seed: int, *, most: int = 20) -> list[dict[str, Any]]:
    return [
        {
            "id": i,
            "instruction": steps[0].instruction,
            "history": steps[0].history,
            "observation": steps[0].observation,
            "actions": [step.action for step in steps],
        }
        for i, steps in enumerate(random_states(seed, has_vision=False)[:most])
        if steps
    ]


def interrupt_after(batches: int) -> Callable[[int], None]:
    seen: list[int] = []

    def report(num_bytes: int) -> None:
        seen.append(num_bytes)
        if len(seen) == batches:
            raise KeyboardInterrupt

    return report


def test_scores_are_those_of_the_model(exported: Export, lines: Lines, tmp_path: Path) -> None:
    rows = random_rows(5)
    folder = exported("qwen2")[1]
    out = tmp_path / "out.jsonl"

    summary = score_file(RewardModel(folder, providers="cpu"), lines(rows), out=out, batch_rows=3)

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
    model: RewardModel, lines: Lines, tmp_path: Path
) -> None:
    listed = {"instruction": GOOD["instruction"], "actions": [GOOD["action"]]}

    score_file(model, lines([GOOD, listed]), out=tmp_path / "out.jsonl")

    single, many = records(tmp_path / "out.jsonl")
    assert single == {"line": 1, "scores": many["scores"]}


@pytest.mark.parametrize("name", [0, "a", None, ["x", {"y": 1.5}], 2**70, "naïve 日本 \u2028"])
def test_an_id_is_copied_as_it_is(
    name: object, model: RewardModel, lines: Lines, tmp_path: Path
) -> None:
    score_file(model, lines([{"id": name, **GOOD}]), out=tmp_path / "out.jsonl")

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


def test_an_empty_file_gives_an_empty_file(
    model: RewardModel, lines: Lines, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"

    summary = score_file(model, lines([]), out=out)

    assert summary == ScoreSummary()
    assert out.read_bytes() == b""
    assert not rejected_path(out).exists()
    assert not progress_path(out).exists()


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_kept_aside_and_its_neighbours_are_scored(
    kind: str, model: RewardModel, lines: Lines, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"

    summary = score_file(model, lines([GOOD, "", BAD[kind], GOOD]), out=out)

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
    lines: Lines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(steps_file, "MAX_LINE_BYTES", 100)
    long = (" " if blank else "") * 500 + json.dumps({**GOOD, "note": "x" * 350})
    out = tmp_path / "out.jsonl"

    source = lines([GOOD, long, GOOD])
    with pytest.raises(KeyboardInterrupt):
        score_file(model, source, out=out, batch_rows=1, report=interrupt_after(2))

    summary = score_file(model, source, out=out, resume=True)

    assert [record["line"] for record in records(out)] == [1, 3]
    (rejected,) = records(rejected_path(out))
    assert rejected["row"] == long[:100]
    assert "more than the 100 bytes" in rejected["errors"][0]
    assert summary.rejected == 1


def test_an_action_that_fails_alone_leaves_the_others_of_its_row(
    model: RewardModel, lines: Lines, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    row = {"instruction": "Buy", "actions": ["click " * 2000, "click OK"]}

    summary = score_file(model, lines([row]), out=out)

    (record,) = records(out)
    assert "error" in record["scores"][0]
    assert "total" not in record["scores"][0]
    assert "total" in record["scores"][1]
    (rejected,) = records(rejected_path(out))
    assert rejected["errors"] == [record["scores"][0]["error"]]
    assert summary == ScoreSummary(rows=1, scored_actions=1, rejected=1)


def test_a_row_says_how_much_was_cut_where_one_action_failed_first(
    model: RewardModel, lines: Lines, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    observation = "button Buy " * 400
    row = {"instruction": "Buy", "observation": observation, "actions": ["x " * 9000, "click OK"]}

    summary = score_file(model, lines([GOOD, row]), out=out)

    fitting, cut = records(out)
    assert "num_cut" not in fitting
    step = Step("Buy", (), "click OK", observation)
    assert cut["num_cut"] == model.score_rows([step]).num_cut[0] > 0
    assert summary.cut_rows == 1


@pytest.mark.parametrize("batches", [1, 2, 3])
@pytest.mark.parametrize("batch_rows", [1, 4])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    batches: int, batch_rows: int, model: RewardModel, lines: Lines, tmp_path: Path
) -> None:
    source = lines([*random_rows(1, most=5), "no row", "", *random_rows(2, most=5)])
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    expected = score_file(model, source, out=whole)
    with pytest.raises(KeyboardInterrupt):
        score_file(model, source, out=out, batch_rows=batch_rows, report=interrupt_after(batches))
    for path in (out, rejected_path(out)):
        with path.open("ab") as stream:
            stream.write(b'{"line":99,"sco')  # what a kill in the middle of a batch leaves

    summary = score_file(model, source, out=out, resume=True)

    assert summary == expected
    assert out.read_bytes() == whole.read_bytes()
    assert rejected_path(out).read_bytes() == rejected_path(whole).read_bytes()
    assert not progress_path(out).exists()


def test_a_run_that_shares_across_batches_goes_on_to_the_same_scores(
    exported: Export, lines: Lines, tmp_path: Path
) -> None:
    source = lines(random_rows(3))
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    first, second = (RewardModel(exported("qwen2")[1], providers="cpu") for _ in range(2))
    score_file(first, source, out=whole, batch_rows=7)
    with pytest.raises(KeyboardInterrupt):
        score_file(second, source, out=out, batch_rows=2, report=interrupt_after(2))

    score_file(second, source, out=out, batch_rows=3, resume=True)

    for ours, other in zip(records(out), records(whole), strict=True):
        assert (ours["line"], ours["id"]) == (other["line"], other["id"])
        for a, b in zip(ours["scores"], other["scores"], strict=True):
            assert a["action"] == b["action"]
            assert abs(a["total"] - b["total"]) < 1e-5


def test_a_run_that_ended_before_its_first_batch_can_be_resumed(
    model: RewardModel, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = lines([GOOD]), tmp_path / "out.jsonl"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RewardModel, "score_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            score_file(model, source, out=out)

    assert score_file(model, source, out=out, resume=True).scored_actions == 1


def test_a_run_that_ended_while_it_tidied_up_can_be_resumed(
    model: RewardModel, lines: Lines, tmp_path: Path
) -> None:
    source, out = lines([GOOD]), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        score_file(model, source, out=out, report=interrupt_after(1))
    rejected_path(out).unlink()

    assert score_file(model, source, out=out, resume=True).rows == 1
    assert len(records(out)) == 1


@pytest.fixture
def unfinished(model: RewardModel, lines: Lines, tmp_path: Path) -> tuple[Path, Path]:
    """A source and the file of its scores, interrupted after the first of three rows."""
    source, out = lines(["no row", GOOD, GOOD]), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        score_file(model, source, out=out, batch_rows=2, report=interrupt_after(1))
    return source, out


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda source, out: source.write_bytes(b"x" + source.read_bytes()[1:]), "same file"),
        (lambda source, out: source.write_bytes(b"no row\n"), "same file"),
        (lambda source, out: shorten(out), "bytes; expected"),
        (lambda source, out: shorten(rejected_path(out)), "bytes; expected"),
        (lambda source, out: rejected_path(out).unlink(), "bytes; expected"),
        (lambda source, out: out.unlink(), "is missing"),
        (lambda source, out: progress_path(out).unlink(), "nothing to resume"),
        (lambda source, out: progress_path(out).write_text("{}"), "cannot be read"),
        (
            lambda source, out: progress_path(out).write_bytes(b'{"model": "\xff"}'),
            "cannot be read",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_not_resumed(
    damage: Callable[[Path, Path], object],
    message: str,
    model: RewardModel,
    unfinished: tuple[Path, Path],
) -> None:
    source, out = unfinished
    damage(source, out)
    before = out.read_bytes() if out.exists() else None

    with pytest.raises(DataError, match=message):
        score_file(model, source, out=out, resume=True)

    assert (out.read_bytes() if out.exists() else None) == before


def test_another_model_does_not_go_on(exported: Export, unfinished: tuple[Path, Path]) -> None:
    source, out = unfinished
    other = RewardModel(exported("qwen2")[1], providers="cpu", threads=1)

    with pytest.raises(DataError, match="another model"):
        score_file(other, source, out=out, resume=True)


def test_the_same_weights_with_another_prompt_do_not_go_on(
    exported: Export, unfinished: tuple[Path, Path], tmp_path: Path
) -> None:
    source, out = unfinished
    folder = shutil.copytree(exported("bert")[1], tmp_path / "model")
    manifest = read_manifest(folder)
    prompt = replace(manifest.reward.prompt, gate_offset=-2)
    write_manifest(folder, replace(manifest, reward=replace(manifest.reward, prompt=prompt)))

    with pytest.raises(DataError, match="another model"):
        score_file(RewardModel(folder, providers="cpu"), source, out=out, resume=True)


def test_a_source_that_grew_is_scored_to_its_new_end(
    model: RewardModel, unfinished: tuple[Path, Path]
) -> None:
    source, out = unfinished
    with source.open("ab") as stream:
        stream.write(as_bytes(GOOD) + b"\n")

    assert score_file(model, source, out=out, resume=True).scored_actions == 3


def test_a_finished_file_is_neither_written_over_nor_resumed(
    model: RewardModel, lines: Lines, tmp_path: Path
) -> None:
    source, out = lines([GOOD]), tmp_path / "out.jsonl"
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


def test_a_file_that_somebody_writes_to_is_left_alone(
    model: RewardModel, unfinished: tuple[Path, Path]
) -> None:
    source, out = unfinished
    before = out.read_bytes()

    with out.open("r+b") as stream:
        lock_file(stream, out)
        with pytest.raises(DataError, match="another process"):
            score_file(model, source, out=out, resume=True)

    assert out.read_bytes() == before


def test_batches_of_no_rows_are_refused(model: RewardModel, lines: Lines, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_rows is 0"):
        score_file(model, lines([GOOD]), out=tmp_path / "out.jsonl", batch_rows=0)

    assert not (tmp_path / "out.jsonl").exists()


def test_read_steps_names_the_file_and_the_line(lines: Lines) -> None:
    source = lines([{**GOOD, "actions": [], "history": ["a"]}, "", "no row"])
    steps = read_steps(source)

    assert next(steps) == Step(GOOD["instruction"], ("a",), GOOD["action"])
    with pytest.raises(DataError, match="no row of steps") as caught:
        next(steps)
    assert (caught.value.path, caught.value.line) == (source, 3)


def test_a_screenshot_is_read_from_the_rows_folder_when_it_is_asked_for(tmp_path: Path) -> None:
    row = parse_row(b'{"instruction": "", "actions": ["a", "b"], "screenshot": "shots/1.png"}')
    first, second = row.steps(tmp_path)
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "1.png").write_bytes(b"png")

    assert first.screenshot is second.screenshot
    assert first.screenshot() == b"png"


LINE = st.sampled_from(
    [
        *(json.dumps({**GOOD, "id": i, "action": f"click link {i}"}).encode() for i in range(3)),
        json.dumps({"instruction": "", "actions": ["", "x " * 3000]}).encode(),
        *(as_bytes(row) for row in list(BAD.values())[:3]),
        b"",
        b"  \r",
    ]
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(LINE, max_size=12),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    has_end=st.booleans(),
)
def test_prop_every_row_is_scored_or_rejected_once_and_in_order(
    *,
    texts: list[bytes],
    sizes: list[int],
    has_end: bool,
    model: RewardModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    source, out = folder / "in.jsonl", folder / "out.jsonl"
    source.write_bytes(b"\n".join(texts) + b"\n" * has_end)

    for turn, size in enumerate([*sizes, 32]):  # each but the last is cut off after a batch
        report = interrupt_after(1) if turn < len(sizes) else lambda _: None
        try:
            score_file(model, source, out=out, batch_rows=size, resume=turn > 0, report=report)
        except KeyboardInterrupt:
            continue
        break

    scored = [record["line"] for record in records(out)]
    path = rejected_path(out)
    rejected = {record["line"]: record for record in (records(path) if path.exists() else [])}
    assert scored == sorted(set(scored))
    assert list(rejected) == sorted(rejected)
    assert {*scored, *rejected} == {i for i, text in enumerate(texts, 1) if text.strip()}
    for line in set(scored) & set(rejected):
        assert b"actions" in texts[line - 1]
    whole = folder / "whole.jsonl"
    score_file(model, source, out=whole)
    assert out.read_bytes() == whole.read_bytes()
