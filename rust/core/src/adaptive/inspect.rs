//! What a search knows, read out.

use super::arena::NONE;
use super::choose::{child_arm, limit, node_arms};
use super::posterior::Sums;
use super::{AdaptiveSearch, Node, Policy, ROOT};
use crate::Error;

/// Nodes, in columns of n rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeColumns {
    /// `[n]`, the ids.
    pub nodes: Vec<u32>,
    /// `[n]`, the node above; `None` for the root.
    pub parents: Vec<Option<u32>>,
    /// `[n]`, steps from the root.
    pub depths: Vec<u32>,
    /// `[n]`, completed simulations in the subtree, the node's own evaluation included.
    pub visits: Vec<u32>,
    /// `[n]`, simulations in flight at the node and below.
    pub in_flight: Vec<u32>,
    /// `[n]`, the node's own value, in the scorer's scale; NaN for a root without one.
    pub values: Vec<f32>,
    /// `[n]`, the mean of all values in the subtree, in the scorer's scale; NaN where there are none.
    pub means: Vec<f64>,
    /// `[n]`, whether the node was told as terminal.
    pub terminal: Vec<bool>,
    /// `[n]`, whether nobody has another candidate for the node.
    pub exhausted: Vec<bool>,
    /// `[n]`, whether nothing can be generated in the subtree any more.
    pub closed: Vec<bool>,
}

/// One thing that a simulation can do at a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    /// Completed visits.
    pub visits: u32,
    /// Visits in flight.
    pub in_flight: u32,
    /// In normalised values, the posterior mean; of widening the mean.
    pub mean: f64,
    /// The width of the posterior of the mean; of widening the bonus.
    pub spread: f64,
}

/// What the next simulation at a node would decide by.
#[derive(Clone, Debug, PartialEq)]
pub struct Arms {
    /// Whether the node may have another child at all: it is not terminal, not exhausted and above
    /// the depth limit.
    pub is_fertile: bool,
    /// The most children it may have now; `None` where the policy sets no limit.
    pub max_children: Option<u32>,
    /// Generating a child; its mean and spread are NaN in widening, which compares counts.
    pub generate: Arm,
    /// Going on to a child; likewise.
    pub proceed: Arm,
    /// The children's ids, the eldest first, with closed ones, which are never entered.
    pub nodes: Vec<u32>,
    /// `[nodes]`.
    pub children: Vec<Arm>,
}

impl AdaptiveSearch {
    /// Simulations that were completed at or below the present root, but not the root's evaluation.
    pub fn num_simulations(&self) -> u64 {
        let root = self.arena.get(ROOT);
        u64::from(root.visits() - u32::from(root.own))
    }

    /// Simulations that wait.
    pub fn in_flight(&self) -> u32 {
        self.arena.get(ROOT).in_flight.into()
    }

    /// Leaves that wait to be told of, without those that `advance` discarded.
    pub fn num_open(&self) -> usize {
        self.tickets.num_open()
    }

    /// Nodes, the root included. Ids are below this number.
    pub fn num_nodes(&self) -> usize {
        self.arena.len()
    }

    /// Bytes in use for nodes and open leaves; at most `max_nbytes`, or one node and no leaf.
    pub fn nbytes(&self) -> usize {
        self.arena.nbytes() + self.tickets.nbytes()
    }

    /// Whether nothing can be generated anywhere, so that `ask` would fail.
    pub fn is_exhausted(&self) -> bool {
        self.arena.get(ROOT).is_closed()
    }

    /// All nodes, in the order of their ids. O(nodes).
    pub fn nodes(&self) -> NodeColumns {
        self.columns(0..self.arena.len() as u32)
    }

    /// The children of a node, the eldest first. O(children).
    ///
    /// # Errors
    ///
    /// `UnknownNode`.
    pub fn children(&self, node: u32) -> Result<NodeColumns, Error> {
        self.find(node)?;
        Ok(self.columns(self.arena.children(node)))
    }

