//! How much batches cost: the share of best first actions found with batches of 1, 8 and 32.
//! Batches that grow are those of `Search`: at most a quarter of the simulations so far.
//!
//! `cargo run --release -p similar-fast-benches --bin decisions -- [trees]`

use similar_fast_benches::decisions::RandomTree;
use similar_fast_core::search::{Backup, Config, Gumbel, Policy};

const BATCHES: [u32; 3] = [1, 8, 32];

fn tree(seed: u64) -> RandomTree {
    RandomTree {
        seed,
        branching: 4,
        depth: 5,
        noise: 1.0,
    }
}

/// The searches that are compared, for one budget.
fn searches(num_simulations: u32) -> [(&'static str, Config, bool); 9] {
    let puct = Policy::Puct { c: 1.25 };
    let gumbel = Policy::Gumbel(Gumbel {
        num_simulations,
        ..Gumbel::default()
    });
    let with = |policy, backup| Config {
        policy,
        backup,
        ..Config::default()
    };
    let default = with(puct, Backup::Mean);
    [
        ("puct", default, false),
        ("puct, max", with(puct, Backup::Max), false),
        ("uct", with(Policy::Uct { c: 1.0 }, Backup::Mean), false),
        ("gumbel", with(gumbel, Backup::Mean), false),
        ("gumbel, max", with(gumbel, Backup::Max), false),
        ("puct, batches that grow", default, true),
        (
            "puct, 1 lost visit a visit in flight",
            Config {
                virtual_loss: 1,
                ..default
            },
            false,
        ),
        (
            "puct, any number of collisions",
            Config {
                max_collisions: None,
                ..default
            },
            false,
        ),
        (
            "gumbel, any number of collisions",
            Config {
                max_collisions: None,
                ..with(gumbel, Backup::Mean)
            },
            false,
        ),
    ]
}

fn main() {
    let trees: u64 = std::env::args().nth(1).map_or(20_000, |text| {
        text.parse().expect("the number of trees, a whole number")
    });
    let best: Vec<u32> = (0..trees).map(|seed| tree(seed).best_action()).collect();
    println!("| search | simulations | batch 1, % | batch 8, % | batch 32, % | 32 less 1 |");
    println!("|---|---|---|---|---|---|");
    for budget in [64, 128, 512] {
        for (name, config, grows) in searches(budget) {
            let [one, eight, many] = BATCHES.map(|batch| {
                let decide = |seed| tree(seed).decide(config, budget.into(), (batch, grows));
                let found = (0..trees)
                    .zip(&best)
                    .filter(|&(seed, &best)| decide(seed) == best);
                100.0 * found.count() as f64 / trees as f64
            });
            let cost = many - one;
            println!("| {name} | {budget} | {one:.1} | {eight:.1} | {many:.1} | {cost:+.1} |");
        }
    }
}
