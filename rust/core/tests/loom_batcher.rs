//! Every order of two or three threads on one batcher: nothing is lost, repeated or asleep for
//! ever. Run by `make loom`.
//!
//! What is modelled: the lock and the condition variables, as loom's. The clock stands still and a
//! timed wait never times out, so nothing but a wake-up moves a sleeping thread: one that is
//! missing is a deadlock, and loom reports it. A batch is therefore ready when it is full, when
//! `max_wait` is zero, or when the queue is closed. Batching by a timer is left to the tests of the
//! pure queue, where time is an argument.
#![cfg(loom)]

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use loom::sync::Arc;
use loom::thread;
use similar_fast_core::Error;
use similar_fast_core::batcher::{Batcher, Call, Next};
use similar_fast_core::queue::{Entry, Limits};

const NEVER: Duration = Duration::MAX;

fn batcher(max_batch_size: usize, capacity: usize, max_wait: Duration) -> Arc<Batcher> {
    let limits = Limits {
        max_batch_size,
        capacity,
        max_wait,
        ..Limits::default()
    };
    Arc::new(Batcher::new(limits).unwrap())
}

fn drain(batcher: &Batcher) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        match batcher.take(None) {
            Next::Batch(batch) => seen.extend(batch.ids()),
            Next::Closed => return seen,
            other => panic!("expected a batch or the end, got {other:?}"),
        }
    }
}

fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}

