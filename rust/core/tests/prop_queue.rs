//! Laws of the queue: it decides as a plain model does, no batch breaks a limit, nobody starves,
//! and each id leaves exactly once.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use similar_fast_core::queue::{Batch, BatchQueue, Decision, Entry, Limits, Run};

const MS: Duration = Duration::from_millis(1);

#[derive(Debug, Clone)]
enum Operation {
    Push(Entry),
    Advance(u32),
    Next,
    Cancel(usize),
    Close,
}

fn entry() -> impl Strategy<Value = Entry> {
    (
        0u32..14,
        0u32..9,
        -1i8..=2,
        prop::option::weighted(0.3, 0u32..30),
        1u32..4,
    )
        .prop_map(|(tokens, pixels, priority, deadline, count)| Entry {
            id: 0,
            count,
            tokens,
            pixels,
            priority,
            deadline: deadline.map(|ms| ms * MS),
            key: None,
        })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => entry().prop_map(Operation::Push),
        3 => (0u32..8).prop_map(Operation::Advance),
        4 => Just(Operation::Next),
        2 => any::<usize>().prop_map(Operation::Cancel),
        1 => Just(Operation::Close),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let sizes = (
        1usize..6,
        prop::option::of(13u64..30),
        prop::option::of(8u64..20),
        any::<bool>(),
    );
    let edges = prop_oneof![Just(vec![]), Just(vec![4]), Just(vec![3, 9])];
    (sizes, edges, 0u32..12, 0u32..8, 0usize..6).prop_map(|(sizes, edges, wait, step, spare)| {
        let (max_batch_size, max_batch_tokens, max_batch_pixels, is_padded) = sizes;
        Limits {
            max_batch_size,
            max_batch_tokens,
            max_batch_pixels,
            is_padded,
            bucket_edges: edges,
            max_wait: wait * MS,
            priority_step: step * MS,
            capacity: max_batch_size + spare,
        }
    })
}

/// What the queue must hold, kept the plain way: one element an id, in the order of arrival.
struct Model {
    limits: Limits,
    waiting: Vec<(Entry, Duration)>,
    is_closed: bool,
}

impl Model {
    fn push(&mut self, entry: Entry, now: Duration) -> bool {
        let fits = |size: u32, limit: Option<u64>| u64::from(size) <= limit.unwrap_or(u64::MAX);
        let is_wanted = !self.is_closed
            && fits(entry.tokens, self.limits.max_batch_tokens)
            && fits(entry.pixels, self.limits.max_batch_pixels)
            && self.waiting.len() + entry.count as usize <= self.limits.capacity;
        if is_wanted {
            for id in entry.id..entry.id + u64::from(entry.count) {
                self.waiting.push((Entry { id, ..entry }, now));
            }
        }
        is_wanted
    }

    /// In nanoseconds, relative to the origin; negative for a head start before it.
    fn place(&self, (entry, arrival): &(Entry, Duration)) -> i128 {
        arrival.as_nanos() as i128
            - i128::from(entry.priority) * self.limits.priority_step.as_nanos() as i128
    }

    fn bucket(&self, entry: &Entry) -> usize {
        let edges = &self.limits.bucket_edges;
        let found = edges.iter().position(|&edge| entry.tokens <= edge);
        found.unwrap_or(edges.len())
    }

    /// Less, equal or more than the limits allow, whichever is the tightest.
    fn measure(&self, entries: &[(Entry, Duration)]) -> std::cmp::Ordering {
        let n = entries.len() as u64;
        let tokens = |entry: &Entry| u64::from(entry.tokens);
        let tokens = if self.limits.is_padded {
            n * entries.iter().map(|(e, _)| tokens(e)).max().unwrap_or(0)
        } else {
            entries.iter().map(|(e, _)| tokens(e)).sum()
        };
        let pixels: u64 = entries.iter().map(|(e, _)| u64::from(e.pixels)).sum();
        let by_size = n.cmp(&(self.limits.max_batch_size as u64));
        let by_tokens = tokens.cmp(&self.limits.max_batch_tokens.unwrap_or(u64::MAX));
        let by_pixels = pixels.cmp(&self.limits.max_batch_pixels.unwrap_or(u64::MAX));
        by_size.max(by_tokens).max(by_pixels)
    }

