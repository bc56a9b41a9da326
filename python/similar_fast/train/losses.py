"""The losses of stage 0: squared errors of labels, and Bradley-Terry over pairs.

Source: Miao et al. 2025, section 4 (the two kinds of data); Bradley and Terry 1952.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.models.heads import LABEL_SCALES
from similar_fast.train.data import TrainingSet
from similar_fast.train.finetune_settings import FinetuneSettings
from similar_fast.train.sampling import Batch

__all__ = ["Partners", "partners_of", "step_loss"]

_SUCCESS = DIMENSIONS.index(Dimension.ODDS_OF_SUCCESS)

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
        return label_loss, torch.full((), math.nan, device=dims.device)
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
    """Weighted squared errors of the labels that are known, over the number of steps.

    A label that is not known has no influence, on the gradients neither.
    """
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
    if settings.ending_weight > 0:
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
