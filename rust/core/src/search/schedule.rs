//! Gumbel with sequential halving: how the simulations of one decision are spent at the root.
//!
//! The candidates of the greatest `g + ln(p) + sigma(q)` are considered, at most `max_considered`. In
//! each of `ceil(log2(considered))` phases every considered candidate gets the same visits, an equal
//! part of the simulations; then the better half goes on, until two are left, which share what
//! remains. A phase begins when everything of the one before it is completed, so batches of any size
//! decide as single simulations do.
//!
//! Source: Karnin et al. 2013, "Almost optimal exploration in multi-armed bandits", algorithm 1, and
//! Danihelka et al. 2022, "Policy improvement by planning with Gumbel", algorithm 2.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Gumbel, Policy, TreeSearch, check_length, invalid, is_value};
use crate::Error;
use crate::select::{logit, sigma};
use crate::tree::{Block, Edge};

/// One decision's plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    /// `[edges]`, the Gumbel noise of the root's candidates.
    pub(super) noise: Vec<f32>,
    /// `[edges]`, visits that the root's candidates had before the plan.
    pub(super) before: Vec<u32>,
    /// The candidates of this phase, the best first; none before the first phase.
    pub(super) considered: Vec<u32>,
    /// Visits since the plan that each considered candidate has at the end of this phase.
    pub(super) quota: u32,
    /// Phases until two are left; at least 1.
    pub(super) phases: u32,
    /// What the phases divide.
    pub(super) num_simulations: u32,
}

impl Schedule {
    /// Visits since the plan, those in flight included.
    fn since(&self, index: u32, edge: &Edge) -> u32 {
        edge.visits.saturating_sub(self.before[index as usize])
    }

    /// Completed visits since the plan.
    fn done_since(&self, index: u32, edge: &Edge) -> u32 {
        edge.done().saturating_sub(self.before[index as usize])
    }
}

impl TreeSearch {
    /// Begins a decision at the present root that will take `num_simulations`, with this Gumbel noise.
    ///
    /// A new search has begun one, without noise and with the `num_simulations` of its policy; so has
    /// one that has advanced. Visits made before do not count, values do. Without noise the greatest
    /// priors and values are considered, which suits a decision that is carried out; with it the
    /// choice is a sample, which suits training.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: the policy is another one, `num_simulations` is 0, or the noise is not one
    /// finite number for each of the root's candidates. Nothing is changed then.
    pub fn plan(&mut self, noise: Option<&[f32]>, num_simulations: u32) -> Result<(), Error> {
        let Policy::Gumbel(gumbel) = self.config.policy else {
            let found = self.config.policy.name();
            return Err(invalid("policy", "gumbel, to make a plan", found));
        };
        let count = self.tree.count(Block::ROOT);
        if num_simulations == 0 {
            return Err(invalid("num_simulations", "at least 1", 0));
        }
        check_length("gumbel", "one for each candidate", noise, count)?;
        let mut noise = noise.map_or_else(|| vec![0.0; count], <[f32]>::to_vec);
        if let Some(&wrong) = noise.iter().find(|noise| !is_value(**noise)) {
            return Err(invalid(
                "gumbel",
                "finite and at most 1e38 in magnitude",
                wrong,
            ));
        }
        noise.shrink_to_fit();
        let considered = (count as u32).min(gumbel.max_considered);
        self.schedule = Schedule {
            noise,
            before: self
                .tree
                .edges(Block::ROOT)
                .map(|edge| edge.visits)
                .collect(),
            considered: Vec::new(),
            quota: 0,
            phases: considered.next_power_of_two().ilog2().max(1),
            num_simulations,
        };
        Ok(())
    }

    /// Plans the decision at a new root.
    pub(super) fn plan_anew(&mut self) {
        if let Policy::Gumbel(gumbel) = self.config.policy {
            self.plan(None, gumbel.num_simulations)
                .expect("no noise fits any root. This is a bug.");
        }
    }

