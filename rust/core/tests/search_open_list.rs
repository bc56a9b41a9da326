//! Best-first and beam search: which edge is next, and what failed and chosen leaves change.

use similar_fast_core::Error;
use similar_fast_core::search::{
    CandidateColumns, Candidates, Config, Leaves, Policy, Told, TreeSearch,
};

fn search(policy: Policy, first_values: &[f32]) -> TreeSearch {
    let config = Config {
        policy,
        ..Config::default()
    };
    let root = Candidates {
        count: first_values.len(),
        first_values: Some(first_values),
        ..Candidates::default()
    };
    TreeSearch::new(config, root).unwrap()
}

fn tell(search: &mut TreeSearch, id: u64, value: f32, first_values: &[f32]) {
    let count = match first_values.len() {
        0 => -1,
        count => count as i32,
    };
    let candidates = CandidateColumns {
        counts: Some(&[count]),
        first_values: Some(first_values),
        ..CandidateColumns::default()
    };
    let told = Told {
        ids: &[id],
        values: &[value],
        candidates,
        ..Told::default()
    };
    search.tell(told).unwrap();
}

/// The edges that were opened, as (node, action).
fn places(leaves: &Leaves) -> Vec<(u32, u32)> {
    let parents = leaves.parents.iter().copied();
    parents.zip(leaves.actions.iter().copied()).collect()
}

#[test]
fn the_best_edge_of_the_whole_tree_is_next() {
    let mut search = search(Policy::BestFirst, &[0.1, 0.9, 0.5]);
    let first = search.ask(1).unwrap();
    assert_eq!(places(&first), [(0, 1)]);
    tell(&mut search, first.ids[0], 0.9, &[0.3, 0.7]);

    assert_eq!(places(&search.ask(3).unwrap()), [(1, 1), (0, 2), (1, 0)]);
    assert_eq!(places(&search.ask(9).unwrap()), [(0, 0)]);
    assert!(search.ask(9).unwrap().ids.is_empty());
    assert!(!search.is_exhausted());
}

#[test]
fn a_question_for_candidates_is_no_visit() {
    let mut search = search(Policy::BestFirst, &[0.5]);
    let first = search.ask(1).unwrap();
    tell(&mut search, first.ids[0], 0.5, &[]);
    let second = search.ask(1).unwrap();
    assert_eq!(second.wants_candidates, [true]);

    tell(&mut search, second.ids[0], 0.0, &[0.2]);

    assert_eq!(search.edges(0).unwrap().visits, [1]);
    assert_eq!((search.num_simulations(), search.in_flight()), (1, 0));
    let third = search.ask(1).unwrap();
    tell(&mut search, third.ids[0], 0.0, &[]);
    let last = search.ask(1).unwrap();
    let ends = Told {
        ids: &last.ids,
        values: &[0.0],
        terminal: Some(&[true]),
        ..Told::default()
    };
    search.tell(ends).unwrap();
    assert!(search.is_exhausted());
    assert_eq!(search.ask(1), Err(Error::Exhausted { num_simulations: 2 }));
}

#[test]
fn an_edge_that_the_caller_has_visited_is_ranked_by_what_it_was_told() {
    let mut search = search(Policy::BestFirst, &[0.9, 0.5]);
    let chosen = search.ask_edge(0, 0).unwrap();
    tell(&mut search, chosen.ids[0], 0.1, &[]);

    let leaves = search.ask(2).unwrap();

    assert_eq!(places(&leaves), [(0, 1), (0, 0)]);
    assert_eq!(leaves.wants_candidates, [false, true]);
}

#[test]
fn beam_visits_only_the_best_of_a_level() {
    let mut search = search(Policy::Beam { width: 2 }, &[0.1, 0.9, 0.5]);
    let first = search.ask(5).unwrap();
    assert_eq!(places(&first), [(0, 1), (0, 2)]);
    tell(&mut search, first.ids[0], 0.9, &[0.2, 0.3]);
    assert!(
        search.ask(5).unwrap().ids.is_empty(),
        "the level above is not told"
    );
    tell(&mut search, first.ids[1], 0.9, &[0.8, 0.1]);

    assert_eq!(places(&search.ask(5).unwrap()), [(2, 0), (1, 1)]);
}

#[test]
fn a_level_of_a_beam_that_was_full_has_room_when_a_leaf_fails() {
    let mut search = search(Policy::Beam { width: 1 }, &[0.9, 0.1]);
    let chosen = search.ask_edge(0, 1).unwrap();
    assert!(search.ask(1).unwrap().ids.is_empty());

    search.fail(&chosen.ids).unwrap();

    assert_eq!(places(&search.ask(2).unwrap()), [(0, 0)]);
}

#[test]
fn beam_waits_for_a_leaf_above_that_is_asked_for_again() {
    let mut search = search(Policy::Beam { width: 2 }, &[0.9, 0.5]);
    let first = search.ask(2).unwrap();
    tell(&mut search, first.ids[0], 0.9, &[0.7, 0.6]);
    let below = search.ask_edge(1, 1).unwrap();
    search.fail(&first.ids[1..]).unwrap();

    let again = search.ask(3).unwrap();

    assert_eq!(places(&again), [(0, 1)]);
    search.fail(&below.ids).unwrap();
    assert!(search.ask(3).unwrap().ids.is_empty());
}
