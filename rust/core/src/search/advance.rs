//! Tree reuse: one step is taken for good, and its subtree becomes the tree.

use super::{Candidates, TreeSearch, invalid};
use crate::Error;
use crate::tree::{Block, Child, LeafState};

impl TreeSearch {
    /// Makes the child behind `action` the root and frees everything that is not below it.
    ///
    /// `candidates` are read only where the child is not expanded. Nodes below the child keep their
    /// ids and counts, their depths shrink by one, and leaves at the depth limit open again. Open
    /// leaves below it stay open; telling or failing any other is accepted and does nothing. The
    /// scale of `Normalize::MinMax` is kept. O(nodes kept).
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: no such action, or candidates outside of their range. `NotExpanded`: the
    /// child has no candidates, and none are given. `TerminalAction`. Nothing is changed then.
    pub fn advance(
        &mut self,
        action: u32,
        candidates: Option<Candidates<'_>>,
    ) -> Result<(), Error> {
        let count = self.tree.count(self.root);
        if action as usize >= count {
            let found = format!("{action} of {count}");
            return Err(invalid(
                "action",
                "an index of the root's candidates",
                found,
            ));
        }
        match (self.tree.edge(self.root, action).child, candidates) {
            (Child::Node(block), _) => self.keep(block),
            (Child::Leaf(LeafState::Terminal), _) => return Err(Error::TerminalAction { action }),
            (_, None) => return Err(Error::NotExpanded { action }),
            (_, Some(candidates)) => {
                candidates.check()?;
                self.restart(action, candidates);
            }
        }
        Ok(())
    }

    fn keep(&mut self, block: Block) {
        let moved = self.tree.keep(block);
        self.root = moved.root;
        let tree = &self.tree;
        self.tickets
            .follow(|block| tree.block(moved.old.node(block)));
        self.parked
            .retain(|parked| tree.block(parked.node).is_some());
        let root = tree.node(self.root);
        let waiting = self.parked.iter().filter(|parked| parked.node == root);
        self.in_flight = waiting.map(|parked| parked.visits).sum();
        self.completed = 0;
        for edge in tree.edges(self.root) {
            self.in_flight += edge.in_flight;
            self.completed += u64::from(edge.visits - edge.in_flight);
        }
    }

    /// Begins anew below an action that was never expanded.
    fn restart(&mut self, action: u32, candidates: Candidates<'_>) {
        let value = self.tree.value(self.root, action);
        self.tree.clear();
        self.tickets.follow(|_| None);
        self.parked.clear();
        self.in_flight = 0;
        self.completed = 0;
        self.root = self.expand_root(candidates, value);
    }
}
