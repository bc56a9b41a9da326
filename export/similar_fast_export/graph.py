"""The one place that grows ONNX graphs: nodes, constants, and weights that are streamed to a file.

Standard operators of opset 21, and `com.microsoft` where a node asks for it. Values are known by
their names; a method that makes a value returns its name.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from similar_fast.errors import ModelError

from similar_fast_export.weight import Weight

__all__ = [
    "BOOL",
    "FLOAT",
    "FLOAT16",
    "INT8",
    "INT64",
    "UINT8",
    "Dtype",
    "Graph",
    "Shape",
    "Stored",
]

Dtype = Literal["fp32", "fp16", "int8", "int4"]
"""How the matrices are stored; int8 and int4 leave tables float16 (a small model's int8 does not),
the rest float32."""

FLOAT, FLOAT16 = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)
INT64, BOOL = int(TensorProto.INT64), int(TensorProto.BOOL)
INT8, UINT8 = int(TensorProto.INT8), int(TensorProto.UINT8)

Shape = Sequence[int | str]
"""Sizes; a name stands for one that is known at run time only."""

_OPSET = 21
_IR_VERSION = 10
_ALIGNMENT = 4096  # a page, so that a runtime can map each tensor where it lies
_INLINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of the file: its name, its ONNX element type and its sizes."""

    name: str
    type: int
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type in numpy's words, least significant byte first."""
        return helper.tensor_dtype_to_np_dtype(self.type).newbyteorder("<")

    @property
    def num_bytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize


class Graph:
    """Grows one graph and writes it.

    Attributes:
        name: The graph's name.
        dtype: How matrices are stored, see `similar_fast_export.blocks.linear`.
        unpacks_int8: Whether what dtype int8 stores becomes float32 when a session opens: as fast
            and as large in memory as float32. Otherwise it stays packed, and products take longer.
        real: Element type of a matrix product's inputs and result: FLOAT16 for fp16, else FLOAT.
    """

    def __init__(self, name: str, *, dtype: Dtype = "fp32", unpacks_int8: bool = False) -> None:
        self.name = name
        self.dtype = dtype
        self.unpacks_int8 = unpacks_int8 and dtype == "int8"
        self.real = FLOAT16 if dtype == "fp16" else FLOAT
        self._nodes: list[NodeProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._renamed: dict[str, str] = {}
        self._constants: dict[str, TensorProto] = {}
        self._weights: list[tuple[tuple[Stored, ...], Callable[[], Sequence[NDArray[Any]]]]] = []

    def input(self, name: str, type_: int, shape: Shape) -> str:
        """Declares the graph's next input and returns its name."""
        self._inputs.append(helper.make_tensor_value_info(name, type_, list(shape)))
        return name

    def output(self, name: str, value: str, *, type_: int, shape: Shape) -> None:
        """Declares the node's result `value` as the graph's next output, called `name`.

        Raises:
            ValueError: `value` is no node's result, or an output already.
        """
        if value in self._renamed:
            raise ValueError(f"{value} is the output {self._renamed[value]} already")
        if not any(value in node.output for node in self._nodes):
            raise ValueError(f"{value} is no node's result")
        self._renamed[value] = name
        self._outputs.append(helper.make_tensor_value_info(name, type_, list(shape)))

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:  # noqa: ANN401  # onnx takes any
        """Adds a node with one result and returns the result's name."""
        return self.nodes(operator, *inputs, num_outputs=1, domain=domain, **attributes)[0]

    def nodes(
        self,
        operator: str,
        *inputs: str,
        num_outputs: int,
        domain: str = "",
        **attributes: Any,  # noqa: ANN401  # onnx takes any
    ) -> list[str]:
        """Adds a node with several results and returns their names."""
        stem = f"{operator}.{len(self._nodes)}"
        outputs = [stem] if num_outputs == 1 else [f"{stem}.{i}" for i in range(num_outputs)]
        self._nodes.append(
            helper.make_node(operator, inputs, outputs, name=stem, domain=domain, **attributes)
        )
        return outputs

    def cast(self, value: str, type_: int) -> str:
        """`value` with another element type."""
        return self.node("Cast", value, to=type_)

    def narrow(self, value: str) -> str:
        """A float32 value as an input of a matrix product; itself unless dtype is fp16."""
        return value if self.real == FLOAT else self.cast(value, self.real)

    def wide(self, value: str) -> str:
        """A matrix product's result as float32; itself unless dtype is fp16."""
        return value if self.real == FLOAT else self.cast(value, FLOAT)

    def ints(self, *values: int) -> str:
        """The constant vector `values`, int64; equal ones are stored once."""
        return self.constant(".".join(["ints", *map(str, values)]), np.array(values, np.int64))

    def index(self, value: int) -> str:
        """The constant `value`, int64, without axes."""
        return self.constant(f"index.{value}", np.int64(value))

    def number(self, value: float) -> str:
        """The constant `value`, float32, without axes."""
        return self.constant(f"number.{value!r}", np.float32(value))

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """A small constant, kept in memory and within the graph's own file.

        Raises:
            ValueError: Another constant has that name.
        """
        tensor = numpy_helper.from_array(np.array(value, order="C"), name)
        if self._constants.setdefault(name, tensor) != tensor:
            raise ValueError(f"there is another constant {name}")
        return name

    def weight(self, name: str, weight: Weight, *, type_: int | None = None) -> str:
        """A weight, read and written when the graph is saved.

        Args:
            name: What it is called in the file.
            weight: Where its values come from.
            type_: FLOAT or FLOAT16; None for `real`.
        """
        stored = Stored(name, self.real if type_ is None else type_, weight.shape)
        self.weights((stored,), lambda: (_converted(weight.read(), stored),))
        return name

    def weights(self, stored: Sequence[Stored], read: Callable[[], Sequence[NDArray[Any]]]) -> None:
        """Several tensors that one reading makes, such as quantised numbers and their scales.

        Raises:
            ValueError: A name is taken.
        """
        taken = {tensor.name for group, _ in self._weights for tensor in group}
        for tensor in stored:
            if tensor.name in taken:
                raise ValueError(f"there is another weight {tensor.name}")
        self._weights.append((tuple(stored), read))

    def save(self, path: Path, *, inline_bytes: int = _INLINE_BYTES) -> None:
        """Writes the graph to `path`, and its great weights one after another to `path.data`.

        The same graph and weights give the same bytes. At most one weight is in memory at a time.
        Files left by an error are for the caller to remove.

        Args:
            path: The file to write; `path.data` is written only where a weight is great.
            inline_bytes: The least weight that goes to `path.data`.

        Raises:
            ModelError: A weight cannot be read, is of another shape than was said, or does not
                fit its type.
        """
        data = path.with_name(path.name + ".data")
        tensors = []
        with data.open("wb") as stream:
            for stored, read in self._weights:
                tensors += _write_weights(stored, read, stream, inline_bytes)
            is_empty = stream.tell() == 0
        if is_empty:
            data.unlink()
        path.write_bytes(self._model(tensors).SerializeToString(deterministic=True))
        onnx.checker.check_model(str(path), full_check=True)

    def _model(self, weights: list[TensorProto]) -> ModelProto:
        nodes = [self._with_output_names(node) for node in self._nodes]
        domains = ["", *sorted({node.domain for node in nodes} - {""})]
        initializers = [*self._constants.values(), *weights]
        graph = helper.make_graph(nodes, self.name, self._inputs, self._outputs, initializers)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(name, 1 if name else _OPSET) for name in domains],
            ir_version=_IR_VERSION,
            producer_name="similar-fast-export",
        )

    def _with_output_names(self, node: NodeProto) -> NodeProto:
        """`node` with the graph's names for what became an output."""
        renamed = NodeProto()
        renamed.CopyFrom(node)
        for names in (renamed.input, renamed.output):
            for i, name in enumerate(names):
                names[i] = self._renamed.get(name, name)
        return renamed


