//! States that are known by a key: the second leaf that reaches one shares its value.

mod growth;

use growth::{World, batches, configs, grow, grown, worlds};
use proptest::prelude::*;
use similar_fast_core::search::{
    CandidateColumns, Candidates, Config, EdgeState, Told, TreeSearch,
};

const KEY: u64 = 7;

fn search() -> TreeSearch {
    let root = Candidates {
        count: 3,
        key: 1,
        ..Candidates::default()
    };
    TreeSearch::new(Config::default(), root).unwrap()
}

/// Sends a simulation to an edge of the root and tells its leaf; a node if there are candidates.
fn tell(search: &mut TreeSearch, action: u32, value: f32, count: i32, key: u64) -> Option<u32> {
    let id = search.ask_edge(0, action).unwrap().ids[0];
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
fn a_leaf_with_the_key_of_a_node_shares_its_value_whatever_it_is_told() {
    let mut search = search();
    let node = tell(&mut search, 0, 0.5, 2, KEY);

    assert_eq!(search.node_of_key(KEY), node);
    assert_eq!(tell(&mut search, 1, f32::NAN, 4, KEY), None);

    let root = search.edges(0).unwrap();
    assert_eq!(root.states[1], EdgeState::Merged);
    assert_eq!(root.children[1], node);
    assert_eq!(root.values[..2], [0.5, 0.5]);
    assert_eq!(search.num_nodes(), 2);
}

#[test]
fn a_revisit_of_a_merged_leaf_takes_the_value_of_now() {
    let mut search = search();
    let node = tell(&mut search, 0, 0.0, 2, KEY).unwrap();
    tell(&mut search, 1, 0.0, -1, KEY);
    let id = search.ask_edge(node, 0).unwrap().ids[0];
    let told = Told {
        ids: &[id],
        values: &[1.0],
        ..Told::default()
    };
    search.tell(told).unwrap();

    let leaves = search.ask_edge(0, 1).unwrap();

    assert_eq!((leaves.ids.len(), leaves.num_completed), (0, 1));
    assert_eq!(
        search.edges(0).unwrap().values[1].to_bits(),
        0.5_f32.to_bits()
    );
}

#[test]
fn a_merged_leaf_whose_state_is_freed_asks_for_its_candidates() {
    let mut search = search();
    let kept = tell(&mut search, 2, 0.0, 2, 0).unwrap();
    tell(&mut search, 0, 0.5, 2, KEY);
    let id = search.ask_edge(kept, 1).unwrap().ids[0];
    let candidates = CandidateColumns {
        keys: Some(&[KEY]),
        ..CandidateColumns::default()
    };
    let told = Told {
        ids: &[id],
        values: &[0.0],
        candidates,
        ..Told::default()
    };
    search.tell(told).unwrap();

    search.advance(2, None).unwrap();

    assert_eq!(search.edges(0).unwrap().states[1], EdgeState::Evaluated);
    assert_eq!(search.node_of_key(KEY), None);
    assert_eq!(search.ask_edge(0, 1).unwrap().wants_candidates, [true]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn prop_merged_leaves_ask_for_nothing(
        config in configs(), keys in 1..12_u64, world in worlds(), batches in batches()
    ) {
        let world = World { keys, ..world };
        let mut search = grown(config, world, &[]);
        for batch in batches {
            let Ok(leaves) = search.clone().ask(batch) else { break };
            for row in 0..leaves.ids.len() {
                let edges = search.edges(leaves.parents[row]).unwrap();
                let state = edges.states[leaves.actions[row] as usize];
                prop_assert!(matches!(state, EdgeState::Fresh | EdgeState::Evaluated));
            }
            grow(&mut search, world, &[batch]);
        }
        let found = (0..=keys).filter_map(|key| search.node_of_key(key));
        prop_assert!(found.clone().all(|node| (node as usize) < search.num_nodes()));
        prop_assert_eq!(search.node_of_key(0), None);
    }
}
