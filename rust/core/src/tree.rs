//! The arena that holds a search tree: one block of 32-bit words for each expanded node.
//!
//! ```text
//! header, 3 words    node id | parent edge, edge count | marked, solved, parent block
//! visits  u32 [n]    completed and in flight
//! value   f32 [n]    mean or maximum of what was completed; before that the edge's first value
//! child   u32 [n]    2 bits of tag, 30 bits of payload
//! packed  u32 [n]    prior in the upper, visits in flight in the lower 16 bits
//! ```
//!
//! So an edge costs 16 bytes and a node with 4 edges 76. A leaf is nothing but its parent's edge:
//! its block is made when its candidates are known. A node's visits are not stored: they are one
//! more than the sum of its edges' visits. Nor is its depth: whoever goes down or up counts along.
//! What an edge was told, where a search needs it later, stands in rows beside the arena.
//!
//! The root is the first block, and ids are given in the order of the blocks. So a block is found
//! by its id from the nearest landmark on, and only every 8th node needs one.
//! `docs/decisions/search-layout.md` says why.

mod ascent;
mod compact;
pub(crate) mod prior;
mod rows;

pub(crate) use ascent::{Ascent, Change, bounded, power_mean};
pub(crate) use rows::{Rows, scalar_of};

/// Words of a block's header.
pub(crate) const HEADER: usize = 3;
/// The header's word with the edge that leads here and the number of edges.
pub(crate) const SHAPE: usize = 1;
const ID: usize = 0;
const LINK: usize = 2;
/// Nodes from one landmark to the next.
const STRIDE: usize = 8;
/// Words after the last block, so that a vector of the widest kernel may start at any column.
pub(crate) const PADDING: usize = 32;
/// The most edges a node can have.
pub(crate) const MAX_EDGES: usize = 65_535;
/// The greatest magnitude of a value; the difference of two is still finite.
pub(crate) const MAX_VALUE: f32 = 1e38;
/// The lower half of a packed word: visits in flight.
pub(crate) const IN_FLIGHT: u32 = 0xffff;

const PAYLOAD_BITS: u32 = 30;
const PAYLOAD: u32 = (1 << PAYLOAD_BITS) - 1;
/// The parent of the root.
const NOWHERE: u32 = PAYLOAD;
/// The flag in a link that says that the id's word holds something else for now.
const MARKED: u32 = 1 << 31;
/// The flag in a link that says that every way on from here is known to its end.
const SOLVED: u32 = 1 << 30;

/// Where a block starts, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block(u32);

impl Block {
    /// The first block of an arena is the root's.
    pub(crate) const ROOT: Self = Self(0);

    /// A block at an address that nobody has checked.
    pub(crate) const fn at(word: u32) -> Self {
        Self(word)
    }

    /// The index of its first word.
    #[inline]
    pub(crate) const fn word(self) -> usize {
        self.0 as usize
    }
}

/// What an evaluated leaf waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafState {
    /// Its candidates.
    Open,
    /// Nothing: the episode ends there.
    Terminal,
    /// Nothing: it lies at the depth limit, or the memory was spent.
    Limited,
}

/// Payloads of a leaf's word that name a [`LeafState`]; greater ones name the block it is merged with.
const LEAF_STATES: u32 = 3;

/// What an edge leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// Never selected.
    Fresh,
    /// Asked for; the payload is the ticket's slot.
    Pending(u32),
    /// Evaluated, not expanded.
    Leaf(LeafState),
    /// The same state as a node elsewhere.
    Merged(Block),
    /// Expanded.
    Node(Block),
}

impl Child {
    #[inline]
    fn to_word(self) -> u32 {
        match self {
            Self::Fresh => 0,
            Self::Pending(slot) => 1 << PAYLOAD_BITS | slot,
            Self::Leaf(state) => 2 << PAYLOAD_BITS | state as u32,
            Self::Merged(block) => 2 << PAYLOAD_BITS | (block.0 + LEAF_STATES),
            Self::Node(block) => 3 << PAYLOAD_BITS | block.0,
        }
    }