    fn next(&mut self, now: Duration) -> Decision {
        if self.waiting.is_empty() {
            return Decision::Idle;
        }
        let is_late = |entry: &Entry| entry.deadline.is_some_and(|deadline| deadline <= now);
        let late = self.waiting.iter().filter(|(entry, _)| is_late(entry));
        let mut late: Vec<_> = late.map(|(entry, _)| (entry.deadline, entry.id)).collect();
        if !late.is_empty() {
            late.sort_unstable();
            self.waiting.retain(|(entry, _)| !is_late(entry));
            return Decision::Expired(late.into_iter().map(|(_, id)| id).collect());
        }
        let mut buckets = vec![Vec::new(); self.limits.bucket_edges.len() + 1];
        for waiting in &self.waiting {
            buckets[self.bucket(&waiting.0)].push(*waiting);
        }
        let is_overfull = self.waiting.len() == self.limits.capacity;
        let is_ready = |bucket: &Vec<(Entry, Duration)>| {
            let oldest = bucket.iter().map(|(_, arrival)| *arrival).min();
            oldest.is_some_and(|oldest| {
                self.is_closed
                    || is_overfull
                    || self.measure(bucket).is_ge()
                    || now >= oldest + self.limits.max_wait
            })
        };
        let mut ready: Vec<_> = buckets.into_iter().filter(is_ready).collect();
        for bucket in &mut ready {
            bucket.sort_by_key(|waiting| self.place(waiting));
        }
        // Ties between buckets go to whoever came first.
        let came = |id| self.waiting.iter().position(|(entry, _)| entry.id == id);
        let first = ready
            .iter()
            .min_by_key(|bucket| (self.place(&bucket[0]), came(bucket[0].0.id)));
        let Some(bucket) = first else {
            let arrivals = self.waiting.iter().map(|(_, arrival)| *arrival);
            let ready_at = arrivals.map(|arrival| arrival + self.limits.max_wait);
            let deadlines = self.waiting.iter().filter_map(|(entry, _)| entry.deadline);
            return Decision::WaitUntil(ready_at.chain(deadlines).min().unwrap());
        };
        let mut n = 1;
        while n < bucket.len() && self.measure(&bucket[..=n]).is_le() {
            n += 1;
        }
        let taken: Vec<u64> = bucket[..n].iter().map(|(entry, _)| entry.id).collect();
        self.waiting.retain(|(entry, _)| !taken.contains(&entry.id));
        Decision::Batch(batch(&taken))
    }

    fn cancel(&mut self, entry: Entry) -> usize {
        let before = self.waiting.len();
        let ids = entry.id..entry.id + u64::from(entry.count);
        self.waiting.retain(|(entry, _)| !ids.contains(&entry.id));
        before - self.waiting.len()
    }
}

