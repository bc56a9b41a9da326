//! What callers found out about leaves: columns, their rows, and what is wrong with them.

use super::check::check_first_values;
use super::tickets::Kind;
use super::{
    Candidates, Channels, MAX_EDGES, VALUE_RANGE, check_length, invalid, is_value, scalar_of,
};
use crate::Error;
use crate::tree::Tree;

/// What is told of n leaves, in columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// `[n]`, as `ask` gave them, without repeats, in any order.
    pub ids: &'a [u64],
    /// `[n]`, or `[n * channels]`, finite, at most 1e38 in magnitude; not read where a leaf wants its
    /// candidates only, or is merged with a state that has a value.
    pub values: &'a [f32],
    /// `[n * channels]`, the gate's weights of the values; with gated channels only.
    pub weights: Option<&'a [f32]>,
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
    /// `[sum of the counts]`, or as many times the channels, see [`Candidates::first_values`].
    pub first_values: Option<&'a [f32]>,
    /// As many as first values, see [`Candidates::first_weights`].
    pub first_weights: Option<&'a [f32]>,
    /// `[n]`, what the leaves' states are known by, 0 where by nothing. A leaf whose key is that of a
    /// node is merged with it.
    pub keys: Option<&'a [u64]>,
}

/// One row of what is told; reads its columns when asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    told: &'a Told<'a>,
    pub(super) index: usize,
    /// Where its candidates start in their columns.
    start: usize,
    /// How many candidates; -1 where they are not known.
    count: i32,
    /// Numbers for a value.
    width: usize,
}

impl Told<'_> {
    pub(super) fn check_lengths(&self, channels: Channels) -> Result<(), Error> {
        let rows = self.ids.len();
        let (numbers, each) = (rows * channels.width(), "one for each id");
        check_length(
            "values",
            "one for each id, and for each channel",
            Some(self.values),
            numbers,
        )?;
        if channels.is_gated() != self.weights.is_some() {
            let found = if self.weights.is_some() {
                "some"
            } else {
                "none"
            };
            return Err(invalid(
                "weights",
                "given with gated channels, and only then",
                found,
            ));
        }
        check_length("weights", "one for each value", self.weights, numbers)?;
        check_length("terminal", each, self.terminal, rows)?;
        let columns = self.candidates;
        check_length("candidates", each, columns.counts, rows)?;
        check_length("keys", each, columns.keys, rows)?;
        let counts = columns.counts.unwrap_or_default().iter();
        let total = counts.map(|&count| count.max(0) as usize).sum();
        check_length("priors", "one for each candidate", columns.priors, total)?;
        check_first_values(
            channels,
            (columns.first_values, columns.first_weights),
            total,
        )
    }

    /// Each leaf's id and row. The lengths have been checked.
    #[inline]
    pub(super) fn rows(&self, channels: Channels) -> impl ExactSizeIterator<Item = (u64, Row<'_>)> {
        let (mut end, width) = (0, channels.width());
        self.ids.iter().enumerate().map(move |(index, &id)| {
            let counts = self.candidates.counts;
            let row = Row {
                told: self,
                index,
                start: end,
                count: counts.map_or(-1, |counts| counts[index]),
                width,
            };
            end += row.count.max(0) as usize;
            (id, row)
        })
    }
}

impl<'a> Row<'a> {
    /// `[channels]`, at least one.
    #[inline]
    pub(super) fn numbers(&self) -> &'a [f32] {
        &self.told.values[self.index * self.width..][..self.width]
    }

    /// `[channels]`, the gate's.
    #[inline]
    pub(super) fn weights(&self) -> Option<&'a [f32]> {
        let weights = self.told.weights?;
        Some(&weights[self.index * self.width..][..self.width])
    }

    #[inline]
    fn is_terminal(&self) -> bool {
        let terminal = self.told.terminal;
        terminal.is_some_and(|terminal| terminal[self.index])
    }

    /// What the leaf's state is known by, or 0.
    #[inline]
    pub(super) fn key(&self) -> u64 {
        self.told.candidates.keys.map_or(0, |keys| keys[self.index])
    }

    /// Words that its candidates would take.
    #[inline]
    pub(super) fn words(&self) -> usize {
        if self.count < 0 {
            0
        } else {
            Tree::length(self.count as usize)
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // most of the struct is then never built; measured
    pub(super) fn candidates(&self) -> Option<Candidates<'a>> {
        if self.count < 0 {
            return None;
        }
        let (columns, count) = (&self.told.candidates, self.count as usize);
        let each = |column: Option<&'a [f32]>, width: usize| {
            column.map(|column| &column[self.start * width..][..count * width])
        };
        Some(Candidates {
            count,
            priors: each(columns.priors, 1),
            first_values: each(columns.first_values, self.width),
            first_weights: each(columns.first_weights, self.width),
            key: self.key(),
        })
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // as above
    pub(super) fn check(
        &self,
        kind: Kind,
        channels: &Channels,
        range: ValueRange,
    ) -> Result<(), Error> {
        if kind == Kind::Evaluate {
            self.check_values(channels, range)?;
        }
        if self.count < 0 {
            if kind == Kind::Expand && !self.is_terminal() && range != ValueRange::Unread {
                let expected = "given, as this leaf wants them";
                return Err(self.wrong("candidates", expected, "none".into()));
            }
            return Ok(());
        }
        self.check_candidates(channels)
    }

    #[inline]
    fn check_candidates(&self, channels: &Channels) -> Result<(), Error> {
        let Some(candidates) = self.candidates() else {
            return Ok(());
        };
        let most = if self.is_terminal() { 0 } else { MAX_EDGES };
        if candidates.count > most {
            let expected = if self.is_terminal() {
                "none where terminal"
            } else {
                "at most 65535"
            };
            return Err(self.wrong("candidates", expected, candidates.count.to_string()));
        }
        match candidates.flaw(channels) {
            Some((name, expected, found)) => Err(self.wrong(name, expected, found.to_string())),
            None => Ok(()),
        }
    }

    #[inline]
    fn check_values(&self, channels: &Channels, range: ValueRange) -> Result<(), Error> {
        if range == ValueRange::Unread {
            return Ok(());
        }
        let found = if channels.count() == 0 {
            let value = self.told.values[self.index];
            (!is_value(value)).then_some(("values", VALUE_RANGE, value))
        } else {
            channels.flaw("values", self.numbers(), ("weights", self.weights()))
        };
        if let Some((name, expected, found)) = found {
            return Err(self.wrong(name, expected, found.to_string()));
        }
        if range == ValueRange::AtLeastZero {
            let value = self.scalar(channels);
            if value < 0.0 {
                let expected = "at least 0 with the power mean";
                return Err(self.wrong("values", expected, value.to_string()));
            }
        }
        Ok(())
    }

    #[cold]
    fn wrong(&self, name: &'static str, expected: &'static str, found: String) -> Error {
        Error::InvalidRow {
            row: self.index,
            name,
            expected,
            found,
        }
    }

    /// The row's value, by the weights that hold for all rows or by its own.
    #[inline]
    pub(super) fn scalar(&self, channels: &Channels) -> f32 {
        if channels.count() == 0 {
            return self.told.values[self.index];
        }
        match channels.weights().or(self.weights()) {
            Some(weights) => scalar_of(self.numbers(), weights),
            None => self.numbers()[0],
        }
    }

    #[inline]
    pub(super) fn ends_here(&self) -> bool {
        self.count == 0 || self.is_terminal()
    }
}

/// What a row's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueRange {
    Any,
    AtLeastZero,
    /// It is not looked at.
    Unread,
}
