//! Select: simulations go down the tree, level by level.

use super::tickets::{Kind, Tickets};
use super::{MAX_IN_FLIGHT, TreeSearch, invalid};
use crate::Error;
use crate::tree::{Block, Child, HEADER, LeafState, Tree};

/// Words of a cache line.
const LINE: usize = 16;
/// The most visits that a node can have, so that a count converts as a signed number.
const MAX_VISITS: u64 = i32::MAX as u64;

/// Leaves to be told of, in columns of n rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves {
    /// `[n]`, by which a leaf is told or failed; below 2^63.
    pub ids: Vec<u64>,
    /// `[n]`, the node on which the leaf's action was taken.
    pub parents: Vec<u32>,
    /// `[n]`, the index of that action among the node's candidates.
    pub actions: Vec<u32>,
    /// `[n]`, edges from the root to the leaf, from 1.
    pub depths: Vec<u32>,
    /// `[n]`, simulations that wait for the leaf so far, from 1; a later ask may add to them.
    pub multiplicities: Vec<u32>,
    /// `[n]`, whether the leaf has a value and wants its candidates.
    pub wants_candidates: Vec<bool>,
    /// Simulations that this ask completed by itself: revisits of leaves that nothing follows.
    pub num_completed: u32,
}

/// Visits that reach a node, or an edge of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub(super) block: Block,
    pub(super) edge: u32,
    pub(super) times: u32,
}

impl Visit {
    fn of(block: Block, times: u32) -> Self {
        Self {
            block,
            edge: 0,
            times,
        }
    }
}

impl TreeSearch {
    /// Sends `num_simulations` simulations down the tree and returns the leaves they wait for.
    ///
    /// Parked simulations whose candidates have been told go on first, and count. The others start
    /// at the root. Each node is read once and its visits are split among its edges one after
    /// another, with visits in flight; the counts are those of as many descents one after another.
    /// A leaf that is open already gets more simulations and no new row. Revisits of terminal
    /// leaves and of leaves at the depth limit are completed, with the leaf's value, before this
    /// returns; so there may be fewer rows than simulations, and none at all.
    ///
    /// O(nodes on the paths).
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: `num_simulations` is 0. `TooManyInFlight`: more than 65,535 would be in
    /// flight. `TreeFull`: the root would have 2^31 visits.
    pub fn ask(&mut self, num_simulations: u32) -> Result<Leaves, Error> {
        self.frontier.clear();
        self.check_ask(num_simulations)?;
        let started = num_simulations - self.resume(num_simulations);
        if started > 0 {
            self.frontier.push(Visit::of(self.root, started));
            self.in_flight += started;
        }
        Ok(self.finish_ask(Leaves::default()))
    }

    /// Takes the frontier down and completes the columns of `leaves`.
    fn finish_ask(&mut self, mut leaves: Leaves) -> Leaves {
        self.descend(&mut leaves);
        for &id in &leaves.ids {
            let ticket = self.tickets.get(id as u32);
            leaves.multiplicities.push(ticket.visits);
        }
        leaves.num_completed = self.complete_revisits();
        leaves
    }

    /// Sends one simulation to an edge that the caller chooses, and on from there if it is expanded.
    ///
    /// For callers who know better where to look first, for instance along a greedy path; the
    /// edges above are visited as if the search had come that way. O(depth).
    ///
    /// # Errors
    ///
    /// `UnknownNode`. `InvalidArgument`: the node has no such action. Otherwise as `ask`.
    pub fn ask_edge(&mut self, node: u32, action: u32) -> Result<Leaves, Error> {
        let block = self.find(node)?;
        let count = self.tree.count(block);
        if action as usize >= count {
            let found = format!("{action} of {count}");
            return Err(invalid(
                "action",
                "an index of the node's candidates",
                found,
            ));
        }
        self.check_room(1)?;
        self.in_flight += 1;
        let mut below = block;
        while let Some((above, edge)) = self.tree.parent(below) {
            let count = self.tree.count(above);
            self.tree.enter(above, count, edge as usize, 1);
            below = above;
        }
        self.frontier.clear();
        let mut leaves = Leaves::default();
        let mut descent = Descent {
            tree: &mut self.tree,
            tickets: &mut self.tickets,
            leaves: &mut leaves,
            next: &mut self.frontier,
            revisits: &mut self.revisits,
        };
        descent.enter(block, count, action, 1);
        Ok(self.finish_ask(leaves))
    }

    fn check_ask(&self, num_simulations: u32) -> Result<(), Error> {
        if num_simulations == 0 {
            return Err(invalid("num_simulations", "at least 1", 0));
        }
        self.check_room(num_simulations.saturating_sub(self.num_parked()))
    }

