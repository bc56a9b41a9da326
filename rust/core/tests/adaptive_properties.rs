//! Laws that hold for every adaptive search, whatever is asked and told.

use proptest::prelude::*;
use similar_fast_core::adaptive::{
    AdaptiveSearch, Config, Leaves, NodeColumns, Normalize, Policy, Prior, Rule, Told,
};

fn mix(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 7
}

/// What each row is told; values are multiples of 1/64, so that their sums are exact in any order.
struct Rows {
    values: Vec<f32>,
    terminal: Vec<bool>,
    exhausted: Vec<bool>,
}

impl Rows {
    fn of(leaves: &Leaves, seed: u64) -> Self {
        let drawn = |row: usize| mix(seed.wrapping_add(leaves.ids[row].wrapping_mul(0x9E37_79B9)));
        let rows = 0..leaves.ids.len();
        Self {
            values: rows
                .clone()
                .map(|row| (drawn(row) >> 8 & 63) as f32 / 64.0)
                .collect(),
            terminal: rows
                .clone()
                .map(|row| drawn(row).is_multiple_of(11))
                .collect(),
            exhausted: rows.map(|row| drawn(row) % 23 == 1).collect(),
        }
        .consistent()
    }

    fn consistent(mut self) -> Self {
        for (terminal, exhausted) in self.terminal.iter_mut().zip(&self.exhausted) {
            *terminal &= !exhausted;
        }
        self
    }

    fn tell(&self, search: &mut AdaptiveSearch, leaves: &Leaves, order: &[usize]) {
        let ids: Vec<u64> = order.iter().map(|&row| leaves.ids[row]).collect();
        let values: Vec<f32> = order.iter().map(|&row| self.values[row]).collect();
        let terminal: Vec<bool> = order.iter().map(|&row| self.terminal[row]).collect();
        let exhausted: Vec<bool> = order.iter().map(|&row| self.exhausted[row]).collect();
        let told = Told {
            ids: &ids,
            values: &values,
            terminal: Some(&terminal),
            exhausted: Some(&exhausted),
        };
        search.tell(told).unwrap();
    }
}

fn in_order(leaves: &Leaves) -> Vec<usize> {
    (0..leaves.ids.len()).collect()
}

/// A search after some batches; `None` once nothing can grow any more.
fn grown(config: Config, seed: u64, batches: &[u32]) -> Option<AdaptiveSearch> {
    let mut search = AdaptiveSearch::new(config, None).unwrap();
    for &batch in batches {
        let leaves = search.ask(batch).ok()?;
        Rows::of(&leaves, seed).tell(&mut search, &leaves, &in_order(&leaves));
    }
    (!search.is_exhausted()).then_some(search)
}

/// All that can be seen; NaN, the value of an empty root, made comparable.
fn table(search: &AdaptiveSearch) -> String {
    format!("{:?}", search.nodes())
}

fn configs() -> impl Strategy<Value = Config> {
    let widening = (0.3..3.0_f64, 0.0..1.0_f64, any::<bool>(), 0.0..3.0_f64);
    let policies = prop_oneof![
        Just(Policy::AbMcts {
            prior: Prior::GAUSSIAN
        }),
        Just(Policy::AbMcts { prior: Prior::BETA }),
        widening.prop_map(|(k, alpha, is_puct, c)| Policy::Widening {
            k,
            alpha,
            rule: if is_puct { Rule::Puct } else { Rule::Uct },
            c
        }),
    ];
    let scales = prop_oneof![Just(Normalize::None), Just(Normalize::MinMax)];
    (policies, scales, any::<u64>(), 1..7_u32).prop_map(|(policy, normalize, seed, max_depth)| {
        Config {
            policy,
            normalize,
            seed,
            max_depth,
            max_nbytes: None,
        }
    })
}

fn batches() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(1..30_u32, 0..15)
}

