//! Laws of the queue: it decides as a plain model does, and no batch breaks a limit.

use std::time::Duration;

use proptest::prelude::*;
use similar_fast_core::queue::{BatchQueue, Decision, Entry, Limits};

const MS: Duration = Duration::from_millis(1);

fn entry(id: u64, tokens: u32) -> Entry {
    Entry { id, tokens }
}

#[derive(Debug, Clone)]
enum Operation {
    Push(u32),
    Advance(u64),
    Next,
    Cancel(usize),
    Close,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (0u32..14).prop_map(Operation::Push),
        3 => (0u64..8).prop_map(Operation::Advance),
        4 => Just(Operation::Next),
        2 => any::<usize>().prop_map(Operation::Cancel),
        1 => Just(Operation::Close),
    ]
}

/// What the queue must hold, kept the plain way.
struct Model {
    limits: Limits,
    waiting: Vec<(Entry, Duration)>,
    is_closed: bool,
}

impl Model {
    fn fits(&self, n: usize) -> bool {
        let tokens: u64 = self.waiting[..n]
            .iter()
            .map(|(e, _)| u64::from(e.tokens))
            .sum();
        n <= self.limits.max_batch_size
            && tokens <= self.limits.max_batch_tokens.unwrap_or(u64::MAX)
    }

    fn is_full(&self, n: usize) -> bool {
        let tokens: u64 = self.waiting[..n]
            .iter()
            .map(|(e, _)| u64::from(e.tokens))
            .sum();
        n == self.limits.max_batch_size
            || Some(tokens) == self.limits.max_batch_tokens
            || (n < self.waiting.len() && !self.fits(n + 1))
    }

    fn next(&mut self, now: Duration) -> Decision {
        let Some((_, arrival)) = self.waiting.first() else {
            return Decision::Idle;
        };
        let ready_at = *arrival + self.limits.max_wait;
        let mut n = 1;
        while n < self.waiting.len() && self.fits(n + 1) {
            n += 1;
        }
        if self.is_closed || now >= ready_at || self.is_full(n) {
            Decision::Batch(self.waiting.drain(..n).map(|(e, _)| e.id).collect())
        } else {
            Decision::WaitUntil(ready_at)
        }
    }
}

proptest! {
    #[test]
    fn prop_queue_decides_as_the_plain_model(
        operations in prop::collection::vec(operation(), 0..80),
        max_batch_size in 1usize..6,
        max_batch_tokens in prop::option::of(1u64..20),
        max_wait_ms in 0u32..12,
        spare in 0usize..6,
    ) {
        let limits = Limits {
            max_batch_size,
            max_batch_tokens,
            max_wait: max_wait_ms * MS,
            capacity: max_batch_size + spare,
        };
        let mut queue = BatchQueue::new(limits).unwrap();
        let mut model = Model { limits, waiting: Vec::new(), is_closed: false };
        let mut now = Duration::ZERO;
        let mut next_id = 0;
        let (mut pushed, mut left, mut cancelled) = (Vec::new(), Vec::new(), Vec::new());
        for operation in operations {
            match operation {
                Operation::Push(tokens) => {
                    next_id += 1;
                    let new = entry(next_id, tokens);
                    let is_wanted = !model.is_closed
                        && u64::from(tokens) <= max_batch_tokens.unwrap_or(u64::MAX)
                        && model.waiting.len() < limits.capacity;
                    prop_assert_eq!(queue.push(new, now).is_ok(), is_wanted);
                    if is_wanted {
                        model.waiting.push((new, now));
                        pushed.push(next_id);
                    }
                }
                Operation::Advance(ms) => now += Duration::from_millis(ms),
                Operation::Next => {
                    let decision = queue.next_batch(now);
                    prop_assert_eq!(&decision, &model.next(now));
                    if let Decision::Batch(ids) = decision {
                        left.extend(ids);
                    }
                }
                Operation::Cancel(index) => {
                    let id = index as u64 % (next_id + 1);
                    let place = model.waiting.iter().position(|(e, _)| e.id == id);
                    prop_assert_eq!(queue.cancel(id), place.is_some());
                    if let Some(place) = place {
                        model.waiting.remove(place);
                        cancelled.push(id);
                    }
                }
                Operation::Close => {
                    queue.close();
                    model.is_closed = true;
                }
            }
            prop_assert_eq!(queue.len(), model.waiting.len());
        }
        queue.close();
        while let Decision::Batch(ids) = queue.next_batch(now) {
            left.extend(ids);
        }
        // Each pushed id left exactly once: in order, or by a cancel.
        let expected: Vec<u64> =
            pushed.into_iter().filter(|id| !cancelled.contains(id)).collect();
        prop_assert_eq!(left, expected);
    }

    #[test]
    fn prop_batch_never_exceeds_limits(
        sizes in prop::collection::vec(0u32..=20, 1..60),
        max_batch_size in 1usize..9,
        max_batch_tokens in 20u64..60,
    ) {
        let limits = Limits {
            max_batch_size,
            max_batch_tokens: Some(max_batch_tokens),
            ..Limits::default()
        };
        let mut queue = BatchQueue::new(limits).unwrap();
        for (id, &tokens) in sizes.iter().enumerate() {
            queue.push(entry(id as u64, tokens), Duration::ZERO).unwrap();
        }
        while let Decision::Batch(ids) = queue.next_batch(limits.max_wait) {
            let tokens: u64 = ids.iter().map(|&id| u64::from(sizes[id as usize])).sum();
            prop_assert!(!ids.is_empty() && ids.len() <= max_batch_size);
            prop_assert!(tokens <= max_batch_tokens);
        }
        prop_assert!(queue.is_empty());
    }
}
