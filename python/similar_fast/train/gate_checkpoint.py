"""The state of an unfinished stage 2 in one safetensors file: weights, optimiser, best weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from similar_fast.errors import DataError
from similar_fast.whole_file import write_whole

__all__ = ["GateMetrics", "GateState", "load_state", "save_state"]

_FORMAT = "similar-fast gate 1"
_ENTRY = "similar_fast"

Weights = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class GateMetrics:
    """What was measured after some steps.

    Attributes:
        step: Steps that were taken.
        learning_rate: Of the step that comes next; 0 after the last.
        train_loss: Mean loss of the steps since the last measurement; None before the first step.
        validation_loss: Weighted mean loss of the held-out pairs, without dropout; None where
            nothing is held out.
        accuracy: Share of the held-out pairs whose chosen step scores above the rejected one, a
            tie counted as half; None as above.
        accuracy_by_type: The same by the pairs' types, in their order.
    """

    step: int
    learning_rate: float
    train_loss: float | None = None
    validation_loss: float | None = None
    accuracy: float | None = None
    accuracy_by_type: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class GateState:
    """How far stage 2 is.

    Attributes:
        weights: The gate's, by name.
        best: Those of the least validation loss so far.
        best_step: When that was.
        step: Steps that were taken.
        history: What was measured.
    """

    weights: Weights
    best: Weights
    best_step: int = 0
    step: int = 0
    history: list[GateMetrics] = field(default_factory=list)


class _About(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    run: str
    step: int
    best_step: int
    history: list[GateMetrics]


def save_state(
    path: Path, state: GateState, *, run: str, optimizer: torch.optim.Optimizer, gate: nn.Module
) -> None:
    """Writes `state` and the moments of `optimizer` to `path`, whole or not at all.

    Args:
        path: The file.
        state: How far the run is.
        run: What names the run: its settings and its data.
        optimizer: An Adam of the parameters of `gate`.
        gate: Whose weights are trained.

    Raises:
        OSError: The file cannot be written.
    """
    tensors = {f"gate.{name}": tensor for name, tensor in state.weights.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    for name, parameter in gate.named_parameters():
        for kind, moment in optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{kind}.{name}"] = moment
    about = _About(_FORMAT, run, state.step, state.best_step, state.history)
    # One entry: the library writes several in a random order. Copies, because two names may not
    # share their memory.
    copies = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    write_whole(path, save(copies, {_ENTRY: msgspec.json.encode(about).decode()}))


def load_state(
    path: Path, *, run: str, optimizer: torch.optim.Optimizer, gate: nn.Module
) -> GateState:
    """The state in `path`; `gate` gets its weights and `optimizer` its moments.

    Args:
        path: What `save_state` wrote.
        run: As `save_state`.
        optimizer: A new one, of the parameters of `gate`.
        gate: Of the shapes that were saved.

    Raises:
        DataError: The file is broken, no checkpoint of stage 2, or one of another run.
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
            "or another file",
            path=path,
        )
    state = GateState(
        weights=_part(tensors, "gate.", gate, path),
        best=_part(tensors, "best.", gate, path),
        best_step=about.best_step,
        step=about.step,
        history=about.history,
    )
    gate.load_state_dict(state.weights)
    if state.step:
        _load_moments(tensors, optimizer, gate, path)
    return state


def _about(text: str, path: Path) -> _About:
    try:
        about = msgspec.json.decode(text, type=_About)
    except msgspec.DecodeError as err:
        raise DataError(f"the file is no checkpoint of stage 2: {err}", path=path) from err
    if about.format != _FORMAT:
        raise DataError(
            f"the checkpoint has the format {about.format!r}; expected {_FORMAT!r}", path=path
        )
    return about


def _part(tensors: Mapping[str, Tensor], prefix: str, gate: nn.Module, path: Path) -> Weights:
    """The tensors named after the gate's parameters; all of them, in their shapes."""
    part = {}
    for name, parameter in gate.named_parameters():
        tensor = tensors.get(prefix + name)
        if tensor is None or tensor.shape != parameter.shape:
            found = "missing" if tensor is None else f"of the shape {list(tensor.shape)}"
            raise DataError(
                f"{prefix}{name} is {found}; expected {list(parameter.shape)}", path=path
            )
        part[name] = tensor
    return part


def _load_moments(
    tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, gate: nn.Module, path: Path
) -> None:
    first, second = (
        _part(tensors, f"adam.{kind}.", gate, path) for kind in ("exp_avg", "exp_avg_sq")
    )
    for name, parameter in gate.named_parameters():
        step = tensors.get(f"adam.step.{name}")
        if step is None or step.numel() != 1:
            raise DataError(f"adam.step.{name} is missing; expected one number", path=path)
        optimizer.state[parameter] = {
            "step": step.reshape(()),
            "exp_avg": first[name].to(parameter.device),
            "exp_avg_sq": second[name].to(parameter.device),
        }
