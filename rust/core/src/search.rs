//! Tree search by ask and tell: batches of leaves out, values and candidates in.
//!
//! A simulation goes down from the root to a leaf (select), gets a value there (evaluate) and is
//! counted on every edge of its path (backup). Any number of leaves can be open at once; visits in
//! flight are counted as visits and never as values (WU-UCT, Liu et al. 2020, arXiv 1810.11755).
//!
//! A leaf is asked for at most twice. Its first visit asks for a value. A later visit of a leaf that
//! has a value asks for its candidates and is parked; once they are told the next ask takes the
//! parked simulations on from the new node. So candidates are proposed only for leaves that matter;
//! who has them early gives them with the value.

mod advance;
mod ask;
mod inspect;
mod tell;
mod tickets;

pub use ask::Leaves;
pub use inspect::{EdgeColumns, EdgeState, Place};
pub use tell::{CandidateColumns, Told};

pub use crate::select::{Normalize, Policy};

use std::fmt::Display;

use crate::Error;
use crate::select::{Rule, Scale, Selector};
use crate::tree::{Ascent, Block, Change, Child, FirstValues, MAX_EDGES, Tree};
use ask::Visit;
use tickets::Tickets;

/// The most simulations that can be in flight at once.
pub const MAX_IN_FLIGHT: u32 = 65_535;
/// The greatest magnitude of a value; the difference of two is still finite.
pub const MAX_VALUE: f32 = 1e38;

/// What an edge's value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backup {
    /// The mean of the values of all simulations that went through it.
    Mean,
    /// Their maximum. It amplifies the noise of a scorer.
    Max,
}

/// First-play urgency: the value of an edge before its first completed visit, where none is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fpu {
    /// This value, in the scorer's scale.
    Value(f32),
    /// The value of the edge that leads to the node, when the node is expanded; 0 at the root.
    Parent,
}

/// How a search decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Which edge is taken.
    pub policy: Policy,
    /// What becomes of values on their way up.
    pub backup: Backup,
    /// Values of edges nobody has visited.
    pub fpu: Fpu,
    /// The scale in which values are compared.
    pub normalize: Normalize,
    /// Edges from the root to the deepest leaf, 1 to 65,535.
    pub max_depth: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::Puct { c: 1.25 },
            backup: Backup::Mean,
            fpu: Fpu::Value(0.0),
            normalize: Normalize::MinMax,
            max_depth: 64,
        }
    }
}

/// The candidates of one node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Candidates<'a> {
    /// How many, 1 to 65,535.
    pub count: usize,
    /// `[count]`, finite, at least 0, not all 0; made to sum to 1. Uniform where absent.
    pub priors: Option<&'a [f32]>,
    /// `[count]`, the values before a first visit, in the scorer's scale. The `fpu` where absent.
    pub first_values: Option<&'a [f32]>,
}

/// Simulations that wait at an expanded node for the next ask.
#[derive(Clone, Copy, Debug)]
struct Parked {
    block: Block,
    /// Edges from the root to the block.
    depth: u32,
    visits: u32,
}

/// A search tree with open leaves.
///
/// # Example
///
/// ```
/// use similar_fast_core::search::{CandidateColumns, Candidates, Config, Told, TreeSearch};
///
/// let root = Candidates { count: 2, ..Candidates::default() };
/// let mut search = TreeSearch::new(Config::default(), root)?;
/// while search.num_simulations() < 20 {
///     let leaves = search.ask(4)?;
///     let values: Vec<f32> = leaves.actions.iter().map(|&action| action as f32).collect();
///     let counts = vec![2; leaves.ids.len()];
///     let candidates = CandidateColumns { counts: Some(&counts), ..CandidateColumns::default() };
///     search.tell(Told { ids: &leaves.ids, values: &values, terminal: None, candidates })?;
/// }
/// assert_eq!(search.best_action(), 1);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TreeSearch {
    config: Config,
    tree: Tree,
    tickets: Tickets,
    parked: Vec<Parked>,
    completed: u64,
    in_flight: u32,
    least: f32,
    greatest: f32,
    ascent: Ascent,
    selector: Selector,
    frontier: Vec<Visit>,
    next: Vec<Visit>,
    opened: Vec<u32>,
    revisits: Vec<Visit>,
}

impl TreeSearch {
    /// A search over a root with these candidates.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: a part of the configuration or of the candidates is outside of its range.
    pub fn new(config: Config, root: Candidates<'_>) -> Result<Self, Error> {
        config.check()?;
        root.check()?;
        let mut search = Self {
            config,
            tree: Tree::new(),
            tickets: Tickets::default(),
            parked: Vec::new(),
            completed: 0,
            in_flight: 0,
            least: f32::INFINITY,
            greatest: f32::NEG_INFINITY,
            ascent: Ascent::default(),
            selector: Selector::default(),
            frontier: Vec::new(),
            next: Vec::new(),
            opened: Vec::new(),
            revisits: Vec::new(),
        };
        search.expand_root(root, 0.0);
        Ok(search)
    }

