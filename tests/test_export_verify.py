"""What an export is held against: transformers, and float32 for quantised builds."""

import json
import lzma
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from exports import (
    FAMILIES,
    Export,
    alter,
    export,
    nothing_left,
    scores,
)
from similar_fast.errors import DataError, ModelError
from similar_fast.models.heads import HEADS_WEIGHTS_NAME, Heads, encode_heads
from similar_fast.models.manifest import HeadsSpec, read_manifest
from similar_fast.prompts.settings import PromptSettings
from similar_fast.records import Labels, StepRecord, encode_record
from similar_fast.reward.model import RewardModel
from similar_fast_export import reward_model, verify
from similar_fast_export.graph import Dtype, Graph
from similar_fast_export.reward_model import dtype_words
from similar_fast_export.verify import check_scores, pair_agreement, read_states

if TYPE_CHECKING:
    from similar_fast import Step


@pytest.mark.parametrize("family", FAMILIES)
def test_verify_passes_and_is_recorded(exported: Export, tmp_path: Path, family: str) -> None:
    checkpoint, _ = exported(family)

    manifest = export(checkpoint, tmp_path / "m", verify=True, seed=1)

    assert manifest.checks["transformers_rank_agreement"] == 1
    errors = [value for name, value in manifest.checks.items() if "error" in name]
    assert len(errors) == 3
    assert 0 < max(errors) < 1e-4
    assert read_manifest(tmp_path / "m").checks == manifest.checks


@pytest.mark.parametrize("family", ["bert", "qwen2"])
def test_verify_passes_for_a_history_first_layout(
    exported: Export, tmp_path: Path, family: str
) -> None:
    checkpoint, _ = exported(family)

    manifest = export(
        checkpoint,
        tmp_path / "m",
        random_heads=0,
        verify=True,
        prompt=PromptSettings(layout="history-first"),
    )

    assert manifest.checks["transformers_rank_agreement"] == 1


