"""A file of scores that was cut off goes on, and every row is accounted for."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from score_rows import BAD, GOOD, as_bytes, interrupt_after, random_rows, records, write_lines
from similar_fast.errors import DataError
from similar_fast.files.file_lock import lock_file
from similar_fast.models.manifest import read_manifest, write_manifest
from similar_fast.reward.model import RewardModel
from similar_fast.score_file import progress_path, rejected_path, score_file

Export = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def model(exported: Export) -> RewardModel:
    return RewardModel(exported("bert")[1], providers="cpu", threads=1, deterministic=True)


@pytest.mark.parametrize("batches", [1, 2, 3])
@pytest.mark.parametrize("batch_rows", [1, 4])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    batches: int, batch_rows: int, model: RewardModel, tmp_path: Path
) -> None:
    source = write_lines(tmp_path, [*random_rows(1, most=5), "no row", "", *random_rows(2, most=5)])
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
    exported: Export, tmp_path: Path
) -> None:
    source = write_lines(tmp_path, random_rows(3))
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
    model: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_lines(tmp_path, [GOOD]), tmp_path / "out.jsonl"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RewardModel, "score_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            score_file(model, source, out=out)

    assert score_file(model, source, out=out, resume=True).scored_actions == 1


def test_a_run_that_ended_while_it_tidied_up_can_be_resumed(
    model: RewardModel, tmp_path: Path
) -> None:
    source, out = write_lines(tmp_path, [GOOD]), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        score_file(model, source, out=out, report=interrupt_after(1))
    rejected_path(out).unlink()

    assert score_file(model, source, out=out, resume=True).rows == 1
    assert len(records(out)) == 1


@pytest.fixture
def unfinished(model: RewardModel, tmp_path: Path) -> tuple[Path, Path]:
    """A source and the file of its scores, interrupted after the first of three rows."""
    source, out = write_lines(tmp_path, ["no row", GOOD, GOOD]), tmp_path / "out.jsonl"
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


def test_another_mode_of_the_model_does_not_go_on(
    exported: Export, unfinished: tuple[Path, Path]
) -> None:
    source, out = unfinished
    other = RewardModel(exported("bert")[1], providers="cpu", threads=1)

    with pytest.raises(DataError, match="deterministic=True; expected"):
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


LINE = st.sampled_from(
    [
        *(json.dumps({**GOOD, "id": i, "action": f"click link {i}"}).encode() for i in range(3)),
        json.dumps({"instruction": "", "actions": ["", "x " * 3000]}).encode(),
        *(as_bytes(row) for row in list(BAD.values())[:3]),
        b"",
        b"  \r",
    ]
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
