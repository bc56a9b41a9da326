//! What is known to all its ends: exact values, and no more visits.

mod growth;

use growth::{batches, configs, grow, grown, worlds};
use proptest::prelude::*;
use similar_fast_core::Error;
use similar_fast_core::search::{
    CandidateColumns, Candidates, Config, EdgeState, Policy, Told, TreeSearch,
};

fn solving(count: usize) -> TreeSearch {
    let config = Config {
        solve: true,
        max_collisions: None,
        ..Config::default()
    };
    let root = Candidates {
        count,
        ..Candidates::default()
    };
    TreeSearch::new(config, root).unwrap()
}

fn tell(search: &mut TreeSearch, ids: &[u64], values: &[f32], counts: &[i32]) {
    let candidates = CandidateColumns {
        counts: Some(counts),
        ..CandidateColumns::default()
    };
    let told = Told {
        ids,
        values,
        candidates,
        ..Told::default()
    };
    search.tell(told).unwrap();
}

#[test]
fn a_node_of_ends_is_worth_the_best_of_them_and_is_taken() {
    let mut search = solving(2);
    let leaves = search.ask(2).unwrap();
    tell(&mut search, &leaves.ids, &[0.5, 0.0], &[-1, 2]);
    let below = search.edges(0).unwrap().children[1].unwrap();
    for (action, value) in [(0, -1.0), (1, 0.75)] {
        let id = search.ask_edge(below, action).unwrap().ids[0];
        tell(&mut search, &[id], &[value], &[0]);
    }

    let root = search.edges(0).unwrap();

    assert_eq!(root.solved, [false, true]);
    assert_eq!(root.values[1].to_bits(), 0.75_f32.to_bits());
    assert_eq!(search.best_action(), 1);
    assert!(!search.is_solved());
}

#[test]
fn a_solved_search_is_exhausted() {
    let mut search = solving(2);
    let leaves = search.ask(2).unwrap();
    tell(&mut search, &leaves.ids, &[0.25, 0.5], &[0, 0]);

    assert!(search.is_solved() && search.is_exhausted());
    assert!(search.is_decided(1000));
    assert_eq!(search.best_action(), 1);
    let error = search.ask(1).unwrap_err();
    assert_eq!(error, Error::Exhausted { num_simulations: 2 });
}

#[test]
fn where_the_root_is_solved_parked_simulations_end_and_no_other_starts() {
    let mut search = solving(1);
    let first = search.ask(1).unwrap().ids;
    tell(&mut search, &first, &[0.0], &[-1]);
    let expanded = search.ask(2).unwrap().ids; // two simulations will be parked
    tell(&mut search, &expanded, &[0.0], &[1]);
    let below = search.edges(0).unwrap().children[0].unwrap();
    let end = search.ask_edge(below, 0).unwrap().ids;
    tell(&mut search, &end, &[1.0], &[0]);
    assert!(search.is_solved() && search.num_parked() == 2);

    let leaves = search.ask(9).unwrap();

    assert_eq!((leaves.num_completed, search.in_flight()), (2, 0));
    assert_eq!(search.num_simulations(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn prop_solved_edges_get_no_more_visits(
        config in configs(), world in worlds(), batches in batches(), last in 1..50_u32
    ) {
        // A plan visits its candidates evenly, solved or not; that costs no evaluation.
        prop_assume!(!matches!(config.policy, Policy::Gumbel(_)));
        let config = Config { solve: true, ..config };
        let mut search = grown(config, world, &batches);
        while search.num_parked() > 0 {
            let parked = search.num_parked();
            grow(&mut search, world, &[parked]);
        }
        let before = search.clone();

        grow(&mut search, world, &[last]);

        for node in before.nodes() {
            let (old, new) = (before.edges(node).unwrap(), search.edges(node).unwrap());
            for row in 0..old.solved.len() {
                if old.solved[row] {
                    prop_assert_eq!(old.visits[row] + old.in_flight[row],
                                    new.visits[row] + new.in_flight[row]);
                    prop_assert_eq!(old.values[row].to_bits(), new.values[row].to_bits());
                    prop_assert!(new.solved[row]);
                }
            }
        }
    }

    #[test]
    fn prop_solved_means_that_every_way_ends(
        config in configs(), world in worlds(), batches in batches()
    ) {
        let search = grown(Config { solve: true, ..config }, world, &batches);

        for node in search.nodes() {
            let edges = search.edges(node).unwrap();
            for (row, &state) in edges.states.iter().enumerate() {
                let is_known = match state {
                    EdgeState::Terminal => true,
                    EdgeState::Expanded => {
                        let below = search.edges(edges.children[row].unwrap()).unwrap();
                        below.solved.iter().all(|&solved| solved)
                    }
                    _ => false,
                };
                prop_assert_eq!(edges.solved[row], is_known);
            }
        }
    }
}
