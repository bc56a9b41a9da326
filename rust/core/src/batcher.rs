//! [`BatchQueue`] behind a lock: waits, wakes, closes. The only reader of a clock in this crate.

mod call;
mod sync;

use std::time::Duration;

use crate::Error;
use crate::queue::{Batch, BatchQueue, Decision, Entry, Limits, QueueStats};
use sync::{Clock, Condvar, Mutex, MutexGuard};

pub use call::Call;

/// What a taker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The next batch.
    Batch(Batch),
    /// The deadline of these ids passed before they were in a batch.
    Expired(Vec<u64>),
    /// Nothing was ready in time.
    Nothing,
    /// The batcher is closed and drained.
    Closed,
}

/// A queue that any number of threads push to, and a worker (or several) takes batches from.
///
/// Batches are taken in one of two ways, and a batcher's takers must agree on one.
/// [`take`](Self::take) is for workers that may run at once. Who must run alone takes *turns*: one
/// turn is open at a time, from what [`take_turn`](Self::take_turn) returns until
/// [`end_turn`](Self::end_turn). A pusher may take the turn itself
/// ([`push_and_take_turn`](Self::push_and_take_turn)): a batch that is ready at once then runs on
/// its thread and wakes nobody.
///
/// # Example
///
/// ```
/// use similar_fast_core::batcher::{Batcher, Next};
/// use similar_fast_core::queue::{Entry, Limits};
///
/// let batcher = Batcher::new(Limits { max_batch_size: 2, ..Limits::default() })?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| batcher.push(&[Entry::new(1, 0), Entry::new(2, 0)]));
///     let Next::Batch(batch) = batcher.take(None) else { panic!() };
///     assert_eq!(batch.ids().collect::<Vec<_>>(), [1, 2]);
/// });
/// batcher.close();
/// assert_eq!(batcher.take(None), Next::Closed);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Batcher {
    state: Mutex<State>,
    /// Wakes takers: there is something to take, a turn ended, or the queue was closed.
    work: Condvar,
    /// Wakes those who wait to push: entries have left, or the queue was closed.
    room: Condvar,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    queue: BatchQueue,
    is_turn_open: bool,
    /// When the first of the takers that sleep wakes by itself; None where none sleeps, or those
    /// that do have been woken. So a push wakes somebody only where that changes anything.
    asleep_until: Option<Duration>,
    /// Takers that sleep.
    num_asleep: usize,
    /// Threads that wait for room.
    num_waiting: usize,
}

/// Whom to wake once the lock is free.
#[derive(Debug, Default, Clone, Copy)]
struct Wake {
    work: bool,
    room: bool,
}

