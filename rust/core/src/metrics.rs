//! What scores are worth: accuracy of pairs, its uncertainty, rank correlation and calibration.
//!
//! Every row is counted: one that cannot be used (a NaN, an infinity) is *invalid*, never dropped in
//! silence. Rows carry ids: a *group* is what a figure is reported for, a *cluster* is what was
//! sampled as a whole, such as a task with all its pairs. Seeds are arguments.

mod accuracy;
mod bootstrap;
mod calibration;
mod columns;
mod comparison;
mod correlation;
mod interval;
mod quantile;
mod random;
mod resampling;
mod temperature;

pub use accuracy::{Accuracy, AccuracyOptions, GroupAccuracy, Ties, pairwise_accuracy};
pub use bootstrap::{AccuracyIntervals, accuracy_intervals};
pub use calibration::{
    Bin, Binning, Bins, CalibrationTable, PairCalibration, calibration_table, pair_calibration,
};
pub use columns::{Labels, PairColumns};
pub use comparison::{Difference, GroupComparison, Mcnemar, PairedComparison, compare, mcnemar};
pub use correlation::{Correlations, GroupCorrelation, rank_correlation};
pub use interval::{Interval, wilson};
pub use resampling::{BootstrapOptions, Estimate, Method};
pub use temperature::{TemperatureFit, fit_temperature};