fn batch(ids: &[u64]) -> Batch {
    let mut batch = Batch::default();
    for &id in ids {
        match batch.runs.last_mut() {
            Some(run) if run.first + u64::from(run.count) == id => run.count += 1,
            _ => batch.runs.push(Run {
                first: id,
                count: 1,
            }),
        }
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn prop_queue_decides_as_the_plain_model(
        operations in prop::collection::vec(operation(), 0..80),
        limits in limits(),
    ) {
        let mut queue = BatchQueue::new(limits.clone()).unwrap();
        let mut model = Model { limits, waiting: Vec::new(), is_closed: false };
        let mut now = Duration::ZERO;
        let mut next_id = 0;
        let mut entries = Vec::new();
        let (mut pushed, mut left) = (0, 0);
        for operation in operations {
            match operation {
                Operation::Push(entry) => {
                    let deadline = entry.deadline.map(|deadline| now + deadline);
                    let entry = Entry { id: next_id, deadline, ..entry };
                    next_id += u64::from(entry.count);
                    let is_wanted = model.push(entry, now);
                    prop_assert_eq!(queue.push(entry, now).is_ok(), is_wanted);
                    entries.push(entry);
                    if is_wanted {
                        pushed += entry.count as usize;
                    }
                }
                Operation::Advance(ms) => now += ms * MS,
                Operation::Next => {
                    let decision = queue.next_batch(now);
                    prop_assert_eq!(&decision, &model.next(now));
                    if let Decision::WaitUntil(then) = decision {
                        prop_assert!(then > now);
                        prop_assert_eq!(queue.next_change(), Some(then));
                    } else if decision != Decision::Idle {
                        prop_assert!(!queue.is_empty() || queue.next_change().is_none());
                    }
                    left += match decision {
                        Decision::Batch(batch) => batch.len(),
                        Decision::Expired(ids) => ids.len(),
                        Decision::WaitUntil(_) | Decision::Idle => 0,
                    };
                }
                Operation::Cancel(at) if !entries.is_empty() => {
                    let entry: Entry = entries[at % entries.len()];
                    let cancelled = queue.cancel(entry.id);
                    prop_assert_eq!(cancelled, model.cancel(entry));
                    left += cancelled;
                }
                Operation::Cancel(_) => prop_assert_eq!(queue.cancel(7), 0),
                Operation::Close => {
                    queue.close();
                    model.is_closed = true;
                }
            }
            prop_assert_eq!(queue.len(), model.waiting.len());
        }
        prop_assert_eq!(pushed, left + queue.len());
        let stats = queue.stats();
        let accounted = stats.taken + stats.expired + stats.cancelled;
        prop_assert_eq!((stats.pushed, accounted), (pushed as u64, left as u64));
    }

    /// An entry of priority p overtakes another of priority q only where it came less than
    /// (p - q) * priority_step after it: an entry waits for a bounded number of others.
    #[test]
    fn prop_priorities_age(
        pushes in prop::collection::vec((-3i8..=3, 0u32..10), 1..60),
        step_ms in 0u32..20,
        take_every in 1usize..6,
    ) {
        let limits = Limits {
            max_batch_size: 2,
            max_wait: Duration::ZERO,
            priority_step: step_ms * MS,
            ..Limits::default()
        };
        let mut queue = BatchQueue::new(limits).unwrap();
        let mut now = Duration::ZERO;
        let mut arrivals = Vec::new();
        let mut order = Vec::new();
        for (id, (priority, pause)) in pushes.into_iter().enumerate() {
            now += pause * MS;
            let entry = Entry { priority, ..Entry::new(id as u64, 1) };
            queue.push(entry, now).unwrap();
            arrivals.push((now, priority));
            if id % take_every == 0 && let Decision::Batch(batch) = queue.next_batch(now) {
                order.extend(batch.ids());
            }
        }
        while let Decision::Batch(batch) = queue.next_batch(now) {
            order.extend(batch.ids());
        }

        prop_assert_eq!(order.len(), arrivals.len());
        for (place, &late) in order.iter().enumerate() {
            for &early in &order[..place] {
                let (overtaken_at, q) = arrivals[late as usize];
                let (came, p) = arrivals[early as usize];
                let head_start = step_ms * MS * u32::from(p.saturating_sub(q).max(0) as u8);
                prop_assert!(came <= overtaken_at + head_start);
            }
        }
    }

    /// Once an entry has waited `max_wait`, every batch up to its own begins with an entry of no
    /// later place, in whichever bucket: no stream of short entries starves a long one.
    #[test]
    fn prop_no_bucket_starves(
        tokens in prop::collection::vec(0u32..20, 1..60),
        pause in 1u32..4,
        max_wait_ms in 0u32..12,
    ) {
        let limits = Limits {
            max_batch_size: 3,
            bucket_edges: vec![5, 10],
            max_wait: max_wait_ms * MS,
            ..Limits::default()
        };
        let mut queue = BatchQueue::new(limits).unwrap();
        let mut waiting = HashMap::new();
        for (id, tokens) in (0u64..).zip(tokens) {
            let now = id as u32 * pause * MS;
            queue.push(Entry::new(id, tokens), now).unwrap();
            waiting.insert(id, now);
            if let Decision::Batch(batch) = queue.next_batch(now) {
                let first = batch.ids().map(|id| waiting[&id]).min().unwrap();
                for id in batch.ids() {
                    waiting.remove(&id);
                }
                let mut due = waiting.values().filter(|&&arrival| arrival + max_wait_ms * MS <= now);
                prop_assert!(due.all(|&arrival| first <= arrival));
            }
        }
    }

    /// Riders ride with their like, and whoever else leaves, each id leaves exactly once.
    #[test]
    fn prop_keyed_entries_share_rows_and_none_is_lost(
        keys in prop::collection::vec((0u128..4, prop::option::weighted(0.2, 1u32..9)), 1..40),
        actions in prop::collection::vec((0u8..4, any::<usize>()), 0..40),
    ) {
        let limits = Limits { max_batch_size: 2, max_wait: 3 * MS, ..Limits::default() };
        let mut queue = BatchQueue::new(limits).unwrap();
        let mut actions = actions.into_iter();
        let mut left = Vec::new();
        let mut now = Duration::ZERO;
        let push = |queue: &mut BatchQueue, id: usize, now: Duration| {
            let deadline = keys[id].1.map(|ms| now + ms * MS);
            let entry = Entry { key: Some(keys[id].0), deadline, ..Entry::new(id as u64, 1) };
            queue.push(entry, now).unwrap();
        };
        let mut take = |queue: &mut BatchQueue, now: Duration| -> Result<bool, TestCaseError> {
            match queue.next_batch(now) {
                Decision::Batch(batch) => {
                    let rows: Vec<u64> = batch.ids().collect();
                    let mut seen: Vec<u128> = rows.iter().map(|&id| keys[id as usize].0).collect();
                    for rider in &batch.riders {
                        prop_assert_eq!(keys[rider.id as usize].0, seen[rider.row as usize]);
                    }
                    seen.sort_unstable();
                    seen.dedup();
                    prop_assert_eq!(seen.len(), rows.len(), "one row a key");
                    left.extend(rows);
                    left.extend(batch.riders.iter().map(|rider| rider.id));
                }
                Decision::Expired(ids) => left.extend(ids),
                Decision::WaitUntil(_) | Decision::Idle => return Ok(false),
            }
            Ok(true)
        };
        let mut cancelled = Vec::new();
        for id in 0..keys.len() {
            push(&mut queue, id, now);
            match actions.next() {
                Some((0, _)) => { take(&mut queue, now)?; }
                Some((1, at)) => {
                    let other = (at % (id + 1)) as u64;
                    if queue.cancel(other) == 1 {
                        cancelled.push(other);
                    }
                }
                Some((_, at)) => now += (at % 3) as u32 * MS,
                None => {}
            }
        }
        queue.close();
        while take(&mut queue, now)? {}

        left.extend(cancelled);
        left.sort_unstable();
        prop_assert_eq!(left, (0..keys.len() as u64).collect::<Vec<_>>());
        prop_assert_eq!(queue.len(), 0);
    }
}
