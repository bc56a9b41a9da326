//! Evaluate, expand, backup: what callers found out about leaves goes into the tree.

use super::tickets::{Kind, Ticket};
use super::{Candidates, Parked, TreeSearch, VALUE_RANGE, check_length, is_value};
use crate::Error;
use crate::tree::{Change, Child, LeafState, MAX_EDGES, Tree};

/// What is told of n leaves, in columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// `[n]`, as `ask` gave them, without repeats, in any order.
    pub ids: &'a [u64],
    /// `[n]`, finite, at most 1e38 in magnitude; not read where a leaf wants its candidates only.
    pub values: &'a [f32],
    /// `[n]`, whether the episode ends at the leaf; nowhere where absent.
    pub terminal: Option<&'a [bool]>,
    /// The leaves' candidates, as far as they are known.
    pub candidates: CandidateColumns<'a>,
}

/// The candidates of n leaves, ragged: counts, and columns with the candidates of all leaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct CandidateColumns<'a> {
    /// `[n]`, -1 where they are not known; 0 makes the leaf terminal. Unknown everywhere where absent.
    pub counts: Option<&'a [i32]>,
    /// `[sum of the counts]`, see [`Candidates::priors`].
    pub priors: Option<&'a [f32]>,
    /// `[sum of the counts]`, see [`Candidates::first_values`].
    pub first_values: Option<&'a [f32]>,
}

/// One row of what is told.
#[derive(Clone, Copy)]
struct Row<'a> {
    index: usize,
    value: f32,
    is_terminal: bool,
    candidates: Option<Candidates<'a>>,
}

impl<'a> Told<'a> {
    fn check_lengths(&self) -> Result<(), Error> {
        let rows = self.ids.len();
        check_length("values", "one for each id", Some(self.values), rows)?;
        check_length("terminal", "one for each id", self.terminal, rows)?;
        let columns = self.candidates;
        check_length("candidates", "one for each id", columns.counts, rows)?;
        let counts = columns.counts.unwrap_or_default().iter();
        let total = counts.map(|&count| count.max(0) as usize).sum();
        check_length("priors", "one for each candidate", columns.priors, total)?;
        check_length(
            "first_values",
            "one for each candidate",
            columns.first_values,
            total,
        )
    }

    /// Row `index`; `end` is where the candidates of the rows before it end, and moves on. The
    /// lengths have been checked.
    #[inline]
    fn row(&self, index: usize, end: &mut usize) -> Row<'a> {
        let count = self.candidates.counts.map_or(-1, |counts| counts[index]);
        let start = *end;
        *end += count.max(0) as usize;
        let part = |column: Option<&'a [f32]>| column.map(|column| &column[start..*end]);
        Row {
            index,
            value: self.values[index],
            is_terminal: self.terminal.is_some_and(|terminal| terminal[index]),
            candidates: (count >= 0).then(|| Candidates {
                count: count as usize,
                priors: part(self.candidates.priors),
                first_values: part(self.candidates.first_values),
            }),
        }
    }
}

impl Row<'_> {
    #[inline]
    fn check(&self, kind: Kind) -> Result<(), Error> {
        let fail = |name, expected, found: String| {
            Err(Error::InvalidRow {
                row: self.index,
                name,
                expected,
                found,
            })
        };
        if kind == Kind::Evaluate && !is_value(self.value) {
            return fail("values", VALUE_RANGE, self.value.to_string());
        }
        let Some(candidates) = &self.candidates else {
            if kind == Kind::Expand && !self.is_terminal {
                return fail(
                    "candidates",
                    "given, as this leaf wants them",
                    "none".into(),
                );
            }
            return Ok(());
        };
        let most = if self.is_terminal { 0 } else { MAX_EDGES };
        if candidates.count > most {
            let expected = if self.is_terminal {
                "none where terminal"
            } else {
                "at most 65535"
            };
            return fail("candidates", expected, candidates.count.to_string());
        }
        match candidates.flaw() {
            Some((name, expected, found)) => fail(name, expected, found.to_string()),
            None => Ok(()),
        }
    }

    fn ends_here(&self) -> bool {
        self.is_terminal
            || self
                .candidates
                .is_some_and(|candidates| candidates.count == 0)
    }
}

