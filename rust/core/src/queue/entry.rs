//! What goes into the queue and what comes out of it.

use std::time::Duration;

/// What waits to be in a batch: one thing, or a run of things of the same kind and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The caller's name for it, or for the first of a run; unique among those that wait. A run is
    /// cancelled under this name, as a whole.
    pub id: u64,
    /// Entries in the run: the ids `id..id + count`, which no other run shares. A batch may split
    /// it.
    pub count: u32,
    /// The size of each, counted against `max_batch_tokens`; decides its bucket.
    pub tokens: u32,
    /// The size of each, counted against `max_batch_pixels`.
    pub pixels: u32,
    /// The head start, in steps of `priority_step`; more goes earlier.
    pub priority: i8,
    /// When it is no longer wanted: it is then handed out as expired, and in no batch.
    pub deadline: Option<Duration>,
    /// What it holds, as a fingerprint: entries with equal keys that wait together share a row,
    /// so keys must differ wherever answers do. Only for a `count` of 1.
    pub key: Option<u128>,
}

impl Default for Entry {
    /// Entry 0: one, of no size, priority 0, no deadline and no key.
    fn default() -> Self {
        Self {
            id: 0,
            count: 1,
            tokens: 0,
            pixels: 0,
            priority: 0,
            deadline: None,
            key: None,
        }
    }
}

impl Entry {
    /// One entry of a size in tokens, with nothing else about it.
    pub fn new(id: u64, tokens: u32) -> Self {
        Self {
            id,
            tokens,
            ..Self::default()
        }
    }
}

/// The ids `first..first + count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first id.
    pub first: u64,
    /// How many there are; at least 1.
    pub count: u32,
}

/// An entry that shares the row of another with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rider {
    /// The row of the batch, from 0.
    pub row: u32,
    /// The rider's id.
    pub id: u64,
}

/// Entries that were taken together: each id of each run is one row, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The rows.
    pub runs: Vec<Run>,
    /// Who wants a row as well; empty unless entries have keys.
    pub riders: Vec<Rider>,
}

impl Batch {
    /// Rows.
    pub fn len(&self) -> usize {
        self.runs.iter().map(|run| run.count as usize).sum()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The id of each row.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        let runs = self.runs.iter();
        runs.flat_map(|run| run.first..run.first + u64::from(run.count))
    }

    pub(super) fn append(&mut self, first: u64, count: u32) {
        match self.runs.last_mut() {
            Some(run) if run.first + u64::from(run.count) == first => run.count += count,
            _ => self.runs.push(Run { first, count }),
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The next batch; its entries have left the queue.
    Batch(Batch),
    /// The deadline of these ids has passed; they have left the queue.
    Expired(Vec<u64>),
    /// Nothing yet; unless something changes, ask again at this time.
    WaitUntil(Duration),
    /// The queue is empty.
    Idle,
}