    /// Adds the root; `value` is that of the edge it once hung from.
    fn expand_root(&mut self, candidates: Candidates<'_>, value: f32) {
        let first_values = self.first_values(&candidates, value);
        self.tree
            .add(None, candidates.count, candidates.priors, first_values);
    }

    /// Adds the node behind an edge and links it.
    fn expand(&mut self, (block, edge): (Block, u32), candidates: Candidates<'_>) -> Block {
        let first_values = self.first_values(&candidates, self.tree.value(block, edge));
        let parent = Some((block, edge));
        let below = self
            .tree
            .add(parent, candidates.count, candidates.priors, first_values);
        self.tree.set_child(block, edge, Child::Node(below));
        below
    }

    fn first_values<'a>(&mut self, candidates: &Candidates<'a>, parent: f32) -> FirstValues<'a> {
        match (candidates.first_values, self.config.fpu) {
            (Some(given), _) => {
                self.widen(given);
                FirstValues::Each(given)
            }
            (None, Fpu::Value(value)) => FirstValues::Same(value),
            (None, Fpu::Parent) => FirstValues::Same(parent),
        }
    }

    /// Takes values into the scale of `Normalize::MinMax`.
    #[inline]
    fn widen(&mut self, values: &[f32]) {
        for &value in values {
            self.least = self.least.min(value);
            self.greatest = self.greatest.max(value);
        }
    }

    fn rule(&self) -> Rule {
        let scale = match self.config.normalize {
            Normalize::None => Scale::IDENTITY,
            Normalize::Range { low, high } => Scale::between(low, high),
            Normalize::MinMax => Scale::between(self.least, self.greatest),
        };
        Rule {
            policy: self.config.policy,
            scale,
        }
    }

    fn change(&self) -> Change {
        match self.config.backup {
            Backup::Mean => Change::Mean,
            Backup::Max => Change::Max,
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), Error> {
        let (Policy::Puct { c } | Policy::Uct { c }) = self.policy;
        if !(0.0..=MAX_VALUE).contains(&c) {
            return Err(invalid("c_puct", "from 0 to 1e38", c));
        }
        if let Fpu::Value(value) = self.fpu
            && !is_value(value)
        {
            return Err(invalid("fpu", VALUE_RANGE, value));
        }
        if let Normalize::Range { low, high } = self.normalize
            && !(is_value(low) && is_value(high) && low < high)
        {
            let found = format!("({low}, {high})");
            return Err(invalid(
                "normalize",
                "a range (low, high) with low < high",
                found,
            ));
        }
        if !(1..=65_535).contains(&self.max_depth) {
            return Err(invalid("max_depth", "from 1 to 65535", self.max_depth));
        }
        Ok(())
    }
}

impl Candidates<'_> {
    fn check(&self) -> Result<(), Error> {
        if !(1..=MAX_EDGES).contains(&self.count) {
            return Err(invalid("candidates", "1 to 65535", self.count));
        }
        check_length("priors", "one for each candidate", self.priors, self.count)?;
        check_length(
            "first_values",
            "one for each candidate",
            self.first_values,
            self.count,
        )?;
        match self.flaw() {
            Some((name, expected, found)) => Err(invalid(name, expected, found)),
            None => Ok(()),
        }
    }

    /// What is wrong with the numbers, as (name, expected, found).
    fn flaw(&self) -> Option<(&'static str, &'static str, f32)> {
        let priors = self.priors.unwrap_or_default();
        if let Some(&prior) = priors.iter().find(|p| !(p.is_finite() && **p >= 0.0)) {
            return Some(("priors", "finite and at least 0", prior));
        }
        if self.priors.is_some() && self.count > 0 && priors.iter().all(|&prior| prior == 0.0) {
            return Some(("priors", "above 0 in sum", 0.0));
        }
        let values = self.first_values.unwrap_or_default();
        let value = values.iter().find(|value| !is_value(**value))?;
        Some(("first_values", VALUE_RANGE, *value))
    }
}

const VALUE_RANGE: &str = "finite and at most 1e38 in magnitude";

#[inline]
fn is_value(value: f32) -> bool {
    value.abs() <= MAX_VALUE
}

fn invalid(name: &'static str, expected: &'static str, found: impl Display) -> Error {
    Error::InvalidArgument {
        name,
        expected,
        found: found.to_string(),
    }
}

fn check_length<T>(
    name: &'static str,
    expected: &'static str,
    column: Option<&[T]>,
    length: usize,
) -> Result<(), Error> {
    match column {
        Some(column) if column.len() != length => Err(invalid(
            name,
            expected,
            format!("{} for {length}", column.len()),
        )),
        _ => Ok(()),
    }
}