    fn columns(&self, nodes: impl Iterator<Item = u32>) -> NodeColumns {
        let mut columns = NodeColumns::default();
        for index in nodes {
            let node = self.arena.get(index);
            columns.nodes.push(index);
            columns
                .parents
                .push((node.parent != NONE).then_some(node.parent));
            columns.depths.push(node.depth.into());
            columns.visits.push(node.visits());
            columns.in_flight.push(node.in_flight.into());
            columns.values.push(node.value);
            columns.means.push(self.mean(node));
            columns.terminal.push(node.is_terminal());
            columns.exhausted.push(node.is_exhausted());
            columns.closed.push(node.is_closed());
        }
        columns
    }

    /// The mean of a subtree, in the scorer's scale.
    fn mean(&self, node: &Node) -> f64 {
        let observed = node.observed(self.origin());
        observed.sum / f64::from(observed.count) + self.origin()
    }

    /// What the next simulation at a node would decide by. O(children).
    ///
    /// # Errors
    ///
    /// `UnknownNode`.
    pub fn arms(&self, node: u32) -> Result<Arms, Error> {
        self.find(node)?;
        let settings = self.settings();
        let parent = self.arena.get(node);
        let (generate, proceed) = match self.config.policy {
            Policy::AbMcts { prior } => {
                let (generate, proceed) = node_arms(prior, parent, settings.scale);
                (generate.summary(), proceed.summary())
            }
            Policy::Widening { .. } => ((f64::NAN, f64::NAN), (f64::NAN, f64::NAN)),
        };
        let generating = u32::from(parent.generating);
        let below = u32::from(parent.in_flight).saturating_sub(generating);
        let nodes: Vec<u32> = self.arena.children(node).collect();
        let children = nodes.iter().map(|&child| {
            let child = self.arena.get(child);
            let summary = child_arm(&settings, parent, child);
            arm(child.observed(0.0), child.in_flight.into(), summary)
        });
        Ok(Arms {
            is_fertile: parent.is_fertile(self.config.max_depth),
            max_children: match self.config.policy {
                Policy::AbMcts { .. } => None,
                Policy::Widening { k, alpha, .. } => Some(limit(k, alpha, parent.all_visits())),
            },
            generate: arm(parent.generated, generating, generate),
            proceed: arm(parent.continued, below, proceed),
            children: children.collect(),
            nodes,
        })
    }

    /// The ids from below the root down to a node; empty for the root. O(depth).
    ///
    /// # Errors
    ///
    /// `UnknownNode`.
    pub fn path(&self, node: u32) -> Result<Vec<u32>, Error> {
        self.find(node)?;
        let mut path: Vec<u32> = self.arena.ancestors(node).collect();
        path.pop();
        path.reverse();
        Ok(path)
    }

    /// The node with the highest own value, of equals the oldest; `None` where no node has a value.
    /// O(nodes).
    pub fn best(&self) -> Option<u32> {
        let mut best: Option<(u32, f32)> = None;
        for (index, node) in self.arena.nodes.iter().enumerate() {
            let is_better = best.is_none_or(|(_, most)| node.value > most);
            if is_better && !node.value.is_nan() {
                best = Some((index as u32, node.value));
            }
        }
        best.map(|(node, _)| node)
    }

    /// The child of the root with the most completed visits, its child likewise, and so on; of equals
    /// the one with the highest mean, then the eldest. O(depth * children).
    pub fn principal_variation(&self) -> Vec<u32> {
        let mut path = Vec::new();
        let mut node = ROOT;
        while let Some(child) = self.most_visited(node) {
            path.push(child);
            node = child;
        }
        path
    }

    fn most_visited(&self, node: u32) -> Option<u32> {
        let rank = |child: u32| {
            let child = self.arena.get(child);
            (child.visits(), self.mean(child))
        };
        self.arena.children(node).reduce(|best, child| {
            if rank(child) > rank(best) {
                child
            } else {
                best
            }
        })
    }

    pub(super) fn find(&self, node: u32) -> Result<(), Error> {
        if (node as usize) < self.arena.len() {
            return Ok(());
        }
        Err(Error::UnknownNode {
            node: node.into(),
            num_nodes: self.num_nodes(),
        })
    }
}

fn arm(sums: Sums, in_flight: u32, (mean, spread): (f64, f64)) -> Arm {
    Arm {
        visits: sums.count,
        in_flight,
        mean,
        spread,
    }
}
