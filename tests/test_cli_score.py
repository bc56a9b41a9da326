"""`similar-fast score` and `inspect` as a person or a program meets them."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import similar_fast_mini
from similar_fast.cli import main
from similar_fast.errors import ModelError
from similar_fast.models.manifest import read_manifest
from similar_fast.reward.model import RewardModel
from similar_fast.score_file import progress_path, rejected_path
from similar_fast.types import Step
from similar_fast_export.reward_model import ExportOptions, export_reward_model
from test_reward import png

Export = Callable[[str], tuple[Path, Path]]
FAMILIES = ("bert", "qwen2", "qwen2_vl", "qwen2_5_vl", "mllama")
GOOD = {"instruction": "Buy a ticket", "actions": ['click button "Buy"', 'click link "Help"']}


def run(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    code = main(list(map(str, argv)))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def write_rows(path: Path, rows: Sequence[dict[str, Any] | str]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return path


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def score_argv(source: Path, out: Path, model: Path) -> list[str]:
    return [*("score", str(source), "--out", str(out), "--model", str(model)), "--device", "cpu"]


def test_score_tells_what_it_did_and_exits_with_1_for_a_rejected_row(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    source = write_rows(tmp_path / "in.jsonl", [GOOD, "", "no row"])

    code, text, err = run(capsys, *score_argv(source, out, exported("bert")[1]))

    assert code == 1
    assert f"2 actions of 2 rows scored: {out}" in text
    assert "were shared" in text
    assert f"1 row failed, with the reasons: {rejected_path(out)}" in err
    assert len(records(out)) == 1


def test_score_tells_of_rows_that_were_cut(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{**GOOD, "observation": "button " * 600}])
    argv = score_argv(source, tmp_path / "out.jsonl", exported("bert")[1])

    code, text, _ = run(capsys, *argv)

    assert code == 0
    assert "1 row did not fit the model" in text
    assert records(tmp_path / "out.jsonl")[0]["num_cut"] > 0


def test_score_names_the_fields_that_nothing_reads(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{**GOOD, "histroy": ["click OK"]}])

    code, _, err = run(capsys, *score_argv(source, tmp_path / "out.jsonl", exported("bert")[1]))

    assert code == 0
    assert "fields that nothing reads: 'histroy'" in err


def test_the_document_counts_what_the_files_hold(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    partly = {"instruction": "Buy", "actions": ["x " * 5000, "click OK"]}
    source = write_rows(tmp_path / "in.jsonl", [GOOD, "no row", partly, GOOD, ""])

    code, text, _ = run(capsys, *score_argv(source, out, exported("bert")[1]), "--json")

    document = json.loads(text)
    entries = [entry for record in records(out) for entry in record["scores"]]
    assert code == 1
    assert document["rows"] == 4
    assert document["scored_actions"] == sum("total" in entry for entry in entries) == 5
    assert document["rejected"] == len(records(Path(document["rejected_file"]))) == 2
    assert document["out"] == str(out)
    assert document["providers"] == ["CPUExecutionProvider"]
    assert document["stats"]["scored_steps"] == 5
    assert 0 < document["stats"]["tokens_run"] < document["stats"]["tokens_asked"]


def test_score_of_nothing_is_well(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_rows(tmp_path / "in.jsonl", [])
    argv = score_argv(source, tmp_path / "out.jsonl", exported("bert")[1])

    code, text, _ = run(capsys, *argv)

    assert code == 0
    assert "0 actions of 0 rows scored" in text


def test_screenshots_are_read_from_disk_and_bad_ones_are_told(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported("qwen2_vl")[1]
    shots = tmp_path / "rows" / "shots"
    shots.mkdir(parents=True)
    (shots / "1.png").write_bytes(png((80, 60)))
    (shots / "broken.png").write_bytes(b"no picture")
    (shots / "half.png").write_bytes(png((80, 60))[:400])
    names = ["shots/1.png", str(shots / "1.png"), "shots/none.png", "shots", "shots/broken.png"]
    names += ["shots/half.png", "shots/\0.png"]
    rows = [GOOD, *({**GOOD, "screenshot": name} for name in names)]
    out = tmp_path / "out.jsonl"
    source = write_rows(shots.parent / "in.jsonl", rows)

    code, _, _ = run(capsys, *score_argv(source, out, folder), "--deterministic")

    assert code == 1
    plain, relative, absolute = records(out)
    assert relative["scores"] == absolute["scores"] != plain["scores"]
    picture = (shots / "1.png").read_bytes()
    steps = [Step(GOOD["instruction"], (), a, screenshot=lambda: picture) for a in GOOD["actions"]]
    expected = RewardModel(folder, providers="cpu").score(steps).total
    for entry, total in zip(relative["scores"], expected, strict=True):
        assert abs(entry["total"] - total) < 1e-5
    rejected = records(rejected_path(out))
    assert [record["line"] for record in rejected] == [4, 5, 6, 7, 8]
    assert all(len(record["errors"]) == 1 for record in rejected)
    assert "shots/none.png cannot be read: No such file" in rejected[0]["errors"][0]


def test_score_refuses_before_it_opens_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "in.jsonl", [GOOD])
    (tmp_path / "there.jsonl").write_text("mine\n")
    monkeypatch.setattr(RewardModel, "__init__", None)

    answers = {
        name: run(capsys, *score_argv(source, tmp_path / name, tmp_path), *more)
        for name, more in (
            ("there.jsonl", ()),
            ("in.jsonl", ()),
            ("none/out.jsonl", ()),
            ("new.jsonl", ("--resume",)),
        )
    }
    answers["source"] = run(capsys, *score_argv(tmp_path, tmp_path / "x.jsonl", tmp_path))
    packed = tmp_path / "in.jsonl.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    answers["packed"] = run(capsys, *score_argv(packed, tmp_path / "x.jsonl", tmp_path))
    packed.unlink()
    answers["gone"] = run(capsys, *score_argv(tmp_path / "gone", tmp_path / "x.jsonl", tmp_path))

    for (code, out, err), message in zip(
        answers.values(),
        [
            "exists",
            "written to",
            "does not exist",
            "nothing to resume",
            "no regular",
            "packed (gzip)",
            "gone",
        ],
        strict=True,
    ):
        assert (code, out) == (3, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert message in err
    assert (tmp_path / "there.jsonl").read_text() == "mine\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "there.jsonl"]


def start_scoring(argv: Sequence[str], progress: Path) -> "subprocess.Popen[bytes]":
    """The command as a process that has finished its first batch and is at work."""
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from similar_fast.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *argv], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if progress.exists() and json.loads(progress.read_bytes())["lines"]:
            break
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_command_goes_on_with_resume(
    number: signal.Signals, exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**GOOD, "id": i, "observation": f"row {i} " * 40} for i in range(1500)]
    source = write_rows(tmp_path / "in.jsonl", [*rows[:2], "no row", *rows[2:]])
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    folder = exported("bert")[1]
    more = ["--deterministic", "--threads", "1"]
    argv = [*score_argv(source, out, folder), *more]
    process = start_scoring([*argv, "--batch-rows", "3"], progress_path(out))
    try:
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert progress_path(out).exists()
    assert 0 < len(out.read_bytes().splitlines()) < len(rows)

    refused, _, _ = run(capsys, *argv)
    code, _, _ = run(capsys, *argv, "--resume")
    run(capsys, *score_argv(source, whole, folder), *more)

    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert (b"with --resume goes on from here" in err) == (number == signal.SIGINT)
    assert (refused, code) == (3, 1)
    assert out.read_bytes() == whole.read_bytes()
    assert rejected_path(out).read_bytes() == rejected_path(whole).read_bytes()
    assert not progress_path(out).exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_inspect_tells_a_reward_model(
    family: str, exported: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(family)[1]
    manifest = RewardModel(folder, providers="cpu").manifest

    code, text, _ = run(capsys, "inspect", folder)
    again, document, _ = run(capsys, "inspect", folder, "--json")

    facts = json.loads(document)
    reward = facts["reward"]
    assert (code, again) == (0, 0)
    assert text.startswith(f"{folder}: {family}\n")
    assert facts["family"] == family
    assert facts["is_verified"] is True
    assert facts["kv_bytes_per_token"] > 0
    assert f"{facts['kv_bytes_per_token']:,} bytes a token" in text
    assert "drawn at random" in text
    assert ("pictures  " in text) == bool(reward["patches"] or reward["tiles"])
    assert ("to the picture in the layers 1, 3" in text) == (family == "mllama")
    assert [file["name"] for file in facts["files"]] == [file.name for file in manifest.files]
    for file in manifest.files:
        assert f"{file.size:,}  {file.sha256[:16]}" in text
        assert (folder / file.name).stat().st_size == file.size
    lines = text.splitlines()
    assert max(len(line) for line in lines[lines.index("") :]) <= 100


def test_the_shipped_model_goes_by_its_name_unless_a_folder_has_it(
    shipped_reward: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["inspect", "similar-mini"]) == 0
    assert read_manifest(shipped_reward).family in capsys.readouterr().out
    assert RewardModel("similar-mini", providers="cpu").manifest == read_manifest(shipped_reward)
    (tmp_path / "similar-mini").mkdir()
    assert main(["inspect", "similar-mini"]) == 3


def test_inspect_tells_what_a_small_model_reads(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(similar_fast_mini.__file__).parent / "reward"

    code, text, _ = run(capsys, "inspect", folder)

    assert code == 0
    assert "the last 4 actions" in text
    assert "what quoted names share with the instruction" in text


def test_inspect_tells_an_embedding_model(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(similar_fast_mini.__file__).parent / "embedding"

    code, text, _ = run(capsys, "inspect", folder)
    _, document, _ = run(capsys, "inspect", folder, "--json")

    facts = json.loads(document)
    assert code == 0
    assert "bert-embedding" in text
    assert "mean of the tokens, of length 1" in text
    assert "KV cache" not in text
    assert "rank_agreement" in text
    assert (facts["reward"], facts["kv_bytes_per_token"]) == (None, None)


def test_inspect_finds_an_altered_file_unless_it_may_not_look(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(exported("bert")[1], tmp_path / "embedding")
    data = bytearray((folder / "decoder.onnx").read_bytes())
    data[1000] ^= 1
    (folder / "decoder.onnx").write_bytes(data)

    code, out, err = run(capsys, "inspect", folder)
    json_code, document, _ = run(capsys, "inspect", folder, "--json")
    quick, text, _ = run(capsys, "inspect", folder, "--no-verify")
    _, quick_document, _ = run(capsys, "inspect", folder, "--no-verify", "--json")

    assert (code, out, json_code) == (3, "", 3)
    assert "decoder.onnx was altered: its sha256 is" in err
    assert json.loads(document)["error"]["type"] == ModelError.__name__
    assert quick == 0
    assert "sha256 not checked" in text
    assert json.loads(quick_document)["is_verified"] is False


@pytest.mark.parametrize("more", [(), ("--no-verify",)])
def test_inspect_finds_a_missing_and_a_shortened_file(
    more: tuple[str, ...], exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(exported("bert")[1], tmp_path / "embedding")
    os.truncate(folder / "heads.onnx", 10)

    short, _, short_err = run(capsys, "inspect", folder, *more)
    (folder / "heads.onnx").unlink()
    missing, _, missing_err = run(capsys, "inspect", folder, *more)
    none, _, none_err = run(capsys, "inspect", tmp_path, *more)

    assert (short, missing, none) == (3, 3, 3)
    assert "heads.onnx holds 10 bytes; expected" in short_err
    assert "heads.onnx is missing" in missing_err
    assert "expected an exported model" in none_err


def test_inspect_tells_what_the_export_measured(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_reward_model(
        exported("qwen2")[0], tmp_path / "embedding", ExportOptions(random_heads=0, verify=True)
    )

    _, text, _ = run(capsys, "inspect", tmp_path / "embedding")

    assert "checks of the export" in text
    assert "transformers_max_error_total" in text