    fn check_room(&self, asked: u32) -> Result<(), Error> {
        if asked > MAX_IN_FLIGHT - self.in_flight {
            return Err(Error::TooManyInFlight {
                asked,
                in_flight: self.in_flight,
                limit: MAX_IN_FLIGHT,
            });
        }
        if self.completed + u64::from(self.in_flight + asked) >= MAX_VISITS {
            return Err(self.full());
        }
        Ok(())
    }

    /// Puts up to `most` parked simulations on the frontier, oldest first; returns how many.
    fn resume(&mut self, most: u32) -> u32 {
        let mut left = most;
        self.parked.retain_mut(|parked| {
            let times = parked.visits.min(left);
            if times > 0 {
                let block = self.tree.block(parked.node).expect(
                    "parked simulations of a freed node are dropped with it. This is a bug.",
                );
                self.frontier.push(Visit::of(block, times));
            }
            left -= times;
            parked.visits -= times;
            parked.visits > 0
        });
        most - left
    }

    /// Takes the frontier down until every simulation has met a leaf.
    fn descend(&mut self, leaves: &mut Leaves) {
        let rule = self.rule();
        let max_depth = self.config.max_depth;
        while !self.frontier.is_empty() {
            touch(&self.tree, &self.frontier);
            let mut descent = Descent {
                tree: &mut self.tree,
                tickets: &mut self.tickets,
                leaves,
                next: &mut self.next,
                revisits: &mut self.revisits,
            };
            for visit in self.frontier.drain(..) {
                let block = visit.block;
                let count = descent.tree.count(block);
                for &(edge, times) in self.selector.split(descent.tree, block, rule, visit.times) {
                    descent.enter(block, count, edge, times);
                }
            }
            std::mem::swap(&mut self.frontier, &mut self.next);
        }
        debug_assert!(leaves.depths.iter().all(|&depth| depth <= max_depth));
    }

    /// Backs up the revisits of leaves that nothing follows, each with its leaf's value.
    fn complete_revisits(&mut self) -> u32 {
        let change = self.change();
        let mut completed = 0;
        for visit in self.revisits.drain(..) {
            let place = (visit.block, visit.edge);
            let value = self.tree.value(visit.block, visit.edge);
            let load = change.load(visit.times, value);
            self.ascent.start(&mut self.tree, change, place, load);
            completed += visit.times;
        }
        self.ascent.finish(&mut self.tree, change);
        self.completed += u64::from(completed);
        self.in_flight -= completed;
        completed
    }
}

/// What one level of a descent reads and writes.
struct Descent<'a> {
    tree: &'a mut Tree,
    tickets: &'a mut Tickets,
    leaves: &'a mut Leaves,
    next: &'a mut Vec<Visit>,
    revisits: &'a mut Vec<Visit>,
}

impl Descent<'_> {
    #[inline]
    fn enter(&mut self, block: Block, count: usize, edge: u32, times: u32) {
        match self.tree.enter(block, count, edge as usize, times) {
            Child::Node(below) => self.next.push(Visit::of(below, times)),
            Child::Fresh => self.open(block, edge, times, Kind::Evaluate),
            Child::Leaf(LeafState::Open) => self.open(block, edge, times, Kind::Expand),
            Child::Pending(slot) => self.tickets.join(slot, times),
            Child::Leaf(LeafState::Terminal | LeafState::Limited) => {
                self.revisits.push(Visit { block, edge, times });
            }
        }
    }

    #[inline]
    fn open(&mut self, block: Block, edge: u32, times: u32, kind: Kind) {
        let slot = self.tickets.open(block, edge, kind, times);
        self.tree.set_child(block, edge, Child::Pending(slot));
        self.leaves.ids.push(self.tickets.id(slot));
        self.leaves.parents.push(self.tree.node(block));
        self.leaves.actions.push(edge);
        self.leaves.depths.push(self.tree.depth(block) + 1);
        self.leaves.wants_candidates.push(kind == Kind::Expand);
    }
}

/// Reads one word of every cache line of every block of the frontier. The loads do not depend on one
/// another, so the memory answers many at once, before the selection waits for each in turn.
#[inline]
fn touch(tree: &Tree, frontier: &[Visit]) {
    let mut seen = 0;
    for visit in frontier {
        let first = visit.block.word();
        let last = first + HEADER * (1 + tree.count(visit.block)) - 1;
        for word in (first..last).step_by(LINE) {
            seen ^= tree.words[word];
        }
        seen ^= tree.words[last];
    }
    std::hint::black_box(seen);
}
