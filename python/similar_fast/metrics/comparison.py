"""Two scorers on the same pairs: is one better, or was it luck?"""

from collections.abc import Hashable
from dataclasses import dataclass

from numpy.typing import ArrayLike

from similar_fast import _core
from similar_fast.metrics.columns import Labels, coded, columns64
from similar_fast.metrics.intervals import (
    Estimate,
    EstimateRow,
    IntervalMethod,
    draw_options,
    estimate_of,
)
from similar_fast.metrics.pairs import TieRule
from similar_fast.metrics.record import Record

__all__ = ["Difference", "GroupComparison", "Mcnemar", "PairedComparison", "compare", "mcnemar"]

# The difference, and its p-value.
DifferenceRow = tuple[EstimateRow, float]

# Five counts, two accuracies, two p-values of McNemar's test, and the difference.
ComparisonRow = tuple[
    tuple[int, int, int, int, int], tuple[float, float], tuple[float, float], DifferenceRow
]


@dataclass(frozen=True, slots=True)
class Mcnemar(Record):
    """McNemar's exact test.

    Attributes:
        p_value: Two-sided; 1 where no pair is discordant.
        mid_p_value: The same with half the probability of the observed count: less conservative.
    """

    p_value: float
    mid_p_value: float


@dataclass(frozen=True, slots=True)
class Difference(Record):
    """A difference of accuracies, first less second.

    Attributes:
        estimate: The difference, in [-1, 1].
        p_value: Two-sided, from the same draws; NaN where fewer than two clusters count.
    """

    estimate: Estimate
    p_value: float


@dataclass(frozen=True, slots=True)
class GroupComparison(Record):
    """Two scorers on the pairs of one group. Each pair is in one of the first three counts.

    Attributes:
        n: Pairs that are compared.
        n_invalid: Pairs with a score of either scorer that is NaN or infinite.
        n_excluded: Valid pairs that a scorer ties on and the tie rule excludes.
        n_first_better: Pairs on which the first earns more.
        n_second_better: Pairs on which the second earns more.
        first: The first's accuracy on the `n` pairs.
        second: The second's accuracy on the `n` pairs.
        mcnemar: Takes pairs for independent of each other.
        difference: Takes clusters for independent of each other.
    """

    n: int
    n_invalid: int
    n_excluded: int
    n_first_better: int
    n_second_better: int
    first: float
    second: float
    mcnemar: Mcnemar
    difference: Difference


@dataclass(frozen=True, slots=True)
class PairedComparison(Record):
    """Two scorers, per group and overall, all from the same draws.

    Attributes:
        groups: Each label's comparison, in the order in which the labels first appear.
        overall: All pairs as one group.
        first_macro: The first's mean accuracy over the groups that have one.
        second_macro: The second's.
        macro_difference: The mean of the groups' differences.
        n_clusters: Clusters with a pair that is compared; they are what is drawn.
        num_draws: Draws.
        seed: The seed of the draws.
        method: How the intervals were read off the draws.
    """

    groups: dict[Hashable, GroupComparison]
    overall: GroupComparison
    first_macro: float
    second_macro: float
    macro_difference: Difference
    n_clusters: int
    num_draws: int
    seed: int
    method: IntervalMethod


def mcnemar(n_first_better: int, n_second_better: int) -> Mcnemar:
    """McNemar's exact test of two counts of discordant pairs. O(their sum).

    Args:
        n_first_better: Pairs on which only the first is right, at least 0.
        n_second_better: Pairs on which only the second is right, at least 0.

    Returns:
        Two-sided p-values, right to about nine digits.

    Raises:
        ValueError: A count is negative.

    Example:
        >>> round(mcnemar(9, 1).p_value, 4), round(mcnemar(9, 1).mid_p_value, 4)
        (0.0215, 0.0117)

    Source:
        McNemar 1947, Psychometrika 12; mid-p: Fagerland, Lydersen and Laake 2013, BMC Medical
        Research Methodology 13:91. X binomial of n_first_better + n_second_better fair tosses, k
        the smaller count: p = min(1, 2 P(X <= k)), mid-p = 2 P(X <= k) - P(X = k).
    """
    if min(n_first_better, n_second_better) < 0:
        raise ValueError(f"counts must be at least 0, got {n_first_better} and {n_second_better}")
    return Mcnemar(*_core.mcnemar(n_first_better, n_second_better))


