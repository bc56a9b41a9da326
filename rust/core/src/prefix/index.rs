//! Which beginnings are cached: entries by their tokens, the least recently used given up first.

use std::collections::{BTreeMap, HashMap};

use crate::Error;

const ROOT: u32 = 0;

/// An id, and what tells tokens of equal id apart.
type Token = (i64, u64);

/// What [`PrefixIndex::find`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The entry.
    pub entry: u64,
    /// How many tokens, from the first, it shares with what was looked for.
    pub shared: usize,
}

/// What [`PrefixIndex::insert`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inserted {
    /// The entry; none where it alone is larger than the index may hold.
    pub entry: Option<u64>,
    /// The entries that gave way, the least recently used first.
    pub evicted: Vec<u64>,
}

/// What an index holds and how often it helped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Entries.
    pub entries: usize,
    /// Bytes of all entries, as the callers count them.
    pub nbytes: u64,
    /// Look-ups that found the whole.
    pub hits: u64,
    /// Look-ups that found a beginning.
    pub partial_hits: u64,
    /// Look-ups that found nothing.
    pub misses: u64,
    /// Entries that gave way to others.
    pub evictions: u64,
}

/// A radix tree over the tokens of cached entries, bounded by their bytes.
///
/// A node's edge holds the tokens between its parent and itself. Beside the root every node has an
/// entry or two children at least, so there are fewer than twice as many nodes as entries.
#[derive(Debug)]
pub struct PrefixIndex {
    capacity_bytes: u64,
    nodes: Vec<Node>,
    free: Vec<u32>,
    entries: HashMap<u64, Entry>,
    /// Entries by the time of their last use.
    by_use: BTreeMap<u64, u64>,
    clock: u64,
    next_entry: u64,
    stats: IndexStats,
}

#[derive(Debug, Default)]
struct Node {
    parent: u32,
    edge: Vec<Token>,
    /// By the first token of the child's edge.
    children: HashMap<Token, u32>,
    entry: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    node: u32,
    nbytes: u64,
    used: u64,
}

/// How far a walk came.
struct Walk {
    /// The deepest node whose edge was matched whole.
    node: u32,
    /// The child of `node` whose edge was matched in part, and how far.
    within: Option<(u32, usize)>,
    /// Tokens matched in all.
    matched: usize,
}

