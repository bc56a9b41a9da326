"""The weights of a reward model's heads: their file, and what they are checked for.

dims r = W h; weights g = softmax(MLP(p) / T) s, or 1 where there is no gate; score = g . r, with h
and p the hidden states of the action's and the prompt's last token. Everything is float32, whatever
the decoder's dtype is. Source: Miao et al. 2025, section 4; the gate is that of Wang et al. 2024
(ArmoRM), section 2.2.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import ModelError

__all__ = [
    "HEADS_NAME",
    "HEADS_WEIGHTS_NAME",
    "LABEL_SCALES",
    "TEMPERATURE",
    "Heads",
    "encode_heads",
    "heads_of",
    "random_heads",
    "read_heads",
]

HEADS_NAME = "heads.onnx"
"""The graph's file in a model's folder."""

HEADS_WEIGHTS_NAME = "heads.safetensors"
"""The weights' file, in a checkpoint's folder and in a model's."""

LABEL_SCALES = (3.0, 5.0, 5.0, 1.0, 1.0)
"""What upstream multiplies the labels by for training, in the order of `DIMENSIONS`."""

TEMPERATURE = 10.0
"""Upstream's temperature T of the gate."""

_DRAWN_WIDTH = 64  # of the gate's hidden layers that are drawn; trained ones have 1,024
_LAYER = re.compile(r"gating\.layers\.(\d{1,3})\.(weight|bias)")
_DTYPES = {"F32", "F16"}