impl Batcher {
    /// An empty, open batcher.
    ///
    /// # Errors
    ///
    /// As [`BatchQueue::new`].
    pub fn new(limits: Limits) -> Result<Self, Error> {
        Ok(Self {
            state: Mutex::new(State {
                queue: BatchQueue::new(limits)?,
                is_turn_open: false,
                asleep_until: None,
                num_asleep: 0,
                num_waiting: 0,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            clock: Clock::start(),
        })
    }

    /// Pushes all of `entries` without waiting, or, on an error, none of them.
    ///
    /// # Errors
    ///
    /// As [`BatchQueue::push_all`]; [`Error::QueueFull`] where they do not all fit now.
    pub fn push(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut state = self.lock();
        state.queue.push_all(entries, self.clock.now())?;
        let work = state.is_taker_late();
        self.unlock(state, Wake { work, room: false });
        Ok(())
    }

    /// As [`push`](Self::push), and where no turn is open and something is ready at once,
    /// takes the turn and returns what is ready; otherwise [`Next::Nothing`].
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn push_and_take_turn(&self, entries: &[Entry]) -> Result<Next, Error> {
        let mut state = self.lock();
        let now = self.clock.now();
        state.queue.push_all(entries, now)?;
        let next = if state.is_turn_open {
            Next::Nothing
        } else {
            state.next(now).unwrap_or(Next::Nothing)
        };
        state.is_turn_open |= next != Next::Nothing;
        let work = state.is_taker_late();
        let room = next != Next::Nothing && state.has_news_for_pushers();
        self.unlock(state, Wake { work, room });
        Ok(next)
    }

    /// Waits at most `timeout` for room, pushes the first of `entries`, as many as fit, and
    /// returns how many these are, runs counted entry by entry: at least 1, unless `entries` is
    /// empty.
    ///
    /// # Errors
    ///
    /// As [`BatchQueue::push_all`], where no entry is pushed; [`Error::QueueFull`] where there was
    /// no room in time, [`Error::QueueClosed`] also where the queue was closed meanwhile.
    pub fn push_some(&self, entries: &[Entry], timeout: Duration) -> Result<usize, Error> {
        let start = self.clock.now();
        let mut state = self.lock();
        loop {
            state.queue.check_entries(entries)?;
            let now = self.clock.now();
            let left = timeout.saturating_sub(now.saturating_sub(start));
            if state.queue.room() > 0 || left.is_zero() {
                let (whole, part) = fitting(entries, state.queue.room().max(1));
                state.queue.push_all(whole, now)?;
                let mut pushed = count(whole);
                if let Some(part) = part {
                    state.queue.push(part, now)?;
                    pushed += part.count as usize;
                }
                let work = state.is_taker_late();
                self.unlock(state, Wake { work, room: false });
                return Ok(pushed);
            }
            state.num_waiting += 1;
            state = sync::wait(&self.room, state, left);
            state.num_waiting -= 1;
        }
    }

    /// Waits for the next batch and takes it; [`Next::Nothing`] where none was ready within
    /// `timeout` (None waits without end).
    pub fn take(&self, timeout: Option<Duration>) -> Next {
        self.take_locked(timeout, false)
    }

    /// As [`take`](Self::take), and waits for the open turn to end first. Where it returns a batch
    /// or expired entries, the turn is the caller's until [`end_turn`](Self::end_turn).
    pub fn take_turn(&self, timeout: Option<Duration>) -> Next {
        self.take_locked(timeout, true)
    }

    /// Waits at most `timeout` until [`take_turn`](Self::take_turn) has something to return at
    /// once, and takes nothing: for a taker that needs another lock before it can run, and lets
    /// the batch grow until it has it.
    pub fn await_turn(&self, timeout: Option<Duration>) {
        let mut sleep = Sleep::new(timeout);
        let mut state = self.lock();
        loop {
            let now = self.clock.now();
            if state.has_news(now, true) || sleep.is_over(now) {
                return;
            }
            state = self.sleep(state, &mut sleep, true);
        }
    }

    /// Ends the open turn, and wakes a taker where something is left for it.
    pub fn end_turn(&self) {
        let mut state = self.lock();
        state.is_turn_open = false;
        let work = state.is_taker_late();
        self.unlock(state, Wake { work, room: false });
    }

    /// Removes what was pushed under these ids and still waits, and returns how many entries
    /// that was.
    pub fn cancel(&self, ids: &[u64]) -> usize {
        let mut state = self.lock();
        let cancelled = ids.iter().map(|&id| state.queue.cancel(id)).sum();
        let room = cancelled > 0 && state.has_news_for_pushers();
        self.unlock(state, Wake { work: false, room });
        cancelled
    }

    /// Refuses later pushes, wakes whoever waits to push, and hands out what is queued at once.
    pub fn close(&self) {
        let mut state = self.lock();
        state.queue.close();
        state.asleep_until = None;
        let wake = Wake {
            work: true,
            room: true,
        };
        self.unlock(state, wake);
    }

    /// The time on this batcher's clock, which deadlines are read on.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Entries that wait.
    pub fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the queue has seen so far.
    pub fn stats(&self) -> QueueStats {
        *self.lock().queue.stats()
    }

    fn take_locked(&self, timeout: Option<Duration>, is_turn: bool) -> Next {
        let mut sleep = Sleep::new(timeout);
        let mut state = self.lock();
        loop {
            let now = self.clock.now();
            if !(is_turn && state.is_turn_open)
                && let Some(next) = state.next(now)
            {
                state.is_turn_open |= is_turn && next != Next::Closed;
                let room = state.has_news_for_pushers();
                self.unlock(state, Wake { work: false, room });
                return next;
            }
            if sleep.is_over(now) {
                return Next::Nothing;
            }
            state = self.sleep(state, &mut sleep, is_turn);
        }
    }

    /// Sleeps as a taker, until something may have changed.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        sleep: &mut Sleep,
        is_turn: bool,
    ) -> MutexGuard<'a, State> {
        let now = self.clock.now();
        let end = sleep.end(now);
        // While somebody's turn is open, its end is what wakes.
        let change = state
            .queue
            .next_change()
            .filter(|_| !(is_turn && state.is_turn_open));
        let wake_at = change.map_or(end, |change| change.min(end));
        let first = state.asleep_until.map_or(wake_at, |at| at.min(wake_at));
        state.asleep_until = Some(first);
        state.num_asleep += 1;
        state = sync::wait(&self.work, state, wake_at.saturating_sub(now));
        state.num_asleep -= 1;
        if state.asleep_until.is_some_and(|at| at <= self.clock.now()) {
            // Its own timer woke it, so nobody speaks for the others until they say anew how
            // long they sleep.
            state.asleep_until = None;
            if state.num_asleep > 0 {
                self.work.notify_all();
            }
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }

    /// Frees the lock first, so that nobody wakes only to wait for it.
    fn unlock(&self, state: MutexGuard<'_, State>, wake: Wake) {
        drop(state);
        if wake.work {
            self.work.notify_all();
        }
        if wake.room {
            self.room.notify_all();
        }
    }
}

/// How long a taker waits in all; the clock is read only where it waits.
#[derive(Debug)]
struct Sleep {
    timeout: Option<Duration>,
    end: Option<Duration>,
}

impl Sleep {
    fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, end: None }
    }

    fn end(&mut self, now: Duration) -> Duration {
        let timeout = self.timeout.unwrap_or(Duration::MAX);
        *self.end.get_or_insert(now.saturating_add(timeout))
    }

    fn is_over(&mut self, now: Duration) -> bool {
        self.end(now) <= now
    }
}

