"""Matrices in 8 or 4 bits: blocks of one output's weights share a scale.

The operator is ONNX Runtime's `com.microsoft.MatMulNBits`: weights are unsigned, with an implied
zero point in the middle, and packed from the lowest bits up.
"""

import numpy as np
from numpy.typing import NDArray

from similar_fast_export.graph import FLOAT, UINT8, Graph, Stored
from similar_fast_export.weight import Weight

__all__ = ["BLOCK_SIZE", "quantize", "quantized_product"]

BLOCK_SIZE = 32
"""Weights of one output that share a scale."""

_BITS = {"int8": 8, "int4": 4}

Floats = NDArray[np.float32]


def quantized_product(graph: Graph, value: str, name: str, matrix: Weight) -> str:
    """`value` times the transpose of `matrix` in the bits of the graph's dtype, float32.

    Activations stay float32, so a row's result does not depend on its neighbours.

    Args:
        graph: Where it grows; its dtype is int8 or int4.
        value: `[..., inputs]` float32.
        name: What the weights are called in the file.
        matrix: `[outputs, inputs]`.

    Raises:
        ValueError: The inputs are no multiple of the block size.
    """
    bits = _BITS[graph.dtype]
    outputs, inputs = matrix.shape
    if inputs % BLOCK_SIZE:
        raise ValueError(f"{name} has {inputs} inputs; expected a multiple of {BLOCK_SIZE}")
    blocks = inputs // BLOCK_SIZE
    packed = Stored(name, UINT8, (outputs, blocks, BLOCK_SIZE * bits // 8))
    scales = Stored(f"{name}.scale", FLOAT, (outputs, blocks))
    graph.weights((packed, scales), lambda: quantize(matrix.read(), bits))
    return graph.node(
        "MatMulNBits",
        value,
        packed.name,
        scales.name,
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=bits,
        block_size=BLOCK_SIZE,
        accuracy_level=1,
    )


def quantize(matrix: Floats, bits: int) -> tuple[NDArray[np.uint8], Floats]:
    """`[outputs, inputs]` to packed weights and their scales `[outputs, blocks]`.

    A weight is `(packed - 2^(bits-1)) * scale`. The weight of greatest magnitude in a block takes
    the most negative number, whose range is one greater: the usual choice for few bits.

    Args:
        matrix: Its inputs are a multiple of `BLOCK_SIZE`.
        bits: 4 or 8.

    Returns:
        `[outputs, blocks, BLOCK_SIZE * bits / 8]` uint8, and the scales.
    """
    outputs, inputs = matrix.shape
    middle = 1 << (bits - 1)
    blocks = matrix.reshape(outputs, inputs // BLOCK_SIZE, BLOCK_SIZE)
    low, high = blocks.min(axis=2), blocks.max(axis=2)
    scale = np.where(high > -low, high, low) / np.float32(-middle)
    scale[scale == 0] = 1
    numbers = blocks / scale[:, :, None]
    np.rint(numbers, out=numbers)
    np.clip(numbers, -middle, middle - 1, out=numbers)
    packed = (numbers + np.float32(middle)).astype(np.uint8)
    if bits == 4:
        packed = packed[:, :, 0::2] | packed[:, :, 1::2] << 4
    return packed, scale
