"""Upstream's heads, which are pickles, as `heads.safetensors`.

Source: the names and shapes are those of ArmoRM's training scripts (Wang et al. 2024; RLHFlow),
which Miao et al. 2025 took over: `weight` of the regression, and the state of the gating network.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.errors import ModelError
from similar_fast.files.whole_file import write_whole
from similar_fast.models.heads import LABEL_SCALES, TEMPERATURE, Heads, encode_heads, heads_of

from similar_fast_export import convert_worker

__all__ = ["UPSTREAM_ORDER", "convert_heads"]

UPSTREAM_ORDER = (
    Dimension.ODDS_OF_SUCCESS,
    Dimension.EFFICIENCY,
    Dimension.HELPFULNESS,
    Dimension.TASK_RELEVANCE,
    Dimension.COHERENCE,
)
"""Upstream's rows, by its keys IP, E, TC, TR and C: the columns of its multi-objective data."""

_REGRESSION = re.compile(r"(?:regression_layer\.|regression\.)?(weight)")
_GATING = re.compile(
    r"(?:gating_network\.|gating\.)?(layers\.\d{1,3}\.(?:weight|bias)|logit_scale)"
)
_EXPECTED = (
    "weight or regression_layer.weight [5, H], and for gated heads layers.N.weight, layers.N.bias "
    "and logit_scale, each after gating., gating_network. or nothing"
)
_MAX_BYTES = 1 << 30
_TIMEOUT_S = 300

_Floats = NDArray[np.float32]


def convert_heads(
    path: Path,
    out: Path,
    *,
    gating: Path | None = None,
    order: Sequence[Dimension] = UPSTREAM_ORDER,
    temperature: float = TEMPERATURE,
    label_scales: Sequence[float] = LABEL_SCALES,
) -> Heads:
    """Writes the heads of upstream's `.pt` files to the new file `out`, and returns them.

    The file appears whole or not at all. A pickle can run code when it is read: it is read with
    torch's loader of plain tensors, in a process of its own, and what comes back are numbers in
    safetensors.

    Args:
        path: The regression, or everything.
        out: The safetensors file to make.
        gating: The gating network where it is in a file of its own; None also for heads without
            one.
        order: The dimension of each row of W and of each output of the gate, as upstream had them;
            `out` has them in the order of `DIMENSIONS`.
        temperature: T of the gate, which the files do not hold.
        label_scales: What the labels were multiplied by for training, in the order of `DIMENSIONS`.

    Raises:
        FileExistsError: `out` exists.
        FileNotFoundError: A file, or the folder of `out`, does not exist.
        ModelError: A file is no pickle of plain tensors; a tensor is missing, unknown, of a wrong
            shape or not finite; T or a scale is not above 0.
        ModuleNotFoundError: torch is not installed.
        ValueError: `order` does not name the five dimensions once each, or there are not five
            scales.
    """
    if sorted(order) != sorted(DIMENSIONS):
        raise ValueError(f"order is {[*map(str, order)]}; expected the five dimensions once each")
    if len(label_scales) != len(DIMENSIONS):
        raise ValueError(f"there are {len(label_scales)} label_scales; expected 5")
    if out.exists():
        raise FileExistsError(f"{out} exists; expected a new file")
    tensors: dict[str, _Floats] = {}
    for source in (path, gating):
        if source is None:
            continue
        for name, tensor in _named(_read(source), source).items():
            if name in tensors:
                raise ModelError(f"{source} holds {name} a second time; expected it once")
            tensors[name] = tensor
    place = str(path) if gating is None else f"{path} with {gating}"
    h, os, e, tr, c = label_scales
    heads = heads_of(tensors, place, temperature=temperature, label_scales=(h, os, e, tr, c))
    heads.check(heads.hidden_size, place)
    heads = _in_our_order(heads, [order.index(d) for d in DIMENSIONS])
    write_whole(out, encode_heads(heads))
    return heads


def _in_our_order(heads: Heads, rows: list[int]) -> Heads:
    """The same heads with row `rows[i]` of W and of the gate's last layer as row i."""
    layers = list(heads.layers)
    if layers:
        weight, bias = layers[-1]
        layers[-1] = weight[rows], bias[rows]
    return Heads(
        heads.regression[rows],
        tuple(layers),
        logit_scale=heads.logit_scale,
        temperature=heads.temperature,
        label_scales=heads.label_scales,
    )


def _named(tensors: dict[str, _Floats], path: Path) -> dict[str, _Floats]:
    """The tensors by the names of `heads.safetensors`."""
    named: dict[str, _Floats] = {}
    for name, tensor in tensors.items():
        if found := _REGRESSION.fullmatch(name):
            ours = f"regression.{found[1]}"
        elif found := _GATING.fullmatch(name):
            ours = f"gating.{found[1]}"
        else:
            raise ModelError(f"{path} holds {name!r}; expected {_EXPECTED}")
        if ours in named:
            raise ModelError(f"{path} holds {ours} under two names; expected one")
        named[ours] = tensor
    return named


def _read(path: Path) -> dict[str, _Floats]:
    """The tensors of a pickle, float32, as another process read them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a file of heads")
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise ModelError(f"{path} has {size} bytes; expected heads, at most {_MAX_BYTES}")
    # -P keeps the folder of the script, whose names are not the worker's, off its path.
    command = [sys.executable, "-P", convert_worker.__file__, str(path.absolute())]
    try:
        child = subprocess.run(  # noqa: S603  # our own file
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as err:
        raise ModelError(f"{path} could not be read within {_TIMEOUT_S} s") from err
    if child.returncode == 0:
        return _parse(child.stdout, path)
    words = "".join(c for c in child.stdout.decode("utf-8", "replace")[:500] if c.isprintable())
    if child.returncode == convert_worker.MISSING:
        raise ModuleNotFoundError(f"reading {path} needs {words}", name=words)
    if child.returncode == convert_worker.REFUSED and words:
        raise ModelError(f"{path} holds {words}")
    raise ModelError(f"{path} could not be read: the reader ended with status {child.returncode}")


def _parse(data: bytes, path: Path) -> dict[str, _Floats]:
    try:
        tensors = load(data)
    except (SafetensorError, KeyError) as err:
        raise ModelError(f"{path} could not be read: its reader printed no tensors") from err
    return {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
