//! Rank correlation, calibration and temperature.

use pyo3::prelude::*;
use similar_fast_core::metrics::{self, Binning, Bins, CalibrationTable, GroupCorrelation};

use super::{Column, Ids, labels, pair_columns, unknown_word};
use crate::error::CoreError;

/// Valid and invalid rows, Spearman's rho, Kendall's tau-b.
type Correlation = (u64, u64, f64, f64);

/// How many bins, and where they lie.
type BinOptions<'a> = (u32, &'a str);

/// Edges, rows, means of prediction and observation.
type BinRow = ((f64, f64), u64, (f64, f64));

/// Bins, (valid, invalid) rows, (expected, greatest, mean squared) error.
type Table = (Vec<BinRow>, (u64, u64), (f64, f64, f64));

/// Rank correlation: each group, overall, macro averages.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]
fn rank_correlation<'py>(
    py: Python<'py>,
    x: Column<'py>,
    y: Column<'py>,
    groups: Ids<'py>,
) -> PyResult<(Vec<Correlation>, Correlation, (f64, f64))> {
    let (x, y, groups) = (x.as_slice()?, y.as_slice()?, labels(&groups)?);
    let result = py
        .detach(|| metrics::rank_correlation(x, y, groups))
        .map_err(CoreError::from)?;
    let row = |group: &GroupCorrelation| (group.n, group.n_invalid, group.spearman, group.kendall);
    Ok((
        result.groups.iter().map(row).collect(),
        row(&result.overall),
        (result.macro_spearman, result.macro_kendall),
    ))
}

/// Predictions against observations.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]
#[pyo3(signature = (predicted, observed, bin_options, bounds))]
fn calibration_table<'py>(
    py: Python<'py>,
    predicted: Column<'py>,
    observed: Column<'py>,
    bin_options: BinOptions<'_>,
    bounds: Option<(f64, f64)>,
) -> PyResult<Table> {
    let bins = bins(bin_options)?;
    let (predicted, observed) = (predicted.as_slice()?, observed.as_slice()?);
    let result = py
        .detach(|| metrics::calibration_table(predicted, observed, bins, bounds))
        .map_err(CoreError::from)?;
    Ok(table(&result))
}

/// Calibration of pairs: table by confidence, Brier score, log loss.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]
fn pair_calibration<'py>(
    py: Python<'py>,
    scores: (Column<'py>, Column<'py>),
    temperature: f64,
    bin_options: BinOptions<'_>,
) -> PyResult<(Table, f64, f64)> {
    let (pairs, bins) = (pair_columns(&scores)?, bins(bin_options)?);
    let result = py
        .detach(|| metrics::pair_calibration(&pairs, temperature, bins))
        .map_err(CoreError::from)?;
    Ok((table(&result.table), result.brier, result.log_loss))
}

/// Temperature, log loss, valid and invalid pairs.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]
fn fit_temperature<'py>(
    py: Python<'py>,
    scores: (Column<'py>, Column<'py>),
) -> PyResult<(f64, f64, u64, u64)> {
    let pairs = pair_columns(&scores)?;
    let fit = py
        .detach(|| metrics::fit_temperature(&pairs))
        .map_err(CoreError::from)?;
    Ok((fit.temperature, fit.log_loss, fit.n, fit.n_invalid))
}

fn bins((count, binning): BinOptions<'_>) -> PyResult<Bins> {
    let binning = match binning {
        "width" => Binning::Width,
        "mass" => Binning::Mass,
        _ => return Err(unknown_word("binning", "'width' or 'mass'", binning)),
    };
    Ok(Bins { count, binning })
}

fn table(table: &CalibrationTable) -> Table {
    let bins = table.bins.iter().map(|bin| {
        let edges = (bin.low, bin.high);
        (edges, bin.n, (bin.mean_predicted, bin.mean_observed))
    });
    let errors = (
        table.expected_error,
        table.max_error,
        table.mean_squared_error,
    );
    (bins.collect(), (table.n, table.n_invalid), errors)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(rank_correlation, module)?)?;
    module.add_function(wrap_pyfunction!(calibration_table, module)?)?;
    module.add_function(wrap_pyfunction!(pair_calibration, module)?)?;
    module.add_function(wrap_pyfunction!(fit_temperature, module)?)
}
