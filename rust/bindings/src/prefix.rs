//! Packing, positions and the index of prefixes: arrays in, arrays out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::prelude::*;
use similar_fast_core::prefix::{
    Attention, Images, Pack, PackOptions, PrefixIndex, Tokens, pack, rope_positions,
};

use crate::columns::unknown_name;
use crate::error::CoreError;

type Column<'py> = PyReadonlyArray1<'py, i64>;
type Keys<'py> = PyReadonlyArray1<'py, u64>;

/// input_ids, positions, mask, score_index, sequences.
type Row<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray2<i64>>,
    Bound<'py, PyArray2<bool>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
);

#[pyfunction]
#[pyo3(name = "pack", signature = (ids, positions, lengths, *, past, max_tokens, attention))]
fn py_pack<'py>(
    py: Python<'py>,
    ids: Column<'py>,
    positions: Column<'py>,
    lengths: Vec<usize>,
    past: usize,
    max_tokens: usize,
    attention: &str,
) -> PyResult<Vec<Row<'py>>> {
    let attention = match attention {
        "causal" => Attention::Causal,
        "block" => Attention::Block,
        other => {
            let error = unknown_name("attention", "\"causal\" or \"block\"", other);
            return Err(CoreError::from(error).into());
        }
    };
    let tokens = Tokens {
        ids: ids.as_slice()?,
        keys: &[],
        positions: positions.as_slice()?,
    };
    let options = PackOptions {
        past,
        max_tokens,
        attention,
    };
    let packs = py
        .detach(|| pack(&tokens, &lengths, options))
        .map_err(CoreError::from)?;
    packs
        .into_iter()
        .map(|row| row_of(py, row, past))
        .collect()
}

fn row_of(py: Python<'_>, pack: Pack, past: usize) -> PyResult<Row<'_>> {
    let size = pack.input_ids.len();
    let axes = pack.positions.len() / size;
    Ok((
        pack.input_ids.into_pyarray(py),
        table(py, (axes, size), pack.positions),
        table(py, (size, past + size), pack.mask),
        pack.score_index.into_pyarray(py),
        pack.sequences.into_pyarray(py),
    ))
}

fn table<T: numpy::Element>(
    py: Python<'_>,
    shape: (usize, usize),
    values: Vec<T>,
) -> Bound<'_, PyArray2<T>> {
    Array2::from_shape_vec(shape, values)
        .expect("the core's rows are whole. This is a bug.")
        .into_pyarray(py)
}

#[pyfunction]
#[pyo3(name = "rope_positions", signature = (ids, *, image_token, grids, merge_size, start))]
fn py_rope_positions<'py>(
    py: Python<'py>,
    ids: Column<'py>,
    image_token: i64,
    grids: Vec<[i64; 3]>,
    merge_size: i64,
    start: i64,
) -> PyResult<(Bound<'py, PyArray2<i64>>, i64)> {
    let images = Images {
        token: image_token,
        grids: &grids,
        merge_size,
    };
    let ids = ids.as_slice()?;
    let (positions, next) = py
        .detach(|| rope_positions(ids, &images, start))
        .map_err(CoreError::from)?;
    Ok((table(py, (3, ids.len()), positions), next))
}

/// The index behind `similar_fast.prefix.PrefixIndex`.
#[pyclass(name = "PrefixIndex", module = "similar_fast._core", frozen)]
struct PyPrefixIndex(Mutex<PrefixIndex>);

impl PyPrefixIndex {
    fn lock(&self) -> MutexGuard<'_, PrefixIndex> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl PyPrefixIndex {
    #[new]
    fn new(capacity_bytes: u64) -> Self {
        Self(Mutex::new(PrefixIndex::new(capacity_bytes)))
    }

    fn insert(
        &self,
        py: Python<'_>,
        ids: Column<'_>,
        keys: Keys<'_>,
        nbytes: u64,
    ) -> PyResult<(Option<u64>, Vec<u64>)> {
        let (ids, keys) = (ids.as_slice()?, keys.as_slice()?);
        let inserted = py
            .detach(|| self.lock().insert(ids, keys, nbytes))
            .map_err(CoreError::from)?;
        Ok((inserted.entry, inserted.evicted))
    }

    fn find(
        &self,
        py: Python<'_>,
        ids: Column<'_>,
        keys: Keys<'_>,
    ) -> PyResult<Option<(u64, usize)>> {
        let (ids, keys) = (ids.as_slice()?, keys.as_slice()?);
        let found = py
            .detach(|| self.lock().find(ids, keys))
            .map_err(CoreError::from)?;
        Ok(found.map(|found| (found.entry, found.shared)))
    }

    fn clear(&self) {
        self.lock().clear();
    }

    /// entries, nbytes, capacity_bytes, hits, partial_hits, misses, evictions.
    fn stats(&self) -> (usize, u64, u64, u64, u64, u64, u64) {
        let index = self.lock();
        let stats = index.stats();
        (
            stats.entries,
            stats.nbytes,
            index.capacity_bytes(),
            stats.hits,
            stats.partial_hits,
            stats.misses,
            stats.evictions,
        )
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(py_pack, module)?)?;
    module.add_function(wrap_pyfunction!(py_rope_positions, module)?)?;
    module.add_class::<PyPrefixIndex>()
}
