//! Tree reuse: one step is taken for good, and its subtree becomes the tree.

use super::{Candidates, Held, OpenList, TreeSearch, invalid};
use crate::Error;
use crate::tree::{Block, Child, LeafState};

impl TreeSearch {
    /// Makes the child behind `action` the root and frees everything that is not below it.
    ///
    /// Nodes below the child keep their counts, and leaves at the depth limit open again. Open leaves
    /// below it stay open; telling or failing any other is accepted and does nothing. The scale of
    /// `Normalize::MinMax` is kept; Gumbel makes a new plan, without noise. O(nodes kept); until it
    /// returns both trees take memory.
    ///
    /// Nodes get new ids, breadth first. Returned are the old ids, `[num_nodes]`, in the order of the
    /// new ones, so that a column kept beside the tree follows by taking these rows. Where the child
    /// is not expanded, `candidates` are read, the root is a new node and nothing is returned: no old
    /// node is kept. In a deterministic search more nodes may follow those kept, where this ends a
    /// round by discarding its last open leaf; [`Self::settled`] has them.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: no such action, or candidates outside of their range. `NotExpanded`: the
    /// child has no candidates, and none are given. `TerminalAction`. Nothing is changed then.
    pub fn advance(
        &mut self,
        action: u32,
        candidates: Option<Candidates<'_>>,
    ) -> Result<Vec<u32>, Error> {
        let count = self.tree.count(Block::ROOT);
        if action as usize >= count {
            let found = format!("{action} of {count}");
            return Err(invalid(
                "action",
                "an index of the root's candidates",
                found,
            ));
        }
        match (self.tree.edge(Block::ROOT, action).child, candidates) {
            (Child::Node(block), _) => Ok(self.keep(block)),
            (Child::Leaf(LeafState::Terminal), _) => Err(Error::TerminalAction { action }),
            (_, None) => Err(Error::NotExpanded { action }),
            (_, Some(candidates)) => {
                candidates.check(self.config)?;
                self.restart(action, candidates);
                Ok(Vec::new())
            }
        }
    }

    fn keep(&mut self, block: Block) -> Vec<u32> {
        let moved = self.tree.keep(block);
        self.tickets.follow(|block| moved.block(block));
        self.parked.retain_mut(|parked| {
            let Some(block) = moved.block(parked.block) else {
                return false;
            };
            parked.block = block;
            parked.depth -= 1;
            true
        });
        let parked = self.parked.iter();
        let waiting = parked.filter(|parked| parked.block == Block::ROOT);
        self.in_flight = waiting.map(|parked| parked.visits).sum();
        self.completed = 0;
        for edge in self.tree.edges(Block::ROOT) {
            self.in_flight += edge.in_flight;
            self.completed += u64::from(edge.done());
        }
        self.keys.retain(|_, block| {
            let kept = moved.block(*block);
            *block = kept.unwrap_or(*block);
            kept.is_some()
        });
        self.held.follow(&moved.kept);
        self.is_full = false;
        self.count_askable();
        self.list_anew();
        self.plan_anew();
        self.settle_earlier();
        moved.kept
    }

    /// Begins anew below an action that was never expanded.
    fn restart(&mut self, action: u32, candidates: Candidates<'_>) {
        let value = self.tree.value(Block::ROOT, action);
        self.tree.clear();
        self.tickets.follow(|_| None);
        self.parked.clear();
        self.in_flight = 0;
        self.completed = 0;
        self.askable = 0;
        self.keys.clear();
        self.is_full = false;
        self.held = Held::default();
        self.open_list = OpenList::default();
        self.expand_root(candidates, value);
    }
}
