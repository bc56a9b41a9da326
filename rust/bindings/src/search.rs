//! `TreeSearch` for Python: columns in, columns out, the interpreter free while the core works.

use std::sync::{Mutex, MutexGuard};

use numpy::{IntoPyArray, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use similar_fast_core::Error;
use similar_fast_core::search::{CandidateColumns, Candidates, Leaves, Told, TreeSearch};

use crate::columns::{Column, column, copied, leaf_ids, node_or_minus_one};
use crate::error::CoreError;
use crate::settings::{Settings, count};

/// ids, parents, actions, depths, multiplicities, `wants_candidates`, completed inside.
type LeafColumns<'py> = (
    Column<'py, i64>,
    Column<'py, i64>,
    Column<'py, i32>,
    Column<'py, i32>,
    Column<'py, i32>,
    Column<'py, bool>,
    u32,
);
/// visits, in flight, values, priors, children, states, solved.
type NodeColumns<'py> = (
    Column<'py, i64>,
    Column<'py, i64>,
    Column<'py, f32>,
    Column<'py, f32>,
    Column<'py, i64>,
    Column<'py, u8>,
    Column<'py, bool>,
);
type Floats<'py> = Option<PyReadonlyArray1<'py, f32>>;

/// The candidates of a root: count, priors, first values, their weights, key.
type Root<'py> = (i64, Floats<'py>, Floats<'py>, Floats<'py>, u64);

/// A root's candidates, copied out of numpy.
struct OwnedRoot {
    count: usize,
    priors: Option<Vec<f32>>,
    first_values: Option<Vec<f32>>,
    first_weights: Option<Vec<f32>>,
    key: u64,
}

impl OwnedRoot {
    fn of((count, priors, first_values, first_weights, key): Root<'_>) -> Self {
        Self {
            count: count.max(0) as usize,
            priors: copied(priors),
            first_values: copied(first_values),
            first_weights: copied(first_weights),
            key,
        }
    }

    fn view(&self) -> Candidates<'_> {
        Candidates {
            count: self.count,
            priors: self.priors.as_deref(),
            first_values: self.first_values.as_deref(),
            first_weights: self.first_weights.as_deref(),
            key: self.key,
        }
    }
}

/// A search tree with open leaves; see `similar_fast.tree.search.TreeSearch`.
#[pyclass(frozen, name = "TreeSearch", module = "similar_fast._core")]
pub(crate) struct PyTreeSearch {
    search: Mutex<TreeSearch>,
}

impl PyTreeSearch {
    fn lock(&self) -> MutexGuard<'_, TreeSearch> {
        self.search
            .lock()
            .expect("a panic left the search half changed. This is a bug.")
    }
}

#[pymethods]
#[allow(clippy::needless_pass_by_value)] // pyo3 hands arguments over by value
impl PyTreeSearch {
    #[new]
    fn new(settings: Settings, root: Root<'_>) -> Result<Self, CoreError> {
        let config = settings.config()?;
        let root = OwnedRoot::of(root);
        Ok(Self {
            search: Mutex::new(TreeSearch::new(config, root.view())?),
        })
    }

