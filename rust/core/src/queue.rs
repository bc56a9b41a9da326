//! Who is in the next batch: a pure function of the entries, the limits and `now`.
//!
//! The queue holds ids and sizes; the payloads stay with whoever pushed them. It reads no clock
//! and takes no lock: `now` is an argument, counted from any origin the caller likes.
//! [`Batcher`](crate::batcher::Batcher) adds both.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::Error;

/// What a batch and the queue may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries in a batch, at most; at least 1.
    pub max_batch_size: usize,
    /// Tokens in a batch, at most; at least 1. None sets no limit.
    pub max_batch_tokens: Option<u64>,
    /// How long the oldest entry waits for company before its batch is ready.
    pub max_wait: Duration,
    /// Entries that may wait at once; at least `max_batch_size`, so that a full queue is always
    /// a ready batch.
    pub capacity: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_batch_size: 64,
            max_batch_tokens: None,
            max_wait: Duration::from_millis(2),
            capacity: 4096,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), Error> {
        if self.max_batch_size == 0 {
            return Err(Error::invalid("max_batch_size", "at least 1", "0"));
        }
        if self.max_batch_tokens == Some(0) {
            return Err(Error::invalid("max_batch_tokens", "at least 1", "0"));
        }
        if self.capacity < self.max_batch_size {
            return Err(Error::invalid(
                "capacity",
                "at least max_batch_size",
                format!("{} < {}", self.capacity, self.max_batch_size),
            ));
        }
        Ok(())
    }
}

/// One thing that waits to be in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The caller's name for it; unique among those that wait.
    pub id: u64,
    /// Its size, counted against `max_batch_tokens`.
    pub tokens: u32,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// These ids, oldest first, are the next batch; they have left the queue.
    Batch(Vec<u64>),
    /// Nothing yet; unless something changes, ask again at this time.
    WaitUntil(Duration),
    /// The queue is empty.
    Idle,
}

#[derive(Debug)]
struct Waiting {
    entry: Entry,
    arrival: Duration,
}

/// Entries in the order of their arrival, and the rule that makes batches of them.
///
/// Every pushed id leaves exactly once: in a batch, in order, or by [`cancel`](Self::cancel).
///
/// # Example
///
/// ```
/// use similar_fast_core::queue::{BatchQueue, Decision, Entry, Limits};
/// use std::time::Duration;
///
/// let limits = Limits { max_batch_size: 2, ..Limits::default() };
/// let mut queue = BatchQueue::new(limits)?;
/// queue.push(Entry { id: 7, tokens: 12 }, Duration::ZERO)?;
/// assert_eq!(queue.next_batch(Duration::ZERO), Decision::WaitUntil(limits.max_wait));
/// queue.push(Entry { id: 8, tokens: 30 }, Duration::ZERO)?;
/// assert_eq!(queue.next_batch(Duration::ZERO), Decision::Batch(vec![7, 8]));
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchQueue {
    limits: Limits,
    waiting: VecDeque<Waiting>,
    ids: HashSet<u64>,
    tokens: u64,
    is_closed: bool,
}

impl BatchQueue {
    /// An empty, open queue.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] where a limit is zero, or `capacity` is below `max_batch_size`.
    pub fn new(limits: Limits) -> Result<Self, Error> {
        limits.check()?;
        Ok(Self {
            limits,
            waiting: VecDeque::new(),
            ids: HashSet::new(),
            tokens: 0,
            is_closed: false,
        })
    }

    /// Appends one entry.
    ///
    /// # Errors
    ///
    /// As [`push_all`](Self::push_all).
    pub fn push(&mut self, entry: Entry, now: Duration) -> Result<(), Error> {
        self.push_all(&[entry], now)
    }

