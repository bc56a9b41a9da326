//! Which edge of a node is taken next: pure functions of one block of the tree.
//!
//! Visits in flight count as visits, and never as values (WU-UCT), unless a virtual loss is set. All
//! arithmetic of PUCT and UCT is in `f32` in the written order, that of Gumbel in `f64`, so that
//! another implementation can agree to the bit; scores that tie go to the lowest index. Visit counts
//! are exact up to 2^24 an edge.
//!
//! Source: PUCT: Rosin 2011 and, in this form, Silver et al. 2017, "Mastering the game of Go without
//! human knowledge", Methods; UCT: Kocsis & Szepesvari 2006, after UCB1, Auer et al. 2002, theorem 1;
//! visits in flight: Liu et al. 2020 (arXiv 1810.11755), equation 4; virtual loss: Chaslot et al.
//! 2008, "Parallel Monte-Carlo tree search"; Gumbel: Danihelka et al. 2022, "Policy improvement by
//! planning with Gumbel", equations 8, 11 and 14.

mod lanes;

use std::ops::{Mul, Sub};

use crate::tree::{Block, Child, Edge, LeafState, Tree};

/// How edges are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// `q + ((c * sqrt(N)) * p) / (1 + n)`, where `N` are the node's visits, one more than the sum of
    /// its edges' visits, `n` the edge's visits, `p` its prior and `q` its normalised value.
    Puct {
        /// `c_puct`, the weight of the prior; from 0 to 1e30.
        c: f32,
    },
    /// `q + c * sqrt(ln(N) / n)`; edges without visits first, of these the one with the highest prior.
    Uct {
        /// The weight of the bonus; from 0 to 1e30, `sqrt(2)` in UCB1.
        c: f32,
    },
    /// At the root sequential halving over the candidates of the greatest `g + ln(p) + sigma(q)`, with
    /// `sigma(q) = (c_visit + max n) * c_scale * q`; below it `pi - n / (1 + sum of n)`, where `pi` is
    /// the softmax of `ln(p) + sigma(q)`. An edge without visits has its first value as `q`.
    Gumbel(Gumbel),
    /// The edge of the greatest value in the whole tree that was never visited; each edge is visited
    /// once. Best-of-N is this with a depth of 1.
    BestFirst,
    /// As best-first, level by level: of each level only the best `width` edges are visited.
    Beam {
        /// Edges of a level that are visited, at least 1.
        width: u32,
    },
}

/// The constants of [`Policy::Gumbel`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gumbel {
    /// Weight of values against priors while there are few visits; at least 0, 50 in the paper.
    pub c_visit: f32,
    /// Weight of values against priors; at least 0, 0.1 in the authors' code for values in [0, 1].
    pub c_scale: f32,
    /// Candidates of the root that are tried, at most; at least 1.
    pub max_considered: u32,
    /// Simulations that will be spent at the root, at least 1: what the halving divides.
    pub num_simulations: u32,
}

impl Default for Gumbel {
    fn default() -> Self {
        Self {
            c_visit: 50.0,
            c_scale: 0.1,
            max_considered: 16,
            num_simulations: 64,
        }
    }
}

impl Policy {
    /// What callers know it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Puct { .. } => "puct",
            Self::Uct { .. } => "uct",
            Self::Gumbel(_) => "gumbel",
            Self::BestFirst => "best_first",
            Self::Beam { .. } => "beam",
        }
    }

    /// Whether it takes the best of all open edges instead of going down from the root.
    pub(crate) fn is_best_first(self) -> bool {
        matches!(self, Self::BestFirst | Self::Beam { .. })
    }
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
    pub(crate) fn apply<T>(self, value: T) -> T
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
    /// Lost visits for each visit in flight; 0 counts visits in flight as visits without a value.
    pub(crate) virtual_loss: u32,
    /// Whether edges that are known to their end are left alone.
    pub(crate) skips_solved: bool,
    /// `c` of PUCT, where nothing else is to be minded: then a few edges fit vector registers.
    plain_puct: Option<f32>,
}

