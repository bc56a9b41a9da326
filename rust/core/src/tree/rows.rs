//! What edges were told: a row of numbers for each edge, for searches that need it again.
//!
//! A row holds one number for each channel and, where a gate weighs every row by itself, the gate's
//! weight of each. A row of an edge that was told nothing is NaN. A search without channels has rows
//! of one number if its backup needs the told value again, and otherwise none.

use std::ops::Range;

use super::reserve;

/// The rows, in the order of the arena's edges.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    channels: usize,
    is_gated: bool,
    /// `[channels]`, the same for all rows; the gate's where absent.
    fixed: Option<Vec<f32>>,
    values: Vec<f32>,
}

impl Rows {
    /// No rows at all.
    pub(crate) fn none() -> Self {
        Self::new(0, false, None)
    }

    /// Rows of `channels` numbers, with a gate's weights if there is one; weighed by `fixed`, or by
    /// the gate where absent.
    pub(crate) fn new(channels: usize, is_gated: bool, fixed: Option<&[f32]>) -> Self {
        Self {
            channels,
            is_gated,
            fixed: fixed.map(<[f32]>::to_vec),
            values: Vec::new(),
        }
    }

    /// The same kind of rows, and none of them.
    pub(crate) fn emptied(&self) -> Self {
        Self {
            values: Vec::new(),
            fixed: self.fixed.clone(),
            ..*self
        }
    }

    /// Adds some of the rows of `others`, which are of the same kind.
    pub(crate) fn copy(&mut self, others: &Self, rows: Range<usize>, limit: usize) {
        let width = self.width();
        let copied = &others.values[rows.start * width..rows.end * width];
        reserve(&mut self.values, copied.len(), limit);
        self.values.extend_from_slice(copied);
    }

    /// Numbers in a row.
    pub(crate) fn width(&self) -> usize {
        self.channels * if self.is_gated { 2 } else { 1 }
    }

    /// Numbers in all rows.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Weighs all rows anew; by the gate's weights where absent.
    pub(crate) fn weigh(&mut self, fixed: Option<&[f32]>) {
        self.fixed = fixed.map(<[f32]>::to_vec);
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(crate) fn values_mut(&mut self) -> &mut Vec<f32> {
        &mut self.values
    }

    /// Adds `count` rows: numbers and, with a gate, its weights; unknown where absent.
    pub(crate) fn append(
        &mut self,
        count: usize,
        rows: Option<(&[f32], Option<&[f32]>)>,
        limit: usize,
    ) {
        let more = count * self.width();
        if more == 0 {
            return;
        }
        reserve(&mut self.values, more, limit);
        self.values.resize(self.values.len() + more, f32::NAN);
        if let Some((numbers, weights)) = rows {
            let first = self.values.len() / self.width() - count;
            for row in 0..count {
                let part = row * self.channels..(row + 1) * self.channels;
                let own = weights.map(|weights| &weights[part.clone()]);
                self.set(first + row, &numbers[part], own);
            }
        }
    }

    /// Writes one row.
    pub(crate) fn set(&mut self, row: usize, numbers: &[f32], weights: Option<&[f32]>) {
        let width = self.width();
        let row = &mut self.values[row * width..(row + 1) * width];
        row[..self.channels].copy_from_slice(numbers);
        if let Some(weights) = weights {
            row[self.channels..].copy_from_slice(weights);
        }
    }

    /// Copies a row over another one.
    pub(crate) fn copy_within(&mut self, from: usize, to: usize) {
        let width = self.width();
        self.values
            .copy_within(from * width..(from + 1) * width, to * width);
    }

    /// A row, with its weights if it has any.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width()..(row + 1) * self.width()]
    }

    /// The numbers of a row, without its weights.
    pub(crate) fn numbers(&self, row: usize) -> &[f32] {
        let start = row * self.width();
        &self.values[start..start + self.channels]
    }

    /// A row as one number; NaN where it was told nothing.
    #[inline]
    pub(crate) fn scalar(&self, row: usize) -> f32 {
        let start = row * self.width();
        let numbers = &self.values[start..start + self.channels];
        match &self.fixed {
            Some(weights) => scalar_of(numbers, weights),
            None => scalar_of(numbers, &self.values[start + self.channels..]),
        }
    }
}

/// The weighted sum of a row, taken in `f64` in the order of the channels and rounded once.
#[inline]
pub(crate) fn scalar_of(numbers: &[f32], weights: &[f32]) -> f32 {
    let products = numbers.iter().zip(weights);
    let sum = products.fold(0.0, |sum, (&number, &weight)| {
        sum + f64::from(number) * f64::from(weight)
    });
    sum as f32
}
