"""The decoder of the Qwen2 families as a graph: many rows, a shared past, a tree in the mask.

Source: Yang et al. 2024, "Qwen2 Technical Report", section 2.2; Wang et al. 2024, "Qwen2-VL",
section 2.1 (M-RoPE). Names of the weights are those of transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from similar_fast.models.manifest import DecoderSpec

from similar_fast_export.blocks import (
    attend,
    bias_of_mask,
    linear,
    lowered,
    raised,
    rms_norm,
    rotate,
    rotation,
)
from similar_fast_export.checkpoint import Checkpoint, Part
from similar_fast_export.decoder_config import DecoderConfig, read_decoder_config
from similar_fast_export.graph import BOOL, FLOAT, FLOAT16, INT64, Dtype, Graph, Shape
from similar_fast_export.weight import Weight, joined

__all__ = ["DECODER_NAME", "TEXT_PREFIXES", "Decoder", "Rows", "build_decoder"]

DECODER_NAME = "decoder.onnx"
"""The decoder's file in a model's folder."""

TEXT_PREFIXES = (
    "model.language_model.",
    "language_model.model.",
    "language_model.",
    "model.",
    "",
)
"""What the text weights' names begin with, in the layouts that exist."""

_Waves = tuple[str, str]


def build_decoder(checkpoint: Checkpoint, folder: Path, dtype: Dtype) -> DecoderSpec:
    """Writes `decoder.onnx` of a qwen2, qwen2_vl or qwen2_5_vl checkpoint into `folder`.

    Raises:
        ModelError: The configuration or a weight does not fit; files may be left in `folder`.
    """
    config = read_decoder_config(checkpoint)
    decoder = Decoder(config, checkpoint.part(TEXT_PREFIXES, "embed_tokens.weight"), dtype=dtype)
    decoder.grow()
    decoder.graph.save(folder / DECODER_NAME)
    return decoder.spec


@dataclass(frozen=True, slots=True)
class Rows:
    """What attention needs to know of the tokens whose states it updates.

    Attributes:
        waves: Cosine and sine for the queries, scaled: `[B, 1, rows, head_dim / 2]`; None where
            positions are no rotation.
        bias: Added to the scores: `[B, 1, 1, rows, columns]`.
        bias_shape: The shape `[B, kv, group, rows, columns]`, int64.
        shape: The shape `[B, rows, heads, head_dim]`, int64.
    """

    waves: _Waves | None
    bias: str
    bias_shape: str
    shape: str


