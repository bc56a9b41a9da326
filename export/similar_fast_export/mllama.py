"""The decoder of mllama as a graph: Llama's layers, and between them layers that read a picture.

Source: transformers, `modeling_mllama.py`; Grattafiori et al. 2024, "The Llama 3 Herd of Models",
section 7.2 (cross-attention), section 3.2 (scaled frequencies). Names of the weights are those of
transformers.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from similar_fast.errors import ModelError
from similar_fast.models.manifest import DecoderSpec, TileSpec

from similar_fast_export.blocks import linear, rms_norm
from similar_fast_export.checkpoint import Checkpoint, Part
from similar_fast_export.decoder import DECODER_NAME, TEXT_PREFIXES, Decoder, Rows
from similar_fast_export.decoder_config import (
    DecoderConfig,
    inverse_frequencies,
    read_layer_sizes,
)
from similar_fast_export.graph import BOOL, FLOAT, Dtype, Shape
from similar_fast_export.mllama_vision import build_mllama_vision

__all__ = ["build_mllama"]


def build_mllama(
    checkpoint: Checkpoint, folder: Path, dtype: Dtype
) -> tuple[DecoderSpec, TileSpec]:
    """Writes `decoder.onnx` and `vision.onnx` of an mllama checkpoint into `folder`.

    Beside `Decoder`'s inputs the decoder has cross.j.key and cross.j.value `[B, KV, M, D]`, the
    picture's; cross_mask `[B, 1, S, M]` bool, what each token sees of it; and cross_weight
    `[B, S, 2]` float32, the factors of what a token takes from attention and from the MLP behind
    it: (1, 1) where it sees the picture, (1, 0) before the picture, (0, 0) where there is none.

    Raises:
        ModelError: A configuration or a weight does not fit; files may be left in `folder`.
    """
    part = checkpoint.part(TEXT_PREFIXES, "embed_tokens.weight")
    config = _read_config(checkpoint, part)
    cross_layers = _read_cross_layers(checkpoint, config)
    tiles = build_mllama_vision(checkpoint, folder, dtype, text=config, cross_layers=cross_layers)
    decoder = MllamaDecoder(config, part, dtype=dtype, cross_layers=cross_layers)
    decoder.grow()
    decoder.graph.save(folder / DECODER_NAME)
    return replace(decoder.spec, cross_layers=cross_layers), tiles


class MllamaDecoder(Decoder):
    """Grows the graph; see `Decoder`.

    Attributes:
        cross_layers: The layers that read the picture and keep nothing of the tokens.
    """

    def __init__(
        self, config: DecoderConfig, part: Part, *, dtype: Dtype, cross_layers: tuple[int, ...]
    ) -> None:
        super().__init__(config, part, dtype=dtype)
        self.cross_layers = cross_layers

    @property
    def self_layers(self) -> tuple[int, ...]:
        """The layers that keep keys and values of tokens."""
        layers = range(self.config.num_layers)
        return tuple(layer for layer in layers if layer not in self.cross_layers)

    def declare_inputs(self) -> None:
        """As `Decoder.declare_inputs`, and the picture."""
        super().declare_inputs()
        graph, config = self.graph, self.config
        for layer in self.cross_layers:
            for kind in ("key", "value"):
                shape: Shape = ["B", config.num_kv_heads, "M", config.head_dim]
                graph.input(f"cross.{layer}.{kind}", graph.real, shape)
        graph.input("cross_mask", BOOL, ["B", 1, "S", "M"])
        graph.input("cross_weight", FLOAT, ["B", "S", 2])
        mask = graph.node("Unsqueeze", "cross_mask", graph.ints(1))
        self.cross_rows = self.rows(None, mask, self.batch, self.tokens)
        flat = graph.node("Reshape", "cross_weight", graph.ints(-1, 2))
        self.cross_weights = graph.nodes("Split", flat, graph.ints(1, 1), num_outputs=2, axis=1)

    def layer(self, state: str, layer: int, rows: Rows) -> str:
        """One layer over every token: `[B*S, hidden]` float32 in and out."""
        if layer not in self.cross_layers:
            return super().layer(state, layer, rows)
        graph, config, name = self.graph, self.config, f"layers.{layer}"
        width = config.num_heads * config.head_dim
        normal = graph.narrow(self.norm(state, f"{name}.input_layernorm"))
        matrix = self.part.weight(f"{name}.cross_attn.q_proj.weight", width, config.hidden_size)
        query = linear(graph, normal, f"{name}.cross_attn.q_proj", matrix=matrix)
        query = self.head_norm(query, f"{name}.cross_attn.q_norm")
        key_value = [f"cross.{layer}.{kind}" for kind in ("key", "value")]
        mixed = self.attention(query, key_value, self.cross_rows)
        update = graph.wide(self.product(mixed, f"{name}.cross_attn.o_proj", width))
        state = self.add_gated(state, update, f"{name}.cross_attn_attn_gate", 0)
        normal = graph.narrow(self.norm(state, f"{name}.post_attention_layernorm"))
        update = self.mlp(normal, f"{name}.mlp")
        return self.add_gated(state, update, f"{name}.cross_attn_mlp_gate", 1)

    def head_norm(self, query: str, name: str) -> str:
        """Queries `[tokens, heads * width]` with the RMS norm of each head."""
        graph, config = self.graph, self.config
        heads = graph.ints(-1, config.num_heads, config.head_dim)
        value = graph.wide(graph.node("Reshape", query, heads))
        scale = self.part.weight(f"{name}.weight", config.head_dim)
        return graph.narrow(rms_norm(graph, value, name, scale=scale, epsilon=config.epsilon))

    def add_gated(self, state: str, update: str, gate: str, column: int) -> str:
        """`state` plus the float32 update times the gate's tanh and the tokens' factors."""
        graph = self.graph
        weight = self.part.weight(gate, 1)
        factor = graph.weight(gate, weight.mapped(np.tanh, weight.shape), type_=FLOAT)
        factor = graph.node("Mul", self.cross_weights[column], factor)
        return graph.node("Add", state, graph.node("Mul", update, factor))


def _read_config(checkpoint: Checkpoint, part: Part) -> DecoderConfig:
    text, place = checkpoint.text_config, f"{checkpoint.folder}/config.json"
    sizes = read_layer_sizes(text, place, epsilon=1e-5)
    rope = {**(text.get("rope_scaling") or {}), **(text.get("rope_parameters") or {})}
    theta = rope.get("rope_theta", text.get("rope_theta"))
    if not isinstance(theta, int | float) or theta <= 0:
        raise ModelError(f"{place} has rope_theta {theta!r}; expected a positive number")
    frequencies = inverse_frequencies(theta, sizes.head_dim)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "llama3":
        frequencies = _scaled(frequencies, rope, place)
    elif kind != "default":
        raise ModelError(f"{place} has the rope type {kind!r}; expected 'default' or 'llama3'")
    return replace(
        sizes,
        frequencies=tuple(frequencies.tolist()),
        has_bias=False,
        vocab_size=part.shape("embed_tokens.weight")[0],
    )


def _scaled(
    frequencies: NDArray[np.float32], rope: Mapping[str, Any], place: str
) -> NDArray[np.float32]:
    """Llama 3.1's frequencies: slow ones over the factor, fast ones as they are, a ramp between."""
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    values = [rope.get(name) for name in names]
    if not all(isinstance(value, int | float) and value > 0 for value in values):
        raise ModelError(f"{place} has the rope settings {dict(rope)}; expected {', '.join(names)}")
    factor, low, high, positions = (np.float32(value) for value in values)
    turns = positions / (np.float32(2 * math.pi) / frequencies)
    ramp = (turns - low) / (high - low)
    between = (1 - ramp) * frequencies / factor + ramp * frequencies
    slow = np.where(turns < low, frequencies / factor, between)
    scaled: NDArray[np.float32] = np.where(turns > high, frequencies, slow).astype(np.float32)
    return scaled


def _read_cross_layers(checkpoint: Checkpoint, config: DecoderConfig) -> tuple[int, ...]:
    place = f"{checkpoint.folder}/config.json"
    found = checkpoint.text_config.get("cross_attention_layers")
    last = config.num_layers - 1
    is_whole = isinstance(found, list) and all(isinstance(layer, int) for layer in found)
    if not is_whole or not found or not all(0 <= layer < last for layer in found):
        raise ModelError(
            f"{place} has cross_attention_layers {found!r}; expected some of 0 to {last - 1}"
        )
    return tuple(sorted(found))