    #[inline]
    fn from_word(word: u32) -> Self {
        let payload = word & PAYLOAD;
        match word >> PAYLOAD_BITS {
            0 => Self::Fresh,
            1 => Self::Pending(payload),
            2 => match payload {
                0 => Self::Leaf(LeafState::Open),
                1 => Self::Leaf(LeafState::Terminal),
                2 => Self::Leaf(LeafState::Limited),
                _ => Self::Merged(Block(payload - LEAF_STATES)),
            },
            _ => Self::Node(Block(payload)),
        }
    }
}

/// The values of edges before their first completed visit, in the scorer's scale.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FirstValues<'a> {
    /// `[n]`, one for each edge.
    Each(&'a [f32]),
    /// The same for every edge.
    Same(f32),
}

/// A node to be added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewNode<'a> {
    /// Its edges.
    pub(crate) count: usize,
    /// `[count]`, made to sum to one; uniform where absent.
    pub(crate) priors: Option<&'a [f32]>,
    pub(crate) first_values: FirstValues<'a>,
    /// `[count * channels]` and, with a gate, its weights; unknown where absent.
    pub(crate) rows: Option<(&'a [f32], Option<&'a [f32]>)>,
}

/// One edge, read out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) visits: u32,
    pub(crate) in_flight: u32,
    pub(crate) value: f32,
    pub(crate) prior: f32,
    pub(crate) child: Child,
}

impl Edge {
    /// Completed visits.
    #[inline]
    pub(crate) fn done(&self) -> u32 {
        self.visits - self.in_flight
    }
}

/// The arena, and where every 8th node lives.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) words: Vec<u32>,
    landmarks: Vec<u32>,
    num_nodes: u32,
    pub(crate) rows: Rows,
    /// Bytes that the arena and the rows may take.
    limit: usize,
}

impl Tree {
    /// An empty tree that never takes more than `limit` bytes.
    pub(crate) fn new(rows: Rows, limit: usize) -> Self {
        Self {
            words: vec![0; PADDING],
            landmarks: Vec::new(),
            num_nodes: 0,
            rows,
            limit,
        }
    }

    /// The words of all blocks.
    pub(crate) fn saved_words(&self) -> &[u32] {
        &self.words[..self.words.len() - PADDING]
    }

    /// A tree of saved words; `None` if they are not whole blocks with at least one edge each, in the
    /// order of their ids. What the blocks say of one another is not checked.
    pub(crate) fn from_words(words: Vec<u32>, rows: Rows, limit: usize) -> Option<Self> {
        let mut tree = Self::new(rows, limit);
        let end = words.len();
        if end == 0 || end > PAYLOAD as usize {
            return None;
        }
        tree.words = words;
        tree.words.resize(end + PADDING, 0);
        let mut at = 0;
        while at < end {
            let block = Block(at as u32);
            let is_whole = end - at > HEADER
                && tree.count(block) > 0
                && end - at >= Self::length(tree.count(block))
                && tree.words[at + ID] == tree.num_nodes
                && tree.words[at + LINK] & MARKED == 0;
            if !is_whole {
                return None;
            }
            if (tree.num_nodes as usize).is_multiple_of(STRIDE) {
                tree.landmarks.push(block.0);
            }
            tree.num_nodes += 1;
            at += Self::length(tree.count(block));
        }
        Some(tree)
    }

    /// Whether there is one row for each edge.
    pub(crate) fn rows_fit(&self) -> bool {
        let edges = (self.words.len() - PADDING - HEADER * self.num_nodes as usize) / 4;
        self.rows.len() == edges * self.rows.width()
    }

    /// Words that a node with `count` edges takes.
    #[inline]
    pub(crate) const fn length(count: usize) -> usize {
        HEADER + 4 * count
    }

    /// Whether the addresses last for `words` more.
    pub(crate) fn has_room(&self, words: usize) -> bool {
        self.words.len() - PADDING + words <= PAYLOAD as usize
    }

