"""The control: a training set whose labels say nothing."""

from dataclasses import replace

import numpy as np

from similar_fast.dimensions import Dimension
from similar_fast.train.data import PairSettings, TrainingSet, compare

__all__ = ["shuffled"]


def shuffled(rows: TrainingSet, compared_by: PairSettings, *, seed: int) -> TrainingSet:
    """The same rows with labels and endings shuffled within each task, and pairs made anew.

    Pairs that came without labels are turned round by chance.

    Args:
        rows: What is shuffled.
        compared_by: Which labelled steps become pairs.
        seed: Of the shuffle, at least 0.
    """
    rng = np.random.default_rng((seed, 1))
    labels, final = rows.labels.copy(), rows.is_final.copy()
    for task in sorted(set(rows.tasks)):
        places = np.flatnonzero(rows.of_tasks([task]))
        order = rng.permutation(places)
        labels[places], final[places] = rows.labels[order], rows.is_final[order]
    given = np.asarray(~np.isfinite(rows.labels[rows.pairs]).all(axis=(1, 2)), bool)
    kept = rows.pairs[given].copy()
    flips = rng.random(len(kept)) < 0.5
    kept[flips] = kept[flips][:, ::-1]
    mixed = replace(rows, labels=labels, is_final=final)
    pairs, weights = compare(mixed, compared_by)
    types = [t for t, own in zip(rows.pair_types, given.tolist(), strict=True) if own]
    return replace(
        mixed,
        pairs=np.concatenate([kept, pairs]),
        pair_types=(*types, *[Dimension.TOTAL] * len(pairs)),
        pair_weights=np.concatenate([np.ones(len(kept)), weights]),
    )
