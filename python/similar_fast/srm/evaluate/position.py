"""Does a scorer's answer depend on which of the two actions it is shown first?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import Dimension
from similar_fast.protocols import Scorer
from similar_fast.records import PairRecord
from similar_fast.srm.evaluate.evaluation import PositionProbe
from similar_fast.srm.evaluate.plan import OpenScreenshot, pair_fault, step_of
from similar_fast.srm.evaluate.scored import score_apart

__all__ = ["probe_position"]


def probe_position(
    scorer: Scorer,
    pairs: Sequence[PairRecord],
    *,
    num_pairs: int = 256,
    batch_size: int = 64,
    seed: int = 0,
    open_screenshot: OpenScreenshot | None = None,
) -> PositionProbe:
    """Scores a sample of the pairs in both orders, the two actions side by side in a batch.

    A scorer whose scores do not depend on their neighbours changes no answer and prefers the first
    half the time; judges that read both actions at once often do not (Zheng et al. 2023,
    arXiv 2306.05685, section 3.3). Trajectories are left out: their steps are many.

    Args:
        scorer: What is probed.
        pairs: Where the sample is drawn from.
        num_pairs: Pairs in it at most, at least 1.
        batch_size: Steps in one call, at least 2.
        seed: Of the sample, in [0, 2^64).
        open_screenshot: As `plan_pairs`.

    Raises:
        ValueError: `num_pairs` or `batch_size` is out of its range.
    """
    if num_pairs < 1 or batch_size < 2:
        raise ValueError(
            f"num_pairs is {num_pairs} and batch_size {batch_size}; expected at least 1 and 2"
        )
    able = [p for p in pairs if p.type is not Dimension.TRAJECTORY and not pair_fault(p)]
    drawn = np.random.default_rng(seed).permutation(len(able))[:num_pairs]
    sample = [able[i] for i in np.sort(drawn)]
    column = {kind: place for place, kind in enumerate(Dimension)}
    types = np.array([column[pair.type] for pair in sample], np.int64)
    scores = []  # of each order: [n, 2], the chosen one's and the rejected one's
    for is_swapped in (False, True):
        steps = [
            step_of(pair, action, open_screenshot)
            for pair in sample
            for action in (
                (pair.rejected + pair.chosen) if is_swapped else pair.chosen + pair.rejected
            )
        ]
        # An even batch keeps the two actions of a pair in one call.
        values = score_apart(scorer, steps, batch_size=batch_size // 2 * 2).values
        of_type = values[np.arange(len(steps)), np.repeat(types, 2)].reshape(-1, 2)
        scores.append(of_type[:, ::-1] if is_swapped else of_type)
    plain, swapped = scores
    valid = np.isfinite(plain).all(axis=1) & np.isfinite(swapped).all(axis=1)
    return _probe(plain[valid], swapped[valid], n_invalid=int((~valid).sum()))


def _probe(
    plain: NDArray[np.float64], swapped: NDArray[np.float64], *, n_invalid: int
) -> PositionProbe:
    n = len(plain)
    answers, others = np.sign(plain[:, 0] - plain[:, 1]), np.sign(swapped[:, 0] - swapped[:, 1])
    n_changed = int((answers != others).sum())
    n_first = int((answers > 0).sum() + (others < 0).sum())
    n_second = int((answers < 0).sum() + (others > 0).sum())
    n_ties = 2 * n - n_first - n_second
    return PositionProbe(
        n=n,
        n_invalid=n_invalid,
        n_changed=n_changed,
        n_first=n_first,
        n_second=n_second,
        share_changed=n_changed / n if n else float("nan"),
        share_first=(n_first + n_ties / 2) / (2 * n) if n else float("nan"),
        max_difference=float(np.abs(plain - swapped).max()) if n else 0.0,
    )
