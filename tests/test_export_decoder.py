"""The decoder's graph against transformers: rows, shared pasts, trees with pictures in branches."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import onnxruntime
import pytest
import torch
from similar_fast.errors import ModelError
from similar_fast.models.manifest import DecoderSpec
from similar_fast_export.checkpoint import Checkpoint
from similar_fast_export.decoder import build_decoder
from similar_fast_export.decoder_config import inverse_frequencies, read_decoder_config
from similar_fast_export.graph import Dtype
from transformers import PreTrainedModel

TOLERANCE = 1e-4
IMAGE = checkpoints.IMAGE_TOKEN
GRIDS = {4: (1, 4, 4), 6: (1, 6, 4)}  # by number of image tokens: time, rows, columns of patches

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Runner:
    """An exported decoder and the model that it was made from."""

    session: onnxruntime.InferenceSession
    spec: DecoderSpec
    model: PreTrainedModel
    hidden_size: int = checkpoints.TEXT["hidden_size"]

    @classmethod
    def make(cls, folder: Path, model: PreTrainedModel, dtype: Dtype = "fp32") -> "Runner":
        spec = build_decoder(Checkpoint(folder), folder, dtype)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            folder / "decoder.onnx", options, providers=["CPUExecutionProvider"]
        )
        return cls(session, spec, model)

    def run(
        self,
        ids: np.ndarray,
        positions: np.ndarray,
        mask: np.ndarray,
        scored: list[int],
        *,
        past: Arrays | None = None,
        images: np.ndarray | None = None,
    ) -> tuple[np.ndarray, Arrays]:
        """The scored states, and all keys and values under the names of a past."""
        feed = {
            "input_ids": ids,
            "position_ids": positions,
            "mask": mask,
            "score_index": np.array(scored),
        }
        feed |= past if past is not None else self.empty_past(len(ids))
        if any(entry.name == "image_embeds" for entry in self.session.get_inputs()):
            none = np.zeros((1, self.hidden_size), np.float32)
            feed["image_embeds"] = (none if images is None else images).astype(self.kv_dtype)
        hidden, *present = self.session.run(None, feed)
        names = [entry.name for entry in self.session.get_outputs()[1:]]
        return hidden, {
            name.replace("present.", "past."): part
            for name, part in zip(names, present, strict=True)
        }

    @property
    def kv_dtype(self) -> np.dtype:
        return np.dtype(self.spec.kv_dtype)

    def empty_past(self, batch: int) -> Arrays:
        empty = np.zeros((batch, self.spec.num_kv_heads, 0, self.spec.head_dim), self.kv_dtype)
        return {
            f"past.{layer}.{kind}": empty for layer in self.spec.layers for kind in ("key", "value")
        }

    @torch.no_grad()
    def expected(self, ids: list[int], images: np.ndarray | None = None) -> np.ndarray:
        """The last token's state, as transformers computes it for the whole text alone."""
        tokens = torch.tensor([ids])
        if self.spec.position_axes == 1:
            return self.model.model(input_ids=tokens).last_hidden_state[0, -1].numpy()
        embeds = self.model.get_input_embeddings()(tokens)
        if images is not None:
            embeds[tokens == IMAGE] = torch.tensor(images)
        positions = torch.tensor(rope_positions(ids)[0])[:, None]
        language = self.model.model.language_model
        state = language(inputs_embeds=embeds, position_ids=positions).last_hidden_state
        return state[0, -1].numpy()