    /// Appends all of `entries`, or, on an error, none of them.
    ///
    /// # Errors
    ///
    /// - [`Error::QueueClosed`] after [`close`](Self::close).
    /// - [`Error::EntryTooLarge`] where an entry alone breaks `max_batch_tokens`.
    /// - [`Error::QueueFull`] where they do not all fit.
    /// - [`Error::DuplicateEntry`] where an id already waits, or comes twice.
    pub fn push_all(&mut self, entries: &[Entry], now: Duration) -> Result<(), Error> {
        self.check_entries(entries)?;
        if entries.len() > self.room() {
            return Err(Error::QueueFull {
                len: self.len(),
                capacity: self.limits.capacity,
                wanted: entries.len(),
            });
        }
        for (place, entry) in entries.iter().enumerate() {
            if !self.ids.insert(entry.id) {
                for undone in &entries[..place] {
                    self.ids.remove(&undone.id);
                }
                return Err(Error::DuplicateEntry { id: entry.id });
            }
        }
        for &entry in entries {
            self.tokens += u64::from(entry.tokens);
            self.waiting.push_back(Waiting {
                entry,
                arrival: now,
            });
        }
        Ok(())
    }

    /// The next batch, or when to ask again.
    ///
    /// A batch is ready when it is as large as the limits allow, when the oldest entry has waited
    /// `max_wait`, or at once when the queue is closed. It is the longest run of the oldest
    /// entries that breaks no limit. O(size of the batch).
    pub fn next_batch(&mut self, now: Duration) -> Decision {
        let Some(oldest) = self.waiting.front() else {
            return Decision::Idle;
        };
        let ready_at = oldest.arrival.saturating_add(self.limits.max_wait);
        if self.is_closed || now >= ready_at || self.has_full_batch() {
            Decision::Batch(self.pop_batch())
        } else {
            Decision::WaitUntil(ready_at)
        }
    }

    /// Whether a batch is ready that no later entry could join. O(1).
    pub fn has_full_batch(&self) -> bool {
        // More tokens than fit means that some run of the oldest fills a batch: no entry is
        // larger than a batch.
        self.len() >= self.limits.max_batch_size
            || self
                .limits
                .max_batch_tokens
                .is_some_and(|limit| self.tokens >= limit)
    }

    /// Removes an entry that still waits; false where none has this id. O(entries).
    pub fn cancel(&mut self, id: u64) -> bool {
        if !self.ids.remove(&id) {
            return false;
        }
        let place = self.waiting.iter().position(|w| w.entry.id == id);
        if let Some(removed) = place.and_then(|place| self.waiting.remove(place)) {
            self.tokens -= u64::from(removed.entry.tokens);
        }
        true
    }

    /// Refuses later pushes; what waits is handed out without waiting any longer.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Entries that can still be pushed.
    pub fn room(&self) -> usize {
        self.limits.capacity - self.len()
    }

    /// Refuses entries that this queue would never take, however long they waited for room.
    pub(crate) fn check_entries(&self, entries: &[Entry]) -> Result<(), Error> {
        if self.is_closed {
            return Err(Error::QueueClosed);
        }
        let Some(limit) = self.limits.max_batch_tokens else {
            return Ok(());
        };
        match entries.iter().find(|e| u64::from(e.tokens) > limit) {
            Some(&Entry { tokens, .. }) => Err(Error::EntryTooLarge { tokens, limit }),
            None => Ok(()),
        }
    }

