"""Stage 0: the backbone learns to tell good steps from bad ones, before its states are frozen.

The loss is the squared error of the known labels, plus the Bradley-Terry loss of pairs: those of
the training set, and the endings of one episode that stand side by side, success with failure. Both
go through linear heads without an intercept, the form that stage 1 fits afterwards, so that what
is learnt lies where it will be looked for.

Source: Miao et al. 2025, section 4 (the two kinds of data; its own fine-tuning is not published);
Bradley and Terry 1952; Izmailov et al. 2018 and Cha et al. 2021 (the average of the weights).
"""

import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import ModelError
from similar_fast.models.heads import Heads
from similar_fast.train.backbones import TorchBackbone
from similar_fast.train.data import TrainingSet
from similar_fast.train.drawing import drawing, step_seed
from similar_fast.train.finetune_settings import (
    FinetuneMetrics,
    FinetuneSettings,
    check_finetuning,
)
from similar_fast.train.heads import HeadsModule
from similar_fast.train.losses import partners_of, step_loss
from similar_fast.train.measures import Measured, measure
from similar_fast.train.module_state import load_module, save_module
from similar_fast.train.renaming import Renamer
from similar_fast.train.sampling import Batch, Sampler
from similar_fast.types import Scores, Step

__all__ = ["FinetuneFit", "finetune"]

_MAX_NORM = 1.0  # of the gradient
_LAST_RATE = 0.02  # of the first, at the end
_MEASURED_STATES = 16  # at once


@dataclass(frozen=True, slots=True, eq=False)
class FinetuneFit:
    """What stage 0 ends with; the backbone itself is trained in place.

    Attributes:
        heads: The linear heads of the end; stage 1 fits better ones.
        steps: Steps that were taken.
        history: What was measured since the run began or went on.
    """

    heads: Heads
    steps: int
    history: tuple[FinetuneMetrics, ...]


class _Trained(nn.Module):
    """What the optimiser trains: the layers and linear heads."""

    def __init__(self, backbone: TorchBackbone, heads: HeadsModule) -> None:
        super().__init__()
        self.backbone: nn.Module = backbone.model
        self.heads = heads


def finetune(
    backbone: TorchBackbone,
    rows: TrainingSet,
    *,
    settings: FinetuneSettings,
    seed: int,
    validation: TrainingSet | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    report: Callable[[FinetuneMetrics], None] = lambda _: None,
) -> FinetuneFit:
    """Trains `backbone` in place, its parameters that require gradients.

    On the CPU one seed gives the same bits wherever torch has the same version and number of
    threads; a run with a checkpoint goes on where an earlier one was interrupted, to the same bits.

    Args:
        backbone: What is trained.
        rows: What it is trained on; held-out rows are not in it.
        settings: How.
        seed: Of the heads, the batches, the names and the dropout; at least 0.
        validation: Held-out rows that are measured at the end of each epoch; None for none. They
            have no influence on what is trained.
        checkpoint: Where the state is written after each report, and read at the beginning if
            there.
        progress: Told how many steps are done, and of how many.
        report: Told what was measured, each time.

    Raises:
        DataError: The checkpoint is broken or of another run; a step cannot be read.
        ModelError: The loss is not finite.
        ValueError: A setting is out of its range, or there are no labels and no pairs.
    """
    check_finetuning(settings, rows, seed)
    run = _Run(backbone, rows, settings=settings, seed=seed)
    start = 0 if checkpoint is None else run.begin(checkpoint)
    history: list[FinetuneMetrics] = []
    losses: list[tuple[float, float]] = []
    backbone.model.train()
    try:
        for step, batch in enumerate(islice(run.sampler, start, run.steps), start):
            losses.append(run.step(step, batch))
            done = step + 1
            progress(done, run.steps)
            if done == run.steps:
                run.take_average()
            ends_epoch = done % run.epoch_steps == 0 or done == run.steps
            if done % settings.save_every == 0 or ends_epoch:
                measured = run.measure(validation) if ends_epoch and validation else None
                history.append(_metrics(done, run.steps, losses, measured))
                losses = []
                report(history[-1])
                if checkpoint is not None:  # last, so that a kill loses no measurement
                    run.save(checkpoint, done)
    finally:
        backbone.model.eval()
    return FinetuneFit(run.module.heads.to_heads(), run.steps, tuple(history))


