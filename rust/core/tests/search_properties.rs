//! Laws that hold for every search, whatever is asked and told.

use std::collections::HashMap;

use proptest::prelude::*;
use similar_fast_core::search::{
    Backup, CandidateColumns, Candidates, Config, EdgeColumns, EdgeState, Leaves, Normalize,
    Policy, Told, TreeSearch,
};

type Table = HashMap<Vec<u32>, EdgeColumns>;

fn mix(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 7
}

/// What each row is told, drawn from where its leaf hangs; values are multiples of 1/64, so that
/// their sums are exact in any order.
#[derive(Default)]
struct Rows {
    values: Vec<f32>,
    terminal: Vec<bool>,
    counts: Vec<i32>,
}

impl Rows {
    fn of(leaves: &Leaves, seed: u64) -> Self {
        let mut rows = Self::default();
        for row in 0..leaves.ids.len() {
            let place = u64::from(leaves.parents[row]) << 20 | u64::from(leaves.actions[row]);
            let drawn = mix(seed.wrapping_add(place.wrapping_mul(0x9E37_79B9)));
            let is_terminal = drawn.is_multiple_of(13);
            let grows = leaves.wants_candidates[row] || drawn.is_multiple_of(3);
            rows.values.push((drawn >> 8 & 0xff) as f32 / 64.0 - 2.0);
            rows.terminal.push(is_terminal);
            rows.counts.push(match (is_terminal, grows) {
                (true, _) => 0,
                (false, true) => ((drawn >> 16) % 7) as i32 + 1,
                (false, false) => -1,
            });
        }
        rows
    }

    fn tell(&self, search: &mut TreeSearch, leaves: &Leaves, order: &[usize]) {
        let ids: Vec<u64> = order.iter().map(|&row| leaves.ids[row]).collect();
        let values: Vec<f32> = order.iter().map(|&row| self.values[row]).collect();
        let terminal: Vec<bool> = order.iter().map(|&row| self.terminal[row]).collect();
        let counts: Vec<i32> = order.iter().map(|&row| self.counts[row]).collect();
        let candidates = CandidateColumns {
            counts: Some(&counts),
            ..CandidateColumns::default()
        };
        let told = Told {
            ids: &ids,
            values: &values,
            terminal: Some(&terminal),
            candidates,
            ..Told::default()
        };
        search.tell(told).unwrap();
    }
}

/// The edges of every node under the path that leads there; node ids are left out, as they depend
/// on the order in which nodes are made.
fn table(search: &TreeSearch) -> Table {
    let rows = search.nodes().map(|node| {
        let mut edges = search.edges(node).unwrap();
        edges.children.clear();
        (search.path(node).unwrap().1, edges)
    });
    rows.collect()
}

fn in_order(leaves: &Leaves) -> Vec<usize> {
    (0..leaves.ids.len()).collect()
}

fn grown(config: Config, seed: u64, batches: &[u32]) -> TreeSearch {
    let root = Candidates {
        count: 4,
        ..Candidates::default()
    };
    let mut search = TreeSearch::new(config, root).unwrap();
    for &batch in batches {
        let leaves = search.ask(batch).unwrap();
        Rows::of(&leaves, seed).tell(&mut search, &leaves, &in_order(&leaves));
    }
    search
}

fn configs() -> impl Strategy<Value = Config> {
    let policies = prop_oneof![
        (0.0..8.0_f32).prop_map(|c| Policy::Puct { c }),
        (0.0..8.0_f32).prop_map(|c| Policy::Uct { c }),
    ];
    let backups = prop_oneof![Just(Backup::Mean), Just(Backup::Max)];
    let scales = prop_oneof![Just(Normalize::None), Just(Normalize::MinMax)];
    let parts = (policies, backups, scales, 1..7_u32);
    parts.prop_map(|(policy, backup, normalize, max_depth)| Config {
        policy,
        backup,
        normalize,
        max_depth,
        max_collisions: None,
        ..Config::default()
    })
}

fn batches() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(1..40_u32, 0..25)
}

fn is_end(state: EdgeState) -> bool {
    matches!(state, EdgeState::Terminal | EdgeState::DepthLimit)
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
        config in configs(), seed: u64, batches in batches(), last in 1..200_u32
    ) {
        let mut whole = grown(config, seed, &batches);
        let mut single = whole.clone();

        let leaves = whole.ask(last).unwrap();
        for _ in 0..last {
            single.ask(1).unwrap();
        }

        // A single ask backs revisits up before the next one selects; that is another search.
        if leaves.num_completed == 0 {
            prop_assert_eq!(table(&whole), table(&single));
        }
    }

    #[test]
    fn prop_fail_restores_the_tree(
        config in configs(), seed: u64, batches in batches(), last in 1..200_u32
    ) {
        let mut search = grown(config, seed, &batches);
        while search.num_parked() > 0 {
            let leaves = search.ask(search.num_parked()).unwrap();
            search.fail(&leaves.ids).unwrap();
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
        config in configs(), seed: u64, batches in batches(), last in 1..200_u32
    ) {
        let mut search = grown(config, seed, &batches);
        let leaves = search.ask(last).unwrap();
        let mut other = search.clone();
        let rows = Rows::of(&leaves, seed);
        let mut order = in_order(&leaves);

        rows.tell(&mut search, &leaves, &order);
        order.sort_by_key(|&row| mix(seed ^ row as u64));
        rows.tell(&mut other, &leaves, &order);

        prop_assert_eq!(table(&search), table(&other));
    }

    #[test]
    fn prop_visits_add_up(config in configs(), seed: u64, batches in batches()) {
        let mut search = grown(config, seed, &[]);
        let (mut told, mut own) = (0, HashMap::new());
        for batch in batches {
            let leaves = search.ask(batch).unwrap();
            told += u64::from(leaves.num_completed);
            let rows = Rows::of(&leaves, seed);
            for row in 0..leaves.ids.len() {
                if !leaves.wants_candidates[row] || rows.counts[row] == 0 {
                    let visits = leaves.multiplicities[row];
                    *own.entry((leaves.parents[row], leaves.actions[row])).or_insert(0) += visits;
                    told += u64::from(visits);
                }
            }
            rows.tell(&mut search, &leaves, &in_order(&leaves));

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
    fn prop_advance_keeps_the_subtree(config in configs(), seed: u64, batches in batches()) {
        let mut search = grown(config, seed, &batches);
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
    fn prop_a_node_takes_12_bytes_and_a_half_and_16_an_edge(seed: u64, batches in batches()) {
        let search = grown(Config { max_collisions: None, ..Config::default() }, seed, &batches);
        let edges: usize = table(&search).values().map(|edges| edges.visits.len()).sum();

        let blocks = 12 * search.num_nodes() + 16 * edges + search.num_nodes() / 2;

        prop_assert!(search.nbytes() >= blocks);
        prop_assert!(search.nbytes() <= blocks + 4096, "{} for {blocks}", search.nbytes());
    }
}
