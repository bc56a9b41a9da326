//! The rows that come in: scores of pairs, and the ids that rows carry.

use crate::Error;

/// The most rows of one call: what a cluster earns, at most 4 a pair, must fit 32 bits.
const MAX_ROWS: usize = 1 << 29;

/// One id a row, in `0..count`.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// `[n]` ids.
    pub ids: &'a [u32],
    /// The number of different ids.
    pub count: usize,
}

/// The scores of one scorer on `n` pairs.
#[derive(Debug, Clone, Copy)]
pub struct PairColumns<'a, T> {
    /// `[n]` scores of the preferred steps.
    pub chosen: &'a [T],
    /// `[n]` scores of the steps they are compared with.
    pub rejected: &'a [T],
}

impl<T: Copy + Into<f64>> PairColumns<'_, T> {
    /// `(chosen, rejected)` of each pair.
    pub(super) fn rows(&self) -> impl Iterator<Item = (f64, f64)> {
        let rows = self.chosen.iter().zip(self.rejected);
        rows.map(|(&chosen, &rejected)| (chosen.into(), rejected.into()))
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        same_length("rejected", self.rejected.len(), self.chosen.len())?;
        if self.chosen.len() > MAX_ROWS {
            let found = self.chosen.len().to_string();
            return Err(Error::invalid("chosen", "at most 2^29 pairs", found));
        }
        Ok(())
    }
}

impl Labels<'_> {
    pub(super) fn check(&self, name: &'static str, rows: usize) -> Result<(), Error> {
        same_length(name, self.ids.len(), rows)?;
        match self.ids.iter().find(|&&id| id as usize >= self.count) {
            None => Ok(()),
            Some(id) => {
                let found = format!("{id} with {} ids", self.count);
                Err(Error::invalid(name, "ids below their number", found))
            }
        }
    }
}

pub(super) fn same_length(name: &'static str, found: usize, rows: usize) -> Result<(), Error> {
    if found == rows {
        return Ok(());
    }
    let found = format!("{found} against {rows}");
    Err(Error::invalid(name, "as long as the other columns", found))
}
