"""A module and its optimiser in one safetensors file, so that training can go on."""

from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from similar_fast.errors import DataError
from similar_fast.whole_file import write_whole

__all__ = ["load_module", "save_module"]

_FORMAT = "similar-fast training 1"
_ENTRY = "similar_fast"
_MOMENTS = ("exp_avg", "exp_avg_sq")


class _About(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    run: str
    step: int


def save_module(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, *, run: str, step: int
) -> None:
    """Writes the parameters that are trained, and their moments, whole or not at all.

    Args:
        path: The file.
        module: Whose parameters require gradients where they are trained.
        optimizer: An Adam of them.
        run: What names the run: its settings and its data.
        step: Steps that were taken.

    Raises:
        OSError: The file cannot be written.
    """
    tensors = {}
    for name, parameter in _trained(module).items():
        tensors[f"weight.{name}"] = parameter
        for kind, moment in optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{kind}.{name}"] = moment
    # Copies, because two names may not share their memory.
    copies = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    about = msgspec.json.encode(_About(_FORMAT, run, step)).decode()
    write_whole(path, save(copies, {_ENTRY: about}))


def load_module(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, *, run: str
) -> int:
    """Gives `module` and `optimizer` what `path` holds; the steps that were taken.

    Raises:
        DataError: The file is broken, no checkpoint, or one of another run.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            about = msgspec.json.decode((file.metadata() or {}).get(_ENTRY, "null"), type=_About)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
    except (OSError, SafetensorError, msgspec.DecodeError) as err:
        raise DataError(f"the checkpoint cannot be read: {err}", path=path) from err
    if (about.format, about.run) != (_FORMAT, run):
        raise DataError(
            "the checkpoint is of another run: other settings, seed or data; expected the same, "
            "or another folder",
            path=path,
        )
    for name, parameter in _trained(module).items():
        found = [
            tensors.get(f"weight.{name}"),
            *(tensors.get(f"adam.{m}.{name}") for m in _MOMENTS),
        ]
        taken = tensors.get(f"adam.step.{name}")
        if taken is None or any(x is None or x.shape != parameter.shape for x in found):
            raise DataError(f"the checkpoint lacks {name} or has it in another shape", path=path)
        weight, first, second = (x.to(parameter.device) for x in found if x is not None)
        with torch.no_grad():
            parameter.copy_(weight)
        optimizer.state[parameter] = {
            "step": taken.reshape(()),
            "exp_avg": first,
            "exp_avg_sq": second,
        }
    return about.step


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}
