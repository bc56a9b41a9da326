//! Which sequence goes into which row.

use super::trie::{ROOT, Trie};

const NONE: u32 = u32::MAX;

/// Rows, filled one after another.
#[derive(Debug)]
pub(super) struct Plan {
    /// The row of each sequence.
    pub(super) row_of: Vec<u32>,
    /// How many tokens each row holds.
    pub(super) sizes: Vec<usize>,
}

/// Rows of shared beginnings.
///
/// The largest subtrees that fit into a row, counted with the path to them, are placed in the
/// trie's order, each into the row being filled if it has room, else into a new one. So
/// neighbouring rows hold more than `max_tokens` together, and only a single longer sequence
/// exceeds it. O(tokens of the input and of the rows).
pub(super) fn plan_shared(trie: &Trie, max_tokens: usize) -> Plan {
    let subtree_sizes = trie.sizes();
    let mut is_end = vec![false; trie.nodes.len()];
    for &end in &trie.ends {
        is_end[end as usize] = true;
    }
    let mut filling = Filling::new(trie, max_tokens);
    let mut subtree_rows = vec![NONE; trie.nodes.len()];
    let mut end_rows = vec![NONE; trie.nodes.len()];
    let mut next = Some(ROOT);
    while let Some(node) = next {
        let at = node as usize;
        let above = trie.nodes[at].parent;
        let size = subtree_sizes[at] as usize;
        let fits = trie.nodes[above as usize].depth as usize + size <= max_tokens;
        if fits {
            subtree_rows[at] = filling.place(above, size);
        } else if is_end[at] {
            end_rows[at] = filling.place(node, 0);
        }
        next = trie.next(node, !fits);
    }
    for (node, links) in trie.nodes.iter().enumerate() {
        if subtree_rows[node] == NONE {
            subtree_rows[node] = subtree_rows[links.parent as usize];
        }
    }
    let row_of_end = |&end: &u32| match end_rows[end as usize] {
        NONE => subtree_rows[end as usize],
        row => row,
    };
    Plan {
        row_of: trie.ends.iter().map(row_of_end).collect(),
        sizes: filling.sizes,
    }
}

/// Rows of whole sequences in the order of the input, of which only equal ones are shared; filled
/// as those of [`plan_shared`].
pub(super) fn plan_whole(trie: &Trie, max_tokens: usize) -> Plan {
    let mut rows = vec![NONE; trie.nodes.len()];
    let mut sizes: Vec<usize> = Vec::new();
    for &end in &trie.ends {
        let length = trie.nodes[end as usize].depth as usize;
        if rows[end as usize] != NONE {
            continue;
        }
        match sizes.last_mut() {
            Some(size) if *size + length <= max_tokens => *size += length,
            _ => sizes.push(length),
        }
        rows[end as usize] = sizes.len() as u32 - 1;
    }
    Plan {
        row_of: trie.ends.iter().map(|&end| rows[end as usize]).collect(),
        sizes,
    }
}

/// The row being filled is the last.
struct Filling<'a> {
    trie: &'a Trie,
    max_tokens: usize,
    sizes: Vec<usize>,
    /// The last row that holds a node as part of a path.
    path_rows: Vec<u32>,
}

impl<'a> Filling<'a> {
    fn new(trie: &'a Trie, max_tokens: usize) -> Self {
        Self {
            trie,
            max_tokens,
            sizes: Vec::new(),
            path_rows: vec![NONE; trie.nodes.len()],
        }
    }

    /// Seats the path from the root to `last` and `size` tokens below it; returns their row.
    fn place(&mut self, last: u32, size: usize) -> u32 {
        let depth = self.trie.nodes[last as usize].depth as usize;
        let missing = depth - self.shared_depth(last);
        match self.sizes.last_mut() {
            Some(filled) if *filled + missing + size <= self.max_tokens => {
                *filled += missing + size;
            }
            _ => self.sizes.push(depth + size),
        }
        let row = self.sizes.len() as u32 - 1;
        let mut node = last;
        while node != ROOT && self.path_rows[node as usize] != row {
            self.path_rows[node as usize] = row;
            node = self.trie.nodes[node as usize].parent;
        }
        row
    }

    /// How many tokens of the path to `last` the row being filled holds already.
    fn shared_depth(&self, last: u32) -> usize {
        let row = (self.sizes.len() as u32).wrapping_sub(1);
        let mut node = last;
        while node != ROOT && (row == NONE || self.path_rows[node as usize] != row) {
            node = self.trie.nodes[node as usize].parent;
        }
        self.trie.nodes[node as usize].depth as usize
    }
}
