//! `search/ask_tell`: whole searches over the synthetic tree, candidates given when wanted.
//!
//! Each search is run once before it is timed, and must give the visits noted here, in no more
//! memory than noted.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use similar_fast_benches::synthetic::Workload;

const BATCH: u32 = 256;

/// (branching factor, simulations, checksum of all visits, most bytes a simulation).
const SEARCHES: [(usize, u64, u64, usize); 4] = [
    (4, 100_000, 0x8b6f_4de2_3b12_435e, 33),
    (4, 1_000_000, 0x039a_05e3_9ad9_63b8, 29),
    (16, 100_000, 0xfaf2_04aa_e42a_7780, 82),
    (16, 1_000_000, 0x538f_a082_cb56_bb9d, 66),
];

fn ask_tell(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search/ask_tell");
    group.sample_size(10);
    for (branching, num_simulations, checksum, most_bytes) in SEARCHES {
        let mut workload = Workload::new(branching);
        workload.run(num_simulations, BATCH);
        assert_eq!(workload.search.num_simulations(), num_simulations);
        assert_eq!(workload.search.in_flight(), 0);
        assert_eq!(
            workload.checksum(),
            checksum,
            "b={branching} n={num_simulations}"
        );
        let nbytes = workload.search.nbytes();
        assert!(
            nbytes <= most_bytes * num_simulations as usize,
            "b={branching} n={num_simulations}: {nbytes} bytes"
        );

        let name = format!("b={branching}/n={num_simulations}/batch={BATCH}");
        group.throughput(Throughput::Elements(num_simulations));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_batched(
                || Workload::new(branching),
                |mut workload| {
                    workload.run(num_simulations, BATCH);
                    workload
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, ask_tell);
criterion_main!(benches);
