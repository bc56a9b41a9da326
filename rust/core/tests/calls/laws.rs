//! What holds for every search after every call, beside what loading it checks.

use similar_fast_core::search::{Backup, EdgeState, TreeSearch};

/// Bytes of the arena, with a header for each node and a landmark for every 8th, and of the rows.
pub(crate) fn tree_nbytes(search: &TreeSearch) -> usize {
    let nodes = search.num_nodes();
    let edges: usize = search
        .nodes()
        .map(|node| search.edges(node).unwrap().visits.len())
        .sum();
    let config = search.config();
    let is_kept = matches!(
        config.backup,
        Backup::PowerMean { .. } | Backup::Discounted { .. }
    );
    let width = match config.channels.count() {
        0 => usize::from(is_kept),
        count if config.channels.is_gated() => 2 * count,
        count => count,
    };
    4 * (32 + 3 * nodes + 4 * edges + nodes.div_ceil(8) + edges * width)
}

pub(crate) fn check(search: &TreeSearch) {
    let config = search.config();
    let limit = config.max_nbytes.unwrap_or(usize::MAX);
    assert!(search.num_nodes() == 1 || tree_nbytes(search) <= limit);
    let mut in_flight = 0;
    for node in search.nodes() {
        let edges = search.edges(node).unwrap();
        for row in 0..edges.visits.len() {
            assert!(edges.values[row].abs() <= 1e38);
            in_flight += edges.in_flight[row];
            if edges.solved[row] && edges.states[row] == EdgeState::Expanded {
                let below = search.edges(edges.children[row].unwrap()).unwrap();
                let best = below
                    .values
                    .iter()
                    .copied()
                    .fold(f32::NEG_INFINITY, f32::max);
                let bits = |value: f32| (value + 0.0).to_bits(); // one zero only
                assert_eq!(bits(edges.values[row]), bits(best));
                assert!(below.solved.iter().all(|&solved| solved));
            }
        }
    }
    let root = search.edges(search.root()).unwrap();
    let completed: u64 = root.visits.iter().map(|&visits| u64::from(visits)).sum();
    assert_eq!(completed, search.num_simulations());
    assert!((search.best_action() as usize) < root.visits.len());
    if search.num_open() == 0 && search.num_parked() == 0 {
        assert_eq!((search.in_flight(), in_flight), (0, 0));
    }
    if search.in_flight() == 0 && !search.is_exhausted() {
        // Somebody who tells everything and asks again never waits for nothing.
        let leaves = search.clone().ask(1).unwrap();
        assert!(leaves.ids.len() as u32 + leaves.num_completed > 0);
    }
}
