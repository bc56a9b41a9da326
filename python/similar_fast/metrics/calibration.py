"""Calibration: is what a score promises what happens?"""

from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike

from similar_fast import _core
from similar_fast.metrics.columns import columns64
from similar_fast.metrics.record import Record

__all__ = [
    "Binning",
    "CalibrationBin",
    "CalibrationTable",
    "PairCalibration",
    "Temperature",
    "calibration_table",
    "fit_temperature",
    "pair_calibration",
]

Binning = Literal["width", "mass"]

# As the core's, which says why.
_MAX_BINS = 1_000_000

# Edges, rows, means of prediction and observation.
BinRow = tuple[tuple[float, float], int, tuple[float, float]]

# Bins, (valid, invalid) rows, (expected, greatest, mean squared) error.
Table = tuple[list[BinRow], tuple[int, int], tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class CalibrationBin(Record):
    """The rows whose prediction is in (low, high]; the first bin holds `low` as well.

    Attributes:
        low: The lower edge.
        high: The upper edge.
        n: Rows in the bin.
        mean_predicted: NaN where the bin is empty.
        mean_observed: NaN where the bin is empty.
    """

    low: float
    high: float
    n: int
    mean_predicted: float
    mean_observed: float


@dataclass(frozen=True, slots=True)
class CalibrationTable(Record):
    """What was observed where something was predicted.

    Attributes:
        bins: From low to high, empty ones included.
        n: Rows that count.
        n_invalid: Rows with a value that is NaN or infinite; no part of `n`.
        expected_error: Mean of |mean_predicted - mean_observed| over rows: the ECE of
            probabilities. NaN where no row counts.
        max_error: The greatest |mean_predicted - mean_observed| of a bin.
        mean_squared_error: Mean of (predicted - observed)^2: the Brier score of probabilities.
    """

    bins: tuple[CalibrationBin, ...]
    n: int
    n_invalid: int
    expected_error: float
    max_error: float
    mean_squared_error: float


@dataclass(frozen=True, slots=True)
class PairCalibration(Record):
    """The calibration of P = sigmoid((chosen - rejected) / temperature).

    Attributes:
        table: By confidence, max(P, 1 - P) in [0.5, 1]: how often the step that the scorer prefers
            is the chosen one, a tie being half. Its `expected_error` is the ECE.
        brier: Mean of (1 - P)^2, in [0, 1]; the same whichever step is named first.
        log_loss: Mean of -ln P, in nats; ln 2 is what knowing nothing gives.
        temperature: The temperature given, in the scores' unit.
    """

    table: CalibrationTable
    brier: float
    log_loss: float
    temperature: float


@dataclass(frozen=True, slots=True)
class Temperature(Record):
    """The temperature of the least log loss.

    Attributes:
        temperature: Above 0, in the scores' unit, or a limit: 0 where no pair is wrong, infinite
            where the differences do not favour the chosen steps, NaN where all differences are 0
            or there are none.
        log_loss: Mean of -ln P at that temperature, in nats; NaN where no pair counts.
        n: Pairs whose difference is finite.
        n_invalid: The others.
    """

    temperature: float
    log_loss: float
    n: int
    n_invalid: int


def calibration_table(
    predicted: ArrayLike,
    observed: ArrayLike,
    *,
    num_bins: int = 10,
    binning: Binning = "width",
    bounds: tuple[float, float] | None = None,
) -> CalibrationTable:
    """Predictions against observations of the same quantity, by bins of the prediction.

    For probabilities give outcomes in {0, 1} (or between, where they are shares) and
    `bounds=(0, 1)`; a regression's targets may be any number. O(n log n).

    Args:
        predicted: `[n]` predictions; read as float64.
        observed: `[n]` what happened, in the same unit.
        num_bins: Bins, in 1..=1,000,000.
        binning: `width`, bins of equal width over `bounds`; `mass`, bins between quantiles of the
            predictions, so that about as many rows are in each (equal predictions stay together).
        bounds: What the predictions must lie in, finite, the lower one first; None takes their
            least and greatest.

    Returns:
        The table; no row is dropped: `n + n_invalid` is the number of rows given. Without a valid
        row and without `bounds` there are no bins.

    Raises:
        ValueError: The shapes differ or are not `[n]`, `num_bins`, `binning` or `bounds` is
            none of the above, or a prediction lies outside of `bounds`.

    Example:
        >>> table = calibration_table([0.1, 0.2, 0.9], [0, 0, 1], num_bins=2, bounds=(0, 1))
        >>> [(bin.n, round(bin.mean_predicted, 2), bin.mean_observed) for bin in table.bins]
        [(2, 0.15, 0.0), (1, 0.9, 1.0)]
        >>> round(table.expected_error, 3), round(table.mean_squared_error, 3)
        (0.133, 0.02)

    Source:
        Reliability diagrams: DeGroot and Fienberg 1983, The Statistician 32. Expected calibration
        error: Naeini, Cooper and Hauskrecht 2015, AAAI. Brier 1950, Monthly Weather Review 78.
    """
    columns = columns64(predicted, observed, ("predicted", "observed"))
    return _table(_core.calibration_table(*columns, _bin_options(num_bins, binning), bounds))


def pair_calibration(
    chosen: ArrayLike,
    rejected: ArrayLike,
    *,
    temperature: float = 1.0,
    num_bins: int = 10,
    binning: Binning = "width",
) -> PairCalibration:
    """How well P = sigmoid((chosen - rejected) / temperature) says which step is better.

    A pair counts the same whichever of its steps is named first. Pairs whose difference is NaN or
    infinite are invalid: counted, and no part of the rest. O(n log n).

    Args:
        chosen: `[n]` scores of the preferred steps; read as float64.
        rejected: `[n]` scores of the steps they are compared with.
        temperature: Finite, above 0, in the scores' unit; see `fit_temperature`.
        num_bins: Bins of the confidence, in 1..=1,000,000.
        binning: As in `calibration_table`.

    Returns:
        The table by confidence, the Brier score and the log loss.

    Raises:
        ValueError: The shapes differ or are not `[n]`, or an option is none of the above.

    Example:
        >>> result = pair_calibration([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0])
        >>> round(result.log_loss, 3), round(result.brier, 3)
        (0.563, 0.188)

    Source:
        Bradley and Terry 1952, Biometrika 39 (the probability); Guo et al. 2017, "On calibration of
        modern neural networks", arXiv 1706.04599 (confidence); else as `calibration_table`.
    """
    table, brier, log_loss = _core.pair_calibration(
        columns64(chosen, rejected), temperature, _bin_options(num_bins, binning)
    )
    return PairCalibration(
        table=_table(table), brier=brier, log_loss=log_loss, temperature=temperature
    )


def fit_temperature(chosen: ArrayLike, rejected: ArrayLike) -> Temperature:
    """Fits T in P = sigmoid((chosen - rejected) / T) by maximum likelihood.

    Fit it on other pairs than those it is judged on. The loss is convex in 1 / T, and Newton's
    method, kept inside a bracket of the root, finds it. O(n) a step, about ten steps.

    Args:
        chosen: `[n]` scores of the preferred steps; read as float64.
        rejected: `[n]` scores of the steps they are compared with.

    Returns:
        The temperature, and the log loss at it.

    Raises:
        ValueError: The shapes differ or are not `[n]`.

    Example:
        Three of four are right by 1, so sigmoid(1 / T) is 3 / 4:

        >>> fit = fit_temperature([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0])
        >>> round(fit.temperature, 4), round(fit.log_loss, 4)
        (0.9102, 0.5623)

    Source:
        Guo et al. 2017, "On calibration of modern neural networks", arXiv 1706.04599, section 4.2.
    """
    return Temperature(*_core.fit_temperature(columns64(chosen, rejected)))


def _bin_options(num_bins: int, binning: str) -> tuple[int, str]:
    if not 1 <= num_bins <= _MAX_BINS:
        raise ValueError(f"num_bins must be in 1..={_MAX_BINS}, got {num_bins}")
    return num_bins, binning


def _table(table: Table) -> CalibrationTable:
    bins, (n, n_invalid), (expected_error, max_error, mean_squared_error) = table
    return CalibrationTable(
        bins=tuple(CalibrationBin(*edges, rows, *means) for edges, rows, means in bins),
        n=n,
        n_invalid=n_invalid,
        expected_error=expected_error,
        max_error=max_error,
        mean_squared_error=mean_squared_error,
    )
