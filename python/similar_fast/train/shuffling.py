"""The control: a training set whose labels say nothing."""

from dataclasses import replace

import numpy as np

from similar_fast.dimensions import Dimension
from similar_fast.train.data import PairSettings, TrainingSet, compare

__all__ = ["shuffled"]


def shuffled(rows: TrainingSet, compared_by: PairSettings, *, seed: int) -> TrainingSet:
    """The same rows with what is known of them shuffled within each task, and pairs made anew.

    Labels move with their weights, rollouts and endings, so that each is trusted as far as before.

    Pairs that came without labels are turned round by chance.

    Args:
        rows: What is shuffled.
        compared_by: Which labelled steps become pairs.
        seed: Of the shuffle, at least 0.
    """
    rng = np.random.default_rng((seed, 1))
    labels, weights, final = rows.labels.copy(), rows.weights.copy(), rows.is_final.copy()
    rollouts = rows.rollouts.copy()
    for task in sorted(set(rows.tasks)):
        places = np.flatnonzero(rows.of_tasks([task]))
        order = rng.permutation(places)
        labels[places], weights[places] = rows.labels[order], rows.weights[order]
        rollouts[places], final[places] = rows.rollouts[order], rows.is_final[order]
    given = np.asarray(~np.isfinite(rows.labels[rows.pairs]).all(axis=(1, 2)), bool)
    kept = rows.pairs[given].copy()
    flips = rng.random(len(kept)) < 0.5
    kept[flips] = kept[flips][:, ::-1]
    mixed = replace(rows, labels=labels, weights=weights, rollouts=rollouts, is_final=final)
    pairs, pair_weights = compare(mixed, compared_by)
    types = [t for t, own in zip(rows.pair_types, given.tolist(), strict=True) if own]
    return replace(
        mixed,
        pairs=np.concatenate([kept, pairs]),
        pair_types=(*types, *[Dimension.TOTAL] * len(pairs)),
        pair_weights=np.concatenate([rows.pair_weights[given], pair_weights]),
    )
