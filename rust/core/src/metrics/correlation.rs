//! Rank correlation: do two columns order their rows alike?

use super::accuracy::mean_defined;
use super::columns::{Labels, same_length};
use crate::Error;

/// The rank correlations of one group.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct GroupCorrelation {
    /// Rows in which both values are finite.
    pub n: u64,
    /// Rows with a value that is NaN or infinite; no part of `n`.
    pub n_invalid: u64,
    /// Spearman's rho, in [-1, 1]; NaN where a column has fewer than two different values.
    pub spearman: f64,
    /// Kendall's tau-b, in [-1, 1]; NaN where a column has fewer than two different values.
    pub kendall: f64,
}

/// Rank correlation per group and overall.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Correlations {
    /// One per group id.
    pub groups: Vec<GroupCorrelation>,
    /// All rows as one group.
    pub overall: GroupCorrelation,
    /// The mean rho of the groups that have one; NaN where none has.
    pub macro_spearman: f64,
    /// The mean tau-b of the groups that have one; NaN where none has.
    pub macro_kendall: f64,
}

/// Spearman's rho and Kendall's tau-b of two columns, by group and overall. O(n log n).
///
/// Source: Spearman 1904 (Pearson's correlation of mean ranks); Kendall 1945, "The treatment of ties
/// in ranking problems", Biometrika 33 (tau-b), by the merge sort of Knight 1966, JASA 61.
///
/// # Errors
///
/// [`Error::InvalidArgument`] where the columns differ in length or an id is out of range.
///
/// # Example
///
/// ```
/// use similar_fast_core::metrics::{Labels, rank_correlation};
///
/// let groups = Labels { ids: &[0; 4], count: 1 };
/// let result = rank_correlation(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0], groups)?;
/// assert!((result.overall.spearman - 0.8).abs() < 1e-12);
/// assert!((result.overall.kendall - 2.0 / 3.0).abs() < 1e-12);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
pub fn rank_correlation(x: &[f64], y: &[f64], groups: Labels<'_>) -> Result<Correlations, Error> {
    same_length("y", y.len(), x.len())?;
    groups.check("groups", x.len())?;
    let mut members: Vec<Rows> = vec![Rows::default(); groups.count];
    let mut all = Rows::default();
    for ((&x, &y), &group) in x.iter().zip(y).zip(groups.ids) {
        members[group as usize].push(x, y);
        all.push(x, y);
    }
    let groups: Vec<GroupCorrelation> = members.into_iter().map(Rows::correlate).collect();
    Ok(Correlations {
        overall: all.correlate(),
        macro_spearman: mean_defined(groups.iter().map(|group| group.spearman)),
        macro_kendall: mean_defined(groups.iter().map(|group| group.kendall)),
        groups,
    })
}

#[derive(Debug, Clone, Default)]
struct Rows {
    x: Vec<f64>,
    y: Vec<f64>,
    n_invalid: u64,
}

impl Rows {
    fn push(&mut self, x: f64, y: f64) {
        if x.is_finite() && y.is_finite() {
            self.x.push(x);
            self.y.push(y);
        } else {
            self.n_invalid += 1;
        }
    }

    fn correlate(self) -> GroupCorrelation {
        let (x, y) = (ranks(&self.x), ranks(&self.y));
        GroupCorrelation {
            n: x.len() as u64,
            n_invalid: self.n_invalid,
            spearman: pearson(&x, &y),
            kendall: tau_b(x.into_iter().zip(y).collect()),
        }
    }
}

/// Twice each value's mean rank, less the mean of all: integers, so that sums of them are exact.
fn ranks(values: &[f64]) -> Vec<i64> {
    // The sum turns -0 into 0: the two are one value, but not to `total_cmp`.
    let mut order: Vec<(f64, u32)> = (0u32..).zip(values).map(|(i, v)| (v + 0.0, i)).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let n = order.len() as i64;
    let mut ranks = vec![0; order.len()];
    let mut first = 0;
    for run in order.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let last = first + run.len() as i64 - 1;
        for &(_, row) in run {
            ranks[row as usize] = first + last + 1 - n;
        }
        first = last + 1;
    }
    ranks
}

/// Pearson's correlation of two columns whose sums are 0.
fn pearson(x: &[i64], y: &[i64]) -> f64 {
    let product = |a: &[i64], b: &[i64]| -> f64 {
        let sum: i128 = a
            .iter()
            .zip(b)
            .map(|(&a, &b)| i128::from(a) * i128::from(b))
            .sum();
        sum as f64
    };
    let (xx, yy) = (product(x, x), product(y, y));
    (product(x, y) / (xx * yy).sqrt()).clamp(-1.0, 1.0)
}

