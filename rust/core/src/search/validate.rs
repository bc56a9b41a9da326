//! Whether the parts of a loaded search agree: after this nothing in it can surprise the rest.

use std::collections::HashSet;

use super::load::corrupt;
use super::tickets::Kind;
use super::told::Told;
use super::{Backup, MAX_IN_FLIGHT, Policy, TreeSearch, is_value};
use crate::Error;
use crate::select::is_solved;
use crate::tree::{Block, Child, Edge, Tree};

/// The most visits that a root can have.
const MAX_VISITS: u64 = i32::MAX as u64;

/// Where each block of a loaded tree lies, and how deep.
struct Map {
    blocks: Vec<Block>,
    /// `[num_nodes]`, edges from the root.
    depths: Vec<u32>,
    /// `[num_nodes]`, simulations parked there.
    parked: Vec<u32>,
}

impl Map {
    /// The id of the node at an address, if one lies there.
    fn node(&self, block: Block) -> Option<usize> {
        let found = self
            .blocks
            .binary_search_by_key(&block.word(), |block| block.word());
        found.ok()
    }
}

fn ensure(is_fine: bool, expected: &'static str, node: usize) -> Result<(), Error> {
    if is_fine {
        Ok(())
    } else {
        Err(corrupt(expected, format!("something else at node {node}")))
    }
}

impl TreeSearch {
    pub(super) fn validate(&mut self) -> Result<(), Error> {
        let map = self.map()?;
        ensure(self.tree.rows_fit(), "one row for each edge", 0)?;
        for node in 0..map.blocks.len() {
            self.validate_node(&map, node)?;
        }
        self.validate_counts(&map)?;
        self.validate_tickets(&map)?;
        for (&key, &block) in &self.keys {
            let is_fine = key != 0 && map.node(block).is_some();
            ensure(is_fine, "keys of nodes", block.word())?;
        }
        self.validate_plan()?;
        self.validate_held()
    }

    /// Links, depths and parked simulations.
    fn map(&self) -> Result<Map, Error> {
        let blocks: Vec<Block> = self.tree.blocks().collect();
        let mut map = Map {
            depths: Vec::with_capacity(blocks.len()),
            parked: vec![0; blocks.len()],
            blocks,
        };
        for (node, &block) in map.blocks.iter().enumerate() {
            let depth = match self.tree.parent(block) {
                None if node == 0 => Some(0),
                Some((above, edge)) => map
                    .node(above)
                    .filter(|&above| above < node)
                    .filter(|_| (edge as usize) < self.tree.count(above))
                    .filter(|_| self.tree.edge(above, edge).child == Child::Node(block))
                    .map(|above| map.depths[above] + 1),
                None => None,
            };
            let depth = depth.filter(|&depth| depth < self.config.max_depth);
            ensure(
                depth.is_some(),
                "a node below an edge that leads there",
                node,
            )?;
            map.depths.push(depth.unwrap_or(0));
        }
        for parked in &self.parked {
            let node = map.node(parked.block);
            let node = node.filter(|&node| map.depths[node] == parked.depth);
            let node = node.filter(|_| (1..=MAX_IN_FLIGHT).contains(&parked.visits));
            let Some(node) = node else {
                return Err(corrupt("parked simulations at a node", "others"));
            };
            map.parked[node] = map.parked[node].saturating_add(parked.visits);
        }
        Ok(map)
    }

    fn validate_node(&self, map: &Map, node: usize) -> Result<(), Error> {
        let block = map.blocks[node];
        for index in 0..self.tree.count(block) as u32 {
            let edge = self.tree.edge(block, index);
            let is_fine = edge.in_flight <= edge.visits
                && u64::from(edge.visits) < MAX_VISITS
                && is_value(edge.value);
            ensure(is_fine, "visits and values in range", node)?;
            ensure(
                self.is_told_well(Tree::row(block, node as u32, index), &edge),
                "rows in range, for visited edges",
                node,
            )?;
            ensure(
                self.is_linked_well(map, (block, index), &edge),
                "edges whose visits are those below",
                node,
            )?;
        }
        let mut edges = self.tree.edges(block);
        let mut is_known = || self.config.solve && edges.all(|edge| is_solved(&self.tree, &edge));
        let is_fine = !self.tree.is_solved(block) || is_known();
        ensure(is_fine, "solved nodes with solved edges", node)
    }

    fn is_told_well(&self, row: usize, edge: &Edge) -> bool {
        let rows = &self.tree.rows;
        let least = match self.config.backup {
            Backup::PowerMean { .. } => 0.0,
            _ => f32::NEG_INFINITY,
        };
        let is_visited = edge.done() > 0;
        if is_visited && edge.value < least {
            return false;
        }
        if rows.width() == 0 {
            return true;
        }
        let value = rows.scalar(row);
        let is_fine = rows.row(row).iter().all(|&number| is_value(number)) && is_value(value);
        if is_visited {
            is_fine && value >= least
        } else {
            is_fine || rows.row(row).iter().all(|number| number.is_nan())
        }
    }

