//! Who is in the next batch: a pure function of the entries, the limits and `now`.
//!
//! The queue holds ids and sizes; the payloads stay with whoever pushed them. It reads no clock
//! and takes no lock: `now` is an argument, counted from any origin the caller likes, and never
//! runs backwards. [`Batcher`](crate::batcher::Batcher) adds both.
//!
//! Entries wait in length buckets, and in a bucket in one lane for each priority. An entry's place
//! is its arrival less a head start of `priority * priority_step`; within a bucket the least place
//! leaves first. So priorities age: an entry that has waited long enough goes before any newcomer,
//! whatever its priority. A bucket is ready when it holds a full batch or its oldest entry has
//! waited `max_wait`; of the ready buckets the one with the least place goes first.

mod bucket;
mod entry;
mod limits;
mod riders;
mod slots;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::hash_map;
use std::time::Duration;

use crate::Error;
use bucket::Bucket;
use limits::Load;
use riders::{Deadlines, IdMap, Riders};
use slots::{Slots, Waiting};

pub use entry::{Batch, Decision, Entry, Rider, Run};
pub use limits::Limits;
pub use stats::{Histogram, QueueStats};

/// Where an entry is to be found, by the id it was pushed under.
#[derive(Debug, Clone, Copy)]
enum Spot {
    /// In this slot.
    Seated(u32),
    /// On the row of this id.
    Riding(u64),
}

/// Entries that wait, and the rule that makes batches of them.
///
/// Every pushed id leaves exactly once: in a batch, as expired, or by [`cancel`](Self::cancel).
/// To push or cancel an entry or a run takes O(1), to ask for a batch O(buckets), to take one O(runs
/// in it), each times the priorities in use; a deadline adds O(log n).
///
/// # Example
///
/// ```
/// use similar_fast_core::queue::{BatchQueue, Decision, Entry, Limits};
/// use std::time::Duration;
///
/// let limits = Limits { max_batch_size: 2, ..Limits::default() };
/// let max_wait = limits.max_wait;
/// let mut queue = BatchQueue::new(limits)?;
/// queue.push(Entry::new(7, 12), Duration::ZERO)?;
/// assert_eq!(queue.next_batch(Duration::ZERO), Decision::WaitUntil(max_wait));
/// queue.push(Entry::new(8, 30), Duration::ZERO)?;
/// let Decision::Batch(batch) = queue.next_batch(Duration::ZERO) else { panic!() };
/// assert_eq!(batch.ids().collect::<Vec<_>>(), [7, 8]);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchQueue {
    limits: Limits,
    max_wait: u64,
    priority_step: i64,
    buckets: Vec<Bucket>,
    slots: Slots,
    spots: IdMap<Spot>,
    riders: Riders,
    deadlines: Deadlines,
    next_serial: u64,
    len: usize,
    is_closed: bool,
    stats: QueueStats,
}

impl BatchQueue {
    /// An empty, open queue.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] where a limit is zero, `capacity` is below `max_batch_size`, or
    /// `bucket_edges` do not ascend.
    pub fn new(limits: Limits) -> Result<Self, Error> {
        limits.check()?;
        let buckets = 0..=limits.bucket_edges.len();
        Ok(Self {
            buckets: buckets.map(|_| Bucket::new(limits.is_padded)).collect(),
            max_wait: nanoseconds(limits.max_wait),
            priority_step: i64::try_from(limits.priority_step.as_nanos()).unwrap_or(i64::MAX),
            limits,
            slots: Slots::default(),
            spots: IdMap::default(),
            riders: Riders::default(),
            deadlines: Deadlines::default(),
            next_serial: 0,
            len: 0,
            is_closed: false,
            stats: QueueStats::default(),
        })
    }

    /// Appends one entry, or one run of entries.
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
    /// - [`Error::EntryTooLarge`] where an entry alone breaks a limit of a batch.
    /// - [`Error::QueueFull`] where they do not all fit.
    /// - [`Error::DuplicateEntry`] where an `id` already waits, or comes twice.
    /// - [`Error::InvalidArgument`] where a run has a key, or its ids exceed 64 bits.
    pub fn push_all(&mut self, entries: &[Entry], now: Duration) -> Result<(), Error> {
        self.check_entries(entries)?;
        let wanted = entries.iter().map(|entry| entry.count as usize).sum();
        if wanted > self.room() {
            return Err(Error::QueueFull {
                len: self.len(),
                capacity: self.limits.capacity,
                wanted,
            });
        }
        let length = self.len as u64;
        let now = nanoseconds(now);
        for (place, entry) in entries.iter().enumerate() {
            if entry.count > 0 && !self.seat(entry, now) {
                for undone in &entries[..place] {
                    self.remove(undone.id);
                }
                return Err(Error::DuplicateEntry { id: entry.id });
            }
        }
        self.stats.pushed += wanted as u64;
        self.stats.queue_length.record(length, 1);
        Ok(())
    }

