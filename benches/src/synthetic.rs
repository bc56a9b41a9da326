//! A tree without a model: values and priors are hashes of the path, so that any implementation can
//! be given the same work.

use similar_fast_core::search::{
    CandidateColumns, Candidates, Config, Normalize, Policy, Told, TreeSearch,
};

const ROOT: u64 = 0x9E37_79B9_7F4A_7C15;
/// Edges from the root to the deepest leaf.
pub const MAX_DEPTH: u32 = 12;

/// The hash of a path that is extended by an action (one step of splitmix64).
fn extend(hash: u64, action: u64) -> u64 {
    let mixed = hash.wrapping_add((action + 1).wrapping_mul(ROOT));
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 27)
}

/// A value in [-1, 1).
fn value(hash: u64) -> f32 {
    (hash >> 40) as f32 * (2.0 / 16_777_216.0) - 1.0
}

/// A weight in [0.5, 1.5), from bits that the value does not read.
fn prior(hash: u64) -> f32 {
    (hash & 0xffff) as f32 / 65_536.0 + 0.5
}

/// A search over the synthetic tree, and the hash of every node's path.
pub struct Workload {
    /// The search.
    pub search: TreeSearch,
    branching: usize,
    weigh: fn(u64) -> f32,
    hashes: Vec<u64>,
    values: Vec<f32>,
    counts: Vec<i32>,
    priors: Vec<f32>,
}

impl Workload {
    /// An unvisited tree with `branching` candidates everywhere.
    ///
    /// The prior's weight is twice the branching factor, so that nearly every simulation makes a
    /// leaf instead of visiting a terminal one again.
    ///
    /// # Panics
    ///
    /// For a branching factor outside of 1 to 65,535.
    pub fn new(branching: usize) -> Self {
        Self::weighed(branching, prior)
    }

    /// As [`new`](Self::new), with the same prior for every candidate.
    ///
    /// # Panics
    ///
    /// For a branching factor outside of 1 to 65,535.
    pub fn uniform(branching: usize) -> Self {
        Self::weighed(branching, |_| 1.0)
    }

    fn weighed(branching: usize, weigh: fn(u64) -> f32) -> Self {
        let config = Config {
            policy: Policy::Puct {
                c: 2.0 * branching as f32,
            },
            normalize: Normalize::None,
            max_depth: MAX_DEPTH,
            ..Config::default()
        };
        let mut priors = Vec::new();
        add_priors(&mut priors, ROOT, branching, weigh);
        let root = Candidates {
            count: branching,
            priors: Some(&priors),
            first_values: None,
            ..Candidates::default()
        };
        Self {
            search: TreeSearch::new(config, root).expect("a branching factor in range"),
            branching,
            weigh,
            hashes: vec![ROOT],
            values: Vec::new(),
            counts: Vec::new(),
            priors: Vec::new(),
        }
    }

    /// Runs until `num_simulations` are completed, `batch` at a time.
    ///
    /// # Panics
    ///
    /// If the search refuses what it asked for.
    pub fn run(&mut self, num_simulations: u64, batch: u32) {
        while self.search.num_simulations() < num_simulations {
            let left = num_simulations - self.search.num_simulations();
            self.step(left.min(u64::from(batch)) as u32);
        }
    }

    /// One batch: ask, look up, tell.
    fn step(&mut self, num_simulations: u32) {
        let leaves = self.search.ask(num_simulations).expect("room for a batch");
        self.values.clear();
        self.counts.clear();
        self.priors.clear();
        for row in 0..leaves.ids.len() {
            let parent = self.hashes[leaves.parents[row] as usize];
            let hash = extend(parent, u64::from(leaves.actions[row]));
            self.values.push(value(hash));
            if leaves.wants_candidates[row] {
                self.counts.push(self.branching as i32);
                add_priors(&mut self.priors, hash, self.branching, self.weigh);
            } else {
                self.counts.push(-1);
            }
        }
        let told = Told {
            ids: &leaves.ids,
            values: &self.values,
            terminal: None,
            candidates: CandidateColumns {
                counts: Some(&self.counts),
                priors: Some(&self.priors),
                first_values: None,
                ..CandidateColumns::default()
            },
            ..Told::default()
        };
        let nodes = self
            .search
            .tell(told)
            .expect("rows that the search asked for");
        for (row, node) in nodes.into_iter().enumerate() {
            let Some(node) = node else { continue };
            let parent = self.hashes[leaves.parents[row] as usize];
            let hash = extend(parent, u64::from(leaves.actions[row]));
            self.hashes
                .resize(self.hashes.len().max(node as usize + 1), 0);
            self.hashes[node as usize] = hash;
        }
    }

    /// A number that depends on the visits of every edge and on where it hangs.
    ///
    /// # Panics
    ///
    /// If a node that the search lists is not there.
    pub fn checksum(&self) -> u64 {
        let mut sum = 0_u64;
        for node in self.search.nodes() {
            let edges = self.search.edges(node).expect("a listed node");
            for (action, &visits) in edges.visits.iter().enumerate() {
                let hash = extend(self.hashes[node as usize], action as u64);
                sum = sum.wrapping_add(hash.wrapping_mul(u64::from(visits)));
            }
        }
        sum
    }
}

fn add_priors(priors: &mut Vec<f32>, hash: u64, branching: usize, weigh: fn(u64) -> f32) {
    priors.extend((0..branching as u64).map(|action| weigh(extend(hash, action))));
}
