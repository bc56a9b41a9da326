//! The way up: changes that begin at some edges and go on to every edge above them.

use super::{
    Block, HEADER, ID, IN_FLIGHT, LINK, MARKED, MAX_VALUE, NOWHERE, PAYLOAD, SHAPE, SOLVED, Tree,
};

/// What happens to an edge's visits in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// They are completed; the value becomes the mean of all completed visits.
    Mean,
    /// They are completed; the value becomes the maximum of all completed visits.
    Max,
    /// They are completed; the value becomes the power mean, with this exponent, of what the edge was
    /// told and of the edges below it.
    Power(f64),
    /// They are completed; the value becomes the mean of `told + discount * what came from below`.
    Discounted(f64),
    /// They are taken back.
    Undo,
}

impl Change {
    /// What `visits` simulations with one value each carry up: their sum, or maximum.
    #[inline]
    pub(crate) fn load(self, visits: u32, value: f32) -> (u32, f64) {
        match self {
            Self::Max => (visits, f64::from(value)),
            _ => (visits, f64::from(value) * f64::from(visits)),
        }
    }
}

/// What goes up through one node.
#[derive(Clone, Copy, Debug)]
struct Load {
    block: Block,
    node: u32,
    visits: u32,
    value: f64,
}

/// Carries changes to the root, level by level, deepest first, each node once.
///
/// The order is part of the contract, because sums of `f64` depend on it. `start` changes an edge at
/// once and loads its node; a node's load is the sum (or maximum) of what its edges got, begun at 0
/// (or minus infinity), in the order in which they got it. `finish` takes the levels from the deepest
/// and the nodes of a level in the order in which they were first loaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ascent {
    levels: Vec<Vec<Load>>,
}

impl Ascent {
    /// Changes the visits in flight on one edge of a block `depth` edges below the root: `visits` of
    /// them, `value` their sum (or maximum).
    #[inline]
    pub(crate) fn start(
        &mut self,
        tree: &mut Tree,
        change: Change,
        (block, edge, depth): (Block, u32, u32),
        (visits, value): (u32, f64),
    ) {
        let depth = depth as usize;
        if self.levels.len() <= depth {
            self.levels.resize_with(depth + 1, Vec::new);
        }
        tree.change(change, (block, edge), (visits, value));
        load(
            &mut self.levels[depth],
            tree,
            change,
            block,
            (visits, value),
        );
    }

