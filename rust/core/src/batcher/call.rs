//! A blocking caller's place to wait for its answer.

use std::time::Duration;

use super::sync::{Clock, Condvar, Mutex, lock, wait};

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
        if state.is_finished {
            return true;
        }
        let clock = Clock::start();
        state.is_awaited = true;
        loop {
            let left = timeout.saturating_sub(clock.now());
            if state.is_finished || left.is_zero() {
                state.is_awaited = false;
                return state.is_finished;
            }
            state = wait(&self.finished, state, left);
        }
    }

    /// Finishes the call and wakes its waiter, if there is one yet.
    pub fn finish(&self) {
        let is_awaited = {
            let mut state = lock(&self.state);
            state.is_finished = true;
            state.is_awaited
        };
        if is_awaited {
            self.finished.notify_all();
        }
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
