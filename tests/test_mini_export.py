"""The export of an embedding model: its graph against numpy, and what it refuses."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import similar_fast_mini
from safetensors.numpy import load_file, save_file
from similar_fast.embedding import TextEncoder
from similar_fast.errors import ModelError
from similar_fast.models.manifest import read_manifest
from similar_fast.models.runtime import open_session
from similar_fast_export import cli, embedding
from similar_fast_export.bert import BertConfig, bert_embedding_graph
from similar_fast_export.embedding import export_embedding, rank_agreement

HIDDEN, WIDE, LAYERS, HEADS, POSITIONS = 64, 128, 2, 4, 32
CONFIG = BertConfig(HIDDEN, LAYERS, HEADS, 1e-12, POSITIONS)
TOKENIZER = Path(similar_fast_mini.__file__).parent / "embedding" / "tokenizer.json"
NAMES = {"name": "test/tiny", "license_id": "Apache-2.0"}

Weights = dict[str, np.ndarray]


def random_weights(vocabulary: int) -> Weights:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape, scale=shape[-1] ** -0.5).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": normal(vocabulary, HIDDEN),
        "embeddings.position_embeddings.weight": normal(POSITIONS + 8, HIDDEN),
        "embeddings.token_type_embeddings.weight": normal(2, HIDDEN),
    }
    norms = ["embeddings.LayerNorm"]
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        shapes = {f"attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
        shapes |= {"attention.output.dense": (HIDDEN, HIDDEN)}
        shapes |= {"intermediate.dense": (WIDE, HIDDEN), "output.dense": (HIDDEN, WIDE)}
        for name, (rows, columns) in shapes.items():
            weights[f"{layer}.{name}.weight"] = 2 * normal(rows, columns)
            weights[f"{layer}.{name}.bias"] = normal(rows)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name in norms:
        weights[f"{name}.weight"] = 1 + normal(HIDDEN)
        weights[f"{name}.bias"] = normal(HIDDEN)
    return weights


def reference(weights: Weights, ids: list[int]) -> np.ndarray:
    """The embedding of one text, in float64, as Devlin et al. 2019 describe the encoder."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + CONFIG.epsilon)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        parts = (linear(x, f"{layer}.attention.self.{p}") for p in ("query", "key", "value"))
        mixed = []
        for q, k, v in zip(*(np.split(part, HEADS, axis=1) for part in parts), strict=True):
            logits = np.exp(q @ k.T / math.sqrt(HIDDEN // HEADS))
            mixed.append(logits / logits.sum(1, keepdims=True) @ v)
        mixed_rows = linear(np.concatenate(mixed, axis=1), f"{layer}.attention.output.dense")
        x = norm(x + mixed_rows, f"{layer}.attention.output.LayerNorm")
        wide = linear(x, f"{layer}.intermediate.dense")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def embed(path: Path, weights: Weights, rows: list[list[int]], *, is_quantized: bool) -> np.ndarray:
    graph = bert_embedding_graph(weights, CONFIG, is_quantized=is_quantized)
    path.write_bytes(graph.SerializeToString())
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return open_session(path).run({"input_ids": ids, "attention_mask": mask})["embedding"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    save_file(random_weights(30_522), folder / "model.safetensors")
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "layer_norm_eps": CONFIG.epsilon,
        "max_position_embeddings": POSITIONS + 8,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": POSITIONS}))
    shutil.copyfile(TOKENIZER, folder / "tokenizer.json")
    return folder


@pytest.mark.parametrize(("is_quantized", "tolerance"), [(False, 1e-6), (True, 0.02)])
def test_graph_agrees_with_numpy_on_padded_rows(
    tmp_path: Path, *, is_quantized: bool, tolerance: float
) -> None:
    weights = random_weights(50)
    rows = [[1, 2], [3, 4, 5, 6, 7, 8, 9], list(range(10, 10 + POSITIONS))]

    found = embed(tmp_path / "bert.onnx", weights, rows, is_quantized=is_quantized)

    expected = np.stack([reference(weights, row) for row in rows])
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_export_writes_a_folder_that_runs_and_repeats_to_the_byte(
    source: Path, tmp_path: Path
) -> None:
    outs = [tmp_path / "a", tmp_path / "deep" / "b"]

    manifests = [export_embedding(source, out, **NAMES) for out in outs]

    assert manifests[0] == manifests[1] == read_manifest(outs[0])
    assert {path.name for path in outs[0].iterdir()} == {
        "model.onnx",
        "tokenizer.json",
        "similar.json",
    }
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    vector = TextEncoder(outs[1]).encode([("click",)])["click",]
    weights = load_file(source / "model.safetensors")
    expected = reference(weights, [101, 11562, 102])
    assert vector @ expected > 0.999


def test_export_refuses_a_folder_that_exists(source: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="expected a new folder"):
        export_embedding(source, tmp_path, **NAMES)


def test_export_refuses_low_rank_agreement_and_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "MIN_RANK_AGREEMENT", 1.01)

    with pytest.raises(ModelError, match=r"int8 orders 0\.9\d+ of the pairs as fp32 does"):
        export_embedding(source, tmp_path / "out", **NAMES)

    assert list(tmp_path.iterdir()) == []


def test_export_refuses_another_architecture(source: Path, tmp_path: Path) -> None:
    other = shutil.copytree(source, tmp_path / "source")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))

    with pytest.raises(ModelError, match="hidden_act 'relu'; expected 'gelu'"):
        export_embedding(other, tmp_path / "out", **NAMES)


def test_command_writes_prints_and_refuses_the_second_time(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["embedding", str(source), str(tmp_path / "out"), "--name", "a", "--license", "MIT"]

    codes = [cli.main(arguments) for _ in range(2)]

    printed = capsys.readouterr()
    assert codes == [0, 1]
    assert "rank_agreement: 0." in printed.out
    assert "exists; expected a new folder" in printed.err
    assert read_manifest(tmp_path / "out").license == "MIT"


def test_rank_agreement_counts_pairs_that_keep_their_order() -> None:
    reference_scores = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 2.0]])
    other = np.array([[1.0, 3.0, 2.0], [1.0, 1.0, 2.0]])

    assert rank_agreement(reference_scores, other) == pytest.approx(5 / 6)
