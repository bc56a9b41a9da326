"""The vision towers of qwen2_vl and qwen2_5_vl as a graph: one picture's patches to its tokens.

Source: Wang et al. 2024, "Qwen2-VL", section 2.1; Bai et al. 2025, "Qwen2.5-VL", section 2.1.1
(windows). Names of the weights are those of transformers.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import numpy_helper
from similar_fast.models.manifest import PatchSpec

from similar_fast_export.blocks import (
    layer_norm,
    linear,
    lowered,
    raised,
    rms_norm,
    rotate,
    rotation,
)
from similar_fast_export.checkpoint import Checkpoint, Part
from similar_fast_export.graph import FLOAT, INT64, Dtype, Graph, Shape
from similar_fast_export.vision_config import VisionConfig, read_patch_spec, read_vision_config

__all__ = ["VISION_NAME", "build_vision"]

VISION_NAME = "vision.onnx"
"""The vision graph's file in a model's folder."""

_EPSILON = 1e-6  # of every norm; the configuration does not say it
_INT32 = tuple(numpy_helper.from_array(np.array([value], np.int32)) for value in (0, 1))
_Waves = tuple[str, str]


def build_vision(checkpoint: Checkpoint, folder: Path, dtype: Dtype) -> PatchSpec:
    """Writes `vision.onnx` of a qwen2_vl or qwen2_5_vl checkpoint into `folder`.

    The graph: pixel_values `[N, channels * time * side^2]` float32 and hw `[N, 2]` int64, the row
    and column of each patch of one picture in merge order; for qwen2_5_vl also window `[N]` int64
    -> image_embeds `[N / merge^2, H]`.

    Raises:
        ModelError: A configuration or a weight does not fit; files may be left in `folder`.
    """
    config = read_vision_config(checkpoint)
    spec = read_patch_spec(checkpoint, config)
    part = checkpoint.part(("visual.", "model.visual."), "patch_embed.proj.weight")
    tower = _Tower(config, part, spec, dtype)
    tower.grow()
    tower.graph.save(folder / VISION_NAME)
    return spec


@dataclass(frozen=True, slots=True)
class _Windows:
    """Where a picture's patches stand when each window has a row of its own.

    Attributes:
        slot: `[N, 1]` int64, each patch's place among the places of all windows.
        shape: The sizes of all places, `[windows * places, 3 * width]`.
        is_taken: `[windows, places]` int32, 1 where a patch stands.
    """

    slot: str
    shape: str
    is_taken: str


class _Tower:
    """Grows the graph; a method that makes a value returns its name."""

    def __init__(self, config: VisionConfig, part: Part, spec: PatchSpec, dtype: Dtype) -> None:
        self.graph = Graph("vision", dtype=dtype)
        self.config = config
        self.part = part
        self.spec = spec

    def grow(self) -> None:
        """The whole graph, ready to be saved."""
        graph, config = self.graph, self.config
        pixels = graph.input("pixel_values", FLOAT, ["N", math.prod(config.patch_shape)])
        graph.input("hw", INT64, ["N", 2])
        state = self.embed(pixels)
        waves = self.waves()
        windows = self.windows() if self.config.is_windowed else None
        for layer in range(config.num_layers):
            is_windowed = windows is not None and layer not in config.full_layers
            state = self.layer(state, layer, waves, windows if is_windowed else None)
        merged = self.merge(state)
        shape: Shape = ["M", config.output_width]
        graph.output("image_embeds", merged, type_=graph.real, shape=shape)

    def embed(self, pixels: str) -> str:
        """The patches' first states, `[N, width]` float32: a convolution over one place each."""
        graph, config = self.graph, self.config
        weight = self.part.weight("patch_embed.proj.weight")
        matrix = weight.reshaped(config.width, math.prod(config.patch_shape))
        return graph.wide(linear(graph, graph.narrow(pixels), "patch_embed", matrix=matrix))

    def waves(self) -> _Waves:
        """Cosine and sine, `[N, 1, head_dim / 2]`: half of the pairs for the row, half the column.

        The frequencies of either half are those of a head half as wide.
        """
        graph, half = self.graph, self.config.head_dim // 2
        frequencies = np.array(self.config.frequencies, np.float32)
        constant = graph.constant("frequencies", frequencies.reshape(1, 1, -1))
        places = graph.node("Unsqueeze", graph.cast("hw", FLOAT), graph.ints(2))
        angles = graph.node("Mul", places, constant)
        return rotation(graph, graph.node("Reshape", angles, graph.ints(-1, 1, half)))

    def windows(self) -> _Windows:
        """The places of all windows; those at the right and lower edge stay free in part."""
        graph, spec = self.graph, self.spec
        window = graph.input("window", INT64, ["N"])
        side = spec.window_size // spec.patch_size // spec.merge_size * spec.merge_size
        within = graph.node("Mod", "hw", graph.index(side))
        rows = graph.constant("window.rows", np.array([side, 1], np.int64))
        place = graph.node("ReduceSum", graph.node("Mul", within, rows), graph.ints(1), keepdims=0)
        first = graph.node("Mul", window, graph.index(side * side))
        slot = graph.node("Unsqueeze", graph.node("Add", first, place), graph.ints(1))
        last = graph.node("ReduceMax", window, graph.ints(0), keepdims=1)
        count = graph.node("Mul", graph.node("Add", last, graph.ints(1)), graph.ints(side * side))
        zeros = graph.node("ConstantOfShape", count, value=_INT32[0])
        ones = graph.node("ConstantOfShape", graph.node("Shape", window), value=_INT32[1])
        taken = graph.node("ScatterND", zeros, slot, ones)
        return _Windows(
            slot=slot,
            shape=graph.node("Concat", count, graph.ints(3 * self.config.width), axis=0),
            is_taken=graph.node("Reshape", taken, graph.ints(-1, side * side)),
        )

    def layer(self, state: str, layer: int, waves: _Waves, windows: _Windows | None) -> str:
        """One block: `[N, width]` float32 in and out."""
        graph, name = self.graph, f"blocks.{layer}"
        normal = graph.narrow(self.norm(state, f"{name}.norm1"))
        mixed = self.attention(normal, f"{name}.attn", waves, windows)
        state = graph.node("Add", state, graph.wide(mixed))
        normal = graph.narrow(self.norm(state, f"{name}.norm2"))
        return graph.node("Add", state, self.mlp(normal, f"{name}.mlp"))

    def attention(self, normal: str, name: str, waves: _Waves, windows: _Windows | None) -> str:
        """What each patch takes from the picture or from its window: `[N, width]`, real type.

        ONNX Runtime's operator, because it never holds the scores of all patches at once.
        """
        graph, config = self.graph, self.config
        width = config.width
        product = self.dense(normal, f"{name}.qkv", 3 * width, width)
        thirds = graph.ints(width, width, width)
        query, key, value = graph.nodes("Split", product, thirds, num_outputs=3, axis=1)
        parts = [self.turned(query, waves), self.turned(key, waves), value]
        if windows is None:
            rows = [graph.node("Unsqueeze", part, graph.ints(0)) for part in parts]
            mixed = self.attend(rows)
        else:
            mixed = self.attend(self.in_windows(parts, windows), windows.is_taken)
        mixed = graph.node("Reshape", mixed, graph.ints(-1, width))
        if windows is not None:
            mixed = graph.node("GatherND", mixed, windows.slot)
        return self.dense(mixed, f"{name}.proj", width, width)

    def in_windows(self, parts: list[str], windows: _Windows) -> list[str]:
        """Queries, keys and values `[N, width]` as `[windows, places, width]`."""
        graph, width = self.graph, self.config.width
        joined = graph.node("Concat", *parts, axis=1)
        zero = graph.constant("zero", np.zeros(1, np.float32))
        empty = graph.node("Expand", graph.narrow(zero), windows.shape)
        placed = graph.node("ScatterND", empty, windows.slot, joined)
        sizes = graph.node("Concat", graph.node("Shape", windows.is_taken), graph.ints(-1), axis=0)
        placed = graph.node("Reshape", placed, sizes)
        thirds = graph.ints(width, width, width)
        return graph.nodes("Split", placed, thirds, num_outputs=3, axis=2)

    def attend(self, parts: list[str], is_taken: str = "") -> str:
        """Attention within each batch row: `[rows, places, width]` of the real type."""
        absent = ["", is_taken] if is_taken else []
        return self.graph.node(
            "MultiHeadAttention",
            *parts,
            *absent,
            domain="com.microsoft",
            num_heads=self.config.num_heads,
        )

    def turned(self, value: str, waves: _Waves) -> str:
        """Queries or keys `[N, width]`, rotated by their places."""
        graph, config = self.graph, self.config
        heads = graph.ints(-1, config.num_heads, config.head_dim)
        value = graph.wide(graph.node("Reshape", value, heads))
        value = graph.narrow(rotate(graph, value, waves, width=config.head_dim))
        return graph.node("Reshape", value, graph.ints(-1, config.width))

    def mlp(self, normal: str, name: str) -> str:
        """`[N, width]` float32: quick GELU in qwen2_vl, a gated SiLU in qwen2_5_vl."""
        graph, width, inner = self.graph, self.config.width, self.config.mlp_width
        if self.config.is_windowed:
            gate = self.dense(normal, f"{name}.gate_proj", inner, width)
            up = lowered(graph, self.dense(normal, f"{name}.up_proj", inner, width))
            wide = graph.node("Mul", graph.node("Mul", gate, graph.node("Sigmoid", gate)), up)
            last = f"{name}.down_proj"
        else:
            wide = self.dense(normal, f"{name}.fc1", inner, width)
            slope = graph.narrow(graph.number(1.702))
            gate = graph.node("Sigmoid", graph.node("Mul", wide, slope))
            wide = graph.node("Mul", lowered(graph, wide), gate)
            last = f"{name}.fc2"
        matrix = self.part.weight(f"{last}.weight", width, inner)
        product = raised(graph, linear(graph, wide, last, matrix=matrix))
        bias = graph.weight(f"{last}.bias", self.part.weight(f"{last}.bias", width), type_=FLOAT)
        return graph.node("Add", product, bias)

    def merge(self, state: str) -> str:
        """The patches of a token side by side, through an MLP: `[N / merge^2, H]`, real type."""
        graph, config = self.graph, self.config
        width = config.width * self.spec.merge_size**2
        normal = graph.narrow(self.norm(state, "merger.ln_q"))
        normal = graph.node("Reshape", normal, graph.ints(-1, width))
        inner = graph.node("Gelu", self.dense(normal, "merger.mlp.0", width, width))
        return self.dense(inner, "merger.mlp.2", config.output_width, width)

    def dense(self, value: str, name: str, outputs: int, inputs: int) -> str:
        """A linear layer with a bias, of the real type."""
        weight = self.part.weight
        matrix = weight(f"{name}.weight", outputs, inputs)
        bias = weight(f"{name}.bias", outputs)
        return linear(self.graph, value, name, matrix=matrix, bias=bias)

    def norm(self, state: str, name: str) -> str:
        """The norm `name` of a float32 state: RMS in qwen2_5_vl, whose other parts differ too."""
        scale = self.part.weight(f"{name}.weight", self.config.width)
        if self.config.is_windowed:
            return rms_norm(self.graph, state, name, scale=scale, epsilon=_EPSILON)
        bias = self.part.weight(f"{name}.bias", self.config.width)
        return layer_norm(self.graph, state, name, scale=scale, bias=bias, epsilon=_EPSILON)
