//! Deterministic searches: the tree does not depend on who answers first.

mod growth;

use growth::{World, batches, configs, grow, mix, root, worlds};
use proptest::prelude::*;
use similar_fast_core::Error;
use similar_fast_core::search::{
    CandidateColumns, Candidates, Config, EdgeState, Told, TreeSearch,
};

fn search(config: Config) -> TreeSearch {
    let config = Config {
        deterministic: true,
        ..config
    };
    let root = Candidates {
        count: 2,
        ..Candidates::default()
    };
    TreeSearch::new(config, root).unwrap()
}

fn tell(search: &mut TreeSearch, id: u64, value: f32, count: i32, key: u64) -> Option<u32> {
    let candidates = CandidateColumns {
        counts: Some(&[count]),
        keys: Some(&[key]),
        ..CandidateColumns::default()
    };
    let told = Told {
        ids: &[id],
        values: &[value],
        candidates,
        ..Told::default()
    };
    search.tell(told).unwrap()[0]
}

#[test]
fn a_round_is_applied_when_its_last_leaf_is_told() {
    let mut search = search(Config::default());
    let ids = search.ask(2).unwrap().ids;

    assert_eq!(tell(&mut search, ids[1], 0.5, 3, 0), None);
    assert_eq!((search.num_nodes(), search.num_open()), (1, 1));
    assert!(search.ask(1).unwrap().ids.is_empty());
    assert_eq!(tell(&mut search, ids[0], 0.5, 2, 0), Some(1));

    assert_eq!(search.settled(), [(ids[1], 2)]);
    assert!(search.settled().is_empty());
}

#[test]
fn a_leaf_that_fails_last_settles_the_round() {
    let mut search = search(Config::default());
    let ids = search.ask(2).unwrap().ids;
    tell(&mut search, ids[0], 0.5, 3, 0);

    search.fail(&ids[1..]).unwrap();

    assert_eq!(search.settled(), [(ids[0], 1)]);
    assert_eq!(search.edges(0).unwrap().visits, [1, 0]);
}

/// Node 1 behind action 0 has a key; node 2 behind action 1 has two open leaves.
fn with_two_open() -> (TreeSearch, Vec<u64>) {
    let mut search = search(Config::default());
    let ids = search.ask(2).unwrap().ids;
    tell(&mut search, ids[0], 0.5, 2, 7);
    tell(&mut search, ids[1], 0.5, 2, 0);
    search.settled();
    let first = search.ask(4).unwrap();
    let is_kept = |row: &usize| first.parents[*row] == 2;
    let kept: Vec<u64> = (0..4).filter(is_kept).map(|row| first.ids[row]).collect();
    let lost: Vec<u64> = first
        .ids
        .iter()
        .copied()
        .filter(|id| !kept.contains(id))
        .collect();
    search.fail(&lost).unwrap();
    (search, kept)
}

#[test]
fn a_held_leaf_whose_state_is_freed_is_read_or_asked_for_again() {
    for (value, state) in [(0.25, EdgeState::Evaluated), (f32::NAN, EdgeState::Fresh)] {
        let (mut search, ids) = with_two_open();
        tell(&mut search, ids[0], value, -1, 7);
        search.advance(1, None).unwrap();
        let (mut loaded, _) = TreeSearch::load(&search.save(b"")).unwrap();

        tell(&mut search, ids[1], 0.0, -1, 0);
        tell(&mut loaded, ids[1], 0.0, -1, 0);

        assert_eq!(search.edges(0).unwrap().states[0], state);
        assert_eq!(search.in_flight(), 0);
        assert_eq!(search.save(b""), loaded.save(b""));
    }
}

#[test]
fn a_discarded_leaf_is_told_once() {
    let (mut search, ids) = with_two_open();
    search.advance(0, None).unwrap();

    assert_eq!(tell(&mut search, ids[0], 0.0, 2, 0), None);

    let again = Told {
        ids: &ids[..1],
        values: &[0.0],
        ..Told::default()
    };
    assert_eq!(search.tell(again), Err(Error::FinishedLeaf { id: ids[0] }));
}

#[test]
fn settled_nodes_are_given_out_by_their_new_ids() {
    let (mut search, ids) = with_two_open();
    tell(&mut search, ids[0], 0.0, 2, 0);
    tell(&mut search, ids[1], 0.0, 2, 0);

    search.advance(1, None).unwrap();

    let settled = search.settled();
    assert_eq!(
        settled,
        [(ids[0], search.edges(0).unwrap().children[0].unwrap())]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn prop_any_order_and_partition_of_tells_gives_the_same_search(
        config in configs(), keys in 0..8_u64, world in worlds(), batches in batches()
    ) {
        let config = Config { deterministic: true, ..config };
        let world = World { keys, ..world };
        let mut search = TreeSearch::new(config, root()).unwrap();
        let mut other = search.clone();
        for (round, batch) in batches.into_iter().enumerate() {
            let Ok(leaves) = other.ask(batch) else { break };
            let rows = world.rows(&leaves, &config);
            let mut order: Vec<usize> = (0..leaves.ids.len()).collect();
            order.sort_by_key(|&row| mix(world.seed ^ (row + round) as u64));
            let mut nodes = Vec::new();
            let size = 1 + mix(world.seed + round as u64) as usize % 4;
            for part in order.chunks(size) {
                let told = rows.take(part).tell(&mut other);
                nodes.extend(part.iter().map(|&row| leaves.ids[row]).zip(told));
            }
            let mut nodes: Vec<(u64, u32)> =
                nodes.into_iter().filter_map(|(id, node)| Some((id, node?))).collect();
            nodes.extend(other.settled());
            nodes.sort_unstable();

            let asked = search.ask(batch).unwrap();
            let told = world.rows(&asked, &config).tell(&mut search);

            prop_assert_eq!(asked, leaves);
            let mut expected: Vec<(u64, u32)> =
                rows.ids.iter().zip(told).filter_map(|(&id, node)| Some((id, node?))).collect();
            expected.sort_unstable();
            prop_assert_eq!(nodes, expected);
            prop_assert!(search.save(b"") == other.save(b""));
        }
    }

    #[test]
    fn prop_a_round_in_one_call_is_that_of_any_search(
        config in configs(), world in worlds(), batches in batches()
    ) {
        let mut plain = TreeSearch::new(config, root()).unwrap();
        let held = Config { deterministic: true, ..config };
        let mut search = TreeSearch::new(held, root()).unwrap();

        grow(&mut plain, world, &batches);
        grow(&mut search, world, &batches);

        prop_assert_eq!(growth::table(&plain), growth::table(&search));
    }
}
