//! `adaptive/ask_tell`: whole searches whose values are hashes of the node's id.
//!
//! Each search is run once before it is timed, and must have the shape noted here: the same children
//! of the root, the same depth, in no more memory than noted.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use similar_fast_core::adaptive::{AdaptiveSearch, Config, Normalize, Policy, Prior, Rule, Told};

/// The most bytes a simulation.
const MOST_BYTES: usize = 90;

/// One workload, and the root's children and the greatest depth that it must come to.
struct Work {
    name: &'static str,
    policy: Policy,
    num_simulations: u64,
    batch: u32,
    shape: (usize, u32),
}

const WIDENING: Policy = Policy::Widening {
    k: 1.0,
    alpha: 0.5,
    rule: Rule::Uct,
    c: 1.0,
};
const GAUSSIAN: Policy = Policy::AbMcts {
    prior: Prior::GAUSSIAN,
};
const BETA: Policy = Policy::AbMcts { prior: Prior::BETA };

const WORKS: [Work; 7] = [
    Work {
        name: "widening",
        policy: WIDENING,
        num_simulations: 100_000,
        batch: 256,
        shape: (317, 6),
    },
    Work {
        name: "widening",
        policy: WIDENING,
        num_simulations: 100_000,
        batch: 1,
        shape: (317, 6),
    },
    Work {
        name: "gaussian",
        policy: GAUSSIAN,
        num_simulations: 100,
        batch: 1,
        shape: (20, 4),
    },
    Work {
        name: "gaussian",
        policy: GAUSSIAN,
        num_simulations: 10_000,
        batch: 1,
        shape: (412, 6),
    },
    Work {
        name: "gaussian",
        policy: GAUSSIAN,
        num_simulations: 10_000,
        batch: 64,
        shape: (9047, 3),
    },
    Work {
        name: "beta",
        policy: BETA,
        num_simulations: 100,
        batch: 1,
        shape: (68, 3),
    },
    Work {
        name: "beta",
        policy: BETA,
        num_simulations: 10_000,
        batch: 1,
        shape: (7189, 4),
    },
];

/// A value in [0, 1): one step of splitmix64.
fn value(node: u64) -> f32 {
    let mixed = node.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed ^ (mixed >> 27)) >> 40) as f32 / 16_777_216.0
}

fn new(work: &Work) -> AdaptiveSearch {
    let config = Config {
        policy: work.policy,
        normalize: Normalize::None,
        seed: 1,
        ..Config::default()
    };
    AdaptiveSearch::new(config, None).expect("a configuration in range")
}

fn run(search: &mut AdaptiveSearch, work: &Work) {
    let mut values = Vec::new();
    while search.num_simulations() < work.num_simulations {
        let left = work.num_simulations - search.num_simulations();
        let leaves = search
            .ask(left.min(u64::from(work.batch)) as u32)
            .expect("room for a batch");
        let next = search.num_nodes() as u64;
        values.clear();
        values.extend((0..leaves.ids.len() as u64).map(|row| value(next + row)));
        let told = Told {
            ids: &leaves.ids,
            values: &values,
            terminal: None,
            exhausted: None,
        };
        search.tell(told).expect("rows that the search asked for");
    }
}

fn check(work: &Work) {
    let mut search = new(work);
    run(&mut search, work);
    let depths = search.nodes().depths;
    let root = search.children(0).expect("a root");
    let name = format!(
        "{} n={} batch={}",
        work.name, work.num_simulations, work.batch
    );
    assert_eq!(search.num_simulations(), work.num_simulations, "{name}");
    assert_eq!(search.in_flight(), 0, "{name}");
    let shape = (root.nodes.len(), depths.into_iter().max().unwrap_or(0));
    assert_eq!(shape, work.shape, "{name}");
    let nbytes = search.nbytes();
    let most = MOST_BYTES * search.num_nodes() + 16_384;
    assert!(nbytes <= most, "{name}: {nbytes} bytes");
}

fn ask_tell(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adaptive/ask_tell");
    group.sample_size(10);
    for work in &WORKS {
        check(work);
        let (n, batch) = (work.num_simulations, work.batch);
        let name = format!("{}/n={n}/batch={batch}", work.name);
        group.throughput(Throughput::Elements(n));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_batched(
                || new(work),
                |mut search| {
                    run(&mut search, work);
                    search
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, ask_tell);
criterion_main!(benches);
