"""The command similar-fast-export: what it prints, what it returns, and what it never does."""

import builtins
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
from exports import FAMILIES, Export, alter, nothing_left
from similar_fast import RewardModel
from similar_fast.models.heads import LABEL_SCALES, TEMPERATURE, random_heads
from similar_fast.models.manifest import describe_file, read_manifest, write_manifest
from similar_fast_export import cli, reward_model, terminal
from similar_fast_export.checkpoint import FAMILIES as EXPORTABLE
from similar_fast_export.progress import ExportProgress
from similar_fast_export.reward_model import DTYPES

Captured = pytest.CaptureFixture[str]
EXPORT = Path(cli.__file__).parents[1]


def command(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_export_prints_one_line_and_says_that_heads_are_random(
    exported: Export, tmp_path: Path, capsys: Captured
) -> None:
    checkpoint, _ = exported("bert")
    capsys.readouterr()  # what transformers said when it wrote the checkpoint

    code = command(checkpoint, tmp_path / "m", "--random-heads", 0)

    printed = capsys.readouterr()
    assert code == 0
    assert re.match(r"wrote \S+/m: bert, 0\.8 MB, float32\n  its heads are random", printed.out)
    assert printed.err == ""


def test_json_of_an_export_is_one_object(
    exported: Export, tmp_path: Path, capsys: Captured
) -> None:
    options = ("--random-heads", 0, "--verify", "--json", "--name", "org/ü", "--license", "MIT")

    checkpoint, _ = exported("bert")
    capsys.readouterr()

    code = command(checkpoint, tmp_path / "m", *options)

    printed = capsys.readouterr()
    record = json.loads(printed.out)
    manifest = read_manifest(tmp_path / "m")
    assert code == 0
    assert record == {
        "folder": str(tmp_path / "m"),
        "family": "bert",
        "dtype": "float32",
        "nbytes": sum(file.size for file in manifest.files),
        "checks": manifest.checks,
    }
    assert (manifest.source, manifest.license) == ("org/ü", "MIT")
    assert printed.err == ""


def test_error_is_one_line_and_leaves_nothing(
    exported: Export, tmp_path: Path, capsys: Captured
) -> None:
    checkpoint, _ = exported("bert")
    capsys.readouterr()

    with nothing_left(tmp_path):
        code = command(checkpoint, tmp_path / "m")

    printed = capsys.readouterr()
    assert code == 1
    assert printed.out == ""
    assert re.fullmatch(r"similar-fast-export: .*--heads .*--random-heads.*\n", printed.err)


def test_error_is_an_object_with_json(exported: Export, tmp_path: Path, capsys: Captured) -> None:
    code = command(exported("bert")[0], tmp_path / "m", "--json")

    error = json.loads(capsys.readouterr().out)["error"]
    assert code == 1
    assert error["type"] == "ModelError"
    assert "heads.safetensors is missing" in error["message"]


@pytest.mark.parametrize(
    "words",
    [
        ["c"],
        ["c", "o", "--dtype", "fp8"],
        ["c", "o", "--heads", "h", "--random-heads", "0"],
        ["c", "o", "--random-heads", "-1"],
        ["c", "o", "--seed", "x"],
        ["verify", "c"],
        ["convert", "r", "o", "--label-scales", "1", "2"],
    ],
)
def test_wrong_call_ends_with_two(words: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as err:
        command(*words)

    assert err.value.code == 2
    assert "usage: similar-fast-export" in capsys.readouterr().err


def test_interruption_ends_with_130_and_leaves_nothing(
    exported: Export, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reward_model, "write_manifest", interrupt)

    with nothing_left(tmp_path):
        code = command(exported("bert")[0], tmp_path / "m", "--random-heads", 0)

    assert code == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["convert"], ["verify"], ["embedding"]])
def test_help_is_printed_and_no_heavy_library_is_loaded(words: list[str]) -> None:
    code = (
        "import sys; from similar_fast_export.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as err: assert err.code == 0\n"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'rich', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(EXPORT)},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: similar-fast-export")


def test_help_names_every_family_command_and_dtype() -> None:
    text = cli._model_parser().format_help()

    families = re.search(r"families: (.*)", text)[1].replace(" (as a prefix-LM)", "")
    assert sorted(families.split(", ")) == sorted(EXPORTABLE)
    assert all(f"\n  {name} " in text for name in cli._COMMAND_PARSERS)
    assert "{" + ",".join(DTYPES) + "}" in text


def test_defaults_of_convert_are_those_of_upstream() -> None:
    options = cli._convert_parser().parse_args(["r.pt", "out"])

    assert options.temperature == TEMPERATURE
    assert options.label_scales == LABEL_SCALES


@pytest.mark.parametrize("family", FAMILIES)
def test_verify_passes(exported: Export, capsys: Captured, family: str) -> None:
    code = command("verify", *exported(family), "--seed", 2, "--json")

    checks = json.loads(capsys.readouterr().out)
    assert code == 0
    assert checks["transformers_rank_agreement"] == 1
    assert 0 < checks["transformers_max_error_total"] < 1e-4


def test_verify_prints_what_it_measured(exported: Export, capsys: Captured) -> None:
    folders = exported("bert")
    capsys.readouterr()

    code = command("verify", *folders)

    printed = capsys.readouterr()
    assert code == 0
    assert re.search(r"scores as \S+ does:\n  transformers_max_error_dims: \d", printed.out)
    assert printed.err == ""


