//! Accuracy with an interval for each group and average.

use super::accuracy::{Accuracy, AccuracyOptions, count_pairs};
use super::columns::{Labels, PairColumns};
use super::resampling::{BootstrapOptions, Estimate, Tallies};
use crate::Error;

/// Pairwise accuracy and its clustered bootstrap.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AccuracyIntervals {
    /// The counts and accuracies themselves.
    pub accuracy: Accuracy,
    /// One per group id.
    pub groups: Vec<Estimate>,
    /// Of the accuracy over all pairs.
    pub micro: Estimate,
    /// Of the mean of the groups' accuracies, in each draw over the groups that have one there.
    pub macro_average: Estimate,
    /// Clusters with a pair that counts; they are what is drawn.
    pub n_clusters: usize,
}

/// Pairwise accuracy with an interval from drawing clusters with replacement.
///
/// Every figure comes from the same draws. A group whose pairs lie in fewer than two clusters has no
/// interval. O(n log n + `num_draws` * (clusters + entries)), where an entry is a cluster in a group;
/// `8 * num_draws * (groups + 2)` bytes.
///
/// # Errors
///
/// [`Error::InvalidArgument`] as [`pairwise_accuracy`](super::pairwise_accuracy), and where `clusters`
/// does not fit the pairs, `num_draws` is out of its range or `level` is not in (0, 1).
///
/// # Example
///
/// ```
/// use similar_fast_core::metrics::{
///     AccuracyOptions, BootstrapOptions, Labels, PairColumns, accuracy_intervals,
/// };
///
/// let pairs = PairColumns { chosen: &[1.0, 1.0, 0.0], rejected: &[0.0, 0.0, 1.0] };
/// let groups = Labels { ids: &[0, 0, 0], count: 1 };
/// let clusters = Labels { ids: &[0, 0, 1], count: 2 };
/// let options = BootstrapOptions::default();
/// let result = accuracy_intervals(&pairs, groups, clusters, AccuracyOptions::default(), options)?;
/// assert_eq!((result.micro.interval.low, result.micro.interval.high), (0.0, 1.0));
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
pub fn accuracy_intervals<T: Copy + Into<f64>>(
    pairs: &PairColumns<'_, T>,
    groups: Labels<'_>,
    clusters: Labels<'_>,
    options: AccuracyOptions,
    bootstrap: BootstrapOptions,
) -> Result<AccuracyIntervals, Error> {
    pairs.check()?;
    groups.check("groups", pairs.chosen.len())?;
    clusters.check("clusters", pairs.chosen.len())?;
    options.check()?;
    bootstrap.check()?;
    let rows = pairs
        .rows()
        .map(|(chosen, rejected)| options.earned(chosen, rejected));
    let tallies = Tallies::new(rows, groups, clusters, 2, 0);
    let sampled = tallies.sample(bootstrap);
    Ok(AccuracyIntervals {
        accuracy: count_pairs(pairs, groups, options),
        groups: sampled
            .groups
            .into_iter()
            .map(|group| group.estimate(bootstrap))
            .collect(),
        micro: sampled.micro.estimate(bootstrap),
        macro_average: sampled.macro_average.estimate(bootstrap),
        n_clusters: tallies.num_clusters(),
    })
}
