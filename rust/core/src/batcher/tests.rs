use super::*;
use crate::queue::Run;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Far longer than any test runs; reached only where something hangs.
const LONG: Duration = Duration::from_secs(60);

fn batcher(max_batch_size: usize, capacity: usize, max_wait: Duration) -> Arc<Batcher> {
    let limits = Limits {
        max_batch_size,
        max_wait,
        capacity,
        ..Limits::default()
    };
    Arc::new(Batcher::new(limits).unwrap())
}

fn entries(ids: std::ops::Range<u64>) -> Vec<Entry> {
    ids.map(|id| Entry::new(id, 1)).collect()
}

fn batch(ids: &[u64]) -> Next {
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
    Next::Batch(batch)
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

    assert_eq!(taken.recv_timeout(LONG), Ok(batch(&[0, 1])));
}

#[test]
fn lone_entry_is_taken_after_max_wait() {
    let batcher = batcher(2, 4, Duration::from_millis(5));
    let start = Instant::now();
    batcher.push(&entries(0..1)).unwrap();

    let taken = batcher.take(Some(LONG));

    assert_eq!(taken, batch(&[0]));
    assert!(start.elapsed() >= Duration::from_millis(5));
}

#[test]
fn take_returns_nothing_at_its_timeout() {
    let batcher = batcher(2, 4, LONG);

    assert_eq!(batcher.take(Some(Duration::ZERO)), Next::Nothing);
    batcher.push(&entries(0..1)).unwrap();
    assert_eq!(
        batcher.take(Some(Duration::from_millis(1))),
        Next::Nothing,
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
    assert_eq!(batcher.take(None), batch(&[0, 1]));
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
    assert_eq!(batcher.take(None), batch(&[1, 2]));
}

#[test]
fn close_wakes_everyone_and_drains() {
    let waiting = batcher(2, 2, LONG);
    let worker = Arc::clone(&waiting);
    let taken = spawn(move || worker.take(None));
    waiting.close();
    assert_eq!(taken.recv_timeout(LONG), Ok(Next::Closed));

    let full = batcher(2, 2, LONG);
    full.push(&entries(0..2)).unwrap();
    let pusher = Arc::clone(&full);
    let accepted = spawn(move || pusher.push_some(&entries(2..3), LONG));
    full.close();
    assert_eq!(accepted.recv_timeout(LONG), Ok(Err(Error::QueueClosed)));
    assert_eq!(full.take(None), batch(&[0, 1]));
    assert_eq!(full.take(None), Next::Closed);
}

#[test]
fn panic_under_the_lock_wedges_nobody() {
    let batcher = batcher(2, 4, Duration::ZERO);
    let panicking = Arc::clone(&batcher);
    let panicked = thread::spawn(move || {
        let _guard = panicking.state.lock().unwrap();
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(batcher.state.is_poisoned());

    batcher.push(&entries(0..1)).unwrap();

    assert_eq!(batcher.take(Some(LONG)), batch(&[0]));
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
                while let Next::Batch(batch) = worker.take(None) {
                    assert!(batch.len() <= 7);
                    seen.extend(batch.ids());
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

#[test]
fn pusher_runs_what_is_ready_and_the_worker_the_rest() {
    let batcher = batcher(2, 4, Duration::ZERO);
    let worker = Arc::clone(&batcher);
    let mine = batcher.push_and_take_turn(&entries(0..1)).unwrap();
    assert_eq!(mine, batch(&[0]));
    let taken = spawn(move || worker.take_turn(None));

    let during = batcher.push_and_take_turn(&entries(1..2)).unwrap();
    assert_eq!(during, Next::Nothing, "the turn is open");
    assert_eq!(
        taken.recv_timeout(Duration::from_millis(5)),
        Err(mpsc::RecvTimeoutError::Timeout),
        "so the worker waits"
    );
    batcher.end_turn();

    assert_eq!(taken.recv_timeout(LONG), Ok(batch(&[1])));
    batcher.end_turn();
    assert_eq!(batcher.take_turn(Some(Duration::ZERO)), Next::Nothing);
}

#[test]
fn turn_is_open_to_others_when_it_found_nothing() {
    let batcher = batcher(2, 4, Duration::ZERO);

    assert_eq!(batcher.take_turn(Some(Duration::ZERO)), Next::Nothing);

    let mine = batcher.push_and_take_turn(&entries(0..1)).unwrap();
    assert_eq!(mine, batch(&[0]));
}

#[test]
fn sleeping_taker_wakes_for_a_deadline() {
    let batcher = batcher(2, 4, LONG);
    batcher.push(&entries(0..1)).unwrap();
    let worker = Arc::clone(&batcher);
    let taken = spawn(move || worker.take(None));
    let hurried = Entry {
        deadline: Some(batcher.now() + Duration::from_millis(2)),
        ..Entry::new(9, 1)
    };

    batcher.cancel(&[0]);
    batcher.push(&[hurried]).unwrap();

    assert_eq!(taken.recv_timeout(LONG), Ok(Next::Expired(vec![9])));
}

#[test]
fn taker_that_times_out_does_not_silence_the_other() {
    let batcher = batcher(1, 4, LONG);
    let worker = Arc::clone(&batcher);
    let taken = spawn(move || worker.take(None));
    assert_eq!(batcher.take(Some(Duration::from_millis(2))), Next::Nothing);

    batcher.push(&entries(0..1)).unwrap();

    assert_eq!(taken.recv_timeout(LONG), Ok(batch(&[0])));
}

#[test]
fn runs_are_split_to_fit_the_room() {
    let batcher = batcher(2, 4, LONG);
    let run = |id, count| Entry {
        count,
        ..Entry::new(id, 1)
    };
    batcher.push(&[run(0, 1)]).unwrap();

    let pushed = batcher.push_some(&[run(10, 2), run(20, 5)], LONG);

    assert_eq!(pushed, Ok(3));
    batcher.close();
    assert_eq!(batcher.take(None), batch(&[0, 10]));
    assert_eq!(batcher.take(None), batch(&[11, 20]));
}

#[test]
fn call_is_finished_once_for_whoever_waits() {
    let call = Call::new();
    assert!(!call.wait(Duration::from_millis(1)));

    call.finish();

    assert!(call.wait(Duration::ZERO) && call.is_finished());
    call.reset();
    assert!(!call.wait(Duration::ZERO));
}
