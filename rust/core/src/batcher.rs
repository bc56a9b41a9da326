//! [`BatchQueue`] behind a lock: waits, wakes, closes. The only reader of a clock in this crate.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::queue::{BatchQueue, Decision, Entry, Limits};

/// A queue that any number of threads push to, and a worker (or several) takes batches from.
///
/// # Example
///
/// ```
/// use similar_fast_core::batcher::Batcher;
/// use similar_fast_core::queue::{Entry, Limits};
///
/// let batcher = Batcher::new(Limits { max_batch_size: 2, ..Limits::default() })?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| batcher.push(&[Entry { id: 1, tokens: 0 }, Entry { id: 2, tokens: 0 }]));
///     assert_eq!(batcher.take(None), Some(vec![1, 2]));
/// });
/// batcher.close();
/// assert_eq!(batcher.take(None), None);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Batcher {
    queue: Mutex<BatchQueue>,
    /// Wakes the worker: a first entry came, a batch is full, or the queue was closed.
    work: Condvar,
    /// Wakes those who wait to push: entries have left, or the queue was closed.
    room: Condvar,
    origin: Instant,
}

impl Batcher {
    /// An empty, open batcher.
    ///
    /// # Errors
    ///
    /// As [`BatchQueue::new`].
    pub fn new(limits: Limits) -> Result<Self, Error> {
        Ok(Self {
            queue: Mutex::new(BatchQueue::new(limits)?),
            work: Condvar::new(),
            room: Condvar::new(),
            origin: Instant::now(),
        })
    }

    /// Pushes all of `entries` without waiting, or, on an error, none of them.
    ///
    /// # Errors
    ///
    /// As [`BatchQueue::push_all`]; [`Error::QueueFull`] where they do not all fit now.
    pub fn push(&self, entries: &[Entry]) -> Result<(), Error> {
        self.push_locked(&mut self.lock(), entries)
    }

    /// Waits at most `timeout` for room, pushes the first of `entries`, as many as fit, and
    /// returns how many these are: at least 1, unless `entries` is empty.
    ///
    /// # Errors
    ///
    /// As [`BatchQueue::push_all`], where no entry is pushed; [`Error::QueueFull`] where there was
    /// no room in time, [`Error::QueueClosed`] also where the queue was closed meanwhile.
    pub fn push_some(&self, entries: &[Entry], timeout: Duration) -> Result<usize, Error> {
        let deadline = self.now().saturating_add(timeout);
        let mut queue = self.lock();
        loop {
            queue.check_entries(entries)?;
            let now = self.now();
            if queue.room() > 0 || now >= deadline {
                let fitting = entries.len().min(queue.room().max(1));
                self.push_locked(&mut queue, &entries[..fitting])?;
                return Ok(fitting);
            }
            queue = wait(&self.room, queue, deadline.saturating_sub(now));
        }
    }

    /// Waits for the next batch and takes it: ids, oldest first.
    ///
    /// Returns an empty batch where none was ready within `timeout` (None waits without end), and
    /// None once the batcher is closed and drained.
    pub fn take(&self, timeout: Option<Duration>) -> Option<Vec<u64>> {
        let deadline = timeout.map_or(Duration::MAX, |t| self.now().saturating_add(t));
        let mut queue = self.lock();
        loop {
            let now = self.now();
            let wake_at = match queue.next_batch(now) {
                Decision::Batch(ids) => {
                    self.room.notify_all();
                    if queue.has_full_batch() {
                        // For another worker, if there is one.
                        self.work.notify_all();
                    }
                    return Some(ids);
                }
                Decision::Idle if queue.is_closed() => return None,
                Decision::Idle => deadline,
                Decision::WaitUntil(ready_at) => deadline.min(ready_at),
            };
            if now >= deadline {
                return Some(Vec::new());
            }
            queue = wait(&self.work, queue, wake_at.saturating_sub(now));
        }
    }

    /// Removes those of `ids` that still wait, and returns how many these were.
    pub fn cancel(&self, ids: &[u64]) -> usize {
        let mut queue = self.lock();
        let cancelled = ids.iter().filter(|&&id| queue.cancel(id)).count();
        if cancelled > 0 {
            self.room.notify_all();
        }
        cancelled
    }

