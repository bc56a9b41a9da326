//! Rows of sequences that begin alike, positions of prompts with pictures, and known beginnings.

use std::sync::{Mutex, MutexGuard};

use numpy::{IntoPyArray, PyArray2, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use similar_fast_core::prefix::{
    self, Attention, Images, IndexStats, Pack, PackOptions, PrefixIndex, Tokens,
};

use crate::columns::{Column, unknown_name};
use crate::error::CoreError;

/// `[T]` ids, `[T]` keys or none, `[A * T]` positions.
type TokenColumns<'py> = (
    PyReadonlyArray1<'py, i64>,
    PyReadonlyArray1<'py, u64>,
    PyReadonlyArray1<'py, i64>,
);

/// Past, most tokens of a row, "causal" or "block".
type Options<'a> = (usize, usize, &'a str);

type Table<'py, T> = Bound<'py, PyArray2<T>>;

/// Ids, positions, mask, where the scores stand, whose they are.
type Row<'py> = (
    Column<'py, i64>,
    Table<'py, i64>,
    Table<'py, bool>,
    Column<'py, i64>,
    Column<'py, i64>,
);

/// (Entries, bytes, capacity), (hits, partial hits, misses, evictions).
type Stats = ((usize, u64, u64), (u64, u64, u64, u64));

/// Sequences of these lengths as rows.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]
fn pack<'py>(
    py: Python<'py>,
    tokens: TokenColumns<'py>,
    lengths: Vec<usize>,
    options: Options<'_>,
) -> PyResult<Vec<Row<'py>>> {
    let columns = Tokens {
        ids: tokens.0.as_slice()?,
        keys: tokens.1.as_slice()?,
        positions: tokens.2.as_slice()?,
    };
    let (past, max_tokens, attention) = options;
    let options = PackOptions {
        past,
        max_tokens,
        attention: attention_of(attention)?,
    };
    let packs = py
        .detach(|| prefix::pack(&columns, &lengths, options))
        .map_err(CoreError::from)?;
    packs.into_iter().map(|pack| row(py, pack, past)).collect()
}

/// Positions `[3, n]` of the tokens, and of what follows.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]
fn rope_positions<'py>(
    py: Python<'py>,
    ids: PyReadonlyArray1<'py, i64>,
    image_token: i64,
    grids: Vec<[i64; 3]>,
    merge_size: i64,
    start: i64,
) -> PyResult<(Table<'py, i64>, i64)> {
    let ids = ids.as_slice()?;
    let images = Images {
        token: image_token,
        grids: &grids,
        merge_size,
    };
    let (positions, next) = py
        .detach(|| prefix::rope_positions(ids, &images, start))
        .map_err(CoreError::from)?;
    let positions = positions.into_pyarray(py).reshape([3, ids.len()])?;
    Ok((positions, next))
}

/// Which cached entries begin alike. Bytes and tokens in, entry ids out.
#[pyclass(frozen, module = "similar_fast._core", name = "PrefixIndex")]
struct PyPrefixIndex(Mutex<PrefixIndex>);

#[pymethods]
#[expect(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments over by value"
)]
impl PyPrefixIndex {
    #[new]
    fn new(capacity_bytes: u64) -> Self {
        Self(Mutex::new(PrefixIndex::new(capacity_bytes)))
    }

    /// (entry or None, evicted entries).
    fn insert(
        &self,
        py: Python<'_>,
        ids: PyReadonlyArray1<'_, i64>,
        keys: PyReadonlyArray1<'_, u64>,
        nbytes: u64,
    ) -> PyResult<(Option<u64>, Vec<u64>)> {
        let (ids, keys) = (ids.as_slice()?, keys.as_slice()?);
        let inserted = py
            .detach(|| self.lock().insert(ids, keys, nbytes))
            .map_err(CoreError::from)?;
        Ok((inserted.entry, inserted.evicted))
    }

    /// (entry, tokens shared), or None.
    fn find(
        &self,
        py: Python<'_>,
        ids: PyReadonlyArray1<'_, i64>,
        keys: PyReadonlyArray1<'_, u64>,
    ) -> PyResult<Option<(u64, usize)>> {
        let (ids, keys) = (ids.as_slice()?, keys.as_slice()?);
        let found = py
            .detach(|| self.lock().find(ids, keys))
            .map_err(CoreError::from)?;
        Ok(found.map(|found| (found.entry, found.shared)))
    }

    fn clear(&self, py: Python<'_>) {
        py.detach(|| self.lock().clear());
    }

    /// What it holds and how often it helped.
    fn stats(&self, py: Python<'_>) -> Stats {
        let IndexStats {
            entries,
            nbytes,
            capacity_bytes,
            hits,
            partial_hits,
            misses,
            evictions,
        } = py.detach(|| self.lock().stats());
        (
            (entries, nbytes, capacity_bytes),
            (hits, partial_hits, misses, evictions),
        )
    }
}

impl PyPrefixIndex {
    fn lock(&self) -> MutexGuard<'_, PrefixIndex> {
        self.0
            .lock()
            .expect("a panic left the index half changed. This is a bug.")
    }
}

fn attention_of(name: &str) -> Result<Attention, CoreError> {
    match name {
        "causal" => Ok(Attention::Causal),
        "block" => Ok(Attention::Block),
        _ => Err(unknown_name("attention", "\"causal\" or \"block\"", name).into()),
    }
}

fn row(py: Python<'_>, pack: Pack, past: usize) -> PyResult<Row<'_>> {
    let size = pack.input_ids.len();
    let axes = pack.positions.len() / size;
    Ok((
        pack.input_ids.into_pyarray(py),
        pack.positions.into_pyarray(py).reshape([axes, size])?,
        pack.mask.into_pyarray(py).reshape([size, past + size])?,
        pack.score_index.into_pyarray(py),
        pack.sequences.into_pyarray(py),
    ))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pack, module)?)?;
    module.add_function(wrap_pyfunction!(rope_positions, module)?)?;
    module.add_class::<PyPrefixIndex>()
}
