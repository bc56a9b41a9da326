//! The trie of all sequences: a node is a token together with everything before it.

use std::collections::HashMap;

use super::pack::Tokens;

/// The node that is no token: the beginning of every sequence. As a link it says "none".
pub(super) const ROOT: u32 = 0;

/// A token that follows its parent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Node {
    /// Where the token stands in the flattened input, for the first sequence that has it.
    source: u32,
    pub(super) parent: u32,
    /// Tokens from the start to this one, itself included.
    pub(super) depth: u32,
    oldest_child: u32,
    newest_child: u32,
    younger_sibling: u32,
}

/// Nodes in the order in which the sequences, one after another, come to need them; so a parent
/// stands before its children, and elder before younger siblings.
#[derive(Debug)]
pub(super) struct Trie {
    pub(super) nodes: Vec<Node>,
    /// The node of each token of the flattened input.
    pub(super) node_of: Vec<u32>,
    /// The node of each sequence's last token.
    pub(super) ends: Vec<u32>,
    /// The children beside the oldest of each node, which is compared and not looked up.
    siblings: HashMap<(u32, Identity), u32>,
}

/// What makes tokens with equal parents one: id, key and position.
type Identity = (i64, u64, [i64; 3]);

impl Trie {
    /// The trie of sequences of these lengths. O(tokens).
    pub(super) fn new(tokens: &Tokens<'_>, lengths: &[usize]) -> Self {
        let mut trie = Self {
            nodes: Vec::with_capacity(tokens.ids.len() + 1),
            node_of: Vec::with_capacity(tokens.ids.len()),
            ends: Vec::with_capacity(lengths.len()),
            siblings: HashMap::new(),
        };
        trie.nodes.push(Node::default());
        let mut source = 0;
        for &length in lengths {
            let mut node = ROOT;
            for _ in 0..length {
                node = trie.child(node, source, tokens);
                trie.node_of.push(node);
                source += 1;
            }
            trie.ends.push(node);
        }
        trie
    }

    /// The node after `node` when parents stand before their children and elder before younger
    /// siblings; past the whole of its subtree unless `descends`.
    pub(super) fn next(&self, mut node: u32, descends: bool) -> Option<u32> {
        let child = self.nodes[node as usize].oldest_child;
        if descends && child != ROOT {
            return Some(child);
        }
        while node != ROOT {
            let Node {
                younger_sibling,
                parent,
                ..
            } = self.nodes[node as usize];
            if younger_sibling != ROOT {
                return Some(younger_sibling);
            }
            node = parent;
        }
        None
    }

    /// How many tokens each subtree holds, its top included; of the root, which is none, all tokens.
    pub(super) fn sizes(&self) -> Vec<u32> {
        let mut sizes = vec![1; self.nodes.len()];
        sizes[ROOT as usize] = 0;
        for node in (1..self.nodes.len()).rev() {
            sizes[self.nodes[node].parent as usize] += sizes[node];
        }
        sizes
    }

    /// The child of `parent` for the token at `source`, made if need be.
    fn child(&mut self, parent: u32, source: u32, tokens: &Tokens<'_>) -> u32 {
        let oldest = self.nodes[parent as usize].oldest_child;
        if oldest == ROOT {
            return self.add(parent, source);
        }
        let oldest_source = self.nodes[oldest as usize].source;
        if tokens.are_same(oldest_source as usize, source as usize) {
            return oldest;
        }
        let identity = (parent, identity(tokens, source as usize));
        if let Some(&sibling) = self.siblings.get(&identity) {
            return sibling;
        }
        let node = self.add(parent, source);
        self.siblings.insert(identity, node);
        node
    }

    fn add(&mut self, parent: u32, source: u32) -> u32 {
        let node = self.nodes.len() as u32;
        let above = &mut self.nodes[parent as usize];
        let elder = std::mem::replace(&mut above.newest_child, node);
        let depth = above.depth + 1;
        if elder == ROOT {
            above.oldest_child = node;
        } else {
            self.nodes[elder as usize].younger_sibling = node;
        }
        self.nodes.push(Node {
            source,
            parent,
            depth,
            ..Node::default()
        });
        node
    }
}

fn identity(tokens: &Tokens<'_>, at: usize) -> Identity {
    let mut position = [0; 3];
    for (slot, found) in position.iter_mut().zip(tokens.position(at)) {
        *slot = found;
    }
    (tokens.ids[at], tokens.key(at), position)
}
