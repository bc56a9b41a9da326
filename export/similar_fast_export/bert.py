"""A BERT encoder with mean pooling as an ONNX graph, in standard operators of opset 21.

Source: Devlin et al. 2019 (the encoder), Reimers and Gurevych 2019, section 3 (mean pooling).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["BertConfig", "bert_embedding_graph"]

_OPSET = 21
_IR_VERSION = 10
_INT8_MAX = 127
_MASKED = 1e4  # a finite bias: a row that is masked whole stays a number

_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BertConfig:
    """The sizes of a BERT encoder.

    Attributes:
        hidden_size: Width of a token's state.
        num_layers: Layers.
        num_heads: Attention heads; they share the width evenly.
        epsilon: Added to the variance in a layer norm.
        max_positions: Longest input in tokens.
        block_size: Weights of one output that share a scale; divides every input width.
    """

    hidden_size: int
    num_layers: int
    num_heads: int
    epsilon: float
    max_positions: int
    block_size: int = 64


def bert_embedding_graph(
    weights: Mapping[str, NDArray[Any]], config: BertConfig, *, is_quantized: bool
) -> ModelProto:
    """input_ids, attention_mask `[B, S]` int64 -> embedding `[B, hidden_size]` float32, length 1.

    Args:
        weights: The state of Hugging Face's `BertModel`, by its names; token type 0 is used.
        config: The sizes.
        is_quantized: Whether matrices are stored in int8, each block of `block_size` weights of
            an output with a float scale (a row of the word table with one), else in float32.

    Raises:
        KeyError: A weight is missing.
    """
    return _Builder(weights, config, is_quantized=is_quantized).build()


class _Builder:
    """Grows one graph; every method returns the name of the value that it made."""

    def __init__(
        self, weights: Mapping[str, NDArray[Any]], config: BertConfig, *, is_quantized: bool
    ) -> None:
        self.weights = {name: np.asarray(w, np.float32) for name, w in weights.items()}
        self.config = config
        self.is_quantized = is_quantized
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def build(self) -> ModelProto:
        mask = self.node("Cast", "attention_mask", to=TensorProto.FLOAT)
        state = self.embed()
        bias = self.attention_bias(mask)
        for layer in range(self.config.num_layers):
            state = self.layer(state, bias, f"encoder.layer.{layer}")
        self.pool(state, mask)
        tokens = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        shape: list[str | int | None] = ["batch", self.config.hidden_size]
        embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, shape)
        graph = helper.make_graph(
            self.nodes, "bert_embedding", tokens, [embedding], list(self.constants.values())
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="similar-fast-export",
        )

    def embed(self) -> str:
        words = self.words()
        positions = self.weights["embeddings.position_embeddings.weight"]
        token_type = self.weights["embeddings.token_type_embeddings.weight"][0]
        table = positions[: self.config.max_positions] + token_type
        length = self.node("Shape", "input_ids", start=1, end=2)
        start = self.constant("zero", np.array([0]))
        rows = self.node("Slice", self.constant("positions", table), start, length, start)
        return self.norm(self.node("Add", words, rows), "embeddings.LayerNorm")

    def words(self) -> str:
        table = self.weights["embeddings.word_embeddings.weight"]
        if not self.is_quantized:
            return self.node("Gather", self.constant("words", table), "input_ids")
        quantized, scale = _quantize(table, table.shape[1])
        ids = self.node("Gather", self.constant("words", quantized), "input_ids")
        scales = self.node("Gather", self.constant("words.scale", scale), "input_ids")
        return self.node("Mul", self.node("Cast", ids, to=TensorProto.FLOAT), scales)

    def attention_bias(self, mask: str) -> str:
        """0 where attention is allowed, -1e4 elsewhere: `[B, 1, 1, S]`."""
        shifted = self.node("Sub", mask, self.constant("one", np.float32(1)))
        bias = self.node("Mul", shifted, self.constant("masked", np.float32(_MASKED)))
        return self.node("Unsqueeze", bias, self.constant("axes.1.2", np.array([1, 2])))

    def layer(self, state: str, bias: str, name: str) -> str:
        mixed = self.attention(state, bias, f"{name}.attention")
        mixed = self.linear(mixed, f"{name}.attention.output.dense")
        state = self.norm(self.node("Add", state, mixed), f"{name}.attention.output.LayerNorm")
        wide = self.node("Gelu", self.linear(state, f"{name}.intermediate.dense"))
        narrow = self.linear(wide, f"{name}.output.dense")
        return self.norm(self.node("Add", state, narrow), f"{name}.output.LayerNorm")

    def attention(self, state: str, bias: str, name: str) -> str:
        query, key, value = (self.heads(state, name, part) for part in ("query", "key", "value"))
        keys = self.node("Transpose", key, perm=[0, 1, 3, 2])
        logits = self.node("Add", self.node("MatMul", query, keys), bias)
        weights = self.node("Softmax", logits, axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        width = self.constant("shape.state", np.array([0, 0, self.config.hidden_size]))
        return self.node("Reshape", mixed, width)

    def heads(self, state: str, name: str, part: str) -> str:
        """The queries, keys or values of each head: `[B, heads, S, width]`."""
        config = self.config
        width = config.hidden_size // config.num_heads
        scale = width**-0.5 if part == "query" else 1.0
        value = self.linear(state, f"{name}.self.{part}", scale=scale)
        shape = self.constant("shape.heads", np.array([0, 0, config.num_heads, width]))
        return self.node("Transpose", self.node("Reshape", value, shape), perm=[0, 2, 1, 3])

    def linear(self, value: str, name: str, *, scale: float = 1.0) -> str:
        matrix = self.weights[f"{name}.weight"] * np.float32(scale)
        bias = self.weights[f"{name}.bias"] * np.float32(scale)
        product = self.node("MatMul", value, self.matrix(matrix, name))
        return self.node("Add", product, self.constant(f"{name}.bias", bias))

    def matrix(self, matrix: _Floats, name: str) -> str:
        """The transpose of `matrix`, `[outputs, inputs]`, as a float value."""
        if not self.is_quantized:
            return self.constant(f"{name}.weight", matrix.T)
        size = self.config.block_size
        quantized, scale = _quantize(matrix, size)
        return self.node(
            "DequantizeLinear",
            self.constant(f"{name}.weight", quantized.T),
            self.constant(f"{name}.scale", scale.T),
            axis=0,
            block_size=size,
        )

    def norm(self, value: str, name: str) -> str:
        scale = self.constant(f"{name}.weight", self.weights[f"{name}.weight"])
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        epsilon = self.config.epsilon
        return self.node("LayerNormalization", value, scale, bias, axis=-1, epsilon=epsilon)

    def pool(self, state: str, mask: str) -> None:
        """The sum over the tokens, divided by its length; the mean has the same direction."""
        column = self.node("Unsqueeze", mask, self.constant("axes.2", np.array([2])))
        tokens = self.constant("axes.1", np.array([1]))
        total = self.node("ReduceSum", self.node("Mul", state, column), tokens, keepdims=0)
        length = self.node("ReduceL2", total, tokens, keepdims=1)
        self.node("Div", total, length, output="embedding")

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:  # noqa: ANN401  # onnx takes any
        output = output or f"{operator}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name


def _quantize(matrix: _Floats, block_size: int) -> tuple[NDArray[np.int8], _Floats]:
    """`[rows, columns]` -> int8 of that shape and scales `[rows, columns / block_size]`.

    Symmetric: the greatest weight of a block becomes 127; a block of zeros has scale 1.
    """
    rows, columns = matrix.shape
    blocks = matrix.reshape(rows, columns // block_size, block_size)
    scale = np.abs(blocks).max(axis=2) / np.float32(_INT8_MAX)
    scale[scale == 0] = 1
    quantized = np.rint(blocks / scale[:, :, None]).astype(np.int8)
    return quantized.reshape(rows, columns), scale
