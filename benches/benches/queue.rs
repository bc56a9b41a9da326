//! What the queue's policy costs by itself, and a request through the batcher from many threads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use similar_fast_core::batcher::{Batcher, Call, Next};
use similar_fast_core::queue::{BatchQueue, Decision, Entry, Limits};

const N: u64 = 1024;

fn filled(limits: Limits, entry: fn(u64) -> Entry) -> BatchQueue {
    let mut queue = BatchQueue::new(limits).unwrap();
    for id in 0..N {
        queue.push(entry(id), Duration::ZERO).unwrap();
    }
    queue
}

fn plain(id: u64) -> Entry {
    Entry::new(id, 7)
}

fn with_everything(id: u64) -> Entry {
    Entry {
        tokens: id as u32 % 100,
        pixels: 1,
        priority: (id % 3) as i8,
        deadline: Some(Duration::from_secs(1 + id % 7)),
        key: Some(u128::from(id / 2)),
        ..Entry::new(id, 0)
    }
}

fn every_limit() -> Limits {
    Limits {
        max_batch_tokens: Some(4096),
        max_batch_pixels: Some(1 << 20),
        is_padded: true,
        bucket_edges: vec![16, 32, 64],
        ..Limits::default()
    }
}

fn drain(queue: &mut BatchQueue) -> usize {
    queue.close();
    let mut n = 0;
    while let Decision::Batch(batch) = queue.next_batch(Duration::ZERO) {
        n += batch.len() + batch.riders.len();
    }
    n
}

fn cancel_all(queue: &mut BatchQueue) -> usize {
    // From the back, where a search from the front is at its worst.
    (0..N).rev().map(|id| queue.cancel(id)).sum()
}

fn policy(criterion: &mut Criterion) {
    assert_eq!(drain(&mut filled(Limits::default(), plain)), N as usize);
    assert_eq!(
        cancel_all(&mut filled(Limits::default(), plain)),
        N as usize
    );
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(N));
    let ready = || filled(Limits::default(), plain);
    group.bench_function("next_batch/n=1024", |bencher| {
        bencher.iter_batched_ref(ready, drain, BatchSize::SmallInput);
    });
    group.bench_function("push/n=1024", |bencher| {
        bencher.iter_with_large_drop(ready);
    });
    group.bench_function("cancel/n=1024", |bencher| {
        bencher.iter_batched_ref(ready, cancel_all, BatchSize::SmallInput);
    });
    let run = |_: u64| {
        let mut queue = BatchQueue::new(Limits::default()).unwrap();
        let entry = Entry {
            count: N as u32,
            ..plain(0)
        };
        queue.push(entry, Duration::ZERO).unwrap();
        drain(&mut queue)
    };
    assert_eq!(run(0), N as usize);
    group.bench_function("run/n=1024", |bencher| bencher.iter(|| run(0)));
    let full = || filled(every_limit(), with_everything);
    assert_eq!(drain(&mut full()), N as usize);
    group.bench_function("push_and_next_batch/everything/n=1024", |bencher| {
        bencher.iter(|| drain(&mut full()));
    });
    group.finish();
}

const THREADS: usize = 8;
/// Requests that a thread has in flight: two batches of 32 in all, or eight, which still fill while
/// some of the threads are off the processor.
const WINDOWS: [usize; 2] = [8, 32];

/// Answers `each` requests of every thread through one worker; the latency of each, unsorted.
fn answer(limits: Limits, threads: usize, window: usize, each: usize) -> Vec<Duration> {
    let batcher = Batcher::new(limits).unwrap();
    let calls: Vec<Call> = (0..threads * window).map(|_| Call::new()).collect();
    let answers: Vec<AtomicU64> = calls.iter().map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Next::Batch(batch) = batcher.take(None) {
                for id in batch.ids() {
                    answers[id as usize].fetch_add(1, Relaxed);
                    calls[id as usize].finish();
                }
            }
        });
        let callers: Vec<_> = (0..threads)
            .map(|thread| {
                let (batcher, calls) = (&batcher, &calls);
                scope.spawn(move || {
                    ask(batcher, calls, thread * window..(thread + 1) * window, each)
                })
            })
            .collect();
        let callers = callers.into_iter();
        let latencies = callers.flat_map(|caller| caller.join().unwrap()).collect();
        batcher.close();
        let answered: u64 = answers.iter().map(|answer| answer.load(Relaxed)).sum();
        assert_eq!(answered, (threads * each) as u64);
        latencies
    })
}

/// Keeps one request in flight for each of `slots`.
fn ask(
    batcher: &Batcher,
    calls: &[Call],
    slots: std::ops::Range<usize>,
    each: usize,
) -> Vec<Duration> {
    let window = slots.len();
    let mut started = vec![Instant::now(); window];
    let mut latencies = Vec::with_capacity(each);
    for request in 0..each + window {
        let place = request % window;
        let slot = slots.start + place;
        if request >= window && request - window < each {
            assert!(calls[slot].wait(Duration::from_secs(60)));
            calls[slot].reset();
            latencies.push(started[place].elapsed());
        }
        if request < each {
            started[place] = Instant::now();
            batcher.push(&[Entry::new(slot as u64, 1)]).unwrap();
        }
    }
    latencies
}

fn percentile(mut latencies: Vec<Duration>, percent: usize) -> Duration {
    latencies.sort_unstable();
    latencies[latencies.len() * percent / 100]
}

fn requests(criterion: &mut Criterion) {
    let limits = Limits {
        max_batch_size: 32,
        ..Limits::default()
    };
    let max_wait = limits.max_wait;
    let mut group = criterion.benchmark_group("batcher");
    group.sample_size(10).throughput(Throughput::Elements(1));
    for window in WINDOWS {
        let name = format!("request/threads=8/batch=32/in_flight={window}");
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|requests| {
                let each = (requests as usize).div_ceil(THREADS);
                let start = Instant::now();
                answer(limits.clone(), THREADS, window, each);
                let share = requests as f64 / (each * THREADS) as f64;
                start.elapsed().mul_f64(share)
            });
        });
    }
    group.finish();
    let full = answer(limits.clone(), THREADS, WINDOWS[0], 20_000);
    let alone = answer(limits, 1, 1, 200);
    println!(
        "latency, max_wait included: full batches p50 {:?} p99 {:?}; a lone caller beyond max_wait: p50 {:?} p99 {:?}",
        percentile(full.clone(), 50),
        percentile(full, 99),
        percentile(alone.clone(), 50).saturating_sub(max_wait),
        percentile(alone, 99).saturating_sub(max_wait),
    );
}

criterion_group!(benches, policy, requests);
criterion_main!(benches);
