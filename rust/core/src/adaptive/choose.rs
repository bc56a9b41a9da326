//! Which way a simulation takes at a node: a new child, or one it has.

use super::arena::{Arena, Node};
use super::draw::Stream;
use super::posterior::{Posterior, Prior, Scale, Sums};
use super::{Policy, Rule};

/// The arm of a decision's draws for generating, for going on, and for the first node.
const GENERATE: u64 = 0;
const CONTINUE: u64 = 1;
const FIRST_NODE: u64 = 2;

/// What a simulation does at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Asks for another child.
    Generate,
    /// Waits for a child that was asked for already.
    Wait,
    /// Enters the open child at this index of the chooser's `children`.
    Enter(usize),
}

/// What one batch decides by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) policy: Policy,
    pub(super) scale: Scale,
    pub(super) origin: f64,
    pub(super) seed: u64,
    pub(super) max_depth: u32,
}

/// A child that is not closed, as a batch sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenChild {
    pub(super) node: u32,
    /// How often this batch has entered it.
    pub(super) entered: u32,
    /// Of widening: visits with those in flight. Of Thompson sampling: those in flight. Both with
    /// this batch's.
    visits: u32,
    /// Of Thompson sampling: what was observed in the subtree.
    observed: Sums,
    /// Of widening: the normalised mean, and the bonus without its factor.
    q: f64,
    bonus: f64,
}

/// The children of one node, read once for all visits of a batch, and only if one enters a child.
#[derive(Clone, Debug, Default)]
pub(super) struct Chooser {
    is_gathered: bool,
    pub(super) children: Vec<OpenChild>,
}

/// The most children that a node of `visits` visits may have: `ceil(k * visits^alpha)`, at least 1.
/// A surplus of less than 1e-9 is taken for rounding, so that 27^(1/3) is 3 on every machine.
#[inline]
pub(super) fn limit(k: f64, alpha: f64, visits: u32) -> u32 {
    ((k * f64::from(visits).powf(alpha) - 1e-9).ceil() as u32).max(1)
}

#[inline]
fn bonus(rule: Rule, visits: u32) -> f64 {
    match rule {
        Rule::Uct => 1.0 / f64::from(visits).sqrt(),
        Rule::Puct => 1.0 / (1.0 + f64::from(visits)),
    }
}

/// What the bonus of every child is multiplied by.
#[inline]
fn factor(rule: Rule, c: f64, node: &Node) -> f64 {
    let visits = f64::from(node.all_visits());
    match rule {
        Rule::Uct => c * visits.ln().sqrt(),
        Rule::Puct => c * visits.sqrt() / f64::from(node.num_children),
    }
}

/// What is believed of generating at a node and of going on from it, with what is in flight.
pub(super) fn node_arms(prior: Prior, node: &Node, scale: Scale) -> (Posterior, Posterior) {
    let generating = u32::from(node.generating);
    let below = u32::from(node.in_flight).saturating_sub(generating);
    (
        Posterior::new(prior, node.generated, scale).with_in_flight(generating),
        Posterior::new(prior, node.continued, scale).with_in_flight(below),
    )
}

/// What is believed of a child: a posterior, or q and the bonus.
pub(super) fn child_arm(settings: &Settings, parent: &Node, child: &Node) -> (f64, f64) {
    let observed = child.observed(settings.origin);
    match settings.policy {
        Policy::AbMcts { prior } => Posterior::new(prior, observed, settings.scale)
            .with_in_flight(child.in_flight.into())
            .summary(),
        Policy::Widening { rule, c, .. } => (
            settings.scale.mean(observed),
            factor(rule, c, parent) * bonus(rule, child.all_visits()),
        ),
    }
}

impl Chooser {
    /// Begins with another node.
    pub(super) fn begin(&mut self) {
        self.is_gathered = false;
        self.children.clear();
    }

    /// Reads the children of a node, if that is not done yet. O(children).
    fn gather(&mut self, arena: &Arena, settings: &Settings, node: u32) {
        if self.is_gathered {
            return;
        }
        self.is_gathered = true;
        for child in arena.children(node) {
            let below = arena.get(child);
            if below.is_closed() {
                continue;
            }
            let observed = below.observed(settings.origin);
            let in_flight = u32::from(below.in_flight);
            let (visits, q, bonus) = match settings.policy {
                Policy::AbMcts { .. } => (in_flight, 0.0, 0.0),
                Policy::Widening { rule, .. } => {
                    let visits = observed.count + in_flight;
                    (visits, settings.scale.mean(observed), bonus(rule, visits))
                }
            };
            self.children.push(OpenChild {
                node: child,
                entered: 0,
                visits,
                observed,
                q,
                bonus,
            });
        }
    }

