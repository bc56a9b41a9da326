//! Gumbel with sequential halving: how a decision's simulations are spent at the root.

use similar_fast_core::search::{
    CandidateColumns, Candidates, Config, Gumbel, Leaves, Policy, Told, TreeSearch,
};

fn search(count: usize, max_considered: u32, num_simulations: u32) -> TreeSearch {
    let config = Config {
        policy: Policy::Gumbel(Gumbel {
            max_considered,
            num_simulations,
            ..Gumbel::default()
        }),
        max_collisions: None,
        ..Config::default()
    };
    let root = Candidates {
        count,
        ..Candidates::default()
    };
    TreeSearch::new(config, root).unwrap()
}

/// Tells each leaf the action at the root, over 16, and two candidates.
fn answer(search: &mut TreeSearch, leaves: &Leaves) {
    let of = |row: usize| match search.path(leaves.parents[row]).unwrap().1.first() {
        Some(&action) => action,
        None => leaves.actions[row],
    };
    let values: Vec<f32> = (0..leaves.ids.len())
        .map(|row| of(row) as f32 / 16.0)
        .collect();
    let candidates = CandidateColumns {
        counts: Some(&vec![2; leaves.ids.len()]),
        ..CandidateColumns::default()
    };
    let told = Told {
        ids: &leaves.ids,
        values: &values,
        candidates,
        ..Told::default()
    };
    search.tell(told).unwrap();
}

#[test]
fn a_plan_halves_its_candidates_phase_by_phase() {
    let mut search = search(8, 4, 24);
    search
        .plan(Some(&[3.0, 0.0, 2.0, 1.0, 0.5, -1.0, -2.0, -3.0]), 24)
        .unwrap();

    let first = search.ask(99).unwrap(); // 24 / (2 phases * 4 candidates) each
    assert_eq!(first.multiplicities, [3; 4]);
    assert_eq!(first.actions, [0, 2, 3, 4]);
    assert!(search.ask(99).unwrap().ids.is_empty());
    answer(&mut search, &first);
    while search.num_simulations() < 24 {
        let leaves = search.ask(99).unwrap();
        assert!(!leaves.ids.is_empty());
        answer(&mut search, &leaves);
    }

    // 24 / (2 phases * 2 candidates) more for the better half.
    let visits = search.edges(0).unwrap().visits;
    let mut most: Vec<u32> = visits.into_iter().filter(|&visits| visits > 0).collect();
    most.sort_unstable();
    assert_eq!(most, [3, 3, 9, 9]);
    assert_eq!(search.best_action(), 4); // 0.5 + sigma(1) against 3 + sigma(0)
}

#[test]
fn batches_of_any_size_decide_as_single_simulations() {
    let mut trees = Vec::new();
    for batch in [1, 5, 64] {
        let mut search = search(9, 8, 60);
        while search.num_simulations() < 60 {
            let left = 60 - search.num_simulations() as u32;
            let leaves = search.ask(left.min(batch)).unwrap();
            answer(&mut search, &leaves);
        }
        trees.push((search.edges(0).unwrap().visits, search.best_action()));
    }

    // Of 9 equal candidates the first 8 are considered.
    assert!(trees.iter().all(|(_, action)| *action == 7));
    assert!(trees.iter().all(|(visits, _)| *visits == trees[0].0));
}

#[test]
fn simulations_of_the_callers_own_do_not_stop_a_plan() {
    let mut search = search(1, 1, 1);
    for _ in 0..5 {
        let leaves = search.ask_edge(0, 0).unwrap();
        answer(&mut search, &leaves);
    }
    let parked = search.num_parked();

    let leaves = search.ask(parked + 1).unwrap();

    assert!(leaves.ids.len() as u32 + leaves.num_completed > 0);
}

#[test]
fn one_considered_candidate_is_decided() {
    assert!(search(5, 1, 10).is_decided(10));
    assert!(!search(5, 2, 10).is_decided(10));
}