def rope_positions(ids: list[int], start: int = 0) -> tuple[np.ndarray, int]:
    """`[3, S]` positions of a text with pictures, and the position after it."""
    parts, i = [], 0
    while i < len(ids):
        length = 1
        while i + length < len(ids) and (ids[i + length] == IMAGE) == (ids[i] == IMAGE):
            length += 1
        if ids[i] == IMAGE:
            _, rows, columns = (size // 2 for size in GRIDS[length])
            grid = np.mgrid[0:1, 0:rows, 0:columns].reshape(3, -1)
            parts.append(grid + start)
            start += max(rows, columns)
        else:
            parts.append(np.tile(np.arange(length), (3, 1)) + start)
            start += length
        i += length
    return np.concatenate(parts, axis=1), start


def causal(length: int) -> np.ndarray:
    return np.tril(np.ones((length, length), bool))


def draw(seed: int, *lengths: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(10, 200, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    folder = tmp_path_factory.mktemp("qwen2")
    return Runner.make(folder, checkpoints.qwen2(folder))


@pytest.fixture(scope="module")
def visual(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    folder = tmp_path_factory.mktemp("qwen2_vl")
    return Runner.make(folder, checkpoints.qwen2_vl(folder))


def naive(runner: Runner, texts: list[list[int]]) -> np.ndarray:
    """Every text whole, in padded rows, without a past."""
    width = max(len(ids) for ids in texts)
    ids = np.array([row + [0] * (width - len(row)) for row in texts])
    positions = np.tile(np.arange(width), (runner.spec.position_axes, len(texts), 1))
    mask = np.tile(causal(width), (len(texts), 1, 1, 1))
    scored = [i * width + len(row) - 1 for i, row in enumerate(texts)]
    return runner.run(ids, positions, mask, scored)[0]


def test_naive_rows_equal_transformers(text: Runner) -> None:
    texts = draw(0, 5, 9, 1)

    hidden = naive(text, texts)

    expected = np.stack([text.expected(ids) for ids in texts])
    assert np.abs(expected).max() > 1
    assert np.abs(hidden - expected).max() < TOLERANCE


def test_scored_tokens_may_come_in_any_order_and_twice(text: Runner) -> None:
    (ids,) = draw(1, 7)

    hidden, _ = text.run(
        np.array([ids]), np.arange(7)[None, None], causal(7)[None, None], [6, 2, 6]
    )

    expected = np.stack([text.expected(ids[: i + 1]) for i in (6, 2, 6)])
    assert np.abs(hidden - expected).max() < TOLERANCE


def test_tree_on_a_shared_past_equals_every_path_alone(text: Runner) -> None:
    prefix, *branches = draw(2, 11, 4, 3, 6)
    _, past = text.run(np.array([prefix]), np.arange(11)[None, None], causal(11)[None, None], [10])

    tree = Tree(branches, [None] * 3)
    hidden, _ = text.run(*tree.arrays(11, 11, axes=1), past=past)

    expected = np.stack([text.expected(prefix + branch) for branch in branches])
    assert np.abs(hidden - expected).max() < TOLERANCE


def test_rows_with_padded_pasts_of_different_lengths(text: Runner) -> None:
    prefixes, suffixes = draw(3, 4, 9), draw(4, 5, 5)
    pasts = [
        text.run(
            np.array([ids]), np.arange(len(ids))[None, None], causal(len(ids))[None, None], [0]
        )[1]
        for ids in prefixes
    ]
    padded = {
        name: np.concatenate(
            [
                np.pad(past[name], ((0, 0), (0, 0), (0, 9 - len(ids)), (0, 0)), constant_values=7)
                for past, ids in zip(pasts, prefixes, strict=True)
            ]
        )
        for name in pasts[0]
    }
    mask = np.zeros((2, 1, 5, 14), bool)
    for i, ids in enumerate(prefixes):
        mask[i, 0, :, : len(ids)] = True
        mask[i, 0, :, 9:] = causal(5)
    positions = np.array([[np.arange(5) + len(ids) for ids in prefixes]])

    hidden, _ = text.run(np.array(suffixes), positions, mask, [4, 9], past=padded)

    expected = np.stack([text.expected(a + b) for a, b in zip(prefixes, suffixes, strict=True)])
    assert np.abs(hidden - expected).max() < TOLERANCE


@dataclass(frozen=True)
class Tree:
    """Packed branches; `parents[i]` is the branch that i continues, None the prefix."""

    branches: list[list[int]]
    parents: list[int | None]

    def path(self, node: int | None) -> list[int]:
        return [] if node is None else [*self.path(self.parents[node]), node]

    def arrays(
        self, length: int, start: int, *, axes: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
        """ids, positions, mask and scored tokens over a prefix of `length` that ends at `start`."""
        sizes = [len(branch) for branch in self.branches]
        ends = np.cumsum(sizes)
        mask = np.zeros((1, 1, ends[-1], length + ends[-1]), bool)
        mask[..., :length] = True
        positions, after = [], []
        for i, (branch, end) in enumerate(zip(self.branches, ends, strict=True)):
            parent = self.parents[i]
            place, next_ = rope_positions(branch, start if parent is None else after[parent])
            positions.append(place)
            after.append(next_)
            for j in self.path(i):
                begin = length + ends[j] - sizes[j]
                block = causal(sizes[i]) if i == j else True
                mask[0, 0, end - sizes[i] : end, begin : begin + sizes[j]] = block
        ids = np.concatenate(self.branches)[None]
        return ids, np.concatenate(positions, 1)[:axes, None], mask, [int(e) - 1 for e in ends]


def nested_tree_errors(visual: Runner) -> list[float]:
    """How far six branches, grandchildren and new pictures among them, are from transformers."""
    start, end = checkpoints.VISION_START, checkpoints.VISION_END
    words = draw(5, 6, 4, 3, 3, 5, 2, 6)
    prefix = [*words[0], start, *[IMAGE] * 4, end, *words[1]]
    branches = [words[2], words[3], [start, *[IMAGE] * 4, end, *words[4]], words[5]]
    branches += [[start, *[IMAGE] * 6, end, *words[6]], words[6]]
    tree = Tree(branches, [None, None, 0, 0, 1, 4])
    images = np.random.default_rng(6).normal(size=(4 + 4 + 6, 64)).astype(np.float32)
    rows = {None: images[:4], 2: images[4:8], 4: images[8:]}
    place, after = rope_positions(prefix)
    size = len(prefix)
    assert after < size

    gate, past = visual.run(
        np.array([prefix]), place[:, None], causal(size)[None, None], [size - 1], images=images[:4]
    )
    hidden, _ = visual.run(*tree.arrays(size, after, axes=3), past=past, images=images[4:])

    errors = [np.abs(gate - visual.expected(prefix, images[:4])).max()]
    for i in range(len(branches)):
        path = tree.path(i)
        ids = sum((branches[j] for j in path), prefix)
        seen = np.concatenate([rows[j] for j in (None, *path) if j in rows])
        errors.append(np.abs(hidden[i] - visual.expected(ids, seen)).max())
    return [float(error) for error in errors]


def test_nested_tree_with_pictures_in_prefix_and_branches(visual: Runner) -> None:
    errors = nested_tree_errors(visual)

    assert len(errors) == 7
    assert max(errors) < TOLERANCE


def test_text_without_a_picture_needs_one_row_of_zeros(visual: Runner) -> None:
    texts = draw(7, 5, 8)

    hidden = naive(visual, texts)

    expected = np.stack([visual.expected(ids) for ids in texts])
    assert np.abs(hidden - expected).max() < TOLERANCE


def test_spec_says_what_the_graph_takes(visual: Runner) -> None:
    assert visual.spec == DecoderSpec(
        layers=(0, 1, 2), num_kv_heads=2, head_dim=8, kv_dtype="float32", position_axes=3
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp16", 0.01), ("int8", 0.1), ("int4", 1)])
def test_smaller_dtypes_stay_near_fp32(tmp_path: Path, dtype: Dtype, tolerance: float) -> None:
    runner = Runner.make(tmp_path, checkpoints.qwen2(tmp_path), dtype)
    texts = draw(8, 12, 7)

    hidden = naive(runner, texts)

    expected = np.stack([runner.expected(ids) for ids in texts])
    error = np.linalg.norm(hidden - expected) / np.linalg.norm(expected)
    assert 1e-6 < error < tolerance
    assert runner.spec.kv_dtype == ("float16" if dtype == "fp16" else "float32")


def test_same_checkpoint_gives_the_same_bytes(tmp_path: Path) -> None:
    checkpoints.qwen2(tmp_path)
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_decoder(Checkpoint(tmp_path), tmp_path / name, "int4")
        written.append((tmp_path / name / "decoder.onnx").read_bytes())

    assert written[0] == written[1]


def test_frequencies_equal_those_of_transformers(text: Runner) -> None:
    expected = text.model.model.rotary_emb.inv_freq.numpy()

    assert np.array_equal(inverse_frequencies(1e4, 8), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_sliding_window": True}, "uses a sliding window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "uses a sliding window"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'; expected 'silu'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "the rope type 'yarn'"),
        ({"rope_parameters": {"rope_theta": "x"}}, "rope_theta 'x'; expected a positive number"),
        ({"num_key_value_heads": 3}, "8 heads over 3"),
        ({"hidden_size": None}, "hidden_size None; expected a positive whole number"),
        ({"quantization_config": {"bits": 4}}, "has a quantization_config"),
    ],
)
def test_what_the_graph_cannot_express_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    checkpoints.qwen2(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(ModelError, match=message):
        read_decoder_config(Checkpoint(tmp_path))


def test_older_configuration_is_read_alike(tmp_path: Path) -> None:
    checkpoints.qwen2_vl(tmp_path)
    path = tmp_path / "config.json"
    record = json.loads(path.read_text())
    expected = read_decoder_config(Checkpoint(tmp_path))

    older = record | record.pop("text_config") | {"model_type": "qwen2_vl"}
    rope = older.pop("rope_parameters")
    older["rope_theta"] = rope["rope_theta"]
    older["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    path.write_text(json.dumps(older))

    assert read_decoder_config(Checkpoint(tmp_path)) == expected