    fn is_linked_well(&self, map: &Map, place: (Block, u32), edge: &Edge) -> bool {
        let done = edge.done();
        match edge.child {
            Child::Fresh => edge.visits == 0,
            Child::Leaf(_) => edge.in_flight == 0 && done > 0,
            Child::Merged(with) => edge.in_flight == 0 && done > 0 && map.node(with).is_some(),
            Child::Pending(slot) => self.tickets.open_at(slot).is_some_and(|ticket| {
                let (block, index, _) = ticket.place();
                let is_evaluated = ticket.kind == Kind::Expand;
                (block, index) == place
                    && ticket.visits() == edge.in_flight
                    && is_evaluated == (done > 0)
            }),
            Child::Node(below) => {
                let Some(node) = map.node(below) else {
                    return false;
                };
                let (mut deeper, mut in_flight) = (0, u64::from(map.parked[node]));
                for edge in self.tree.edges(below) {
                    deeper += u64::from(edge.visits.saturating_sub(edge.in_flight));
                    in_flight += u64::from(edge.in_flight);
                }
                self.tree.parent(below) == Some(place)
                    && done > 0
                    && deeper <= u64::from(done)
                    && in_flight == u64::from(edge.in_flight)
            }
        }
    }

    /// The root's counts, which also say what is in flight.
    fn validate_counts(&mut self, map: &Map) -> Result<(), Error> {
        let (mut completed, mut in_flight) = (0, u64::from(map.parked[0]));
        for edge in self.tree.edges(Block::ROOT) {
            completed += u64::from(edge.done());
            in_flight += u64::from(edge.in_flight);
        }
        let is_fine = completed == self.completed
            && in_flight <= u64::from(MAX_IN_FLIGHT)
            && completed + in_flight < MAX_VISITS;
        ensure(is_fine, "simulations that the root counts", 0)?;
        self.in_flight = in_flight as u32;
        let is_empty = self.least == f32::INFINITY && self.greatest == f32::NEG_INFINITY;
        let is_range =
            is_value(self.least) && is_value(self.greatest) && self.least <= self.greatest;
        ensure(is_empty || is_range, "a range of values", 0)
    }

    fn validate_tickets(&self, map: &Map) -> Result<(), Error> {
        for slot in self.tickets.slots() {
            let Some(ticket) = self.tickets.open_at(slot) else {
                continue;
            };
            let (block, edge, depth) = ticket.place();
            let is_fine = map.node(block).is_some_and(|node| {
                map.depths[node] == depth
                    && (edge as usize) < self.tree.count(block)
                    && self.tree.edge(block, edge).child == Child::Pending(slot)
            });
            ensure(is_fine, "open leaves that wait at an edge", block.word())?;
        }
        Ok(())
    }

    fn validate_plan(&self) -> Result<(), Error> {
        let plan = &self.schedule;
        let count = self.tree.count(Block::ROOT);
        let distinct: HashSet<&u32> = plan.considered.iter().collect();
        let is_fine = if let Policy::Gumbel(_) = self.config.policy {
            plan.noise.len() == count
                && plan.noise.iter().all(|&noise| is_value(noise))
                && plan.before.len() == count
                && plan.considered.iter().all(|&edge| (edge as usize) < count)
                && distinct.len() == plan.considered.len()
                && (1..=32).contains(&plan.phases)
                && plan.num_simulations > 0
        } else {
            plan.noise.is_empty() && plan.before.is_empty() && plan.considered.is_empty()
        };
        ensure(is_fine, "a plan for the root's candidates", 0)
    }

    /// What the rows say is checked when they are applied.
    fn validate_held(&self) -> Result<(), Error> {
        let is_fine = self.config.deterministic || self.held.calls.is_empty();
        ensure(is_fine, "held rows in a deterministic search only", 0)?;
        let channels = self.config.channels;
        let mut seen = HashSet::new();
        for call in &self.held.calls {
            let told: Told<'_> = call.view();
            let wrong = |error: Error| corrupt("held rows in range", error.to_string());
            told.check_lengths(channels).map_err(wrong)?;
            for &id in told.ids.iter().filter(|&&id| self.tickets.is_held(id)) {
                ensure(seen.insert(id), "held leaves without repeats", 0)?;
            }
        }
        let is_fine = seen.len() == self.tickets.num_held();
        ensure(is_fine, "a row for each held leaf", 0)?;
        let settled = self.held.settled.iter();
        let is_fine = settled
            .clone()
            .all(|&(_, node)| node < self.tree.num_nodes());
        ensure(is_fine, "settled leaves that are nodes", 0)
    }
}
