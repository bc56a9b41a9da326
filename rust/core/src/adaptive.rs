//! Search by ask and tell where a node can be asked for another child at any time.
//!
//! [`TreeSearch`](crate::search::TreeSearch) is given all candidates of a node at once. Here every
//! simulation goes down to some node and asks for **one more child** of it: a new candidate and its
//! value. At each node on the way the policy decides between that and going on to a child it has.
//!
//! - [`Policy::AbMcts`]: Thompson sampling. A node has an arm for generating (GEN), which observes the
//!   values of its children, and one for going on (CONT), which observes the values of everything
//!   deeper. If CONT draws higher, each child draws from what was observed in its subtree, its own
//!   value included, and the highest is entered. Source: Inoue et al. 2025 (arXiv 2503.04412), the
//!   variant with node aggregation, AB-MCTS-A.
//! - [`Policy::Widening`]: a node of N visits may have `ceil(k * N^alpha)` children. Below that a
//!   child is generated, otherwise UCT or PUCT enters one. Source: Coulom 2007, "Computing Elo
//!   ratings of move patterns in the game of Go" (progressive widening); by a power of the visits:
//!   Couetoux et al. 2011, "Continuous upper confidence trees".
//!
//! Any number of leaves can be open at once. Visits in flight count as visits and never as values: in
//! the limits and bonuses of widening (WU-UCT, Liu et al. 2020), and in Thompson sampling as
//! observations of the posterior mean, so that a second simulation is less sure to follow a first.
//!
//! Draws are a function of the seed, the node, its visits (in flight included) and the arm. So a
//! batch decides as the same simulations would one after another, and a search whose leaves were
//! all taken back decides again as if they had never been asked for.

mod advance;
mod arena;
mod ask;
mod choose;
mod draw;
mod file;
mod inspect;
mod posterior;
mod tell;
mod tickets;

pub use ask::Leaves;
pub use inspect::{Arm, Arms, NodeColumns};
pub use posterior::Prior;
pub use tell::Told;

pub use crate::select::Normalize;

use crate::Error;
use arena::{Arena, NONE, Node, ROOT};
use choose::Chooser;
use posterior::Scale;
use tickets::{Ticket, Tickets};

/// The most simulations that can be in flight at once.
pub const MAX_IN_FLIGHT: u32 = 65_535;
/// The greatest magnitude of a value; the difference of two is still finite.
pub const MAX_VALUE: f32 = 1e38;
/// The most visits that a node can have, so that a count converts as a signed number.
const MAX_VISITS: u64 = i32::MAX as u64;

/// Which child a widening search enters. N are the node's visits, n the child's, both with those in
/// flight, q the child's normalised mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `q + (c * sqrt(ln(N))) * (1 / sqrt(n))`.
    Uct,
    /// `q + (c * sqrt(N) / children) * (1 / (1 + n))`: PUCT with the same prior for every child.
    Puct,
}

/// How a search decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// Adaptive branching by Thompson sampling.
    AbMcts {
        /// What is believed of every arm at first.
        prior: Prior,
    },
    /// Progressive widening.
    Widening {
        /// The factor, above 0.
        k: f64,
        /// The exponent, 0 to 1.
        alpha: f64,
        /// Which child is entered.
        rule: Rule,
        /// The weight of the bonus, at least 0.
        c: f64,
    },
}

/// The parts of a search that never change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// How it decides.
    pub policy: Policy,
    /// The scale in which values are compared.
    pub normalize: Normalize,
    /// Where draws begin; read by `AbMcts` only.
    pub seed: u64,
    /// Steps from the root to the deepest node, 1 to 65,535.
    pub max_depth: u32,
    /// `ask` refuses what could take more bytes than this; no limit where absent.
    pub max_nbytes: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::AbMcts {
                prior: Prior::GAUSSIAN,
            },
            normalize: Normalize::MinMax,
            seed: 0,
            max_depth: 64,
            max_nbytes: None,
        }
    }
}

/// A growing tree with open leaves.
///
/// # Example
///
/// ```
/// use similar_fast_core::adaptive::{AdaptiveSearch, Config, Told};
///
/// let mut search = AdaptiveSearch::new(Config::default(), None)?;
/// while search.num_simulations() < 100 {
///     let leaves = search.ask(4)?;
///     let values: Vec<f32> = leaves.depths.iter().map(|&depth| depth as f32).collect();
///     search.tell(Told { ids: &leaves.ids, values: &values, terminal: None, exhausted: None })?;
/// }
/// assert_eq!(search.num_nodes(), 101);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdaptiveSearch {
    config: Config,
    arena: Arena,
    tickets: Tickets,
    /// The first value told; sums are of distances from it.
    origin: Option<f32>,
    least: f32,
    greatest: f32,
    chooser: Chooser,
    frontier: Vec<(u32, u32)>,
    next: Vec<(u32, u32)>,
    opened: Vec<u32>,
    rows: Vec<(u64, usize)>,
}

