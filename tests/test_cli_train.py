"""`similar-fast train` from files to a model: every family, scores, what is refused, resuming."""

import json
import re
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from exports import copied, rewrite
from msgspec.structs import replace
from pictures import draw, encode
from similar_fast import RewardModel
from similar_fast.cli import _parser, main
from similar_fast.cli.train_options import add_options, train_settings
from similar_fast.models.heads import read_heads
from similar_fast.models.manifest import read_manifest
from similar_fast.prompts.settings import PromptSettings, read_prompt
from similar_fast.srm.screenshots import ScreenshotStore
from similar_fast.srm.writers import write_data
from similar_fast.train.data import training_set
from similar_fast.train.heads import HeadsModule
from similar_fast.types import Step
from similar_fast_export.cli import main as export_main
from similar_fast_export.reference import Reference
from train_data import clicks, write_clicks

Export = Callable[[str], tuple[Path, Path]]
FAMILIES = ("bert", "qwen2", "qwen2_vl", "qwen2_5_vl", "mllama")
QUICK = (
    *("--epochs", 2, "--batch-states", 4, "--save-every", 1, "--threads", 1),
    *("--gate-steps", 10, "--gate-widths", "16,16", "--gate-batch", 8, "--lora-rank", 2),
    *("--validation-tasks", "click-1"),
)


def command(*argv: object) -> int:
    return main(["train", *map(str, argv)])


def quick(family: str) -> tuple[object, ...]:
    """A bert has no adapters."""
    words = list(QUICK)
    if family == "bert":
        words[words.index("--lora-rank") + 1] = 0
    return tuple(words)


def torch_scores(checkpoint: Path, model: Path, steps: list[Step]) -> np.ndarray:
    """Of transformers' layers and the heads in torch, `[n, 6]`: dimensions and total."""
    heads = HeadsModule(read_heads(checkpoint / "heads.safetensors"))
    features = Reference(checkpoint, read_manifest(model)).features(steps)
    scores = heads.scores(*features)
    assert scores.dims is not None
    return np.column_stack([scores.dims, scores.total])


def runtime_scores(model: Path, steps: list[Step]) -> np.ndarray:
    scores = RewardModel.from_pretrained(model, providers="cpu", threads=1).score(steps)
    assert scores.dims is not None
    return np.column_stack([scores.dims, scores.total])