impl TreeSearch {
    /// Tells what became of open leaves: any of them, in any order. Returns for each row the node
    /// that its candidates made, or `None`.
    ///
    /// A leaf's value counts once for each simulation that waits for it. Candidates of a leaf at the
    /// depth limit are not kept. Nothing happens for leaves that `advance` has discarded.
    /// O(rows + edges above them).
    ///
    /// # Errors
    ///
    /// `UnknownLeaf`, `FinishedLeaf`: an id is not that of an open leaf. `InvalidRow`: a row is
    /// outside of its range, or an id comes twice. `InvalidArgument`: columns differ in length.
    /// `TreeFull`. Nothing is applied then, so the row can be mended and all be told again.
    pub fn tell(&mut self, told: Told<'_>) -> Result<Vec<Option<u32>>, Error> {
        self.check_told(&told)?;
        let change = self.change();
        let mut nodes = Vec::with_capacity(told.ids.len());
        let mut end = 0;
        for (index, &id) in told.ids.iter().enumerate() {
            let row = told.row(index, &mut end);
            let ticket = self.tickets.close(id);
            nodes.push(if ticket.is_discarded() {
                None
            } else {
                match ticket.kind {
                    Kind::Evaluate => self.evaluate(&ticket, &row, change),
                    Kind::Expand => self.unpark(&ticket, &row, change),
                }
            });
        }
        self.ascent.finish(&mut self.tree, change);
        Ok(nodes)
    }

    fn check_told(&mut self, told: &Told<'_>) -> Result<(), Error> {
        told.check_lengths()?;
        self.tickets.begin();
        let (mut words, mut end) = (0, 0);
        for (index, &id) in told.ids.iter().enumerate() {
            let row = told.row(index, &mut end);
            let ticket = self.tickets.check(id, index)?;
            row.check(ticket.kind)?;
            words += row.candidates.map_or(0, |given| Tree::length(given.count));
        }
        if self.tree.has_room(words) {
            Ok(())
        } else {
            Err(self.full())
        }
    }

    fn evaluate(&mut self, ticket: &Ticket, row: &Row<'_>, change: Change) -> Option<u32> {
        let (block, edge, depth) = ticket.place();
        self.widen(&[row.value]);
        self.complete(ticket, row.value, change);
        let is_limited = depth + 1 >= self.config.max_depth;
        let state = match row.candidates {
            _ if row.ends_here() => LeafState::Terminal,
            _ if is_limited => LeafState::Limited,
            Some(candidates) => {
                let below = self.expand((block, edge), candidates);
                return Some(self.tree.node(below));
            }
            None => LeafState::Open,
        };
        self.tree.set_child(block, edge, Child::Leaf(state));
        None
    }

    /// Takes the candidates of a leaf whose simulations are parked.
    fn unpark(&mut self, ticket: &Ticket, row: &Row<'_>, change: Change) -> Option<u32> {
        let (block, edge, depth) = ticket.place();
        if let Some(candidates) = row.candidates
            && !row.ends_here()
        {
            let below = self.expand((block, edge), candidates);
            self.parked.push(Parked {
                block: below,
                depth: depth + 1,
                visits: ticket.visits(),
            });
            return Some(self.tree.node(below));
        }
        let terminal = Child::Leaf(LeafState::Terminal);
        self.tree.set_child(block, edge, terminal);
        self.complete(ticket, self.tree.value(block, edge), change);
        None
    }

    /// Completes the simulations of a ticket with a value each.
    fn complete(&mut self, ticket: &Ticket, value: f32, change: Change) {
        let load = change.load(ticket.visits(), value);
        self.ascent
            .start(&mut self.tree, change, ticket.place(), load);
        self.completed += u64::from(ticket.visits());
        self.in_flight -= ticket.visits();
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
        for &id in ids {
            let ticket = self.tickets.close(id);
            if ticket.is_discarded() {
                continue;
            }
            let (block, edge, _) = ticket.place();
            let child = match ticket.kind {
                Kind::Evaluate => Child::Fresh,
                Kind::Expand => Child::Leaf(LeafState::Open),
            };
            self.tree.set_child(block, edge, child);
            let load = (ticket.visits(), 0.0);
            self.ascent
                .start(&mut self.tree, Change::Undo, ticket.place(), load);
            self.in_flight -= ticket.visits();
        }
        self.ascent.finish(&mut self.tree, Change::Undo);
        Ok(())
    }

    pub(super) fn full(&self) -> Error {
        Error::TreeFull {
            num_simulations: self.completed,
            nbytes: self.nbytes(),
        }
    }
}
