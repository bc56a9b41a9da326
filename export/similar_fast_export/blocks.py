"""What transformers are made of, as nodes of a `Graph`: products, norms, rotation, attention.

A state is float32. A matrix product takes and gives the graph's `real` type; each function here
says which of the two its values have.
"""

import numpy as np

from similar_fast_export.graph import FLOAT, Graph
from similar_fast_export.quantize import BLOCK_SIZE, quantized_product, unpacked_product
from similar_fast_export.weight import Weight

__all__ = [
    "attend",
    "bias_of_mask",
    "layer_norm",
    "linear",
    "lowered",
    "raised",
    "rms_norm",
    "rotate",
    "rotation",
]

_HEADROOM = 64.0
_MASKED = -1e4  # finite: a row that may attend to nothing stays a number


def linear(
    graph: Graph, value: str, name: str, *, matrix: Weight, bias: Weight | None = None
) -> str:
    """`value` times the transpose of `matrix`, plus `bias`; `[..., outputs]` of the real type.

    Args:
        graph: Where it grows.
        value: `[..., inputs]` of the real type.
        name: What the weights are called in the file.
        matrix: `[outputs, inputs]`, as a checkpoint holds it; stored as the graph's dtype says,
            but in float32 where its inputs are no whole blocks of int8 or int4.
        bias: `[outputs]`.
    """
    if graph.dtype in {"int8", "int4"} and matrix.shape[1] % BLOCK_SIZE == 0:
        make = unpacked_product if graph.unpacks_int8 else quantized_product
        product = make(graph, value, f"{name}.weight", matrix)
    else:
        product = graph.node("MatMul", value, graph.weight(f"{name}.weight", matrix.transposed()))
    if bias is None:
        return product
    return graph.node("Add", product, graph.weight(f"{name}.bias", bias))


def lowered(graph: Graph, value: str) -> str:
    """An input of a product that may outgrow float16, over 64 where the graph is fp16.

    The last product of an MLP does in published checkpoints. `raised` undoes it; 64 is a power of
    two, so nothing is rounded.
    """
    if graph.real == FLOAT:
        return value
    return graph.node("Mul", value, graph.narrow(graph.number(1 / _HEADROOM)))


def raised(graph: Graph, product: str) -> str:
    """The product of a `lowered` value as float32, at its own size again."""
    if graph.real == FLOAT:
        return product
    return graph.node("Mul", graph.wide(product), graph.number(_HEADROOM))


def layer_norm(
    graph: Graph, value: str, name: str, *, scale: Weight, bias: Weight, epsilon: float
) -> str:
    """The layer norm over the last axis, float32.

    Source: Ba et al. 2016, "Layer Normalization", equation 4.
    """
    weights = (
        graph.weight(f"{name}.weight", scale, type_=FLOAT),
        graph.weight(f"{name}.bias", bias, type_=FLOAT),
    )
    return graph.node("LayerNormalization", value, *weights, axis=-1, epsilon=epsilon)


def rms_norm(graph: Graph, value: str, name: str, *, scale: Weight, epsilon: float) -> str:
    """`scale * value / sqrt(mean(value^2) + epsilon)` over the last axis, float32.

    Written in the order of operators that ONNX Runtime fuses into one kernel.
    Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", equation 4.
    """
    square = graph.node("Pow", value, graph.number(2.0))
    mean = graph.node("ReduceMean", square, graph.ints(-1), keepdims=1)
    length = graph.node("Sqrt", graph.node("Add", mean, graph.number(epsilon)))
    normal = graph.node("Div", value, length)
    return graph.node("Mul", normal, graph.weight(f"{name}.weight", scale, type_=FLOAT))


def rotation(graph: Graph, angles: str, *, scale: float = 1.0) -> tuple[str, str]:
    """The cosine and sine of `angles`, each times `scale`, for `rotate`."""
    waves = (graph.node("Cos", angles), graph.node("Sin", angles))
    if scale == 1.0:
        return waves
    factor = graph.number(scale)
    cosine, sine = (graph.node("Mul", wave, factor) for wave in waves)
    return cosine, sine


def rotate(graph: Graph, value: str, cosine_sine: tuple[str, str], *, width: int) -> str:
    """Rotary position embedding: the halves (a, b) become (a cos - b sin, b cos + a sin).

    Source: Su et al. 2021, "RoFormer", equation 34; halves instead of neighbours, as GPT-NeoX.

    Args:
        graph: Where it grows.
        value: `[..., width]` float32.
        cosine_sine: Each `[..., width / 2]`; broadcast over the heads.
        width: Even.
    """
    cosine, sine = cosine_sine
    half = graph.ints(width // 2, width // 2)
    a, b = graph.nodes("Split", value, half, num_outputs=2, axis=-1)
    first = graph.node("Sub", graph.node("Mul", a, cosine), graph.node("Mul", b, sine))
    second = graph.node("Add", graph.node("Mul", b, cosine), graph.node("Mul", a, sine))
    return graph.node("Concat", first, second, axis=-1)


def bias_of_mask(graph: Graph, mask: str) -> str:
    """0 where the bool `mask` is true and -1e4 elsewhere, float32; once for all layers."""
    masked = graph.constant("masked", np.float32(_MASKED))
    return graph.node("Where", mask, graph.number(0.0), masked)


def attend(
    graph: Graph,
    query: str,
    key: str,
    value: str,
    *,
    bias: str | None = None,
    bias_shape: str | None = None,
) -> str:
    """softmax(query key^T + bias) value: `[..., rows, width]` of the real type.

    Query heads that share a key head lie behind one another as rows, so no key is repeated.
    Source: Vaswani et al. 2017, equation 1; the scale is part of `query` here.

    Args:
        graph: Where it grows.
        query: `[B, heads, rows, width]` of the real type, scaled by 1 / sqrt(width).
        key: `[B, heads, columns, width]` of the real type.
        value: As `key`.
        bias: Float32, added to the scores `[B, heads, rows, columns]`; None adds nothing.
        bias_shape: What the scores are reshaped to where the bias is added, such as
            `[B, heads, group, tokens, columns]`, so that it need not be repeated for a group.
    """
    turned = graph.node("Transpose", key, perm=[0, 1, 3, 2])
    scores = graph.wide(graph.node("MatMul", query, turned))
    if bias is None:
        weights = graph.node("Softmax", scores, axis=-1)
    elif bias_shape is None:
        weights = graph.node("Softmax", graph.node("Add", scores, bias), axis=-1)
    else:
        grouped = graph.node("Reshape", scores, bias_shape)
        weights = graph.node("Softmax", graph.node("Add", grouped, bias), axis=-1)
        weights = graph.node("Reshape", weights, graph.node("Shape", scores))
    return graph.node("MatMul", graph.narrow(weights), value)