impl Rule {
    pub(crate) fn new(policy: Policy, scale: Scale, virtual_loss: u32, skips_solved: bool) -> Self {
        let plain_puct = match policy {
            Policy::Puct { c } if virtual_loss == 0 && !skips_solved => Some(c),
            _ => None,
        };
        Self {
            policy,
            scale,
            virtual_loss,
            skips_solved,
            plain_puct,
        }
    }
}

/// Whether every way on behind an edge is known to its end.
pub(crate) fn is_solved(tree: &Tree, edge: &Edge) -> bool {
    match edge.child {
        Child::Leaf(LeafState::Terminal) => true,
        Child::Node(below) => tree.is_solved(below),
        _ => false,
    }
}

/// How the visits of one node are shared among its edges; keeps its memory between calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    shares: Vec<(u32, u32)>,
    rivals: Vec<Rival>,
    improved: Vec<f64>,
}

/// An edge that may be taken, as the rules for any number of edges see it.
#[derive(Clone, Copy, Debug)]
struct Rival {
    edge: u32,
    q: f32,
    prior: f32,
    /// Visits that the rule counts.
    seen: u32,
    /// `q` times the completed visits: what a virtual loss divides.
    won: f32,
    share: u32,
}

impl Selector {
    /// Splits `times` visits of a node among its edges, one after another. Returns (edge, share) in
    /// the order of the edges, shares of 0 left out.
    #[inline]
    pub(crate) fn split(
        &mut self,
        tree: &Tree,
        block: Block,
        rule: &Rule,
        times: u32,
    ) -> &[(u32, u32)] {
        self.shares.clear();
        let (scale, shares) = (rule.scale, &mut self.shares);
        match (rule.plain_puct, tree.count(block)) {
            (Some(c), 0..=4) => lanes::split::<1>(tree, block, (c, scale), times, shares),
            (Some(c), 5..=8) => lanes::split::<2>(tree, block, (c, scale), times, shares),
            (Some(c), 9..=16) => lanes::split::<4>(tree, block, (c, scale), times, shares),
            (Some(c), 17..=32) => lanes::split::<8>(tree, block, (c, scale), times, shares),
            _ => self.split_wide(tree, block, rule, times),
        }
        &self.shares
    }

    /// Any number of edges, any rule.
    #[inline(never)]
    fn split_wide(&mut self, tree: &Tree, block: Block, rule: &Rule, times: u32) {
        self.read(tree, block, rule);
        match rule.policy {
            Policy::Puct { c } => self.take(rule, times, |rivals, n| best_by_puct(rivals, c, n)),
            Policy::Uct { c } => self.take(rule, times, |rivals, n| best_by_uct(rivals, c, n)),
            Policy::Gumbel(gumbel) => {
                let mut improved = std::mem::take(&mut self.improved);
                improve(&mut improved, &self.rivals, sigma(tree, block, gumbel));
                self.take(rule, times, |rivals, n| {
                    best_by_gumbel(rivals, &improved, n)
                });
                self.improved = improved;
            }
            Policy::BestFirst | Policy::Beam { .. } => {
                unreachable!("best-first search never goes down from a node. This is a bug.")
            }
        }
        for rival in &self.rivals {
            if rival.share > 0 {
                self.shares.push((rival.edge, rival.share));
            }
        }
    }

    /// Reads the edges that may be taken: all of them where every one is known to its end.
    fn read(&mut self, tree: &Tree, block: Block, rule: &Rule) {
        self.rivals.clear();
        for (index, edge) in tree.edges(block).enumerate() {
            if rule.skips_solved && is_solved(tree, &edge) {
                continue;
            }
            let (q, done) = (rule.scale.apply(edge.value), edge.done());
            let mut rival = Rival {
                edge: index as u32,
                q,
                prior: edge.prior,
                seen: done + edge.in_flight * rule.virtual_loss.max(1),
                won: q * as_f32(done),
                share: 0,
            };
            if rule.virtual_loss > 0 && edge.in_flight > 0 {
                rival.q = rival.won / as_f32(rival.seen);
            }
            self.rivals.push(rival);
        }
        if self.rivals.is_empty() {
            let all = Rule {
                skips_solved: false,
                ..*rule
            };
            self.read(tree, block, &all);
        }
    }

