//! Keeping one subtree and freeing the rest.

use super::{Block, Child, HEADER, LeafState, NOWHERE, PADDING, Tree, UNIT};

/// What became of a tree of which a part was kept.
pub(crate) struct Moved {
    /// The tree before; only good for looking up nodes.
    pub(crate) old: Tree,
    /// The root now.
    pub(crate) root: Block,
}

impl Tree {
    /// Makes `root` the root: copies its subtree into a fresh arena and frees everything else.
    ///
    /// Kept nodes keep their ids; the other ids are given anew, smallest first. Every depth shrinks
    /// by that of `root`, and leaves at the depth limit open again. Blocks are
    /// copied breadth first, the new arena itself being the queue (Cheney 1970). O(nodes kept).
    pub(crate) fn keep(&mut self, root: Block) -> Moved {
        let shift = self.depth(root);
        let old = std::mem::replace(self, Self::new());
        self.blocks = vec![NOWHERE; old.blocks.len()];
        let kept = self.copy(&old, root, (NOWHERE, 0), shift);
        let mut at = kept.word();
        while at < self.words.len() - PADDING {
            let block = Block((at / UNIT) as u32);
            let count = self.count(block);
            for edge in 0..count as u32 {
                match self.edge(block, edge).child {
                    Child::Node(child) => {
                        let moved = self.copy(&old, child, (block.0, edge), shift);
                        self.set_child(block, edge, Child::Node(moved));
                    }
                    Child::Leaf(LeafState::Limited) if shift > 0 => {
                        self.set_child(block, edge, Child::Leaf(LeafState::Open));
                    }
                    _ => {}
                }
            }
            at += Self::units(count) * UNIT;
        }
        self.collect_free();
        Moved { old, root: kept }
    }

    /// Frees every node; the next one to be added is the root.
    pub(crate) fn clear(&mut self) {
        self.words.truncate(PADDING);
        self.words.fill(0);
        self.blocks.fill(NOWHERE);
        self.collect_free();
    }

    fn copy(&mut self, old: &Self, from: Block, (above, edge): (u32, u32), shift: u32) -> Block {
        let length = Self::units(old.count(from)) * UNIT;
        let base = self.words.len() - PADDING;
        self.grow(length);
        let source = &old.words[from.word()..from.word() + length];
        self.words[base..base + length].copy_from_slice(source);
        self.words[base + 1] = above;
        self.words[base + 2] = edge << 16 | (source[2] & 0xffff);
        self.words[base + 3] -= shift << 16;
        let block = Block((base / UNIT) as u32);
        self.blocks[source[0] as usize] = block.0;
        block
    }

    fn collect_free(&mut self) {
        let ids = (0..self.blocks.len()).rev();
        let free = ids.filter(|&node| self.blocks[node] == NOWHERE);
        self.free_nodes = free.map(|node| node as u32).collect();
    }
}

const _: () = assert!(HEADER == UNIT, "a header is one unit");
