"""What the tests of the export share: exporting, spoiling a checkpoint, comparing folders."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from safetensors.numpy import load_file, save_file
from similar_fast import RewardModel
from similar_fast.models.manifest import Manifest
from similar_fast_export.reward_model import ExportOptions, export_reward_model
from similar_fast_export.verify import random_states

Export = Callable[[str], tuple[Path, Path]]
FAMILIES = ("bert", "qwen2", "qwen2_vl", "qwen2_5_vl", "mllama")
WEIGHTS = "model.safetensors"
RANDOM = ExportOptions(random_heads=0)


def export(checkpoint: Path, out: Path, **options: object) -> Manifest:
    return export_reward_model(checkpoint, out, replace(RANDOM, **options))


def copied(exported: Export, family: str, folder: Path) -> Path:
    """A checkpoint that the test may spoil."""
    return Path(shutil.copytree(exported(family)[0], folder / "checkpoint"))


def rewrite(checkpoint: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    tensors = load_file(checkpoint / WEIGHTS)
    change(tensors)
    save_file(tensors, checkpoint / WEIGHTS, metadata={"format": "pt"})


def contents(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern))}


def scores(folder: Path, family: str = "qwen2") -> np.ndarray:
    model = RewardModel.from_pretrained(folder, providers="cpu", threads=1)
    states = random_states(5, has_vision=family not in {"bert", "qwen2"}, num_states=3)
    return np.concatenate([model.score(steps).total for steps in states])


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    before = sorted(folder.rglob("*"))
    yield
    assert sorted(folder.rglob("*")) == before


def alter(graph: Path) -> None:
    """Changes one matrix of the decoder a little, as a wrong conversion would."""
    model = onnx.load(str(graph))
    tensor = next(x for x in model.graph.initializer if x.name.endswith("mlp.down_proj.weight"))
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0] += 0.1
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    graph.write_bytes(model.SerializeToString())
