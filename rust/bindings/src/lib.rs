//! `similar_fast._core`: converts, detaches from the interpreter, calls the core, wraps.

mod adaptive;
mod columns;
mod error;
mod metrics;
mod prefix;
mod queue;
mod search;
mod settings;

use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", similar_fast_core::VERSION)?;
    error::register(module)?;
    metrics::register(module)?;
    prefix::register(module)?;
    queue::register(module)?;
    module.add_class::<adaptive::PyAdaptiveSearch>()?;
    module.add_class::<search::PyTreeSearch>()
}
