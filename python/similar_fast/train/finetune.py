"""Stage 0: the backbone learns to tell good steps from bad ones, before its states are frozen.

The loss is the squared error of the known labels, plus the Bradley-Terry loss of pairs: those of
the training set, and the endings of one episode that stand side by side, success with failure. Both
go through linear heads without an intercept, the form that stage 1 fits afterwards, so that what
is learnt lies where it will be looked for.

Source: Miao et al. 2025, section 4 (the two kinds of data; its own fine-tuning is not published);
Bradley and Terry 1952.
"""

import hashlib
import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.errors import ModelError
from similar_fast.heads import LABEL_SCALES, Heads
from similar_fast.train.backbones import TorchBackbone
from similar_fast.train.data import TrainingSet
from similar_fast.train.gate_settings import step_seed
from similar_fast.train.heads import HeadsModule
from similar_fast.train.module_state import load_module, save_module
from similar_fast.train.renaming import Renamer
from similar_fast.train.sampling import Batch, Sampler, SamplingSettings
from similar_fast.types import Step

__all__ = [
    "FinetuneFit",
    "FinetuneMetrics",
    "FinetuneSettings",
    "finetune",
    "partners_of",
    "step_loss",
]

_SUCCESS = DIMENSIONS.index(Dimension.ODDS_OF_SUCCESS)
_MAX_NORM = 1.0  # of the gradient
_LAST_RATE = 0.02  # of the first, at the end


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """How a backbone is fine-tuned.

    Attributes:
        epochs: Passes over the states that have pairs, above 0.
        learning_rate: Of the backbone, above 0.
        heads_rate: Of the heads, above 0.
        warmup: Share of the steps in which the rates rise, in [0, 1).
        weight_decay: Of AdamW, at least 0.
        pair_weight: Weight of the pairs' loss beside the labels', at least 0.
        ending_weight: Weight of endings beside the other pairs, at least 0.
        label_weights: What the five dimensions count in the labels' loss, at least 0 each.
        rename: Share of the states whose names are drawn anew, in [0, 1].
        sampling: What a batch is made of.
        save_every: Steps between two checkpoints and two reports, at least 1.
    """

    epochs: float = 3.0
    learning_rate: float = 1.5e-4
    heads_rate: float = 7.5e-4
    warmup: float = 0.06
    weight_decay: float = 0.01
    pair_weight: float = 0.5
    ending_weight: float = 0.5
    label_weights: tuple[float, float, float, float, float] = (1.0, 2.0, 1.0, 0.5, 0.25)
    rename: float = 0.0
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    save_every: int = 100


@dataclass(frozen=True, slots=True)
class FinetuneMetrics:
    """What was measured since the last report.

    Attributes:
        step: Steps that were taken.
        steps: Of how many.
        label_loss: Mean weighted squared error, in units of the labels.
        pair_loss: Mean Bradley-Terry loss; NaN where no pair was seen.
    """

    step: int
    steps: int
    label_loss: float
    pair_loss: float


@dataclass(frozen=True, slots=True, eq=False)
class FinetuneFit:
    """What stage 0 ends with; the backbone itself is trained in place.

    Attributes:
        heads: The linear heads of the end; stage 1 fits better ones.
        steps: Steps that were taken.
        history: What was measured.
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
        checkpoint: Where the state is written at each report, and read at the beginning if there.
        progress: Told how many steps are done, and of how many.
        report: Told what was measured, each time.

    Raises:
        DataError: The checkpoint is broken or of another run; a step cannot be read.
        ModelError: The loss is not finite.
        ValueError: A setting is out of its range, or there are no labels and no pairs.
    """
    _check(settings, rows, seed)
    run = _Run(backbone, rows, settings=settings, seed=seed)
    start = 0
    if checkpoint is not None and checkpoint.exists():
        start = load_module(checkpoint, run.module, run.optimizer, run=run.name)
    history: list[FinetuneMetrics] = []
    losses: list[tuple[float, float]] = []
    backbone.model.train()
    try:
        for step, batch in enumerate(islice(run.sampler, start, run.steps), start):
            losses.append(run.step(step, batch))
            progress(step + 1, run.steps)
            if (step + 1) % settings.save_every == 0 or step + 1 == run.steps:
                history.append(_metrics(step + 1, run.steps, losses))
                losses = []
                if checkpoint is not None:
                    save_module(checkpoint, run.module, run.optimizer, run=run.name, step=step + 1)
                report(history[-1])
    finally:
        backbone.model.eval()
    return FinetuneFit(run.module.heads.to_heads(), run.steps, tuple(history))


Partners = Mapping[int, Sequence[tuple[int, float]]]
"""The worse steps of the same state, and the pairs' weights, by the row of the better one."""


def step_loss(
    dims: Tensor,
    rows: TrainingSet,
    batch: Batch,
    *,
    partners: Partners,
    settings: FinetuneSettings,
) -> tuple[Tensor, Tensor]:
    """The labels' loss and the pairs' loss of one batch, scalars; the latter NaN without a pair.

    Args:
        dims: `[n, 5]`, what the heads say of the batch's steps, in its order, in scaled units.
        rows: The training set.
        batch: Its states.
        partners: The pairs of the training set, see `partners_of`.
        settings: The weights.
    """
    flat = [row for state in batch for row in state]
    scales = torch.tensor(LABEL_SCALES, dtype=dims.dtype, device=dims.device)
    label_loss = _label_loss(dims / scales, rows, flat, settings)
    better, worse, weights = _pairs(rows, batch, partners, settings)
    if not better:
        return label_loss, torch.full((), math.nan)
    totals = dims.sum(1)
    count = torch.tensor(weights, dtype=dims.dtype, device=dims.device)
    margins = totals[better] - totals[worse]
    return label_loss, (count * functional.softplus(-margins)).sum() / count.sum()


