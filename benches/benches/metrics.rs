//! Pairwise accuracy of many pairs in a few groups.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use similar_fast_core::metrics::{AccuracyOptions, pairwise_accuracy};

const N: usize = 100_000;
const NUM_GROUPS: u32 = 8;

/// Scores that look random, and repeat exactly: a multiplicative sequence over 16 bits.
fn scores(step: u64) -> Vec<f64> {
    (0..N as u64)
        .map(|i| ((i + 1) * step % 65_537) as f64)
        .collect()
}

fn bench(criterion: &mut Criterion) {
    let (chosen, rejected) = (scores(40_503), scores(30_011));
    let groups: Vec<u32> = (0..N as u32).map(|i| i % NUM_GROUPS).collect();
    let run = || {
        pairwise_accuracy(
            black_box(&chosen),
            black_box(&rejected),
            &groups,
            NUM_GROUPS as usize,
            AccuracyOptions::default(),
        )
        .unwrap()
    };

    let correct = chosen.iter().zip(&rejected).filter(|(c, r)| c > r).count();
    assert_eq!(run().overall.n_correct, correct as u64);
    assert!(correct > N / 4 && correct < 3 * N / 4);
    criterion.bench_function("metrics/accuracy/n=100000", |bencher| bencher.iter(run));
}

criterion_group!(benches, bench);
criterion_main!(benches);