    /// The next batch, or when to ask again.
    ///
    /// Entries whose deadline has come are handed out first. A batch is ready when it is as large
    /// as the limits allow, when the oldest entry of its bucket has waited `max_wait`, or at once
    /// when the queue is full or closed. It is the longest run of its bucket's entries, least place first,
    /// that breaks no limit.
    pub fn next_batch(&mut self, now: Duration) -> Decision {
        if self.is_empty() {
            return Decision::Idle;
        }
        let now = nanoseconds(now);
        let expired = self.expire(now);
        if !expired.is_empty() {
            return Decision::Expired(expired);
        }
        let ready = self.buckets.iter().enumerate();
        let fronts = ready
            .filter(|(_, bucket)| self.is_ready(bucket, now))
            .filter_map(|(b, bucket)| Some((bucket.front(&self.slots)?, b)));
        let first = fronts.min_by_key(|&(slot, _)| self.slots[slot].order());
        match first {
            Some((slot, bucket)) => Decision::Batch(self.pop_batch(bucket, slot, now)),
            None => Decision::WaitUntil(self.next_change().unwrap_or(Duration::MAX)),
        }
    }

    /// Whether some bucket holds a batch that no later entry of its priority could join.
    pub fn has_full_batch(&self) -> bool {
        self.buckets
            .iter()
            .any(|bucket| self.limits.is_full(bucket.load()))
    }

    /// When [`next_batch`](Self::next_batch) next has something to hand out, as things stand; None
    /// where nothing waits. Zero where that is now already.
    pub fn next_change(&self) -> Option<Duration> {
        if self.is_empty() {
            return None;
        }
        if self.is_closed || self.room() == 0 || self.has_full_batch() {
            return Some(Duration::ZERO);
        }
        let arrivals = self.buckets.iter().filter_map(|b| b.oldest(&self.slots));
        let ready_at = arrivals.min().map(|at| at.saturating_add(self.max_wait));
        let change = ready_at.into_iter().chain(self.deadlines.first()).min()?;
        Some(duration(change))
    }

    /// Whether [`next_batch`](Self::next_batch) has something to hand out now.
    pub fn has_news(&self, now: Duration) -> bool {
        self.next_change().is_some_and(|change| change <= now)
    }

    /// Removes what was pushed under this id and still waits, and returns how many entries that
    /// was: 0 where none waits, more than 1 for a run.
    ///
    /// Whoever rides on its row stays; the first of them takes the row over.
    pub fn cancel(&mut self, id: u64) -> usize {
        let cancelled = self.remove(id).map_or(0, |run| run.count as usize);
        self.stats.cancelled += cancelled as u64;
        cancelled
    }

    /// Refuses later pushes; what waits is handed out without waiting any longer.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Entries that wait, riders included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries that can still be pushed.
    pub fn room(&self) -> usize {
        self.limits.capacity - self.len
    }

    /// Entries that may wait at once.
    pub fn capacity(&self) -> usize {
        self.limits.capacity
    }

    /// What the queue has seen so far.
    pub fn stats(&self) -> &QueueStats {
        &self.stats
    }

    /// Refuses entries that this queue would never take, however long they waited for room.
    pub(crate) fn check_entries(&self, entries: &[Entry]) -> Result<(), Error> {
        if self.is_closed {
            return Err(Error::QueueClosed);
        }
        entries
            .iter()
            .try_for_each(|entry| self.limits.check_entry(entry))
    }

    fn is_ready(&self, bucket: &Bucket, now: u64) -> bool {
        let has_waited = |arrival: u64| now >= arrival.saturating_add(self.max_wait);
        self.is_closed
            || self.room() == 0
            || self.limits.is_full(bucket.load())
            || bucket.oldest(&self.slots).is_some_and(has_waited)
    }

    /// Gives an entry a place, or a ride on the row of the entry with its key; false where its id
    /// waits already.
    fn seat(&mut self, entry: &Entry, now: u64) -> bool {
        let leader = entry.key.and_then(|key| self.riders.leader(key));
        let hash_map::Entry::Vacant(vacant) = self.spots.entry(entry.id) else {
            return false;
        };
        self.len += entry.count as usize;
        if let Some(deadline) = entry.deadline {
            self.deadlines.add(entry.id, nanoseconds(deadline));
        }
        if let Some(leader) = leader {
            vacant.insert(Spot::Riding(leader));
            self.riders.ride(leader, entry.id);
            self.lift(leader, entry.priority);
            return true;
        }
        let bucket = self.limits.bucket_of(entry.tokens);
        let slot = self.slots.add(Waiting {
            id: entry.id,
            first: entry.id,
            count: entry.count,
            tokens: entry.tokens,
            pixels: entry.pixels,
            bucket: bucket as u32,
            arrival: now,
            place: place(now, entry.priority, self.priority_step),
            serial: self.next_serial,
            priority: entry.priority,
            is_keyed: entry.key.is_some(),
            has_deadline: entry.deadline.is_some(),
        });
        self.next_serial += 1;
        vacant.insert(Spot::Seated(slot));
        self.buckets[bucket].insert(&mut self.slots, slot);
        if let Some(key) = entry.key {
            self.riders.lead(key, entry.id);
        }
        true
    }

