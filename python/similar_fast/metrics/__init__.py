"""What scores are worth: accuracy of pairs, its uncertainty, rank correlation and calibration."""

from similar_fast.metrics.calibration import (
    Binning,
    CalibrationBin,
    CalibrationTable,
    PairCalibration,
    Temperature,
    calibration_table,
    fit_temperature,
    pair_calibration,
)
from similar_fast.metrics.comparison import (
    Difference,
    GroupComparison,
    Mcnemar,
    PairedComparison,
    compare,
    mcnemar,
)
from similar_fast.metrics.correlation import GroupCorrelation, RankCorrelation, rank_correlation
from similar_fast.metrics.intervals import (
    AccuracyIntervals,
    Estimate,
    Interval,
    IntervalMethod,
    accuracy_intervals,
    wilson_interval,
)
from similar_fast.metrics.pairs import Accuracy, GroupAccuracy, TieRule, accuracy
from similar_fast.metrics.record import Record

__all__ = [
    "Accuracy",
    "AccuracyIntervals",
    "Binning",
    "CalibrationBin",
    "CalibrationTable",
    "Difference",
    "Estimate",
    "GroupAccuracy",
    "GroupComparison",
    "GroupCorrelation",
    "Interval",
    "IntervalMethod",
    "Mcnemar",
    "PairCalibration",
    "PairedComparison",
    "RankCorrelation",
    "Record",
    "Temperature",
    "TieRule",
    "accuracy",
    "accuracy_intervals",
    "calibration_table",
    "compare",
    "fit_temperature",
    "mcnemar",
    "pair_calibration",
    "rank_correlation",
    "wilson_interval",
]