@pytest.mark.parametrize("family", FAMILIES)
def test_any_family_trains_and_scores_the_same_before_and_after_export(
    family: str, exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sees = family not in {"bert", "qwen2"}
    store = ScreenshotStore(tmp_path / "shots")
    pictures = tuple(store.put(encode(draw(64 + i, 56, seed=i))) for i in range(2)) if sees else ()
    data = {"tasks": ("click-0", "click-1", "click-2"), "episodes": 2, "pictures": pictures}
    path, out = write_clicks(tmp_path / "steps.jsonl", **data), tmp_path / "out"
    options = ("--screenshots", store.folder) if sees else ("--mark-overlap", "--max-history", 1)

    code = command(
        path, "--backbone", exported(family)[0], "--out", out, *quick(family), *options, "--json"
    )

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["training_tasks"] == ["click-0", "click-2"]
    assert document["validation_tasks"] == ["click-1"]
    assert document["is_gated"]
    assert document["plain"]["pairs"]["total"] == 4
    rows = training_set(clicks(**data), open_screenshot=lambda name: lambda: store.open(name))
    assert all((step.screenshot is not None) is sees for step in rows.steps)
    expected = torch_scores(out / "checkpoint", out / "model", list(rows.steps))
    found = runtime_scores(out / "model", list(rows.steps))
    assert np.abs(found - expected).max() < 1e-4 * max(1, np.abs(expected).max())
    assert np.ptp(found[:, 5]) > 1e-3
    verify = ["verify", str(out / "checkpoint"), str(out / "model")]
    assert export_main(verify) == 0
    untrained = json.loads((exported(family)[0] / "config.json").read_text())
    trained = json.loads((out / "checkpoint" / "config.json").read_text())
    assert trained["model_type"] == untrained["model_type"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of toy clicks."""
    folder = tmp_path_factory.mktemp("toy")
    return write_clicks(folder / "steps.jsonl", tasks=("click-0", "click-1", "click-2"))


def test_person_reads_how_good_it_is_and_what_comes_next(
    exported: Export, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    code = command(
        toy, "--backbone", exported("bert")[0], "--out", out, *quick("bert"),
        *("--name", "toy-1", "--license", "Apache-2.0", "--dtype", "fp16"),
        *("--mark-overlap", "--max-history", "3"),
    )  # fmt: skip

    printed = capsys.readouterr().out
    text = " ".join(printed.split())
    assert code == 0
    assert "SMALL --dtype int8" in text
    assert read_prompt(out / "checkpoint") == PromptSettings(marks_overlap=True, max_history=3)
    next_ones = re.findall(r"^  similar-fast (.*)$", printed, re.MULTILINE)
    assert [x.split()[0] for x in next_ones] == ["score", "eval"]
    for call in next_ones:
        _parser().parse_args(shlex.split(call))
    assert "trained on 24 steps and 16 pairs of 2 tasks" in text
    assert "on 12 steps of tasks that no stage saw" in text
    for row in ("helpfulness", "odds of success", "total, plain sum", "total, gated"):
        assert row in text
    assert f"similar-fast score IN.jsonl --model {out / 'model'}" in text
    assert not list(out.glob("*.safetensors"))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [x["stage"] for x in lines[-2:]] == ["plain", "gated"]
    tuned = [x for x in lines if x["stage"] == "fine-tuning"]
    assert tuned[-1]["step"] == tuned[-1]["steps"]
    assert tuned[-1]["validation"]["pairs"]["total"] == 8
    gating = [x for x in lines if x["stage"] == "gating"]
    assert gating[-1]["step"] == 10
    manifest = read_manifest(out / "model")
    assert (manifest.license, manifest.source) == ("Apache-2.0", "toy-1")
    card = (out / "model" / "README.md").read_text("utf-8")
    for part in (
        "# toy-1",
        "| backbone | bert, 64 wide |",
        "| weights | float16, sums in float32 out of the training; stored here as ",
        "| stages | fine-tuning (all layers, 2 epochs), regression, gate |",
        "| data | steps.jsonl |",
        "| trained on | 24 steps and 16 pairs of 2 tasks: click-0, click-2 |",
        "| measured on | click-1 |",
        "| split | whole tasks are held out |",
        "| numbers | measured in float32, before the weights were stored as float16",
        "| seed | 0 |",
        "## On the validation tasks, gated total",
        "## Limits",
    ):
        assert part in card
    assert "shuffled" not in card
    assert (out / "checkpoint" / "README.md").read_text("utf-8") == card
    assert json.loads((out / "result.json").read_bytes())["inner_held_out_seen_by_stage_0"]
    assert "inner_accuracy" in gating[-1]


def test_heads_alone_are_trained_on_a_backbone_as_it_is(
    exported: Export, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, out = exported("qwen2")[0], tmp_path / "out"
    options = ("--no-finetune", "--no-gate", "--shuffle-labels", "--validation-share", 0)

    code = command(toy, "--backbone", checkpoint, "--out", out, "--threads", 1, *options)

    captured = capsys.readouterr()
    assert code == 0
    assert "so this training did not measure how good the model is" in captured.err
    assert not (out / "backbone").exists()
    weights = "model.safetensors"
    assert (out / "checkpoint" / weights).read_bytes() == (checkpoint / weights).read_bytes()
    card = (out / "model" / "README.md").read_text("utf-8")
    assert "it is a control and knows nothing" in card
    assert "| stages | regression |" in card
    assert "| measured on | nothing: no task was held out |" in card
    assert "| split | nothing is held out: this training did not measure how good" in card


def test_checkpoint_takes_what_belongs_to_the_backbone_alone(
    exported: Export, toy: Path, tmp_path: Path
) -> None:
    checkpoint, out = copied(exported, "bert", tmp_path), tmp_path / "out"
    (checkpoint / "thesis.tex").touch()
    (checkpoint / "runs").mkdir()
    heads = checkpoint / "heads.safetensors"
    heads.touch(0o444)
    checkpoint.chmod(0o555)

    try:
        code = command(
            toy,
            "--backbone",
            checkpoint,
            "--out",
            out,
            "--threads",
            1,
            "--no-finetune",
            "--no-gate",
        )
    finally:
        checkpoint.chmod(0o755)

    assert code == 0
    names = {path.name for path in (out / "checkpoint").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert names.isdisjoint({"thesis.tex", "runs"})
    assert read_heads(out / "checkpoint" / heads.name).hidden_size == 64


@pytest.mark.parametrize("inner", ["out", "backbone"])
def test_run_and_backbone_in_one_another_are_refused(
    inner: str, toy: Path, exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = copied(exported, "bert", tmp_path)
    out = checkpoint / "out" if inner == "out" else tmp_path

    assert command(toy, "--backbone", checkpoint, "--out", out, "--resume") == 3
    assert "lies in the other; expected two folders apart" in capsys.readouterr().err
    assert not (checkpoint / "out").exists()


def test_one_task_alone_is_split_by_episodes(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_clicks(tmp_path / "one.jsonl", tasks=("click-0",), episodes=6)
    options = ("--no-finetune", "--no-gate", "--threads", 1)

    code = command(path, "--backbone", exported("bert")[0], "--out", tmp_path / "out", *options)

    assert code == 0
    assert "on 3 steps of episodes that no stage saw" in capsys.readouterr().out


def test_splits_of_the_data_are_told_unless_one_is_named(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = list(clicks(tasks=("click-0", "click-1"), episodes=2))
    path = tmp_path / "two.jsonl"
    splits = {"click-0": "train", "click-1": "eval"}
    write_data(path, [replace(record, split=splits[record.task]) for record in records])
    options = ("--backbone", exported("bert")[0], "--no-finetune", "--no-gate", "--threads", 1)

    assert command(path, *options, "--validation-share", 0, "--out", tmp_path / "all") == 0
    told = capsys.readouterr().err
    assert "all splits are trained on (eval, train); --split takes one" in told
    assert command(path, *options, "--out", tmp_path / "one", "--split", "train", "--json") == 0
    shown = capsys.readouterr()
    assert "splits" not in shown.err
    assert json.loads(shown.out)["training_tasks"] == ["click-0"]


@pytest.mark.parametrize("stage", ["fine-tuning", "computing features", "gating", "exporting"])
def test_interrupted_run_goes_on_to_the_same_model(
    stage: str,
    finished: Path,
    toy: Path,
    exported: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    argv = (toy, "--backbone", exported("bert")[0], "--out", out, *quick("bert"))
    seen: list[tuple[str, int]] = []
    with monkeypatch.context() as patch:
        from similar_fast.cli.train import _Stages  # noqa: PLC0415  # what the patch is of

        def progress(self: _Stages, name: str, done: int, total: int) -> None:
            if name == stage and done >= total // 2:
                raise KeyboardInterrupt

        patch.setattr(_Stages, "progress", progress)
        assert command(*argv) == 130
    assert "the same command with --resume goes on from here" in capsys.readouterr().err
    assert command(*argv) == 3
    assert "is not empty; expected a new folder, or a run to resume" in capsys.readouterr().err

    with monkeypatch.context() as patch:
        plain = _Stages.progress

        def told(self: _Stages, name: str, done: int, total: int) -> None:
            seen.append((name, done))
            plain(self, name, done, total)

        patch.setattr(_Stages, "progress", told)
        assert command(*argv, "--resume") == 0

    names = [name for name, _ in seen]
    if stage == "fine-tuning":
        assert seen[0] == (stage, 2)
    else:
        assert names[0] == "computing features"
        assert (names.count("gating") == 0) is (stage == "exporting")
    for name in ("heads.safetensors", "decoder.onnx", "heads.onnx", "README.md", "similar.json"):
        assert (out / "model" / name).read_bytes() == (finished / "model" / name).read_bytes()
    left = {path.name for path in out.iterdir()}
    assert left == {path.name for path in finished.iterdir()}


@pytest.fixture(scope="module")
def finished(exported: Export, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody interrupted."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert command(toy, "--backbone", exported("bert")[0], "--out", out, *quick("bert")) == 0
    return out


def test_finished_run_is_told_of_again_and_not_trained(
    finished: Path, toy: Path, exported: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    plan = json.loads((finished / "plan.json").read_bytes())
    argv = (toy, "--backbone", exported("bert")[0], "--out", finished, *quick("bert"))
    capsys.readouterr()

    assert command(*argv, "--resume", "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert told == {"out": str(finished), **json.loads((finished / "result.json").read_bytes())}
    assert (finished / "metrics.jsonl").read_bytes() == before
    assert "device" not in plan["settings"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("--seed", 1), "the run has other settings (seed); expected the same"),
        (("--gate-steps", 11), "other settings (gate)"),
        (("--epochs", 3, "--name", "x"), "other settings (export, finetune)"),
    ],
)
def test_run_of_other_settings_is_not_gone_on_with(
    changed: tuple[object, ...],
    message: str,
    finished: Path,
    toy: Path,
    exported: Export,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backbone = exported("bert")[0]
    argv = (toy, "--backbone", backbone, "--out", finished, *quick("bert"), *changed)

    assert command(*argv, "--resume") == 3
    assert message in capsys.readouterr().err


def test_run_of_other_data_or_weights_is_not_gone_on_with(
    finished: Path,
    toy: Path,
    exported: Export,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = write_clicks(tmp_path / "steps.jsonl", tasks=("click-0", "click-1"), seed=9)
    argv = ("--out", finished, *quick("bert"), "--resume")

    assert command(other, "--backbone", exported("bert")[0], *argv) == 3
    assert "the run has other data; expected" in capsys.readouterr().err
    assert command(toy, "--backbone", _spoiled(exported, tmp_path), *argv) == 3
    assert "the run has other checkpoint; expected" in capsys.readouterr().err
    template = copied(exported, "bert", tmp_path / "template")
    (template / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    assert command(toy, "--backbone", template, *argv) == 3
    assert "the run has other checkpoint; expected" in capsys.readouterr().err
    (tmp_path / "plan.json").write_text("{", encoding="utf-8")
    backbone = ("--backbone", exported("bert")[0])
    assert command(toy, *backbone, "--out", tmp_path, *quick("bert"), "--resume") == 3
    assert "the plan cannot be read" in capsys.readouterr().err


def _spoiled(exported: Export, folder: Path) -> Path:
    checkpoint = copied(exported, "bert", folder)
    rewrite(checkpoint, lambda tensors: tensors["embeddings.LayerNorm.bias"].__iadd__(1))
    return checkpoint


def test_folder_of_something_else_is_refused(
    toy: Path, exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").touch()
    argv = (toy, "--backbone", exported("bert")[0], "--out", tmp_path, *quick("bert"))

    assert command(*argv, "--resume") == 3
    assert "holds no run to resume" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--validation-tasks", "nowhere"), "the data has no task 'nowhere' to validate on"),
        (("--validation-tasks", "click-0,click-1,click-2"), "none of 0 steps to train on has"),
        (("--min-difference", 99), "there are no pairs to train the gate on"),
        (("--lora-rank", 2), "a bert is trained whole"),
        (("--lora-rank", -1), "lora_rank is -1; expected at least 0"),
        (("--screenshots", "."), "the backbone is a bert, which reads words alone"),
        (("--threads", 0), "--threads must be at least 1, got 0"),
        (("--seed", -1), "the seed is -1; expected at least 0"),
        (("--gate-steps", 0), "steps is 0; expected at least 1"),
        (("--gate-scale", 0), "scale is 0.0; expected a number above 0"),
        (("--lexical-prior", -1), "lexical_prior is -1.0; expected at least 0"),
        (("--feature-share", 0), "the share of the states is 0.0; expected one in (0, 1]"),
        (("--average", 1), "average is 1.0; expected a share of at least 0 and below 1"),
        (("--epochs", 0), "epochs is 0.0; expected a number above 0"),
        (("--validation-share", 1), "share to hold out is 1.0"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    options: tuple[object, ...],
    message: str,
    toy: Path,
    exported: Export,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backbone = exported("bert")[0]
    capsys.readouterr()

    code = command(toy, "--backbone", backbone, "--out", tmp_path / "out", *options)

    error = capsys.readouterr().err
    assert code == 3
    assert message in error
    assert error.count("\n") == 1
    # The next call needs no other folder.
    assert {path.name for path in (tmp_path / "out").glob("*")} <= {"lock"}


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("qwen2", ("--validation-share", 0.2), 'adapters need `pip install "similar-fast[train]"`'),
        (
            "bert",
            ("--plain-share", 0, "--min-difference", 99, "--no-gate"),
            "rows has a pair in its state and plain_share is 0.0",
        ),
    ],
)
def test_what_stage_0_lacks_is_refused_before_anything_is_exported(
    family: str,
    options: tuple[object, ...],
    message: str,
    toy: Path,
    exported: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    backbone, out = exported(family)[0], tmp_path / "out"
    capsys.readouterr()

    assert command(toy, "--backbone", backbone, "--out", out, "--threads", 1, *options) == 3
    assert message in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {"lock"}


def test_folder_that_is_no_checkpoint_is_refused(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")

    assert command(toy, "--backbone", checkpoint, "--out", tmp_path / "out") == 3
    assert "has the model_type 'gpt2'; expected one of bert, qwen2" in capsys.readouterr().err


def test_missing_extra_says_what_to_install(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("similar_fast.cli.train.find_spec", lambda name: None)

    assert command(toy, "--backbone", tmp_path, "--out", tmp_path / "out") == 3
    assert 'pip install "similar-fast[train]"' in capsys.readouterr().err


def test_missing_tracker_says_what_to_install(
    toy: Path,
    exported: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    argv = (toy, "--backbone", exported("bert")[0], "--out", tmp_path / "out", "--track", "wandb")

    assert command(*argv) == 3
    assert "tracking with wandb needs `pip install wandb`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [("--gate-widths", "a"), ("--gate-widths", "0"), ("--device",), ("--dtype", "int2")]
)
def test_wrong_call_is_a_matter_of_usage(argv: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        command("x.jsonl", "--backbone", tmp_path, "--out", tmp_path / "out", *argv)
    assert caught.value.code == 2


def test_backbone_of_rows_gets_fewer_states_a_step_unless_told_otherwise() -> None:
    parser = ArgumentParser()
    add_options(parser)
    where = {"device": "cpu", "data": [], "backbone": Path("nowhere")}

    found = []
    for family, words in (("bert", []), ("qwen2", []), ("qwen2", ["--batch-states", "9"])):
        args = parser.parse_args(words, Namespace(**where))
        settings = train_settings(args, family)
        assert settings.finetune is not None
        found.append(settings.finetune.sampling.batch_states)

    assert found == [12, 4, 9]


def test_no_ending_pairs_leaves_them_out_of_every_stage() -> None:
    parser = ArgumentParser()
    add_options(parser)
    where = {"device": "cpu", "data": [], "backbone": Path("nowhere")}

    plain, without = (
        train_settings(parser.parse_args(words, Namespace(**where)), "bert")
        for words in ([], ["--no-ending-pairs"])
    )

    assert plain.finetune is not None
    assert without.finetune is not None
    assert (plain.pairs.across_endings, plain.finetune.ending_weight) == (True, 0.5)
    assert (without.pairs.across_endings, without.finetune.ending_weight) == (False, 0)
