"""A model's folder: whole or not at all, the same bytes each time, and near what it came from."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import checkpoints
import numpy as np
import onnx
import pytest
import torch
from exports import (
    FAMILIES,
    RANDOM,
    WEIGHTS,
    Export,
    contents,
    copied,
    export,
    nothing_left,
    rewrite,
    scores,
)
from safetensors.numpy import load_file, save_file
from similar_fast import RewardModel
from similar_fast.errors import ModelError
from similar_fast.models.heads import encode_heads, random_heads
from similar_fast.models.manifest import describe_file, read_manifest
from similar_fast.prompts.settings import PromptSettings, write_prompt
from similar_fast_export import reward_model
from similar_fast_export.cli import main
from similar_fast_export.graph import Graph
from similar_fast_export.reward_model import export_reward_model

if TYPE_CHECKING:
    from similar_fast_export.progress import ExportProgress


@pytest.mark.parametrize("family", FAMILIES)
def test_same_checkpoint_gives_the_same_bytes(
    exported: Export, tmp_path: Path, family: str
) -> None:
    checkpoint, first = exported(family)

    export(checkpoint, tmp_path / "again")

    assert contents(tmp_path / "again") == contents(first)


def test_manifest_names_source_licence_and_tools(exported: Export, tmp_path: Path) -> None:
    checkpoint, _ = exported("bert")

    manifest = export(checkpoint, tmp_path / "m", name="org/model", license_id="MIT")

    assert manifest == read_manifest(tmp_path / "m")
    assert (manifest.source, manifest.license) == ("org/model", "MIT")
    assert {"onnx", "similar-fast", "tokenizers"} <= set(manifest.versions)
    assert {file.name for file in manifest.files} == {
        path.name for path in (tmp_path / "m").iterdir()
    } - {"similar.json"}


def test_source_is_the_folder_even_where_it_is_the_present_one(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, _ = exported("bert")
    monkeypatch.chdir(checkpoint)

    assert export(Path(), tmp_path / "m").source == checkpoint.name


def test_layout_changes_the_prompt(exported: Export, tmp_path: Path) -> None:
    checkpoint, plain = exported("bert")

    manifest = export(checkpoint, tmp_path / "m", prompt=PromptSettings(layout="history-first"))

    fields = [piece.field for piece in manifest.reward.prompt.prefix if piece.field]
    assert fields == ["instruction", "history", "observation"]
    assert read_manifest(plain).reward.prompt.layout == "screen-first"


def test_trained_checkpoint_says_how_it_is_asked(
    exported: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = copied(exported, "bert", tmp_path)
    trained = PromptSettings(marks_overlap=True, max_history=3)
    write_prompt(checkpoint, trained)

    def run(name: str, *options: str) -> int:
        return main([str(checkpoint), str(tmp_path / name), "--random-heads", "0", *options])

    assert run("m") == run("same", "--mark-overlap", "--max-history", "3") == 0
    assert run("other", "--max-history", "3") == 1

    prompts = [read_manifest(tmp_path / name).reward.prompt for name in ("m", "same")]
    assert prompts[0] == prompts[1]
    assert (prompts[0].marks_overlap, prompts[0].max_history) == (True, 3)
    error = capsys.readouterr().err
    assert "was trained with PromptSettings(layout='screen-first', marks_overlap=True" in error
    assert not (tmp_path / "other").exists()


def test_broken_word_on_the_prompt_is_refused(exported: Export, tmp_path: Path) -> None:
    checkpoint = copied(exported, "bert", tmp_path)
    (checkpoint / "prompt.json").write_text('{"max_history": 0}')

    with pytest.raises(ModelError, match=r"prompt\.json does not say how .*\$\.max_history"):
        export(checkpoint, tmp_path / "m")


def test_shards_give_the_same_graphs(exported: Export, tmp_path: Path) -> None:
    whole, folder = exported("qwen2")
    sharded = copied(exported, "qwen2", tmp_path)
    (sharded / WEIGHTS).unlink()
    model = checkpoints.Qwen2ForCausalLM.from_pretrained(whole)
    model.save_pretrained(sharded, max_shard_size="20KB")
    assert len(list(sharded.glob("*.safetensors"))) > 5

    export(sharded, tmp_path / "m")

    assert contents(tmp_path / "m", "*.onnx*") == contents(folder, "*.onnx*")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.05), ("bfloat16", 0.4)])
def test_half_precision_checkpoint_scores_near_the_whole_one(
    exported: Export, tmp_path: Path, dtype: str, tolerance: float
) -> None:
    whole, folder = exported("qwen2")
    half = copied(exported, "qwen2", tmp_path)
    model = checkpoints.Qwen2ForCausalLM.from_pretrained(whole, dtype=getattr(torch, dtype))
    model.save_pretrained(half)

    export(half, tmp_path / "m")

    difference = np.abs(scores(tmp_path / "m") - scores(folder)).max()
    assert 0 < difference < tolerance


def test_half_precision_checkpoint_equals_transformers_in_float32(
    exported: Export, tmp_path: Path
) -> None:
    half = copied(exported, "qwen2", tmp_path)
    checkpoints.Qwen2ForCausalLM.from_pretrained(half, dtype=torch.bfloat16).save_pretrained(half)

    manifest = export(half, tmp_path / "m", verify=True)

    assert manifest.checks["transformers_max_error_total"] < 1e-4


def test_word_table_that_is_not_tied_to_a_head_is_enough(exported: Export, tmp_path: Path) -> None:
    checkpoint = copied(exported, "qwen2", tmp_path)
    rewrite(checkpoint, lambda tensors: tensors.pop("lm_head.weight"))

    export(checkpoint, tmp_path / "m")

    assert contents(tmp_path / "m", "*.onnx*") == contents(exported("qwen2")[1], "*.onnx*")


NESTED = {"visual.": "model.visual.", "model.": "model.language_model."}
LAYOUTS = {
    "qwen2-bare": ("qwen2", {"model.": ""}),
    "qwen2-language": ("qwen2", {"model.": "language_model."}),
    "qwen2_vl-nested": ("qwen2_vl", NESTED),
    "qwen2_5_vl-nested": ("qwen2_5_vl", NESTED),
    "mllama-nested": (
        "mllama",
        {
            "vision_model.": "model.vision_model.",
            "language_model.model.": "model.language_model.",
            "multi_modal_projector.": "model.multi_modal_projector.",
        },
    ),
    "bert-prefixed": ("bert", {"": "bert."}),
}


def renamed(name: str, prefixes: dict[str, str]) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_under_other_prefixes_give_the_same_graphs(
    exported: Export, tmp_path: Path, layout: str
) -> None:
    family, prefixes = LAYOUTS[layout]
    checkpoint = copied(exported, family, tmp_path)
    tensors = load_file(checkpoint / WEIGHTS)
    assert all(any(name.startswith(old) for name in tensors) for old in prefixes)
    save_file({renamed(x, prefixes): v for x, v in tensors.items()}, checkpoint / WEIGHTS)

    export(checkpoint, tmp_path / "m")

    assert contents(tmp_path / "m", "*.onnx*") == contents(exported(family)[1], "*.onnx*")


def set_value(name: str, value: float) -> Callable[[dict[str, np.ndarray]], object]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[name].flat[3] = value

    return change


NORM = "model.layers.1.input_layernorm.weight"
SPOILS: dict[str, tuple[Callable[[dict[str, np.ndarray]], object], str]] = {
    "nan": (set_value(NORM, np.nan), f"{NORM} holds NaN"),
    "shape": (
        lambda tensors: tensors.update({NORM: np.ones(7, np.float32)}),
        rf"{NORM} has the shape \(7,\); expected \(64,\)",
    ),
    "lost": (lambda tensors: tensors.pop(NORM), f"has no tensor {NORM}"),
    "ids": (
        lambda tensors: tensors.update({NORM: np.ones(64, np.int8)}),
        f"{NORM} is of I8; expected F32, F16, BF16",
    ),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_broken_weight_is_named_and_nothing_is_left(
    exported: Export, tmp_path: Path, spoil: str
) -> None:
    change, message = SPOILS[spoil]
    checkpoint = copied(exported, "qwen2", tmp_path)
    rewrite(checkpoint, change)

    with nothing_left(tmp_path), pytest.raises(ModelError, match=message):
        export(checkpoint, tmp_path / "new" / "folders" / "m")


def test_value_beyond_fp16_is_refused_and_nothing_is_left(exported: Export, tmp_path: Path) -> None:
    checkpoint = copied(exported, "qwen2", tmp_path)
    rewrite(checkpoint, set_value("model.layers.0.mlp.up_proj.weight", 1e6))

    with nothing_left(tmp_path), pytest.raises(ModelError, match="beyond 65504"):
        export(checkpoint, tmp_path / "m", dtype="fp16")


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("tokenizer.json", "tokenizer.json is missing"),
        ("config.json", "config.json is missing"),
        (WEIGHTS, "holds no model.safetensors"),
        ("chat_template.json", "template"),
    ],
)
def test_checkpoint_without_a_file_is_refused_and_nothing_is_left(
    exported: Export, tmp_path: Path, lost: str, message: str
) -> None:
    checkpoint = copied(exported, "qwen2", tmp_path)
    (checkpoint / lost).unlink()

    with nothing_left(tmp_path), pytest.raises(ModelError, match=message):
        export(checkpoint, tmp_path / "m")


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_what_fails_in_the_middle_leaves_nothing(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    checkpoint, _ = exported("qwen2")

    def fail(*_: object) -> None:
        assert any(tmp_path.glob("a/b/.m.*/model/decoder.onnx"))
        raise error

    monkeypatch.setattr(reward_model, "prompt_spec", lambda *_, **__: fail())

    with nothing_left(tmp_path), pytest.raises(type(error)):
        export(checkpoint, tmp_path / "a" / "b" / "m")


def test_folder_that_exists_is_refused_and_kept(exported: Export, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine").write_text("kept", encoding="utf-8")

    with nothing_left(tmp_path), pytest.raises(FileExistsError, match="m exists; expected a new"):
        export(exported("bert")[0], tmp_path / "m")


def test_missing_heads_say_how_to_get_some(exported: Export, tmp_path: Path) -> None:
    with nothing_left(tmp_path), pytest.raises(ModelError, match=r"--heads .*--random-heads"):
        export(exported("bert")[0], tmp_path / "m", random_heads=None)


def test_heads_are_missed_before_the_weights_are_read(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reward_model, "_BACKBONES", {})

    with pytest.raises(ModelError, match=r"heads.safetensors is missing"):
        export(exported("bert")[0], tmp_path / "m", random_heads=None)


@pytest.mark.parametrize("place", ["beside the checkpoint", "a file of its own"])
def test_heads_from_a_file_are_taken(exported: Export, tmp_path: Path, place: str) -> None:
    checkpoint = copied(exported, "bert", tmp_path)
    drawn = replace(random_heads(64, 7), is_random=False)
    beside = place == "beside the checkpoint"
    path = checkpoint / "heads.safetensors" if beside else tmp_path / "mine.safetensors"
    path.write_bytes(encode_heads(drawn))

    named = None if beside else path
    manifest = export(checkpoint, tmp_path / "m", random_heads=None, heads=named)

    assert not manifest.reward.heads.is_random
    assert (tmp_path / "m" / "heads.safetensors").read_bytes() == path.read_bytes()


def test_heads_of_another_width_are_refused(exported: Export, tmp_path: Path) -> None:
    (tmp_path / "h").write_bytes(encode_heads(random_heads(32, 0)))

    with nothing_left(tmp_path), pytest.raises(ModelError, match="64"):
        export(exported("bert")[0], tmp_path / "m", random_heads=None, heads=tmp_path / "h")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random_heads": -1}, "random_heads is -1; expected a seed"),
        ({"seed": -3}, "seed is -3; expected a seed"),
        ({"heads": Path("h")}, "heads are h and drawn at random; expected one of the two"),
        ({"inputs": Path("x")}, "inputs are x and the dtype is fp32; expected int8 or int4"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    exported: Export, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with nothing_left(tmp_path), pytest.raises(ValueError, match=message):
        export(exported("bert")[0], tmp_path / "m", **options)


def test_watcher_sees_every_graph_and_the_bytes_of_all_weights(
    exported: Export, tmp_path: Path
) -> None:
    told: list[ExportProgress] = []
    words: list[str] = []
    checkpoint, _ = exported("qwen2_vl")

    export_reward_model(checkpoint, tmp_path / "m", RANDOM, report=words.append, watch=told.append)

    assert list(dict.fromkeys(now.graph for now in told)) == ["vision.onnx", "decoder.onnx"]
    assert words == ["writing fp32 graphs"]
    assert [now.num_read for now in told] == sorted(now.num_read for now in told)
    assert [now.num_written for now in told] == sorted(now.num_written for now in told)
    tensors = load_file(checkpoint / WEIGHTS)
    total = sum(tensor.nbytes for tensor in tensors.values())
    assert {now.num_bytes for now in told} == {total}
    assert told[-1].num_read == total - tensors["lm_head.weight"].nbytes


@pytest.fixture
def with_data(exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose matrices lie in files of their own."""
    monkeypatch.setitem(Graph.save.__kwdefaults__, "inline_bytes", 1024)
    export(exported("qwen2")[0], tmp_path / "model")
    return tmp_path / "model"


