//! `AdaptiveSearch` for Python: columns in, columns out, the interpreter free while the core works.

use std::sync::{Mutex, MutexGuard};

use numpy::{IntoPyArray, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use similar_fast_core::Error;
use similar_fast_core::adaptive::{
    AdaptiveSearch, Arm, Config, NodeColumns, Policy, Prior, Rule, Told,
};

use crate::columns::{Column, Scale, column, leaf_ids, node_or_minus_one, normalize_of};
use crate::error::CoreError;

/// ids, parents, depths, multiplicities.
type LeafColumns<'py> = (
    Column<'py, i64>,
    Column<'py, i64>,
    Column<'py, i32>,
    Column<'py, i32>,
);
/// nodes, parents, depths, visits, in flight, values, means, terminal, exhausted, closed.
type PyNodeColumns<'py> = (
    Column<'py, i64>,
    Column<'py, i64>,
    Column<'py, i32>,
    Column<'py, i64>,
    Column<'py, i64>,
    Column<'py, f32>,
    Column<'py, f64>,
    Column<'py, bool>,
    Column<'py, bool>,
    Column<'py, bool>,
);
/// nodes, then visits, in flight, mean and spread of generating, of going on and of each node.
type ArmColumns<'py> = (
    bool,
    Option<u32>,
    Column<'py, i64>,
    Column<'py, i64>,
    Column<'py, i64>,
    Column<'py, f64>,
    Column<'py, f64>,
);

/// A growing tree with open leaves; see `similar_fast.tree.adaptive.AdaptiveSearch`.
#[pyclass(frozen, name = "AdaptiveSearch", module = "similar_fast._core")]
pub(crate) struct PyAdaptiveSearch {
    search: Mutex<AdaptiveSearch>,
}

impl PyAdaptiveSearch {
    fn lock(&self) -> MutexGuard<'_, AdaptiveSearch> {
        self.search
            .lock()
            .expect("a panic left the search half changed. This is a bug.")
    }
}

#[pymethods]
#[allow(clippy::needless_pass_by_value)] // pyo3 hands arguments over by value
impl PyAdaptiveSearch {
    #[new]
    #[pyo3(signature = (policy, parameters, *, root_value, normalize, seed, max_depth, max_nbytes))]
    #[allow(clippy::too_many_arguments)] // the keyword arguments of a Python constructor
    fn new(
        policy: &str,
        parameters: Vec<f64>,
        root_value: Option<f32>,
        normalize: Option<Scale>,
        seed: u64,
        max_depth: i64,
        max_nbytes: Option<i64>,
    ) -> Result<Self, CoreError> {
        let config = Config {
            policy: policy_of(policy, &parameters)?,
            normalize: normalize_of(normalize)?,
            seed,
            max_depth: max_depth.clamp(0, i64::from(u32::MAX)) as u32,
            max_nbytes: max_nbytes.map(|most| most.max(0) as usize),
        };
        Ok(Self {
            search: Mutex::new(AdaptiveSearch::new(config, root_value)?),
        })
    }