class _Run:
    """One run of stage 0: its module, its optimiser and its draws."""

    def __init__(
        self, backbone: TorchBackbone, rows: TrainingSet, *, settings: FinetuneSettings, seed: int
    ) -> None:
        self._backbone, self._rows = backbone, rows
        self._settings, self._seed = settings, seed
        rng = np.random.default_rng(seed)
        weight = rng.normal(0, 0.02, (len(DIMENSIONS), backbone.hidden_size)).astype(np.float32)
        heads = HeadsModule(Heads(weight)).to(backbone.device)
        self.module = _Trained(backbone, heads)
        body = [p for p in backbone.model.parameters() if p.requires_grad]
        self._rates = (settings.learning_rate, settings.heads_rate)
        self.optimizer = torch.optim.AdamW(
            [{"params": body}, {"params": list(heads.parameters())}],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.sampler = Sampler(rows, settings.sampling, seed=seed)
        self.epoch_steps = max(1, self.sampler.steps_an_epoch())
        self.steps = max(1, round(settings.epochs * self.epoch_steps))
        self._first_averaged = self.steps - round(settings.average * self.steps)
        self._average: dict[str, Tensor] = {}
        self._partners = partners_of(rows)
        self._renamer = Renamer(rows) if settings.rename else None
        self._name = self._fingerprint()

    def begin(self, checkpoint: Path) -> int:
        """Takes over what `checkpoint` holds, if it is there; the steps that were taken."""
        if not checkpoint.exists():
            return 0
        saved = load_module(checkpoint, self.module, self.optimizer, run=self._name)
        if saved.best:
            self._average = {name: saved.best[name].to(p.device) for name, p in self._trained()}
        return saved.step

    def save(self, checkpoint: Path, step: int) -> None:
        """Writes the state after `step` steps."""
        save_module(
            checkpoint,
            self.module,
            self.optimizer,
            run=self._name,
            step=step,
            best=self._average,
        )

    def take_average(self) -> None:
        """Puts the average in the place of the last weights, if there is one."""
        with torch.no_grad():
            for name, parameter in self._trained() if self._average else ():
                parameter.copy_(self._average[name])

    def step(self, step: int, batch: Batch) -> tuple[float, float]:
        """One step of the optimiser; the two losses."""
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._schedule(step)
        states = [self._steps_of(step, i, state) for i, state in enumerate(batch)]
        with drawing(step_seed(self._seed, step), self._backbone.device):
            hidden, _ = self._backbone.encode(states)
        dims = self.module.heads.regression(hidden)
        label_loss, pair_loss = step_loss(
            dims, self._rows, batch, partners=self._partners, settings=self._settings
        )
        loss = label_loss
        if not torch.isnan(pair_loss):
            loss = loss + self._settings.pair_weight * pair_loss
        if not torch.isfinite(loss):
            raise ModelError(
                f"the loss is {float(loss.detach())} after {step} steps; expected a finite one: "
                f"try a lower learning rate than {self._settings.learning_rate}"
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        nn.utils.clip_grad_norm_(self.module.backbone.parameters(), _MAX_NORM)
        self.optimizer.step()
        if step >= self._first_averaged:
            self._add_to_average(1 / (step - self._first_averaged + 1))
        return float(label_loss.detach()), float(pair_loss.detach())

    def measure(self, rows: TrainingSet) -> Measured:
        """How well the linear heads do on held-out `rows`."""
        states: dict[int, list[int]] = {}
        for row, state in enumerate(rows.states.tolist()):
            states.setdefault(state, []).append(row)
        groups = list(states.values())
        dims = np.zeros((len(rows), len(DIMENSIONS)), np.float32)
        self._backbone.model.eval()
        with torch.no_grad():
            for first in range(0, len(groups), _MEASURED_STATES):
                batch = groups[first : first + _MEASURED_STATES]
                hidden, _ = self._backbone.encode([[rows.steps[i] for i in g] for g in batch])
                found = self.module.heads.regression(hidden)
                dims[[i for group in batch for i in group]] = found.cpu().numpy()
        self._backbone.model.train()
        return measure(rows, Scores(dims.sum(1), dims, np.ones_like(dims)))

    def _steps_of(self, step: int, index: int, state: Sequence[int]) -> Sequence[Step]:
        steps = [self._rows.steps[row] for row in state]
        if self._renamer is None:
            return steps
        rng = random.Random(f"{self._seed}:names {step}:{index}")  # noqa: S311  # a seeded draw
        if rng.random() >= self._settings.rename:
            return steps
        return self._renamer.rename(steps, self._rows.tasks[state[0]], rng)

    def _add_to_average(self, share: float) -> None:
        """Moves the average by `share` of the way to the weights."""
        for name, parameter in self._trained():
            if name not in self._average:
                self._average[name] = parameter.detach().clone()
            self._average[name].lerp_(parameter.detach(), share)

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]

    def _schedule(self, step: int) -> float:
        """A line up, then a line down to a small rest, or to where the average begins."""
        done = min(step, self._first_averaged) / self.steps
        up = (step + 1) / (self.steps * self._settings.warmup) if self._settings.warmup else 1.0
        return min(1.0, up) * max(_LAST_RATE, 1 - done)

    def _fingerprint(self) -> str:
        """What a checkpoint must be of: settings, seed and data."""
        digest = hashlib.blake2b(digest_size=16)
        about = {"settings": asdict(self._settings), "seed": self._seed}
        digest.update(json.dumps(about, sort_keys=True).encode())
        digest.update(self._rows.fingerprint().encode())
        return digest.hexdigest()


def _metrics(
    step: int, steps: int, losses: Sequence[tuple[float, float]], measured: Measured | None
) -> FinetuneMetrics:
    pairs = [pair for _, pair in losses if not math.isnan(pair)]
    return FinetuneMetrics(
        step=step,
        steps=steps,
        label_loss=sum(label for label, _ in losses) / len(losses),
        pair_loss=sum(pairs) / len(pairs) if pairs else None,
        validation=measured,
    )