impl AdaptiveSearch {
    /// A search that holds a root, with a value where the root is an answer of its own.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: a part of the configuration is outside of its range, or the value is.
    pub fn new(config: Config, root_value: Option<f32>) -> Result<Self, Error> {
        config.check()?;
        let mut search = Self::empty(config, root_value);
        if let Some(value) = root_value {
            let (low, high) = search.value_range();
            if !(low..=high).contains(&value) {
                let expected = search.value_range_text();
                return Err(Error::invalid("root_value", expected, value.to_string()));
            }
            search.see(value);
        }
        Ok(search)
    }

    fn empty(config: Config, root_value: Option<f32>) -> Self {
        Self {
            config,
            arena: Arena::new(root_value),
            tickets: Tickets::default(),
            origin: None,
            least: f32::INFINITY,
            greatest: f32::NEG_INFINITY,
            chooser: Chooser::default(),
            frontier: Vec::new(),
            next: Vec::new(),
            opened: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Takes a value into the scale.
    fn see(&mut self, value: f32) {
        self.origin.get_or_insert(value);
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    fn origin(&self) -> f64 {
        f64::from(self.origin.unwrap_or(0.0))
    }

    /// From distances to normalised values. Everything is 0 where the greatest value is not above the
    /// least, as before the first two values.
    fn scale(&self) -> Scale {
        let (low, high) = match self.config.normalize {
            Normalize::None => {
                return Scale {
                    shift: self.origin(),
                    inverse: 1.0,
                };
            }
            Normalize::Range { low, high } => (low, high),
            Normalize::MinMax => (self.least, self.greatest),
        };
        if high > low {
            let (low, high) = (f64::from(low), f64::from(high));
            return Scale {
                shift: self.origin() - low,
                inverse: 1.0 / (high - low),
            };
        }
        Scale {
            shift: 0.0,
            inverse: 0.0,
        }
    }

    /// The least and the greatest value that may be told.
    fn value_range(&self) -> (f32, f32) {
        let is_beta = matches!(
            self.config.policy,
            Policy::AbMcts {
                prior: Prior::Beta { .. }
            }
        );
        match self.config.normalize {
            Normalize::None if is_beta => (0.0, 1.0),
            Normalize::Range { low, high } if is_beta => (low, high),
            _ => (-MAX_VALUE, MAX_VALUE),
        }
    }

    fn value_range_text(&self) -> &'static str {
        match self.value_range() {
            (low, _) if low == -MAX_VALUE => VALUE_RANGE,
            _ if self.config.normalize == Normalize::None => {
                "from 0 to 1 with a Beta prior and no normalisation"
            }
            _ => "within the range of `normalize` with a Beta prior",
        }
    }

    /// The most nodes that the memory limit and the addresses allow with `more` further tickets.
    fn max_nodes(&self, more: usize) -> usize {
        let addresses = (NONE - 1) as usize;
        let limit = self.config.max_nbytes.map_or(addresses, |most| {
            most.saturating_sub(self.tickets.most_nbytes(more)) / size_of::<Node>()
        });
        limit.min(addresses)
    }
}

const VALUE_RANGE: &str = "finite and at most 1e38 in magnitude";

impl Config {
    fn check(&self) -> Result<(), Error> {
        match self.policy {
            Policy::AbMcts { prior } => prior.check()?,
            Policy::Widening { k, alpha, c, .. } => {
                check(k, 1e-6..=1e9, "k", "from 1e-6 to 1e9")?;
                check(alpha, 0.0..=1.0, "alpha", "from 0 to 1")?;
                check(c, 0.0..=1e38, "c_puct", "from 0 to 1e38")?;
            }
        }
        if let Normalize::Range { low, high } = self.normalize
            && !(low.abs() <= MAX_VALUE && high.abs() <= MAX_VALUE && low < high)
        {
            let expected = "a range (low, high) with low < high";
            let found = format!("({low}, {high})");
            return Err(Error::invalid("normalize", expected, found));
        }
        if !(1..=65_535).contains(&self.max_depth) {
            let found = self.max_depth.to_string();
            return Err(Error::invalid("max_depth", "from 1 to 65535", found));
        }
        Ok(())
    }
}

impl Prior {
    fn check(self) -> Result<(), Error> {
        const WEIGHT: std::ops::RangeInclusive<f64> = 1e-3..=1e9;
        const EXPECTED: &str = "from 1e-3 to 1e9";
        match self {
            Self::Gaussian {
                m,
                kappa,
                nu,
                tau_square,
            } => {
                check(m, -1e38..=1e38, "m", VALUE_RANGE)?;
                check(kappa, WEIGHT, "kappa", EXPECTED)?;
                check(nu, WEIGHT, "nu", EXPECTED)?;
                check(tau_square, 1e-12..=1e38, "tau_square", "from 1e-12 to 1e38")
            }
            Self::Beta { a, b } => {
                check(a, WEIGHT, "a", EXPECTED)?;
                check(b, WEIGHT, "b", EXPECTED)
            }
        }
    }
}

fn check(
    found: f64,
    range: std::ops::RangeInclusive<f64>,
    name: &'static str,
    expected: &'static str,
) -> Result<(), Error> {
    if range.contains(&found) {
        return Ok(());
    }
    Err(Error::invalid(name, expected, found.to_string()))
}
