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
mod channels;
mod check;
mod held;
mod inspect;
mod load;
mod open_list;
mod prove;
mod save;

mod schedule;
mod tell;
mod tickets;
mod told;
mod validate;

use std::collections::HashMap;

pub use ask::Leaves;
pub use channels::{Channels, MAX_CHANNELS};
pub use inspect::{EdgeColumns, EdgeState, Place};
pub use told::{CandidateColumns, Told};

pub use crate::select::{Gumbel, Normalize, Policy};

use crate::Error;
use crate::select::{Rule, Scale, Selector};
use crate::tree::{
    Ascent, Block, Change, Child, Edge, FirstValues, LeafState, MAX_EDGES, NewNode, Rows, Tree,
    scalar_of,
};
use ask::{Refused, Visit};
use check::{VALUE_RANGE, check_length, invalid, is_value};
use held::Held;
use open_list::OpenList;
use schedule::Schedule;
use tickets::Tickets;

/// The most simulations that can be in flight at once.
pub const MAX_IN_FLIGHT: u32 = 65_535;
/// The greatest magnitude of a value; the difference of two is still finite.
pub const MAX_VALUE: f32 = crate::tree::MAX_VALUE;

/// What an edge's value is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Backup {
    /// The mean of the values of all simulations that went through it.
    Mean,
    /// Their maximum. It amplifies the noise of a scorer.
    Max,
    /// Their power mean, node by node: between the mean (1) and the maximum (infinity). Values must
    /// be at least 0. Source: Dam et al. 2019 (arXiv 1911.00384).
    PowerMean {
        /// The exponent, finite, at least 1.
        exponent: f32,
    },
    /// The mean of the discounted sums of what the steps from here on were told. Source: Sutton &
    /// Barto 2018, equation 3.8.
    Discounted {
        /// What a step is worth one step earlier, in [0, 1].
        discount: f32,
    },
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
    /// How many lost visits each visit in flight counts as (PUCT and UCT), up to 1,000. With 0 it
    /// counts as one visit without a value (WU-UCT), which costs no quality.
    pub virtual_loss: u32,
    /// Simulations beyond the first that may wait for one leaf; no limit where absent. An ask starts
    /// fewer simulations where more would meet, so that batches grow with the tree: a leaf that is
    /// counted many times at once costs a small search most of its budget.
    pub max_collisions: Option<u32>,
    /// How many numbers a leaf is told, and how they become its value.
    pub channels: Channels,
    /// Whether parts of the tree that are known to their terminal ends get their exact value, the
    /// greatest of their endings, and no more visits; but a plan of Gumbel visits all its candidates
    /// evenly.
    pub solve: bool,
    /// Whether tells are applied in the order of the asks, once no asked leaf is open, so that the
    /// tree does not depend on who answers first. No leaf is asked for meanwhile.
    pub deterministic: bool,
    /// Bytes that the tree may take. Candidates that would need more are not kept: their leaf stays a
    /// leaf.
    pub max_nbytes: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::Puct { c: 1.25 },
            backup: Backup::Mean,
            fpu: Fpu::Value(0.0),
            normalize: Normalize::MinMax,
            max_depth: 64,
            virtual_loss: 0,
            max_collisions: Some(0),
            channels: Channels::NONE,
            solve: false,
            deterministic: false,
            max_nbytes: None,
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
    /// `[count]`, or `[count * channels]`, the values before a first visit, in the scorer's scale. The
    /// `fpu` where absent.
    pub first_values: Option<&'a [f32]>,
    /// `[count * channels]`, the gate's weights of the first values; with gated channels only.
    pub first_weights: Option<&'a [f32]>,
    /// What the node's state is known by; states with the same key are merged. None where 0.
    pub key: u64,
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
///     let told = Told { ids: &leaves.ids, values: &values, candidates, ..Told::default() };
///     search.tell(told)?;
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
    /// Edges that may be asked for: never visited, or waiting for candidates that nobody asked for.
    askable: u64,
    least: f32,
    greatest: f32,
    /// Whether candidates were not kept for want of memory.
    is_full: bool,
    /// The nodes that states are known by.
    keys: HashMap<u64, Block>,
    held: Held,
    schedule: Schedule,
    open_list: OpenList,
    ascent: Ascent,
    selector: Selector,
    frontier: Vec<Visit>,
    next: Vec<Visit>,
    opened: Vec<u32>,
    revisits: Vec<Visit>,
    refused: Vec<Refused>,
    /// Blocks one of whose edges has become terminal in this call.
    ended: Vec<Block>,
    scalars: Vec<f32>,
}

impl TreeSearch {
    /// A search over a root with these candidates.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: a part of the configuration or of the candidates is outside of its range.
    pub fn new(config: Config, root: Candidates<'_>) -> Result<Self, Error> {
        config.check()?;
        root.check(config)?;
        let limit = config.max_nbytes.unwrap_or(usize::MAX);
        let mut search = Self::over(config, Tree::new(config.rows(), limit));
        search.expand_root(root, 0.0);
        Ok(search)
    }

