//! Columns on their way between numpy and the core, for every module here.

use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use similar_fast_core::Error;
use similar_fast_core::search::Normalize;

pub(crate) type Column<'py, T> = Bound<'py, PyArray1<T>>;

/// `None`, "minmax" or (low, high).
#[derive(FromPyObject)]
pub(crate) enum Scale {
    Name(String),
    Range(f32, f32),
}

pub(crate) fn node_or_minus_one(node: Option<u32>) -> i64 {
    node.map_or(-1, i64::from)
}

pub(crate) fn leaf_ids(ids: &PyReadonlyArray1<'_, i64>) -> Vec<u64> {
    ids.as_array().iter().map(|&id| id as u64).collect()
}

pub(crate) fn copied<T: Element + Copy>(array: Option<PyReadonlyArray1<'_, T>>) -> Option<Vec<T>> {
    array.map(|array| array.as_array().to_vec())
}

pub(crate) fn column<T, U: Element>(
    py: Python<'_>,
    values: Vec<T>,
    as_numpy: impl Fn(T) -> U,
) -> Column<'_, U> {
    let converted: Vec<U> = values.into_iter().map(as_numpy).collect();
    converted.into_pyarray(py)
}

pub(crate) fn normalize_of(scale: Option<Scale>) -> Result<Normalize, Error> {
    match scale {
        None => Ok(Normalize::None),
        Some(Scale::Range(low, high)) => Ok(Normalize::Range { low, high }),
        Some(Scale::Name(name)) if name == "minmax" => Ok(Normalize::MinMax),
        Some(Scale::Name(name)) => Err(unknown_name(
            "normalize",
            "\"minmax\", a range (low, high) or None",
            &name,
        )),
    }
}

pub(crate) fn unknown_name(name: &'static str, expected: &'static str, found: &str) -> Error {
    Error::InvalidArgument {
        name,
        expected,
        found: format!("{found:?}"),
    }
}