    fn ask<'py>(
        &self,
        py: Python<'py>,
        num_simulations: i64,
    ) -> Result<LeafColumns<'py>, CoreError> {
        let asked = num_simulations.clamp(0, i64::from(u32::MAX)) as u32;
        let leaves = py.detach(|| self.lock().ask(asked))?;
        Ok((
            column(py, leaves.ids, |id| id as i64),
            column(py, leaves.parents, i64::from),
            column(py, leaves.depths, |depth| depth as i32),
            column(py, leaves.multiplicities, |visits| visits as i32),
        ))
    }

    #[pyo3(signature = (ids, values, *, terminal, exhausted))]
    fn tell<'py>(
        &self,
        py: Python<'py>,
        ids: PyReadonlyArray1<'py, i64>,
        values: PyReadonlyArray1<'py, f32>,
        terminal: Option<PyReadonlyArray1<'py, bool>>,
        exhausted: Option<PyReadonlyArray1<'py, bool>>,
    ) -> Result<Column<'py, i64>, CoreError> {
        // Copies, because other threads may write into the arrays while this one is detached.
        let ids = leaf_ids(&ids);
        let values = values.as_array().to_vec();
        let terminal = terminal.map(|column| column.as_array().to_vec());
        let exhausted = exhausted.map(|column| column.as_array().to_vec());
        let nodes = py.detach(|| {
            self.lock().tell(Told {
                ids: &ids,
                values: &values,
                terminal: terminal.as_deref(),
                exhausted: exhausted.as_deref(),
            })
        })?;
        Ok(column(py, nodes, node_or_minus_one))
    }

    fn fail(&self, py: Python<'_>, ids: PyReadonlyArray1<'_, i64>) -> Result<(), CoreError> {
        let ids = leaf_ids(&ids);
        Ok(py.detach(|| self.lock().fail(&ids))?)
    }

    fn advance<'py>(&self, py: Python<'py>, node: i64) -> Result<Column<'py, i64>, CoreError> {
        let kept = py.detach(|| {
            let mut search = self.lock();
            let node = node_id(&search, node)?;
            search.advance(node)
        })?;
        Ok(column(py, kept, i64::from))
    }

    fn nodes<'py>(&self, py: Python<'py>) -> PyNodeColumns<'py> {
        let nodes = py.detach(|| self.lock().nodes());
        node_columns(py, nodes)
    }

    fn children<'py>(&self, py: Python<'py>, node: i64) -> Result<PyNodeColumns<'py>, CoreError> {
        let nodes = py.detach(|| {
            let search = self.lock();
            search.children(node_id(&search, node)?)
        })?;
        Ok(node_columns(py, nodes))
    }

    /// (fertile, most children, nodes, visits, in flight, means, spreads); the first two rows of the
    /// last four are generating and going on, then one for each node.
    fn arms<'py>(&self, py: Python<'py>, node: i64) -> Result<ArmColumns<'py>, CoreError> {
        let arms = py.detach(|| {
            let search = self.lock();
            search.arms(node_id(&search, node)?)
        })?;
        let mut rows: Vec<Arm> = vec![arms.generate, arms.proceed];
        rows.extend(&arms.children);
        Ok((
            arms.is_fertile,
            arms.max_children,
            column(py, arms.nodes, i64::from),
            column(py, rows.clone(), |arm| arm.visits.into()),
            column(py, rows.clone(), |arm| arm.in_flight.into()),
            column(py, rows.clone(), |arm| arm.mean),
            column(py, rows, |arm| arm.spread),
        ))
    }

    /// The nodes from below the root down to `node`.
    fn path(&self, py: Python<'_>, node: i64) -> Result<Vec<u32>, CoreError> {
        Ok(py.detach(|| {
            let search = self.lock();
            search.path(node_id(&search, node)?)
        })?)
    }

    fn best(&self, py: Python<'_>) -> Option<u32> {
        py.detach(|| self.lock().best())
    }

    fn principal_variation(&self, py: Python<'_>) -> Vec<u32> {
        py.detach(|| self.lock().principal_variation())
    }

    fn save<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.lock().save()))
    }

    #[staticmethod]
    fn load(py: Python<'_>, data: &[u8]) -> Result<Self, CoreError> {
        let search = py.detach(|| AdaptiveSearch::load(data))?;
        Ok(Self {
            search: Mutex::new(search),
        })
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
    fn num_open(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().num_open())
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
    fn is_exhausted(&self, py: Python<'_>) -> bool {
        py.detach(|| self.lock().is_exhausted())
    }
}

/// The policy of a name, with its parameters in the order of the core's fields.
fn policy_of(name: &str, parameters: &[f64]) -> Result<Policy, Error> {
    match (name, parameters) {
        ("gaussian", &[m, kappa, nu, tau_square]) => Ok(Policy::AbMcts {
            prior: Prior::Gaussian {
                m,
                kappa,
                nu,
                tau_square,
            },
        }),
        ("beta", &[a, b]) => Ok(Policy::AbMcts {
            prior: Prior::Beta { a, b },
        }),
        ("uct" | "puct", &[k, alpha, c]) => Ok(Policy::Widening {
            k,
            alpha,
            rule: if name == "uct" { Rule::Uct } else { Rule::Puct },
            c,
        }),
        _ => Err(Error::InvalidArgument {
            name: "policy",
            expected: "\"gaussian\", \"beta\", \"uct\" or \"puct\" with its parameters",
            found: format!("{name:?} with {}", parameters.len()),
        }),
    }
}

/// A Python integer as a node id.
fn node_id(search: &AdaptiveSearch, node: i64) -> Result<u32, Error> {
    u32::try_from(node).map_err(|_| Error::UnknownNode {
        node,
        num_nodes: search.num_nodes(),
    })
}

fn node_columns(py: Python<'_>, nodes: NodeColumns) -> PyNodeColumns<'_> {
    (
        column(py, nodes.nodes, i64::from),
        column(py, nodes.parents, node_or_minus_one),
        column(py, nodes.depths, |depth| depth as i32),
        column(py, nodes.visits, i64::from),
        column(py, nodes.in_flight, i64::from),
        nodes.values.into_pyarray(py),
        nodes.means.into_pyarray(py),
        nodes.terminal.into_pyarray(py),
        nodes.exhausted.into_pyarray(py),
        nodes.closed.into_pyarray(py),
    )
}