    /// A search over a tree that may have nodes already, with nothing in flight.
    fn over(config: Config, tree: Tree) -> Self {
        Self {
            config,
            tree,
            tickets: Tickets::default(),
            parked: Vec::new(),
            completed: 0,
            in_flight: 0,
            askable: 0,
            least: f32::INFINITY,
            greatest: f32::NEG_INFINITY,
            is_full: false,
            keys: HashMap::new(),
            held: Held::default(),
            schedule: Schedule::default(),
            open_list: OpenList::default(),
            ascent: Ascent::default(),
            selector: Selector::default(),
            frontier: Vec::new(),
            next: Vec::new(),
            opened: Vec::new(),
            revisits: Vec::new(),
            refused: Vec::new(),
            ended: Vec::new(),
            scalars: Vec::new(),
        }
    }

    /// Adds the root; `value` is that of the edge it once hung from.
    fn expand_root(&mut self, candidates: Candidates<'_>, value: f32) {
        self.add(None, candidates, value);
        self.list_edges(Block::ROOT, 0);
        self.plan_anew();
    }

    /// Adds the node behind an edge, `depth` edges below the root, and links it.
    fn expand(
        &mut self,
        (block, edge, depth): (Block, u32, u32),
        candidates: Candidates<'_>,
    ) -> Block {
        let value = self.tree.value(block, edge);
        let below = self.add(Some((block, edge)), candidates, value);
        self.tree.set_child(block, edge, Child::Node(below));
        self.list_edges(below, depth + 1);
        below
    }

    fn add(
        &mut self,
        parent: Option<(Block, u32)>,
        candidates: Candidates<'_>,
        value_above: f32,
    ) -> Block {
        let mut scalars = std::mem::take(&mut self.scalars);
        let first_values = match (candidates.first_values, self.config.fpu) {
            (Some(given), _) => {
                let channels = self.config.channels;
                let given = channels.weigh(given, candidates.first_weights, &mut scalars);
                self.widen(given);
                FirstValues::Each(given)
            }
            (None, Fpu::Value(value)) => FirstValues::Same(value),
            (None, Fpu::Parent) => FirstValues::Same(value_above),
        };
        let numbers = candidates.first_values;
        let node = NewNode {
            count: candidates.count,
            priors: candidates.priors,
            first_values,
            rows: numbers.map(|numbers| (numbers, candidates.first_weights)),
        };
        let block = self.tree.add(parent, node);
        self.askable += candidates.count as u64;
        if candidates.key != 0 {
            self.keys.entry(candidates.key).or_insert(block);
        }
        self.scalars = scalars;
        block
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
        let Config {
            policy,
            virtual_loss,
            solve,
            ..
        } = self.config;
        Rule::new(policy, self.scale(), virtual_loss, solve)
    }

    fn scale(&self) -> Scale {
        match self.config.normalize {
            Normalize::None => Scale::IDENTITY,
            Normalize::Range { low, high } => Scale::between(low, high),
            Normalize::MinMax => Scale::between(self.least, self.greatest),
        }
    }

    fn change(&self) -> Change {
        match self.config.backup {
            Backup::Mean => Change::Mean,
            Backup::Max => Change::Max,
            Backup::PowerMean { exponent } => Change::Power(exponent.into()),
            Backup::Discounted { discount } => Change::Discounted(discount.into()),
        }
    }

    /// Counts anew what may be asked for. O(tree).
    fn count_askable(&mut self) {
        let blocks = self.tree.blocks();
        let edges = blocks.flat_map(|block| self.tree.edges(block));
        let is_askable =
            |edge: &Edge| matches!(edge.child, Child::Fresh | Child::Leaf(LeafState::Open));
        self.askable = edges.filter(is_askable).count() as u64;
    }

    /// What a state that hangs elsewhere is worth now: the value of the edge that leads there, or the
    /// mean over the root's edges.
    fn value_of(&self, block: Block) -> f32 {
        if let Some((above, edge)) = self.tree.parent(block) {
            return self.tree.value(above, edge);
        }
        let (mut sum, mut visits) = (0.0, 0.0);
        for edge in self.tree.edges(block) {
            sum += f64::from(edge.done()) * f64::from(edge.value);
            visits += f64::from(edge.done());
        }
        if visits > 0.0 {
            (sum / visits) as f32
        } else {
            0.0
        }
    }
}

impl Config {
    /// Rows beside the tree: one number where the backup needs again what an edge was told.
    fn rows(&self) -> Rows {
        let needs_told = matches!(
            self.backup,
            Backup::PowerMean { .. } | Backup::Discounted { .. }
        );
        match (self.channels.count(), needs_told) {
            (0, false) => Rows::none(),
            (0, true) => Rows::new(1, false, Some(&[1.0])),
            (count, _) => Rows::new(count, self.channels.is_gated(), self.channels.weights()),
        }
    }
}