    /// Gives out `times` visits; `best` names the place of the next one's edge for a node that was
    /// visited `n` times, one more than its edges.
    fn take(&mut self, rule: &Rule, times: u32, best: impl Fn(&[Rival], u32) -> usize) {
        let step = rule.virtual_loss.max(1);
        let mut total = 1 + self.rivals.iter().map(|rival| rival.seen).sum::<u32>();
        for _ in 0..times {
            let place = best(&self.rivals, total);
            let rival = &mut self.rivals[place];
            rival.share += 1;
            rival.seen += step;
            total += step;
            if rule.virtual_loss > 0 {
                rival.q = rival.won / as_f32(rival.seen);
            }
        }
    }
}

fn best_by_puct(rivals: &[Rival], c: f32, visits: u32) -> usize {
    let bonus = c * as_f32(visits).sqrt();
    first_greatest(
        rivals
            .iter()
            .map(|rival| rival.q + bonus * rival.prior / (1.0 + as_f32(rival.seen))),
    )
}

fn best_by_uct(rivals: &[Rival], c: f32, visits: u32) -> usize {
    if rivals.iter().any(|rival| rival.seen == 0) {
        let prior_of = |rival: &Rival| {
            if rival.seen == 0 {
                rival.prior
            } else {
                f32::NEG_INFINITY
            }
        };
        return first_greatest(rivals.iter().map(prior_of));
    }
    let log = f64::from(visits).ln() as f32;
    first_greatest(
        rivals
            .iter()
            .map(|rival| rival.q + c * (log / as_f32(rival.seen)).sqrt()),
    )
}

/// The weight of values against log priors: it grows with the visits of the most visited edge.
pub(crate) fn sigma(tree: &Tree, block: Block, gumbel: Gumbel) -> f64 {
    let most = tree.edges(block).map(|edge| edge.done()).max();
    (f64::from(gumbel.c_visit) + f64::from(most.unwrap_or(0))) * f64::from(gumbel.c_scale)
}

/// `ln(p) + sigma * q`.
pub(crate) fn logit(prior: f32, q: f32, sigma: f64) -> f64 {
    f64::from(prior).ln() + sigma * f64::from(q)
}

/// The improved policy: the softmax of the rivals' logits.
fn improve(improved: &mut Vec<f64>, rivals: &[Rival], sigma: f64) {
    improved.clear();
    improved.extend(
        rivals
            .iter()
            .map(|rival| logit(rival.prior, rival.q, sigma)),
    );
    let greatest = improved.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for weight in improved.iter_mut() {
        *weight = (*weight - greatest).exp();
        sum += *weight;
    }
    for weight in improved.iter_mut() {
        *weight /= sum;
    }
}

fn best_by_gumbel(rivals: &[Rival], improved: &[f64], visits: u32) -> usize {
    let visits = f64::from(visits);
    let missing = rivals.iter().zip(improved);
    first_greatest(missing.map(|(rival, &share)| share - f64::from(rival.seen) / visits))
}

/// A count, below 2^31, as `f32`; the signed conversion is one vector instruction everywhere.
#[inline]
fn as_f32(count: u32) -> f32 {
    count as i32 as f32
}

/// The lowest index of the greatest score.
#[inline]
fn first_greatest<T: PartialOrd>(scores: impl IntoIterator<Item = T>) -> usize {
    let mut scores = scores.into_iter().enumerate();
    let Some((_, mut greatest)) = scores.next() else {
        return 0;
    };
    let mut best = 0;
    for (index, score) in scores {
        if score > greatest {
            greatest = score;
            best = index;
        }
    }
    best
}
