//! What the queue's policy costs by itself.

use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use similar_fast_core::queue::{BatchQueue, Decision, Entry, Limits};

const N: u64 = 1024;

fn filled() -> BatchQueue {
    let mut queue = BatchQueue::new(Limits::default()).unwrap();
    for id in 0..N {
        queue.push(Entry { id, tokens: 7 }, Duration::ZERO).unwrap();
    }
    queue
}

fn drain(queue: &mut BatchQueue) -> Vec<u64> {
    let mut ids = Vec::with_capacity(N as usize);
    while let Decision::Batch(batch) = queue.next_batch(Duration::ZERO) {
        ids.extend(batch);
    }
    ids
}

fn bench(criterion: &mut Criterion) {
    assert_eq!(drain(&mut filled()), (0..N).collect::<Vec<_>>());
    criterion.bench_function("queue/next_batch/n=1024", |bencher| {
        bencher.iter_batched_ref(filled, drain, BatchSize::SmallInput);
    });
    criterion.bench_function("queue/push/n=1024", |bencher| {
        bencher.iter_with_large_drop(filled);
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
