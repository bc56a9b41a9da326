"""The vision tower of mllama as a graph, up to the keys and values that the decoder reads.

Three things of the published model are easily missed. A token of the picture attends to every
token, padding too; only padding does not see padding. Text before the picture sees all tiles, the
empty ones too; so nothing is left out here: all tiles are run, in two streams, and all are kept.
And `intermediate_layers_indices` are of layers whose inputs the decoder reads, see
`docs/decisions/mllama-layers.md`.

Source: transformers, `modeling_mllama.py`; Grattafiori et al. 2024, "The Llama 3 Herd of Models",
section 7.1. Names of the weights are those of transformers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from similar_fast.errors import ModelError
from similar_fast.models.manifest import TileSpec
from similar_fast.processing.tiles import arrangements

from similar_fast_export.blocks import layer_norm, linear, rms_norm
from similar_fast_export.checkpoint import Checkpoint, read_size
from similar_fast_export.decoder_config import DecoderConfig
from similar_fast_export.graph import FLOAT, INT64, Dtype, Graph, Shape
from similar_fast_export.vision_config import read_channels, read_preprocessor
from similar_fast_export.vision_qwen import VISION_NAME
from similar_fast_export.weight import Weight

__all__ = ["build_mllama_vision"]

_EPSILON = 1e-5  # of the norms around the layers, whatever the configuration has for those within
_PAD_TO = 8  # tokens of a tile are filled up to a multiple of it


def build_mllama_vision(
    checkpoint: Checkpoint,
    folder: Path,
    dtype: Dtype,
    *,
    text: DecoderConfig,
    cross_layers: tuple[int, ...],
) -> TileSpec:
    """Writes `vision.onnx` of an mllama checkpoint into `folder`.

    The graph: pixel_values `[tiles, 3, side, side]` float32, aspect_ratio_id `[1]` and tile_mask
    `[tiles]` int64 -> cross.j.key and cross.j.value `[1, KV, M, D]` for each of `cross_layers`,
    M = tiles * tokens of a tile.

    Raises:
        ModelError: A configuration or a weight does not fit; files may be left in `folder`.
    """
    config = _read_config(checkpoint)
    spec = _read_tile_spec(checkpoint, config)
    tower = _Tower(checkpoint, config, spec, dtype)
    tower.grow(text, cross_layers)
    tower.graph.save(folder / VISION_NAME)
    return spec


@dataclass(frozen=True, slots=True)
class _Config:
    """A tower's sizes.

    Attributes:
        width: Of a token's state.
        inner_width: Within the MLP.
        num_heads: Attention heads.
        num_layers: Layers that see one tile after the other's embedding.
        num_global_layers: Gated layers behind them.
        kept_layers: Of the first ones, those whose inputs go to the decoder too.
        tile_size: Side of a tile in pixels.
        patch_size: Side of a patch in pixels.
        max_tiles: Tiles of a picture.
        epsilon: Of the norms.
    """

    width: int
    inner_width: int
    num_heads: int
    num_layers: int
    num_global_layers: int
    kept_layers: tuple[int, ...]
    tile_size: int
    patch_size: int
    max_tiles: int
    epsilon: float

    @property
    def num_patches(self) -> int:
        """Patches of a tile."""
        return (self.tile_size // self.patch_size) ** 2

    @property
    def num_tokens(self) -> int:
        """Tokens of a tile, the class token counted."""
        return self.num_patches + 1

    @property
    def num_padded(self) -> int:
        """Tokens of a tile, filled up."""
        return -(-self.num_tokens // _PAD_TO) * _PAD_TO


class _Tower:
    """Grows the graph; a method that makes a value returns its name.

    The tokens of used tiles come first and padding after them, in every state from `embed` on.
    """

    def __init__(
        self, checkpoint: Checkpoint, config: _Config, spec: TileSpec, dtype: Dtype
    ) -> None:
        self.graph = Graph("vision", dtype=dtype)
        self.checkpoint = checkpoint
        self.config = config
        self.spec = spec
        self.part = checkpoint.part(
            ("model.vision_model.", "vision_model."), "patch_embedding.weight"
        )

    def grow(self, text: DecoderConfig, cross_layers: tuple[int, ...]) -> None:
        """The whole graph, ready to be saved."""
        graph, config = self.graph, self.config
        side = config.tile_size
        pixels = graph.input("pixel_values", FLOAT, [config.max_tiles, 3, side, side])
        graph.input("aspect_ratio_id", INT64, [1])
        graph.input("tile_mask", INT64, [config.max_tiles])
        self.sort_tokens()
        state = graph.node("Gather", self.embed(pixels), self.order)
        kept = []
        for layer in range(config.num_layers):
            if layer in config.kept_layers:
                kept.append(state)
            state = self.layer(state, f"transformer.layers.{layer}", is_gated=False)
        state = self.norm(state, "layernorm_post", epsilon=_EPSILON)
        tiles = self.tile_embedding("post_tile_positional_embedding")
        state = graph.node("Add", state, graph.node("Gather", tiles, self.tile_of))
        for layer in range(config.num_global_layers):
            state = self.layer(state, f"global_transformer.layers.{layer}", is_gated=True)
        self.declare_outputs(self.projected([state, *kept], text.hidden_size), text, cross_layers)

    def sort_tokens(self) -> None:
        """`order` `[tokens]`: used tokens, then padding; and what follows from it."""
        graph, config = self.graph, self.config
        is_token = np.arange(config.num_padded) < config.num_tokens
        row = graph.constant("is_token", is_token.astype(np.int64)[None])
        used = graph.node("Mul", graph.node("Unsqueeze", "tile_mask", graph.ints(1)), row)
        used = graph.node("Reshape", used, graph.ints(-1))
        unused = graph.node("Sub", graph.index(1), used)
        found = [
            graph.node("Reshape", graph.node("NonZero", part), graph.ints(-1))
            for part in (used, unused)
        ]
        self.order = graph.node("Concat", *found, axis=0)
        self.num_used = graph.node("Shape", found[0])
        self.tile_of = graph.node("Div", self.order, graph.index(config.num_padded))

    def embed(self, pixels: str) -> str:
        """`[tiles * padded, width]` float32: patches, class token, positions, norm, padding."""
        graph, config, width = self.graph, self.config, self.config.width
        grid, side = config.tile_size // config.patch_size, config.patch_size
        cut = graph.node("Reshape", pixels, graph.ints(-1, 3, grid, side, grid, side))
        cut = graph.node("Transpose", cut, perm=[0, 2, 4, 1, 3, 5])
        cut = graph.node("Reshape", cut, graph.ints(-1, config.num_patches, 3 * side * side))
        kernel = self.part.weight("patch_embedding.weight", width, 3, side, side)
        matrix = kernel.reshaped(width, 3 * side * side)
        state = graph.wide(linear(graph, graph.narrow(cut), "patch_embedding", matrix=matrix))
        tiles = self.tile_embedding("pre_tile_positional_embedding")
        state = graph.node("Add", state, graph.node("Unsqueeze", tiles, graph.ints(1)))
        weight = self.part.weight("class_embedding", width).reshaped(1, 1, width)
        first = graph.weight("class_embedding", weight, type_=FLOAT)
        first = graph.node("Expand", first, graph.ints(config.max_tiles, 1, width))
        state = graph.node("Concat", first, state, axis=1)
        state = graph.node("Add", state, self.positions())
        state = self.norm(state, "layernorm_pre", epsilon=_EPSILON)
        rest = config.num_padded - config.num_tokens
        state = graph.node("Pad", state, graph.ints(0, 0, 0, 0, rest, 0))
        return graph.node("Reshape", state, graph.ints(-1, width))

    def positions(self) -> str:
        """`[tiles, tokens, width]`: what every tile has, and what the arrangement gives each."""
        graph, config, name = self.graph, self.config, "gated_positional_embedding"
        tokens, width = config.num_tokens, config.width
        gate = self.part.weight(f"{name}.gate", 1)
        shared = self.part.weight(f"{name}.embedding", tokens, width)
        common = shared.mapped(
            lambda values: (np.float32(1) - np.tanh(gate.read())) * values, shared.shape
        )
        table = self.part.weight(f"{name}.tile_embedding.weight")
        own = graph.node(
            "Gather", graph.weight(f"{name}.tiles", table, type_=FLOAT), "aspect_ratio_id"
        )
        own = graph.node("Reshape", own, graph.ints(config.max_tiles, tokens, width))
        own = graph.node("Mul", own, self.tanh(f"{name}.gate"))
        return graph.node("Add", own, graph.weight(f"{name}.common", common, type_=FLOAT))

    def tile_embedding(self, name: str) -> str:
        """`[tiles, width]` float32: what the arrangement gives each tile."""
        graph, config = self.graph, self.config
        table = self.part.weight(f"{name}.embedding.weight")
        found = graph.node(
            "Gather", graph.weight(f"{name}.tiles", table, type_=FLOAT), "aspect_ratio_id"
        )
        found = graph.node("Reshape", found, graph.ints(config.max_tiles, config.width))
        return graph.node("Mul", found, self.tanh(f"{name}.gate"))

    def tanh(self, name: str) -> str:
        """The gate `name`, `[1]` float32."""
        gate = self.part.weight(name, 1)
        return self.graph.weight(name, gate.mapped(np.tanh, gate.shape), type_=FLOAT)

    def layer(self, state: str, name: str, *, is_gated: bool) -> str:
        """One layer: `[tokens, width]` float32 in and out."""
        graph, config, width = self.graph, self.config, self.config.width
        normal = graph.narrow(self.norm(state, f"{name}.input_layernorm"))
        update = graph.wide(self.attention(normal, f"{name}.self_attn"))
        if is_gated:
            update = graph.node("Mul", update, self.tanh(f"{name}.gate_attn"))
        state = graph.node("Add", state, update)
        normal = graph.narrow(self.norm(state, f"{name}.post_attention_layernorm"))
        inner = self.dense(normal, f"{name}.mlp.fc1", config.inner_width, width)
        inner = graph.node("Gelu", inner)
        update = graph.wide(self.dense(inner, f"{name}.mlp.fc2", width, config.inner_width))
        if is_gated:
            update = graph.node("Mul", update, self.tanh(f"{name}.gate_ffn"))
        return graph.node("Add", state, update)

    def attention(self, normal: str, name: str) -> str:
        """Used tokens see all tokens, padding sees used ones: `[tokens, width]`, real type."""
        graph, width = self.graph, self.config.width
        query, key, value = (
            linear(
                graph,
                normal,
                f"{name}.{part}_proj",
                matrix=self.part.weight(f"{name}.{part}_proj.weight", width, width),
            )
            for part in "qkv"
        )
        sides = [self.split(part) for part in (query, key, value)]
        (query, padding), (used_key, _), (used_value, _) = sides
        mixed = [self.attend(query, key, value), self.attend(padding, used_key, used_value)]
        joined = graph.node("Concat", *mixed, axis=1)
        joined = graph.node("Reshape", joined, graph.ints(-1, width))
        matrix = self.part.weight(f"{name}.o_proj.weight", width, width)
        return linear(graph, joined, f"{name}.o_proj", matrix=matrix)

    def split(self, value: str) -> tuple[str, str]:
        """The rows of used tokens, and those of padding."""
        graph, zero, end = self.graph, self.graph.ints(0), self.graph.ints(2**62)
        used = graph.node("Slice", value, zero, self.num_used, zero)
        return used, graph.node("Slice", value, self.num_used, end, zero)

    def attend(self, query: str, key: str, value: str) -> str:
        """`[1, rows, width]` of the real type; ONNX Runtime's operator, which holds no scores."""
        graph = self.graph
        rows = [graph.node("Unsqueeze", part, graph.ints(0)) for part in (query, key, value)]
        return graph.node(
            "MultiHeadAttention", *rows, domain="com.microsoft", num_heads=self.config.num_heads
        )

    def projected(self, states: list[str], outputs: int) -> str:
        """All tokens as the decoder's states: `[M, H]` of the real type, tile after tile."""
        graph, config, name = self.graph, self.config, "multi_modal_projector"
        width, count = config.width, len(states) - 1
        part = self.checkpoint.part((f"model.{name}.", f"{name}."), "weight")
        weight = part.weight("weight", outputs, width * (1 + count))

        def regrouped() -> np.ndarray:
            """The kept layers' features lie interleaved in the checkpoint, here behind another."""
            values = weight.read()
            rest = values[:, width:].reshape(outputs, width, count).transpose(0, 2, 1)
            return np.concatenate([values[:, :width], rest.reshape(outputs, -1)], axis=1)

        joined = graph.narrow(graph.node("Concat", *states, axis=1))
        back = graph.node("ScatterElements", self.order, self.order, self.places(), axis=0)
        joined = graph.node("Gather", joined, back)
        tiles = graph.ints(config.max_tiles, config.num_padded, width * (1 + count))
        joined = graph.node("Reshape", joined, tiles)
        ends = (graph.ints(0), graph.ints(config.num_tokens), graph.ints(1))
        joined = graph.node("Slice", joined, *ends)
        joined = graph.node("Reshape", joined, graph.ints(-1, width * (1 + count)))
        bias = part.weight("bias", outputs)
        return linear(graph, joined, name, matrix=Weight(weight.shape, regrouped), bias=bias)

    def places(self) -> str:
        """0, 1, 2 and so on, for each token."""
        graph = self.graph
        count = self.config.max_tiles * self.config.num_padded
        return graph.constant("places", np.arange(count))

    def declare_outputs(
        self, state: str, text: DecoderConfig, cross_layers: tuple[int, ...]
    ) -> None:
        """Keys, normed, and values of every layer that reads the picture."""
        graph, heads = self.graph, self.graph.ints(1, -1, text.num_kv_heads, text.head_dim)
        shape: Shape = [1, text.num_kv_heads, "M", text.head_dim]
        width = text.num_kv_heads * text.head_dim
        prefixes = ("model.language_model.", "language_model.model.", "language_model.", "model.")
        part = self.checkpoint.part(prefixes, "embed_tokens.weight")
        for layer in cross_layers:
            for kind in ("key", "value"):
                name = f"layers.{layer}.cross_attn.{kind[0]}_proj"
                matrix = part.weight(f"{name}.weight", width, text.hidden_size)
                value = linear(graph, state, name, matrix=matrix)
                value = graph.node("Reshape", value, heads)
                if kind == "key":
                    name = f"layers.{layer}.cross_attn.k_norm"
                    scale = part.weight(f"{name}.weight", text.head_dim)
                    normal = rms_norm(
                        graph, graph.wide(value), name, scale=scale, epsilon=text.epsilon
                    )
                    value = graph.narrow(normal)
                value = graph.node("Transpose", value, perm=[0, 2, 1, 3])
                graph.output(f"cross.{layer}.{kind}", value, type_=graph.real, shape=shape)

    def dense(self, value: str, name: str, outputs: int, inputs: int) -> str:
        """A linear layer with a bias, of the real type."""
        weight = self.part.weight
        matrix, bias = weight(f"{name}.weight", outputs, inputs), weight(f"{name}.bias", outputs)
        return linear(self.graph, value, name, matrix=matrix, bias=bias)

    def norm(self, state: str, name: str, *, epsilon: float | None = None) -> str:
        """The layer norm `name` of a float32 state; `epsilon` is the layers' unless given."""
        width = self.config.width
        return layer_norm(
            self.graph,
            state,
            name,
            scale=self.part.weight(f"{name}.weight", width),
            bias=self.part.weight(f"{name}.bias", width),
            epsilon=self.config.epsilon if epsilon is None else epsilon,
        )


