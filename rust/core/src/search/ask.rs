//! Select: simulations go down the tree, level by level.

use super::tickets::{Kind, Ticket, Tickets};
use super::{MAX_IN_FLIGHT, Policy, TreeSearch, invalid};
use crate::Error;
use crate::tree::{Block, Change, Child, LeafState, SHAPE, Tree};

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
    block: Block,
    times: u32,
    edge: u16,
    /// Edges from the root to the block.
    depth: u16,
}

impl Visit {
    /// Of a node, `depth` edges below the root.
    #[inline]
    pub(super) fn of(block: Block, depth: u32, times: u32) -> Self {
        Self {
            block,
            times,
            edge: 0,
            depth: depth as u16,
        }
    }
}

/// Visits that would have met at one leaf beyond the cap: an edge of a block, the block's depth.
pub(super) type Refused = ((Block, u32, u32), u32);

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
    /// Fewer simulations start, perhaps none, where a plan's phase or a beam's level must be told
    /// first, where more than `max_collisions` would meet, and in a deterministic search while any
    /// leaf is open. Tell what is in flight, and ask again.
    ///
    /// O(nodes on the paths).
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: `num_simulations` is 0. `TooManyInFlight`: more than 65,535 would be in
    /// flight. `TreeFull`: the root would have 2^31 visits. `Exhausted`: nothing is left to ask for.
    pub fn ask(&mut self, num_simulations: u32) -> Result<Leaves, Error> {
        self.frontier.clear();
        self.opened.clear();
        self.check_ask(num_simulations)?;
        if self.is_round_open() || (self.is_solved() && self.parked.is_empty()) {
            return Ok(Leaves::default());
        }
        if self.config.policy.is_best_first() {
            self.open_best(num_simulations);
            return Ok(self.finish_ask());
        }
        let resumed = self.resume(num_simulations);
        let started = if self.is_solved() {
            0
        } else {
            (num_simulations - resumed).min(self.planned_room())
        };
        self.in_flight += started;
        if let Policy::Gumbel(_) = self.config.policy {
            self.start_planned(started);
        } else if started > 0 {
            self.frontier.push(Visit::of(Block::ROOT, 0, started));
        }
        Ok(self.finish_ask())
    }

    /// Sends simulations from the root to the candidates of the plan, and on to the frontier.
    fn start_planned(&mut self, times: u32) {
        let mut shares = Vec::new();
        if times > 0 {
            self.share_planned(times, &mut shares);
        }
        let count = self.tree.count(Block::ROOT);
        for (edge, share) in shares {
            let root = Visit::of(Block::ROOT, 0, share);
            self.descent().enter(root, count, edge, share);
        }
        self.frontier.append(&mut self.next);
    }

    /// Whether this search waits for all its open leaves before it asks for more.
    fn is_round_open(&self) -> bool {
        self.config.deterministic && self.tickets.num_open() > 0
    }

    /// Takes the frontier down; returns the leaves that were opened, read out of their tickets.
    fn finish_ask(&mut self) -> Leaves {
        self.descend();
        self.take_back_refused();
        self.askable -= self.opened.len() as u64;
        let leaves = self.leaves();
        Leaves {
            num_completed: self.complete_revisits(),
            ..leaves
        }
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
        let is_node = matches!(self.tree.edge(block, action).child, Child::Node(_));
        if is_node && self.config.policy.is_best_first() {
            let found = format!("{action} of node {node}, which is expanded");
            return Err(invalid(
                "action",
                "one that best-first search can visit",
                found,
            ));
        }
        self.check_room(1)?;
        self.frontier.clear();
        self.opened.clear();
        if self.is_round_open() {
            return Ok(Leaves::default());
        }
        let depth = self.tree.ancestors(block).count() as u32;
        self.send((block, action, depth));
        std::mem::swap(&mut self.frontier, &mut self.next);
        Ok(self.finish_ask())
    }

    /// The leaves that were opened, read out of their tickets.
    fn leaves(&self) -> Leaves {
        let tickets = || self.opened.iter().map(|&slot| self.tickets.get(slot));
        let ids = self.opened.iter().map(|&slot| self.tickets.id(slot));
        Leaves {
            ids: ids.collect(),
            parents: tickets().map(|it| self.tree.node(it.place().0)).collect(),
            actions: tickets().map(|it| it.place().1).collect(),
            depths: tickets().map(|it| it.place().2 + 1).collect(),
            multiplicities: tickets().map(Ticket::visits).collect(),
            wants_candidates: tickets().map(|it| it.kind == Kind::Expand).collect(),
            num_completed: 0,
        }
    }

    fn check_ask(&self, num_simulations: u32) -> Result<(), Error> {
        if num_simulations == 0 {
            return Err(invalid("num_simulations", "at least 1", 0));
        }
        if self.in_flight == 0 && self.is_finished() {
            return Err(Error::Exhausted {
                num_simulations: self.completed,
            });
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
                self.frontier
                    .push(Visit::of(parked.block, parked.depth, times));
            }
            left -= times;
            parked.visits -= times;
            parked.visits > 0
        });
        most - left
    }

    /// Takes the frontier down until every simulation has met a leaf.
    fn descend(&mut self) {
        let rule = self.rule();
        while !self.frontier.is_empty() {
            touch(&self.tree, &self.frontier);
            let mut frontier = std::mem::take(&mut self.frontier);
            let mut selector = std::mem::take(&mut self.selector);
            let mut descent = self.descent();
            for visit in frontier.drain(..) {
                let block = visit.block;
                let count = descent.tree.count(block);
                for &(edge, times) in selector.split(descent.tree, block, &rule, visit.times) {
                    descent.enter(visit, count, edge, times);
                }
            }
            self.selector = selector;
            self.frontier = std::mem::replace(&mut self.next, frontier);
        }
    }

    #[inline]
    pub(super) fn descent(&mut self) -> Descent<'_> {
        Descent {
            tree: &mut self.tree,
            tickets: &mut self.tickets,
            opened: &mut self.opened,
            next: &mut self.next,
            revisits: &mut self.revisits,
            refused: &mut self.refused,
            most: self
                .config
                .max_collisions
                .map_or(u32::MAX, |most| most.saturating_add(1)),
        }
    }

    /// Takes visits back: those beyond the cap of collisions, and those of leaves that failed.
    pub(super) fn take_back_refused(&mut self) {
        if self.refused.is_empty() {
            return;
        }
        for (place, times) in self.refused.drain(..) {
            self.ascent
                .start(&mut self.tree, Change::Undo, place, (times, 0.0));
            self.in_flight -= times;
        }
        self.ascent.finish(&mut self.tree, Change::Undo);
    }

    /// Backs up the revisits of leaves that nothing follows, each with its leaf's value.
    fn complete_revisits(&mut self) -> u32 {
        let change = self.change();
        let mut completed = 0;
        let mut revisits = std::mem::take(&mut self.revisits);
        for visit in revisits.drain(..) {
            let (block, edge) = (visit.block, u32::from(visit.edge));
            let value = match self.tree.edge(block, edge).child {
                Child::Merged(with) => self.value_of(with),
                _ => self.tree.value(block, edge),
            };
            let load = change.load(visit.times, value);
            let place = (block, edge, visit.depth.into());
            self.ascent.start(&mut self.tree, change, place, load);
            self.tree.set_value(block, edge, value);
            completed += visit.times;
        }
        self.revisits = revisits;
        self.ascent.finish(&mut self.tree, change);
        self.completed += u64::from(completed);
        self.in_flight -= completed;
        completed
    }
}

