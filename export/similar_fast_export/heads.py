"""The heads of a reward model: what they are checked for, and their graph.

dims r = W h; weights g = softmax(MLP(p) / T) s, or 1 where there is no gate; score = g . r. Source:
Miao et al. 2025, section 4; the gate is that of Wang et al. 2024 (ArmoRM), section 2.2. Everything
is float32, whatever the decoder's dtype is.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import ModelError
from similar_fast.manifest import HeadsSpec

from similar_fast_export.graph import FLOAT, INT64, Graph
from similar_fast_export.weight import Weight

__all__ = [
    "HEADS_NAME",
    "HEADS_WEIGHTS_NAME",
    "Heads",
    "build_heads",
    "encode_heads",
    "random_heads",
    "read_heads",
]

HEADS_NAME = "heads.onnx"
"""The graph's file in a model's folder."""

HEADS_WEIGHTS_NAME = "heads.safetensors"
"""The weights' file, in a checkpoint's folder and in a model's."""

LABEL_SCALES = (3.0, 5.0, 5.0, 1.0, 1.0)
"""What upstream multiplies the labels of H, OS, E, TR and C by for training."""

TEMPERATURE = 10.0
"""Upstream's temperature T of the gate."""

_WIDTH = 64  # of the gate's hidden layers that are drawn; trained ones have 1,024
_METADATA = re.compile(r"temperature (\S+) label_scales (.+)")
_LAYER = re.compile(r"gating\.layers\.(\d+)\.(weight|bias)")

_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The weights of the heads.

    Attributes:
        regression: `[5, H]` float32, W; rows in the order of `DIMENSIONS`.
        layers: Weight `[outputs, inputs]` and bias `[outputs]` of each linear layer of the gate,
            with ReLU between two; empty where the total is the plain sum.
        logit_scale: s.
        temperature: T, above 0.
        label_scales: What the labels were multiplied by, in the order of `DIMENSIONS`.
    """

    regression: _Floats
    layers: tuple[tuple[_Floats, _Floats], ...] = ()
    logit_scale: float = 1.0
    temperature: float = TEMPERATURE
    label_scales: tuple[float, float, float, float, float] = LABEL_SCALES

    def check(self, hidden_size: int, place: str) -> None:
        """Whether these heads fit a decoder.

        Raises:
            ModelError: A shape does not fit, a value is not finite, or T is not above 0; the
                message begins with `place`.
        """
        width = len(DIMENSIONS)
        _expect(place, "regression.weight", self.regression, (width, hidden_size))
        inputs = hidden_size
        for i, (weight, bias) in enumerate(self.layers):
            is_last = i == len(self.layers) - 1
            outputs = width if is_last else weight.shape[0]
            _expect(place, f"gating.layers.{i}.weight", weight, (outputs, inputs))
            _expect(place, f"gating.layers.{i}.bias", bias, (outputs,))
            inputs = outputs
        if not (np.isfinite(self.logit_scale) and 0 < self.temperature < np.inf):
            raise ModelError(
                f"{place} has logit_scale {self.logit_scale} and temperature {self.temperature}; "
                "expected finite numbers, the temperature above 0"
            )


def build_heads(
    heads: Path | Heads, folder: Path, hidden_size: int, *, is_random: bool = False
) -> HeadsSpec:
    """Writes `heads.onnx` and `heads.safetensors` into `folder`.

    The graph: hidden `[K, H]`, prompt_hidden `[G, H]` float32, group `[K]` int64 -> dims `[K, 5]`,
    weights `[K, 5]`, score `[K]`.

    Args:
        heads: A file as `encode_heads` makes it, or the weights.
        folder: The model's folder.
        hidden_size: Width of the decoder's states.
        is_random: Whether they were drawn at random.

    Raises:
        ModelError: The file cannot be read, or the weights do not fit.
    """
    place = "the heads" if isinstance(heads, Heads) else str(heads)
    if isinstance(heads, Path):
        heads = read_heads(heads)
    heads.check(hidden_size, place)
    _graph(heads, hidden_size).save(folder / HEADS_NAME)
    (folder / HEADS_WEIGHTS_NAME).write_bytes(encode_heads(heads))
    return HeadsSpec(bool(heads.layers), heads.label_scales, is_random=is_random)


def random_heads(hidden_size: int, seed: int) -> Heads:
    """Gated heads drawn at random: they show speed and parity, no quality.

    Args:
        hidden_size: Width of the decoder's states.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    width = len(DIMENSIONS)
    sizes = [hidden_size, _WIDTH, _WIDTH, width]

    def draw(*shape: int) -> _Floats:
        return (rng.normal(size=shape) * shape[-1] ** -0.5).astype(np.float32)

    layers = tuple(
        (draw(outputs, inputs) * np.float32(2), draw(outputs))
        for inputs, outputs in pairwise(sizes)
    )
    return Heads(draw(width, hidden_size), layers, logit_scale=2.0, temperature=1.0)


def encode_heads(heads: Heads) -> bytes:
    """`heads` as a safetensors file; the same weights give the same bytes."""
    tensors = {"regression.weight": heads.regression}
    for i, (weight, bias) in enumerate(heads.layers):
        tensors |= {f"gating.layers.{i}.weight": weight, f"gating.layers.{i}.bias": bias}
    if heads.layers:
        tensors["gating.logit_scale"] = np.array([heads.logit_scale], np.float32)
    scales = " ".join(f"{scale:g}" for scale in heads.label_scales)
    # One entry: safetensors writes several in an order of its own.
    metadata = {"similar": f"temperature {heads.temperature!r} label_scales {scales}"}
    whole = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}
    return bytes(save(whole, metadata=metadata))


