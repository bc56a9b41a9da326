"""From the scores of pairs to what they are worth: accuracy, calibration, the worst misses."""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from similar_fast.dimensions import Dimension
from similar_fast.metrics.calibration import fit_temperature, pair_calibration
from similar_fast.metrics.comparison import compare
from similar_fast.metrics.intervals import AccuracyIntervals, accuracy_intervals
from similar_fast.metrics.pairs import TieRule
from similar_fast.records import PairRecord
from similar_fast.srm.evaluate.evaluation import (
    Calibration,
    Comparison,
    Evaluation,
    Miss,
    PairScores,
    cluster_of,
    place_of,
)

__all__ = [
    "DEFAULT_COUNTING",
    "Counting",
    "coded_clusters",
    "compare_evaluations",
    "evaluate_pair_scores",
    "evaluate_scores",
]

_NUM_BINS = 10


@dataclass(frozen=True, slots=True)
class Counting:
    """How pairs are counted, and how sure that is.

    Attributes:
        ties: What a tie is worth, as `metrics.accuracy` takes it.
        num_draws: Draws of the bootstrap over tasks, in 1..=10,000,000.
        level: The intervals' level, in (0, 1).
        seed: Of the draws and of the halves of the tasks, in [0, 2^64).
        num_misses: The worst misses to keep, at least 0.
    """

    ties: TieRule = "half"
    num_draws: int = 10_000
    level: float = 0.95
    seed: int = 0
    num_misses: int = 20


DEFAULT_COUNTING = Counting()
"""Ties half, 95% intervals of 10,000 draws, seed 0."""


def evaluate_scores(
    pairs: Sequence[PairRecord],
    chosen: ArrayLike,
    rejected: ArrayLike,
    *,
    name: str = "scores",
    counting: Counting = DEFAULT_COUNTING,
    errors: Mapping[int, str] | None = None,
) -> Evaluation:
    """What given scores are worth on `pairs`. No pair is left out in silence.

    Args:
        pairs: `[n]`, at least one.
        chosen: `[n]`, the scores of the better ones, each under its pair's type; NaN where there
            is none.
        rejected: `[n]`, the scores of the other ones.
        name: What the scorer is called.
        counting: How pairs are counted.
        errors: Why a pair has no score, by its index.

    Raises:
        ValueError: There is no pair, the columns are not `[n]`, or a part of `counting` is out of
            its range.

    Example:
        >>> from similar_fast.records import PairRecord
        >>> rows = [
        ...     PairRecord(environment="shop", task=task, type=Dimension.TOTAL, instruction="Buy",
        ...                chosen=("click Buy",), rejected=("click Help",), step=1)
        ...     for task in ("1", "2")
        ... ]
        >>> found = evaluate_scores(rows, [2.0, 1.0], [1.0, float("nan")])
        >>> found.overall.micro.value, found.n_invalid
        (1.0, 1)
    """
    left, right = np.asarray(chosen, np.float64), np.asarray(rejected, np.float64)
    if not pairs:
        raise ValueError("there is no pair to evaluate; expected at least one")
    if left.shape != (len(pairs),) or right.shape != left.shape:
        raise ValueError(
            f"chosen and rejected are {left.shape} and {right.shape}; expected {(len(pairs),)}"
        )
    return evaluate_pair_scores(
        pairs, PairScores(left, right, errors or {}), name=name, counting=counting
    )


def evaluate_pair_scores(
    pairs: Sequence[PairRecord], scores: PairScores, *, name: str, counting: Counting
) -> Evaluation:
    """As `evaluate_scores`, of scores that know their cost."""
    columns = (scores.chosen, scores.rejected)
    types = [pair.type for pair in pairs]
    clusters = coded_clusters(pairs)
    rows: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        rows.setdefault(place_of(pair), []).append(i)
    overall = _intervals(columns, types, clusters, counting)
    places = {}
    for place, members in rows.items():
        if len(members) == len(pairs):
            places[place] = overall
            continue
        at = np.array(members)
        of_place = [types[i] for i in members]
        places[place] = _intervals(
            (columns[0][at], columns[1][at]), of_place, clusters[at], counting
        )
    return Evaluation(
        name=name,
        overall=overall,
        places=places,
        scores=scores,
        calibration=_calibration(pairs, columns, clusters, counting.seed),
        misses=_misses(pairs, columns, counting.num_misses),
    )


def compare_evaluations(
    pairs: Sequence[PairRecord], first: Evaluation, second: Evaluation, *, counting: Counting
) -> Comparison:
    """First less second on the pairs that both were evaluated on, tasks drawn as a whole.

    Args:
        pairs: `[n]`, what both were evaluated on.
        first: One evaluation.
        second: Another.
        counting: How pairs are counted; the same draws for both.

    Raises:
        ValueError: They were not evaluated on `n` pairs.
    """
    paired = compare(
        (first.scores.chosen, first.scores.rejected),
        (second.scores.chosen, second.scores.rejected),
        clusters=coded_clusters(pairs),
        groups=[pair.type for pair in pairs],
        ties=counting.ties,
        num_draws=counting.num_draws,
        level=counting.level,
        seed=counting.seed,
    )
    return Comparison(first, second, paired)


