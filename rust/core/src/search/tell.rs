//! Evaluate, expand, backup: what callers found out about leaves goes into the tree.

use std::collections::HashMap;

use super::held::OwnedTold;
use super::tickets::{Kind, Ticket};
use super::told::{Row, Told, ValueRange};
use super::{Backup, Held, Parked, Policy, TreeSearch};
use crate::Error;
use crate::tree::{Block, Change, Child, LeafState, Tree};

impl TreeSearch {
    /// Tells what became of open leaves: any of them, in any order. Returns for each row the node
    /// that its candidates made, or `None`.
    ///
    /// A leaf's value counts once for each simulation that waits for it. Candidates are not kept of a
    /// leaf at the depth limit, nor where the memory is spent. A leaf with the key of a node is merged
    /// with it: it has that node's value, now and whenever it is visited again, and asks for nothing.
    /// Nothing happens for leaves that `advance` has discarded. O(rows + edges above them).
    ///
    /// A deterministic search returns no node before the last open leaf is told; then
    /// [`Self::settled`] has those of the calls before.
    ///
    /// # Errors
    ///
    /// `UnknownLeaf`, `FinishedLeaf`: an id is not that of an open leaf. `InvalidRow`: a row is
    /// outside of its range, or an id comes twice. `InvalidArgument`: columns differ in length.
    /// `TreeFull`. Nothing is applied then, so the row can be mended and all be told again.
    pub fn tell(&mut self, told: Told<'_>) -> Result<Vec<Option<u32>>, Error> {
        self.check_told(&told)?;
        if self.config.deterministic {
            return Ok(self.hold(&told));
        }
        let channels = self.config.channels;
        if self.tree.rows.width() > 0 {
            self.note(told.rows(channels));
        }
        Ok(self.apply(told.rows(channels)))
    }

