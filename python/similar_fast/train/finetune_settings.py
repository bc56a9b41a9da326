"""What stage 0 is given, and what it measures."""

import math
from dataclasses import dataclass, field

import numpy as np

from similar_fast.train.data import TrainingSet
from similar_fast.train.measures import Measured
from similar_fast.train.sampling import SamplingSettings, check_states

__all__ = ["FinetuneMetrics", "FinetuneSettings", "check_finetuning"]


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
        ending_weight: Weight of endings beside the other pairs, at least 0, which leaves them out.
        label_weights: What the five dimensions count in the labels' loss, at least 0 each.
        rename: Share of the states whose names are drawn anew, in [0, 1].
        average: Share of the steps, the last ones, whose weights are averaged, in [0, 1); the rate
            stays where it was when they began. 0 keeps the last weights.
        sampling: What a batch is made of.
        save_every: Steps between two checkpoints and two reports, at least 1; there is one at the
            end of each epoch as well.
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
    average: float = 0.0
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    save_every: int = 100


@dataclass(frozen=True, slots=True)
class FinetuneMetrics:
    """What was measured since the last report.

    Attributes:
        step: Steps that were taken.
        steps: Of how many.
        label_loss: Mean weighted squared error, in units of the labels.
        pair_loss: Mean Bradley-Terry loss; None where no pair was seen.
        validation: How well the held-out rows are judged, at the end of an epoch; else None.
    """

    step: int
    steps: int
    label_loss: float
    pair_loss: float | None
    validation: Measured | None = None


def check_finetuning(settings: FinetuneSettings, rows: TrainingSet, seed: int) -> None:
    """Refuses what no run can be made of.

    Raises:
        ValueError: A setting or the seed is out of its range, there are no labels and no pairs, or
            no state would be seen.
    """
    for name in ("epochs", "learning_rate", "heads_rate"):
        value = getattr(settings, name)
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; expected a number above 0")
    for name in ("weight_decay", "pair_weight", "ending_weight"):
        value = getattr(settings, name)
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; expected at least 0")
    if not all(0 <= weight < math.inf for weight in settings.label_weights):
        raise ValueError(f"label_weights are {settings.label_weights}; expected each at least 0")
    _check_shares(settings)
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
    check_states(rows, sampling)


def _check_shares(settings: FinetuneSettings) -> None:
    for name in ("warmup", "average"):
        value = getattr(settings, name)
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; expected a share of at least 0 and below 1")
    if not 0 <= settings.rename <= 1:
        raise ValueError(f"rename is {settings.rename}; expected a share, at most 1")