    /// Refuses later pushes, wakes whoever waits to push, and hands out what is queued at once.
    pub fn close(&self) {
        self.lock().close();
        self.work.notify_all();
        self.room.notify_all();
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push_locked(&self, queue: &mut BatchQueue, entries: &[Entry]) -> Result<(), Error> {
        let was_empty = queue.is_empty();
        queue.push_all(entries, self.now())?;
        // In between, the worker has nothing to do but to wait on, so it is left asleep.
        if was_empty || queue.has_full_batch() {
            self.work.notify_all();
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, BatchQueue> {
        // The queue checks before it changes anything, so a panic elsewhere left it whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(
    condition: &Condvar,
    queue: MutexGuard<'a, BatchQueue>,
    timeout: Duration,
) -> MutexGuard<'a, BatchQueue> {
    let (queue, _) = condition
        .wait_timeout(queue, timeout)
        .unwrap_or_else(PoisonError::into_inner);
    queue
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::thread;

    /// Far longer than any test runs; reached only where something hangs.
    const LONG: Duration = Duration::from_secs(60);

    fn batcher(max_batch_size: usize, capacity: usize, max_wait: Duration) -> Arc<Batcher> {
        let limits = Limits {
            max_batch_size,
            max_batch_tokens: None,
            max_wait,
            capacity,
        };
        Arc::new(Batcher::new(limits).unwrap())
    }

    fn entries(ids: std::ops::Range<u64>) -> Vec<Entry> {
        ids.map(|id| Entry { id, tokens: 1 }).collect()
    }

    /// Runs `act` on a thread of its own and returns where its answer arrives.
    fn spawn<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(act()));
        receiver
    }

    #[test]
    fn full_batch_is_taken_without_waiting() {
        let batcher = batcher(2, 4, LONG);
        let worker = Arc::clone(&batcher);
        let taken = spawn(move || worker.take(None));

        batcher.push(&entries(0..1)).unwrap();
        batcher.push(&entries(1..2)).unwrap();

        assert_eq!(taken.recv_timeout(LONG), Ok(Some(vec![0, 1])));
    }

    #[test]
    fn lone_entry_is_taken_after_max_wait() {
        let batcher = batcher(2, 4, Duration::from_millis(5));
        let start = Instant::now();
        batcher.push(&entries(0..1)).unwrap();

        let taken = batcher.take(Some(LONG));

        assert_eq!(taken, Some(vec![0]));
        assert!(start.elapsed() >= Duration::from_millis(5));
    }

    #[test]
    fn take_returns_an_empty_batch_at_its_timeout() {
        let batcher = batcher(2, 4, LONG);

        assert_eq!(batcher.take(Some(Duration::ZERO)), Some(vec![]));
        batcher.push(&entries(0..1)).unwrap();
        assert_eq!(
            batcher.take(Some(Duration::from_millis(1))),
            Some(vec![]),
            "the entry still waits for company"
        );
    }

    #[test]
    fn full_queue_refuses_or_waits() {
        let batcher = batcher(2, 2, LONG);
        batcher.push(&entries(0..2)).unwrap();
        let full = Error::QueueFull {
            len: 2,
            capacity: 2,
            wanted: 1,
        };

        assert_eq!(batcher.push(&entries(2..3)), Err(full.clone()));
        assert_eq!(
            batcher.push_some(&entries(2..3), Duration::from_millis(1)),
            Err(full)
        );
        let pusher = Arc::clone(&batcher);
        let accepted = spawn(move || pusher.push_some(&entries(2..5), LONG));
        assert_eq!(batcher.take(None), Some(vec![0, 1]));
        assert_eq!(accepted.recv_timeout(LONG), Ok(Ok(2)), "as many as fit");
    }

    #[test]
    fn cancel_makes_room() {
        let batcher = batcher(2, 2, LONG);
        batcher.push(&entries(0..2)).unwrap();
        let pusher = Arc::clone(&batcher);
        let accepted = spawn(move || pusher.push_some(&entries(2..3), LONG));

        assert_eq!(batcher.cancel(&[0, 9]), 1);

        assert_eq!(accepted.recv_timeout(LONG), Ok(Ok(1)));
        assert_eq!(batcher.take(None), Some(vec![1, 2]));
    }

    #[test]
    fn close_wakes_everyone_and_drains() {
        let waiting = batcher(2, 2, LONG);
        let worker = Arc::clone(&waiting);
        let taken = spawn(move || worker.take(None));
        waiting.close();
        assert_eq!(taken.recv_timeout(LONG), Ok(None));

        let full = batcher(2, 2, LONG);
        full.push(&entries(0..2)).unwrap();
        let pusher = Arc::clone(&full);
        let accepted = spawn(move || pusher.push_some(&entries(2..3), LONG));
        full.close();
        assert_eq!(accepted.recv_timeout(LONG), Ok(Err(Error::QueueClosed)));
        assert_eq!(full.take(None), Some(vec![0, 1]));
        assert_eq!(full.take(None), None);
    }

    #[test]
    fn panic_under_the_lock_wedges_nobody() {
        let batcher = batcher(2, 4, Duration::ZERO);
        let panicking = Arc::clone(&batcher);
        let panicked = thread::spawn(move || {
            let _guard = panicking.queue.lock().unwrap();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(batcher.queue.is_poisoned());

        batcher.push(&entries(0..1)).unwrap();

        assert_eq!(batcher.take(Some(LONG)), Some(vec![0]));
        assert!(batcher.is_empty());
    }

    #[test]
    fn many_threads_lose_and_repeat_nothing() {
        let (threads, each) = (8, 500);
        let batcher = batcher(7, 16, Duration::from_micros(50));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let worker = Arc::clone(&batcher);
                spawn(move || {
                    let mut seen = Vec::new();
                    while let Some(ids) = worker.take(None) {
                        assert!(ids.len() <= 7);
                        seen.extend(ids);
                    }
                    seen
                })
            })
            .collect();
        thread::scope(|scope| {
            for thread in 0..threads {
                let batcher = &batcher;
                scope.spawn(move || {
                    let mine = entries(thread * each..(thread + 1) * each);
                    let mut rest = mine.as_slice();
                    while !rest.is_empty() {
                        let pushed = batcher.push_some(rest, LONG).unwrap();
                        rest = &rest[pushed..];
                    }
                });
            }
        });
        batcher.close();

        let mut seen = Vec::new();
        for worker in workers {
            let part = worker.recv_timeout(LONG).unwrap();
            for thread in 0..threads {
                let own = part.iter().filter(|&&id| id / each == thread);
                assert!(own.is_sorted(), "a worker sees a pusher's ids in order");
            }
            seen.extend(part);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..threads * each).collect::<Vec<_>>());
    }
}