    /// A saved search, and the caller's own bytes.
    #[staticmethod]
    fn load<'py>(py: Python<'py>, file: &[u8]) -> Result<(Self, Bound<'py, PyBytes>), CoreError> {
        let file = file.to_vec();
        let (search, extra) = py.detach(|| TreeSearch::load(&file))?;
        let search = Self {
            search: Mutex::new(search),
        };
        Ok((search, PyBytes::new(py, &extra)))
    }

    fn save<'py>(&self, py: Python<'py>, extra: &[u8]) -> Bound<'py, PyBytes> {
        let extra = extra.to_vec();
        let file = py.detach(|| self.lock().save(&extra));
        PyBytes::new(py, &file)
    }

    #[pyo3(signature = (noise, num_simulations))]
    fn plan(
        &self,
        py: Python<'_>,
        noise: Floats<'_>,
        num_simulations: i64,
    ) -> Result<(), CoreError> {
        let noise = copied(noise);
        let num_simulations = count(num_simulations);
        Ok(py.detach(|| self.lock().plan(noise.as_deref(), num_simulations))?)
    }

    fn ask<'py>(
        &self,
        py: Python<'py>,
        num_simulations: i64,
    ) -> Result<LeafColumns<'py>, CoreError> {
        let leaves = py.detach(|| self.lock().ask(count(num_simulations)))?;
        Ok(leaf_columns(py, leaves))
    }

    fn ask_edge<'py>(
        &self,
        py: Python<'py>,
        node: i64,
        action: i64,
    ) -> Result<LeafColumns<'py>, CoreError> {
        let action = u32::try_from(action).unwrap_or(u32::MAX);
        let leaves = py.detach(|| {
            let mut search = self.lock();
            let node = node_id(&search, node)?;
            search.ask_edge(node, action)
        })?;
        Ok(leaf_columns(py, leaves))
    }

    #[pyo3(signature = (ids, values, *, weights, terminal, counts, priors, first_values, first_weights, keys))]
    #[allow(clippy::too_many_arguments)] // the keyword arguments of a Python method
    fn tell<'py>(
        &self,
        py: Python<'py>,
        ids: PyReadonlyArray1<'py, i64>,
        values: PyReadonlyArray1<'py, f32>,
        weights: Floats<'py>,
        terminal: Option<PyReadonlyArray1<'py, bool>>,
        counts: Option<PyReadonlyArray1<'py, i32>>,
        priors: Floats<'py>,
        first_values: Floats<'py>,
        first_weights: Floats<'py>,
        keys: Option<PyReadonlyArray1<'py, u64>>,
    ) -> Result<Column<'py, i64>, CoreError> {
        // Copies, because other threads may write into the arrays while this one is detached.
        let ids = leaf_ids(&ids);
        let values = values.as_array().to_vec();
        let (terminal, counts, keys) = (copied(terminal), copied(counts), copied(keys));
        let (weights, priors) = (copied(weights), copied(priors));
        let (first_values, first_weights) = (copied(first_values), copied(first_weights));
        let nodes = py.detach(|| {
            self.lock().tell(Told {
                ids: &ids,
                values: &values,
                weights: weights.as_deref(),
                terminal: terminal.as_deref(),
                candidates: CandidateColumns {
                    counts: counts.as_deref(),
                    priors: priors.as_deref(),
                    first_values: first_values.as_deref(),
                    first_weights: first_weights.as_deref(),
                    keys: keys.as_deref(),
                },
            })
        })?;
        Ok(column(py, nodes, node_or_minus_one))
    }

    /// Leaf ids and the nodes that they became when their round was applied.
    fn settled(&self, py: Python<'_>) -> Vec<(u64, u32)> {
        py.detach(|| self.lock().settled())
    }

    fn fail(&self, py: Python<'_>, ids: PyReadonlyArray1<'_, i64>) -> Result<(), CoreError> {
        let ids = leaf_ids(&ids);
        Ok(py.detach(|| self.lock().fail(&ids))?)
    }

    #[pyo3(signature = (action, root))]
    fn advance<'py>(
        &self,
        py: Python<'py>,
        action: i64,
        root: Option<Root<'py>>,
    ) -> Result<Column<'py, i64>, CoreError> {
        let action = u32::try_from(action).map_err(|_| Error::InvalidArgument {
            name: "action",
            expected: "an index of the root's candidates",
            found: action.to_string(),
        })?;
        let root = root.map(OwnedRoot::of);
        let candidates = root.as_ref().map(OwnedRoot::view);
        let kept = py.detach(|| self.lock().advance(action, candidates))?;
        Ok(column(py, kept, i64::from))
    }

    #[pyo3(signature = (weights))]
    fn reweight(&self, py: Python<'_>, weights: Option<Vec<f32>>) -> Result<(), CoreError> {
        Ok(py.detach(|| self.lock().reweight(weights.as_deref()))?)
    }

    /// What a node's edges were told, flat.
    fn told<'py>(&self, py: Python<'py>, node: i64) -> Result<Column<'py, f32>, CoreError> {
        let told = py.detach(|| {
            let search = self.lock();
            search.told(node_id(&search, node)?)
        })?;
        Ok(told.into_pyarray(py))
    }

    /// The nodes of some keys, -1 where there is none.
    fn find<'py>(&self, py: Python<'py>, keys: PyReadonlyArray1<'py, u64>) -> Column<'py, i64> {
        let keys = keys.as_array().to_vec();
        let nodes = py.detach(|| {
            let search = self.lock();
            let nodes = keys.iter().map(|&key| search.node_of_key(key));
            nodes.collect::<Vec<_>>()
        });
        column(py, nodes, node_or_minus_one)
    }

    fn edges<'py>(&self, py: Python<'py>, node: i64) -> Result<NodeColumns<'py>, CoreError> {
        let edges = py.detach(|| {
            let search = self.lock();
            search.edges(node_id(&search, node)?)
        })?;
        Ok((
            column(py, edges.visits, i64::from),
            column(py, edges.in_flight, i64::from),
            edges.values.into_pyarray(py),
            edges.priors.into_pyarray(py),
            column(py, edges.children, node_or_minus_one),
            column(py, edges.states, |state| state as u8),
            edges.solved.into_pyarray(py),
        ))
    }

    /// (node above, action, depth); (-1, -1, 0) for the root.
    fn place(&self, py: Python<'_>, node: i64) -> Result<(i64, i64, u32), CoreError> {
        let place = py.detach(|| {
            let search = self.lock();
            search.place(node_id(&search, node)?)
        })?;
        let parent = place
            .parent
            .map(|(above, action)| (above.into(), action.into()));
        let (above, action) = parent.unwrap_or((-1, -1));
        Ok((above, action, place.depth))
    }

    /// The nodes from the root down to above `node`, and the action taken at each.
    fn path(&self, py: Python<'_>, node: i64) -> Result<(Vec<u32>, Vec<u32>), CoreError> {
        Ok(py.detach(|| {
            let search = self.lock();
            search.path(node_id(&search, node)?)
        })?)
    }

    fn best_action(&self, py: Python<'_>) -> u32 {
        py.detach(|| self.lock().best_action())
    }

    /// The nodes from the root on, and the action taken at each.
    fn principal_variation(&self, py: Python<'_>) -> (Vec<u32>, Vec<u32>) {
        py.detach(|| self.lock().principal_variation())
    }

    fn is_decided(&self, py: Python<'_>, num_simulations: i64) -> bool {
        py.detach(|| self.lock().is_decided(num_simulations.max(0) as u64))
    }

    #[getter]
    fn is_exhausted(&self, py: Python<'_>) -> bool {
        py.detach(|| self.lock().is_exhausted())
    }

    #[getter]
    fn is_full(&self, py: Python<'_>) -> bool {
        py.detach(|| self.lock().is_full())
    }

    #[getter]
    fn num_open(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().num_open())
    }

    #[getter]
    fn num_simulations(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.lock().num_simulations())
    }

    #[getter]
    fn in_flight(&self, py: Python<'_>) -> u32 {
        py.detach(|| self.lock().in_flight())
    }

    #[getter]
    fn num_parked(&self, py: Python<'_>) -> u32 {
        py.detach(|| self.lock().num_parked())
    }

    #[getter]
    fn num_nodes(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().num_nodes())
    }

    #[getter]
    fn nbytes(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().nbytes())
    }

    #[getter]
    fn root(&self, py: Python<'_>) -> u32 {
        py.detach(|| self.lock().root())
    }
}

/// A Python integer as a node id.
fn node_id(search: &TreeSearch, node: i64) -> Result<u32, Error> {
    u32::try_from(node).map_err(|_| Error::UnknownNode {
        node,
        num_nodes: search.num_nodes(),
    })
}

fn leaf_columns(py: Python<'_>, leaves: Leaves) -> LeafColumns<'_> {
    (
        column(py, leaves.ids, |id| id as i64),
        column(py, leaves.parents, i64::from),
        column(py, leaves.actions, |action| action as i32),
        column(py, leaves.depths, |depth| depth as i32),
        column(py, leaves.multiplicities, |visits| visits as i32),
        leaves.wants_candidates.into_pyarray(py),
        leaves.num_completed,
    )
}
