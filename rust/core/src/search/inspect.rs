//! What a search knows, read out.

use std::ops::Range;

use super::tickets::Kind;
use super::{Config, Parked, Policy, TreeSearch};
use crate::Error;
use crate::select::is_solved;
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
    /// It has a value and lies at the depth limit, or the memory was spent.
    DepthLimit = 6,
    /// It has the state of a node elsewhere, and its value.
    Merged = 7,
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
    /// `[n]`, the node behind the edge, or that it is merged with, or `None`.
    pub children: Vec<Option<u32>>,
    /// `[n]`.
    pub states: Vec<EdgeState>,
    /// `[n]`, whether every way on is known to its end; the value is exact then.
    pub solved: Vec<bool>,
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
    /// How it decides now.
    pub fn config(&self) -> &Config {
        &self.config
    }

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

    /// Bytes in use for nodes, ids, keys and open leaves; what is reserved may be half as much again.
    pub fn nbytes(&self) -> usize {
        self.tree.nbytes()
            + self.tickets.nbytes()
            + self.parked.len() * size_of::<Parked>()
            + self.keys.len() * size_of::<(u64, Block)>()
            + self.open_list.nbytes()
            + self.held.nbytes()
    }

    /// Whether candidates were not kept, because `max_nbytes` left no room for them.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// The node whose state has this key, if there is one. A leaf with the same key needs no value:
    /// telling it merges it with that node, whatever value is told.
    pub fn node_of_key(&self, key: u64) -> Option<u32> {
        self.keys.get(&key).map(|&block| self.tree.node(block))
    }

    /// Leaves that are open: asked for, and not told or failed.
    pub fn num_open(&self) -> usize {
        self.tickets.num_open()
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
            columns.visits.push(edge.done());
            columns.in_flight.push(edge.in_flight);
            columns.values.push(edge.value);
            columns.priors.push(edge.prior);
            columns.children.push(match edge.child {
                Child::Node(below) | Child::Merged(below) => Some(self.tree.node(below)),
                _ => None,
            });
            columns.states.push(self.state(&edge));
            columns
                .solved
                .push(self.config.solve && is_solved(&self.tree, &edge));
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
            Child::Merged(_) => EdgeState::Merged,
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

    /// What the search would do now.
    ///
    /// The root's action with the most completed visits; of these the one with the highest value, then
    /// the lowest index. By the policy, instead: Gumbel's plan has a rule of its own; best-first and
    /// beam search take the visited action of the highest value. A solved action is taken when its
    /// exact value is above that of the most visited one.
    pub fn best_action(&self) -> u32 {
        match self.config.policy {
            Policy::Gumbel(gumbel) => self.planned_action(gumbel),
            _ => self.best_edge(Block::ROOT).0,
        }
    }

    /// Whether `num_simulations` more could not change the best action: its lead in visits is greater,
    /// or no further one can be made. Visits in flight count as visits of the runner-up. A plan of
    /// Gumbel is decided once only one candidate is considered or its simulations are spent.
    pub fn is_decided(&self, num_simulations: u64) -> bool {
        if self.in_flight == 0 && (num_simulations == 0 || self.is_finished()) {
            return true;
        }
        match self.config.policy {
            Policy::BestFirst | Policy::Beam { .. } => false,
            Policy::Gumbel(gumbel) => {
                gumbel
                    .max_considered
                    .min(self.tree.count(Block::ROOT) as u32)
                    == 1
            }
            Policy::Puct { .. } | Policy::Uct { .. } => {
                !self.config.solve
                    && self.lead() > num_simulations.saturating_add(self.in_flight.into())
            }
        }
    }

    /// Completed visits that the most visited action has more than the second.
    fn lead(&self) -> u64 {
        let (mut first, mut second) = (0, 0);
        for edge in self.tree.edges(Block::ROOT) {
            let done = u64::from(edge.done());
            second = second.max(done.min(first));
            first = first.max(done);
        }
        if self.tree.count(Block::ROOT) == 1 {
            u64::MAX
        } else {
            first - second
        }
    }

    /// The best action at the root, at the node behind it, and so on while there are completed
    /// visits, each chosen as in [`Self::best_action`]: the nodes, and the action taken at each.
    /// O(depth).
    pub fn principal_variation(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut nodes, mut actions) = (Vec::new(), Vec::new());
        let mut next = Some(Block::ROOT);
        while let Some(block) = next {
            let (action, edge) = if block == Block::ROOT {
                let action = self.best_action();
                (action, self.tree.edge(block, action))
            } else {
                self.best_edge(block)
            };
            if edge.done() == 0 {
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
        let by_value = self.config.policy.is_best_first();
        let mut best = (0, self.tree.edge(block, 0));
        let mut proven: Option<(u32, Edge)> = None;
        for (index, edge) in self.tree.edges(block).enumerate() {
            let (done, most) = (edge.done(), best.1.done());
            let is_better = if by_value {
                done > 0 && (most == 0 || edge.value > best.1.value)
            } else {
                done > most || (done == most && edge.value > best.1.value)
            };
            if is_better {
                best = (index as u32, edge);
            }
            let is_known = self.config.solve && done > 0 && is_solved(&self.tree, &edge);
            if is_known && proven.is_none_or(|(_, best)| edge.value > best.value) {
                proven = Some((index as u32, edge));
            }
        }
        match proven {
            Some((index, edge)) if edge.value > best.1.value => (index, edge),
            _ => best,
        }
    }

    pub(super) fn find(&self, node: u32) -> Result<Block, Error> {
        self.tree.block(node).ok_or_else(|| Error::UnknownNode {
            node: i64::from(node),
            num_nodes: self.num_nodes(),
        })
    }
}
