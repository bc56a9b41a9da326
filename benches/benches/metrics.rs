//! Accuracy of many pairs, its clustered bootstrap, and the rank correlation of as many rows.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use similar_fast_core::metrics::{
    AccuracyOptions, BootstrapOptions, Labels, PairColumns, accuracy_intervals, pairwise_accuracy,
    rank_correlation,
};

const N: usize = 100_000;
const NUM_GROUPS: u32 = 8;

/// Scores that look random, and repeat exactly: a multiplicative sequence over 16 bits.
fn scores(step: u64) -> Vec<f64> {
    (0..N as u64)
        .map(|i| ((i + 1) * step % 65_537) as f64)
        .collect()
}

fn bench_accuracy(criterion: &mut Criterion) {
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

fn bench_intervals(criterion: &mut Criterion) {
    let (chosen, rejected) = (scores(40_503), scores(30_011));
    let pairs = PairColumns {
        chosen: &chosen,
        rejected: &rejected,
    };
    let mut group = criterion.benchmark_group("metrics");
    group.sample_size(10);
    for (num_clusters, num_groups) in [(1_000, 1), (10_000, 1), (10_000, NUM_GROUPS)] {
        let clusters: Vec<u32> = (0..N as u32).map(|i| i % num_clusters).collect();
        // A task is of one group, as one of a website is.
        let groups: Vec<u32> = clusters
            .iter()
            .map(|cluster| cluster % num_groups)
            .collect();
        let of = |ids, count: u32| Labels {
            ids,
            count: count as usize,
        };
        let run = || {
            accuracy_intervals(
                black_box(&pairs),
                of(&groups, num_groups),
                of(&clusters, num_clusters),
                AccuracyOptions::default(),
                BootstrapOptions::default(),
            )
            .unwrap()
        };

        let micro = run().micro;
        assert!(micro.interval.low < micro.value && micro.value < micro.interval.high);
        let name = format!("intervals/n=100000/clusters={num_clusters}/groups={num_groups}");
        group.bench_function(name, |bencher| bencher.iter(run));
    }
    group.finish();
}

fn bench_correlation(criterion: &mut Criterion) {
    let (x, y) = (scores(40_503), scores(30_011));
    let ids = vec![0; N];
    let groups = Labels {
        ids: &ids,
        count: 1,
    };
    let run = || rank_correlation(black_box(&x), black_box(&y), groups).unwrap();

    let found = run().overall;
    assert!(found.spearman.abs() < 0.1 && found.kendall.abs() < 0.1);
    criterion.bench_function("metrics/rank_correlation/n=100000", |bencher| {
        bencher.iter(run);
    });
}

criterion_group!(benches, bench_accuracy, bench_intervals, bench_correlation);
criterion_main!(benches);