def coded_clusters(pairs: Sequence[PairRecord]) -> NDArray[np.int64]:
    """`[n]`, a number for each pair's task, from 0 in the order of first appearance."""
    places: dict[Hashable, int] = {}
    codes = (places.setdefault(cluster_of(pair), len(places)) for pair in pairs)
    return np.fromiter(codes, np.int64, len(pairs))


_Columns = tuple[NDArray[np.float64], NDArray[np.float64]]


def _intervals(
    columns: _Columns, types: list[Dimension], clusters: NDArray[np.int64], counting: Counting
) -> AccuracyIntervals:
    return accuracy_intervals(
        *columns,
        clusters=clusters,
        groups=types,
        ties=counting.ties,
        num_draws=counting.num_draws,
        level=counting.level,
        seed=counting.seed,
    )


def _calibration(
    pairs: Sequence[PairRecord], columns: _Columns, clusters: NDArray[np.int64], seed: int
) -> Calibration | None:
    """Temperatures of one half of the tasks, judged on the other; None where a half is empty."""
    with np.errstate(invalid="ignore"):
        margins = columns[0] - columns[1]
    is_first, is_valid = _halves(pairs, clusters, seed), np.isfinite(margins)
    is_fitting, is_judged = is_first & is_valid, ~is_first & is_valid
    if not (is_fitting.any() and is_judged.any()):
        return None
    codes = _type_codes(pairs)
    temperatures: dict[Dimension, float] = {}
    left_out = []
    scaled = []
    for code, kind in enumerate(Dimension):
        of_kind = codes == code
        if not (of_kind & (is_fitting | is_judged)).any():
            continue
        fit = margins[of_kind & is_fitting]
        temperature = fit_temperature(fit, np.zeros_like(fit)).temperature
        if not temperature > 0:
            left_out.append(kind)
            continue
        temperatures[kind] = temperature
        scaled.append(margins[of_kind & is_judged] / temperature)
    if not scaled or not sum(map(len, scaled)):
        return None
    judged = np.concatenate(scaled)
    table = pair_calibration(judged, np.zeros_like(judged), num_bins=_NUM_BINS)
    return Calibration(table, temperatures, tuple(left_out), int(is_fitting.sum()))


def _type_codes(pairs: Sequence[PairRecord]) -> NDArray[np.int8]:
    """`[n]`, each pair's type by its place in `Dimension`."""
    places = {kind: place for place, kind in enumerate(Dimension)}
    return np.fromiter((places[pair.type] for pair in pairs), np.int8, len(pairs))


def _halves(
    pairs: Sequence[PairRecord], clusters: NDArray[np.int64], seed: int
) -> NDArray[np.bool_]:
    """`[n]`, whether a pair's task is in the first half; the same task always is for one seed."""
    _, first_at = np.unique(clusters, return_index=True)
    keys = [
        hashlib.sha256(repr((seed, cluster_of(pairs[i]))).encode("utf-8", "replace")).digest()
        for i in first_at.tolist()
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    is_first = np.zeros(len(keys), np.bool_)
    is_first[order[::2]] = True
    return is_first[clusters]


def _misses(pairs: Sequence[PairRecord], columns: _Columns, num: int) -> tuple[Miss, ...]:
    """The pairs whose rejected side scores higher by most, in the unit of their type."""
    with np.errstate(invalid="ignore"):
        margins = columns[1] - columns[0]
    codes = _type_codes(pairs)
    for code in np.unique(codes):
        sizes = np.abs(margins[(codes == code) & np.isfinite(margins)])
        unit = float(np.median(sizes)) if len(sizes) else 0.0
        if unit == 0.0:
            unit = float(sizes.mean()) or 1.0 if len(sizes) else 1.0
        margins[codes == code] /= unit
    worst = np.argsort(np.where(np.isfinite(margins), -margins, inf), kind="stable")
    found: list[Miss] = []
    seen: set[Hashable] = set()  # a scorer that misses a task's pair misses the others alike
    for i in worst.tolist():
        margin = float(margins[i])
        if len(found) >= num or not isfinite(margin) or margin <= 0:
            break
        pair = pairs[i]
        keys = {(cluster_of(pair), pair.type), (cluster_of(pair), pair.chosen, pair.rejected)}
        if not keys & seen:
            seen |= keys
            sides = float(columns[0][i]), float(columns[1][i])
            found.append(Miss(i, pair, *sides, margin))
    return tuple(found)