def read_heads(path: Path) -> Heads:
    """The heads in a safetensors file.

    `regression.weight`; for gated ones `gating.layers.N.weight`, `gating.layers.N.bias`, N from 0,
    and `gating.logit_scale`. The metadata entry `similar` may name T and the label scales.

    Raises:
        ModelError: The file is missing or no safetensors file, or a tensor is missing or unknown.
    """
    try:
        with safe_open(str(path), framework="np") as file:
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118  # no dict
            metadata = file.metadata() or {}
    except (OSError, SafetensorError, TypeError, ValueError) as err:
        raise ModelError(f"{path} cannot be read as heads: {err}") from err
    return heads_of(tensors, str(path), **_parse_metadata(metadata.get("similar"), path))


def heads_of(
    tensors: Mapping[str, NDArray[Any]],
    place: str,
    *,
    temperature: float = TEMPERATURE,
    label_scales: tuple[float, ...] = LABEL_SCALES,
) -> Heads:
    """The heads that `tensors`, named as in a file, make up.

    Raises:
        ModelError: One is missing or unknown; the message begins with `place`.
    """
    left = dict(tensors)
    regression = left.pop("regression.weight", None)
    if regression is None:
        raise ModelError(f"{place} holds {sorted(tensors)}; expected regression.weight")
    scale = left.pop("gating.logit_scale", None)
    count = 1 + max((int(m[1]) for name in left if (m := _LAYER.fullmatch(name))), default=-1)
    layers = []
    for i in range(count):
        pair = [left.pop(f"gating.layers.{i}.{part}", None) for part in ("weight", "bias")]
        if pair[0] is None or pair[1] is None:
            raise ModelError(f"{place} has no whole gating.layers.{i}; expected weight and bias")
        layers.append((np.asarray(pair[0], np.float32), np.asarray(pair[1], np.float32)))
    if left:
        raise ModelError(f"{place} holds {min(left)}, which heads do not have")
    if bool(layers) != (scale is not None) or (scale is not None and np.size(scale) != 1):
        raise ModelError(
            f"{place} has {len(layers)} gating layers and the logit_scale {scale}; expected both "
            "or neither, and one number"
        )
    if len(label_scales) != len(DIMENSIONS):
        raise ModelError(f"{place} has {len(label_scales)} label scales; expected 5")
    return Heads(
        np.asarray(regression, np.float32),
        tuple(layers),
        logit_scale=1.0 if scale is None else float(np.reshape(scale, ())),
        temperature=temperature,
        label_scales=label_scales,  # type: ignore[arg-type]  # five, as checked
    )


def _graph(heads: Heads, hidden_size: int) -> Graph:
    graph = Graph("heads")
    width = len(DIMENSIONS)
    hidden = graph.input("hidden", FLOAT, ["K", hidden_size])
    prompt = graph.input("prompt_hidden", FLOAT, ["G", hidden_size])
    group = graph.input("group", INT64, ["K"])
    regression = graph.weight("regression.weight", Weight.of(heads.regression.T))
    dims = graph.node("MatMul", hidden, regression)
    if heads.layers:
        weights = graph.node("Gather", _gate(graph, prompt, heads), group)
    else:
        weights = graph.node("Expand", graph.number(1.0), graph.node("Shape", dims))
    product = graph.node("Mul", dims, weights)
    score = graph.node("ReduceSum", product, graph.ints(1), keepdims=0)
    graph.output("dims", dims, type_=FLOAT, shape=["K", width])
    graph.output("weights", weights, type_=FLOAT, shape=["K", width])
    graph.output("score", score, type_=FLOAT, shape=["K"])
    return graph


def _gate(graph: Graph, value: str, heads: Heads) -> str:
    """`[G, 5]`, the gate's weights of each state."""
    for i, (weight, bias) in enumerate(heads.layers):
        name = f"gating.layers.{i}"
        value = value if i == 0 else graph.node("Relu", value)
        value = graph.node("MatMul", value, graph.weight(f"{name}.weight", Weight.of(weight.T)))
        value = graph.node("Add", value, graph.weight(f"{name}.bias", Weight.of(bias)))
    value = graph.node("Div", value, graph.number(heads.temperature))
    value = graph.node("Softmax", value, axis=-1)
    return graph.node("Mul", value, graph.number(heads.logit_scale))


def _expect(place: str, name: str, values: _Floats, shape: Sequence[int]) -> None:
    if values.shape != tuple(shape):
        raise ModelError(f"{place}: {name} has the shape {values.shape}; expected {tuple(shape)}")
    if not np.isfinite(values).all():
        raise ModelError(f"{place}: {name} holds NaN or infinite values")


def _parse_metadata(text: str | None, path: Path) -> dict[str, Any]:
    if text is None:
        return {}
    found = _METADATA.fullmatch(text)
    try:
        if found is not None:
            scales = tuple(float(word) for word in found[2].split())
            return {"temperature": float(found[1]), "label_scales": scales}
    except ValueError:
        found = None
    raise ModelError(f"{path} has the metadata {text!r}; expected T and label scales")