def compare(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    *,
    clusters: Labels | None = None,
    groups: Labels | None = None,
    ties: TieRule = "half",
    tie_tolerance: float = 0.0,
    num_draws: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
    method: IntervalMethod = "percentile",
) -> PairedComparison:
    """Compares two scorers on the same pairs: McNemar's exact test and a clustered bootstrap.

    A pair earns a scorer 1 where it is correct, 0 where it is wrong, and on a tie what `ties` says;
    it is discordant where the two scorers earn differently, so under `half` a tie of one scorer
    alone is discordant too, and McNemar's test is the sign test of the difference in what is
    earned. Under `exclude` only pairs that neither ties on are compared.

    The bootstrap draws as `accuracy_intervals` does and takes the difference of the two accuracies
    in each draw. Its p-value turns the percentile interval around: with r the smaller number of
    draws on either side of 0 (those at 0 on both), p = min(1, 2 (r + 1) / (num_draws + 1)), where
    undefined draws do not count.

    Args:
        first: `(chosen, rejected)` of the first scorer, each `[n]`.
        second: `(chosen, rejected)` of the second scorer, on the same pairs.
        clusters: `[n]` labels of what was sampled as a whole; None makes each pair its own.
        groups: `[n]` labels of what is reported apart; None puts all pairs into one group.
        ties: As in `accuracy`.
        tie_tolerance: As in `accuracy`, the same for both scorers.
        num_draws: Draws, in 1..=10,000,000.
        level: The intervals' level, in (0, 1).
        seed: In [0, 2^64).
        method: As in `accuracy_intervals`.

    Returns:
        Counts, accuracies on the pairs that both can be judged on, tests and intervals.

    Raises:
        ValueError: As `accuracy_intervals`, and where the scorers have not the same pairs.
        TypeError: A label is not hashable.

    Example:
        >>> right, wrong = ([1.0] * 8, [0.0] * 8), ([1.0, 0.0] * 4, [0.5] * 8)
        >>> result = compare(right, wrong)
        >>> result.overall.n_first_better, result.overall.mcnemar.p_value
        (4, 0.125)
        >>> result.overall.difference.estimate.value
        0.5

    Source:
        As `mcnemar` and `accuracy_intervals`; the p-value: Davison and Hinkley 1997, 4.2 and 5.4.
    """
    scores = [columns64(*first), columns64(*second)]
    n, n_second = (len(columns[0]) for columns in scores)
    if n_second != n:
        raise ValueError(f"second must hold as many pairs as first, got {n_second} and {n}")
    labels, codes = coded(groups, n)
    of_clusters, cluster_codes = coded(
        range(n) if clusters is None else clusters, n, name="clusters"
    )
    rows, overall, macro, n_clusters = _core.compare(
        scores,
        (codes, len(labels)),
        (cluster_codes, len(of_clusters)),
        (ties, tie_tolerance),
        draw_options(num_draws, level, seed, method),
    )
    first_macro, second_macro, macro_difference = macro
    return PairedComparison(
        groups={label: _comparison(row, level) for label, row in zip(labels, rows, strict=True)},
        overall=_comparison(overall, level),
        first_macro=first_macro,
        second_macro=second_macro,
        macro_difference=_difference(macro_difference, level),
        n_clusters=n_clusters,
        num_draws=num_draws,
        seed=seed,
        method=method,
    )


def _comparison(row: ComparisonRow, level: float) -> GroupComparison:
    (n, n_invalid, n_excluded, n_first, n_second), (first, second), p_values, difference = row
    return GroupComparison(
        n=n,
        n_invalid=n_invalid,
        n_excluded=n_excluded,
        n_first_better=n_first,
        n_second_better=n_second,
        first=first,
        second=second,
        mcnemar=Mcnemar(*p_values),
        difference=_difference(difference, level),
    )


def _difference(row: DifferenceRow, level: float) -> Difference:
    estimate, p_value = row
    return Difference(estimate=estimate_of(estimate, level), p_value=p_value)
