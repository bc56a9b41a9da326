//! Solved parts of the tree: what is known to all its ends has its exact value.
//!
//! An edge is solved when it is terminal, or when every edge of its node is. An agent picks the best
//! ending, so a solved edge is worth the greatest of them.
//!
//! Source: Winands et al. 2008, "Monte-Carlo tree search solver", for one player; values: Cazenave &
//! Saffidine 2010, "Score bounded Monte-Carlo tree search", where both bounds meet.

use super::TreeSearch;
use crate::select::is_solved;
use crate::tree::Block;

impl TreeSearch {
    /// Marks the nodes above new endings whose edges are all solved, and gives their edges their
    /// value.
    pub(super) fn prove(&mut self) {
        let ended = std::mem::take(&mut self.ended);
        if self.config.solve {
            for &block in &ended {
                self.prove_from(block);
            }
        }
        self.ended = ended;
        self.ended.clear();
    }

    fn prove_from(&mut self, mut block: Block) {
        loop {
            let is_proven = self.tree.is_solved(block);
            if is_proven
                || !self
                    .tree
                    .edges(block)
                    .all(|edge| is_solved(&self.tree, &edge))
            {
                return;
            }
            self.tree.set_solved(block);
            let Some((above, edge)) = self.tree.parent(block) else {
                return;
            };
            let values = self.tree.edges(block).map(|edge| edge.value);
            let best = values.fold(f32::NEG_INFINITY, f32::max);
            self.tree.set_value(above, edge, best);
            block = above;
        }
    }

    /// Whether every way on from the root is known to its end. Only where the search solves.
    pub fn is_solved(&self) -> bool {
        self.tree.is_solved(Block::ROOT)
    }

    /// Whether nothing is left to ask for, now or later: every edge of the tree has been visited and
    /// leads to an end, to a limit or to a state that is explored elsewhere; or the root is solved; or
    /// best-first search has visited every edge that it may.
    ///
    /// PUCT, UCT and Gumbel still complete simulations then, on what is known, unless the root is
    /// solved.
    pub fn is_exhausted(&self) -> bool {
        let is_settled = self.tickets.num_open() == 0 && self.parked.is_empty();
        let is_known = self.askable == 0 && is_settled && self.held.calls.is_empty();
        self.is_finished() || (is_known && !self.config.policy.is_best_first())
    }

    /// Whether no further simulation can be made: the root is solved, or best-first search is through.
    pub(super) fn is_finished(&self) -> bool {
        if self.config.policy.is_best_first() {
            self.in_flight == 0 && self.is_list_empty()
        } else {
            self.is_solved()
        }
    }
}