def test_weights_beside_the_graph_score_alike(exported: Export, with_data: Path) -> None:
    assert (with_data / "decoder.onnx.data").stat().st_size > 100_000
    assert "decoder.onnx.data" in {file.name for file in read_manifest(with_data).files}

    assert np.array_equal(scores(with_data), scores(exported("qwen2")[1]))


def test_links_of_a_hub_cache_are_accepted(with_data: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "5e1f"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for file in with_data.iterdir():
        digest = describe_file(file).sha256
        shutil.copyfile(file, blobs / digest)
        (snapshot / file.name).symlink_to(Path("../../blobs", digest))

    assert np.array_equal(scores(snapshot), scores(with_data))


def test_weights_outside_the_folder_are_refused(with_data: Path, tmp_path: Path) -> None:
    (with_data / "decoder.onnx.data").rename(tmp_path / "x")
    graph = with_data / "decoder.onnx"
    model = onnx.load(str(graph), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../x" if entry.key == "location" else entry.value
    graph.write_bytes(model.SerializeToString())
    manifest = json.loads((with_data / "similar.json").read_text(encoding="utf-8"))
    kept = [x for x in manifest["files"] if not x["name"].startswith("decoder.onnx")]
    kept.append(asdict(describe_file(graph)))
    (with_data / "similar.json").write_text(json.dumps(manifest | {"files": kept}))

    with pytest.raises(ModelError, match=r"decoder.onnx .*escapes"):
        RewardModel.from_pretrained(with_data, providers="cpu")


@pytest.mark.parametrize(
    "change",
    [
        {"rope_parameters": 5},
        {"head_dim": "8"},
        {"layer_types": 5},
        {"rms_norm_eps": None},
    ],
)
def test_configuration_of_strange_types_is_a_model_error(
    exported: Export, tmp_path: Path, change: dict[str, object]
) -> None:
    checkpoint = copied(exported, "qwen2", tmp_path / "checkpoint")
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(ModelError):
        export(checkpoint, tmp_path / "m", random_heads=0)