    /// Decides for one simulation at a node. O(children) where it enters one.
    pub(super) fn choose(&mut self, arena: &Arena, settings: &Settings, index: u32) -> Way {
        let node = arena.get(index);
        let is_fertile = node.is_fertile(settings.max_depth);
        if node.num_closed == node.num_children {
            // With dead ends alone, one child in flight at a time may exceed the limit.
            let is_idle = node.generating == 0;
            return if is_fertile && (is_idle || may_widen(settings, node)) {
                Way::Generate
            } else {
                Way::Wait
            };
        }
        match settings.policy {
            Policy::Widening { rule, c, .. } => {
                if is_fertile && may_widen(settings, node) {
                    return Way::Generate;
                }
                self.gather(arena, settings, index);
                Way::Enter(self.highest(factor(rule, c, node)))
            }
            Policy::AbMcts { prior } => {
                let draws = Stream(settings.seed)
                    .fork(index.into())
                    .fork(node.all_visits().into());
                if is_fertile && generates(prior, node, settings.scale, draws) {
                    return Way::Generate;
                }
                self.gather(arena, settings, index);
                Way::Enter(self.luckiest(prior, settings.scale, draws))
            }
        }
    }

    /// The child with the highest `q + factor * bonus`, of equals the eldest.
    #[inline]
    fn highest(&self, factor: f64) -> usize {
        let (mut best, mut most) = (0, f64::NEG_INFINITY);
        for (index, child) in self.children.iter().enumerate() {
            let score = child.q + factor * child.bonus;
            if score > most {
                (best, most) = (index, score);
            }
        }
        best
    }

    /// The child with the highest draw.
    #[inline]
    fn luckiest(&self, prior: Prior, scale: Scale, draws: Stream) -> usize {
        let (mut best, mut most) = (0, f64::NEG_INFINITY);
        for (index, child) in self.children.iter().enumerate() {
            let posterior = Posterior::new(prior, child.observed, scale);
            let stream = draws.fork(FIRST_NODE + u64::from(child.node));
            let draw = posterior
                .with_in_flight(child.visits)
                .draw_above(most, stream);
            if let Some(draw) = draw {
                (best, most) = (index, draw);
            }
        }
        best
    }

    /// Counts that a child was entered.
    #[inline]
    pub(super) fn enter(&mut self, settings: &Settings, child: usize) {
        let child = &mut self.children[child];
        child.entered += 1;
        child.visits += 1;
        if let Policy::Widening { rule, .. } = settings.policy {
            child.bonus = bonus(rule, child.visits);
        }
    }
}

/// Whether a fertile node may have one more child now. Widening counts those that are open.
fn may_widen(settings: &Settings, node: &Node) -> bool {
    match settings.policy {
        Policy::AbMcts { .. } => true,
        Policy::Widening { k, alpha, .. } => {
            let children = node.num_children + u32::from(node.generating);
            children < limit(k, alpha, node.all_visits())
        }
    }
}

/// Whether generating draws at least as high as going on.
fn generates(prior: Prior, node: &Node, scale: Scale, draws: Stream) -> bool {
    let (generating, continuing) = node_arms(prior, node, scale);
    let floor = generating.draw_above(f64::NEG_INFINITY, draws.fork(GENERATE));
    let floor = floor.unwrap_or(f64::NEG_INFINITY);
    continuing.draw_above(floor, draws.fork(CONTINUE)).is_none()
}

#[cfg(test)]
mod tests {
    use super::limit;

    #[test]
    fn limit_is_the_ceiling_and_exact_at_whole_powers() {
        let limits: Vec<u32> = [0, 1, 2, 4, 5, 9, 10].map(|n| limit(1.0, 0.5, n)).to_vec();

        assert_eq!(limits, [1, 1, 2, 2, 3, 3, 4]);
        assert_eq!(limit(1.0, 1.0 / 3.0, 27), 3);
        assert_eq!(limit(1.0, 1.0 / 3.0, 28), 4);
        assert_eq!(limit(2.5, 0.0, 1000), 3);
    }
}
