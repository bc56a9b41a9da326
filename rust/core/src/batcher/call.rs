//! A blocking caller's place to wait for its answer.

use std::time::Duration;
use std::vec::IntoIter;

use super::sync::{Arc, Clock, Condvar, Mutex, lock, wait};

/// Something that one thread waits for and another finishes, once.
///
/// # Example
///
/// ```
/// use similar_fast_core::batcher::Call;
/// use std::time::Duration;
///
/// let call = Call::new();
/// std::thread::scope(|scope| {
///     scope.spawn(|| call.finish());
///     assert!(call.wait(Duration::from_secs(10)));
/// });
/// ```
#[derive(Debug)]
pub struct Call {
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_finished: bool,
    is_awaited: bool,
    /// Whom the waiter finishes when it wakes.
    others: Option<IntoIter<Arc<Call>>>,
}

impl Default for Call {
    fn default() -> Self {
        Self::new()
    }
}

impl Call {
    /// A call that is not finished.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State::default()),
            finished: Condvar::new(),
        }
    }

    /// Waits until the call is finished, at most for `timeout`; whether it is.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut state = lock(&self.state);
        if !state.is_finished {
            let clock = Clock::start();
            let mut left = timeout;
            state.is_awaited = true;
            while !state.is_finished && !left.is_zero() {
                state = wait(&self.finished, state, left);
                left = timeout.saturating_sub(clock.now());
            }
            state.is_awaited = false;
        }
        let is_finished = state.is_finished;
        let others = state.others.take();
        drop(state);
        if let Some(others) = others {
            finish_in_turn(others);
        }
        is_finished
    }

    /// Finishes the call and wakes its waiter, if there is one yet.
    pub fn finish(&self) {
        self.finish_and(None);
    }

    /// Finishes all of `calls`, and wakes who waits for them one by one: the first that wakes wakes
    /// the second. Where the waiters have to share something when they wake, as an interpreter,
    /// they so come one at a time, and whoever finishes them wakes only one.
    pub fn finish_all(calls: Vec<Arc<Self>>) {
        finish_in_turn(calls.into_iter());
    }

    /// Gives `others` back where nobody waits who would finish them.
    fn finish_and(&self, others: Option<IntoIter<Arc<Self>>>) -> Option<IntoIter<Arc<Self>>> {
        let mut state = lock(&self.state);
        state.is_finished = true;
        if !state.is_awaited {
            return others;
        }
        state.others = others;
        drop(state);
        self.finished.notify_all();
        None
    }

    /// Makes a finished call ready for another use.
    pub fn reset(&self) {
        lock(&self.state).is_finished = false;
    }

    /// Whether it is finished.
    pub fn is_finished(&self) -> bool {
        lock(&self.state).is_finished
    }
}

fn finish_in_turn(mut calls: IntoIter<Arc<Call>>) {
    while let Some(call) = calls.next() {
        match call.finish_and(Some(calls)) {
            Some(rest) => calls = rest,
            None => return,
        }
    }
}
