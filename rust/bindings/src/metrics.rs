//! The metrics: arrays in, plain numbers out.

mod calibration;
mod pairs;

use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use similar_fast_core::metrics::{Labels, PairColumns};

/// A float64 column.
type Column<'py> = PyReadonlyArray1<'py, f64>;

/// `[n]` ids, and how many there are.
type Ids<'py> = (PyReadonlyArray1<'py, u32>, usize);

fn labels<'a>(ids: &'a Ids<'_>) -> PyResult<Labels<'a>> {
    Ok(Labels {
        ids: ids.0.as_slice()?,
        count: ids.1,
    })
}

fn pair_columns<'a>(scores: &'a (Column<'_>, Column<'_>)) -> PyResult<PairColumns<'a, f64>> {
    Ok(PairColumns {
        chosen: scores.0.as_slice()?,
        rejected: scores.1.as_slice()?,
    })
}

fn unknown_word(name: &str, expected: &str, found: &str) -> PyErr {
    PyValueError::new_err(format!("{name} must be {expected}, got '{found}'"))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    pairs::register(module)?;
    calibration::register(module)
}
