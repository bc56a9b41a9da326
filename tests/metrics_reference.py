"""The bootstrap over clusters in plain numpy, draw for draw the one of the core."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

GAMMA = 0x9E3779B97F4A7C15
MASK = 2**64 - 1


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def drawn(seed: int, num_draws: int, n_clusters: int) -> NDArray[np.int64]:
    """`[num_draws, n_clusters]` places in 0..n_clusters."""
    words_a_draw = -(-n_clusters // 2)
    state = _mix(np.array([seed], np.uint64))
    steps = np.arange(1, num_draws * words_a_draw + 1, dtype=np.uint64)
    words = _mix(state + steps * np.uint64(GAMMA)).reshape(num_draws, words_a_draw)
    halves = np.stack([words & np.uint64(2**32 - 1), words >> np.uint64(32)], axis=-1)
    places = (halves.reshape(num_draws, -1) * np.uint64(n_clusters)) >> np.uint64(32)
    return places[:, :n_clusters].astype(np.int64)


def draws_by_rows(
    earned: NDArray[np.float64],
    groups: Sequence[Hashable],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    num_draws: int,
) -> tuple[dict[Hashable, NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64]]:
    """Each group's, the micro and the macro mean of `earned` in every draw; NaN rows do not count.

    Slow and plain: each draw collects the rows of its clusters.
    """
    rows_of: dict[Hashable, list[int]] = {}
    first_seen = list(dict.fromkeys(clusters))
    for row, cluster in enumerate(clusters):
        if not np.isnan(earned[row]):
            rows_of.setdefault(cluster, []).append(row)
    order = [cluster for cluster in first_seen if cluster in rows_of]
    labels = list(dict.fromkeys(groups))
    codes = np.array([labels.index(group) for group in groups], np.int64)
    of_groups = np.full((len(labels), num_draws), np.nan)
    micro, macro = np.full(num_draws, np.nan), np.full(num_draws, np.nan)
    for draw, places in enumerate(drawn(seed, num_draws, len(order))):
        rows = np.array([row for place in places for row in rows_of[order[place]]], np.int64)
        for code in range(len(labels)):
            members = earned[rows[codes[rows] == code]]
            if members.size:
                of_groups[code, draw] = members.mean()
        if rows.size:
            micro[draw] = earned[rows].mean()
            defined = of_groups[~np.isnan(of_groups[:, draw]), draw]
            macro[draw] = defined.mean()
    return dict(zip(labels, of_groups, strict=True)), micro, macro
