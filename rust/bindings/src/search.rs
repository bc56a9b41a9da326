//! `TreeSearch` for Python: columns in, columns out, the interpreter free while the core works.

use std::sync::{Mutex, MutexGuard};

use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use similar_fast_core::Error;
use similar_fast_core::search::{
    Backup, CandidateColumns, Candidates, Config, Fpu, Leaves, Normalize, Policy, Told, TreeSearch,
};

use crate::error::CoreError;

type Column<'py, T> = Bound<'py, PyArray1<T>>;
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
/// visits, in flight, values, priors, children, states.
type NodeColumns<'py> = (
    Column<'py, i64>,
    Column<'py, i64>,
    Column<'py, f32>,
    Column<'py, f32>,
    Column<'py, i64>,
    Column<'py, u8>,
);

/// `None`, "minmax" or (low, high).
#[derive(FromPyObject)]
enum Scale {
    Name(String),
    Range(f32, f32),
}

/// A search tree with open leaves; see `similar_fast.tree_search.TreeSearch`.
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
    #[pyo3(signature = (count, *, priors, first_values, policy, backup, c_puct, max_depth, fpu, normalize))]
    #[allow(clippy::too_many_arguments)] // the keyword arguments of a Python constructor
    fn new(
        count: i64,
        priors: Option<PyReadonlyArray1<'_, f32>>,
        first_values: Option<PyReadonlyArray1<'_, f32>>,
        policy: &str,
        backup: &str,
        c_puct: f32,
        max_depth: i64,
        fpu: Option<f32>,
        normalize: Option<Scale>,
    ) -> Result<Self, CoreError> {
        let config = Config {
            policy: policy_of(policy, c_puct)?,
            backup: backup_of(backup)?,
            fpu: fpu.map_or(Fpu::Parent, Fpu::Value),
            normalize: normalize_of(normalize)?,
            max_depth: max_depth.clamp(0, i64::from(u32::MAX)) as u32,
        };
        let priors = copied(priors);
        let first_values = copied(first_values);
        let root = Candidates {
            count: count.max(0) as usize,
            priors: priors.as_deref(),
            first_values: first_values.as_deref(),
        };
        Ok(Self {
            search: Mutex::new(TreeSearch::new(config, root)?),
        })
    }

    fn ask<'py>(
        &self,
        py: Python<'py>,
        num_simulations: i64,
    ) -> Result<LeafColumns<'py>, CoreError> {
        let asked = num_simulations.clamp(0, i64::from(u32::MAX)) as u32;
        let leaves = py.detach(|| self.lock().ask(asked))?;
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

    #[pyo3(signature = (ids, values, *, terminal, counts, priors, first_values))]
    #[allow(clippy::too_many_arguments)] // the keyword arguments of a Python method
    fn tell<'py>(
        &self,
        py: Python<'py>,
        ids: PyReadonlyArray1<'py, i64>,
        values: PyReadonlyArray1<'py, f32>,
        terminal: Option<PyReadonlyArray1<'py, bool>>,
        counts: Option<PyReadonlyArray1<'py, i32>>,
        priors: Option<PyReadonlyArray1<'py, f32>>,
        first_values: Option<PyReadonlyArray1<'py, f32>>,
    ) -> Result<Column<'py, i64>, CoreError> {
        // Copies, because other threads may write into the arrays while this one is detached.
        let ids = leaf_ids(&ids);
        let values = values.as_array().to_vec();
        let (terminal, counts) = (copied(terminal), copied(counts));
        let (priors, first_values) = (copied(priors), copied(first_values));
        let nodes = py.detach(|| {
            self.lock().tell(Told {
                ids: &ids,
                values: &values,
                terminal: terminal.as_deref(),
                candidates: CandidateColumns {
                    counts: counts.as_deref(),
                    priors: priors.as_deref(),
                    first_values: first_values.as_deref(),
                },
            })
        })?;
        Ok(column(py, nodes, node_or_minus_one))
    }

    fn fail(&self, py: Python<'_>, ids: PyReadonlyArray1<'_, i64>) -> Result<(), CoreError> {
        let ids = leaf_ids(&ids);
        Ok(py.detach(|| self.lock().fail(&ids))?)
    }

    #[pyo3(signature = (action, *, count, priors, first_values))]
    fn advance<'py>(
        &self,
        py: Python<'py>,
        action: i64,
        count: Option<i64>,
        priors: Option<PyReadonlyArray1<'py, f32>>,
        first_values: Option<PyReadonlyArray1<'py, f32>>,
    ) -> Result<Column<'py, i64>, CoreError> {
        let action = u32::try_from(action).map_err(|_| Error::InvalidArgument {
            name: "action",
            expected: "an index of the root's candidates",
            found: action.to_string(),
        })?;
        let (priors, first_values) = (copied(priors), copied(first_values));
        let candidates = count.map(|count| Candidates {
            count: count.max(0) as usize,
            priors: priors.as_deref(),
            first_values: first_values.as_deref(),
        });
        let kept = py.detach(|| self.lock().advance(action, candidates))?;
        Ok(column(py, kept, i64::from))
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

fn policy_of(name: &str, c: f32) -> Result<Policy, Error> {
    match name {
        "puct" => Ok(Policy::Puct { c }),
        "uct" => Ok(Policy::Uct { c }),
        _ => Err(unknown_name("policy", "\"puct\" or \"uct\"", name)),
    }
}

fn backup_of(name: &str) -> Result<Backup, Error> {
    match name {
        "mean" => Ok(Backup::Mean),
        "max" => Ok(Backup::Max),
        _ => Err(unknown_name("backup", "\"mean\" or \"max\"", name)),
    }
}

fn normalize_of(scale: Option<Scale>) -> Result<Normalize, Error> {
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

fn unknown_name(name: &'static str, expected: &'static str, found: &str) -> Error {
    Error::InvalidArgument {
        name,
        expected,
        found: format!("{found:?}"),
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

fn node_or_minus_one(node: Option<u32>) -> i64 {
    node.map_or(-1, i64::from)
}

fn leaf_ids(ids: &PyReadonlyArray1<'_, i64>) -> Vec<u64> {
    ids.as_array().iter().map(|&id| id as u64).collect()
}

fn copied<T: Element + Copy>(array: Option<PyReadonlyArray1<'_, T>>) -> Option<Vec<T>> {
    array.map(|array| array.as_array().to_vec())
}

fn column<T, U: Element>(
    py: Python<'_>,
    values: Vec<T>,
    as_numpy: impl Fn(T) -> U,
) -> Column<'_, U> {
    let converted: Vec<U> = values.into_iter().map(as_numpy).collect();
    converted.into_pyarray(py)
}