    fn pop_batch(&mut self) -> Vec<u64> {
        let limit = self.limits.max_batch_tokens.unwrap_or(u64::MAX);
        let mut ids = Vec::with_capacity(self.len().min(self.limits.max_batch_size));
        let mut tokens = 0;
        while let Some(Waiting { entry, .. }) = self.waiting.front() {
            let with_next = tokens + u64::from(entry.tokens);
            if ids.len() == self.limits.max_batch_size || with_next > limit {
                break;
            }
            tokens = with_next;
            self.ids.remove(&entry.id);
            ids.push(entry.id);
            self.waiting.pop_front();
        }
        self.tokens -= tokens;
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn entry(id: u64, tokens: u32) -> Entry {
        Entry { id, tokens }
    }

    fn queue(max_batch_size: usize, max_batch_tokens: Option<u64>) -> BatchQueue {
        BatchQueue::new(Limits {
            max_batch_size,
            max_batch_tokens,
            max_wait: 10 * MS,
            capacity: 8,
        })
        .unwrap()
    }

    #[test]
    fn zero_limits_are_refused() {
        let limits = Limits::default();
        for wrong in [
            Limits {
                max_batch_size: 0,
                ..limits
            },
            Limits {
                max_batch_tokens: Some(0),
                ..limits
            },
            Limits {
                capacity: 63,
                ..limits
            },
        ] {
            assert!(matches!(
                BatchQueue::new(wrong),
                Err(Error::InvalidArgument { .. })
            ));
        }
    }

    #[test]
    fn batch_is_ready_when_the_oldest_has_waited() {
        let mut queue = queue(4, None);
        queue.push(entry(1, 1), 3 * MS).unwrap();
        queue.push(entry(2, 1), 9 * MS).unwrap();

        assert_eq!(queue.next_batch(12 * MS), Decision::WaitUntil(13 * MS));
        assert_eq!(queue.next_batch(13 * MS), Decision::Batch(vec![1, 2]));
        assert_eq!(queue.next_batch(13 * MS), Decision::Idle);
    }

    #[test]
    fn batch_stops_before_the_entry_that_breaks_the_token_limit() {
        let mut queue = queue(8, Some(10));
        for (id, tokens) in [(1, 4), (2, 4), (3, 4)] {
            queue.push(entry(id, tokens), Duration::ZERO).unwrap();
        }

        assert_eq!(
            queue.next_batch(Duration::ZERO),
            Decision::Batch(vec![1, 2])
        );
        assert_eq!(
            queue.next_batch(Duration::ZERO),
            Decision::WaitUntil(10 * MS)
        );
    }

    #[test]
    fn entry_larger_than_a_batch_is_refused() {
        let mut queue = queue(8, Some(10));

        let error = queue.push(entry(1, 11), Duration::ZERO).unwrap_err();

        assert_eq!(
            error.to_string(),
            "an entry has 11 tokens, more than a batch may hold (10)"
        );
        assert!(queue.is_empty());
    }

    #[test]
    fn push_all_is_all_or_none() {
        let mut queue = queue(8, None);
        queue.push(entry(1, 1), MS).unwrap();
        let nine: Vec<Entry> = (2..10).map(|id| entry(id, 1)).collect();

        let full = queue.push_all(&nine, MS).unwrap_err();
        let twice = queue.push_all(&[entry(5, 1), entry(1, 1)], MS).unwrap_err();

        assert_eq!(
            full.to_string(),
            "the queue holds 1 of at most 8 entries, no room for 8 more"
        );
        assert_eq!(twice, Error::DuplicateEntry { id: 1 });
        assert_eq!(queue.len(), 1);
        queue.push(entry(5, 1), MS).unwrap();
    }

    #[test]
    fn closed_queue_drains_at_once_and_refuses() {
        let mut queue = queue(8, None);
        queue.push(entry(1, 1), MS).unwrap();

        queue.close();

        assert_eq!(queue.push(entry(2, 1), MS), Err(Error::QueueClosed));
        assert_eq!(queue.next_batch(MS), Decision::Batch(vec![1]));
        assert_eq!(queue.next_batch(MS), Decision::Idle);
    }

    #[test]
    fn endless_wait_does_not_overflow() {
        let limits = Limits {
            max_wait: Duration::MAX,
            ..Limits::default()
        };
        let mut queue = BatchQueue::new(limits).unwrap();
        queue.push(entry(1, 1), MS).unwrap();

        assert_eq!(queue.next_batch(MS), Decision::WaitUntil(Duration::MAX));
    }
}