    /// Whether a node with `count` edges fits into the tree's bytes and addresses.
    pub(crate) fn may_grow(&self, count: usize) -> bool {
        let words = Self::length(count) + 1 + count * self.rows.width();
        self.has_room(Self::length(count)) && self.nbytes() + 4 * words <= self.limit
    }

    /// Adds a node and returns its block; the caller has checked the room and links it. Without a
    /// parent it is the root, and the first node.
    pub(crate) fn add(&mut self, parent: Option<(Block, u32)>, node: NewNode<'_>) -> Block {
        let NewNode {
            count,
            priors,
            first_values,
            rows,
        } = node;
        let block = self.append(parent, count);
        self.rows.append(count, rows, self.limit);
        let words = &mut self.words[block.word() + HEADER..];
        let (_visits, words) = words.split_at_mut(count);
        let (values, words) = words.split_at_mut(count);
        match first_values {
            FirstValues::Each(given) => {
                for (word, value) in values.iter_mut().zip(given) {
                    *word = value.to_bits();
                }
            }
            FirstValues::Same(value) => values.fill(value.to_bits()),
        }
        write_priors(&mut words[count..2 * count], priors);
        block
    }

    /// Appends a block that is all zero behind its header.
    fn append(&mut self, parent: Option<(Block, u32)>, count: usize) -> Block {
        let block = Block((self.words.len() - PADDING) as u32);
        let node = self.num_nodes;
        self.num_nodes += 1;
        if (node as usize).is_multiple_of(STRIDE) {
            self.landmarks.push(block.0);
        }
        self.grow(Self::length(count));
        let (above, edge) = parent.map_or((NOWHERE, 0), |(above, edge)| (above.0, edge));
        let words = &mut self.words[block.word()..];
        words[ID] = node;
        words[SHAPE] = edge << 16 | count as u32;
        words[LINK] = above;
        block
    }

    /// Makes the arena `words` longer, all zero.
    fn grow(&mut self, words: usize) {
        let length = self.words.len() + words;
        reserve(&mut self.words, words, self.limit);
        self.words.resize(length, 0);
    }

    /// Where a node lives, or `None` for an id that no node has.
    pub(crate) fn block(&self, node: u32) -> Option<Block> {
        if node >= self.num_nodes {
            return None;
        }
        let landmark = Block(self.landmarks[node as usize / STRIDE]);
        let steps = 0..node as usize % STRIDE;
        Some(steps.fold(landmark, |block, _| self.after(block)))
    }

    /// Where the next block starts, or the padding.
    fn after(&self, block: Block) -> Block {
        Block(block.0 + Self::length(self.count(block)) as u32)
    }

    /// Ids are 0 to one less.
    pub(crate) fn num_nodes(&self) -> u32 {
        self.num_nodes
    }

    /// Bytes in use: the arena, the landmarks and the rows.
    pub(crate) fn nbytes(&self) -> usize {
        4 * (self.words.len() + self.landmarks.len() + self.rows.len())
    }

