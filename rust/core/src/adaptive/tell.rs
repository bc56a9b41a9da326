//! Expand and backup: children come in with their values, or simulations are taken back.

use super::{AdaptiveSearch, Ticket};
use crate::Error;

/// What is told of n leaves, in columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// `[n]`, as `ask` gave them, without repeats, in any order.
    pub ids: &'a [u64],
    /// `[n]`, the new children's values in the scorer's scale, finite, at most 1e38 in magnitude; not
    /// read where exhausted. With a Beta prior within [0, 1] or the range of `normalize`.
    pub values: &'a [f32],
    /// `[n]`, whether nothing can follow the new child; nowhere where absent.
    pub terminal: Option<&'a [bool]>,
    /// `[n]`, whether there is no new child, because nobody has another candidate for this parent;
    /// nowhere where absent.
    pub exhausted: Option<&'a [bool]>,
}

impl Told<'_> {
    fn is_terminal(&self, row: usize) -> bool {
        self.terminal.is_some_and(|column| column[row])
    }

    fn is_exhausted(&self, row: usize) -> bool {
        self.exhausted.is_some_and(|column| column[row])
    }

    fn check_lengths(&self) -> Result<(), Error> {
        let lengths = [
            ("values", Some(self.values.len())),
            ("terminal", self.terminal.map(<[bool]>::len)),
            ("exhausted", self.exhausted.map(<[bool]>::len)),
        ];
        let rows = self.ids.len();
        for (name, length) in lengths {
            if let Some(length) = length
                && length != rows
            {
                let found = format!("{length} for {rows}");
                return Err(Error::invalid(name, "one for each id", found));
            }
        }
        Ok(())
    }
}

impl AdaptiveSearch {
    /// Tells what became of open leaves: any of them, in any order. Returns for each row the node it
    /// made, or `None`.
    ///
    /// A value counts once for each simulation that waits for its leaf. Where a row is exhausted, its
    /// simulations are taken back and its parent is never asked for a child again. Nothing happens
    /// for leaves that `advance` has discarded.
    ///
    /// The rows of one call are applied in the order in which they were asked for, so their own order
    /// does not matter. In separate calls nodes get their ids, and sums their rounding, in the order
    /// of the calls. O(rows * depth).
    ///
    /// # Errors
    ///
    /// `UnknownLeaf`, `FinishedLeaf`: an id is not that of an open leaf. `InvalidRow`: a row is
    /// outside of its range, or an id comes twice. `InvalidArgument`: columns differ in length.
    /// Nothing is applied then, so the row can be mended and all be told again.
    pub fn tell(&mut self, told: Told<'_>) -> Result<Vec<Option<u32>>, Error> {
        self.check_told(&told)?;
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_unstable();
        let mut made = vec![None; rows.len()];
        for &(_, row) in &rows {
            let ticket = self.tickets.close(&mut self.arena, told.ids[row]);
            if ticket.is_discarded() {
                continue;
            }
            self.arena.land(ticket.parent, ticket.visits);
            if told.is_exhausted(row) {
                self.arena.get_mut(ticket.parent).set_exhausted();
            } else {
                let value = told.values[row];
                made[row] = Some(self.grow(&ticket, value, told.is_terminal(row)));
            }
            self.arena.settle(ticket.parent, self.config.max_depth);
        }
        self.rows = rows;
        Ok(made)
    }

    /// Adds the child that a ticket asked for.
    fn grow(&mut self, ticket: &Ticket, value: f32, is_terminal: bool) -> u32 {
        self.see(value);
        let most = self.max_nodes(0);
        let child = self.arena.add(ticket.parent, value, most);
        let distance = f64::from(value) - self.origin();
        self.arena.observe(child, ticket.visits, distance);
        if is_terminal {
            self.arena.get_mut(child).set_terminal();
        }
        self.arena.settle(child, self.config.max_depth);
        child
    }

    /// Checks every row, and notes for each when it was asked for.
    fn check_told(&mut self, told: &Told<'_>) -> Result<(), Error> {
        told.check_lengths()?;
        self.tickets.begin();
        self.rows.clear();
        let (low, high) = self.value_range();
        for (row, &id) in told.ids.iter().enumerate() {
            let ticket = self.tickets.check(id, row)?;
            self.rows.push((ticket.order, row));
            let fail = |name, expected, found: String| {
                Err(Error::InvalidRow {
                    row,
                    name,
                    expected,
                    found,
                })
            };
            if told.is_exhausted(row) {
                if told.is_terminal(row) {
                    return fail("terminal", "false where exhausted", "true".into());
                }
                continue;
            }
            if !(low..=high).contains(&told.values[row]) {
                let expected = self.value_range_text();
                return fail("values", expected, told.values[row].to_string());
            }
        }
        Ok(())
    }

    /// Takes simulations back: all counts are as if these leaves had never been asked for, and the
    /// next ask draws the same numbers again. O(rows * depth).
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
        for &id in ids {
            let ticket = self.tickets.close(&mut self.arena, id);
            if !ticket.is_discarded() {
                self.arena.land(ticket.parent, ticket.visits);
                self.arena.settle(ticket.parent, self.config.max_depth);
            }
        }
        Ok(())
    }
}
