//! Times whole searches over the synthetic tree with uniform priors, for `benches/peers`.
//!
//! `peer_rate TREES BRANCHING SIMULATIONS REPEATS` prints one line of JSON. CPU time of the thread, as
//! Linux counts it in steps of a few milliseconds: a timing runs searches for half a second and takes
//! their mean. One tree is asked for a quarter of its simulations so far, at most 256; of several,
//! each is asked for 8 in turn.

use std::hint::black_box;

use similar_fast_benches::synthetic::Workload;

/// Half a second in nanoseconds.
const ENOUGH: u64 = 500_000_000;

fn main() {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().expect("four numbers"))
        .collect();
    let [trees, branching, num_simulations, repeats] = arguments[..] else {
        panic!("expected TREES BRANCHING SIMULATIONS REPEATS, got {arguments:?}");
    };
    let run = || search(trees, branching as usize, num_simulations);
    let first = run();
    let nbytes: usize = first.iter().map(|one| one.search.nbytes()).sum();
    let done: u64 = first.iter().map(|one| one.search.num_simulations()).sum();
    drop(first);
    let mut seconds = Vec::new();
    for _ in 0..repeats {
        let (start, mut searches) = (cpu_nanoseconds(), 0);
        while cpu_nanoseconds() - start < ENOUGH {
            black_box(run());
            searches += 1;
        }
        seconds.push((cpu_nanoseconds() - start) as f64 / 1e9 / f64::from(searches));
    }
    println!("{{\"seconds\": {seconds:?}, \"done\": {done}, \"nbytes\": {nbytes}}}");
}

fn search(trees: u64, branching: usize, num_simulations: u64) -> Vec<Workload> {
    let mut searches: Vec<Workload> = (0..trees).map(|_| Workload::uniform(branching)).collect();
    let mut done = 0;
    while done < num_simulations {
        let batch = if trees == 1 {
            (done / 4).clamp(1, 256)
        } else {
            8
        };
        done = num_simulations.min(done + batch);
        for one in &mut searches {
            one.run(done, batch as u32);
        }
    }
    searches
}

fn cpu_nanoseconds() -> u64 {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let first = line.split_whitespace().next().expect("three numbers");
    first.parse().expect("nanoseconds")
}