    /// All blocks, in the order of their ids.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        let first = (self.num_nodes > 0).then_some(Block::ROOT);
        let end = self.words.len() - PADDING;
        std::iter::successors(first, move |&block| {
            Some(self.after(block)).filter(|next| next.word() < end)
        })
    }

    /// Where the rows have an edge of a block: `node` edges' headers lie before it.
    #[inline]
    pub(crate) fn row(block: Block, node: u32, edge: u32) -> usize {
        (block.word() - HEADER * node as usize) / 4 + edge as usize
    }

    /// What an edge was told, as one number; `node` is the block's id.
    #[inline]
    fn told(&self, block: Block, node: u32, edge: u32) -> f32 {
        self.rows.scalar(Self::row(block, node, edge))
    }

    /// Whether every way on from a block is known to its end.
    pub(crate) fn is_solved(&self, block: Block) -> bool {
        self.words[block.word() + LINK] & SOLVED != 0
    }

    pub(crate) fn set_solved(&mut self, block: Block) {
        self.words[block.word() + LINK] |= SOLVED;
    }

    pub(crate) fn node(&self, block: Block) -> u32 {
        self.words[block.word() + ID]
    }

    /// The block above and the edge that leads here; `None` for the root.
    #[inline]
    pub(crate) fn parent(&self, block: Block) -> Option<(Block, u32)> {
        let above = self.words[block.word() + LINK] & PAYLOAD;
        (above != NOWHERE).then(|| (Block(above), self.words[block.word() + SHAPE] >> 16))
    }

    /// The blocks above, from the nearest to the root, and the edge on the way from each.
    pub(crate) fn ancestors(&self, block: Block) -> impl Iterator<Item = (Block, u32)> {
        std::iter::successors(self.parent(block), |&(above, _)| self.parent(above))
    }

    #[inline]
    pub(crate) fn count(&self, block: Block) -> usize {
        (self.words[block.word() + SHAPE] & 0xffff) as usize
    }

    pub(crate) fn value(&self, block: Block, edge: u32) -> f32 {
        let at = block.word() + HEADER + self.count(block) + edge as usize;
        f32::from_bits(self.words[at])
    }

    pub(crate) fn set_value(&mut self, block: Block, edge: u32, value: f32) {
        let at = block.word() + HEADER + self.count(block) + edge as usize;
        self.words[at] = value.to_bits();
    }

    pub(crate) fn set_child(&mut self, block: Block, edge: u32, child: Child) {
        let at = block.word() + HEADER + 2 * self.count(block) + edge as usize;
        self.words[at] = child.to_word();
    }

    /// Adds `times` visits in flight to an edge of a block with `count` edges; what it leads to.
    #[inline]
    pub(crate) fn enter(&mut self, block: Block, count: usize, edge: usize, times: u32) -> Child {
        let at = block.word() + HEADER + edge;
        self.words[at] += times;
        self.words[at + 3 * count] += times;
        Child::from_word(self.words[at + 2 * count])
    }

    pub(crate) fn edge(&self, block: Block, edge: u32) -> Edge {
        let count = self.count(block);
        let at = block.word() + HEADER + edge as usize;
        let packed = self.words[at + 3 * count];
        Edge {
            visits: self.words[at],
            in_flight: packed & IN_FLIGHT,
            value: f32::from_bits(self.words[at + count]),
            prior: prior::decode(packed),
            child: Child::from_word(self.words[at + 2 * count]),
        }
    }

    pub(crate) fn edges(&self, block: Block) -> impl Iterator<Item = Edge> + Clone {
        (0..self.count(block) as u32).map(move |edge| self.edge(block, edge))
    }
}

/// Makes room for `more` words: for half of all again, not double, and never beyond `limit` bytes.
fn reserve<T>(words: &mut Vec<T>, more: usize, limit: usize) {
    let length = words.len() + more;
    if length > words.capacity() {
        let spare = (length / 2).max(1024);
        let most = (limit / size_of::<T>()).max(length);
        words.reserve_exact((length + spare).min(most) - words.len());
    }
}

/// Writes priors, made to sum to one, into the packed words of a new block; uniform where absent.
fn write_priors(packed: &mut [u32], priors: Option<&[f32]>) {
    let Some(priors) = priors else {
        let uniform = 1.0 / packed.len() as f64;
        packed.fill(prior::encode(uniform as f32) << 16);
        return;
    };
    let sum: f64 = priors.iter().map(|&prior| f64::from(prior)).sum();
    for (word, &prior) in packed.iter_mut().zip(priors) {
        *word = prior::encode((f64::from(prior) / sum) as f32) << 16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_with_the_addresses() {
        let mut tree = Tree::new(Rows::none(), usize::MAX);
        let root = NewNode {
            count: 2,
            priors: None,
            first_values: FirstValues::Same(0.0),
            rows: None,
        };
        tree.add(None, root);
        let left = PAYLOAD as usize - Tree::length(2);

        assert!(tree.has_room(left));
        assert!(!tree.has_room(left + 1));
    }
}