/// What one level of a descent reads and writes.
pub(super) struct Descent<'a> {
    tree: &'a mut Tree,
    tickets: &'a mut Tickets,
    opened: &'a mut Vec<u32>,
    next: &'a mut Vec<Visit>,
    revisits: &'a mut Vec<Visit>,
    refused: &'a mut Vec<Refused>,
    /// Simulations that may wait for one leaf.
    most: u32,
}

impl Descent<'_> {
    /// Takes `times` of the visits of a node with `count` edges to one of them.
    #[inline(always)]
    #[allow(clippy::inline_always)] // the innermost loop of a descent; measured
    pub(super) fn enter(&mut self, node: Visit, count: usize, edge: u32, times: u32) {
        let place = (node.block, edge, u32::from(node.depth));
        match self.tree.enter(node.block, count, edge as usize, times) {
            Child::Node(below) => self.next.push(Visit::of(below, place.2 + 1, times)),
            Child::Fresh => self.open(place, times, Kind::Evaluate),
            Child::Leaf(LeafState::Open) => self.open(place, times, Kind::Expand),
            Child::Pending(slot) => self.join(slot, place, times),
            Child::Leaf(LeafState::Terminal | LeafState::Limited) | Child::Merged(_) => {
                self.revisits.push(Visit {
                    edge: edge as u16,
                    times,
                    ..node
                });
            }
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    fn open(&mut self, place: (Block, u32, u32), times: u32, kind: Kind) {
        let waiting = times.min(self.most);
        if waiting < times {
            self.refused.push((place, times - waiting));
        }
        let slot = self.tickets.open(place, kind, waiting);
        let (block, edge, _) = place;
        self.tree.set_child(block, edge, Child::Pending(slot));
        self.opened.push(slot);
    }

    /// Has simulations wait for a leaf that is open already.
    fn join(&mut self, slot: u32, place: (Block, u32, u32), times: u32) {
        let room = self.most.saturating_sub(self.tickets.get(slot).visits());
        let joining = times.min(room);
        self.tickets.join(slot, joining);
        if joining < times {
            self.refused.push((place, times - joining));
        }
    }
}

/// Reads one word of every cache line of every block of the frontier. The loads do not depend on one
/// another, so the memory answers many at once, before the selection waits for each in turn. The
/// first pass needs no word of a block to know what to read; it covers blocks of up to 7 edges.
#[inline]
fn touch(tree: &Tree, frontier: &[Visit]) {
    let mut seen = 0;
    for visit in frontier {
        let first = visit.block.word();
        seen ^= tree.words[first + SHAPE] ^ tree.words[first + LINE];
    }
    for visit in frontier {
        let first = visit.block.word();
        let length = Tree::length(tree.count(visit.block));
        for word in (first + 2 * LINE..first + length).step_by(LINE) {
            seen ^= tree.words[word];
        }
        seen ^= tree.words[first + length - 1];
    }
    std::hint::black_box(seen);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Candidates, Config};

    #[test]
    fn ask_beyond_the_greatest_count_is_an_error() {
        let root = Candidates {
            count: 1,
            ..Candidates::default()
        };
        let mut search = TreeSearch::new(Config::default(), root).unwrap();
        search.completed = MAX_VISITS - 2;

        let full = Error::TreeFull {
            num_simulations: MAX_VISITS - 2,
            nbytes: search.nbytes(),
        };

        assert_eq!(search.ask(2), Err(full));
        assert!(search.ask(1).is_ok());
    }
}