_Floats = NDArray[np.float32]
_Five = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The weights of the heads.

    Attributes:
        regression: `[5, H]` float32, W; rows in the order of `DIMENSIONS`.
        layers: Weight `[outputs, inputs]` and bias `[outputs]` of each linear layer of the gate,
            with a ReLU between two; the last one's outputs are in the order of `DIMENSIONS`. Empty
            where the score is the plain sum.
        logit_scale: s, what the five weights add up to.
        temperature: T, above 0.
        label_scales: What the labels were multiplied by, in the order of `DIMENSIONS`.
        is_random: Whether they were drawn, not trained.
        lexical_prior: What the lexical overlap of a step counts in its task relevance, at least 0,
            see `similar_fast.reward.lexical_prior`. It is no part of what the graph computes.
    """

    regression: _Floats
    layers: tuple[tuple[_Floats, _Floats], ...] = ()
    logit_scale: float = 1.0
    temperature: float = TEMPERATURE
    label_scales: _Five = LABEL_SCALES
    is_random: bool = False
    lexical_prior: float = 0.0

    @property
    def hidden_size(self) -> int:
        """Width of the states that they judge; 0 where W is no matrix."""
        return self.regression.shape[1] if self.regression.ndim == 2 else 0

    def check(self, hidden_size: int, place: str) -> None:
        """Whether they fit a decoder's states.

        Raises:
            ModelError: A shape does not fit, a value is NaN or infinite, T or a label's scale is
                not above 0, or the prior is negative; the message begins with `place`.
        """
        width = len(DIMENSIONS)
        _check_tensor(place, "regression.weight", self.regression, (width, hidden_size))
        inputs = hidden_size
        for i, (weight, bias) in enumerate(self.layers):
            name = f"gating.layers.{i}"
            is_last = i == len(self.layers) - 1
            _check_tensor(place, f"{name}.weight", weight, (width if is_last else "any", inputs))
            inputs = len(weight)
            _check_tensor(place, f"{name}.bias", bias, (inputs,))
        if not math.isfinite(self.logit_scale):
            raise ModelError(f"{place} has the logit_scale {self.logit_scale}; expected a number")
        if not 0 <= self.lexical_prior < math.inf:
            raise ModelError(
                f"{place} has the lexical_prior {self.lexical_prior}; expected at least 0"
            )
        for name, numbers, count in (
            ("temperature", (self.temperature,), 1),
            ("label_scales", self.label_scales, width),
        ):
            if len(numbers) != count or not all(0 < number < math.inf for number in numbers):
                raise ModelError(
                    f"{place} has the {name} {_words(numbers)}; expected {count} above 0"
                )


def random_heads(hidden_size: int, seed: int) -> Heads:
    """Gated heads drawn at random: they show speed and parity, no quality.

    For states whose values have a mean square of about 1, the gate's logits over T and the
    dimensions are about N(0, 1), so that each of the five weights is far from the mean.

    Args:
        hidden_size: Width of the decoder's states.
        seed: Of the draw; the same one gives the same heads.
    """
    rng = np.random.default_rng(seed)
    width = len(DIMENSIONS)
    sizes = [hidden_size, _DRAWN_WIDTH, _DRAWN_WIDTH, width]

    def draw(outputs: int, inputs: int, gain: float) -> _Floats:
        scale = gain * inputs**-0.5
        return np.asarray(rng.normal(0, scale, (outputs, inputs)), np.float32)

    layers = []
    for outputs, inputs in ((b, a) for a, b in pairwise(sizes)):
        # A ReLU halves the mean square; the last layer has to outdo T.
        gain = 2**0.5 if outputs != width else TEMPERATURE
        layers.append((draw(outputs, inputs, gain), draw(outputs, 1, 0.1)[:, 0]))
    return Heads(draw(width, hidden_size, 1.0), tuple(layers), logit_scale=2.0, is_random=True)


def encode_heads(heads: Heads) -> bytes:
    """`heads` as a safetensors file; the same weights give the same bytes.

    Written here because the library's writer puts several metadata entries in a random order.
    Source: the safetensors format, its README's section "Format".
    """
    tensors = {"regression.weight": heads.regression}
    for i, (weight, bias) in enumerate(heads.layers):
        tensors |= {f"gating.layers.{i}.weight": weight, f"gating.layers.{i}.bias": bias}
    if heads.layers:
        tensors["gating.logit_scale"] = np.array([heads.logit_scale], np.float32)
    metadata = {
        "label_scales": _words(heads.label_scales),
        "temperature": _words([heads.temperature]),
    }
    if heads.is_random:
        metadata["is_random"] = "true"
    if heads.lexical_prior:
        metadata["lexical_prior"] = _words([heads.lexical_prior])
    header: dict[str, Any] = {"__metadata__": metadata}
    data = bytearray()
    for name, tensor in sorted(tensors.items()):
        start = len(data)
        data += np.ascontiguousarray(tensor, "<f4").tobytes()
        offsets = [start, len(data)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the data to 8 bytes
    return len(text).to_bytes(8, "little") + text + data


def read_heads(path: Path) -> Heads:
    """The heads in a safetensors file of float32 or float16 tensors.

    `regression.weight`; for gated ones also `gating.layers.N.weight` and `gating.layers.N.bias`
    with N from 0, and `gating.logit_scale`. The metadata may name `temperature` and `label_scales`
    (five numbers, spaces between them), otherwise upstream's hold, `is_random`, and
    `lexical_prior`, otherwise 0.

    Raises:
        ModelError: The file is missing or no safetensors file; a tensor is missing, unknown or of
            another type; the metadata holds no numbers.
        ModuleNotFoundError: safetensors is not installed; an extra of training and of the export.
    """
    from safetensors import (  # noqa: PLC0415  # the runtime reads no weights of heads
        SafetensorError,
        safe_open,
    )

    try:
        with safe_open(str(path), framework="np") as file:
            names = list(file.keys())
            types = {name: str(file.get_slice(name).get_dtype()) for name in names}
            odd = [name for name in names if types[name] not in _DTYPES]
            if odd:
                raise ModelError(f"{path}: {odd[0]} is of {types[odd[0]]}; expected F32 or F16")
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in names}
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as err:
        raise ModelError(f"{path} cannot be read as heads: {err}") from err
    temperature = _numbers(metadata, "temperature", 1, str(path)) or (TEMPERATURE,)
    scales = _numbers(metadata, "label_scales", len(DIMENSIONS), str(path)) or LABEL_SCALES
    prior = _numbers(metadata, "lexical_prior", 1, str(path)) or (0.0,)
    h, os, e, tr, c = scales
    return heads_of(
        tensors,
        str(path),
        temperature=temperature[0],
        label_scales=(h, os, e, tr, c),
        is_random=metadata.get("is_random") == "true",
        lexical_prior=prior[0],
    )


def heads_of(
    tensors: Mapping[str, NDArray[Any]],
    place: str,
    *,
    temperature: float = TEMPERATURE,
    label_scales: _Five = LABEL_SCALES,
    is_random: bool = False,
    lexical_prior: float = 0.0,
) -> Heads:
    """The heads that `tensors`, named as in a file, make up; `Heads.check` looks at their shapes.

    Raises:
        ModelError: One is missing or unknown; the message begins with `place`.
    """
    left = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    regression = left.pop("regression.weight", None)
    if regression is None:
        raise ModelError(f"{place} holds {sorted(tensors)}; expected regression.weight")
    scale = left.pop("gating.logit_scale", None)
    numbers = {int(found[1]) for name in left if (found := _LAYER.fullmatch(name))}
    layers = []
    for i in range(max(numbers, default=-1) + 1):
        weight, bias = (left.pop(f"gating.layers.{i}.{kind}", None) for kind in ("weight", "bias"))
        if weight is None or bias is None:
            lacking = "weight" if weight is None else "bias"
            raise ModelError(f"{place} has no gating.layers.{i}.{lacking}; expected one a layer")
        layers.append((weight, bias))
    if left:
        raise ModelError(f"{place} holds {min(left)}, which heads do not have")
    if (scale is not None) != bool(layers) or (scale is not None and scale.size != 1):
        given = "no logit_scale" if scale is None else f"a logit_scale of {scale.size} numbers"
        raise ModelError(
            f"{place} has {len(layers)} gating layers and {given}; expected one number with "
            "layers, none without"
        )
    return Heads(
        regression,
        tuple(layers),
        logit_scale=1.0 if scale is None else float(scale.reshape(())),
        temperature=temperature,
        label_scales=label_scales,
        is_random=is_random,
        lexical_prior=lexical_prior,
    )


def _check_tensor(place: str, name: str, values: _Floats, shape: tuple[int | str, ...]) -> None:
    """Sizes, where a word stands for any size from 1 up, and finite values."""
    fits = values.ndim == len(shape) and all(
        found == size or (isinstance(size, str) and found > 0)
        for found, size in zip(values.shape, shape, strict=True)
    )
    if not fits:
        raise ModelError(
            f"{place}: {name} has the shape {list(values.shape)}; expected {_sizes(shape)}"
        )
    if not np.isfinite(values).all():
        raise ModelError(f"{place}: {name} holds NaN or infinite values")


def _sizes(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _words(numbers: tuple[float, ...] | list[float]) -> str:
    """The numbers as text that gives the same ones when read; whole ones without a point."""
    return " ".join(repr(float(number)).removesuffix(".0") for number in numbers)


def _numbers(metadata: Mapping[str, str], name: str, count: int, place: str) -> tuple[float, ...]:
    """The numbers of an entry; empty where there is none."""
    text = metadata.get(name)
    if text is None:
        return ()
    try:
        numbers = tuple(float(word) for word in text.split())
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise ModelError(f"{place} has the metadata {name} {text!r}; expected {count} numbers")
    return numbers
