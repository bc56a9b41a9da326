"""A BERT encoder as a prefix-LM against transformers: whole prompts, shared prefixes, refusals."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file, save_file
from similar_fast.errors import ModelError
from similar_fast.models.manifest import DecoderSpec
from similar_fast_export.bert_prefix import build_bert
from similar_fast_export.checkpoint import Checkpoint
from similar_fast_export.graph import Dtype
from transformers import PreTrainedModel

TOLERANCE = 1e-4
SIZES = {"hidden_size": 96, "intermediate_size": 128, "max_position_embeddings": 64}

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Runner:
    """An exported encoder and the model that it was made from."""

    session: onnxruntime.InferenceSession
    spec: DecoderSpec
    model: PreTrainedModel

    @classmethod
    def make(cls, folder: Path, model: PreTrainedModel, dtype: Dtype = "fp32") -> "Runner":
        spec = build_bert(Checkpoint(folder), folder, dtype)
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
    ) -> tuple[np.ndarray, Arrays]:
        """The scored states, and all keys and values under the names of a past."""
        feed = {
            "input_ids": ids,
            "position_ids": positions[None],
            "mask": mask[:, None],
            "score_index": np.array(scored, np.int64),
        }
        hidden, *whole = self.session.run(None, feed | (past or self.empty_past(len(ids))))
        names = [entry.name for entry in self.session.get_outputs()[1:]]
        return hidden, {
            name.replace("present.", "past."): part for name, part in zip(names, whole, strict=True)
        }

    def empty_past(self, batch: int) -> Arrays:
        shape = (batch, self.spec.num_kv_heads, 0, self.spec.head_dim)
        empty = np.zeros(shape, self.spec.kv_dtype)
        return {
            f"past.{layer}.{kind}": empty for layer in self.spec.layers for kind in ("key", "value")
        }

    def run_prefix(self, prefix: list[int], scored: list[int]) -> tuple[np.ndarray, Arrays]:
        size = len(prefix)
        whole = np.ones((1, size, size), bool)
        return self.run(np.array([prefix]), np.arange(size)[None], whole, scored)

    @torch.no_grad()
    def expected(self, prefix: list[int], suffix: list[int]) -> np.ndarray:
        """`[S, hidden]`, as transformers computes the states of one prompt alone."""
        size = len(prefix) + len(suffix)
        mask = np.where(prefix_mask(len(prefix), size), 0, np.finfo(np.float32).min)
        state = self.model(
            input_ids=torch.tensor([[*prefix, *suffix]]),
            attention_mask=torch.tensor(mask, dtype=torch.float32)[None, None],
        ).last_hidden_state
        return state[0].numpy()


def prefix_mask(num_prefix: int, size: int) -> np.ndarray:
    """`[S, S]`: the prefix sees itself, the suffix sees all."""
    mask = np.ones((size, size), bool)
    mask[:num_prefix, num_prefix:] = False
    return mask


def pack(length: int, suffixes: list[list[int]]) -> tuple[Any, ...]:
    """Ids, positions, mask and last tokens of suffixes in one row, behind a past of `length`."""
    sizes = [len(suffix) for suffix in suffixes]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    past = np.ones((len(owner), length), bool)
    mask = np.concatenate([past, owner[:, None] == owner], axis=1)
    positions = np.concatenate([np.arange(size) + length for size in sizes])
    ends = (np.cumsum(sizes) - 1).tolist()
    return np.concatenate(suffixes)[None], positions[None], mask[None], ends


def draw(seed: int, *lengths: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(3, 200, length).tolist() for length in lengths]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    folder = tmp_path_factory.mktemp("bert")
    return Runner.make(folder, checkpoints.bert(folder, **SIZES))


def test_whole_prompt_in_one_run_equals_transformers(encoder: Runner) -> None:
    prefix, suffix = draw(0, 9, 5)
    mask = prefix_mask(9, 14)[None]

    hidden, _ = encoder.run(np.array([prefix + suffix]), np.arange(14)[None], mask, list(range(14)))

    expected = encoder.expected(prefix, suffix)
    assert np.abs(expected).max() > 1
    assert np.abs(hidden - expected).max() < TOLERANCE


def test_suffixes_packed_behind_a_prefix_equal_each_prompt_alone(encoder: Runner) -> None:
    prefix, *suffixes = draw(1, 12, 4, 1, 7, 4)

    gate, past = encoder.run_prefix(prefix, [0])
    hidden, _ = encoder.run(*pack(12, suffixes), past=past)

    expected = [encoder.expected(prefix, suffix) for suffix in suffixes]
    assert np.abs(hidden - np.stack([states[-1] for states in expected])).max() < TOLERANCE
    assert np.abs(gate[0] - expected[2][0]).max() < TOLERANCE


def test_token_sees_what_stands_behind_it_in_its_suffix(encoder: Runner) -> None:
    prefix, suffix = draw(2, 6, 5)
    other = [*suffix[:-1], suffix[-1] + 1]
    _, past = encoder.run_prefix(prefix, [0])

    states = [
        encoder.run(ids, positions, mask, [0], past=past)[0]
        for ids, positions, mask, _ in (pack(6, [suffix]), pack(6, [other]))
    ]

    assert np.abs(states[0] - states[1]).max() > 0.01


def test_rows_with_padded_pasts_of_different_lengths(encoder: Runner) -> None:
    prefixes, suffixes = draw(3, 4, 9), draw(4, 5, 5)
    pasts = [encoder.run_prefix(prefix, [0])[1] for prefix in prefixes]
    padded = {
        name: np.concatenate(
            [
                np.pad(past[name], ((0, 0), (0, 0), (0, 9 - len(ids)), (0, 0)), constant_values=7)
                for past, ids in zip(pasts, prefixes, strict=True)
            ]
        )
        for name in pasts[0]
    }
    mask = np.ones((2, 5, 14), bool)
    for row, ids in zip(mask, prefixes, strict=True):
        row[:, len(ids) : 9] = False
    positions = np.array([np.arange(5) + len(ids) for ids in prefixes])

    hidden, _ = encoder.run(np.array(suffixes), positions, mask, [9, 4, 7], past=padded)

    states = [encoder.expected(a, b) for a, b in zip(prefixes, suffixes, strict=True)]
    expected = np.stack([states[1][-1], states[0][-1], states[1][-3]])
    assert np.abs(hidden - expected).max() < TOLERANCE


def test_model_of_one_layer_equals_transformers(tmp_path: Path) -> None:
    encoder = Runner.make(tmp_path, checkpoints.bert(tmp_path, **SIZES, num_hidden_layers=1))
    prefix, *suffixes = draw(5, 5, 3, 2)

    _, past = encoder.run_prefix(prefix, [0])
    hidden, _ = encoder.run(*pack(5, suffixes), past=past)

    expected = np.stack([encoder.expected(prefix, suffix)[-1] for suffix in suffixes])
    assert np.abs(hidden - expected).max() < TOLERANCE


def test_keys_and_values_are_those_of_past_and_new_tokens(encoder: Runner) -> None:
    prefix, suffix = draw(6, 8, 3)
    _, past = encoder.run_prefix(prefix, [0])

    _, whole = encoder.run(*pack(8, [suffix]), past=past)

    assert {part.shape for part in past.values()} == {(1, 4, 8, 24)}
    assert {part.shape for part in whole.values()} == {(1, 4, 11, 24)}
    assert all(np.array_equal(whole[name][:, :, :8], part) for name, part in past.items())


def test_spec_says_what_the_graph_takes(encoder: Runner) -> None:
    assert encoder.spec == DecoderSpec(
        layers=(0, 1, 2),
        num_kv_heads=4,
        head_dim=24,
        kv_dtype="float32",
        position_axes=1,
        attention="prefix",
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp16", 0.02), ("int8", 0.2), ("int4", 2.0)])
def test_smaller_dtypes_stay_near_fp32(tmp_path: Path, dtype: Dtype, tolerance: float) -> None:
    encoder = Runner.make(tmp_path, checkpoints.bert(tmp_path, **SIZES), dtype)
    prefix, *suffixes = draw(7, 10, 6, 3)

    _, past = encoder.run_prefix(prefix, [0])
    hidden, _ = encoder.run(*pack(10, suffixes), past=past)

    expected = np.stack([encoder.expected(prefix, suffix)[-1] for suffix in suffixes])
    error = np.abs(hidden - expected).max()
    assert hidden.dtype == np.float32
    assert 1e-6 < error < tolerance
    assert encoder.spec.kv_dtype == ("float16" if dtype == "fp16" else "float32")


def test_weights_under_a_prefix_are_found(tmp_path: Path, encoder: Runner) -> None:
    model = checkpoints.bert(tmp_path, **SIZES)
    path = tmp_path / "model.safetensors"
    save_file({f"bert.{name}": tensor for name, tensor in load_file(path).items()}, path)
    prefix, suffix = draw(8, 4, 3)

    hidden, _ = Runner.make(tmp_path, model).run_prefix(prefix + suffix, [6])

    assert np.array_equal(hidden, encoder.run_prefix(prefix + suffix, [6])[0])


def test_same_checkpoint_gives_the_same_bytes(tmp_path: Path) -> None:
    checkpoints.bert(tmp_path, **SIZES)
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_bert(Checkpoint(tmp_path), tmp_path / name, "int4")
        written.append((tmp_path / name / "decoder.onnx").read_bytes())

    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act 'gelu_new'; expected 'gelu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"add_cross_attention": True}, "add_cross_attention True; expected False"),
        ({"is_decoder": True}, "is_decoder True; expected False"),
        ({"quantization_config": {"bits": 8}}, "quantization_config {'bits': 8}; expected None"),
        ({"num_attention_heads": 5}, "hidden_size 96 in 5 heads; expected a multiple"),
        ({"layer_norm_eps": "x"}, "layer_norm_eps 'x'; expected a small number"),
        (
            {"max_position_embeddings": 65},
            r"position_embeddings.weight has the shape \(64, 96\); expected \(65, 96\)",
        ),
        ({"vocab_size": 300}, r"word_embeddings.weight has the shape \(704, 96\)"),
        ({"num_hidden_layers": 4}, "has no tensor encoder.layer.3.attention"),
    ],
)
def test_what_the_graph_cannot_express_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    checkpoints.bert(tmp_path, **SIZES)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(ModelError, match=message):
        build_bert(Checkpoint(tmp_path), tmp_path, "fp32")


def test_weights_without_a_word_table_are_refused(tmp_path: Path) -> None:
    checkpoints.bert(tmp_path, **SIZES)
    path = tmp_path / "model.safetensors"
    save_file({f"encoder.{name}": tensor for name, tensor in load_file(path).items()}, path)

    with pytest.raises(ModelError, match=r"has no tensor embeddings\.word.* under any"):
        build_bert(Checkpoint(tmp_path), tmp_path, "fp32")


def test_position_behind_the_table_fails(encoder: Runner) -> None:
    (ids,) = draw(9, 2)

    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument, match="Gather"):
        encoder.run(np.array([ids]), np.array([[63, 64]]), np.ones((1, 2, 2), bool), [0])
