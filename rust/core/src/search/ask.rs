//! Select: simulations go down the tree, level by level.

use super::tickets::{Kind, Ticket, Tickets};
use super::{MAX_IN_FLIGHT, TreeSearch, invalid};
use crate::Error;
use crate::tree::{Block, Child, LeafState, SHAPE, Tree};

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
    fn of(block: Block, depth: u32, times: u32) -> Self {
        Self {
            block,
            times,
            edge: 0,
            depth: depth as u16,
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
        self.opened.clear();
        self.check_ask(num_simulations)?;
        let started = num_simulations - self.resume(num_simulations);
        if started > 0 {
            self.frontier.push(Visit::of(Block::ROOT, 0, started));
            self.in_flight += started;
        }
        Ok(self.finish_ask())
    }

    /// Takes the frontier down; returns the leaves that were opened, read out of their tickets.
    fn finish_ask(&mut self) -> Leaves {
        self.descend();
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
        self.check_room(1)?;
        self.in_flight += 1;
        let (mut below, mut depth) = (block, 0);
        while let Some((above, edge)) = self.tree.parent(below) {
            let count = self.tree.count(above);
            self.tree.enter(above, count, edge as usize, 1);
            below = above;
            depth += 1;
        }
        self.frontier.clear();
        self.opened.clear();
        let mut descent = Descent {
            tree: &mut self.tree,
            tickets: &mut self.tickets,
            opened: &mut self.opened,
            next: &mut self.frontier,
            revisits: &mut self.revisits,
        };
        descent.enter(Visit::of(block, depth, 1), count, action, 1);
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
            let mut descent = Descent {
                tree: &mut self.tree,
                tickets: &mut self.tickets,
                opened: &mut self.opened,
                next: &mut self.next,
                revisits: &mut self.revisits,
            };
            for visit in self.frontier.drain(..) {
                let block = visit.block;
                let count = descent.tree.count(block);
                for &(edge, times) in self.selector.split(descent.tree, block, rule, visit.times) {
                    descent.enter(visit, count, edge, times);
                }
            }
            std::mem::swap(&mut self.frontier, &mut self.next);
        }
    }

    /// Backs up the revisits of leaves that nothing follows, each with its leaf's value.
    fn complete_revisits(&mut self) -> u32 {
        let change = self.change();
        let mut completed = 0;
        for visit in self.revisits.drain(..) {
            let place = (visit.block, visit.edge.into(), visit.depth.into());
            let value = self.tree.value(visit.block, visit.edge.into());
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
    opened: &'a mut Vec<u32>,
    next: &'a mut Vec<Visit>,
    revisits: &'a mut Vec<Visit>,
}

impl Descent<'_> {
    /// Takes `times` of the visits of a node with `count` edges to one of them.
    #[inline]
    fn enter(&mut self, node: Visit, count: usize, edge: u32, times: u32) {
        let place = (node.block, edge, u32::from(node.depth));
        match self.tree.enter(node.block, count, edge as usize, times) {
            Child::Node(below) => self.next.push(Visit::of(below, place.2 + 1, times)),
            Child::Fresh => self.open(place, times, Kind::Evaluate),
            Child::Leaf(LeafState::Open) => self.open(place, times, Kind::Expand),
            Child::Pending(slot) => self.tickets.join(slot, times),
            Child::Leaf(LeafState::Terminal | LeafState::Limited) => self.revisits.push(Visit {
                edge: edge as u16,
                times,
                ..node
            }),
        }
    }

    #[inline]
    fn open(&mut self, place: (Block, u32, u32), times: u32, kind: Kind) {
        let slot = self.tickets.open(place, kind, times);
        let (block, edge, _) = place;
        self.tree.set_child(block, edge, Child::Pending(slot));
        self.opened.push(slot);
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