impl State {
    /// Whether there is something to take now.
    fn has_news(&self, now: Duration, is_turn: bool) -> bool {
        let is_drained = self.queue.is_closed() && self.queue.is_empty();
        !(is_turn && self.is_turn_open) && (is_drained || self.queue.has_news(now))
    }

    /// What there is to take now, if anything.
    fn next(&mut self, now: Duration) -> Option<Next> {
        match self.queue.next_batch(now) {
            Decision::Batch(batch) => Some(Next::Batch(batch)),
            Decision::Expired(ids) => Some(Next::Expired(ids)),
            Decision::Idle if self.queue.is_closed() => Some(Next::Closed),
            Decision::Idle | Decision::WaitUntil(_) => None,
        }
    }

    /// Whether a sleeping taker would oversleep the next change; the caller must wake it then.
    /// While a turn is open there is nothing to wake for: its end looks again.
    fn is_taker_late(&mut self) -> bool {
        let Some(asleep_until) = self.asleep_until.filter(|_| !self.is_turn_open) else {
            return false;
        };
        let is_drained = self.queue.is_closed() && self.queue.is_empty();
        let change = self.queue.next_change();
        let is_late = is_drained || change.is_some_and(|change| change < asleep_until);
        if is_late {
            self.asleep_until = None;
        }
        is_late
    }

    /// Whether to wake those who wait for room: a quarter of the queue is free, so that they push
    /// much at a time; or no batch would leave unless they push.
    fn has_news_for_pushers(&self) -> bool {
        self.num_waiting > 0
            && (4 * self.queue.room() >= self.queue.capacity() || !self.queue.has_full_batch())
    }
}

fn count(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.count as usize).sum()
}

/// The first entries that are `room` together: those that fit whole, and the start of a run.
fn fitting(entries: &[Entry], room: usize) -> (&[Entry], Option<Entry>) {
    let mut left = room;
    for (place, entry) in entries.iter().enumerate() {
        if entry.count as usize > left {
            let part = Entry {
                count: left as u32,
                ..*entry
            };
            return (&entries[..place], (left > 0).then_some(part));
        }
        left -= entry.count as usize;
    }
    (entries, None)
}

#[cfg(test)]
mod tests;
