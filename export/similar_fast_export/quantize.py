"""Matrices in 8 or 4 bits: blocks of one output's weights share a scale.

A large model's stay packed in memory, by ONNX Runtime's `com.microsoft.MatMulNBits`: weights are
unsigned, with an implied zero point in the middle, and packed from the lowest bits up. A small
model's are small in its file alone: `DequantizeLinear`, which ONNX Runtime carries out once, when a
session opens, so that a product is as fast as in float32 (see `docs/decisions/int8-weights.md`).
"""

import numpy as np
from numpy.typing import NDArray

from similar_fast_export.graph import FLOAT, INT8, UINT8, Graph, Stored
from similar_fast_export.weight import Weight

__all__ = [
    "BLOCK_SIZE",
    "UNPACKED_BLOCK_SIZE",
    "quantize",
    "quantized_product",
    "quantized_rows",
    "unpacked_product",
]

BLOCK_SIZE = 32
"""Weights of one output that share a scale."""

UNPACKED_BLOCK_SIZE = 64
"""The same of a matrix that becomes float32 when a session opens, where it fits the inputs."""

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


def unpacked_product(graph: Graph, value: str, name: str, matrix: Weight) -> str:
    """`value` times the transpose of `matrix`, which is int8 in the file and float32 in a session.

    Args:
        graph: Where it grows.
        value: `[..., inputs]` float32.
        name: What the weights are called in the file.
        matrix: `[outputs, inputs]`.

    Raises:
        ValueError: The inputs are no multiple of `BLOCK_SIZE`.
    """
    outputs, inputs = matrix.shape
    if inputs % BLOCK_SIZE:
        raise ValueError(f"{name} has {inputs} inputs; expected a multiple of {BLOCK_SIZE}")
    size = UNPACKED_BLOCK_SIZE if inputs % UNPACKED_BLOCK_SIZE == 0 else BLOCK_SIZE
    stored = Stored(name, INT8, (inputs, outputs))
    scales = Stored(f"{name}.scale", FLOAT, (inputs // size, outputs))

    def read() -> tuple[NDArray[np.int8], Floats]:
        numbers, scale = _rounded(matrix.read(), 8, size)
        return numbers.astype(np.int8).reshape(outputs, inputs).T, scale.T

    graph.weights((stored, scales), read)
    weights = graph.node("DequantizeLinear", stored.name, scales.name, axis=0, block_size=size)
    return graph.node("MatMul", value, weights)


def quantized_rows(graph: Graph, ids: str, name: str, table: Weight) -> str:
    """The rows `ids` of a table that is kept in int8 with one scale a row: `[N, width]` float32.

    Args:
        graph: Where it grows.
        ids: `[N]` int64.
        name: What the table is called in the file.
        table: `[rows, width]`.
    """
    rows, width = table.shape
    stored = Stored(name, INT8, (rows, width))
    scales = Stored(f"{name}.scale", FLOAT, (rows, 1))

    def read() -> tuple[NDArray[np.int8], Floats]:
        numbers, scale = _rounded(table.read(), 8, width)
        return numbers.astype(np.int8).reshape(rows, width), scale

    graph.weights((stored, scales), read)
    found = graph.cast(graph.node("Gather", stored.name, ids), FLOAT)
    return graph.node("Mul", found, graph.node("Gather", scales.name, ids))


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
    numbers, scale = _rounded(matrix, bits, BLOCK_SIZE)
    packed = (numbers + np.float32(1 << (bits - 1))).astype(np.uint8)
    if bits == 4:
        packed = packed[:, :, 0::2] | packed[:, :, 1::2] << np.uint8(4)
    return packed, scale


def _rounded(matrix: Floats, bits: int, block_size: int) -> tuple[Floats, Floats]:
    """Whole numbers `[outputs, blocks, block_size]`, signed, and their scales `[outputs, blocks]`.

    See `quantize`; the least number of `bits` is taken by the weight of greatest magnitude.
    """
    outputs, inputs = matrix.shape
    middle = 1 << (bits - 1)
    blocks = matrix.reshape(outputs, inputs // block_size, block_size)
    low, high = blocks.min(axis=2), blocks.max(axis=2)
    scale = np.where(high > -low, high, low) / np.float32(-middle)
    scale[scale == 0] = 1
    numbers = blocks / scale[:, :, None]
    np.rint(numbers, out=numbers)
    np.clip(numbers, -middle, middle - 1, out=numbers)
    return numbers, scale
