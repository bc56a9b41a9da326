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
mod limits;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::Error;
use bucket::{Bucket, Front, Seat, Waiting};
use limits::Load;

pub use limits::Limits;
pub use stats::{Histogram, QueueStats};

/// What waits to be in a batch: one thing, or a run of things of the same kind and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The caller's name for it, or for the first of a run; unique among those that wait.
    pub id: u64,
    /// Entries in the run: the ids `id..id + count`. None of them is a batch's to keep together.
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

    fn append(&mut self, first: u64, count: u32) {
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

/// Where an id is to be found.
#[derive(Debug, Clone, Copy)]
enum Spot {
    /// It is the first of a run of `count` in a lane.
    Seated {
        bucket: usize,
        priority: i8,
        serial: u64,
        count: u32,
    },
    /// It rides on the row of this id.
    Riding { leader: u64 },
}

#[derive(Debug, Clone, Copy)]
struct Passenger {
    id: u64,
    deadline: Option<Duration>,
}

/// Entries that wait, and the rule that makes batches of them.
///
/// Every pushed id leaves exactly once: in a batch, as expired, or by [`cancel`](Self::cancel).
/// Every operation on a run is O(log n + priorities in use), and asking for a batch is
/// O(buckets + priorities in use + size of the batch * log n).
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
    buckets: Vec<Bucket>,
    /// By its first id each run, by its id each rider.
    ids: BTreeMap<u64, Spot>,
    deadlines: BTreeSet<(Duration, u64)>,
    leaders: HashMap<u128, u64>,
    passengers: HashMap<u64, Vec<Passenger>>,
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
            limits,
            ids: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            leaders: HashMap::new(),
            passengers: HashMap::new(),
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
    /// - [`Error::DuplicateEntry`] where an id already waits, or comes twice.
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
        for (place, entry) in entries.iter().enumerate() {
            if let Some(id) = self.find_duplicate(entry) {
                for undone in &entries[..place] {
                    self.remove(undone.id, undone.count);
                }
                return Err(Error::DuplicateEntry { id });
            }
            if entry.count > 0 {
                self.seat(entry, now);
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
        let expired = self.expire(now);
        if !expired.is_empty() {
            return Decision::Expired(expired);
        }
        let ready = (0..self.buckets.len()).filter(|&b| self.is_ready(b, now));
        let step = self.limits.priority_step;
        let first = ready
            .filter_map(|b| Some((self.buckets[b].front(step)?, b)))
            .min_by_key(|(front, _)| (front.place, front.seat));
        match first {
            Some((front, bucket)) => Decision::Batch(self.pop_batch(bucket, front, now)),
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
        let oldest = self.buckets.iter().filter_map(Bucket::oldest).min();
        let ready_at = oldest.map(|arrival| arrival.saturating_add(self.limits.max_wait));
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        ready_at.into_iter().chain(deadline).min()
    }

    /// Removes an entry that still waits; false where none has this id. O(log n).
    ///
    /// Whoever rides on its row stays; the first of them takes the row over.
    pub fn cancel(&mut self, id: u64) -> bool {
        self.cancel_run(Run {
            first: id,
            count: 1,
        }) == 1
    }

    /// Removes those of a run of ids that still wait, and returns how many these were.
    pub fn cancel_run(&mut self, run: Run) -> usize {
        let cancelled = self.remove(run.first, run.count);
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

    fn is_ready(&self, bucket: usize, now: Duration) -> bool {
        let bucket = &self.buckets[bucket];
        let has_waited = |arrival: Duration| now >= arrival.saturating_add(self.limits.max_wait);
        self.is_closed
            || self.room() == 0
            || self.limits.is_full(bucket.load())
            || bucket.oldest().is_some_and(has_waited)
    }

    /// An id of the entry that already waits.
    fn find_duplicate(&self, entry: &Entry) -> Option<u64> {
        let end = entry.id + u64::from(entry.count);
        let (&first, spot) = self.ids.range(..end).next_back()?;
        let is_shared = entry.count > 0 && first + u64::from(spot.count()) > entry.id;
        is_shared.then(|| first.max(entry.id))
    }

    /// Gives an entry a place, or a ride on the row of the entry with its key.
    fn seat(&mut self, entry: &Entry, now: Duration) {
        self.len += entry.count as usize;
        if let Some(deadline) = entry.deadline {
            self.deadlines.insert((deadline, entry.id));
        }
        if let Some(key) = entry.key {
            if let Some(&leader) = self.leaders.get(&key) {
                self.ride(leader, entry);
                return;
            }
            self.leaders.insert(key, entry.id);
        }
        let run = Waiting {
            first: entry.id,
            count: entry.count,
            tokens: entry.tokens,
            pixels: entry.pixels,
            arrival: now,
            deadline: entry.deadline,
            key: entry.key,
        };
        let serial = self.next_serial;
        self.next_serial += 1;
        let bucket = self.limits.bucket_of(entry.tokens);
        self.insert(bucket, entry.priority, serial, run);
    }

    /// Adds a rider; one of higher priority lifts the row into its lane.
    fn ride(&mut self, leader: u64, entry: &Entry) {
        self.ids.insert(entry.id, Spot::Riding { leader });
        self.passengers.entry(leader).or_default().push(Passenger {
            id: entry.id,
            deadline: entry.deadline,
        });
        if let Some(&Spot::Seated {
            bucket,
            priority,
            serial,
            ..
        }) = self.ids.get(&leader)
            && entry.priority > priority
        {
            let run = self.buckets[bucket].remove(priority, (serial, leader));
            self.insert(bucket, entry.priority, serial, run);
        }
    }

    fn insert(&mut self, bucket: usize, priority: i8, serial: u64, run: Waiting) {
        self.ids.insert(
            run.first,
            Spot::Seated {
                bucket,
                priority,
                serial,
                count: run.count,
            },
        );
        self.buckets[bucket].insert(priority, (serial, run.first), run);
    }

    /// Removes what waits of the ids `first..first + count`, and returns how many these were.
    fn remove(&mut self, first: u64, count: u32) -> usize {
        let end = first.saturating_add(u64::from(count));
        let before = self.len;
        while before - self.len < count as usize
            && let Some((id, spot)) = self.first_in(first, end)
        {
            match spot {
                Spot::Riding { leader } => self.remove_rider(id, leader),
                Spot::Seated {
                    bucket,
                    priority,
                    serial,
                    ..
                } => self.remove_seated(bucket, priority, (serial, id), first..end),
            }
        }
        before - self.len
    }

    /// The first run or rider that has an id in `first..end`.
    fn first_in(&self, first: u64, end: u64) -> Option<(u64, Spot)> {
        let before = self.ids.range(..first).next_back();
        let overlapping = before.filter(|(id, spot)| **id + u64::from(spot.count()) > first);
        let found = overlapping.or_else(|| self.ids.range(first..end).next());
        found.map(|(&id, &spot)| (id, spot))
    }

    fn remove_rider(&mut self, id: u64, leader: u64) {
        self.ids.remove(&id);
        self.len -= 1;
        let Some(riders) = self.passengers.get_mut(&leader) else {
            return;
        };
        if let Some(place) = riders.iter().position(|rider| rider.id == id) {
            let rider = riders.remove(place);
            self.forget_deadline(rider.deadline, id);
        }
        if self.passengers.get(&leader).is_some_and(Vec::is_empty) {
            self.passengers.remove(&leader);
        }
    }

    /// Removes `gone` from the run of a seat; what is left keeps its place, the riders theirs.
    fn remove_seated(
        &mut self,
        bucket: usize,
        priority: i8,
        seat: Seat,
        gone: std::ops::Range<u64>,
    ) {
        let run = self.buckets[bucket].remove(priority, seat);
        self.ids.remove(&run.first);
        self.forget_deadline(run.deadline, run.first);
        let end = run.first + u64::from(run.count);
        self.len -= (gone.end.min(end) - gone.start.max(run.first)) as usize;
        for left in [run.first..gone.start, gone.end..end] {
            if left.is_empty() {
                continue;
            }
            self.remember_deadline(run.deadline, left.start);
            let count = (left.end - left.start) as u32;
            let left = Waiting {
                first: left.start,
                count,
                ..run
            };
            self.insert(bucket, priority, seat.0, left);
        }
        if let Some(key) = run.key {
            self.promote(key, bucket, priority, seat.0, run);
        }
    }

    /// Hands the row of a leader that left to its first rider.
    fn promote(&mut self, key: u128, bucket: usize, priority: i8, serial: u64, run: Waiting) {
        let Some(mut riders) = self.passengers.remove(&run.first) else {
            self.leaders.remove(&key);
            return;
        };
        let heir = riders.remove(0);
        let row = Waiting {
            first: heir.id,
            deadline: heir.deadline,
            ..run
        };
        self.leaders.insert(key, heir.id);
        self.insert(bucket, priority, serial, row);
        for rider in &riders {
            self.ids.insert(rider.id, Spot::Riding { leader: heir.id });
        }
        if !riders.is_empty() {
            self.passengers.insert(heir.id, riders);
        }
    }

    /// Removes and returns the ids whose deadline has come.
    fn expire(&mut self, now: Duration) -> Vec<u64> {
        let mut expired = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            let count = self.ids.get(&id).map_or(1, Spot::count);
            expired.extend(id..id + u64::from(count));
            self.remove(id, count);
        }
        self.stats.expired += expired.len() as u64;
        expired
    }

    fn pop_batch(&mut self, bucket: usize, first: Front, now: Duration) -> Batch {
        let mut batch = Batch::default();
        let mut load = Load::default();
        let mut next = Some(first);
        while let Some(front) = next {
            let run = front.run;
            let room = self.limits.room(&load, run.tokens, run.pixels);
            let count = u64::from(run.count).min(room) as u32;
            if count == 0 {
                break;
            }
            let row = load.len as u32;
            load.add(u64::from(count), run.tokens, run.pixels);
            let wait = now.saturating_sub(run.arrival).as_micros();
            let wait_us = u64::try_from(wait).unwrap_or(u64::MAX);
            self.stats.wait_us.record(wait_us, u64::from(count));
            batch.append(run.first, count);
            self.leave(bucket, &front, count);
            if let Some(key) = run.key {
                self.leave_riders(key, run.first, row, &mut batch);
            }
            if count < run.count {
                break;
            }
            next = self.buckets[bucket].front(self.limits.priority_step);
        }
        self.stats.batches += 1;
        self.stats.batch_size.record(load.len, 1);
        self.stats.taken += load.len + batch.riders.len() as u64;
        self.stats.coalesced += batch.riders.len() as u64;
        batch
    }

    /// Removes the first `count` entries of a run.
    fn leave(&mut self, bucket: usize, front: &Front, count: u32) {
        let run = self.buckets[bucket].remove(front.priority, front.seat);
        self.ids.remove(&run.first);
        self.forget_deadline(run.deadline, run.first);
        self.len -= count as usize;
        if count < run.count {
            let left = Waiting {
                first: run.first + u64::from(count),
                count: run.count - count,
                ..run
            };
            self.remember_deadline(left.deadline, left.first);
            self.insert(bucket, front.priority, front.seat.0, left);
        }
    }

    /// Moves the riders of a row into its batch.
    fn leave_riders(&mut self, key: u128, leader: u64, row: u32, batch: &mut Batch) {
        self.leaders.remove(&key);
        for rider in self.passengers.remove(&leader).unwrap_or_default() {
            self.ids.remove(&rider.id);
            self.forget_deadline(rider.deadline, rider.id);
            self.len -= 1;
            batch.riders.push(Rider { row, id: rider.id });
        }
    }

    fn remember_deadline(&mut self, deadline: Option<Duration>, id: u64) {
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
    }

    fn forget_deadline(&mut self, deadline: Option<Duration>, id: u64) {
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, id));
        }
    }
}

impl Spot {
    fn count(&self) -> u32 {
        match self {
            Self::Seated { count, .. } => *count,
            Self::Riding { .. } => 1,
        }
    }
}
