//! The locks and the clock of the batcher: the standard ones, or loom's, which try every order of
//! the threads.

#[cfg(not(loom))]
pub(super) use std::sync::{Arc, Condvar, Mutex, MutexGuard};

#[cfg(loom)]
pub(super) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};

#[cfg(not(loom))]
use std::time::Instant;
use std::{sync::PoisonError, time::Duration};

/// Time since the clock was made. In a model it stands still, so that no thread is ever saved by a
/// timeout: a wake-up that is missing is a deadlock, which the model finds.
#[derive(Debug)]
pub(super) struct Clock {
    #[cfg(not(loom))]
    origin: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            #[cfg(not(loom))]
            origin: Instant::now(),
        }
    }

    #[cfg(not(loom))]
    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    #[cfg(loom)]
    #[allow(clippy::unused_self)] // the real one has a self to read
    pub(super) fn now(&self) -> Duration {
        Duration::ZERO
    }
}

/// Locks; a panic of another holder is no reason to fail, since what is locked here is checked
/// before it is changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until woken, at most for `timeout`; may wake early.
pub(super) fn wait<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> MutexGuard<'a, T> {
    let waited = condition.wait_timeout(guard, timeout);
    waited.unwrap_or_else(PoisonError::into_inner).0
}
