//! What a search knows, read out.

use std::ops::Range;

use super::tickets::Kind;
use super::{Parked, TreeSearch};
use crate::Error;
use crate::tree::{Block, Child, Edge, LeafState};

/// What an edge leads to, and what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EdgeState {
    /// Never selected, or all its simulations were taken back.
    Fresh = 0,
    /// Selected; its value is waited for.
    Evaluating = 1,
    /// It has a value.
    Evaluated = 2,
    /// It has a value; its candidates are waited for.
    Expanding = 3,
    /// It leads to a node.
    Expanded = 4,
    /// The episode ends there.
    Terminal = 5,
    /// It has a value and lies at the depth limit.
    DepthLimit = 6,
}

/// The edges of one node, in columns of n rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EdgeColumns {
    /// `[n]`, completed.
    pub visits: Vec<u32>,
    /// `[n]`, not completed.
    pub in_flight: Vec<u32>,
    /// `[n]`, in the scorer's scale: of the completed visits; the first value where there are none.
    pub values: Vec<f32>,
    /// `[n]`, in [2^-31, 1]; they sum to 1 up to rounding to 12 bits.
    pub priors: Vec<f32>,
    /// `[n]`, the node behind the edge, or `None`.
    pub children: Vec<Option<u32>>,
    /// `[n]`.
    pub states: Vec<EdgeState>,
}

/// Where a node hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node above and the index of the action that leads here; `None` for the root.
    pub parent: Option<(u32, u32)>,
    /// Edges from the root.
    pub depth: u32,
}

impl TreeSearch {
    /// Simulations that were completed and went through the present root.
    pub fn num_simulations(&self) -> u64 {
        self.completed
    }

    /// Simulations that wait, for a leaf or parked.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Simulations in flight whose leaf has been expanded, so that the next ask takes them on.
    pub fn num_parked(&self) -> u32 {
        self.parked.iter().map(|parked| parked.visits).sum()
    }

    /// Nodes with edges; leaves are not counted.
    pub fn num_nodes(&self) -> usize {
        self.tree.num_nodes() as usize
    }

    /// Bytes in use for nodes, ids and open leaves; what is reserved may be half as much again.
    pub fn nbytes(&self) -> usize {
        self.tree.nbytes() + self.tickets.nbytes() + self.parked.len() * size_of::<Parked>()
    }

    /// The root's node id: 0.
    pub fn root(&self) -> u32 {
        self.tree.node(Block::ROOT)
    }

    /// The ids of all nodes.
    pub fn nodes(&self) -> Range<u32> {
        0..self.tree.num_nodes()
    }

    /// The edges of a node.
    ///
    /// # Errors
    ///
    /// `UnknownNode`.
    pub fn edges(&self, node: u32) -> Result<EdgeColumns, Error> {
        let block = self.find(node)?;
        let mut columns = EdgeColumns::default();
        for edge in self.tree.edges(block) {
            columns.visits.push(edge.visits - edge.in_flight);
            columns.in_flight.push(edge.in_flight);
            columns.values.push(edge.value);
            columns.priors.push(edge.prior);
            columns.children.push(match edge.child {
                Child::Node(below) => Some(self.tree.node(below)),
                _ => None,
            });
            columns.states.push(self.state(&edge));
        }
        Ok(columns)
    }

    fn state(&self, edge: &Edge) -> EdgeState {
        match edge.child {
            Child::Fresh => EdgeState::Fresh,
            Child::Pending(slot) => match self.tickets.get(slot).kind {
                Kind::Evaluate => EdgeState::Evaluating,
                Kind::Expand => EdgeState::Expanding,
            },
            Child::Leaf(LeafState::Open) => EdgeState::Evaluated,
            Child::Leaf(LeafState::Terminal) => EdgeState::Terminal,
            Child::Leaf(LeafState::Limited) => EdgeState::DepthLimit,
            Child::Node(_) => EdgeState::Expanded,
        }
    }

    /// Where a node hangs. O(depth).
    ///
    /// # Errors
    ///
    /// `UnknownNode`.
    pub fn place(&self, node: u32) -> Result<Place, Error> {
        let block = self.find(node)?;
        let parent = self.tree.parent(block);
        Ok(Place {
            parent: parent.map(|(above, edge)| (self.tree.node(above), edge)),
            depth: self.tree.ancestors(block).count() as u32,
        })
    }

    /// The way from the root to a node: the nodes above it, the root first, and the index of the
    /// action taken at each. O(depth).
    ///
    /// # Errors
    ///
    /// `UnknownNode`.
    pub fn path(&self, node: u32) -> Result<(Vec<u32>, Vec<u32>), Error> {
        let (mut nodes, mut actions) = (Vec::new(), Vec::new());
        for (above, edge) in self.tree.ancestors(self.find(node)?) {
            nodes.push(self.tree.node(above));
            actions.push(edge);
        }
        nodes.reverse();
        actions.reverse();
        Ok((nodes, actions))
    }

    /// The root's action with the most completed visits; of these the one with the highest value,
    /// then the lowest index.
    pub fn best_action(&self) -> u32 {
        self.best_edge(Block::ROOT).0
    }

    /// The best action at the root, at the node behind it, and so on while there are completed
    /// visits, each chosen as in [`Self::best_action`]: the nodes, and the action taken at each.
    /// O(depth).
    pub fn principal_variation(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut nodes, mut actions) = (Vec::new(), Vec::new());
        let mut next = Some(Block::ROOT);
        while let Some(block) = next {
            let (action, edge) = self.best_edge(block);
            if edge.visits == edge.in_flight {
                break;
            }
            nodes.push(self.tree.node(block));
            actions.push(action);
            next = match edge.child {
                Child::Node(below) => Some(below),
                _ => None,
            };
        }
        (nodes, actions)
    }

    fn best_edge(&self, block: Block) -> (u32, Edge) {
        let mut best = (0, self.tree.edge(block, 0));
        for (index, edge) in self.tree.edges(block).enumerate() {
            let done = edge.visits - edge.in_flight;
            let most = best.1.visits - best.1.in_flight;
            if done > most || (done == most && edge.value > best.1.value) {
                best = (index as u32, edge);
            }
        }
        best
    }

    pub(super) fn find(&self, node: u32) -> Result<Block, Error> {
        self.tree.block(node).ok_or_else(|| Error::UnknownNode {
            node: i64::from(node),
            num_nodes: self.num_nodes(),
        })
    }
}