    /// Simulations that may start now: what is left of the phase, or all of the next one.
    pub(super) fn planned_room(&mut self) -> u32 {
        let Policy::Gumbel(gumbel) = self.config.policy else {
            return u32::MAX;
        };
        let room = self.phase_room();
        if room > 0 || self.in_flight > 0 {
            return room;
        }
        self.begin_phase(gumbel);
        self.phase_room()
    }

    fn phase_room(&self) -> u32 {
        let plan = &self.schedule;
        let rooms = plan.considered.iter().map(|&index| {
            let edge = self.tree.edge(Block::ROOT, index);
            plan.quota.saturating_sub(plan.since(index, &edge))
        });
        rooms.fold(0, u32::saturating_add)
    }

    fn begin_phase(&mut self, gumbel: Gumbel) {
        let mut plan = std::mem::take(&mut self.schedule);
        let count = self.tree.count(Block::ROOT) as u32;
        let (mut ranked, keep) = if plan.considered.is_empty() {
            ((0..count).collect(), gumbel.max_considered.min(count))
        } else {
            let half = (plan.considered.len() as u32 / 2).max(2);
            (std::mem::take(&mut plan.considered), half)
        };
        let scores = self.root_scores(gumbel, &plan);
        ranked.sort_by(|&a, &b| {
            let by_score = scores[b as usize].total_cmp(&scores[a as usize]);
            by_score.then(a.cmp(&b))
        });
        ranked.truncate(keep as usize);
        let share = plan.num_simulations / plan.phases.saturating_mul(ranked.len() as u32).max(1);
        let since = ranked.iter().map(|&index| {
            let edge = self.tree.edge(Block::ROOT, index);
            plan.since(index, &edge)
        });
        // More than the last phase's quota where the caller sent simulations of its own.
        let least = since.min().unwrap_or(0).max(plan.quota);
        plan.quota = least.saturating_add(share.max(1));
        plan.considered = ranked;
        self.schedule = plan;
    }

    /// `g + ln(p) + sigma(q)` of the root's candidates.
    fn root_scores(&self, gumbel: Gumbel, plan: &Schedule) -> Vec<f64> {
        let (scale, sigma) = (self.scale(), sigma(&self.tree, Block::ROOT, gumbel));
        let edges = self.tree.edges(Block::ROOT).zip(&plan.noise);
        edges
            .map(|(edge, &noise)| {
                let q = scale.apply(edge.value);
                f64::from(noise) + logit(edge.prior, q, sigma) + 0.0 // one zero only
            })
            .collect()
    }

    /// Shares `times` visits of the root among the candidates of this phase, the least visited first.
    pub(super) fn share_planned(&self, times: u32, shares: &mut Vec<(u32, u32)>) {
        let plan = &self.schedule;
        let visits = plan.considered.iter().map(|&index| {
            let edge = self.tree.edge(Block::ROOT, index);
            plan.since(index, &edge)
        });
        let places = visits.enumerate();
        let mut least: BinaryHeap<_> = places.map(|(at, visits)| Reverse((visits, at))).collect();
        shares.clear();
        shares.extend(plan.considered.iter().map(|&edge| (edge, 0)));
        for _ in 0..times {
            if let Some(mut first) = least.peek_mut() {
                first.0.0 += 1;
                shares[first.0.1].1 += 1;
            }
        }
        shares.retain(|&(_, share)| share > 0);
        shares.sort_unstable();
    }

    /// The decision: of the candidates with the most visits since the plan the one with the greatest
    /// `g + ln(p) + sigma(q)`.
    pub(super) fn planned_action(&self, gumbel: Gumbel) -> u32 {
        let plan = &self.schedule;
        let scores = self.root_scores(gumbel, plan);
        let visits = |index: u32| plan.done_since(index, &self.tree.edge(Block::ROOT, index));
        let best = (0..scores.len() as u32).max_by(|&a, &b| {
            let by_score = scores[a as usize].total_cmp(&scores[b as usize]);
            visits(a).cmp(&visits(b)).then(by_score).then(b.cmp(&a))
        });
        best.unwrap_or(0)
    }
}