class Decoder:
    """Grows the graph; a method that makes a value returns its name.

    A family with other layers overrides `layer` and calls the parts.

    Attributes:
        graph: What grows.
        config: The sizes.
        part: The weights.
        unpacks_int8: As of `Graph`; a family of small models overrides it.
        present: The keys and values that became outputs so far, by the outputs' names.
        key_waves: Cosine and sine for the keys, set by `grow`; None where positions are no
            rotation.
    """

    unpacks_int8 = False

    def __init__(self, config: DecoderConfig, part: Part, *, dtype: Dtype) -> None:
        self.graph = Graph("decoder", dtype=dtype, unpacks_int8=self.unpacks_int8)
        self.config = config
        self.part = part
        self.present: dict[str, str] = {}
        self.key_waves: _Waves | None = None

    @property
    def self_layers(self) -> tuple[int, ...]:
        """The layers that keep keys and values of tokens."""
        return tuple(range(self.config.num_layers))

    @property
    def spec(self) -> DecoderSpec:
        """The interface for the manifest."""
        return DecoderSpec(
            layers=self.self_layers,
            num_kv_heads=self.config.num_kv_heads,
            head_dim=self.config.head_dim,
            kv_dtype="float16" if self.graph.real == FLOAT16 else "float32",
            position_axes=3 if self.config.position_axes == 3 else 1,
        )

    def grow(self) -> None:
        """The whole graph, ready to be saved.

        The last layer needs the keys and values of every token, but queries, attention and MLP of
        the scored ones alone: they are the only states that anything reads afterwards.
        """
        self.declare_inputs()
        state = self.embed()
        angles = self.angles()
        self.key_waves = rotation(self.graph, angles)
        query_waves = rotation(self.graph, angles, scale=self.config.head_dim**-0.5)
        everyone = self.every_row(query_waves)
        last = self.config.num_layers - 1
        for layer in range(last):
            state = self.layer(state, layer, everyone)
        state = self.last_layer(state, last, self.scored_rows(query_waves))
        hidden = self.norm(state, "norm")
        self.declare_outputs(hidden)

    def declare_inputs(self) -> None:
        """The inputs in the order of the interface, and the shapes that are made of them."""
        graph, config = self.graph, self.config
        graph.input("input_ids", INT64, ["B", "S"])
        graph.input("position_ids", INT64, [config.position_axes, "B", "S"])
        graph.input("mask", BOOL, ["B", 1, "S", "T"])
        graph.input("score_index", INT64, ["K"])
        if config.image_token is not None:
            graph.input("image_embeds", graph.real, ["M", config.hidden_size])
        past: Shape = ("B", config.num_kv_heads, "P", config.head_dim)
        for layer in self.self_layers:
            for kind in ("key", "value"):
                graph.input(f"past.{layer}.{kind}", graph.real, past)
        self.batch = graph.node("Shape", "input_ids", start=0, end=1)
        self.tokens = graph.node("Shape", "input_ids", start=1, end=2)
        self.columns = graph.node("Shape", "mask", start=3, end=4)

    def declare_outputs(self, hidden: str) -> None:
        """The outputs in the order of the interface."""
        config = self.config
        self.graph.output("hidden", hidden, type_=FLOAT, shape=["K", config.hidden_size])
        sizes: Shape = ("B", config.num_kv_heads, "T", config.head_dim)
        for name, part in self.present.items():
            self.graph.output(name, part, type_=self.graph.real, shape=sizes)

    def embed(self) -> str:
        """The state of every token: `[B*S, hidden]` float32; picture tokens take the picture's."""
        graph, config = self.graph, self.config
        words = self.part.weight("embed_tokens.weight", config.vocab_size, config.hidden_size)
        type_ = FLOAT if graph.dtype == "fp32" else FLOAT16
        ids = graph.node("Reshape", "input_ids", graph.ints(-1))
        state = graph.node("Gather", graph.weight("embed_tokens", words, type_=type_), ids)
        state = state if type_ == FLOAT else graph.cast(state, FLOAT)
        if config.image_token is None:
            return state
        is_image = graph.node("Equal", ids, graph.index(config.image_token))
        count = graph.node("CumSum", graph.cast(is_image, INT64), graph.index(0))
        row = graph.node("Max", graph.node("Sub", count, graph.index(1)), graph.index(0))
        image = graph.wide(graph.node("Gather", "image_embeds", row))
        return graph.node("Where", graph.node("Unsqueeze", is_image, graph.ints(1)), image, state)

    def angles(self) -> str:
        """Positions times frequencies: `[B, 1, S, head_dim / 2]` float32, one axis for each pair.

        A product and a sum, no matrix product: a GPU may round the inputs of those to 10 bits.
        """
        graph, table = self.graph, self.config.axis_frequencies
        frequencies = graph.constant("frequencies", table[:, None, None, :])
        positions = graph.node("Unsqueeze", graph.cast("position_ids", FLOAT), graph.ints(3))
        angles = graph.node("Mul", positions, frequencies)
        angles = graph.node("ReduceSum", angles, graph.ints(0), keepdims=0)
        return graph.node("Unsqueeze", angles, graph.ints(1))

    def every_row(self, query_waves: _Waves | None) -> Rows:
        """All tokens, as they came."""
        graph = self.graph
        mask = graph.node("Unsqueeze", "mask", graph.ints(1))
        return self.rows(query_waves, mask, self.batch, self.tokens)

    def scored_rows(self, query_waves: _Waves | None) -> Rows:
        """The tokens of `score_index` as one batch row, over the columns of all batch rows.

        A token sees what its mask allows in its own batch row and nothing of the others.
        """
        graph = self.graph
        owner = graph.node("Div", "score_index", self.tokens)
        rows = graph.node(
            "Range", graph.index(0), graph.node("Squeeze", self.batch), graph.index(1)
        )
        is_own = graph.node("Equal", graph.node("Unsqueeze", owner, graph.ints(1)), rows)
        shape = graph.node("Concat", graph.ints(-1), self.columns, axis=0)
        mask = graph.node("Gather", graph.node("Reshape", "mask", shape), "score_index")
        mask = graph.node(
            "And",
            graph.node("Unsqueeze", is_own, graph.ints(2)),
            graph.node("Unsqueeze", mask, graph.ints(1)),
        )
        count = graph.node("Shape", "score_index")
        one = graph.ints(1)
        shape = graph.node("Concat", one, one, one, count, graph.ints(-1), axis=0)
        waves = None if query_waves is None else self.scored_waves(query_waves)
        return self.rows(waves, graph.node("Reshape", mask, shape), one, count)

    def scored_waves(self, waves: _Waves) -> _Waves:
        """The waves of the tokens of `score_index`."""
        graph = self.graph
        flat = graph.ints(-1, self.config.head_dim // 2)
        cosine, sine = (
            graph.node("Gather", graph.node("Reshape", wave, flat), "score_index") for wave in waves
        )
        return cosine, sine

    def rows(self, waves: _Waves | None, mask: str, batch: str, count: str) -> Rows:
        """Rows under `mask`, `[batch, 1, 1, count, columns]` bool."""
        graph, config = self.graph, self.config
        group = config.num_heads // config.num_kv_heads
        heads = graph.ints(config.num_kv_heads, group)
        return Rows(
            waves,
            bias_of_mask(graph, mask),
            graph.node("Concat", batch, heads, count, graph.ints(-1), axis=0),
            graph.node(
                "Concat", batch, count, graph.ints(config.num_heads, config.head_dim), axis=0
            ),
        )

    def layer(self, state: str, layer: int, rows: Rows) -> str:
        """One layer over every token: `[B*S, hidden]` float32 in and out."""
        name = f"layers.{layer}"
        normal = self.graph.narrow(self.norm(state, f"{name}.input_layernorm"))
        query, key, value = self.project(normal, layer, ("q", "k", "v"))
        mixed = self.attention(query, self.keys_values(key, value, layer), rows)
        return self.finish(state, mixed, layer)

    def last_layer(self, state: str, layer: int, rows: Rows) -> str:
        """The last layer: `[B*S, hidden]` to `[K, hidden]`, at the scored tokens alone."""
        graph = self.graph
        normal = graph.narrow(self.norm(state, f"layers.{layer}.input_layernorm"))
        key, value = self.project(normal, layer, ("k", "v"))
        (query,) = self.project(graph.node("Gather", normal, "score_index"), layer, ("q",))
        key_value = [self.in_one_row(part) for part in self.keys_values(key, value, layer)]
        mixed = self.attention(query, key_value, rows)
        return self.finish(graph.node("Gather", state, "score_index"), mixed, layer)

    def project(self, normal: str, layer: int, kinds: Sequence[str]) -> list[str]:
        """Queries, keys or values of all heads, by one product: each `[tokens, heads * width]`."""
        config = self.config
        name, parts = self.projections(layer, kinds)
        heads = {"q": config.num_heads, "k": config.num_kv_heads, "v": config.num_kv_heads}
        sizes = [heads[kind] * config.head_dim for kind in kinds]
        return self.fused(
            normal,
            name,
            parts,
            sizes=sizes,
            has_bias=config.has_bias,
        )

    def projections(self, layer: int, kinds: Sequence[str]) -> tuple[str, list[str]]:
        """What the product of `kinds` is called in the file, and its parts in the checkpoint."""
        name = f"layers.{layer}.self_attn"
        return f"{name}.{''.join(kinds)}_proj", [f"{name}.{kind}_proj" for kind in kinds]

    def fused(
        self, value: str, name: str, parts: Sequence[str], *, sizes: Sequence[int], has_bias: bool
    ) -> list[str]:
        """Several linear layers of one input as one product, and its pieces."""
        weight, inputs = self.part.weight, self.config.hidden_size
        pairs = list(zip(parts, sizes, strict=True))
        matrix = joined([weight(f"{part}.weight", size, inputs) for part, size in pairs])
        bias = joined([weight(f"{part}.bias", size) for part, size in pairs]) if has_bias else None
        product = linear(self.graph, value, name, matrix=matrix, bias=bias)
        if len(parts) == 1:
            return [product]
        split = self.graph.ints(*sizes)
        return self.graph.nodes("Split", product, split, num_outputs=len(parts), axis=-1)

    def keys_values(self, key: str, value: str, layer: int) -> list[str]:
        """The rotated keys and the values, the past before the new: `[B, kv, T, width]`."""
        graph, config = self.graph, self.config
        heads = graph.ints(config.num_kv_heads, config.head_dim)
        shape = graph.node("Concat", self.batch, self.tokens, heads, axis=0)
        key, value = (
            graph.node("Transpose", graph.node("Reshape", part, shape), perm=[0, 2, 1, 3])
            for part in (key, value)
        )
        all_ = []
        for kind, new in (("key", self.turned(key, self.key_waves)), ("value", value)):
            part = graph.node("Concat", f"past.{layer}.{kind}", new, axis=2)
            self.present[f"present.{layer}.{kind}"] = part
            all_.append(part)
        return all_

    def turned(self, value: str, waves: _Waves | None) -> str:
        """Queries or keys `[B, heads, rows, width]`, rotated by their positions."""
        if waves is None:
            return value
        graph = self.graph
        return graph.narrow(rotate(graph, graph.wide(value), waves, width=self.config.head_dim))

    def scaled(self, query: str) -> str:
        """Queries over the square root of their width, where no wave does it."""
        graph = self.graph
        factor = graph.number(self.config.head_dim**-0.5)
        return graph.narrow(graph.node("Mul", graph.wide(query), factor))

    def in_one_row(self, part: str) -> str:
        """Keys or values of all batch rows behind one another: `[1, kv, B*T, width]`."""
        graph, config = self.graph, self.config
        turned = graph.node("Transpose", part, perm=[1, 0, 2, 3])
        return graph.node(
            "Reshape", turned, graph.ints(1, config.num_kv_heads, -1, config.head_dim)
        )

    def attention(self, query: str, key_value: Sequence[str], rows: Rows) -> str:
        """What the rows take from keys and values: `[rows, heads * width]` of the real type."""
        graph, config = self.graph, self.config
        query = graph.node("Reshape", query, rows.shape)
        query = graph.node("Transpose", query, perm=[0, 2, 1, 3])
        query = self.scaled(query) if rows.waves is None else self.turned(query, rows.waves)
        grouped = graph.ints(0, config.num_kv_heads, -1, config.head_dim)
        query = graph.node("Reshape", query, grouped)
        mixed = attend(graph, query, *key_value, bias=rows.bias, bias_shape=rows.bias_shape)
        mixed = graph.node("Reshape", mixed, graph.ints(0, config.num_heads, -1, config.head_dim))
        mixed = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
        return graph.node("Reshape", mixed, graph.ints(-1, config.num_heads * config.head_dim))

    def finish(self, state: str, mixed: str, layer: int) -> str:
        """The end of a layer: attention's output product, and the MLP, each added to `state`."""
        config, name = self.config, f"layers.{layer}"
        width = config.num_heads * config.head_dim
        state = self.add(state, self.product(mixed, f"{name}.self_attn.o_proj", width))
        normal = self.graph.narrow(self.norm(state, f"{name}.post_attention_layernorm"))
        return self.graph.node("Add", state, self.mlp(normal, f"{name}.mlp"))

    def mlp(self, normal: str, name: str) -> str:
        """down(silu(gate) * up), `[rows, hidden]` float32."""
        graph, config, width = self.graph, self.config, self.config.intermediate_size
        parts = [f"{name}.gate_proj", f"{name}.up_proj"]
        gate, up = self.fused(
            normal, f"{name}.gate_up_proj", parts, sizes=[width, width], has_bias=False
        )
        silu = graph.node("Mul", gate, graph.node("Sigmoid", gate))
        inner = graph.node("Mul", silu, lowered(graph, up))
        matrix = self.part.weight(f"{name}.down_proj.weight", config.hidden_size, width)
        return raised(graph, linear(graph, inner, f"{name}.down_proj", matrix=matrix))

    def product(self, value: str, name: str, inputs: int) -> str:
        """A linear layer back to the state's width."""
        matrix = self.part.weight(f"{name}.weight", self.config.hidden_size, inputs)
        return linear(self.graph, value, name, matrix=matrix)

    def norm(self, state: str, name: str) -> str:
        """The RMS norm `name` of a float32 state."""
        scale: Weight = self.part.weight(f"{name}.weight", self.config.hidden_size)
        return rms_norm(self.graph, state, name, scale=scale, epsilon=self.config.epsilon)

    def add(self, state: str, update: str) -> str:
        """`state` plus an update of the real type; the sum stays float32, it outgrows float16."""
        return self.graph.node("Add", state, self.graph.wide(update))
