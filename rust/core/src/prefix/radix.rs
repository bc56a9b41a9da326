//! The radix tree of the sequences in an index: a node for each end and each parting.
//!
//! No node holds tokens. What leads to it is read from its *witness*, any one sequence that passes
//! through it; so each sequence's tokens are held once, and go when it goes.

use std::collections::HashMap;

/// An id, and what else must agree for two tokens to be the same.
pub(super) type Token = (i64, u64);

const ROOT: u32 = 0;

/// A point of the tree where a sequence ends or several part.
#[derive(Debug, Clone, Default)]
struct Node {
    parent: u32,
    /// Where it stands among its parent's children.
    place: u32,
    /// Tokens from the start to here.
    depth: usize,
    children: Vec<u32>,
    /// A sequence that passes through or ends here; of the root, which has no tokens, none.
    witness: u64,
    /// The sequence that ends here.
    end: Option<u64>,
}

#[derive(Debug)]
struct Sequence {
    tokens: Box<[Token]>,
    node: u32,
}

/// How far a sequence is known.
#[derive(Debug, Clone, Copy)]
struct Walk {
    /// The deepest node on its way.
    node: u32,
    /// The child of that node on the way to which it leaves the tree.
    below: Option<u32>,
    /// Tokens that are known.
    shared: usize,
}

/// Sequences by number, and the tree of their beginnings. O(tokens) memory; no call recurses.
#[derive(Debug)]
pub(super) struct Radix {
    nodes: Vec<Node>,
    /// Nodes that are in no tree now.
    free: Vec<u32>,
    /// The child of a node by the first token on the way to it.
    children: HashMap<(u32, Token), u32>,
    sequences: HashMap<u64, Sequence>,
    next_number: u64,
}

impl Radix {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
            free: Vec::new(),
            children: HashMap::new(),
            sequences: HashMap::new(),
            next_number: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Forgets every sequence; their numbers are not given again.
    pub(super) fn clear(&mut self) {
        *self = Self {
            next_number: self.next_number,
            ..Self::new()
        };
    }

    /// A sequence that shares the longest beginning with these `len` tokens, how many tokens that
    /// is, and whether it is the whole of both; None where no first token is the same. O(`len`).
    pub(super) fn find(
        &self,
        len: usize,
        token: impl Fn(usize) -> Token,
    ) -> Option<(u64, usize, bool)> {
        let walk = self.walk(len, token);
        if walk.shared == 0 {
            return None;
        }
        let node = &self.nodes[walk.below.unwrap_or(walk.node) as usize];
        match node.end {
            Some(end) if walk.below.is_none() => Some((end, walk.shared, walk.shared == len)),
            _ => Some((node.witness, walk.shared, false)),
        }
    }

    /// The number of the sequence of these `len` tokens, at least one; put in if it is new. O(`len`).
    pub(super) fn insert(&mut self, len: usize, token: impl Fn(usize) -> Token) -> u64 {
        let walk = self.walk(len, &token);
        let last = &self.nodes[walk.node as usize];
        if let (None, true, Some(end)) = (walk.below, walk.shared == len, last.end) {
            return end;
        }
        let number = self.next_number;
        self.next_number += 1;
        let mut node = match walk.below {
            Some(below) => self.split(below, walk.shared),
            None => walk.node,
        };
        if walk.shared < len {
            node = self.add(node, len, number, token(walk.shared));
        }
        self.nodes[node as usize].end = Some(number);
        let tokens = (0..len).map(token).collect();
        self.sequences.insert(number, Sequence { tokens, node });
        number
    }

    /// Takes a sequence out. O(its tokens).
    pub(super) fn remove(&mut self, number: u64) {
        let Some(gone) = self.sequences.remove(&number) else {
            return;
        };
        self.nodes[gone.node as usize].end = None;
        let mut node = self.prune(gone.node, &gone.tokens);
        while node != ROOT {
            if self.nodes[node as usize].witness == number {
                let heir = self.heir(node);
                self.nodes[node as usize].witness = heir;
            }
            node = self.nodes[node as usize].parent;
        }
    }

