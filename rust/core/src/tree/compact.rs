//! Keeping one subtree and freeing the rest.

use super::{Block, Child, HEADER, ID, LINK, LeafState, MARKED, PADDING, Tree};

/// What became of a tree of which a part was kept.
pub(crate) struct Moved {
    /// The tree before. The headers of kept nodes hold, marked, the new block instead of the id.
    old: Tree,
    /// `[num_nodes]`, the id that each node had before.
    pub(crate) kept: Vec<u32>,
}

impl Moved {
    /// Where a block went; `None` if it was freed.
    pub(crate) fn block(&self, before: Block) -> Option<Block> {
        let word = before.word();
        let is_kept = self.old.words[word + LINK] & MARKED != 0;
        is_kept.then(|| Block(self.old.words[word + ID]))
    }
}

impl Tree {
    /// Makes `root`, a child of the root, the root: copies its subtree into a fresh arena and frees
    /// everything else. Leaves that lay at a limit open again, and so do those that were merged with
    /// what is freed.
    ///
    /// Blocks are copied breadth first, the new arena itself being the queue (Cheney 1970), and get
    /// their ids in this order. O(nodes kept).
    pub(crate) fn keep(&mut self, root: Block) -> Moved {
        let empty = Self::new(self.rows.emptied(), self.limit);
        let mut moved = Moved {
            old: std::mem::replace(self, empty),
            kept: Vec::new(),
        };
        let mut merged = Vec::new();
        let mut block = self.copy(&mut moved, root, None);
        while block.word() < self.words.len() - PADDING {
            for edge in 0..self.count(block) as u32 {
                match self.edge(block, edge).child {
                    Child::Node(child) => {
                        let below = self.copy(&mut moved, child, Some((block, edge)));
                        self.set_child(block, edge, Child::Node(below));
                    }
                    Child::Leaf(LeafState::Limited) => {
                        self.set_child(block, edge, Child::Leaf(LeafState::Open));
                    }
                    Child::Merged(with) => merged.push((block, edge, with)),
                    _ => {}
                }
            }
            block = self.after(block);
        }
        for (block, edge, with) in merged {
            let child = moved
                .block(with)
                .map_or(Child::Leaf(LeafState::Open), Child::Merged);
            self.set_child(block, edge, child);
        }
        moved
    }

    /// Frees every node; the next one to be added is the root.
    pub(crate) fn clear(&mut self) {
        self.words.truncate(PADDING);
        self.words.fill(0);
        self.landmarks.clear();
        self.rows = self.rows.emptied();
        self.num_nodes = 0;
    }

    fn copy(&mut self, moved: &mut Moved, from: Block, parent: Option<(Block, u32)>) -> Block {
        let (count, node) = (moved.old.count(from), moved.old.node(from));
        let block = self.append(parent, count);
        let first = Self::row(from, node, 0);
        self.rows
            .copy(&moved.old.rows, first..first + count, self.limit);
        if moved.old.is_solved(from) {
            self.set_solved(block);
        }
        let (start, end) = (from.word() + HEADER, from.word() + Self::length(count));
        let columns = block.word() + HEADER..block.word() + Self::length(count);
        self.words[columns].copy_from_slice(&moved.old.words[start..end]);
        moved.kept.push(node);
        moved.old.words[from.word() + ID] = block.0;
        moved.old.words[from.word() + LINK] |= MARKED;
        block
    }
}