impl PrefixIndex {
    /// An empty index for entries of `capacity_bytes` together.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        Self {
            capacity_bytes,
            nodes: vec![Node::default()],
            free: Vec::new(),
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            clock: 0,
            next_entry: 0,
            stats: IndexStats::default(),
        }
    }

    /// The most bytes of all entries together.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// What it holds now and how often it helped.
    #[must_use]
    pub fn stats(&self) -> IndexStats {
        IndexStats {
            entries: self.entries.len(),
            ..self.stats
        }
    }

    /// Notes an entry of `nbytes` for these tokens; others give way until all fit.
    ///
    /// The tokens of an entry that is there already make it the last used one again, whatever
    /// `nbytes` is. Amortised O(tokens + log entries).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] where there is no token, or there are not as many keys as ids.
    pub fn insert(&mut self, ids: &[i64], keys: &[u64], nbytes: u64) -> Result<Inserted, Error> {
        let tokens = tokens_of(ids, keys)?;
        let walk = self.walk(&tokens);
        if walk.matched == tokens.len() && walk.within.is_none() {
            if let Some(entry) = self.nodes[walk.node as usize].entry {
                self.touch(entry);
                return Ok(Inserted {
                    entry: Some(entry),
                    evicted: Vec::new(),
                });
            }
        }
        if nbytes > self.capacity_bytes {
            return Ok(Inserted {
                entry: None,
                evicted: Vec::new(),
            });
        }
        let node = self.grow(&walk, &tokens);
        let entry = self.next_entry;
        self.next_entry += 1;
        self.nodes[node as usize].entry = Some(entry);
        self.entries.insert(
            entry,
            Entry {
                node,
                nbytes,
                used: self.clock,
            },
        );
        self.by_use.insert(self.clock, entry);
        self.clock += 1;
        self.stats.nbytes += nbytes;
        Ok(Inserted {
            entry: Some(entry),
            evicted: self.evict(),
        })
    }

    /// The entry that shares the longest beginning with these tokens, which is then the last used.
    ///
    /// An entry that is the whole goes before longer ones that begin with it. O(tokens).
    ///
    /// # Errors
    ///
    /// As [`PrefixIndex::insert`].
    pub fn find(&mut self, ids: &[i64], keys: &[u64]) -> Result<Option<Found>, Error> {
        let tokens = tokens_of(ids, keys)?;
        let walk = self.walk(&tokens);
        if walk.matched == 0 {
            self.stats.misses += 1;
            return Ok(None);
        }
        let top = walk.within.map_or(walk.node, |(child, _)| child);
        let entry = self.any_entry(top);
        let is_whole = walk.within.is_none()
            && walk.matched == tokens.len()
            && self.nodes[top as usize].entry.is_some();
        if is_whole {
            self.stats.hits += 1;
        } else {
            self.stats.partial_hits += 1;
        }
        self.touch(entry);
        Ok(Some(Found {
            entry,
            shared: walk.matched,
        }))
    }

    /// Forgets every entry; the counts of look-ups and evictions stay.
    pub fn clear(&mut self) {
        self.nodes = vec![Node::default()];
        self.free = Vec::new();
        self.entries = HashMap::new();
        self.by_use.clear();
        self.stats.nbytes = 0;
    }

    fn walk(&self, tokens: &[Token]) -> Walk {
        let (mut node, mut matched) = (ROOT, 0);
        while let Some(token) = tokens.get(matched) {
            let Some(&child) = self.nodes[node as usize].children.get(token) else {
                break;
            };
            let edge = &self.nodes[child as usize].edge;
            let common = edge
                .iter()
                .zip(&tokens[matched..])
                .take_while(|(left, right)| left == right)
                .count();
            matched += common;
            if common < edge.len() {
                return Walk {
                    node,
                    within: Some((child, common)),
                    matched,
                };
            }
            node = child;
        }
        Walk {
            node,
            within: None,
            matched,
        }
    }

    /// The node at the end of `tokens`, made where there is none.
    fn grow(&mut self, walk: &Walk, tokens: &[Token]) -> u32 {
        let above = match walk.within {
            Some((child, common)) => self.split(child, common),
            None => walk.node,
        };
        let rest = &tokens[walk.matched..];
        if rest.is_empty() {
            return above;
        }
        let node = self.add(Node {
            parent: above,
            edge: rest.to_vec(),
            ..Node::default()
        });
        self.nodes[above as usize].children.insert(rest[0], node);
        node
    }

    /// Puts a node behind the first `common` tokens of the edge to `child`; returns it.
    fn split(&mut self, child: u32, common: usize) -> u32 {
        let below = &mut self.nodes[child as usize];
        let rest = below.edge.split_off(common);
        let edge = std::mem::replace(&mut below.edge, rest);
        let (parent, first, next) = (below.parent, edge[0], below.edge[0]);
        let middle = self.add(Node {
            parent,
            edge,
            children: HashMap::from([(next, child)]),
            entry: None,
        });
        self.nodes[child as usize].parent = middle;
        self.nodes[parent as usize].children.insert(first, middle);
        middle
    }

    fn add(&mut self, node: Node) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }

    /// The entry of `node`, or else one below it.
    fn any_entry(&self, mut node: u32) -> u64 {
        loop {
            let Node {
                entry, children, ..
            } = &self.nodes[node as usize];
            match (entry, children.values().min()) {
                (Some(entry), _) => return *entry,
                (None, Some(&child)) => node = child,
                (None, None) => unreachable!("a leaf has an entry. This is a bug."),
            }
        }
    }

    fn touch(&mut self, entry: u64) {
        let found = self
            .entries
            .get_mut(&entry)
            .expect("a node's entry is known. This is a bug.");
        self.by_use.remove(&found.used);
        found.used = self.clock;
        self.by_use.insert(self.clock, entry);
        self.clock += 1;
    }

    fn evict(&mut self) -> Vec<u64> {
        let mut evicted = Vec::new();
        while self.stats.nbytes > self.capacity_bytes {
            let Some((_, entry)) = self.by_use.pop_first() else {
                break;
            };
            if let Some(Entry { node, nbytes, .. }) = self.entries.remove(&entry) {
                self.stats.nbytes -= nbytes;
                self.nodes[node as usize].entry = None;
                self.tidy(node);
            }
            self.stats.evictions += 1;
            evicted.push(entry);
        }
        evicted
    }

    /// Takes away a node without an entry that joins nothing, and its parent if that is left so.
    fn tidy(&mut self, node: u32) {
        let mut at = node;
        while at != ROOT && self.nodes[at as usize].entry.is_none() {
            let mut children = self.nodes[at as usize].children.values();
            match (children.next(), children.next()) {
                (None, _) => at = self.cut_off(at),
                (Some(&child), None) => {
                    self.join(at, child);
                    return;
                }
                (Some(_), Some(_)) => return,
            }
        }
    }

    /// Takes a leaf away; returns its parent.
    fn cut_off(&mut self, leaf: u32) -> u32 {
        let Node { parent, edge, .. } = std::mem::take(&mut self.nodes[leaf as usize]);
        self.nodes[parent as usize].children.remove(&edge[0]);
        self.free.push(leaf);
        parent
    }

    /// Takes `node` away, whose only child is `child`; the two edges become one.
    fn join(&mut self, node: u32, child: u32) {
        let Node {
            parent, mut edge, ..
        } = std::mem::take(&mut self.nodes[node as usize]);
        let first = edge[0];
        let below = &mut self.nodes[child as usize];
        edge.append(&mut below.edge);
        below.edge = edge;
        below.parent = parent;
        self.nodes[parent as usize].children.insert(first, child);
        self.free.push(node);
    }

    #[cfg(test)]
    pub(super) fn num_nodes(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}

fn tokens_of(ids: &[i64], keys: &[u64]) -> Result<Vec<Token>, Error> {
    if ids.is_empty() {
        return Err(Error::invalid("ids", "one token or more", "none"));
    }
    if ids.len() != keys.len() {
        let found = format!("{} for {}", keys.len(), ids.len());
        return Err(Error::invalid("keys", "one for each token", found));
    }
    Ok(ids.iter().copied().zip(keys.iter().copied()).collect())
}