/// `(P - Q) / sqrt((n0 - n1)(n0 - n2))`: `P` and `Q` the concordant and discordant pairs of rows, `n0`
/// all pairs, `n1` and `n2` those that tie in one column.
fn tau_b(mut rows: Vec<(i64, i64)>) -> f64 {
    rows.sort_unstable();
    let pairs = |n: usize| n as i64 * (n as i64 - 1) / 2;
    let all = pairs(rows.len());
    let both: i64 = rows
        .chunk_by(|a, b| a == b)
        .map(|run| pairs(run.len()))
        .sum();
    let in_x: i64 = rows
        .chunk_by(|a, b| a.0 == b.0)
        .map(|run| pairs(run.len()))
        .sum();
    let mut y: Vec<i64> = rows.into_iter().map(|row| row.1).collect();
    let discordant = sort_counting_swaps(&mut y);
    let in_y: i64 = y.chunk_by(|a, b| a == b).map(|run| pairs(run.len())).sum();
    let surplus = all - in_x - in_y + both - 2 * discordant;
    let scale = ((all - in_x) as f64 * (all - in_y) as f64).sqrt();
    (surplus as f64 / scale).clamp(-1.0, 1.0)
}

/// Sorts, and says how many pairs stood in the wrong order.
fn sort_counting_swaps(values: &mut [i64]) -> i64 {
    let mut merged = vec![0; values.len()];
    let mut swaps = 0;
    let mut width = 1;
    while width < values.len() {
        for (from, into) in values.chunks(2 * width).zip(merged.chunks_mut(2 * width)) {
            let (left, right) = from.split_at(width.min(from.len()));
            swaps += merge(left, right, into);
        }
        values.copy_from_slice(&merged);
        width *= 2;
    }
    swaps
}

fn merge(left: &[i64], right: &[i64], into: &mut [i64]) -> i64 {
    let (mut i, mut j, mut swaps) = (0, 0, 0);
    for place in into {
        let from_left = j == right.len() || (i < left.len() && left[i] <= right[j]);
        if from_left {
            *place = left[i];
            i += 1;
        } else {
            *place = right[j];
            j += 1;
            swaps += (left.len() - i) as i64;
        }
    }
    swaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(rows: &[(f64, f64)]) -> GroupCorrelation {
        let (x, y): (Vec<f64>, Vec<f64>) = rows.iter().copied().unzip();
        let ids = vec![0; rows.len()];
        let groups = Labels {
            ids: &ids,
            count: 1,
        };
        rank_correlation(&x, &y, groups).unwrap().overall
    }

    fn rows() -> impl Strategy<Value = Vec<(f64, f64)>> {
        let value = prop_oneof![
            9 => (-3i32..4).prop_map(f64::from),
            1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -0.0]),
        ];
        prop::collection::vec((value.clone(), value), 0..30)
    }

    /// Tau-b by looking at every pair of rows.
    fn tau_by_pairs(rows: &[(f64, f64)]) -> f64 {
        let (mut surplus, mut x_differ, mut y_differ) = (0.0, 0, 0);
        for (i, a) in rows.iter().enumerate() {
            for b in &rows[..i] {
                let (dx, dy) = (a.0 - b.0, a.1 - b.1);
                x_differ += u32::from(dx != 0.0);
                y_differ += u32::from(dy != 0.0);
                if dx != 0.0 && dy != 0.0 {
                    surplus += (dx * dy).signum();
                }
            }
        }
        surplus / (f64::from(x_differ) * f64::from(y_differ)).sqrt()
    }

    #[test]
    fn a_column_of_one_value_has_no_correlation() {
        let result = of(&[(1.0, 1.0), (1.0, 2.0), (f64::NAN, 3.0)]);

        assert!(result.spearman.is_nan() && result.kendall.is_nan());
        assert_eq!((result.n, result.n_invalid), (2, 1));
    }

    #[test]
    fn negative_zero_ties_with_zero() {
        let result = of(&[(0.0, 1.0), (-0.0, 2.0)]);

        assert!(result.kendall.is_nan());
    }

    proptest! {
        #[test]
        fn prop_tau_is_that_of_all_pairs(rows in rows()) {
            let valid: Vec<_> = rows.iter().copied().filter(|r| r.0.is_finite() && r.1.is_finite()).collect();
            let (found, expected) = (of(&rows).kendall, tau_by_pairs(&valid));
            prop_assert!((found - expected).abs() < 1e-12 || found.is_nan() && expected.is_nan());
        }

        #[test]
        fn prop_order_is_nothing_and_reversing_negates(
            (rows, shuffled) in rows().prop_flat_map(|r| (Just(r.clone()), Just(r).prop_shuffle())),
        ) {
            let (one, other) = (of(&rows), of(&shuffled));
            prop_assert_eq!(one.spearman.to_bits(), other.spearman.to_bits());
            prop_assert_eq!(one.kendall.to_bits(), other.kendall.to_bits());
            let reversed: Vec<_> = rows.iter().map(|r| (r.0, -r.1)).collect();
            let negated = of(&reversed);
            prop_assert!(one.spearman.is_nan() || (one.spearman + negated.spearman).abs() < 1e-12);
            prop_assert!(one.kendall.is_nan() || (one.kendall + negated.kendall).abs() < 1e-12);
        }
    }
}