@pytest.mark.parametrize("is_owned_up", [False, True])
def test_verify_fails_for_an_altered_weight(
    exported: Export,
    tmp_path: Path,
    capsys: Captured,
    is_owned_up: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    checkpoint, folder = exported("qwen2")
    folder = Path(shutil.copytree(folder, tmp_path / "m"))
    manifest = read_manifest(folder)
    alter(folder / "decoder.onnx")
    if is_owned_up:
        files = tuple(describe_file(folder / file.name) for file in manifest.files)
        write_manifest(folder, replace(manifest, files=files))

    code = command("verify", checkpoint, folder)

    message = (
        r"_error_\w+ is \S+, \S+ by the size .*at most 0.0001" if is_owned_up else "was altered"
    )
    assert code == 1
    assert re.search(message, capsys.readouterr().err)


def test_verify_of_other_builds_compares_the_order(
    exported: Export, tmp_path: Path, capsys: Captured
) -> None:
    checkpoint, _ = exported("qwen2")
    command(checkpoint, tmp_path / "m", "--random-heads", 0, "--dtype", "fp16")
    capsys.readouterr()

    code = command("verify", checkpoint, tmp_path / "m", "--json")

    checks = json.loads(capsys.readouterr().out)
    assert code == 0
    assert checks["transformers_max_error_total"] > 1e-4
    assert checks["transformers_rank_agreement"] > 0.98


def test_converted_heads_are_exported(exported: Export, tmp_path: Path, capsys: Captured) -> None:
    regression, heads = tmp_path / "regression.pt", tmp_path / "heads.safetensors"
    torch.save({"weight": torch.tensor(random_heads(64, 3).regression)}, regression)

    codes = [
        command("convert", regression, heads, "--json"),
        command(exported("bert")[0], tmp_path / "m", "--heads", heads, "--json"),
        command("convert", regression, heads),
    ]

    printed = capsys.readouterr()
    first = json.loads(printed.out.splitlines()[0])
    assert codes == [0, 0, 1]
    assert first == {"file": str(heads), "hidden_size": 64, "gate_layers": 0}
    assert "heads.safetensors exists" in printed.err
    model = RewardModel.from_pretrained(tmp_path / "m", providers="cpu")
    assert asdict(model.manifest.reward.heads) == {
        "is_gated": False,
        "label_scales": LABEL_SCALES,
        "is_random": False,
        "lexical_prior": 0.0,
    }


def test_pickle_that_runs_code_is_not_converted(tmp_path: Path, capsys: Captured) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
            return builtins.open, (str(tmp_path / "sprung"), "w")

    torch.save({"weight": Trap()}, tmp_path / "regression.pt")

    code = command("convert", tmp_path / "regression.pt", tmp_path / "out")

    assert code == 1
    assert capsys.readouterr().err.startswith("similar-fast-export: ")
    assert [path.name for path in tmp_path.iterdir()] == ["regression.pt"]


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("something was downloaded")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)


@pytest.mark.usefixtures("no_hub")
def test_nothing_is_downloaded_unless_asked(tmp_path: Path, capsys: Captured) -> None:
    code = command("org/model", tmp_path / "m", "--random-heads", 0)

    assert code == 1
    assert "org/model is no folder; expected a checkpoint's, or --from-hub" in (
        capsys.readouterr().err
    )


def test_hub_without_a_network_is_one_error(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    code = command("org/model", tmp_path / "m", "--from-hub", "--random-heads", 0, "--json")

    error = json.loads(capsys.readouterr().out)["error"]
    assert code == 1
    assert error["type"] == "ModelError"
    assert error["message"].startswith("org/model cannot be had from the hub: ")
    assert not (tmp_path / "m").exists()


def test_name_that_no_hub_takes_is_one_error(tmp_path: Path, capsys: Captured) -> None:
    code = command("a/b/c", tmp_path / "m", "--from-hub", "--random-heads", 0)

    assert code == 1
    assert "a/b/c cannot be had from the hub: " in capsys.readouterr().err


def test_hub_is_asked_for_what_an_export_reads_and_names_the_source(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def fetch(name: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked.extend([name, *allow_patterns, *ignore_patterns])
        return str(exported("bert")[0])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)

    code = command("org/model", tmp_path / "m", "--from-hub", "--random-heads", 0)

    assert code == 0
    assert asked == ["org/model", "*.json", "*.safetensors", "*.jinja", "LICENSE", "*/*"]
    assert read_manifest(tmp_path / "m").source == "org/model"


@pytest.mark.parametrize(
    ("package", "option", "extra"),
    [("huggingface_hub", "--from-hub", "hub"), ("transformers", "--verify", "verify")],
)
def test_missing_package_names_its_extra(
    exported: Export,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    option: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with nothing_left(tmp_path):
        code = command(exported("bert")[0], tmp_path / "m", "--random-heads", 0, option)

    assert code == 1
    assert (
        f"{package} is not installed; `pip install 'similar-fast-export[{extra}]'`"
        in capsys.readouterr().err
    )


def show(*, is_quiet: bool) -> None:
    with terminal.spectator(is_quiet=is_quiet) as watcher:
        watcher.report("writing fp16 graphs")
        watcher.watch(ExportProgress("decoder.onnx", 3_000_000, 1_500_000, 4_000_000))
        watcher.report("comparing with [transformers]")
        watcher.watch(ExportProgress("vision.onnx", 7_000_000, 1_500_000, 4_000_000))


def test_terminal_sees_stages_and_the_bytes_of_each_graph(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    show(is_quiet=False)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "writing fp16 graphs\n" in printed.err
    assert "comparing with [transformers]\n" in printed.err
    assert "vision.onnx, 7.0 MB written" in printed.err


@pytest.mark.parametrize(("is_quiet", "is_terminal"), [(True, True), (False, False)])
def test_nothing_is_shown_where_nobody_watches(
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    is_quiet: bool,  # noqa: FBT001  # a parameter of the test
    is_terminal: bool,  # noqa: FBT001  # as above
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)

    show(is_quiet=is_quiet)

    assert capsys.readouterr() == ("", "")
