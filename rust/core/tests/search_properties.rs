//! Laws that hold for every search, whatever is asked and told.

mod growth;
#[path = "calls/laws.rs"]
mod laws;

use std::collections::HashMap;

use growth::{Table, World, batches, configs, grow, grown, mix, table, worlds};
use laws::tree_nbytes;
use proptest::prelude::*;
use similar_fast_core::search::{Config, EdgeState, Policy, TreeSearch};

fn is_end(state: EdgeState) -> bool {
    matches!(state, EdgeState::Terminal | EdgeState::DepthLimit)
}

fn is_best_first(config: &Config) -> bool {
    matches!(config.policy, Policy::BestFirst | Policy::Beam { .. })
}

/// Visits of an edge, less those of the edges behind it: what ended there.
fn ended(search: &TreeSearch) -> HashMap<(u32, u32), u32> {
    let mut ended = HashMap::new();
    for node in search.nodes() {
        let edges = search.edges(node).unwrap();
        for (action, child) in edges.children.iter().enumerate() {
            let below = child.map_or(0, |child| {
                search.edges(child).unwrap().visits.iter().sum::<u32>()
            });
            ended.insert((node, action as u32), edges.visits[action] - below);
        }
    }
    ended
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn prop_batch_gives_the_visits_of_single_descents(
        config in configs(), world in worlds(), batches in batches(), last in 1..200_u32
    ) {
        // What a single descent may not start, a batch may not start either, but perhaps later.
        let config = Config { max_collisions: None, ..config };
        let mut whole = grown(config, world, &batches);
        if whole.is_exhausted() {
            return Ok(());
        }
        let mut single = whole.clone();

        let leaves = whole.ask(last).unwrap();
        for _ in 0..last {
            if single.ask(1).is_err() {
                break;
            }
        }

        // A single ask backs revisits up before the next one selects; that is another search.
        if leaves.num_completed == 0 {
            prop_assert_eq!(table(&whole), table(&single));
        }
    }

    #[test]
    fn prop_fail_restores_the_tree(
        config in configs(), is_deterministic: bool,
        world in worlds(), batches in batches(), last in 1..200_u32
    ) {
        let config = Config { deterministic: is_deterministic, ..config };
        let mut search = grown(config, world, &batches);
        while search.num_parked() > 0 {
            let leaves = search.ask(search.num_parked()).unwrap();
            search.fail(&leaves.ids).unwrap();
        }
        if search.is_exhausted() {
            return Ok(());
        }
        let before = (table(&search), search.num_simulations());

        let leaves = search.ask(last).unwrap();
        search.fail(&leaves.ids).unwrap();

        prop_assert_eq!(search.in_flight(), 0);
        if leaves.num_completed == 0 {
            prop_assert_eq!((table(&search), search.num_simulations()), before);
        }
    }

    #[test]
    fn prop_order_of_rows_does_not_matter(
        config in configs(), world in worlds(), batches in batches(), last in 1..200_u32
    ) {
        let mut search = grown(config, world, &batches);
        let Ok(leaves) = search.ask(last) else { return Ok(()) };
        let mut other = search.clone();
        let rows = world.rows(&leaves, &config);
        let mut order: Vec<usize> = (0..leaves.ids.len()).collect();

        rows.tell(&mut search);
        order.sort_by_key(|&row| mix(world.seed ^ row as u64));
        rows.take(&order).tell(&mut other);

        prop_assert_eq!(table(&search), table(&other));
    }

    #[test]
    fn prop_visits_add_up(config in configs(), world in worlds(), batches in batches()) {
        let mut search = grown(config, world, &[]);
        let (mut told, mut own) = (0, HashMap::new());
        for batch in batches {
            let Ok(leaves) = search.ask(batch) else { break };
            told += u64::from(leaves.num_completed);
            let rows = world.rows(&leaves, &config);
            for row in 0..leaves.ids.len() {
                let ends_here = rows.counts[row] == 0 && !is_best_first(&config);
                if !leaves.wants_candidates[row] || ends_here {
                    let visits = leaves.multiplicities[row];
                    *own.entry((leaves.parents[row], leaves.actions[row])).or_insert(0) += visits;
                    told += u64::from(visits);
                }
            }
            rows.tell(&mut search);

            for ((node, action), visits) in ended(&search) {
                let own = own.get(&(node, action)).copied().unwrap_or(0);
                if is_end(search.edges(node).unwrap().states[action as usize]) {
                    prop_assert!(visits >= own); // the rest were revisits
                } else {
                    prop_assert_eq!(visits, own);
                }
            }
            prop_assert_eq!(search.num_simulations(), told);
            prop_assert_eq!(search.in_flight(), search.num_parked());
        }
        let root = search.edges(search.root()).unwrap();
        prop_assert_eq!(root.visits.iter().map(|&visits| u64::from(visits)).sum::<u64>(), told);
    }

    #[test]
    fn prop_advance_keeps_the_subtree(config in configs(), world in worlds(), batches in batches()) {
        let mut search = grown(config, world, &batches);
        let root = search.edges(search.root()).unwrap();
        let Some(action) = root.children.iter().position(Option::is_some) else {
            return Ok(());
        };
        let mut kept = Table::new();
        for (way, mut edges) in table(&search) {
            if way.first() == Some(&(action as u32)) {
                for state in &mut edges.states {
                    if *state == EdgeState::DepthLimit {
                        *state = EdgeState::Evaluated;
                    }
                }
                kept.insert(way[1..].to_vec(), edges);
            }
        }

        let before = search.clone();
        let ids = search.advance(action as u32, None).unwrap();

        prop_assert_eq!(ids.first().copied(), root.children[action]);
        prop_assert_eq!(search.num_nodes(), ids.len());
        prop_assert_eq!(&table(&search), &kept);
        for (node, old) in search.nodes().zip(ids) {
            let way = search.path(node).unwrap().1;
            prop_assert_eq!(&before.path(old).unwrap().1[1..], way.as_slice());
            prop_assert_eq!(search.place(node).unwrap().depth as usize, way.len());
        }
    }

    #[test]
    fn prop_a_node_takes_12_bytes_and_a_half_and_16_an_edge(
        world in worlds(), batches in batches()
    ) {
        let config = Config { max_collisions: None, ..Config::default() };
        let search = grown(config, world, &batches);
        let edges: usize = table(&search).values().map(|edges| edges.visits.len()).sum();

        let blocks = 12 * search.num_nodes() + 16 * edges + search.num_nodes() / 2;

        prop_assert!(search.nbytes() >= blocks);
        prop_assert!(search.nbytes() <= blocks + 4096, "{} for {blocks}", search.nbytes());
    }

    #[test]
    fn prop_no_leaf_is_waited_for_by_more_than_the_cap(
        config in configs(), most in 0..4_u32, world in worlds(), batches in batches()
    ) {
        let config = Config { max_collisions: Some(most), ..config };
        let mut search = grown(config, world, &[]);
        for batch in batches {
            let Ok(leaves) = search.ask(batch) else { break };
            prop_assert!(leaves.multiplicities.iter().all(|&visits| visits <= most + 1));
            let waiting: u32 = leaves.multiplicities.iter().sum();
            prop_assert_eq!(search.in_flight(), waiting + search.num_parked());
            world.rows(&leaves, &config).tell(&mut search);
        }
    }

    #[test]
    fn prop_the_tree_never_takes_more_than_its_bytes(
        config in configs(), limit in 0..6000_usize, world in worlds(), batches in batches()
    ) {
        let config = Config { max_nbytes: Some(limit), ..config };
        let mut search = grown(config, world, &[]);
        for batch in batches {
            grow(&mut search, world, &[batch]);

            prop_assert!(search.num_nodes() == 1 || tree_nbytes(&search) <= limit);
            prop_assert!(tree_nbytes(&search) <= search.nbytes());
        }
    }

    #[test]
    fn prop_what_holds_for_any_calls_holds_for_long_searches(
        config in configs(), is_deterministic: bool, world in worlds(), batches in batches()
    ) {
        let config = Config { deterministic: is_deterministic, ..config };
        let world = World { keys: 20, ..world };
        let mut search = grown(config, world, &[]);
        for batch in batches {
            grow(&mut search, world, &[batch]);
            laws::check(&search);
        }
    }
}
