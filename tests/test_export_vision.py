"""The vision graphs of the Qwen families against transformers' towers, from pixels to tokens."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import checkpoints
import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from similar_fast.errors import ModelError
from similar_fast.models.manifest import PatchSpec
from similar_fast.processing.patches import cut_patches
from similar_fast_export.checkpoint import Checkpoint
from similar_fast_export.graph import Dtype
from similar_fast_export.vision_qwen import build_vision
from transformers import AutoImageProcessor, PreTrainedModel

TOLERANCE = 1e-4
SIZES = [(56, 56), (60, 90), (200, 64), (140, 252), (252, 140), (301, 117)]
FAMILIES = {"qwen2_vl": checkpoints.qwen2_vl, "qwen2_5_vl": checkpoints.qwen2_5_vl}


@dataclass(frozen=True)
class Tower:
    """An exported tower and the checkpoint that it was made from."""

    folder: Path
    model: PreTrainedModel
    spec: PatchSpec
    session: onnxruntime.InferenceSession

    @classmethod
    def make(
        cls, folder: Path, write: Callable[[Path], PreTrainedModel], dtype: Dtype = "fp32"
    ) -> "Tower":
        model = write(folder)
        spec = build_vision(Checkpoint(folder), folder, dtype)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            folder / "vision.onnx", options, providers=["CPUExecutionProvider"]
        )
        return cls(folder, model, spec, session)

    def ours(self, picture: Image.Image) -> np.ndarray:
        (embeds,) = self.session.run(None, cut_patches(picture, self.spec).feeds)
        return embeds

    @torch.no_grad()
    def theirs(self, picture: Image.Image) -> np.ndarray:
        processor = AutoImageProcessor.from_pretrained(self.folder, backend="pil")
        inputs = processor(images=[picture], return_tensors="pt")
        features = self.model.model.get_image_features(**inputs)
        return features.pooler_output[0].numpy()


def draw(size: tuple[int, int], seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.fixture(scope="module", params=FAMILIES)
def tower(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tower:
    return Tower.make(tmp_path_factory.mktemp(request.param), FAMILIES[request.param])


@pytest.mark.parametrize("size", SIZES)
def test_tokens_equal_transformers(tower: Tower, size: tuple[int, int]) -> None:
    picture = draw(size, seed=1)

    embeds = tower.ours(picture)

    expected = tower.theirs(picture)
    assert embeds.shape == expected.shape
    assert np.abs(expected).max() > 1
    assert np.abs(embeds - expected).max() < TOLERANCE


def test_windows_matter(tower: Tower) -> None:
    picture = draw((252, 140), seed=2)
    feeds = cut_patches(picture, tower.spec).feeds
    if "window" not in feeds:
        assert not tower.spec.window_size
        return

    (embeds,) = tower.session.run(None, feeds)
    rows = feeds["hw"] // 2 % 2
    other = {**feeds, "window": feeds["window"][::-1].copy()}

    assert len(set(feeds["window"].tolist())) == 15
    assert set(map(tuple, rows.tolist())) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert np.abs(tower.session.run(None, other)[0] - embeds).max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("fp16", 0.02), ("int8", 0.1), ("int4", 1)])
def test_smaller_dtypes_stay_near_fp32(
    tmp_path: Path, family: str, dtype: Dtype, tolerance: float
) -> None:
    tower = Tower.make(tmp_path, FAMILIES[family], dtype)
    picture = draw((140, 84), seed=3)

    embeds = tower.ours(picture)

    expected = tower.theirs(picture)
    error = np.linalg.norm(embeds - expected) / np.linalg.norm(expected)
    assert embeds.dtype == (np.float16 if dtype == "fp16" else np.float32)
    assert 1e-6 < error < tolerance


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("preprocessor_config.json", {"patch_size": 16}, "patch_size 16; expected 14"),
        ("preprocessor_config.json", {"merge_size": 4}, "merge_size 4"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "expected three numbers"),
        ("preprocessor_config.json", {"max_pixels": 4}, "asks for 3136 to 4 pixels"),
        ("config.json", {"vision_config": None}, "has no vision_config"),
        ("config.json", {"image_token_id": None}, "image_token_id None"),
    ],
)
def test_broken_settings_are_refused(
    tmp_path: Path, file: str, change: dict[str, object], message: str
) -> None:
    checkpoints.qwen2_vl(tmp_path)
    path = tmp_path / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(ModelError, match=message):
        build_vision(Checkpoint(tmp_path), tmp_path, "fp32")


def test_missing_preprocessor_is_refused(tmp_path: Path) -> None:
    checkpoints.qwen2_vl(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()

    with pytest.raises(ModelError, match=r"preprocessor_config\.json is missing"):
        build_vision(Checkpoint(tmp_path), tmp_path, "fp32")