def partners_of(rows: TrainingSet) -> Partners:
    """The pairs within states; those across states come from endings that stand side by side."""
    partners: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for (better, worse), weight in zip(
        rows.pairs.tolist(), rows.pair_weights.tolist(), strict=True
    ):
        if rows.states[better] == rows.states[worse]:
            partners[better].append((worse, weight))
    return partners


def _label_loss(
    dims: Tensor, rows: TrainingSet, flat: Sequence[int], settings: FinetuneSettings
) -> Tensor:
    """The weighted mean over the labels that are known; those that are not have no influence."""
    labels = rows.labels[flat]
    known = np.isfinite(labels)
    importance = known * rows.weights[flat][:, None] * np.array(settings.label_weights)
    total = importance.sum()
    if total == 0:
        return dims.sum() * 0
    truth, weight = (
        torch.tensor(x, dtype=dims.dtype, device=dims.device)
        for x in (np.where(known, labels, 0.0), importance / len(flat))
    )
    return (weight * (dims - truth) ** 2).sum()


def _pairs(
    rows: TrainingSet, batch: Batch, partners: Partners, settings: FinetuneSettings
) -> tuple[list[int], list[int], list[float]]:
    """Places in the batch of the better and the worse steps, and the pairs' weights."""
    place = {row: i for i, row in enumerate(row for state in batch for row in state)}
    found = [
        (row, other, weight)
        for row in place
        for other, weight in partners.get(row, ())
        if other in place
    ]
    found += [(a, b, settings.ending_weight) for a, b in _ending_pairs(rows, batch)]
    return (
        [place[a] for a, _, _ in found],
        [place[b] for _, b, _ in found],
        [weight for _, _, weight in found],
    )


def _ending_pairs(rows: TrainingSet, batch: Batch) -> Iterator[tuple[int, int]]:
    """Steps that ended one episode in success, with those that ended it elsewhere in failure."""
    ended: dict[int, list[int]] = defaultdict(list)
    for state in batch:
        for row in state:
            if rows.is_final[row]:
                ended[int(rows.episodes[row])].append(row)
    success = rows.labels[:, _SUCCESS]
    for group in ended.values():
        for a in group:
            for b in group:
                if success[a] == 1 and success[b] == 0 and rows.states[a] != rows.states[b]:
                    yield a, b


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
        self.steps = max(1, round(settings.epochs * self.sampler.steps_an_epoch()))
        self._partners = partners_of(rows)
        self._renamer = Renamer(rows) if settings.rename else None
        self.name = self._fingerprint()

    def step(self, step: int, batch: Batch) -> tuple[float, float]:
        """One step of the optimiser; the two losses."""
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._schedule(step)
        states = [self._steps_of(step, i, state) for i, state in enumerate(batch)]
        with _drawing(step_seed(self._seed, step)):
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
        return float(label_loss.detach()), float(pair_loss.detach())

    def _steps_of(self, step: int, index: int, state: Sequence[int]) -> Sequence[Step]:
        steps = [self._rows.steps[row] for row in state]
        if self._renamer is None:
            return steps
        rng = random.Random(f"{self._seed}:names {step}:{index}")  # noqa: S311  # a seeded draw
        if rng.random() >= self._settings.rename:
            return steps
        return self._renamer.rename(steps, self._rows.tasks[state[0]], rng)

    def _schedule(self, step: int) -> float:
        """A line up, then a line down to a small rest."""
        done = step / self.steps
        up = (step + 1) / (self.steps * self._settings.warmup) if self._settings.warmup else 1.0
        return min(1.0, up) * max(_LAST_RATE, 1 - done)

    def _fingerprint(self) -> str:
        """What a checkpoint must be of: settings, seed and data."""
        digest = hashlib.blake2b(digest_size=16)
        about = {"settings": asdict(self._settings), "seed": self._seed}
        digest.update(json.dumps(about, sort_keys=True).encode())
        for step in self._rows.steps:
            digest.update(repr((step.instruction, step.history, step.action)).encode())
        for array in (self._rows.labels, self._rows.pairs):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Within it torch draws from `seed`; afterwards as if nothing had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _metrics(step: int, steps: int, losses: Sequence[tuple[float, float]]) -> FinetuneMetrics:
    pairs = [pair for _, pair in losses if not math.isnan(pair)]
    label = sum(label for label, _ in losses) / len(losses)
    return FinetuneMetrics(step, steps, label, sum(pairs) / len(pairs) if pairs else math.nan)


def _check(settings: FinetuneSettings, rows: TrainingSet, seed: int) -> None:
    for name in ("epochs", "learning_rate", "heads_rate"):
        value = getattr(settings, name)
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; expected a number above 0")
    for name in ("weight_decay", "pair_weight", "ending_weight"):
        value = getattr(settings, name)
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; expected at least 0")
    if not (0 <= settings.warmup < 1 and 0 <= settings.rename <= 1):
        raise ValueError(
            f"warmup and rename are {settings.warmup} and {settings.rename}; expected shares"
        )
    sampling = settings.sampling
    if min(sampling.batch_states, sampling.side_by_side, sampling.max_actions) < 1 or not (
        0 <= sampling.plain_share <= 1
    ):
        raise ValueError(f"the sampling is {sampling}; expected counts of at least 1 and a share")
    if settings.save_every < 1 or seed < 0:
        raise ValueError(
            f"save_every and the seed are {settings.save_every} and {seed}; expected at least 1 "
            "and 0"
        )
    if not len(rows.pairs) and not np.isfinite(rows.labels).any():
        raise ValueError(f"none of {len(rows)} rows has a label and there are no pairs")
