//! Accuracy of pairs, its intervals, and the comparison of two scorers.

use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use similar_fast_core::metrics::{
    self, Accuracy, AccuracyOptions, BootstrapOptions, Difference, Estimate, GroupAccuracy,
    GroupComparison, Method, Ties,
};

use super::{Column, Ids, labels, pair_columns, unknown_word};
use crate::error::CoreError;

/// Two columns of one type.
#[derive(FromPyObject)]
enum Columns<'py> {
    F32(PyReadonlyArray1<'py, f32>, PyReadonlyArray1<'py, f32>),
    F64(PyReadonlyArray1<'py, f64>, PyReadonlyArray1<'py, f64>),
}

/// Four counts (valid, correct, tied, invalid pairs), and the accuracy.
type Group = ((u64, u64, u64, u64), f64);

/// Each group, overall, macro average.
type Accuracies = (Vec<Group>, Group, f64);

/// What a tie is worth, and the greatest difference that is one.
type TieOptions<'a> = (&'a str, f64);

/// Draws, level, seed, method.
type DrawOptions<'a> = (u32, f64, u64, &'a str);

/// Value, bounds, standard error, undefined draws.
type EstimateRow = (f64, (f64, f64), f64, u32);

/// Five counts, two accuracies, two p-values of `McNemar`'s test, and the difference.
type ComparisonRow = (
    (u64, u64, u64, u64, u64),
    (f64, f64),
    (f64, f64),
    DifferenceRow,
);

/// The difference, and its p-value.
type DifferenceRow = (EstimateRow, f64);

/// Accuracy of pairs.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]
#[pyo3(signature = (scores, groups, tie_options))]
fn pairwise_accuracy<'py>(
    py: Python<'py>,
    scores: Columns<'py>,
    groups: Ids<'py>,
    tie_options: TieOptions<'_>,
) -> PyResult<Accuracies> {
    let options = accuracy_options(tie_options)?;
    let (groups, count) = (groups.0.as_slice()?, groups.1);
    let result = match &scores {
        Columns::F32(chosen, rejected) => {
            let (chosen, rejected) = (chosen.as_slice()?, rejected.as_slice()?);
            py.detach(|| metrics::pairwise_accuracy(chosen, rejected, groups, count, options))
        }
        Columns::F64(chosen, rejected) => {
            let (chosen, rejected) = (chosen.as_slice()?, rejected.as_slice()?);
            py.detach(|| metrics::pairwise_accuracy(chosen, rejected, groups, count, options))
        }
    };
    Ok(accuracies(&result.map_err(CoreError::from)?))
}

/// Accuracy of pairs, then intervals of each group, of the micro and the macro average, and the number
/// of clusters.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]
#[pyo3(signature = (scores, groups, clusters, tie_options, draw_options))]
fn accuracy_intervals<'py>(
    py: Python<'py>,
    scores: (Column<'py>, Column<'py>),
    groups: Ids<'py>,
    clusters: Ids<'py>,
    tie_options: TieOptions<'_>,
    draw_options: DrawOptions<'_>,
) -> PyResult<(
    Accuracies,
    Vec<EstimateRow>,
    EstimateRow,
    EstimateRow,
    usize,
)> {
    let options = accuracy_options(tie_options)?;
    let bootstrap = bootstrap_options(draw_options)?;
    let (pairs, groups, clusters) = (pair_columns(&scores)?, labels(&groups)?, labels(&clusters)?);
    let result = py
        .detach(|| metrics::accuracy_intervals(&pairs, groups, clusters, options, bootstrap))
        .map_err(CoreError::from)?;
    Ok((
        accuracies(&result.accuracy),
        result.groups.iter().map(estimate).collect(),
        estimate(&result.micro),
        estimate(&result.macro_average),
        result.n_clusters,
    ))
}

