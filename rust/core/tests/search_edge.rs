//! A simulation sent to an edge that the caller chose counts like any other.

use proptest::prelude::*;
use similar_fast_core::Error;
use similar_fast_core::search::{
    CandidateColumns, Candidates, Config, EdgeState, Told, TreeSearch,
};

fn search(count: usize) -> TreeSearch {
    let root = Candidates {
        count,
        ..Candidates::default()
    };
    TreeSearch::new(Config::default(), root).unwrap()
}

/// Tells one leaf its value and two candidates; returns the node they made.
fn tell(search: &mut TreeSearch, id: u64, value: f32) -> u32 {
    let candidates = CandidateColumns {
        counts: Some(&[2]),
        ..CandidateColumns::default()
    };
    let told = Told {
        ids: &[id],
        values: &[value],
        terminal: None,
        candidates,
        ..Told::default()
    };
    search.tell(told).unwrap()[0].unwrap()
}

#[test]
fn ask_edge_opens_the_very_edge() {
    let mut search = search(3);

    let leaves = search.ask_edge(search.root(), 2).unwrap();

    assert_eq!(leaves.actions, [2]);
    assert_eq!(leaves.parents, [search.root()]);
    assert_eq!(leaves.depths, [1]);
    assert_eq!(leaves.multiplicities, [1]);
}

#[test]
fn ask_edge_counts_on_every_edge_above() {
    let mut search = search(3);
    let id = search.ask_edge(search.root(), 1).unwrap().ids[0];
    let below = tell(&mut search, id, 0.25);

    let id = search.ask_edge(below, 0).unwrap().ids[0];
    tell(&mut search, id, 0.75);

    let root = search.edges(search.root()).unwrap();
    assert_eq!(root.visits, [0, 2, 0]);
    assert_eq!(root.values[1].to_bits(), 0.5_f32.to_bits());
    assert_eq!(search.num_simulations(), 2);
    assert_eq!(search.in_flight(), 0);
}

#[test]
fn ask_edge_of_an_expanded_edge_goes_on_below() {
    let mut search = search(3);
    let id = search.ask_edge(search.root(), 1).unwrap().ids[0];
    let below = tell(&mut search, id, 0.0);

    let leaves = search.ask_edge(search.root(), 1).unwrap();

    assert_eq!(leaves.parents, [below]);
    assert_eq!(leaves.depths, [2]);
}

#[test]
fn ask_edge_of_what_is_not_there_is_an_error() {
    let mut search = search(3);

    assert!(matches!(
        search.ask_edge(7, 0),
        Err(Error::UnknownNode { node: 7, .. })
    ));
    assert!(matches!(
        search.ask_edge(search.root(), 3),
        Err(Error::InvalidArgument { name: "action", .. })
    ));
    assert_eq!(search.in_flight(), 0);
}

proptest! {
    #[test]
    fn prop_failed_edges_leave_no_trace(choices in prop::collection::vec((0_u32..2, any::<bool>()), 1..12)) {
        let mut search = search(2);
        let mut node = search.root();
        for (action, is_kept) in choices {
            let before = search.edges(search.root()).unwrap();
            let leaves = search.ask_edge(node, action).unwrap();
            let Some(&id) = leaves.ids.first() else { continue };
            if is_kept {
                node = tell(&mut search, id, 0.5);
            } else {
                search.fail(&[id]).unwrap();
                let after = search.edges(search.root()).unwrap();
                prop_assert_eq!(&before.visits, &after.visits);
                prop_assert_eq!(search.edges(node).unwrap().states[action as usize], EdgeState::Fresh);
            }
            prop_assert_eq!(search.in_flight(), 0);
        }
    }
}
