"""Stage 2, gating: the weights of the dimensions, learnt from pairs on frozen states.

g = softmax(MLP(p) / T) s, R = g . W h, loss = -log sigmoid(R_chosen - R_rejected); W is frozen.
Source: Miao et al. 2025, section 4; Wang et al. 2024 (ArmoRM), section 2.2; Bradley and Terry 1952.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from similar_fast.errors import DataError, ModelError
from similar_fast.metrics.pairs import accuracy
from similar_fast.models.heads import Heads
from similar_fast.train.drawing import drawing, step_seed
from similar_fast.train.gate_settings import (
    GatePairs,
    GateSettings,
    batch_rows,
    check_pairs,
    check_settings,
)
from similar_fast.train.heads import Gate, HeadsModule
from similar_fast.train.module_state import load_module, save_module
from similar_fast.train.split import Split, hold_out

__all__ = ["GateFit", "GateMetrics", "fit_gate"]

_Floats = NDArray[np.float32]
_Rows = NDArray[np.int64]


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
class _State:
    """How far the run is.

    Attributes:
        best: The best gate's weights so far, by name.
        best_step: When that was.
        step: Steps that were taken.
        history: What was measured.
    """

    best: dict[str, Tensor]
    best_step: int = 0
    step: int = 0
    history: list[GateMetrics] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class GateFit:
    """The gated heads and how they came about.

    Attributes:
        heads: W as it was given, with the gate that was best on the held-out pairs; with the last
            one where nothing was held out.
        best_step: Steps after which that gate was; 0 is the gate as it was drawn.
        split_by: How pairs were held out, see `train.split.Split`.
        num_train: Pairs that were trained on.
        num_held_out: Pairs that were measured on.
        batch_size: Pairs of a step, at most those that there are.
        history: What was measured, by step.
    """

    heads: Heads
    best_step: int
    split_by: Literal["group", "row", "none"]
    num_train: int
    num_held_out: int
    batch_size: int
    history: tuple[GateMetrics, ...]


def fit_gate(
    pairs: GatePairs,
    features: tuple[_Floats, _Floats],
    *,
    heads: Heads,
    settings: GateSettings | None = None,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    report: Callable[[GateMetrics], None] = lambda _: None,
) -> GateFit:
    """Trains a gate for `heads` on the pairs that are not held out.

    The two steps of a pair that share p, as those of one state do, share one draw of dropout. On
    the CPU one seed gives the same bits wherever torch has the same version and number of threads.
    A run with a checkpoint goes on where an earlier one was interrupted, and ends with the same
    bits.

    Args:
        pairs: What is compared.
        features: h and p of the steps, `[n, H]` float32 each, see `train.features`.
        heads: W and the label scales; a gate of theirs is not read.
        settings: How to train; None for the defaults.
        seed: Of the first weights, the split, the batches and the dropout; at least 0.
        device: Where torch computes.
        checkpoint: Where the state is written at each measurement, and read at the beginning if
            it is there.
        progress: Told how many steps are done, and of how many, after each.
        report: Told what was measured, each time; not again what a checkpoint holds.

    Raises:
        DataError: The checkpoint is broken or of another run.
        ModelError: The heads do not fit the features, or the loss is not finite.
        ValueError: A setting is out of its range, or the pairs do not fit the features.
    """
    settings = settings or GateSettings()
    check_settings(settings, seed)
    check_pairs(pairs, *features)
    heads.check(features[0].shape[1], "the heads")
    run = _Run(pairs, features, heads=heads, settings=settings, seed=seed, device=device)
    state = run.begin(checkpoint)
    if state.step == 0:
        report(state.history[0])
    losses: list[Tensor] = []
    while state.step < settings.steps:
        losses.append(run.step(state.step))
        state.step += 1
        progress(state.step, settings.steps)
        if state.step % settings.measure_every == 0 or state.step == settings.steps:
            run.measure(state, losses)
            losses = []
            report(state.history[-1])
            if checkpoint is not None:  # last, so that a kill loses no measurement
                run.save(checkpoint, state)
    return run.fit(state)


class _Run:
    """One run of stage 2: its tensors, its module and its optimiser."""

    def __init__(
        self,
        pairs: GatePairs,
        features: tuple[_Floats, _Floats],
        *,
        heads: Heads,
        settings: GateSettings,
        seed: int,
        device: str,
    ) -> None:
        hidden, prompt_hidden = features
        self._settings, self._seed, self._pairs = settings, seed, pairs
        self._device = torch.device(device)
        self._module = HeadsModule.with_new_gate(
            heads,
            seed=seed,
            widths=settings.widths,
            logit_scale=settings.scale,
            temperature=settings.temperature,
            dropout=settings.dropout,
        ).to(self._device)
        gate = self._module.gating
        assert gate is not None  # noqa: S101  # it was just made
        self._gate: Gate = gate
        self._optimizer = torch.optim.AdamW(
            gate.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        with torch.no_grad():
            self._dims = self._module.regression(torch.tensor(hidden, device=self._device))
        self._prompt = torch.tensor(prompt_hidden, device=self._device)
        self._chosen, self._rejected = (
            torch.tensor(rows, device=self._device) for rows in (pairs.chosen, pairs.rejected)
        )
        shares_p = [
            np.array_equal(prompt_hidden[a], prompt_hidden[b])
            for a, b in zip(pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True)
        ]
        self._shares_p = torch.tensor(shares_p, device=self._device)
        weights = np.ones(len(pairs), np.float32) if pairs.weights is None else pairs.weights
        self._weights = torch.tensor(weights, dtype=torch.float32, device=self._device)
        self._split: Split = hold_out(pairs.groups, share=settings.validation_share, seed=seed)
        self._train = np.flatnonzero(~self._split.held_out)
        self._held_out = np.flatnonzero(self._split.held_out)
        self._batch_size = min(settings.batch_size, len(self._train))
        self._name = self._fingerprint(features, weights)

    def begin(self, checkpoint: Path | None) -> _State:
        """What the checkpoint holds, or the beginning."""
        if checkpoint is None or not checkpoint.exists():
            state = _State(best=self._copy())
            self.measure(state, [])
            return state
        saved = load_module(checkpoint, self._gate, self._optimizer, run=self._name)
        try:
            history = msgspec.convert(saved.history, list[GateMetrics])
        except msgspec.ValidationError as err:
            raise DataError(
                f"the file is no checkpoint of stage 2: {err}", path=checkpoint
            ) from err
        if not saved.best:
            raise DataError("the checkpoint lacks the best gate", path=checkpoint)
        return _State(dict(saved.best), saved.best_step, saved.step, history)

    def save(self, checkpoint: Path, state: _State) -> None:
        """Writes the state after a measurement."""
        save_module(
            checkpoint,
            self._gate,
            self._optimizer,
            run=self._name,
            step=state.step,
            best=state.best,
            best_step=state.best_step,
            history=state.history,
        )

    def step(self, step: int) -> Tensor:
        """Takes a step; its loss."""
        rows = self._train[
            batch_rows(
                step, num_pairs=len(self._train), batch_size=self._batch_size, seed=self._seed
            )
        ]
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        with drawing(step_seed(self._seed, step), self._device):
            self._gate.train()
            margin = self._margin(rows)
            self._gate.eval()
        loss = self._loss(margin, rows)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        self._optimizer.step()
        return loss.detach()

    def measure(self, state: _State, losses: Sequence[Tensor]) -> None:
        """Notes the metrics, and the weights if they are the best so far."""
        train_loss = float(torch.stack(list(losses)).mean()) if losses else None
        found = GateMetrics(state.step, self._learning_rate(state.step), train_loss)
        if len(self._held_out):
            found = self._measure_held_out(found)
        for loss in (found.train_loss, found.validation_loss):
            if loss is not None and not math.isfinite(loss):
                raise ModelError(
                    f"the loss is {loss} after {state.step} steps; expected a finite one: "
                    f"try a lower learning rate than {self._settings.learning_rate}"
                )
        badness = self._badness(found)
        known = [self._badness(earlier) for earlier in state.history]
        if badness is None or all(k is None or badness < k for k in known):
            state.best, state.best_step = self._copy(), state.step
        state.history.append(found)

    def _badness(self, found: GateMetrics) -> float | None:
        """What the kept gate has the least of; None where nothing is held out."""
        if self._settings.best_by == "loss" or found.accuracy is None:
            return found.validation_loss
        return -found.accuracy

    def fit(self, state: _State) -> GateFit:
        """The best gate, and what is known of it."""
        self._gate.load_state_dict(state.best)
        return GateFit(
            heads=self._module.to_heads(),
            best_step=state.best_step,
            split_by=self._split.by,
            num_train=len(self._train),
            num_held_out=len(self._held_out),
            batch_size=self._batch_size,
            history=tuple(state.history),
        )

    def _measure_held_out(self, found: GateMetrics) -> GateMetrics:
        rows = self._held_out
        with torch.no_grad():
            margins = [
                self._margin(rows[start : start + self._settings.batch_size])
                for start in range(0, len(rows), self._settings.batch_size)
            ]
            margin = torch.cat(margins)
            loss = float(self._loss(margin, rows))
        values = margin.cpu().numpy()
        types = self._pairs.types
        counted = accuracy(
            values,
            np.zeros_like(values),
            groups=None if types is None else [types[row] for row in rows.tolist()],
        )
        by_type = {str(name): group.accuracy for name, group in counted.groups.items()}
        return replace(
            found,
            validation_loss=loss,
            accuracy=counted.micro,
            accuracy_by_type={} if types is None else by_type,
        )

    def _margin(self, rows: _Rows) -> Tensor:
        """`[len(rows)]`, R of the chosen less R of the rejected."""
        index = torch.from_numpy(rows).to(self._device)
        chosen, rejected = self._chosen[index], self._rejected[index]
        weights = self._gate(self._prompt[chosen])
        apart = ~self._shares_p[index]
        other = weights
        if apart.any():
            other = weights.clone()
            other[apart] = self._gate(self._prompt[rejected[apart]])
        total: Tensor = (weights * self._dims[chosen] - other * self._dims[rejected]).sum(1)
        return total

    def _loss(self, margin: Tensor, rows: _Rows) -> Tensor:
        """The weighted mean of -log sigmoid(margin)."""
        weights = self._weights[torch.from_numpy(rows).to(self._device)]
        return (weights * functional.softplus(-margin)).sum() / weights.sum()

    def _learning_rate(self, step: int) -> float:
        """Half a cosine, from the setting to 0."""
        phase = math.pi * step / self._settings.steps
        return self._settings.learning_rate * (1 + math.cos(phase)) / 2

    def _copy(self) -> dict[str, Tensor]:
        tensors = self._gate.state_dict().items()
        return {name: tensor.detach().cpu().clone() for name, tensor in tensors}

    def _fingerprint(self, features: tuple[_Floats, _Floats], weights: _Floats) -> str:
        """What a checkpoint must be of: settings, seed, data and W."""
        digest = hashlib.blake2b(digest_size=16)
        about = {
            "settings": asdict(self._settings),
            "seed": self._seed,
            "groups": list(self._pairs.groups),
            "types": list(self._pairs.types or []),
        }
        digest.update(json.dumps(about, sort_keys=True).encode())
        regression = self._module.regression.weight.detach().cpu().numpy()
        for array in (*features, self._pairs.chosen, self._pairs.rejected, weights, regression):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