#[test]
fn two_pushers_fill_a_batch_and_the_worker_wakes() {
    loom::model(|| {
        let batcher = batcher(2, 4, NEVER);
        let pushers = [1, 2].map(|id| {
            let batcher = Arc::clone(&batcher);
            thread::spawn(move || batcher.push(&[Entry::new(id, 0)]).unwrap())
        });

        let Next::Batch(batch) = batcher.take(None) else {
            panic!("the batch is full");
        };

        assert_eq!(sorted(batch.ids().collect()), [1, 2]);
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}

#[test]
fn close_against_push_loses_nothing() {
    loom::model(|| {
        let batcher = batcher(2, 2, NEVER);
        let pusher = {
            let batcher = Arc::clone(&batcher);
            thread::spawn(move || batcher.push(&[Entry::new(1, 0)]))
        };
        let closer = {
            let batcher = Arc::clone(&batcher);
            thread::spawn(move || batcher.close())
        };

        let seen = drain(&batcher);

        match pusher.join().unwrap() {
            Ok(()) => assert_eq!(seen, [1]),
            Err(error) => assert_eq!((error, seen), (Error::QueueClosed, vec![])),
        }
        closer.join().unwrap();
    });
}

#[test]
fn cancel_against_take_removes_or_leaves() {
    loom::model(|| {
        let batcher = batcher(1, 2, Duration::ZERO);
        batcher.push(&[Entry::new(1, 0)]).unwrap();
        let canceller = {
            let batcher = Arc::clone(&batcher);
            thread::spawn(move || {
                let cancelled = batcher.cancel(&[1]);
                batcher.close();
                cancelled
            })
        };

        let seen = drain(&batcher);

        assert_eq!(seen.len() + canceller.join().unwrap(), 1);
    });
}

#[test]
fn pusher_without_room_is_woken_by_a_take() {
    loom::model(|| {
        let batcher = batcher(1, 1, NEVER);
        batcher.push(&[Entry::new(1, 0)]).unwrap();
        let pusher = {
            let batcher = Arc::clone(&batcher);
            thread::spawn(move || {
                let pushed = batcher.push_some(&[Entry::new(2, 0)], NEVER);
                batcher.close();
                pushed
            })
        };

        let seen = drain(&batcher);

        assert_eq!(pusher.join().unwrap(), Ok(1));
        assert_eq!(seen, [1, 2]);
    });
}

#[test]
fn pusher_without_room_is_woken_by_cancel_or_close() {
    loom::model(|| {
        let batcher = batcher(1, 1, NEVER);
        batcher.push(&[Entry::new(1, 0)]).unwrap();
        let pusher = {
            let batcher = Arc::clone(&batcher);
            thread::spawn(move || batcher.push_some(&[Entry::new(2, 0)], NEVER))
        };
        let canceller = {
            let batcher = Arc::clone(&batcher);
            thread::spawn(move || batcher.cancel(&[1]))
        };

        assert_eq!(canceller.join().unwrap(), 1);

        assert_eq!(pusher.join().unwrap(), Ok(1));
    });
}

#[test]
fn two_workers_share_the_entries() {
    loom::model(|| {
        let batcher = batcher(1, 2, Duration::ZERO);
        let worker = {
            let batcher = Arc::clone(&batcher);
            thread::spawn(move || drain(&batcher))
        };
        let pusher = {
            let batcher = Arc::clone(&batcher);
            thread::spawn(move || {
                batcher.push(&[Entry::new(1, 0)]).unwrap();
                batcher.push(&[Entry::new(2, 0)]).unwrap();
                batcher.close();
            })
        };

        let mut seen = drain(&batcher);

        seen.extend(worker.join().unwrap());
        assert_eq!(sorted(seen), [1, 2]);
        pusher.join().unwrap();
    });
}

#[test]
fn turns_never_overlap_and_leave_nothing_behind() {
    loom::model(|| {
        let batcher = batcher(1, 4, Duration::ZERO);
        let turn = Arc::new(Turn::default());
        let callers = [1, 2].map(|id| {
            let (batcher, turn) = (Arc::clone(&batcher), Arc::clone(&turn));
            thread::spawn(move || {
                let next = batcher.push_and_take_turn(&[Entry::new(id, 0)]).unwrap();
                if next != Next::Nothing {
                    turn.run();
                    batcher.end_turn();
                }
            })
        });
        let worker = {
            let (batcher, turn) = (Arc::clone(&batcher), Arc::clone(&turn));
            thread::spawn(move || {
                loop {
                    batcher.await_turn(None);
                    match batcher.take_turn(Some(Duration::ZERO)) {
                        Next::Closed => break,
                        // A caller was quicker.
                        Next::Nothing => {}
                        _ => {
                            let count = turn.run();
                            batcher.end_turn();
                            if count == 2 {
                                break;
                            }
                        }
                    }
                }
            })
        };

        for caller in callers {
            caller.join().unwrap();
        }
        // What the callers left, the worker must be awake for without the close.
        if turn.count() == 2 {
            batcher.close();
        }

        worker.join().unwrap();
        assert_eq!(turn.count(), 2);
    });
}

/// What runs in a turn: a cell that is not synchronised, of which loom reports two threads that
/// are in it at once, and a count outside of the model.
#[derive(Default)]
struct Turn {
    cell: loom::cell::UnsafeCell<()>,
    count: std::sync::atomic::AtomicUsize,
}

impl Turn {
    fn run(&self) -> usize {
        self.cell.with_mut(|_| ());
        self.count.fetch_add(1, SeqCst) + 1
    }

    fn count(&self) -> usize {
        self.count.load(SeqCst)
    }
}

#[test]
fn call_that_is_finished_wakes_its_waiter() {
    loom::model(|| {
        let call = Arc::new(Call::new());
        let waiter = {
            let call = Arc::clone(&call);
            thread::spawn(move || call.wait(NEVER))
        };

        call.finish();

        assert!(waiter.join().unwrap());
    });
}

#[test]
fn calls_that_are_finished_together_wake_all_their_waiters() {
    loom::model(|| {
        let calls = [(); 2].map(|()| Arc::new(Call::new()));
        let waiters = calls
            .clone()
            .map(|call| thread::spawn(move || call.wait(NEVER)));

        Call::finish_all(calls.to_vec());

        for waiter in waiters {
            assert!(waiter.join().unwrap());
        }
    });
}