/// The visits that each node has beyond those of its children.
fn own_visits(nodes: &NodeColumns) -> Vec<u32> {
    let mut own = nodes.visits.clone();
    for (parent, visits) in nodes.parents.iter().zip(&nodes.visits) {
        if let Some(parent) = parent {
            own[*parent as usize] -= visits;
        }
    }
    own
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn prop_batch_gives_the_counts_of_single_descents(
        config in configs(), seed: u64, batches in batches(), last in 1..100_u32
    ) {
        let Some(mut whole) = grown(config, seed, &batches) else { return Ok(()) };
        let mut single = whole.clone();

        let mut parents = whole.ask(last).unwrap().parents;
        let asked = (0..last).flat_map(|_| single.ask(1).unwrap().parents);
        let mut one_by_one: Vec<u32> = asked.collect();

        prop_assert_eq!(table(&whole), table(&single));
        parents.sort_unstable();
        one_by_one.sort_unstable();
        prop_assert_eq!(parents, one_by_one);
    }

    #[test]
    fn prop_fail_undoes_exactly(
        config in configs(), seed: u64, batches in batches(), last in 1..100_u32
    ) {
        let Some(mut search) = grown(config, seed, &batches) else { return Ok(()) };
        let before = (table(&search), search.save());

        let leaves = search.ask(last).unwrap();
        search.fail(&leaves.ids).unwrap();

        prop_assert_eq!(search.in_flight(), 0);
        prop_assert_eq!((table(&search), search.save()), before);
        let again = search.ask(last).unwrap();
        prop_assert_eq!(again.parents, leaves.parents);
        prop_assert_eq!(again.multiplicities, leaves.multiplicities);
    }

    #[test]
    fn prop_order_of_rows_does_not_matter(
        config in configs(), seed: u64, batches in batches(), last in 1..100_u32
    ) {
        let Some(mut search) = grown(config, seed, &batches) else { return Ok(()) };
        let leaves = search.ask(last).unwrap();
        let mut other = search.clone();
        let rows = Rows::of(&leaves, seed);
        let mut order = in_order(&leaves);

        rows.tell(&mut search, &leaves, &order);
        order.sort_by_key(|&row| mix(seed ^ row as u64));
        rows.tell(&mut other, &leaves, &order);

        prop_assert_eq!(search.save(), other.save());
    }

    #[test]
    fn prop_visits_add_up(config in configs(), seed: u64, batches in batches()) {
        let mut search = AdaptiveSearch::new(config, None).unwrap();
        let mut own = vec![0];
        for batch in batches {
            let Ok(leaves) = search.ask(batch) else { break };
            let asked: u32 = leaves.multiplicities.iter().sum();
            prop_assert_eq!(search.in_flight(), asked);
            prop_assert_eq!(asked, batch); // nothing was in flight before
            let rows = Rows::of(&leaves, seed);
            let told = leaves.multiplicities.iter().zip(&rows.exhausted);
            own.extend(told.filter(|(_, exhausted)| !**exhausted).map(|(visits, _)| *visits));
            rows.tell(&mut search, &leaves, &in_order(&leaves));

            let nodes = search.nodes();
            prop_assert_eq!(own_visits(&nodes), own.clone());
            prop_assert!(nodes.in_flight.iter().all(|&visits| visits == 0));
            prop_assert_eq!(search.num_open(), 0);
            prop_assert_eq!(search.num_simulations(), own.iter().map(|&n| u64::from(n)).sum());
        }
    }

    #[test]
    fn prop_means_are_those_of_the_values(
        config in configs(), seed: u64, batches in batches()
    ) {
        let Some(search) = grown(config, seed, &batches) else { return Ok(()) };
        let nodes = search.nodes();
        let own = own_visits(&nodes);
        let mut sums: Vec<f64> = vec![0.0; nodes.nodes.len()];
        for node in (1..nodes.nodes.len()).rev() {
            sums[node] += f64::from(nodes.values[node]) * f64::from(own[node]);
            let parent = nodes.parents[node].unwrap() as usize;
            sums[parent] += sums[node];
            let mean = sums[node] / f64::from(nodes.visits[node]);
            prop_assert!((nodes.means[node] - mean).abs() < 1e-12);
        }
    }

    #[test]
    fn prop_widening_keeps_its_limit(
        k in 0.3..3.0_f64, alpha in 0.0..1.0_f64, batches in batches()
    ) {
        let policy = Policy::Widening { k, alpha, rule: Rule::Uct, c: 1.0 };
        let mut search = AdaptiveSearch::new(Config { policy, ..Config::default() }, None).unwrap();
        for batch in batches {
            let leaves = search.ask(batch).unwrap();
            let nodes = search.nodes();
            for node in 0..nodes.nodes.len() {
                let open = leaves.parents.iter().filter(|&&parent| parent == node as u32).count();
                let children = search.children(node as u32).unwrap().nodes.len() + open;
                let visits = f64::from(nodes.visits[node] + nodes.in_flight[node]);
                prop_assert!(children <= (k * visits.powf(alpha)).ceil().max(1.0) as usize);
            }
            let values = vec![0.5; leaves.ids.len()];
            let told = Told { ids: &leaves.ids, values: &values, ..Told::default() };
            search.tell(told).unwrap();
        }
    }

    #[test]
    fn prop_advance_keeps_the_subtree(
        config in configs(), seed: u64, batches in batches(), last in 1..50_u32, pick: u32
    ) {
        let Some(mut search) = grown(config, seed, &batches) else { return Ok(()) };
        let leaves = search.ask(last).unwrap();
        let (before, old) = (search.clone(), search.nodes());
        let root = pick % old.nodes.len() as u32;

        let kept = search.advance(root).unwrap();

        let new = search.nodes();
        prop_assert_eq!(kept[0], root);
        prop_assert_eq!(search.in_flight(), old.in_flight[root as usize]);
        for (node, &source) in kept.iter().enumerate() {
            let source = source as usize;
            prop_assert_eq!(new.visits[node], old.visits[source]);
            prop_assert_eq!(new.in_flight[node], old.in_flight[source]);
            prop_assert_eq!(new.means[node].to_bits(), old.means[source].to_bits());
            prop_assert_eq!(new.depths[node] + old.depths[root as usize], old.depths[source]);
            let path = search.path(node as u32).unwrap();
            let path: Vec<u32> = path.iter().map(|&below| kept[below as usize]).collect();
            let whole = before.path(source as u32).unwrap();
            prop_assert!(whole.ends_with(&path));
        }
        Rows::of(&leaves, seed).tell(&mut search, &leaves, &in_order(&leaves));
        prop_assert_eq!((search.in_flight(), search.num_open()), (0, 0));
    }

    #[test]
    fn prop_a_loaded_search_goes_on_as_the_saved_one(
        config in configs(), seed: u64, batches in batches(), more in batches()
    ) {
        let Some(mut search) = grown(config, seed, &batches) else { return Ok(()) };
        let mut loaded = AdaptiveSearch::load(&search.save()).unwrap();

        for batch in more {
            let (Ok(leaves), Ok(same)) = (search.ask(batch), loaded.ask(batch)) else { break };
            prop_assert_eq!(&leaves.parents, &same.parents);
            let rows = Rows::of(&leaves, seed);
            rows.tell(&mut search, &leaves, &in_order(&leaves));
            rows.tell(&mut loaded, &same, &in_order(&same));
        }
        prop_assert_eq!(table(&search), table(&loaded));
        prop_assert_eq!(search.save(), loaded.save());
    }

    #[test]
    fn prop_memory_stays_within_its_limit(
        config in configs(), seed: u64, batches in batches(), limit in 0..6_000_usize
    ) {
        let config = Config { max_nbytes: Some(limit), ..config };
        let mut search = AdaptiveSearch::new(config, None).unwrap();
        let empty = search.nbytes();
        for batch in batches {
            if let Ok(leaves) = search.ask(batch) {
                prop_assert!(search.nbytes() <= limit);
                Rows::of(&leaves, seed).tell(&mut search, &leaves, &in_order(&leaves));
            }
            prop_assert!(search.nbytes() <= limit.max(empty));
        }
    }
}
