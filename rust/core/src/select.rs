//! Which edge of a node is taken next: pure functions of one block of the tree.
//!
//! Both rules count visits in flight as visits, and never as values (WU-UCT). All arithmetic is in
//! `f32` in the written order, so that another implementation can agree to the bit; scores that tie
//! go to the lowest index. Visit counts are exact up to 2^24 an edge.
//!
//! Source: PUCT: Rosin 2011 and, in this form, Silver et al. 2017, "Mastering the game of Go without
//! human knowledge", Methods; UCT: Kocsis & Szepesvari 2006, after UCB1, Auer et al. 2002, theorem 1;
//! visits in flight: Liu et al. 2020 (arXiv 1810.11755), equation 4.

mod lanes;

use std::ops::{Mul, Sub};

use crate::tree::{Block, Tree};

/// How edges are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// `q + ((c * sqrt(N)) * p) / (1 + n)`, where `N` are the node's visits, one more than the sum of
    /// its edges' visits, `n` the edge's visits, `p` its prior and `q` its normalised value.
    Puct {
        /// `c_puct`, the weight of the prior; at least 0.
        c: f32,
    },
    /// `q + c * sqrt(ln(N) / n)`; edges without visits first, of these the one with the highest prior.
    Uct {
        /// The weight of the bonus; at least 0, `sqrt(2)` in UCB1.
        c: f32,
    },
}

/// How values are brought to a common scale before they are compared: `q = (value - low) * inverse`
/// with `inverse = 1 / (high - low)`, or 0 where `high` is not above `low`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalize {
    /// As they are.
    None,
    /// From a known range to [0, 1].
    Range {
        /// The least value a scorer gives.
        low: f32,
        /// The greatest value a scorer gives.
        high: f32,
    },
    /// From the least and the greatest value told so far (first values too) to [0, 1].
    MinMax,
}

/// The scale in force while one batch is selected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    low: f32,
    inverse: f32,
}

impl Scale {
    pub(crate) const IDENTITY: Self = Self {
        low: 0.0,
        inverse: 1.0,
    };

    /// From `low` to 0 and from `high` to 1; everything to 0 where `high` is not above `low`, as it
    /// is before the first value, or where the inverse is no finite number.
    pub(crate) fn between(low: f32, high: f32) -> Self {
        let inverse = 1.0 / (high - low);
        if high > low && inverse.is_finite() {
            return Self { low, inverse };
        }
        Self {
            low: 0.0,
            inverse: 0.0,
        }
    }

    #[inline]
    fn apply<T>(self, value: T) -> T
    where
        T: From<f32> + Sub<Output = T> + Mul<Output = T>,
    {
        (value - self.low.into()) * self.inverse.into()
    }
}

/// What one batch selects by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) policy: Policy,
    pub(crate) scale: Scale,
}

/// How the visits of one node are shared among its edges; keeps its memory between calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    shares: Vec<(u32, u32)>,
    q: Vec<f32>,
    priors: Vec<f32>,
    seen: Vec<u32>,
}

impl Selector {
    /// Splits `times` visits of a node among its edges, one after another. Returns (edge, share) in
    /// the order of the edges, shares of 0 left out.
    #[inline]
    pub(crate) fn split(
        &mut self,
        tree: &Tree,
        block: Block,
        rule: Rule,
        times: u32,
    ) -> &[(u32, u32)] {
        self.shares.clear();
        let scale = rule.scale;
        let shares = &mut self.shares;
        match (rule.policy, tree.count(block)) {
            (Policy::Puct { c }, 0..=4) => {
                lanes::split::<1>(tree, block, (c, scale), times, shares);
            }
            (Policy::Puct { c }, 5..=8) => {
                lanes::split::<2>(tree, block, (c, scale), times, shares);
            }
            (Policy::Puct { c }, 9..=16) => {
                lanes::split::<4>(tree, block, (c, scale), times, shares);
            }
            (Policy::Puct { c }, 17..=32) => {
                lanes::split::<8>(tree, block, (c, scale), times, shares);
            }
            (Policy::Puct { c }, _) => self.split_wide(tree, block, scale, times, |lanes, n| {
                lanes.best_by_puct(c, n)
            }),
            (Policy::Uct { c }, _) => self.split_wide(tree, block, scale, times, |lanes, n| {
                lanes.best_by_uct(c, n)
            }),
        }
        &self.shares
    }

    /// Any number of edges, any rule: `best` names the edge for a node visited `n` times.
    #[inline(never)]
    fn split_wide(
        &mut self,
        tree: &Tree,
        block: Block,
        scale: Scale,
        times: u32,
        best: impl Fn(&Self, u32) -> usize,
    ) {
        self.q.clear();
        self.priors.clear();
        self.seen.clear();
        for edge in tree.edges(block) {
            self.q.push(scale.apply(edge.value));
            self.priors.push(edge.prior);
            self.seen.push(edge.visits);
        }
        let total = 1 + self.seen.iter().sum::<u32>();
        for nth in 0..times {
            let edge = best(self, total + nth);
            self.seen[edge] += 1;
        }
        for (edge, before) in tree.edges(block).enumerate() {
            let share = self.seen[edge] - before.visits;
            if share > 0 {
                self.shares.push((edge as u32, share));
            }
        }
    }

    fn best_by_puct(&self, c: f32, visits: u32) -> usize {
        let bonus = c * as_f32(visits).sqrt();
        let edges = self.q.iter().zip(&self.priors).zip(&self.seen);
        first_greatest(edges.map(|((&q, &prior), &seen)| q + bonus * prior / (1.0 + as_f32(seen))))
    }

    fn best_by_uct(&self, c: f32, visits: u32) -> usize {
        if self.seen.contains(&0) {
            let edges = self.priors.iter().zip(&self.seen);
            return first_greatest(edges.map(
                |(&prior, &seen)| {
                    if seen == 0 { prior } else { f32::NEG_INFINITY }
                },
            ));
        }
        let log = f64::from(visits).ln() as f32;
        let edges = self.q.iter().zip(&self.seen);
        first_greatest(edges.map(|(&q, &seen)| q + c * (log / as_f32(seen)).sqrt()))
    }
}

/// A count, below 2^31, as `f32`; the signed conversion is one vector instruction everywhere.
#[inline]
fn as_f32(count: u32) -> f32 {
    count as i32 as f32
}

/// The lowest index of the greatest score.
#[inline]
fn first_greatest(scores: impl IntoIterator<Item = f32>) -> usize {
    let mut best = 0;
    let mut greatest = f32::NEG_INFINITY;
    for (index, score) in scores.into_iter().enumerate() {
        if score > greatest {
            greatest = score;
            best = index;
        }
    }
    best
}