    /// Carries everything that was started to the root.
    pub(crate) fn finish(&mut self, tree: &mut Tree, change: Change) {
        // One copy of the loop for each of the common changes, without a branch inside.
        match change {
            Change::Mean => self.climb(tree, Change::Mean),
            Change::Max => self.climb(tree, Change::Max),
            other => self.climb(tree, other),
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // so that the copies above differ; measured
    fn climb(&mut self, tree: &mut Tree, change: Change) {
        let is_plain = matches!(change, Change::Mean | Change::Max | Change::Undo);
        for depth in (0..self.levels.len()).rev() {
            let (above, here) = self.levels.split_at_mut(depth);
            for item in here[0].drain(..) {
                let word = item.block.word();
                let link = tree.words[word + LINK];
                tree.words[word + ID] = item.node;
                tree.words[word + LINK] = link & !MARKED;
                if link & PAYLOAD == NOWHERE {
                    continue;
                }
                let place = (Block(link & PAYLOAD), tree.words[word + SHAPE] >> 16);
                let level = above
                    .last_mut()
                    .expect("a node with a parent lies below the first level. This is a bug.");
                let mut value = item.value;
                if is_plain && link & SOLVED == 0 {
                    tree.change(change, place, (item.visits, value));
                } else {
                    value = tree.pass(change, place, &item, level);
                }
                load(level, tree, change, place.0, (item.visits, value));
            }
        }
    }
}

/// The id of a block that may be loaded at its level.
#[inline]
fn id_of(tree: &Tree, block: Block, level: &[Load]) -> u32 {
    let word = tree.words[block.word() + ID];
    if tree.words[block.word() + LINK] & MARKED == 0 {
        word
    } else {
        level[word as usize].node
    }
}

/// Adds to the load of `block`. While a node is loaded its header holds, marked, the load's place in
/// the level instead of the node id, so that no table is needed to find it again.
#[inline]
fn load(
    level: &mut Vec<Load>,
    tree: &mut Tree,
    change: Change,
    block: Block,
    (visits, value): (u32, f64),
) {
    let word = block.word();
    if tree.words[word + LINK] & MARKED == 0 {
        let node = std::mem::replace(&mut tree.words[word + ID], level.len() as u32);
        tree.words[word + LINK] |= MARKED;
        level.push(Load {
            block,
            node,
            visits,
            value: if change == Change::Max {
                value
            } else {
                0.0 + value
            },
        });
        return;
    }
    let item = &mut level[tree.words[word + ID] as usize];
    item.visits += visits;
    match change {
        Change::Max => item.value = item.value.max(value),
        _ => item.value += value,
    }
}

impl Tree {
    /// Changes one edge. Mean: `q' = (q * done + sum) / (done + visits)` in `f64`, rounded once,
    /// where `done` are the visits completed so far; so the first ones replace the first value.
    #[inline]
    fn change(&mut self, change: Change, (block, edge): (Block, u32), (visits, value): (u32, f64)) {
        let base = block.word();
        let count = self.count(block);
        let at = base + HEADER + edge as usize;
        let packed = self.words[at + 3 * count];
        self.words[at + 3 * count] = packed - visits;
        if change == Change::Undo {
            self.words[at] -= visits;
            return;
        }
        let done = self.words[at] - (packed & IN_FLIGHT);
        let old = f32::from_bits(self.words[at + count]);
        let new = match change {
            Change::Max if done > 0 => old.max(value as f32),
            Change::Max => value as f32,
            Change::Discounted(_) => {
                bounded((f64::from(old) * f64::from(done) + value) / f64::from(done + visits))
            }
            _ => ((f64::from(old) * f64::from(done) + value) / f64::from(done + visits)) as f32,
        };
        self.words[at + count] = new.to_bits();
    }

    /// Changes the edge above a loaded block; returns what goes on to its node. The value of a solved
    /// block's edge is known, and stays.
    #[cold]
    #[inline(never)]
    fn pass(
        &mut self,
        change: Change,
        (block, edge): (Block, u32),
        item: &Load,
        level: &[Load],
    ) -> f64 {
        let value = match change {
            Change::Discounted(discount) => {
                let told = self.told(block, id_of(self, block, level), edge);
                f64::from(told) * f64::from(item.visits) + discount * item.value
            }
            _ => item.value,
        };
        match change {
            Change::Undo => self.change(change, (block, edge), (item.visits, value)),
            _ if self.is_solved(item.block) => self.complete((block, edge), item.visits),
            Change::Power(exponent) => {
                let told = self.told(block, id_of(self, block, level), edge);
                self.complete((block, edge), item.visits);
                let below = self.edges(item.block).map(|edge| (edge.done(), edge.value));
                let done = self.edge(block, edge).done();
                let mean = power_mean(told, done, below, exponent);
                self.set_value(block, edge, mean);
            }
            _ => self.change(change, (block, edge), (item.visits, value)),
        }
        value
    }

    /// Completes visits in flight and leaves the value.
    fn complete(&mut self, (block, edge): (Block, u32), visits: u32) {
        let at = block.word() + HEADER + 3 * self.count(block) + edge as usize;
        self.words[at] -= visits;
    }
}

/// A sum of values, rounded, and held within the range of one value.
pub(crate) fn bounded(value: f64) -> f32 {
    (value as f32).clamp(-MAX_VALUE, MAX_VALUE)
}

/// `(sum of n * q^p / sum of n)^(1 / p)` over `done` visits: those below and, told `told`, the rest.
/// The greatest value is factored out, so nothing overflows. Values are at least 0.
///
/// Source: Dam et al. 2019 (arXiv 1911.00384), the power mean backup.
pub(crate) fn power_mean(
    told: f32,
    done: u32,
    below: impl Iterator<Item = (u32, f32)> + Clone,
    exponent: f64,
) -> f32 {
    let visited = below.filter(|&(visits, _)| visits > 0);
    let own = done - visited.clone().map(|(visits, _)| visits).sum::<u32>();
    let terms = visited.chain((own > 0).then_some((own, told)));
    let greatest = terms
        .clone()
        .fold(0.0_f32, |most, (_, value)| most.max(value));
    if greatest == 0.0 {
        return 0.0;
    }
    let greatest = f64::from(greatest);
    let sum = terms.fold(0.0, |sum, (visits, value)| {
        sum + f64::from(visits) * (f64::from(value) / greatest).powf(exponent)
    });
    (greatest * (sum / f64::from(done)).powf(1.0 / exponent)) as f32
}
