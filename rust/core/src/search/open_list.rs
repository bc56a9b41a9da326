//! Best-first and beam search: the best edge of the whole tree is visited next, each edge once.
//!
//! The open list holds the edges that were never visited, and the leaves that wait for candidates.
//! Entries are never taken out of its middle: one whose edge has changed meanwhile is passed over.
//!
//! Source: best-first search with a scorer as its evaluation function: Pearl 1984, "Heuristics",
//! section 2.3, and for web agents Koh et al. 2024 (arXiv 2407.01476); beam search: Lowerre 1976.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::ask::Visit;
use super::{Policy, TreeSearch};
use crate::tree::{Block, Child, LeafState, Tree};

/// An edge that may be visited, or a leaf that may be expanded.
#[derive(Clone, Copy, Debug)]
struct Open {
    value: f32,
    prior: f32,
    block: Block,
    edge: u32,
    /// Edges from the root to the block.
    depth: u32,
}

impl Open {
    /// The greater one is taken first: the higher value, then the higher prior, then the older node,
    /// then the lower index.
    fn rank(&self, other: &Self) -> Ordering {
        let value = self.value.total_cmp(&other.value);
        let prior = self.prior.total_cmp(&other.prior);
        let place = |open: &Self| Reverse((open.block.word(), open.edge));
        value.then(prior).then(place(self).cmp(&place(other)))
    }
}

/// Best-first puts the best first; beam search the shallowest, and of these the best.
#[derive(Clone, Copy, Debug)]
struct Entry {
    open: Open,
    is_by_level: bool,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = self.open.rank(&other.open);
        if self.is_by_level {
            other.open.depth.cmp(&self.open.depth).then(rank)
        } else {
            rank
        }
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// The open edges of a search, by rank.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenList {
    heap: BinaryHeap<Entry>,
    /// Visited edges of each level, for beam search.
    visited: Vec<u32>,
}

impl OpenList {
    pub(super) fn nbytes(&self) -> usize {
        self.heap.len() * size_of::<Entry>()
    }

    fn count_visit(&mut self, depth: u32) {
        let depth = depth as usize;
        if self.visited.len() <= depth {
            self.visited.resize(depth + 1, 0);
        }
        self.visited[depth] += 1;
    }

    fn visited(&self, depth: u32) -> u32 {
        self.visited.get(depth as usize).copied().unwrap_or(0)
    }
}

/// Whether an entry still holds, in a beam of this width: its edge may be visited or expanded, and
/// has the value that it is ranked by.
fn holds(tree: &Tree, list: &OpenList, open: &Open, width: u32) -> bool {
    let edge = tree.edge(open.block, open.edge);
    if (edge.value + 0.0).to_bits() != open.value.to_bits() {
        return false;
    }
    match edge.child {
        Child::Fresh => list.visited(open.depth) < width,
        Child::Leaf(LeafState::Open) => true,
        _ => false,
    }
}

impl TreeSearch {
    /// Lists the edges of a new node `depth` edges below the root.
    #[inline]
    pub(super) fn list_edges(&mut self, block: Block, depth: u32) {
        if !self.config.policy.is_best_first() {
            return;
        }
        for edge in 0..self.tree.count(block) as u32 {
            self.list_edge((block, edge, depth));
        }
    }

    /// Lists one edge, if it may be visited or expanded.
    #[inline]
    pub(super) fn list_edge(&mut self, place: (Block, u32, u32)) {
        if self.config.policy.is_best_first() {
            self.push_edge(place);
        }
    }

    fn push_edge(&mut self, (block, index, depth): (Block, u32, u32)) {
        let edge = self.tree.edge(block, index);
        if matches!(edge.child, Child::Fresh | Child::Leaf(LeafState::Open)) {
            let open = Open {
                value: edge.value + 0.0, // one zero only
                prior: edge.prior,
                block,
                edge: index,
                depth,
            };
            let is_by_level = matches!(self.config.policy, Policy::Beam { .. });
            self.open_list.heap.push(Entry { open, is_by_level });
        }
    }

    /// Lists the whole tree again, as it is now. O(tree).
    pub(super) fn list_anew(&mut self) {
        if !self.config.policy.is_best_first() {
            return;
        }
        self.open_list = OpenList::default();
        let blocks: Vec<Block> = self.tree.blocks().collect();
        let mut depths = Vec::with_capacity(blocks.len());
        for block in blocks {
            let above = self.tree.parent(block);
            let depth = above.map_or(0, |(above, _)| depths[self.tree.node(above) as usize] + 1);
            depths.push(depth);
            for edge in 0..self.tree.count(block) as u32 {
                if self.tree.edge(block, edge).visits > 0 {
                    self.open_list.count_visit(depth);
                }
            }
            self.list_edges(block, depth);
        }
    }

    /// Counts a visit of an edge `depth` edges below the root that was fresh, or takes it back.
    pub(super) fn count_visit(&mut self, depth: u32, is_taken_back: bool) {
        if is_taken_back {
            self.open_list.visited[depth as usize] -= 1;
        } else {
            self.open_list.count_visit(depth);
        }
    }

    /// Opens the best `most` edges. Beam search goes on to a level only when nothing is in flight
    /// above it, as the edges of that level are not all known before.
    pub(super) fn open_best(&mut self, most: u32) {
        let width = self.beam_width();
        let is_beam = matches!(self.config.policy, Policy::Beam { .. });
        let mut least = self.tickets.least_depth().unwrap_or(u32::MAX);
        for _ in 0..most {
            let Some(open) = self.peek(width) else { break };
            if is_beam && open.depth > least {
                break;
            }
            least = least.min(open.depth);
            self.open_list.heap.pop();
            self.send((open.block, open.edge, open.depth));
        }
    }

    /// The best entry that still holds.
    fn peek(&mut self, width: u32) -> Option<Open> {
        while let Some(&Entry { open, .. }) = self.open_list.heap.peek() {
            if holds(&self.tree, &self.open_list, &open, width) {
                return Some(open);
            }
            self.open_list.heap.pop();
        }
        None
    }

    pub(super) fn is_list_empty(&self) -> bool {
        let width = self.beam_width();
        let mut entries = self.open_list.heap.iter();
        !entries.any(|entry| holds(&self.tree, &self.open_list, &entry.open, width))
    }

    fn beam_width(&self) -> u32 {
        match self.config.policy {
            Policy::Beam { width } => width,
            _ => u32::MAX,
        }
    }

    /// Sends one simulation to an edge, counted on every edge above.
    pub(super) fn send(&mut self, (block, edge, depth): (Block, u32, u32)) {
        self.in_flight += 1;
        let mut below = block;
        while let Some((above, edge)) = self.tree.parent(below) {
            let count = self.tree.count(above);
            self.tree.enter(above, count, edge as usize, 1);
            below = above;
        }
        let is_fresh = self.tree.edge(block, edge).child == Child::Fresh;
        if is_fresh && self.config.policy.is_best_first() {
            self.count_visit(depth, false);
        }
        let count = self.tree.count(block);
        self.descent()
            .enter(Visit::of(block, depth, 1), count, edge, 1);
    }
}
