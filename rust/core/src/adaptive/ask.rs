//! Select: simulations go down the tree, level by level.

use super::choose::{Settings, Way};
use super::{AdaptiveSearch, MAX_IN_FLIGHT, MAX_VISITS, ROOT, Ticket};
use crate::Error;

/// Children to be generated and valued, in columns of n rows, in the order of their parents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves {
    /// `[n]`, by which a leaf is told or failed; below 2^63.
    pub ids: Vec<u64>,
    /// `[n]`, the node that is to get one more child.
    pub parents: Vec<u32>,
    /// `[n]`, steps from the root to that child, from 1.
    pub depths: Vec<u32>,
    /// `[n]`, simulations that wait for it so far, from 1; a later ask may add to them.
    pub multiplicities: Vec<u32>,
}

impl AdaptiveSearch {
    /// Sends `num_simulations` simulations down the tree and returns the children they ask for.
    ///
    /// Each is as many descents one after another would give. A simulation that meets a node which
    /// may not have another child now, and has none to enter, waits for one of those that were asked
    /// for before, in turn: so there may be fewer rows than simulations. Subtrees in which nothing
    /// can be generated any more are not entered.
    ///
    /// O(children of the nodes on the paths), for each simulation.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: `num_simulations` is 0. `TooManyInFlight`: more than 65,535 would be in
    /// flight. `TreeFull`: the nodes asked for could take more than `max_nbytes`, or the root would
    /// have 2^31 visits. `Exhausted`: nothing can be generated anywhere. Nothing is started then.
    pub fn ask(&mut self, num_simulations: u32) -> Result<Leaves, Error> {
        self.check_ask(num_simulations)?;
        let settings = self.settings();
        self.opened.clear();
        self.frontier.clear();
        self.frontier.push((ROOT, num_simulations));
        while !self.frontier.is_empty() {
            let frontier = std::mem::take(&mut self.frontier);
            for &(node, times) in &frontier {
                self.visit(&settings, node, times);
            }
            self.frontier = frontier;
            self.frontier.clear();
            std::mem::swap(&mut self.frontier, &mut self.next);
        }
        self.opened
            .sort_by_key(|&slot| self.tickets.get(slot).parent);
        self.tickets.enumerate(&self.opened);
        Ok(self.leaves())
    }

    /// Takes `times` simulations through one node, one after another.
    fn visit(&mut self, settings: &Settings, node: u32, times: u32) {
        self.chooser.begin();
        for _ in 0..times {
            match self.chooser.choose(&self.arena, settings, node) {
                Way::Generate => {
                    let slot = self.tickets.open(&mut self.arena, node);
                    self.opened.push(slot);
                }
                Way::Wait => self.tickets.join(&mut self.arena, node),
                Way::Enter(child) => self.chooser.enter(settings, child),
            }
            self.arena.get_mut(node).in_flight += 1;
        }
        let children = self.chooser.children.iter();
        let shares = children.filter(|child| child.entered > 0);
        self.next
            .extend(shares.map(|child| (child.node, child.entered)));
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            policy: self.config.policy,
            scale: self.scale(),
            origin: self.origin(),
            seed: self.config.seed,
            max_depth: self.config.max_depth,
        }
    }

    /// The leaves that were opened, read out of their tickets.
    fn leaves(&self) -> Leaves {
        let tickets = || self.opened.iter().map(|&slot| self.tickets.get(slot));
        let depth = |it: &Ticket| u32::from(self.arena.get(it.parent).depth) + 1;
        Leaves {
            ids: self
                .opened
                .iter()
                .map(|&slot| self.tickets.id(slot))
                .collect(),
            parents: tickets().map(|it| it.parent).collect(),
            depths: tickets().map(depth).collect(),
            multiplicities: tickets().map(|it| it.visits.into()).collect(),
        }
    }

    fn check_ask(&self, asked: u32) -> Result<(), Error> {
        if asked == 0 {
            return Err(Error::invalid("num_simulations", "at least 1", "0"));
        }
        let root = self.arena.get(ROOT);
        let in_flight = u32::from(root.in_flight);
        if asked > MAX_IN_FLIGHT - in_flight {
            return Err(Error::TooManyInFlight {
                asked,
                in_flight,
                limit: MAX_IN_FLIGHT,
            });
        }
        if root.is_closed() {
            return Err(Error::Exhausted {
                num_simulations: self.num_simulations(),
            });
        }
        let nodes = self.arena.len() + self.tickets.num_open() + asked as usize;
        let visits = u64::from(root.all_visits()) + u64::from(asked);
        if nodes > self.max_nodes(asked as usize) || visits >= MAX_VISITS {
            return Err(Error::TreeFull {
                num_simulations: self.num_simulations(),
                nbytes: self.nbytes(),
            });
        }
        Ok(())
    }
}
