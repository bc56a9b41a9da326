//! Calibration: is what a score promises what happens?

use super::columns::{PairColumns, same_length};
use super::quantile::quantile;
use crate::Error;

/// Bins of a table, at most: each is held, empty or not.
const MAX_BINS: u32 = 1_000_000;

/// Where the bins of a table lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binning {
    /// Bins of equal width.
    #[default]
    Width,
    /// Bins between quantiles of the predictions, so that about as many rows are in each; equal
    /// predictions stay together.
    Mass,
}

/// The bins that a table is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bins {
    /// Bins, in 1..=1,000,000.
    pub count: u32,
    /// Where they lie.
    pub binning: Binning,
}

/// The rows whose prediction is in `(low, high]`; the first bin holds `low` as well.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Bin {
    /// The lower edge.
    pub low: f64,
    /// The upper edge.
    pub high: f64,
    /// Rows in the bin.
    pub n: u64,
    /// NaN where the bin is empty.
    pub mean_predicted: f64,
    /// NaN where the bin is empty.
    pub mean_observed: f64,
}

/// What was observed where something was predicted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CalibrationTable {
    /// From low to high, empty ones included.
    pub bins: Vec<Bin>,
    /// Rows that count.
    pub n: u64,
    /// Rows with a value that is NaN or infinite; no part of `n`.
    pub n_invalid: u64,
    /// The mean of `|mean_predicted - mean_observed|` over rows: the ECE of probabilities.
    pub expected_error: f64,
    /// The greatest `|mean_predicted - mean_observed|` of a bin.
    pub max_error: f64,
    /// The mean of `(predicted - observed)^2`: the Brier score of probabilities.
    pub mean_squared_error: f64,
}

/// The calibration of `P(chosen is better) = sigmoid((chosen - rejected) / temperature)`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PairCalibration {
    /// By confidence, `max(P, 1 - P)`: how often the preferred step is the chosen one. A tie is half.
    pub table: CalibrationTable,
    /// The mean of `(1 - P)^2`, which is the same whichever step is named first.
    pub brier: f64,
    /// The mean of `-ln P`, in nats.
    pub log_loss: f64,
}

/// Predictions against observations of the same quantity, by bins of the prediction.
///
/// Bins of equal width span `bounds`, or the predictions where it is `None`. O(n log n).
///
/// Source: reliability diagrams, `DeGroot` and Fienberg 1983, The Statistician 32; expected calibration
/// error, Naeini, Cooper and Hauskrecht 2015, AAAI; Brier 1950, Monthly Weather Review 78.
///
/// # Errors
///
/// [`Error::InvalidArgument`] where the columns differ in length, the number of bins is out of its range,
/// `bounds` are not finite and ascending, or a valid prediction is outside of them.
pub fn calibration_table(
    predicted: &[f64],
    observed: &[f64],
    bins: Bins,
    bounds: Option<(f64, f64)>,
) -> Result<CalibrationTable, Error> {
    same_length("observed", observed.len(), predicted.len())?;
    check_bins(bins.count, bounds)?;
    let both = predicted.iter().copied().zip(observed.iter().copied());
    let mut rows: Vec<(f64, f64)> = both
        .filter(|row| row.0.is_finite() && row.1.is_finite())
        .collect();
    let n_invalid = (predicted.len() - rows.len()) as u64;
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    if let (Some((low, high)), Some(first), Some(last)) = (bounds, rows.first(), rows.last())
        && (first.0 < low || last.0 > high)
    {
        let found = format!("{} to {} with {low} to {high}", first.0, last.0);
        return Err(Error::invalid("predicted", "inside of bounds", found));
    }
    Ok(tabulate(&rows, &edges(&rows, bins, bounds), n_invalid))
}

fn check_bins(count: u32, bounds: Option<(f64, f64)>) -> Result<(), Error> {
    if !(1..=MAX_BINS).contains(&count) {
        let found = count.to_string();
        return Err(Error::invalid("num_bins", "in 1..=1000000", found));
    }
    match bounds {
        Some((low, high)) if !(low.is_finite() && high.is_finite() && low < high) => {
            let found = format!("{:?}", (low, high));
            Err(Error::invalid("bounds", "finite with low < high", found))
        }
        _ => Ok(()),
    }
}

/// The table of sorted rows.
fn tabulate(rows: &[(f64, f64)], edges: &[f64], n_invalid: u64) -> CalibrationTable {
    let mut bins = Vec::with_capacity(edges.len().saturating_sub(1));
    let mut rest = rows;
    for (i, pair) in edges.windows(2).enumerate() {
        let is_last = i + 2 == edges.len();
        let inside = rest.partition_point(|row| is_last || row.0 <= pair[1]);
        let (members, others) = rest.split_at(inside);
        rest = others;
        bins.push(bin(pair[0], pair[1], members));
    }
    let n = rows.len() as f64;
    let errors = || {
        let full = bins.iter().filter(|bin| bin.n > 0);
        full.map(|bin| ((bin.mean_predicted - bin.mean_observed).abs(), bin.n as f64))
    };
    CalibrationTable {
        n: rows.len() as u64,
        n_invalid,
        expected_error: errors()
            .map(|(error, members)| error * members)
            .sum::<f64>()
            / n,
        max_error: errors().fold(f64::NAN, |worst, (error, _)| worst.max(error)),
        mean_squared_error: rows.iter().map(|row| (row.0 - row.1).powi(2)).sum::<f64>() / n,
        bins,
    }
}