    #[inline]
    fn apply<'a>(
        &mut self,
        rows: impl ExactSizeIterator<Item = (u64, Row<'a>)>,
    ) -> Vec<Option<u32>> {
        let change = self.change();
        let mut nodes = Vec::with_capacity(rows.len());
        for (id, row) in rows {
            let ticket = self.tickets.close(id);
            nodes.push(self.apply_row(&ticket, &row, change));
        }
        self.ascent.finish(&mut self.tree, change);
        self.take_back_refused();
        self.prove();
        nodes
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // one call, in the innermost loop of a tell; measured
    fn apply_row(&mut self, ticket: &Ticket, row: &Row<'_>, change: Change) -> Option<u32> {
        if ticket.is_discarded() {
            return None;
        }
        if let Some(with) = self.node_with(row.key()) {
            self.merge(ticket, (with, change));
            return None;
        }
        match ticket.kind {
            Kind::Evaluate => self.evaluate(ticket, row, change),
            Kind::Expand => self.unpark(ticket, row, change),
        }
    }

    /// Keeps beside the tree what leaves were told. A leaf that is merged was told what the edge to
    /// its state was told, or its own row where that state is the root's.
    fn note<'a>(&mut self, rows: impl Iterator<Item = (u64, Row<'a>)>) {
        for (id, row) in rows {
            let ticket = *self.tickets.get(id as u32);
            if ticket.is_discarded() || ticket.kind == Kind::Expand {
                continue;
            }
            let (block, edge, _) = ticket.place();
            let to = Tree::row(block, self.tree.node(block), edge);
            let with = self.node_with(row.key());
            if let Some((above, edge)) = with.and_then(|with| self.tree.parent(with)) {
                let from = Tree::row(above, self.tree.node(above), edge);
                self.tree.rows.copy_within(from, to);
            } else {
                self.tree.rows.set(to, row.numbers(), row.weights());
            }
        }
    }

    /// Keeps rows until the round is told.
    fn hold(&mut self, told: &Told<'_>) -> Vec<Option<u32>> {
        for &id in told.ids {
            self.tickets.hold(id);
        }
        self.held.push(told);
        let mut settled: HashMap<u64, Option<u32>> = self.settle().into_iter().collect();
        let nodes = told.ids.iter();
        let nodes = nodes.map(|id| settled.remove(id).flatten()).collect();
        let earlier = settled.into_iter();
        let earlier = earlier.filter_map(|(id, node)| Some((id, node?)));
        self.held.settled.extend(earlier);
        self.held.settled.sort_unstable();
        nodes
    }

    /// Applies what is held if no leaf is open; returns the ids and the nodes that they became.
    pub(super) fn settle(&mut self) -> Vec<(u64, Option<u32>)> {
        if self.tickets.num_open() > 0 || self.held.calls.is_empty() {
            return Vec::new();
        }
        let held = Held {
            calls: std::mem::take(&mut self.held.calls),
            ..Held::default()
        };
        let views: Vec<Told<'_>> = held.calls.iter().map(OwnedTold::view).collect();
        let rows = Held::rows(&views, &self.tickets, self.config.channels);
        let (rows, unreadable): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|(id, row)| self.is_readable(*id, row));
        self.reopen(unreadable.iter().map(|&(id, _)| id));
        let ids: Vec<u64> = rows.iter().map(|&(id, _)| id).collect();
        if self.tree.rows.width() > 0 {
            self.note(rows.iter().copied());
        }
        let nodes = self.apply(rows.into_iter());
        if !unreadable.is_empty() {
            self.list_anew();
        }
        ids.into_iter().zip(nodes).collect()
    }

    /// Whether a row that was held back can still be applied. The state that its leaf was to be merged
    /// with may have been freed meanwhile, or other weights hold; such a leaf is failed.
    fn is_readable(&self, id: u64, row: &Row<'_>) -> bool {
        let kind = self.tickets.get(id as u32).kind;
        let checked = row.check(kind, &self.config.channels, self.value_range(row.key()));
        checked.is_ok()
    }

    /// Settles where the last open leaf of a round was not told, but failed or freed.
    pub(super) fn settle_earlier(&mut self) {
        let settled = self.settle().into_iter();
        let nodes = settled.filter_map(|(id, node)| Some((id, node?)));
        self.held.settled.extend(nodes);
    }

    /// The nodes, by the ids of their leaves, that earlier calls of `tell` made when the last call of
    /// their round was applied, in a deterministic search. They are given out once.
    pub fn settled(&mut self) -> Vec<(u64, u32)> {
        std::mem::take(&mut self.held.settled)
    }

    fn check_told(&mut self, told: &Told<'_>) -> Result<(), Error> {
        let channels = self.config.channels;
        told.check_lengths(channels)?;
        self.tickets.begin();
        let (mut words, without_key) = (0, self.value_range(0));
        for (id, row) in told.rows(channels) {
            let ticket = self.tickets.check(id, row.index)?;
            let range = match row.key() {
                0 => without_key,
                key => self.value_range(key),
            };
            row.check(ticket.kind, &channels, range)?;
            words += row.words();
        }
        if self.tree.has_room(words) {
            Ok(())
        } else {
            Err(self.full())
        }
    }

    /// The node that a state is known by.
    #[inline]
    fn node_with(&self, key: u64) -> Option<Block> {
        if key == 0 {
            return None;
        }
        self.keys.get(&key).copied()
    }

    /// What the value of a row with this key may be.
    #[inline]
    fn value_range(&self, key: u64) -> ValueRange {
        let with = self.node_with(key);
        match self.config.backup {
            _ if with.is_some_and(|with| with != Block::ROOT) => ValueRange::Unread,
            Backup::PowerMean { .. } => ValueRange::AtLeastZero,
            _ => ValueRange::Any,
        }
    }

    #[inline]
    fn evaluate(&mut self, ticket: &Ticket, row: &Row<'_>, change: Change) -> Option<u32> {
        let (block, edge, depth) = ticket.place();
        let value = row.scalar(&self.config.channels);
        self.widen(&[value]);
        self.complete(ticket, value, change);
        if row.ends_here() {
            self.end(ticket);
            return None;
        }
        let is_limited = depth + 1 >= self.config.max_depth;
        match row.candidates() {
            Some(candidates) if !is_limited && self.may_keep(candidates.count) => {
                let below = self.expand((block, edge, depth), candidates);
                return Some(self.tree.node(below));
            }
            None if !is_limited => {
                self.tree
                    .set_child(block, edge, Child::Leaf(LeafState::Open));
                self.askable += 1;
                self.list_edge((block, edge, depth));
            }
            _ => self
                .tree
                .set_child(block, edge, Child::Leaf(LeafState::Limited)),
        }
        None
    }

    /// Takes the candidates of a leaf whose simulations are parked.
    fn unpark(&mut self, ticket: &Ticket, row: &Row<'_>, change: Change) -> Option<u32> {
        let (block, edge, depth) = ticket.place();
        let value = self.tree.value(block, edge);
        if row.ends_here() {
            self.end(ticket);
            self.complete_expanded(ticket, value, change);
            return None;
        }
        let candidates = row.candidates().filter(|given| self.may_keep(given.count));
        let Some(candidates) = candidates else {
            self.tree
                .set_child(block, edge, Child::Leaf(LeafState::Limited));
            self.complete_expanded(ticket, value, change);
            return None;
        };
        let below = self.expand((block, edge, depth), candidates);
        if self.config.policy.is_best_first() {
            self.refuse(ticket);
        } else {
            self.parked.push(Parked {
                block: below,
                depth: depth + 1,
                visits: ticket.visits(),
            });
        }
        Some(self.tree.node(below))
    }

    /// Makes a leaf share the value of the node that has its state.
    fn merge(&mut self, ticket: &Ticket, (with, change): (Block, Change)) {
        let (block, edge, _) = ticket.place();
        let value = self.value_of(with);
        self.complete_expanded(ticket, value, change);
        self.tree.set_value(block, edge, value);
        self.tree.set_child(block, edge, Child::Merged(with));
    }

    /// Whether a node with so many edges may still be added; if not, the search has become full.
    fn may_keep(&mut self, count: usize) -> bool {
        let may_keep = self.tree.may_grow(count);
        self.is_full |= !may_keep;
        may_keep
    }

    fn end(&mut self, ticket: &Ticket) {
        let (block, edge, _) = ticket.place();
        self.tree
            .set_child(block, edge, Child::Leaf(LeafState::Terminal));
        self.ended.push(block);
    }

    /// Completes the simulations of a ticket with a value each.
    #[inline]
    fn complete(&mut self, ticket: &Ticket, value: f32, change: Change) {
        let load = change.load(ticket.visits(), value);
        self.ascent
            .start(&mut self.tree, change, ticket.place(), load);
        self.completed += u64::from(ticket.visits());
        self.in_flight -= ticket.visits();
    }

    /// The same for a leaf that may have asked for its candidates. In best-first search that is no
    /// visit, and is taken back.
    fn complete_expanded(&mut self, ticket: &Ticket, value: f32, change: Change) {
        if ticket.kind == Kind::Expand && self.config.policy.is_best_first() {
            self.refuse(ticket);
        } else {
            self.complete(ticket, value, change);
        }
    }

    /// Has the simulations of a ticket taken back once the ascent is through.
    fn refuse(&mut self, ticket: &Ticket) {
        self.refused.push((ticket.place(), ticket.visits()));
    }

    /// Takes simulations back: all counts are as if these leaves had never been asked for.
    ///
    /// # Errors
    ///
    /// `UnknownLeaf`, `FinishedLeaf`: an id is not that of an open leaf. `InvalidRow`: an id comes
    /// twice. Nothing is applied then.
    pub fn fail(&mut self, ids: &[u64]) -> Result<(), Error> {
        self.tickets.begin();
        for (row, &id) in ids.iter().enumerate() {
            self.tickets.check(id, row)?;
        }
        self.reopen(ids.iter().copied());
        self.take_back_refused();
        if let Policy::Beam { .. } = self.config.policy {
            self.list_anew(); // a level that was full has room again
        }
        self.settle_earlier();
        Ok(())
    }

    /// Makes leaves as if they had never been asked for, but for their simulations: these are taken
    /// back with the refused ones.
    fn reopen(&mut self, ids: impl Iterator<Item = u64>) {
        for id in ids {
            let ticket = self.tickets.close(id);
            if ticket.is_discarded() {
                continue;
            }
            let (block, edge, depth) = ticket.place();
            let child = match ticket.kind {
                Kind::Evaluate => Child::Fresh,
                Kind::Expand => Child::Leaf(LeafState::Open),
            };
            self.tree.set_child(block, edge, child);
            self.askable += 1;
            self.refuse(&ticket);
            if ticket.kind == Kind::Evaluate && self.config.policy.is_best_first() {
                self.count_visit(depth, true);
            }
            self.list_edge((block, edge, depth));
        }
    }

    pub(super) fn full(&self) -> Error {
        Error::TreeFull {
            num_simulations: self.completed,
            nbytes: self.nbytes(),
        }
    }
}
