//! `pairwise_accuracy`: arrays in, counts and accuracies out.

use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use similar_fast_core::metrics::{self, Accuracy, AccuracyOptions, GroupAccuracy, Ties};

use crate::error::CoreError;

/// Two columns of one type.
#[derive(FromPyObject)]
enum Columns<'py> {
    F32(PyReadonlyArray1<'py, f32>, PyReadonlyArray1<'py, f32>),
    F64(PyReadonlyArray1<'py, f64>, PyReadonlyArray1<'py, f64>),
}

/// Four counts (valid, correct, tied, invalid pairs), and the accuracy.
type Group = ((u64, u64, u64, u64), f64);

/// Accuracy of pairs: (each group, overall, macro average).
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]
#[pyo3(signature = (scores, groups, num_groups, ties, tie_tolerance))]
fn pairwise_accuracy<'py>(
    py: Python<'py>,
    scores: Columns<'py>,
    groups: PyReadonlyArray1<'py, u32>,
    num_groups: usize,
    ties: &str,
    tie_tolerance: f64,
) -> PyResult<(Vec<Group>, Group, f64)> {
    let options = AccuracyOptions {
        ties: parse_ties(ties)?,
        tie_tolerance,
    };
    let groups = groups.as_slice()?;
    let result = match &scores {
        Columns::F32(chosen, rejected) => {
            let (chosen, rejected) = (chosen.as_slice()?, rejected.as_slice()?);
            py.detach(|| metrics::pairwise_accuracy(chosen, rejected, groups, num_groups, options))
        }
        Columns::F64(chosen, rejected) => {
            let (chosen, rejected) = (chosen.as_slice()?, rejected.as_slice()?);
            py.detach(|| metrics::pairwise_accuracy(chosen, rejected, groups, num_groups, options))
        }
    };
    let Accuracy {
        groups,
        overall,
        macro_accuracy,
        ..
    } = result.map_err(CoreError::from)?;
    Ok((
        groups.iter().map(row).collect(),
        row(&overall),
        macro_accuracy,
    ))
}

fn parse_ties(ties: &str) -> PyResult<Ties> {
    match ties {
        "half" => Ok(Ties::Half),
        "wrong" => Ok(Ties::Wrong),
        "exclude" => Ok(Ties::Exclude),
        _ => Err(PyValueError::new_err(format!(
            "ties must be 'half', 'wrong' or 'exclude', got '{ties}'"
        ))),
    }
}

fn row(group: &GroupAccuracy) -> Group {
    let counts = (group.n, group.n_correct, group.n_ties, group.n_invalid);
    (counts, group.accuracy)
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pairwise_accuracy, module)?)
}