def _write_weights(
    stored: Sequence[Stored],
    read: Callable[[], Sequence[NDArray[Any]]],
    stream: BinaryIO,
    inline_bytes: int,
) -> list[TensorProto]:
    tensors = []
    for tensor, array in zip(stored, _checked(stored, read()), strict=True):
        if tensor.num_bytes < inline_bytes:
            tensors.append(numpy_helper.from_array(array, tensor.name))
            continue
        stream.write(bytes(-stream.tell() % _ALIGNMENT))
        proto = TensorProto(name=tensor.name, data_type=tensor.type, dims=tensor.shape)
        proto.data_location = TensorProto.EXTERNAL
        place = {
            "location": Path(stream.name).name,
            "offset": stream.tell(),
            "length": tensor.num_bytes,
        }
        for key, value in place.items():
            proto.external_data.add(key=key, value=str(value))
        array.tofile(stream)
        tensors.append(proto)
    return tensors


def _checked(stored: Sequence[Stored], arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """The arrays as they are written, row after row."""
    for tensor, array in zip(stored, arrays, strict=True):
        if array.shape != tensor.shape:
            raise ModelError(f"{tensor.name} has the shape {array.shape}; expected {tensor.shape}")
    return [
        np.asarray(array, tensor.dtype, order="C")  # keeps what has no axes as it is
        for tensor, array in zip(stored, arrays, strict=True)
    ]


def _converted(values: NDArray[np.float32], stored: Stored) -> NDArray[Any]:
    limit = float(np.finfo(stored.dtype).max)
    if values.size and max(-float(values.min()), float(values.max())) > limit:
        raise ModelError(f"{stored.name} holds values beyond {limit:.0f}, the most of fp16")
    return np.asarray(values, stored.dtype)