fn bin(low: f64, high: f64, members: &[(f64, f64)]) -> Bin {
    let n = members.len() as f64;
    Bin {
        low,
        high,
        n: members.len() as u64,
        mean_predicted: members.iter().map(|row| row.0).sum::<f64>() / n,
        mean_observed: members.iter().map(|row| row.1).sum::<f64>() / n,
    }
}

/// The bins' edges, one more than there are bins; none where there is nothing to span.
fn edges(sorted: &[(f64, f64)], bins: Bins, bounds: Option<(f64, f64)>) -> Vec<f64> {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return bounds.map_or_else(Vec::new, |(low, high)| even_edges(low, high, bins.count));
    };
    match bins.binning {
        Binning::Width => {
            let (low, high) = bounds.unwrap_or((first.0, last.0));
            even_edges(low, high, bins.count)
        }
        Binning::Mass => {
            let predicted: Vec<f64> = sorted.iter().map(|row| row.0).collect();
            even_edges(0.0, 1.0, bins.count)
                .into_iter()
                .map(|level| quantile(&predicted, level))
                .collect()
        }
    }
}

fn even_edges(low: f64, high: f64, count: u32) -> Vec<f64> {
    (0..=count)
        .map(|i| low + (high - low) * (f64::from(i) / f64::from(count)))
        .collect()
}

/// How well `sigmoid((chosen - rejected) / temperature)` says which step is better. O(n log n).
///
/// Pairs whose difference is not finite are invalid. A pair counts the same whichever of its steps is
/// named first, so the table is over confidences in [0.5, 1].
///
/// Source: Bradley and Terry 1952, Biometrika 39 (the probability); Guo et al. 2017, "On calibration
/// of modern neural networks", arXiv 1706.04599 (confidence, temperature).
///
/// # Errors
///
/// [`Error::InvalidArgument`] where the columns differ in length, the number of bins is out of its range,
/// or `temperature` is not finite and positive.
///
/// # Example
///
/// ```
/// use similar_fast_core::metrics::{Binning, Bins, PairColumns, pair_calibration};
///
/// let pairs = PairColumns { chosen: &[0.0, 0.0], rejected: &[0.0, 0.0] };
/// let bins = Bins { count: 5, binning: Binning::Width };
/// let result = pair_calibration(&pairs, 1.0, bins)?;
/// assert_eq!((result.brier, result.table.expected_error), (0.25, 0.0));
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
pub fn pair_calibration<T: Copy + Into<f64>>(
    pairs: &PairColumns<'_, T>,
    temperature: f64,
    bins: Bins,
) -> Result<PairCalibration, Error> {
    pairs.check()?;
    if !(temperature.is_finite() && temperature > 0.0) {
        let found = temperature.to_string();
        return Err(Error::invalid("temperature", "finite and above 0", found));
    }
    let margins: Vec<f64> = pairs
        .rows()
        .map(|(chosen, rejected)| chosen - rejected)
        .collect();
    let confidences: Vec<f64> = margins
        .iter()
        .map(|m| sigmoid(m.abs() / temperature))
        .collect();
    let agreed: Vec<f64> = margins
        .iter()
        .map(|&margin| {
            if margin.is_finite() {
                agreement(margin)
            } else {
                f64::NAN
            }
        })
        .collect();
    let table = calibration_table(&confidences, &agreed, bins, Some((0.5, 1.0)))?;
    let n = table.n as f64;
    let logits = || {
        margins
            .iter()
            .filter(|m| m.is_finite())
            .map(|m| m / temperature)
    };
    Ok(PairCalibration {
        brier: logits().map(|logit| sigmoid(-logit).powi(2)).sum::<f64>() / n,
        log_loss: logits().map(loss).sum::<f64>() / n,
        table,
    })
}

fn agreement(margin: f64) -> f64 {
    if margin > 0.0 {
        1.0
    } else if margin < 0.0 {
        0.0
    } else {
        0.5
    }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `-ln sigmoid(logit)`, without overflow.
pub(super) fn loss(logit: f64) -> f64 {
    (-logit).max(0.0) + (-logit.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(count: u32, bounds: Option<(f64, f64)>) -> Result<CalibrationTable, Error> {
        let binning = Binning::Width;
        calibration_table(&[0.5], &[1.0], Bins { count, binning }, bounds)
    }

    #[test]
    fn too_many_bins_are_refused_before_they_are_made() {
        for count in [0, MAX_BINS + 1, u32::MAX] {
            let found = table(count, None).unwrap_err().to_string();
            let expected = format!("num_bins must be in 1..=1000000, got {count}");
            assert_eq!(found, expected);
        }
        assert_eq!(table(MAX_BINS, None).unwrap().bins.len(), 1_000_000);
    }

    #[test]
    fn bounds_that_span_nothing_are_refused_by_name() {
        let inf = f64::INFINITY;
        for bounds in [
            (f64::NAN, 1.0),
            (0.0, f64::NAN),
            (-inf, inf),
            (1.0, 0.0),
            (0.5, 0.5),
        ] {
            let found = table(2, Some(bounds)).unwrap_err().to_string();
            let start = "bounds must be finite with low < high, got (";
            assert!(found.starts_with(start), "{found}");
        }
    }
}
