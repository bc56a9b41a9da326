//! Random trees whose best first action is known: how often a search finds it.
//!
//! Each edge has a hidden gain, normal-like with mean 0; an ending is worth the sum of the gains on
//! its path. A scorer sees the partial sum at every step, with noise that shrinks towards the end, as
//! a reward model does. The best first action is the one below which the best ending lies, found by
//! looking at all endings. Everything is a hash of (tree, path), so any search sees the same tree.

use similar_fast_core::search::{CandidateColumns, Candidates, Config, Told, TreeSearch};

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// One step of splitmix64.
fn mix(state: u64) -> u64 {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Nearly normal, mean 0, variance 1: the sum of 12 uniform numbers less 6 (Irwin-Hall).
fn normal(seed: u64) -> f32 {
    let sum: f32 = (0..12_u64)
        .map(|i| (mix(seed.wrapping_add((i + 1).wrapping_mul(GOLDEN))) >> 40) as f32)
        .sum();
    sum / 16_777_216.0 - 6.0
}

/// A complete tree.
#[derive(Clone, Copy, Debug)]
pub struct RandomTree {
    /// Which one.
    pub seed: u64,
    /// Edges of a node.
    pub branching: u32,
    /// Edges from the root to an ending.
    pub depth: u32,
    /// Standard deviation of what a scorer sees at the first step, against a gain's of 1.
    pub noise: f32,
}

/// A state of a tree: where, how deep, and what the way there was worth.
#[derive(Clone, Copy, Debug)]
struct State {
    hash: u64,
    depth: u32,
    sum: f32,
}

impl State {
    fn step(self, action: u32) -> Self {
        let hash = mix(self
            .hash
            .wrapping_add((u64::from(action) + 1).wrapping_mul(GOLDEN)));
        Self {
            hash,
            depth: self.depth + 1,
            sum: self.sum + normal(hash),
        }
    }
}

impl RandomTree {
    fn root(&self) -> State {
        State {
            hash: mix(self.seed.wrapping_mul(GOLDEN) ^ 0x5851_F42D_4C95_7F2D),
            depth: 0,
            sum: 0.0,
        }
    }

    /// What the scorer says of a state.
    fn value(&self, state: State) -> f32 {
        let left = (self.depth - state.depth) as f32 / self.depth as f32;
        state.sum + self.noise * left * normal(state.hash ^ GOLDEN)
    }

    fn best_ending(&self, state: State) -> f32 {
        if state.depth == self.depth {
            return state.sum;
        }
        let endings = (0..self.branching).map(|action| self.best_ending(state.step(action)));
        endings.fold(f32::NEG_INFINITY, f32::max)
    }

    /// The first action on the way to the best ending.
    pub fn best_action(&self) -> u32 {
        let mut best = (0, f32::NEG_INFINITY);
        for action in 0..self.branching {
            let ending = self.best_ending(self.root().step(action));
            if ending > best.1 {
                best = (action, ending);
            }
        }
        best.0
    }

    /// The action that a search takes after `num_simulations`, asked for in batches of `batch`, or, if
    /// these grow, of at most a quarter of the simulations so far, as `Search` asks.
    ///
    /// # Panics
    ///
    /// If the search refuses what it asked for.
    pub fn decide(&self, config: Config, num_simulations: u64, (batch, grows): (u32, bool)) -> u32 {
        let config = Config {
            max_depth: self.depth + 1,
            ..config
        };
        let first_values = self.scores(self.root());
        let root = Candidates {
            count: self.branching as usize,
            first_values: Some(&first_values),
            ..Candidates::default()
        };
        let mut search = TreeSearch::new(config, root).expect("a configuration in range");
        let mut states = vec![self.root()];
        while search.num_simulations() < num_simulations && !search.is_exhausted() {
            let done = search.num_simulations();
            let quarter = if grows { (done / 4).max(1) } else { u64::MAX };
            let size = u64::from(batch).min(num_simulations - done).min(quarter);
            self.answer(&mut search, &mut states, size as u32);
        }
        search.best_action()
    }

    fn scores(&self, state: State) -> Vec<f32> {
        let steps = (0..self.branching).map(|action| state.step(action));
        steps.map(|step| self.value(step)).collect()
    }

    fn answer(&self, search: &mut TreeSearch, states: &mut Vec<State>, batch: u32) {
        let leaves = search.ask(batch).expect("room for a batch");
        let rows = 0..leaves.ids.len();
        let reached = rows.map(|row| {
            let parent = states[leaves.parents[row] as usize];
            parent.step(leaves.actions[row])
        });
        let reached: Vec<State> = reached.collect();
        let values: Vec<f32> = reached.iter().map(|&state| self.value(state)).collect();
        let is_end = |state: &State| state.depth == self.depth;
        let terminal: Vec<bool> = reached.iter().map(is_end).collect();
        let count = |&is_end: &bool| if is_end { -1 } else { self.branching as i32 };
        let counts: Vec<i32> = terminal.iter().map(count).collect();
        let open = reached.iter().filter(|state| !is_end(state));
        let first_values: Vec<f32> = open.flat_map(|&state| self.scores(state)).collect();
        let told = Told {
            ids: &leaves.ids,
            values: &values,
            terminal: Some(&terminal),
            candidates: CandidateColumns {
                counts: Some(&counts),
                first_values: Some(&first_values),
                ..CandidateColumns::default()
            },
            ..Told::default()
        };
        let nodes = search.tell(told).expect("rows that the search asked for");
        for (node, state) in nodes.into_iter().zip(reached) {
            if let Some(node) = node {
                states.resize(states.len().max(node as usize + 1), state);
                states[node as usize] = state;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_of_everything_finds_the_best_action() {
        for seed in 0..20 {
            let tree = RandomTree {
                seed,
                branching: 3,
                depth: 3,
                noise: 1.0,
            };
            let config = Config {
                solve: true,
                ..Config::default()
            };
            assert_eq!(
                tree.decide(config, 1000, (8, false)),
                tree.best_action(),
                "tree {seed}"
            );
        }
    }
}
