//! Searches that are grown by answers drawn from where a leaf hangs, for the laws in `search_*.rs`.

#![allow(dead_code)] // no test needs all of it

use std::collections::HashMap;

use proptest::prelude::*;
use similar_fast_core::search::{
    Backup, CandidateColumns, Candidates, Channels, Config, EdgeColumns, Gumbel, Leaves, Normalize,
    Policy, Told, TreeSearch,
};

/// The edges of every node under the path that leads there.
pub(crate) type Table = HashMap<Vec<u32>, EdgeColumns>;

pub(crate) fn mix(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 7
}

/// What callers would find out. Values are multiples of 1/64, so that their sums are exact in any
/// order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// One leaf of so many is terminal.
    pub(crate) ends: u64,
    /// States, apart from those that are known by nothing; no keys at all with 0.
    pub(crate) keys: u64,
}

pub(crate) fn worlds() -> impl Strategy<Value = World> {
    (any::<u64>(), 3..20_u64).prop_map(|(seed, ends)| World {
        seed,
        ends,
        keys: 0,
    })
}

/// What n leaves are told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) ids: Vec<u64>,
    pub(crate) values: Vec<f32>,
    pub(crate) weights: Vec<f32>,
    pub(crate) terminal: Vec<bool>,
    pub(crate) counts: Vec<i32>,
    pub(crate) keys: Vec<u64>,
    width: usize,
}

impl World {
    fn number(drawn: u64, config: &Config) -> f32 {
        let least = match config.backup {
            Backup::PowerMean { .. } => 0.0,
            _ => -2.0,
        };
        (drawn & 0xff) as f32 / 64.0 + least
    }

    pub(crate) fn rows(&self, leaves: &Leaves, config: &Config) -> Rows {
        let mut rows = Rows {
            ids: leaves.ids.clone(),
            width: config.channels.count().max(1),
            ..Rows::default()
        };
        for row in 0..leaves.ids.len() {
            let place = u64::from(leaves.parents[row]) << 20 | u64::from(leaves.actions[row]);
            let drawn = mix(self.seed.wrapping_add(place.wrapping_mul(0x9E37_79B9)));
            for channel in 0..rows.width as u64 {
                let drawn = mix(drawn.wrapping_add(channel));
                rows.values.push(Self::number(drawn, config));
                rows.weights.push((drawn >> 10 & 7) as f32 / 8.0);
            }
            let is_terminal = drawn.is_multiple_of(self.ends);
            let grows = leaves.wants_candidates[row] || drawn.is_multiple_of(3);
            rows.terminal.push(is_terminal);
            rows.counts.push(match (is_terminal, grows) {
                (true, _) => 0,
                (false, true) => ((drawn >> 16) % 7) as i32 + 1,
                (false, false) => -1,
            });
            rows.keys.push((drawn >> 24) % (self.keys + 1));
        }
        rows
    }
}

impl Rows {
    /// Some of the rows, in this order.
    pub(crate) fn take(&self, order: &[usize]) -> Self {
        let wide = |column: &[f32]| {
            let parts = order
                .iter()
                .map(|&row| row * self.width..(row + 1) * self.width);
            parts.flat_map(|part| column[part].to_vec()).collect()
        };
        Self {
            ids: order.iter().map(|&row| self.ids[row]).collect(),
            values: wide(&self.values),
            weights: wide(&self.weights),
            terminal: order.iter().map(|&row| self.terminal[row]).collect(),
            counts: order.iter().map(|&row| self.counts[row]).collect(),
            keys: order.iter().map(|&row| self.keys[row]).collect(),
            width: self.width,
        }
    }

    pub(crate) fn tell(&self, search: &mut TreeSearch) -> Vec<Option<u32>> {
        let is_gated = search.config().channels.is_gated();
        let candidates = CandidateColumns {
            counts: Some(&self.counts),
            keys: Some(&self.keys),
            ..CandidateColumns::default()
        };
        let told = Told {
            ids: &self.ids,
            values: &self.values,
            weights: is_gated.then_some(&self.weights),
            terminal: Some(&self.terminal),
            candidates,
        };
        search.tell(told).unwrap()
    }
}

pub(crate) fn root() -> Candidates<'static> {
    Candidates {
        count: 4,
        key: 1,
        ..Candidates::default()
    }
}

/// Asks and tells as often as there are batches, or until nothing is left.
pub(crate) fn grow(search: &mut TreeSearch, world: World, batches: &[u32]) {
    for &batch in batches {
        let Ok(leaves) = search.ask(batch) else { break };
        world.rows(&leaves, search.config()).tell(search);
    }
}

pub(crate) fn grown(config: Config, world: World, batches: &[u32]) -> TreeSearch {
    let mut search = TreeSearch::new(config, root()).unwrap();
    grow(&mut search, world, batches);
    search
}

/// By path; node ids are left out, as they depend on the order in which nodes are made.
pub(crate) fn table(search: &TreeSearch) -> Table {
    let rows = search.nodes().map(|node| {
        let mut edges = search.edges(node).unwrap();
        edges.children.clear();
        (search.path(node).unwrap().1, edges)
    });
    rows.collect()
}

pub(crate) fn batches() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(1..40_u32, 0..25)
}

fn policies() -> impl Strategy<Value = Policy> {
    let gumbel = (1..8_u32, 1..60_u32).prop_map(|(max_considered, num_simulations)| {
        Policy::Gumbel(Gumbel {
            max_considered,
            num_simulations,
            ..Gumbel::default()
        })
    });
    prop_oneof![
        (0.0..8.0_f32).prop_map(|c| Policy::Puct { c }),
        (0.0..8.0_f32).prop_map(|c| Policy::Uct { c }),
        gumbel,
        Just(Policy::BestFirst),
        (1..6_u32).prop_map(|width| Policy::Beam { width }),
    ]
}

fn backups() -> impl Strategy<Value = Backup> {
    prop_oneof![
        Just(Backup::Mean),
        Just(Backup::Max),
        (1.0..9.0_f32).prop_map(|exponent| Backup::PowerMean { exponent }),
        prop::sample::select(&[0.0, 0.5, 1.0]).prop_map(|discount| Backup::Discounted { discount }),
    ]
}

pub(crate) fn channels() -> impl Strategy<Value = Channels> {
    let weights = prop::collection::vec(0..9_u8, 1..6);
    prop_oneof![
        weights.prop_map(|weights| {
            let weights: Vec<f32> = weights.iter().map(|&it| f32::from(it) / 8.0).collect();
            Channels::weighted(&weights).unwrap()
        }),
        (1..6_usize).prop_map(|count| Channels::gated(count).unwrap()),
    ]
}

/// Every policy with every backup and every option that the laws do not set themselves.
pub(crate) fn configs() -> impl Strategy<Value = Config> {
    let scales = prop_oneof![Just(Normalize::None), Just(Normalize::MinMax)];
    let channels = prop_oneof![Just(Channels::NONE), channels()];
    let first = (policies(), backups(), scales, channels);
    let second = (
        1..7_u32,
        0..4_u32,
        prop::option::of(0..3_u32),
        any::<bool>(),
    );
    (first, second).prop_map(|((policy, backup, normalize, channels), second)| {
        let (max_depth, virtual_loss, max_collisions, solve) = second;
        let has_losses = matches!(policy, Policy::Puct { .. } | Policy::Uct { .. });
        Config {
            policy,
            backup,
            normalize,
            channels,
            max_depth,
            virtual_loss: if has_losses { virtual_loss } else { 0 },
            max_collisions,
            solve,
            ..Config::default()
        }
    })
}