    fn walk(&self, len: usize, token: impl Fn(usize) -> Token) -> Walk {
        let (mut node, mut shared) = (ROOT, 0);
        while shared < len {
            let Some(&child) = self.children.get(&(node, token(shared))) else {
                break;
            };
            let Node { depth, witness, .. } = self.nodes[child as usize];
            let known = &self.sequences[&witness].tokens[..depth];
            let stop = depth.min(len);
            // The first token on the way to a child is what it was found by.
            shared += 1;
            while shared < stop && known[shared] == token(shared) {
                shared += 1;
            }
            if shared < depth {
                return Walk {
                    node,
                    below: Some(child),
                    shared,
                };
            }
            node = child;
        }
        Walk {
            node,
            below: None,
            shared,
        }
    }

    /// Removes the node at the end of a removed sequence, or its parent, where nothing ends or parts
    /// there any more; returns the deepest node that is left on the sequence's way.
    fn prune(&mut self, node: u32, tokens: &[Token]) -> u32 {
        let Node {
            parent, children, ..
        } = &self.nodes[node as usize];
        let parent = *parent;
        match children.len() {
            0 => {
                self.drop_leaf(node, tokens);
                let above = &self.nodes[parent as usize];
                let is_needed = above.end.is_some() || above.children.len() != 1;
                if parent == ROOT || is_needed {
                    parent
                } else {
                    self.join(parent, tokens)
                }
            }
            1 => self.join(node, tokens),
            _ => node,
        }
    }

    /// A sequence that passes through or ends in a node, by its end or its first child.
    fn heir(&self, node: u32) -> u64 {
        let node = &self.nodes[node as usize];
        node.end
            .unwrap_or_else(|| self.nodes[node.children[0] as usize].witness)
    }

    /// Makes a node at `depth` on the way to `below`.
    fn split(&mut self, below: u32, depth: usize) -> u32 {
        let Node {
            parent,
            place,
            witness,
            ..
        } = self.nodes[below as usize];
        let above = self.nodes[parent as usize].depth;
        let tokens = &self.sequences[&witness].tokens;
        let (first, parting) = (tokens[above], tokens[depth]);
        let node = self.take(Node {
            parent,
            place,
            depth,
            children: vec![below],
            witness,
            end: None,
        });
        self.nodes[parent as usize].children[place as usize] = node;
        self.children.insert((parent, first), node);
        self.nodes[below as usize].parent = node;
        self.nodes[below as usize].place = 0;
        self.children.insert((node, parting), below);
        node
    }

    /// Takes a node with one child out from between its parent and that child; returns the parent.
    fn join(&mut self, node: u32, tokens: &[Token]) -> u32 {
        let Node {
            parent,
            place,
            depth,
            ref children,
            ..
        } = self.nodes[node as usize];
        let child = children[0];
        let witness = self.nodes[child as usize].witness;
        let parting = self.sequences[&witness].tokens[depth];
        let first = tokens[self.nodes[parent as usize].depth];
        self.children.remove(&(node, parting));
        self.children.insert((parent, first), child);
        self.nodes[parent as usize].children[place as usize] = child;
        self.nodes[child as usize].parent = parent;
        self.nodes[child as usize].place = place;
        self.give(node);
        parent
    }

    /// Hangs a new leaf under `parent`.
    fn add(&mut self, parent: u32, depth: usize, witness: u64, first: Token) -> u32 {
        let place = self.nodes[parent as usize].children.len() as u32;
        let node = self.take(Node {
            parent,
            place,
            depth,
            children: Vec::new(),
            witness,
            end: None,
        });
        self.nodes[parent as usize].children.push(node);
        self.children.insert((parent, first), node);
        node
    }

    fn drop_leaf(&mut self, node: u32, tokens: &[Token]) {
        let Node { parent, place, .. } = self.nodes[node as usize];
        let above = &mut self.nodes[parent as usize];
        let first = tokens[above.depth];
        above.children.swap_remove(place as usize);
        if let Some(&moved) = above.children.get(place as usize) {
            self.nodes[moved as usize].place = place;
        }
        self.children.remove(&(parent, first));
        self.give(node);
    }

    fn take(&mut self, node: Node) -> u32 {
        if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            return at;
        }
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    fn give(&mut self, node: u32) {
        self.nodes[node as usize] = Node::default();
        self.free.push(node);
    }
}

#[cfg(test)]
mod tests;
