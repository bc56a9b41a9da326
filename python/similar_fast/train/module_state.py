"""A module and its optimiser in one safetensors file, so that training can go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from similar_fast.errors import DataError
from similar_fast.files.whole_file import write_whole

__all__ = ["Saved", "load_module", "save_module"]

_FORMAT = "similar-fast training 1"
_ENTRY = "similar_fast"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint says beside the weights and their moments.

    Attributes:
        step: Steps that were taken.
        best: Weights to be kept instead of the last ones, by name; empty where there are none.
        best_step: After how many steps those were.
        history: What was measured, as JSON has it.
    """

    step: int
    best: Mapping[str, Tensor]
    best_step: int
    history: Sequence[Any]


class _About(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    run: str
    step: int
    best_step: int = 0
    history: list[Any] = []


def save_module(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    run: str,
    step: int,
    best: Mapping[str, Tensor] | None = None,
    best_step: int = 0,
    history: Sequence[Any] = (),
) -> None:
    """Writes the parameters that are trained, and their moments, whole or not at all.

    Args:
        path: The file.
        module: Whose parameters require gradients where they are trained.
        optimizer: An Adam of them.
        run: What names the run: its settings and its data.
        step: Steps that were taken.
        best: Weights of the module to be kept instead, by name.
        best_step: After how many steps those were.
        history: What was measured: dataclasses, or whatever JSON can hold.

    Raises:
        OSError: The file cannot be written.
    """
    tensors = {f"best.{name}": tensor for name, tensor in (best or {}).items()}
    for name, parameter in _trained(module).items():
        tensors[f"weight.{name}"] = parameter
        for kind, moment in optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{kind}.{name}"] = moment
    # One entry: the library writes several in a random order. Copies, because two names may not
    # share their memory.
    copies = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    about = _About(_FORMAT, run, step, best_step, list(history))
    write_whole(path, save(copies, {_ENTRY: msgspec.json.encode(about).decode()}))


def load_module(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, *, run: str
) -> Saved:
    """Gives `module` and `optimizer` what `path` holds.

    A parameter that no gradient has reached yet has no moments.

    Raises:
        DataError: The file is broken, no checkpoint, or one of another run.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            about = _about((file.metadata() or {}).get(_ENTRY, "null"), path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
    except (OSError, SafetensorError) as err:
        raise DataError(f"the checkpoint cannot be read: {err}", path=path) from err
    if about.run != run:
        raise DataError(
            "the checkpoint is of another run: other settings, seed or data; expected the same, "
            "or another folder",
            path=path,
        )
    trained = _trained(module)
    for name, parameter in trained.items():
        weight = _tensor(tensors, f"weight.{name}", parameter, path)
        with torch.no_grad():
            parameter.copy_(weight)
        if any(f"adam.{kind}.{name}" in tensors for kind in ("step", *_MOMENTS)):
            optimizer.state[parameter] = _moments(tensors, name, parameter, path)
    prefix = "best."
    best = {name[len(prefix) :]: x for name, x in tensors.items() if name.startswith(prefix)}
    if best:
        best = {name: _tensor(tensors, prefix + name, p, path) for name, p in trained.items()}
    return Saved(about.step, best, about.best_step, about.history)


def _about(text: str, path: Path) -> _About:
    try:
        about = msgspec.json.decode(text, type=_About)
    except msgspec.DecodeError as err:
        raise DataError(f"the file is no checkpoint of a training run: {err}", path=path) from err
    if about.format != _FORMAT:
        raise DataError(
            f"the checkpoint has the format {about.format!r}; expected {_FORMAT!r}", path=path
        )
    return about


def _moments(
    tensors: Mapping[str, Tensor], name: str, parameter: nn.Parameter, path: Path
) -> dict[str, Tensor]:
    step = tensors.get(f"adam.step.{name}")
    if step is None or step.numel() != 1:
        raise DataError(f"adam.step.{name} is missing; expected one number", path=path)
    moments = {
        kind: _tensor(tensors, f"adam.{kind}.{name}", parameter, path).to(parameter.device)
        for kind in _MOMENTS
    }
    return {"step": step.reshape(()), **moments}


def _tensor(
    tensors: Mapping[str, Tensor], name: str, parameter: nn.Parameter, path: Path
) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None or tensor.shape != parameter.shape:
        found = "missing" if tensor is None else f"of the shape {list(tensor.shape)}"
        raise DataError(f"{name} is {found}; expected {list(parameter.shape)}", path=path)
    return tensor


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}
