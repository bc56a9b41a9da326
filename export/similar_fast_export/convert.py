"""Upstream's heads, which come as PyTorch pickles, become a safetensors file.

The only door by which a pickle comes near: a process of its own opens it, with PyTorch's loader of
plain tensors, and hands over a safetensors file. Nothing else of this package, and nothing of
similar-fast, reads pickles.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load
from similar_fast.errors import ModelError
from similar_fast.whole_file import write_whole

from similar_fast_export.heads import (
    LABEL_SCALES,
    TEMPERATURE,
    Heads,
    encode_heads,
    heads_of,
)

__all__ = ["convert_heads"]

_TIMEOUT_S = 300
_PREFIXES = {
    "regression": ("regression.", "regression_layer.", "regression_network.", ""),
    "gating": ("gating.", "gating_network.", "gating_layer.", ""),
}


def convert_heads(
    regression: Path,
    out: Path,
    *,
    gating: Path | None = None,
    temperature: float = TEMPERATURE,
    label_scales: Sequence[float] = LABEL_SCALES,
) -> Heads:
    """Writes the heads of upstream's files to `out`, as safetensors, and returns them.

    Args:
        regression: A `.pt` file with `weight` `[5, H]`; it may hold the gate as well.
        out: The file to make.
        gating: A `.pt` file with `layers.N.weight`, `layers.N.bias` and `logit_scale`; None where
            the first file holds them, or where the total is the plain sum.
        temperature: T of the gate, which the files do not say.
        label_scales: What the labels were multiplied by, in the order H, OS, E, TR, C.

    Raises:
        FileExistsError: `out` exists.
        ModelError: A file is no pickle of plain tensors, or holds something else than heads.
        ModuleNotFoundError: PyTorch is not installed.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; expected a new file")
    tensors = _renamed(_read_pickle(regression), regression, has_gate=gating is None)
    if gating is not None:
        found = _read_pickle(gating)
        tensors |= {f"gating.{name}": value for name, value in _stripped(found, "gating").items()}
    place = f"{regression}" if gating is None else f"{regression} and {gating}"
    heads = heads_of(
        tensors, place, temperature=temperature, label_scales=tuple(map(float, label_scales))
    )
    if heads.regression.ndim != 2:
        raise ModelError(f"{place}: weight has the shape {heads.regression.shape}; expected [5, H]")
    heads.check(heads.regression.shape[1], place)
    write_whole(out, encode_heads(heads))
    return heads


def _renamed(
    tensors: Mapping[str, NDArray[Any]], path: Path, *, has_gate: bool
) -> dict[str, NDArray[Any]]:
    """The regression's weight, and the gate's tensors where one file holds both, by our names."""
    names = [
        f"{prefix}weight" for prefix in _PREFIXES["regression"] if f"{prefix}weight" in tensors
    ]
    if not names:
        raise ModelError(f"{path} holds {sorted(tensors)}; expected weight, [5, H]")
    renamed = {"regression.weight": tensors[names[0]]}
    rest = {name: value for name, value in tensors.items() if name != names[0]}
    if has_gate:
        return renamed | {f"gating.{name}": v for name, v in _stripped(rest, "gating").items()}
    if rest:
        raise ModelError(
            f"{path} holds {min(rest)} too; expected weight alone beside a gate's file"
        )
    return renamed


def _stripped(tensors: Mapping[str, NDArray[Any]], kind: str) -> dict[str, NDArray[Any]]:
    """The tensors without the prefix that all of them share."""
    for prefix in _PREFIXES[kind]:
        if all(name.startswith(prefix) for name in tensors):
            return {name.removeprefix(prefix): value for name, value in tensors.items()}
    return dict(tensors)


def _read_pickle(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a `.pt` file, by way of a process that does nothing else."""
    if not path.is_file():
        raise ModelError(f"{path} is missing")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "tensors.safetensors")
        command = [sys.executable, "-I", "-c", _READER, str(path), str(out)]
        try:
            done = subprocess.run(  # noqa: S603  # our own interpreter and our own text
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as err:
            raise ModelError(f"{path} was not read within {_TIMEOUT_S} s") from err
        if done.returncode == _NO_TORCH:
            raise ModuleNotFoundError("torch is not installed", name="torch")
        if done.returncode or not out.is_file():
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ModelError(f"{path} is no pickle of plain tensors: {lines[-1][:300]}")
        return load(out.read_bytes())


_NO_TORCH = 3

_READER = f"""
import sys
try:
    import torch
    from safetensors.torch import save_file
except ModuleNotFoundError:
    sys.exit({_NO_TORCH})
found = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
if not isinstance(found, dict):
    sys.exit(f"it holds a {{type(found).__name__}}; expected a dict of tensors")
for name, value in found.items():
    if not isinstance(name, str) or not isinstance(value, torch.Tensor):
        sys.exit(f"{{name!r}} is a {{type(value).__name__}}; expected a tensor")
save_file({{k: v.detach().float().contiguous().clone() for k, v in found.items()}}, sys.argv[2])
"""
