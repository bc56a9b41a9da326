//! Which cached entries begin alike, within a bound of bytes.

use std::collections::{HashMap, VecDeque};

use super::radix::{Radix, Token};
use crate::Error;

/// What [`PrefixIndex::insert`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inserted {
    /// The entry, or None where it alone is larger than the capacity.
    pub entry: Option<u64>,
    /// Entries that gave way to it, least recently used first.
    pub evicted: Vec<u64>,
}

/// What [`PrefixIndex::find`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The entry.
    pub entry: u64,
    /// How many tokens it shares from the start, at least 1.
    pub shared: usize,
}

/// What an index holds and how often it helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexStats {
    /// Entries it holds.
    pub entries: usize,
    /// Bytes they take, as their owner said.
    pub nbytes: u64,
    /// The most bytes they may take.
    pub capacity_bytes: u64,
    /// Finds of an equal sequence.
    pub hits: u64,
    /// Finds of a sequence that begins alike.
    pub partial_hits: u64,
    /// Finds of nothing.
    pub misses: u64,
    /// Entries that gave way to others.
    pub evictions: u64,
}

#[derive(Debug)]
struct Usage {
    nbytes: u64,
    last_use: u64,
}

/// Sequences of tokens by their beginnings, the least recently used given up first.
///
/// An entry stands for what somebody keeps for a sequence, such as keys and values, and takes the
/// bytes that its owner says. A token is an id and a key: what else must agree for two equal ids
/// to be the same token, such as the picture that an image token shows a part of. Entry ids are
/// never given twice. The index itself takes 16 bytes a token of what it holds.
///
/// # Example
///
/// ```
/// use similar_fast_core::prefix::PrefixIndex;
///
/// let mut index = PrefixIndex::new(100);
/// let first = index.insert(&[5, 6, 7], &[], 60)?.entry;
/// assert_eq!(index.find(&[5, 6, 9], &[])?.map(|found| found.shared), Some(2));
/// assert_eq!(index.insert(&[8], &[], 60)?.evicted, Vec::from_iter(first));
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
#[derive(Debug)]
pub struct PrefixIndex {
    radix: Radix,
    usages: HashMap<u64, Usage>,
    /// (entry, use), in the order of use; only an entry's last use counts.
    uses: VecDeque<(u64, u64)>,
    num_uses: u64,
    stats: IndexStats,
}

impl PrefixIndex {
    /// An empty index whose entries may take `capacity_bytes` together.
    pub fn new(capacity_bytes: u64) -> Self {
        Self {
            radix: Radix::new(),
            usages: HashMap::new(),
            uses: VecDeque::new(),
            num_uses: 0,
            stats: IndexStats {
                capacity_bytes,
                ..IndexStats::default()
            },
        }
    }

    /// Puts a sequence of n tokens in, `[n]` `ids` and `[n]` `keys` (empty where all are 0), whose
    /// entry takes `nbytes`, as the most recently used.
    ///
    /// If the same sequence is in already, it keeps its entry, which takes `nbytes` from now on.
    /// Where `nbytes` alone exceeds the capacity nothing changes. Amortised O(n).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] where there is no token, or not one key for each.
    pub fn insert(&mut self, ids: &[i64], keys: &[u64], nbytes: u64) -> Result<Inserted, Error> {
        check(ids, keys)?;
        if ids.is_empty() {
            return Err(Error::invalid("ids", "one token or more", "none"));
        }
        if nbytes > self.stats.capacity_bytes {
            return Ok(Inserted {
                entry: None,
                evicted: Vec::new(),
            });
        }
        let entry = self.radix.insert(ids.len(), |at| token(ids, keys, at));
        if let Some(old) = self.usages.get(&entry) {
            self.stats.nbytes -= old.nbytes;
        }
        self.mark(entry);
        let evicted = self.evict_to(self.stats.capacity_bytes - nbytes);
        if let Some(usage) = self.usages.get_mut(&entry) {
            usage.nbytes = nbytes;
        }
        self.stats.nbytes += nbytes;
        Ok(Inserted {
            entry: Some(entry),
            evicted,
        })
    }

    /// The entry that shares the longest beginning with a sequence of n tokens, given as to
    /// [`PrefixIndex::insert`], and marks it used.
    ///
    /// Of several that share it, the entry whose own sequence ends there if there is one, else any.
    /// Counts a hit where the sequences are equal, a partial hit where they are not, and a miss
    /// where no first token is the same. Amortised O(n).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] where there is not one key for each token.
    pub fn find(&mut self, ids: &[i64], keys: &[u64]) -> Result<Option<Found>, Error> {
        check(ids, keys)?;
        let found = self.radix.find(ids.len(), |at| token(ids, keys, at));
        let Some((entry, shared, is_whole)) = found else {
            self.stats.misses += 1;
            return Ok(None);
        };
        if is_whole {
            self.stats.hits += 1;
        } else {
            self.stats.partial_hits += 1;
        }
        self.mark(entry);
        Ok(Some(Found { entry, shared }))
    }

    /// Forgets every entry. What was counted stays, and these are no evictions.
    pub fn clear(&mut self) {
        self.radix.clear();
        self.usages = HashMap::new();
        self.uses = VecDeque::new();
        self.stats.nbytes = 0;
    }

    /// What it holds now and how often it helped.
    pub fn stats(&self) -> IndexStats {
        IndexStats {
            entries: self.radix.len(),
            ..self.stats
        }
    }

    /// Makes an entry the most recently used.
    fn mark(&mut self, entry: u64) {
        self.num_uses += 1;
        let last_use = self.num_uses;
        let usage = self.usages.entry(entry).or_insert(Usage {
            nbytes: 0,
            last_use,
        });
        usage.last_use = last_use;
        self.uses.push_back((entry, last_use));
        if self.uses.len() > 2 * self.usages.len() + 16 {
            let Self { uses, usages, .. } = self;
            uses.retain(|use_| is_last(usages, *use_));
        }
    }

    /// Gives up the least recently used until the rest takes at most `limit` bytes.
    fn evict_to(&mut self, limit: u64) -> Vec<u64> {
        let mut evicted = Vec::new();
        while self.stats.nbytes > limit {
            let oldest = self
                .uses
                .pop_front()
                .expect("entries with bytes have a use in the queue each. This is a bug.");
            if !is_last(&self.usages, oldest) {
                continue;
            }
            let entry = oldest.0;
            if let Some(usage) = self.usages.remove(&entry) {
                self.stats.nbytes -= usage.nbytes;
            }
            self.radix.remove(entry);
            self.stats.evictions += 1;
            evicted.push(entry);
        }
        evicted
    }
}

/// Whether a use of an entry is its last, and the entry is still there.
fn is_last(usages: &HashMap<u64, Usage>, (entry, at): (u64, u64)) -> bool {
    usages.get(&entry).is_some_and(|usage| usage.last_use == at)
}

fn token(ids: &[i64], keys: &[u64], at: usize) -> Token {
    (ids[at], keys.get(at).copied().unwrap_or(0))
}

fn check(ids: &[i64], keys: &[u64]) -> Result<(), Error> {
    if keys.is_empty() || keys.len() == ids.len() {
        return Ok(());
    }
    let found = format!("{} for {}", keys.len(), ids.len());
    Err(Error::invalid("keys", "one for each token", found))
}

#[cfg(test)]
mod tests;