    /// Moves a row into the lane of a rider of higher priority, as if it had come in that lane.
    fn lift(&mut self, leader: u64, priority: i8) {
        let Some(&Spot::Seated(slot)) = self.spots.get(&leader) else {
            return;
        };
        let run = self.slots[slot];
        if priority > run.priority {
            let bucket = &mut self.buckets[run.bucket as usize];
            bucket.remove(&mut self.slots, slot);
            self.slots[slot].priority = priority;
            self.slots[slot].place = place(run.arrival, priority, self.priority_step);
            bucket.insert(&mut self.slots, slot);
        }
    }

    /// Removes what was pushed under an id and still waits; returns it.
    fn remove(&mut self, id: u64) -> Option<Run> {
        let found = self.spots.remove(&id)?;
        self.deadlines.remove(id);
        let run = match found {
            Spot::Riding(leader) => {
                self.riders.leave(leader, id);
                Run {
                    first: id,
                    count: 1,
                }
            }
            Spot::Seated(slot) => {
                let Waiting { first, count, .. } = self.slots[slot];
                if !self.promote(slot) {
                    let bucket = self.slots[slot].bucket as usize;
                    self.buckets[bucket].remove(&mut self.slots, slot);
                    self.slots.free(slot);
                }
                Run { first, count }
            }
        };
        self.len -= run.count as usize;
        Some(run)
    }

    /// Hands the row of a leader that leaves to its first rider; false where it has none.
    fn promote(&mut self, slot: u32) -> bool {
        let run = &mut self.slots[slot];
        let Some((heir, others)) = (run.is_keyed)
            .then(|| self.riders.promote(run.id))
            .flatten()
        else {
            return false;
        };
        run.id = heir;
        run.first = heir;
        run.has_deadline = self.deadlines.has(heir);
        self.spots.insert(heir, Spot::Seated(slot));
        for &rider in others {
            self.spots.insert(rider, Spot::Riding(heir));
        }
        true
    }

    /// Removes and returns the ids whose deadline has come.
    fn expire(&mut self, now: u64) -> Vec<u64> {
        let mut expired = Vec::new();
        while let Some(id) = self.deadlines.pop(now) {
            if let Some(run) = self.remove(id) {
                expired.extend(run.first..run.first + u64::from(run.count));
            }
        }
        self.stats.expired += expired.len() as u64;
        expired
    }

    fn pop_batch(&mut self, bucket: usize, first: u32, now: u64) -> Batch {
        let mut batch = Batch::default();
        let mut load = Load::default();
        let mut next = Some(first);
        while let Some(slot) = next {
            let run = self.slots[slot];
            let room = self.limits.room(&load, run.tokens, run.pixels);
            let count = u64::from(run.count).min(room) as u32;
            if count == 0 {
                break;
            }
            let row = load.len as u32;
            load.add(u64::from(count), run.tokens, run.pixels);
            let wait_us = now.saturating_sub(run.arrival) / 1000;
            self.stats.wait_us.record(wait_us, u64::from(count));
            batch.append(run.first, count);
            if count < run.count {
                self.buckets[bucket].shorten(&mut self.slots, slot, count);
                break;
            }
            self.leave(&run, slot, row, &mut batch);
            next = self.buckets[bucket].front(&self.slots);
        }
        let riders = batch.riders.len();
        self.len -= load.len as usize + riders;
        self.stats.batches += 1;
        self.stats.batch_size.record(load.len, 1);
        self.stats.taken += load.len + riders as u64;
        self.stats.coalesced += riders as u64;
        batch
    }

    /// Forgets a run that was taken to its end, and moves its riders into the batch.
    fn leave(&mut self, run: &Waiting, slot: u32, row: u32, batch: &mut Batch) {
        self.buckets[run.bucket as usize].remove(&mut self.slots, slot);
        self.slots.free(slot);
        self.spots.remove(&run.id);
        if run.has_deadline {
            self.deadlines.remove(run.id);
        }
        if run.is_keyed {
            for id in self.riders.end(run.id) {
                self.spots.remove(&id);
                self.deadlines.remove(id);
                batch.riders.push(Rider { row, id });
            }
        }
    }
}

/// Times are kept in nanoseconds; the last of them stands for all that are later still.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn duration(nanoseconds: u64) -> Duration {
    match nanoseconds {
        u64::MAX => Duration::MAX,
        _ => Duration::from_nanos(nanoseconds),
    }
}

fn place(arrival: u64, priority: i8, step: i64) -> i64 {
    let arrival = i64::try_from(arrival).unwrap_or(i64::MAX);
    arrival.saturating_sub(step.saturating_mul(i64::from(priority)))
}
