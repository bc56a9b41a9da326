"""How sure an accuracy is: Wilson's interval, and the bootstrap over tasks."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike

from similar_fast import _core
from similar_fast.metrics.columns import Labels, coded, columns64
from similar_fast.metrics.pairs import Accuracy, TieRule, accuracy_of
from similar_fast.metrics.record import Record

__all__ = [
    "AccuracyIntervals",
    "Estimate",
    "Interval",
    "IntervalMethod",
    "accuracy_intervals",
    "wilson_interval",
]

IntervalMethod = Literal["percentile", "bca"]

# As the core's, which says why.
_MAX_DRAWS = 10_000_000

# Value, bounds, standard error, undefined draws.
EstimateRow = tuple[float, tuple[float, float], float, int]


@dataclass(frozen=True, slots=True)
class Interval(Record):
    """Two bounds, and how often such bounds should enclose the truth.

    Attributes:
        low: The lower bound; NaN where nothing can be said.
        high: The upper bound; NaN where nothing can be said.
        level: In (0, 1).
    """

    low: float
    high: float
    level: float


@dataclass(frozen=True, slots=True)
class Estimate(Record):
    """A figure and what resampling says of it.

    Attributes:
        value: The figure itself, on the rows as they are; NaN where no row counts.
        interval: Its interval; NaN where fewer than two clusters count.
        standard_error: The draws' standard deviation; NaN where fewer than two clusters count.
        n_undefined_draws: Draws that hold no row of the figure and are therefore left out.
    """

    value: float
    interval: Interval
    standard_error: float
    n_undefined_draws: int


@dataclass(frozen=True, slots=True)
class AccuracyIntervals(Record):
    """Pairwise accuracy with a clustered bootstrap of each figure, all from the same draws.

    Attributes:
        accuracy: The counts and accuracies themselves.
        groups: Each label's accuracy, in the order in which the labels first appear.
        micro: Accuracy over all pairs.
        macro: Mean of the groups' accuracies, in each draw over the groups that have one there.
        n_clusters: Clusters with a pair that counts; they are what is drawn.
        num_draws: Draws.
        seed: The seed of the draws.
        method: How the intervals were read off the draws.
    """

    accuracy: Accuracy
    groups: dict[Hashable, Estimate]
    micro: Estimate
    macro: Estimate
    n_clusters: int
    num_draws: int
    seed: int
    method: IntervalMethod


def wilson_interval(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion of `n` independent trials.

    A tie that is half a success keeps its trial: give `n_correct + n_ties / 2` of `n`. A tie varies
    less than a pair that is won or lost, so with ties the interval is wider than it need be, never
    narrower. Pairs of one task are not independent; for them see `accuracy_intervals`.

    Args:
        successes: In [0, n]; halves are allowed.
        n: Trials, at least 0.
        level: In (0, 1).

    Returns:
        Bounds in [0, 1] that enclose `successes / n`; NaN where `n` is 0.

    Raises:
        ValueError: `successes` is not in [0, n], or `level` not in (0, 1).

    Example:
        >>> interval = wilson_interval(8, 10)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.49, 0.943)

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA
        22; p = successes / n, z the normal quantile of (1 + level) / 2:
        (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    low, high = _core.wilson(successes, n, level)
    return Interval(low=low, high=high, level=level)


def accuracy_intervals(
    chosen: ArrayLike,
    rejected: ArrayLike,
    *,
    clusters: Labels,
    groups: Labels | None = None,
    ties: TieRule = "half",
    tie_tolerance: float = 0.0,
    num_draws: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
    method: IntervalMethod = "percentile",
) -> AccuracyIntervals:
    """Pairwise accuracy, each figure with an interval from drawing whole clusters.

    Pairs of one task are alike, so intervals that take them for independent are too narrow. Here a
    draw takes as many clusters as there are, with replacement, each with all its pairs, and every
    figure is computed on what was drawn. A cluster in which no pair counts is none. A group whose
    pairs lie in fewer than two clusters has no interval.

    The same seed gives the same draws on every machine: SplitMix64 from the state `mix(seed)`; each
    64-bit word, low half first, picks two clusters by `half * n_clusters >> 32`, and a draw begins
    with a new word. O(n log n + num_draws * (clusters + entries)), where an entry is a cluster in a
    group; `8 * num_draws * (groups + 2)` bytes.

    Args:
        chosen: `[n]` scores of the preferred steps; read as float64.
        rejected: `[n]` scores of the steps they are compared with.
        clusters: `[n]` labels of what was sampled as a whole, such as tasks; anything hashable.
        groups: `[n]` labels of what is reported apart; None puts all pairs into one group.
        ties: As in `accuracy`.
        tie_tolerance: As in `accuracy`.
        num_draws: Draws, in 1..=10,000,000.
        level: The intervals' level, in (0, 1).
        seed: In [0, 2^64).
        method: `percentile` takes the draws' quantiles, linear between neighbours; `bca` corrects
            them for bias and skewness, which helps near 0 and 1 and with few clusters.

    Returns:
        The accuracy and an estimate of each of its figures.

    Raises:
        ValueError: As `accuracy`, and where `clusters` is not `[n]`, or `num_draws`, `level`,
            `seed` or `method` is none of the above.
        TypeError: A label is not hashable.

    Example:
        >>> won = [1, 1, 1, 0, 1, 1]
        >>> result = accuracy_intervals(won, [0.5] * 6, clusters=["a", "a", "b", "b", "c", "c"])
        >>> round(result.micro.value, 3), result.micro.interval
        (0.833, Interval(low=0.5, high=1.0, level=0.95))

    Source:
        Davison and Hinkley 1997, "Bootstrap methods and their application", 2.4 and 3.8; Efron
        1987, "Better bootstrap confidence intervals", JASA 82 (`bca`, its acceleration from leaving
        out each cluster).
    """
    scores = columns64(chosen, rejected)
    labels, codes = coded(groups, len(scores[0]))
    of_clusters, cluster_codes = coded(clusters, len(scores[0]), name="clusters")
    counted, rows, micro, macro, n_clusters = _core.accuracy_intervals(
        scores,
        (codes, len(labels)),
        (cluster_codes, len(of_clusters)),
        (ties, tie_tolerance),
        draw_options(num_draws, level, seed, method),
    )
    return AccuracyIntervals(
        accuracy=accuracy_of(labels, counted),
        groups={label: estimate_of(row, level) for label, row in zip(labels, rows, strict=True)},
        micro=estimate_of(micro, level),
        macro=estimate_of(macro, level),
        n_clusters=n_clusters,
        num_draws=num_draws,
        seed=seed,
        method=method,
    )


def draw_options(
    num_draws: int, level: float, seed: int, method: str
) -> tuple[int, float, int, str]:
    """The options of a bootstrap as the core takes them, its integers checked."""
    if not 1 <= num_draws <= _MAX_DRAWS:
        raise ValueError(f"num_draws must be in 1..={_MAX_DRAWS}, got {num_draws}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in 0..2^64, got {seed}")
    return num_draws, level, seed, method


def estimate_of(row: EstimateRow, level: float) -> Estimate:
    """What the core estimated."""
    value, (low, high), standard_error, n_undefined_draws = row
    interval = Interval(low=low, high=high, level=level)
    return Estimate(
        value=value,
        interval=interval,
        standard_error=standard_error,
        n_undefined_draws=n_undefined_draws,
    )