def test_verify_refuses_a_wrong_conversion_and_nothing_is_left(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, _ = exported("qwen2")
    save = Graph.save

    def save_wrongly(graph: Graph, path: Path) -> None:
        save(graph, path)
        if path.name == "decoder.onnx":
            alter(path)

    monkeypatch.setattr(Graph, "save", save_wrongly)

    with nothing_left(tmp_path), pytest.raises(ModelError, match=r"_error_\w+ is .*at most 0.0001"):
        export(checkpoint, tmp_path / "m", verify=True)


def test_verify_refuses_heads_that_compute_something_else(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, _ = exported("bert")
    build = reward_model.build_heads

    def build_wrongly(heads: Heads, folder: Path, *rest: object, **options: object) -> HeadsSpec:
        spec = build(heads, folder, *rest, **options)
        (folder / HEADS_WEIGHTS_NAME).write_bytes(
            encode_heads(replace(heads, temperature=heads.temperature * 1.1))
        )
        return spec

    monkeypatch.setattr(reward_model, "build_heads", build_wrongly)

    with (
        nothing_left(tmp_path),
        pytest.raises(ModelError, match=r"transformers_max_error_\w+ is .*at most 0.0001"),
    ):
        export(checkpoint, tmp_path / "m", verify=True)


def test_verify_measures_a_difference_by_the_size_of_the_scores(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = reward_model.random_heads

    def large_heads(hidden_size: int, seed: int) -> Heads:
        heads = drawn(hidden_size, seed)
        return replace(heads, regression=heads.regression * 10_000)

    monkeypatch.setattr(reward_model, "random_heads", large_heads)

    manifest = export(exported("bert")[0], tmp_path / "m", verify=True)

    assert np.abs(scores(tmp_path / "m", "bert")).max() > 1000
    assert manifest.checks["transformers_max_error_dims"] > 1e-4


@pytest.mark.parametrize(
    ("ours", "theirs", "is_close"),
    [
        ([[500.01, 1.0]], [[500.0, 1.0]], True),
        ([[500.1, 1.0]], [[500.0, 1.0]], False),
        ([[500.0, 1.01]], [[500.0, 1.0]], False),
        ([[0.01, 0.00005]], [[0.01, 0.0]], True),
        ([[0.01, 0.0002]], [[0.01, 0.0]], False),
        ([[1.0, 1.0], [np.nan, 1.0]], [[1.0, 1.0], [1.0, 1.0]], False),
        ([[1.0, 1.0]], [[np.inf, 1.0]], False),
        ([[np.inf, 1.0]], [[np.inf, 1.0]], False),
    ],
)
def test_difference_is_small_by_the_size_of_its_own_dimension(
    ours: list[list[float]], theirs: list[list[float]], *, is_close: bool
) -> None:
    _, share = verify._difference(np.float32(ours), np.float32(theirs))

    assert (share <= verify.MAX_ERROR) is is_close


def test_verify_refuses_a_checkpoint_of_another_family(exported: Export) -> None:
    with pytest.raises(ModelError, match=r"of the family 'bert'; .* of 'qwen2'"):
        check_scores(exported("qwen2")[1], exported("bert")[0], dtype="fp32", seed=0)


def test_verify_without_transformers_fails_before_the_weights_are_read(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)

    with nothing_left(tmp_path), pytest.raises(ModuleNotFoundError, match="transformers"):
        export(exported("bert")[0], tmp_path / "m", verify=True)


TOLERANCES: dict[Dtype, float] = {"fp16": 0.05, "int8": 0.6, "int4": 6.0}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("family", ["bert", "qwen2", "qwen2_vl"])
def test_smaller_builds_load_and_score_near_fp32(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, dtype: Dtype
) -> None:
    monkeypatch.setattr(verify, "MIN_RANK_AGREEMENT", 0.5)
    checkpoint, whole = exported(family)

    manifest = export(checkpoint, tmp_path / "m", dtype=dtype)

    difference = np.abs(scores(tmp_path / "m", family) - scores(whole, family)).max()
    assert 0 < difference < TOLERANCES[dtype]
    assert manifest.dtype == dtype_words(dtype, family)
    size = sum(path.stat().st_size for path in (tmp_path / "m").glob("*.onnx*"))
    assert size < 0.8 * sum(path.stat().st_size for path in whole.glob("*.onnx*"))


def test_quantised_build_that_orders_actions_otherwise_is_refused(
    exported: Export, tmp_path: Path
) -> None:
    with (
        nothing_left(tmp_path),
        pytest.raises(ModelError, match=r"orders 0\.\d+ of the pairs as float32 does.*least 0.98"),
    ):
        export(exported("qwen2")[0], tmp_path / "m", dtype="int4")


def steps_file(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_quantised_build_is_compared_on_the_inputs_that_are_named(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Step]] = []
    measure = pair_agreement
    monkeypatch.setattr(
        verify, "pair_agreement", lambda a, b: seen.append([len(x) for x in a]) or measure(a, b)
    )
    monkeypatch.setattr(verify, "MIN_RANK_AGREEMENT", 0.0)
    rows = [{"instruction": "buy a ticket", "actions": ["click a", "click b", "type c"]}]
    inputs = steps_file(tmp_path / "steps.jsonl", *rows)

    manifest = export(exported("qwen2")[0], tmp_path / "m", dtype="int8", inputs=inputs)

    assert seen == [[3]]
    assert set(manifest.checks) == {"rank_agreement", "max_score_error"}
    assert 0 < manifest.checks["max_score_error"] < 1
    assert read_manifest(tmp_path / "m").checks == manifest.checks


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", DataError, "no row of steps"),
        ("", ModelError, "no state with two actions"),
        ('{"instruction": "x", "action": "a"}', ModelError, "no state with two actions"),
    ],
)
def test_inputs_that_compare_nothing_are_refused_before_the_weights_are_read(
    exported: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(reward_model, "_BACKBONES", {})
    inputs = tmp_path / "steps.jsonl"
    inputs.write_text(text, encoding="utf-8")

    with nothing_left(tmp_path), pytest.raises(error, match=message):
        export(exported("qwen2")[0], tmp_path / "m", dtype="int8", inputs=inputs)


def test_rows_of_one_state_are_put_together(tmp_path: Path) -> None:
    state = {"instruction": "x", "history": ["a"], "observation": "o"}
    rows = [
        {**state, "action": "1"},
        {"instruction": "y", "action": "2"},
        {**state, "action": "3"},
        {**state, "screenshot": "s.png", "action": "4"},
        {**state, "screenshot": "s.png", "action": "5"},
        {**state, "screenshot": "t.png", "action": "6"},
    ]

    states = read_states(steps_file(tmp_path / "steps.jsonl", *rows), has_vision=True)

    assert [[step.action for step in steps] for steps in states] == [
        ["1", "3"],
        ["4", "5"],
    ]


def test_collected_steps_are_read_packed_and_so_many_states_evenly(tmp_path: Path) -> None:
    records = [
        StepRecord(
            environment="miniwob",
            task="t",
            trajectory="t/1",
            step=1,
            instruction=f"state {i // 2}",
            action=f"action {i}",
            labels=Labels(helpfulness=0.5),
        )
        for i in range(20)
    ]
    path = tmp_path / "steps.jsonl.xz"
    path.write_bytes(lzma.compress(b"\n".join(map(encode_record, records))))

    every = read_states(path, has_vision=False)
    some = read_states(path, has_vision=False, max_states=4)

    assert [len(steps) for steps in every] == [2] * 10
    assert [steps[0].instruction for steps in some] == [f"state {i}" for i in (0, 2, 5, 7)]


def test_packed_inputs_that_are_broken_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl.xz"
    path.write_bytes(lzma.compress(b'{"instruction": "x", "actions": ["a", "b"]}\n' * 99)[:-40])

    with pytest.raises(DataError, match=r"steps\.jsonl\.xz:\d+: the compressed file is broken"):
        read_states(path, has_vision=False)


@pytest.mark.parametrize("has_vision", [False, True])
def test_own_states_show_pictures_to_models_that_see(has_vision: bool) -> None:  # noqa: FBT001
    states = read_states(None, has_vision=has_vision)

    shown = [steps[0].screenshot is not None for steps in states]
    assert any(shown) is has_vision
    assert not all(shown)


def test_table_of_a_quantised_build_is_float16_as_the_manifest_says(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "MIN_RANK_AGREEMENT", 0.0)

    manifest = export(exported("qwen2")[0], tmp_path / "m", dtype="int8")

    graph = onnx.load(str(tmp_path / "m" / "decoder.onnx")).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert types.pop("embed_tokens") == onnx.TensorProto.FLOAT16
    assert onnx.TensorProto.FLOAT16 not in types.values()
    assert onnx.TensorProto.UINT8 in types.values()
    assert "tables float16, the rest float32" in manifest.dtype


def test_small_model_in_int8_keeps_its_tables_in_int8_as_the_manifest_says(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "MIN_RANK_AGREEMENT", 0.0)

    manifest = export(exported("bert")[0], tmp_path / "m", dtype="int8")

    graph = onnx.load(str(tmp_path / "m" / "decoder.onnx")).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert types["embeddings.word_embeddings"] == onnx.TensorProto.INT8
    assert types["embeddings.position_embeddings"] == onnx.TensorProto.INT8
    assert {onnx.TensorProto.FLOAT16, onnx.TensorProto.UINT8}.isdisjoint(types.values())
    assert "MatMulNBits" not in {node.op_type for node in graph.node}
    assert manifest.dtype.startswith("int8 weights, one float scale for 64 of them (for a row")


def test_small_model_in_int8_scores_a_step_the_same_alone_and_among_others(
    exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "MIN_RANK_AGREEMENT", 0.0)
    export(exported("bert")[0], tmp_path / "m", dtype="int8")
    model = RewardModel(tmp_path / "m", providers="cpu")
    states = verify.random_states(0, has_vision=False)

    together = model.score([step for steps in states for step in steps]).total

    model.clear_caches()
    alone = [model.score([step]).total[0] for steps in states for step in steps]
    assert np.abs(together - alone).max() < 1e-5
    assert np.ptp(together) > 0.01