/// Two scorers: each group, overall, (first, second, difference) of the macro averages, clusters.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    clippy::type_complexity,
    reason = "pyo3 hands arguments over by value; the tuple is named on the Python side"
)]
#[pyo3(signature = (scorers, groups, clusters, tie_options, draw_options))]
fn compare<'py>(
    py: Python<'py>,
    scorers: [(Column<'py>, Column<'py>); 2],
    groups: Ids<'py>,
    clusters: Ids<'py>,
    tie_options: TieOptions<'_>,
    draw_options: DrawOptions<'_>,
) -> PyResult<(
    Vec<ComparisonRow>,
    ComparisonRow,
    (f64, f64, DifferenceRow),
    usize,
)> {
    let options = accuracy_options(tie_options)?;
    let bootstrap = bootstrap_options(draw_options)?;
    let (first, second) = (pair_columns(&scorers[0])?, pair_columns(&scorers[1])?);
    let (groups, clusters) = (labels(&groups)?, labels(&clusters)?);
    let result = py
        .detach(|| metrics::compare([&first, &second], groups, clusters, options, bootstrap))
        .map_err(CoreError::from)?;
    let macro_difference = difference(&result.macro_difference);
    Ok((
        result.groups.iter().map(comparison).collect(),
        comparison(&result.overall),
        (result.first_macro, result.second_macro, macro_difference),
        result.n_clusters,
    ))
}

/// Two-sided p-value and mid-p-value.
#[pyfunction]
fn mcnemar(first: u64, second: u64) -> (f64, f64) {
    let result = metrics::mcnemar(first, second);
    (result.p_value, result.mid_p_value)
}

/// The bounds of Wilson's score interval.
#[pyfunction]
fn wilson(successes: f64, n: u64, level: f64) -> PyResult<(f64, f64)> {
    let interval = metrics::wilson(successes, n, level).map_err(CoreError::from)?;
    Ok((interval.low, interval.high))
}

fn accuracy_options((ties, tie_tolerance): TieOptions<'_>) -> PyResult<AccuracyOptions> {
    let ties = match ties {
        "half" => Ties::Half,
        "wrong" => Ties::Wrong,
        "exclude" => Ties::Exclude,
        _ => return Err(unknown_word("ties", "'half', 'wrong' or 'exclude'", ties)),
    };
    Ok(AccuracyOptions {
        ties,
        tie_tolerance,
    })
}

fn bootstrap_options(options: DrawOptions<'_>) -> PyResult<BootstrapOptions> {
    let (num_draws, level, seed, method) = options;
    let method = match method {
        "percentile" => Method::Percentile,
        "bca" => Method::Bca,
        _ => return Err(unknown_word("method", "'percentile' or 'bca'", method)),
    };
    Ok(BootstrapOptions {
        num_draws,
        level,
        seed,
        method,
    })
}

fn accuracies(result: &Accuracy) -> Accuracies {
    let groups = result.groups.iter().map(group).collect();
    (groups, group(&result.overall), result.macro_accuracy)
}

fn group(group: &GroupAccuracy) -> Group {
    let counts = (group.n, group.n_correct, group.n_ties, group.n_invalid);
    (counts, group.accuracy)
}

fn estimate(estimate: &Estimate) -> EstimateRow {
    let interval = estimate.interval;
    (
        estimate.value,
        (interval.low, interval.high),
        estimate.standard_error,
        estimate.n_undefined_draws,
    )
}

fn difference(difference: &Difference) -> DifferenceRow {
    (estimate(&difference.estimate), difference.p_value)
}

fn comparison(row: &GroupComparison) -> ComparisonRow {
    let counts = (
        row.n,
        row.n_invalid,
        row.n_excluded,
        row.n_first_better,
        row.n_second_better,
    );
    (
        counts,
        (row.first, row.second),
        (row.mcnemar.p_value, row.mcnemar.mid_p_value),
        difference(&row.difference),
    )
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pairwise_accuracy, module)?)?;
    module.add_function(wrap_pyfunction!(accuracy_intervals, module)?)?;
    module.add_function(wrap_pyfunction!(compare, module)?)?;
    module.add_function(wrap_pyfunction!(mcnemar, module)?)?;
    module.add_function(wrap_pyfunction!(wilson, module)?)
}
