"""A BERT encoder as a prefix-LM: the interface of a decoder, so that prefixes are shared.

A prefix's tokens see the whole prefix, an action's tokens the prefix and the whole action; both are
in the mask. Source: Devlin et al. 2019 (the layers); Raffel et al. 2020, section 3.2.1 (the mask).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from similar_fast.errors import ModelError
from similar_fast.models.manifest import DecoderSpec

from similar_fast_export.blocks import layer_norm, linear
from similar_fast_export.checkpoint import Checkpoint
from similar_fast_export.decoder import DECODER_NAME, Decoder, Rows
from similar_fast_export.decoder_config import DecoderConfig
from similar_fast_export.graph import FLOAT, FLOAT16, Dtype
from similar_fast_export.quantize import quantized_rows

__all__ = ["build_bert"]

_PARTS = {"q": "query", "k": "key", "v": "value"}
_EXPECTED = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "quantization_config": None,
}


def build_bert(checkpoint: Checkpoint, folder: Path, dtype: Dtype) -> DecoderSpec:
    """Writes `decoder.onnx` of a bert checkpoint into `folder`.

    Raises:
        ModelError: The configuration or a weight does not fit; files may be left in `folder`.
    """
    part = checkpoint.part(("", "bert."), "embeddings.word_embeddings.weight")
    decoder = BertDecoder(_read_config(checkpoint), part, dtype=dtype)
    decoder.grow()
    decoder.graph.save(folder / DECODER_NAME)
    return replace(decoder.spec, attention="prefix")


def _read_config(checkpoint: Checkpoint) -> DecoderConfig:
    record, place = checkpoint.config, f"{checkpoint.folder}/config.json"
    for name, expected in _EXPECTED.items():
        if record.get(name, expected) != expected:
            raise ModelError(f"{place} has {name} {record[name]!r}; expected {expected!r}")
    epsilon = record.get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise ModelError(f"{place} has layer_norm_eps {epsilon!r}; expected a small number")
    size = checkpoint.text_size
    heads = size("num_attention_heads")
    if size("hidden_size") % heads:
        raise ModelError(
            f"{place} has hidden_size {size('hidden_size')} in {heads} heads; expected a multiple"
        )
    return DecoderConfig(
        hidden_size=size("hidden_size"),
        intermediate_size=size("intermediate_size"),
        num_layers=size("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=size("hidden_size") // heads,
        vocab_size=size("vocab_size"),
        epsilon=epsilon,
        frequencies=(),
        max_positions=size("max_position_embeddings"),
    )


class BertDecoder(Decoder):
    """The encoder's layers within a decoder's rows, masks, keys and values."""

    unpacks_int8 = True

    def grow(self) -> None:
        """The whole graph; the last layer at the scored tokens alone, see `Decoder.grow`."""
        self.declare_inputs()
        state = self.embed()
        everyone, last = self.every_row(None), self.config.num_layers - 1
        for layer in range(last):
            state = self.layer(state, layer, everyone)
        self.declare_outputs(self.last_layer(state, last, self.scored_rows(None)))

    def embed(self) -> str:
        """The state of every token: `[B*S, hidden]` float32, word, position and first type."""
        graph, config = self.graph, self.config
        words = self.table("word_embeddings", config.vocab_size, "input_ids")
        places = self.table("position_embeddings", config.max_positions, "position_ids")
        types = self.part.weight("embeddings.token_type_embeddings.weight")
        first = types.mapped(lambda values: values[0], types.shape[1:])
        state = graph.node("Add", words, places)
        state = graph.node("Add", state, graph.weight("embeddings.type", first, type_=FLOAT))
        return self.layer_norm(state, "embeddings.LayerNorm")

    def table(self, name: str, rows: int, ids: str) -> str:
        """Rows of an embedding: `[B*S, hidden]` float32."""
        graph = self.graph
        weight = self.part.weight(f"embeddings.{name}.weight", rows, self.config.hidden_size)
        flat = graph.node("Reshape", ids, graph.ints(-1))
        if graph.unpacks_int8:
            return quantized_rows(graph, flat, f"embeddings.{name}", weight)
        type_ = FLOAT if graph.dtype == "fp32" else FLOAT16
        found = graph.node("Gather", graph.weight(f"embeddings.{name}", weight, type_=type_), flat)
        return found if type_ == FLOAT else graph.cast(found, FLOAT)

    def projections(self, layer: int, kinds: Sequence[str]) -> tuple[str, list[str]]:
        """As `Decoder.projections`."""
        name = f"encoder.layer.{layer}.attention.self"
        parts = [_PARTS[kind] for kind in kinds]
        return f"{name}.{'_'.join(parts)}", [f"{name}.{part}" for part in parts]

    def layer(self, state: str, layer: int, rows: Rows) -> str:
        """One layer over every token: `[B*S, hidden]` float32 in and out."""
        query, key, value = self.project(self.graph.narrow(state), layer, ("q", "k", "v"))
        mixed = self.attention(query, self.keys_values(key, value, layer), rows)
        return self.finish(state, mixed, layer)

    def last_layer(self, state: str, layer: int, rows: Rows) -> str:
        """The last layer: `[B*S, hidden]` to `[K, hidden]`, at the scored tokens alone."""
        key, value = self.project(self.graph.narrow(state), layer, ("k", "v"))
        scored = self.graph.node("Gather", state, "score_index")
        (query,) = self.project(self.graph.narrow(scored), layer, ("q",))
        key_value = [self.in_one_row(part) for part in self.keys_values(key, value, layer)]
        return self.finish(scored, self.attention(query, key_value, rows), layer)

    def finish(self, state: str, mixed: str, layer: int) -> str:
        """The end of a layer: each product is added to the state, and the sum is normed."""
        graph, config, name = self.graph, self.config, f"encoder.layer.{layer}"
        hidden, wide = config.hidden_size, config.intermediate_size
        mixed = self.dense(mixed, f"{name}.attention.output.dense", hidden, hidden)
        state = self.layer_norm(self.add(state, mixed), f"{name}.attention.output.LayerNorm")
        inner = self.dense(graph.narrow(state), f"{name}.intermediate.dense", wide, hidden)
        outer = self.dense(graph.node("Gelu", inner), f"{name}.output.dense", hidden, wide)
        return self.layer_norm(self.add(state, outer), f"{name}.output.LayerNorm")

    def dense(self, value: str, name: str, outputs: int, inputs: int) -> str:
        """A linear layer with a bias, of the real type."""
        weight = self.part.weight
        matrix, bias = weight(f"{name}.weight", outputs, inputs), weight(f"{name}.bias", outputs)
        return linear(self.graph, value, name, matrix=matrix, bias=bias)

    def layer_norm(self, state: str, name: str) -> str:
        """The layer norm `name` of a float32 state."""
        width = self.config.hidden_size
        return layer_norm(
            self.graph,
            state,
            name,
            scale=self.part.weight(f"{name}.weight", width),
            bias=self.part.weight(f"{name}.bias", width),
            epsilon=self.config.epsilon,
        )
