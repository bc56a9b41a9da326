"""What a run that is over came to, as its folder tells it: nothing is trained again."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.errors import DataError
from similar_fast.models.heads import HEADS_WEIGHTS_NAME, read_heads
from similar_fast.models.manifest import CARD_NAME
from similar_fast.train.measures import Measured
from similar_fast.train.metrics import DimensionFit
from similar_fast.train.regression import AlphaFit, DimensionRegression, RegressionFit
from similar_fast.train.result import RESULT_NAME, TrainResult

__all__ = ["finished_result"]


def finished_result(out: Path) -> TrainResult | None:
    """The result of the run in `out`; None where it is not over.

    W is that of the exported heads, and of the alphas of stage 1 only the chosen one is kept.

    Args:
        out: The run's folder.

    Raises:
        DataError: The result cannot be read.
        ModelError: The exported heads cannot be read.
    """
    model, path = out / "model", out / RESULT_NAME
    # The card is the last thing that a run writes.
    if not (path.is_file() and (model / CARD_NAME).is_file()):
        return None
    heads = read_heads(model / HEADS_WEIGHTS_NAME)
    try:
        told = json.loads(path.read_bytes())
        return TrainResult(
            folder=model,
            heads=heads,
            training_tasks=tuple(told["training_tasks"]),
            validation_tasks=tuple(told["validation_tasks"]),
            split_by=told["split_by"],
            training_steps=told["training_steps"],
            training_pairs=told["training_pairs"],
            regression=RegressionFit(
                heads.regression.astype(np.float64),
                heads.label_scales,
                tuple(_dimension(name, told["regression"][name]) for name in DIMENSIONS),
            ),
            plain=_measured(told["plain"]),
            gated=_measured(told["gated"]),
            is_finetuned=told["inner_held_out_seen_by_stage_0"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise DataError(f"the result of the run cannot be read: {err!r}", path=path) from err


def _dimension(name: Dimension, told: Mapping[str, Any]) -> DimensionRegression:
    chosen = told["held_out"]
    fits = () if chosen is None else (AlphaFit(**_floats(chosen)),)
    return DimensionRegression(
        dimension=name,
        n=told["n"],
        alpha=_float(told["alpha"]),
        split_by=told["split_by"],
        n_held_out=told["n_held_out"],
        alphas=fits,
    )


def _measured(told: Mapping[str, Any] | None) -> Measured | None:
    if told is None:
        return None
    found = told["dimensions"]
    return Measured(
        steps=told["steps"],
        dimensions={
            str(name): DimensionFit(**{**_floats(found[name]), "n": found[name]["n"]})
            for name in DIMENSIONS
            if name in found
        },
        pair_accuracy=_floats(told["pair_accuracy"]),
        pairs=dict(told["pairs"]),
    )


def _floats(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _float(value) for name, value in told.items()}


def _float(value: float | None) -> float:
    """JSON has no word for NaN, which is written as null."""
    return math.nan if value is None else float(value)
