"""Makes the folder of an embedding model: int8 graph, tokenizer, manifest; checked against fp32."""

import json
import shutil
from dataclasses import replace
from importlib import metadata, resources
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import load_file
from similar_fast.embedding import TextEncoder
from similar_fast.errors import ModelError
from similar_fast.models.manifest import EmbeddingSpec, Manifest, describe_file, write_manifest
from similar_fast.models.runtime import onnxruntime_distributions

from similar_fast_export.bert import BertConfig, bert_embedding_graph
from similar_fast_export.scratch import scratch_beside

__all__ = ["MIN_RANK_AGREEMENT", "export_embedding", "rank_agreement"]

MIN_RANK_AGREEMENT = 0.98
"""Least share of action pairs that int8 and fp32 must order alike."""

_DTYPES = {
    "fp32": "float32",
    "int8": "int8 weights, one scale for {block_size} (for a row of the word table)",
}
_TOOLS = ("numpy", "onnx", "safetensors", "similar-fast")

_Floats = NDArray[np.float32]


def export_embedding(
    source: Path, out: Path, *, name: str, license_id: str, texts: Path | None = None
) -> Manifest:
    """Writes the model of `source` to the new folder `out` and returns its manifest.

    The folder appears whole or not at all. The same source and tools give the same bytes.

    Args:
        source: A folder as sentence-transformers publishes it: `config.json`,
            `model.safetensors`, `tokenizer.json`, `sentence_bert_config.json` (longest text).
        out: The folder to make.
        name: What the model is called where it was published.
        license_id: SPDX identifier of the weights' licence.
        texts: JSON lines, each with `instruction` and `actions`, to compare with fp32 on; None
            for the ones of this package.

    Raises:
        FileExistsError: `out` exists.
        FileNotFoundError: A file of `source` is missing.
        ModelError: The source is of another architecture, or int8 orders the actions differently
            from fp32 too often.
    """
    config = _read_config(source)
    origin = f"{name}, weights sha256 {describe_file(source / 'model.safetensors').sha256}"
    instructions, actions = _read_texts(texts)
    with scratch_beside(out) as scratch:
        folders = {kind: scratch / kind for kind in _DTYPES}
        for kind, folder in folders.items():
            _write_model(folder, source, config, kind=kind)
            write_manifest(folder, _describe(folder, config, kind, origin, license_id))
        checks = _compare(*(_embed(folder, instructions, actions) for folder in folders.values()))
        if checks["rank_agreement"] < MIN_RANK_AGREEMENT:
            raise ModelError(
                f"int8 orders {checks['rank_agreement']:.4f} of the pairs as fp32 does; "
                f"expected at least {MIN_RANK_AGREEMENT}"
            )
        manifest = _describe(folders["int8"], config, "int8", origin, license_id)
        manifest = replace(manifest, checks=checks)
        write_manifest(folders["int8"], manifest)
        folders["int8"].replace(out)
    return manifest


def rank_agreement(reference: _Floats, other: _Floats) -> float:
    """Share of the pairs of columns that both order alike, over all rows; in [0, 1].

    Args:
        reference: `[rows, columns]` scores.
        other: Scores of the same shape.
    """
    left, right = np.triu_indices(reference.shape[1], 1)
    order = np.sign(reference[:, left] - reference[:, right])
    return float(np.mean(order == np.sign(other[:, left] - other[:, right])))


def _read_config(source: Path) -> BertConfig:
    record = json.loads((source / "config.json").read_text("utf-8"))
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for name, value in expected.items():
        if record.get(name, value) != value:
            raise ModelError(f"{source} has {name} {record[name]!r}; expected {value!r}")
    limit = json.loads((source / "sentence_bert_config.json").read_text("utf-8"))["max_seq_length"]
    return BertConfig(
        hidden_size=record["hidden_size"],
        num_layers=record["num_hidden_layers"],
        num_heads=record["num_attention_heads"],
        epsilon=record["layer_norm_eps"],
        max_positions=min(limit, record["max_position_embeddings"]),
    )


def _write_model(folder: Path, source: Path, config: BertConfig, *, kind: str) -> None:
    folder.mkdir()
    weights = load_file(source / "model.safetensors")
    graph = bert_embedding_graph(weights, config, is_quantized=kind == "int8")
    onnx.checker.check_model(graph, full_check=True)
    (folder / "model.onnx").write_bytes(graph.SerializeToString(deterministic=True))
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")


def _describe(
    folder: Path, config: BertConfig, kind: str, origin: str, license_id: str
) -> Manifest:
    return Manifest(
        family="bert-embedding",
        hidden_size=config.hidden_size,
        max_positions=config.max_positions,
        embedding=EmbeddingSpec(pooling="mean", is_normalized=True),
        dtype=_DTYPES[kind].format(block_size=config.block_size),
        license=license_id,
        source=origin,
        files=tuple(describe_file(folder / file) for file in ("model.onnx", "tokenizer.json")),
        versions={tool: metadata.version(tool) for tool in _TOOLS}
        | dict(onnxruntime_distributions()),
    )


def _read_texts(path: Path | None) -> tuple[list[str], list[str]]:
    """The instructions and the distinct actions of a file of JSON lines."""
    file = resources.files("similar_fast_export") / "texts.jsonl" if path is None else path
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    actions = dict.fromkeys(action for record in records for action in record["actions"])
    return [record["instruction"] for record in records], list(actions)


def _embed(folder: Path, instructions: list[str], actions: list[str]) -> tuple[_Floats, _Floats]:
    """`[instructions, H]` and `[actions, H]`, as the model in `folder` sees them, on the CPU."""
    encoder = TextEncoder(folder, providers="CPUExecutionProvider")
    keys = [[(text,) for text in texts] for texts in (instructions, actions)]
    vectors = encoder.encode([*keys[0], *keys[1]])
    queries, passages = (np.stack([vectors[key] for key in group]) for group in keys)
    return queries, passages


def _compare(
    reference: tuple[_Floats, _Floats], other: tuple[_Floats, _Floats]
) -> dict[str, float]:
    """How far int8 is from fp32, over every instruction with every action."""
    cosines = np.concatenate([(a * b).sum(1) for a, b in zip(reference, other, strict=True)])
    scores = [queries @ passages.T for queries, passages in (reference, other)]
    return {
        "rank_agreement": round(rank_agreement(*scores), 5),
        "min_cosine": round(float(cosines.min()), 5),
        "max_score_error": round(float(np.abs(scores[0] - scores[1]).max()), 5),
    }
