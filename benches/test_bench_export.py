"""The bench of an export's memory on a checkpoint that is made in a moment; nothing is timed."""

import json
from pathlib import Path

import numpy as np
import pytest
from bench_export_memory import export, score_twice
from real_checkpoints import SIZES, tensor_shapes, write_real
from similar_fast_export.checkpoint import Checkpoint

GIB = 2**30


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_real(folder, SIZES["tiny"], shard_bytes=50_000)
    return folder


def test_random_checkpoint_reads_as_it_was_described(checkpoint: Path) -> None:
    index = json.loads((checkpoint / "model.safetensors.index.json").read_text("utf-8"))

    source = Checkpoint(checkpoint)

    shapes = dict(tensor_shapes(SIZES["tiny"]))
    assert {name: source.shape(name) for name in source.names} == shapes
    assert source.num_bytes == index["metadata"]["total_size"]
    assert len(set(index["weight_map"].values())) > 3
    matrix = source.tensor("model.layers.0.mlp.down_proj.weight")
    assert abs(float(matrix.std()) * 96**0.5 - 1) < 0.05
    assert np.array_equal(source.tensor("model.norm.weight"), np.ones(64))


@pytest.mark.parametrize(("name", "billions"), [("2b", 2.21), ("7b", 8.29)])
def test_sizes_are_those_of_the_published_models(name: str, billions: float) -> None:
    count = sum(int(np.prod(shape)) for _, shape in tensor_shapes(SIZES[name]))

    assert abs(count / 1e9 - billions) < 0.01


def test_export_of_a_tiny_checkpoint_reports_its_peak_and_files(
    checkpoint: Path, tmp_path: Path
) -> None:
    exported = export(checkpoint, tmp_path / "model", "fp16", Checkpoint(checkpoint).num_bytes)

    assert not exported.refusal
    assert 0.02 * GIB < exported.peak_bytes < GIB
    assert {"decoder.onnx", "vision.onnx", "heads.onnx"} <= exported.files.keys()
    assert np.isfinite(score_twice(tmp_path / "model").totals).all()
