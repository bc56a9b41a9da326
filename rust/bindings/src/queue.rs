//! `Batcher`: ids and sizes in, batches of ids out.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use similar_fast_core::batcher::Batcher;
use similar_fast_core::queue::{Entry, Limits};

use crate::error::CoreError;

/// A batching queue; any number of threads push, a worker takes. Seconds in, ids out.
#[pyclass(frozen, module = "similar_fast._core", name = "Batcher")]
struct PyBatcher(Batcher);

#[pymethods]
impl PyBatcher {
    #[new]
    #[pyo3(signature = (max_batch_size, max_batch_tokens, max_wait_s, capacity))]
    fn new(
        max_batch_size: usize,
        max_batch_tokens: Option<u64>,
        max_wait_s: f64,
        capacity: usize,
    ) -> PyResult<Self> {
        let limits = Limits {
            max_batch_size,
            max_batch_tokens,
            max_wait: seconds("max_wait_s", max_wait_s)?,
            capacity,
        };
        Ok(Self(Batcher::new(limits).map_err(CoreError::from)?))
    }

    /// Pushes all entries without waiting, or none.
    fn push(&self, py: Python<'_>, ids: Vec<u64>, tokens: Vec<u32>) -> PyResult<()> {
        let entries = entries(ids, tokens)?;
        Ok(py
            .detach(|| self.0.push(&entries))
            .map_err(CoreError::from)?)
    }

    /// Waits for room, pushes the first entries that fit, and returns how many these are.
    fn push_some(
        &self,
        py: Python<'_>,
        ids: Vec<u64>,
        tokens: Vec<u32>,
        timeout_s: f64,
    ) -> PyResult<usize> {
        let entries = entries(ids, tokens)?;
        let timeout = seconds("timeout_s", timeout_s)?;
        Ok(py
            .detach(|| self.0.push_some(&entries, timeout))
            .map_err(CoreError::from)?)
    }

    /// The next batch; empty at the timeout, None once closed and drained.
    #[pyo3(signature = (timeout_s=None))]
    fn take(&self, py: Python<'_>, timeout_s: Option<f64>) -> PyResult<Option<Vec<u64>>> {
        let timeout = timeout_s.map(|s| seconds("timeout_s", s)).transpose()?;
        Ok(py.detach(|| self.0.take(timeout)))
    }

    /// Removes those ids that still wait, and returns how many these were.
    fn cancel(&self, py: Python<'_>, ids: Vec<u64>) -> usize {
        py.detach(move || self.0.cancel(&ids))
    }

    /// Refuses later pushes; what waits is handed out at once.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.0.len())
    }
}

fn entries(ids: Vec<u64>, tokens: Vec<u32>) -> PyResult<Vec<Entry>> {
    if ids.len() != tokens.len() {
        return Err(PyValueError::new_err(format!(
            "tokens must be as long as ids, got {} against {}",
            tokens.len(),
            ids.len()
        )));
    }
    let pairs = ids.into_iter().zip(tokens);
    Ok(pairs.map(|(id, tokens)| Entry { id, tokens }).collect())
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| {
        PyValueError::new_err(format!(
            "{name} must be finite seconds, at least 0, got {value}"
        ))
    })
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyBatcher>()
}
