//! The arena that holds a search tree: one block of 16-byte units for each expanded node.
//!
//! ```text
//! header, 4 words    node id | parent block | parent edge, edge count | depth, flags
//! visits  u32 [n]    completed and in flight
//! value   f32 [n]    mean or maximum of what was completed; before that the edge's first value
//! child   u32 [n]    2 bits of tag, 30 bits of payload
//! packed  u32 [n]    prior in the upper, visits in flight in the lower 16 bits
//! ```
//!
//! So an edge costs 16 bytes and a node with 4 edges 80. A leaf is nothing but its parent's edge:
//! its block is made when its candidates are known. A node's visits are not stored: they are one
//! more than the sum of its edges' visits. `docs/decisions/search-layout.md` says why.

mod ascent;
mod compact;
pub(crate) mod prior;

pub(crate) use ascent::{Ascent, Change};

/// Words of a block's header.
pub(crate) const HEADER: usize = 4;
/// Words of a unit, which block addresses count.
const UNIT: usize = 4;
/// Words after the last block, so that a vector of the widest kernel may start at any column.
pub(crate) const PADDING: usize = 32;
/// The most edges a node can have.
pub(crate) const MAX_EDGES: usize = 65_535;
/// The lower half of a packed word: visits in flight.
pub(crate) const IN_FLIGHT: u32 = 0xffff;

const PAYLOAD_BITS: u32 = 30;
const PAYLOAD: u32 = (1 << PAYLOAD_BITS) - 1;
const NOWHERE: u32 = u32::MAX;
const MARKED: u32 = 1;

/// Where a block starts, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block(u32);

impl Block {
    /// The first block of an arena.
    pub(crate) const FIRST: Self = Self(0);

    /// The index of its first word.
    #[inline]
    pub(crate) const fn word(self) -> usize {
        self.0 as usize * UNIT
    }
}

/// What an evaluated leaf waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafState {
    /// Its candidates.
    Open,
    /// Nothing: the episode ends there.
    Terminal,
    /// Nothing: it lies at the depth limit.
    Limited,
}

/// What an edge leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    /// Never selected.
    Fresh,
    /// Asked for; the payload is the ticket's slot.
    Pending(u32),
    /// Evaluated, not expanded.
    Leaf(LeafState),
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
            Self::Node(block) => 3 << PAYLOAD_BITS | block.0,
        }
    }

    #[inline]
    fn from_word(word: u32) -> Self {
        let payload = word & PAYLOAD;
        match word >> PAYLOAD_BITS {
            0 => Self::Fresh,
            1 => Self::Pending(payload),
            2 => Self::Leaf(match payload {
                0 => LeafState::Open,
                1 => LeafState::Terminal,
                _ => LeafState::Limited,
            }),
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

/// One edge, read out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edge {
    pub(crate) visits: u32,
    pub(crate) in_flight: u32,
    pub(crate) value: f32,
    pub(crate) prior: f32,
    pub(crate) child: Child,
}

/// The arena, and which node lives where.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) words: Vec<u32>,
    blocks: Vec<u32>,
    free_nodes: Vec<u32>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self {
            words: vec![0; PADDING],
            blocks: Vec::new(),
            free_nodes: Vec::new(),
        }
    }

    /// Units of 16 bytes that a node with `count` edges takes.
    pub(crate) const fn units(count: usize) -> usize {
        1 + count
    }

    /// Whether the addresses last for `units` more.
    pub(crate) fn has_room(&self, units: usize) -> bool {
        let used = (self.words.len() - PADDING) / UNIT;
        used + units <= PAYLOAD as usize
    }

    /// Adds a node and returns its block; the caller has checked the room and links it.
    pub(crate) fn add(
        &mut self,
        parent: Option<(Block, u32)>,
        count: usize,
        priors: Option<&[f32]>,
        first_values: FirstValues<'_>,
    ) -> Block {
        let base = self.words.len() - PADDING;
        let block = Block((base / UNIT) as u32);
        let depth = parent.map_or(0, |(above, _)| self.depth(above) + 1);
        let node = self.name(block);
        self.grow(Self::units(count) * UNIT);
        let (above, edge) = parent.map_or((NOWHERE, 0), |(above, edge)| (above.0, edge));
        let words = &mut self.words[base..];
        words[0] = node;
        words[1] = above;
        words[2] = edge << 16 | count as u32;
        words[3] = depth << 16;
        let (_visits, words) = words[HEADER..].split_at_mut(count);
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

    /// Gives `block` a node id, a freed one where there is one.
    fn name(&mut self, block: Block) -> u32 {
        if let Some(node) = self.free_nodes.pop() {
            self.blocks[node as usize] = block.0;
            return node;
        }
        self.blocks.push(block.0);
        self.blocks.len() as u32 - 1
    }

    /// Makes the arena `words` longer, all zero; reserves half as much again, not double.
    fn grow(&mut self, words: usize) {
        let length = self.words.len() + words;
        if length > self.words.capacity() {
            let reserve = (length / 2).max(1024);
            self.words.reserve_exact(words + reserve);
        }
        self.words.resize(length, 0);
    }

    /// Where a node lives, or `None` for an id that no node has.
    pub(crate) fn block(&self, node: u32) -> Option<Block> {
        match self.blocks.get(node as usize) {
            Some(&block) if block != NOWHERE => Some(Block(block)),
            _ => None,
        }
    }

    /// The ids of all nodes, ascending.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = u32> {
        let all = 0..self.blocks.len() as u32;
        all.filter(|&node| self.blocks[node as usize] != NOWHERE)
    }

    pub(crate) fn num_nodes(&self) -> usize {
        self.blocks.len() - self.free_nodes.len()
    }

    /// Bytes in use: the arena and the node table.
    pub(crate) fn nbytes(&self) -> usize {
        4 * (self.words.len() + self.blocks.len() + self.free_nodes.len())
    }

    pub(crate) fn node(&self, block: Block) -> u32 {
        self.words[block.word()]
    }

    /// The block above and the edge that leads here; `None` for the root.
    #[inline]
    pub(crate) fn parent(&self, block: Block) -> Option<(Block, u32)> {
        let above = self.words[block.word() + 1];
        (above != NOWHERE).then(|| (Block(above), self.words[block.word() + 2] >> 16))
    }

    #[inline]
    pub(crate) fn count(&self, block: Block) -> usize {
        (self.words[block.word() + 2] & 0xffff) as usize
    }

    #[inline]
    pub(crate) fn depth(&self, block: Block) -> u32 {
        self.words[block.word() + 3] >> 16
    }

    pub(crate) fn value(&self, block: Block, edge: u32) -> f32 {
        let at = block.word() + HEADER + self.count(block) + edge as usize;
        f32::from_bits(self.words[at])
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

    pub(crate) fn edges(&self, block: Block) -> impl Iterator<Item = Edge> {
        (0..self.count(block) as u32).map(move |edge| self.edge(block, edge))
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
