//! `similar_fast._core`: converts, detaches from the interpreter, calls the core, wraps.

mod error;
mod search;

use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", similar_fast_core::VERSION)?;
    error::register(module)?;
    module.add_class::<search::PyTreeSearch>()
}