def _read_config(checkpoint: Checkpoint) -> _Config:
    place = f"{checkpoint.folder}/config.json, vision_config"
    record = checkpoint.config.get("vision_config")
    if not isinstance(record, dict):
        raise ModelError(f"{checkpoint.folder}/config.json has no vision_config")
    if record.get("hidden_act", "gelu") != "gelu":
        raise ModelError(f"{place} has hidden_act {record['hidden_act']!r}; expected 'gelu'")

    def size(name: str, default: int) -> int:
        return read_size({name: default, **record}, name, place)

    config = _Config(
        width=size("hidden_size", 1280),
        inner_width=size("intermediate_size", 5120),
        num_heads=size("attention_heads", 16),
        num_layers=size("num_hidden_layers", 32),
        num_global_layers=size("num_global_layers", 8),
        kept_layers=tuple(record.get("intermediate_layers_indices", (3, 7, 15, 23, 30))),
        tile_size=size("image_size", 448),
        patch_size=size("patch_size", 14),
        max_tiles=size("max_num_tiles", 4),
        epsilon=float(record.get("norm_eps", 1e-5)),
    )
    ratios = record.get("supported_aspect_ratios", expected := _arrangements(config.max_tiles))
    if ratios != expected:
        raise ModelError(f"{place} has supported_aspect_ratios {ratios}; expected {expected}")
    if config.width % config.num_heads or config.tile_size % config.patch_size:
        raise ModelError(
            f"{place} has {config.width} in {config.num_heads} heads, tiles of {config.tile_size} "
            f"and patches of {config.patch_size}; expected multiples"
        )
    return config


def _arrangements(max_tiles: int) -> list[list[int]]:
    """The arrangements of tiles in the order that the runtime numbers them in."""
    return [list(pair) for pair in arrangements(max_tiles)]


def _read_tile_spec(checkpoint: Checkpoint, config: _Config) -> TileSpec:
    record, place = read_preprocessor(checkpoint.folder)
    size = record.get("size") or {}
    found = (size.get("height"), size.get("width"), record.get("max_image_tiles"))
    expected = (config.tile_size, config.tile_size, config.max_tiles)
    if found != expected:
        raise ModelError(f"{place} has tiles {found}; config.json has {expected}")
    names = [name for name in ("image_token_index", "image_token_id") if name in checkpoint.config]
    token = names[0] if names else "image_token_index"
    return TileSpec(
        token=read_size(checkpoint.config, token, f"{checkpoint.folder}/config.json"),
        tile_size=config.tile_size,
        max_tiles=config.max_tiles,
        tokens_per_tile=config.num_tokens,
        mean=read_channels(record, "image_mean", place),
        std=read_channels(record, "image_std", place),
    )
