//! Two scorers on the same pairs: which one prefers the chosen step more often?
//!
//! Only pairs that count for both are compared. A pair *earns* a scorer 1, 0, or what the tie rule
//! says; the pair is discordant where the two earn differently.

use super::accuracy::{AccuracyOptions, mean_defined};
use super::columns::{Labels, PairColumns, same_length};
use super::resampling::{BootstrapOptions, Estimate, Sampled, Tallies};
use crate::Error;

/// `McNemar`'s exact test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mcnemar {
    /// Two-sided; 1 where no pair is discordant.
    pub p_value: f64,
    /// The same with half the probability of the observed count, which is less conservative.
    pub mid_p_value: f64,
}

/// A difference of accuracies, first less second.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Difference {
    /// The difference, in [-1, 1].
    pub estimate: Estimate,
    /// Two-sided, from the same draws; NaN where fewer than two clusters count.
    pub p_value: f64,
}

/// Two scorers on the pairs of one group.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct GroupComparison {
    /// Pairs that are compared.
    pub n: u64,
    /// Pairs with a score of either scorer that is NaN or infinite.
    pub n_invalid: u64,
    /// Valid pairs that a scorer ties on and the tie rule excludes.
    pub n_excluded: u64,
    /// Pairs on which the first earns more.
    pub n_first_better: u64,
    /// Pairs on which the second earns more.
    pub n_second_better: u64,
    /// The first's accuracy on the `n` pairs.
    pub first: f64,
    /// The second's accuracy on the `n` pairs.
    pub second: f64,
    /// Takes pairs for independent of each other.
    pub mcnemar: Mcnemar,
    /// Takes clusters for independent of each other.
    pub difference: Difference,
}

/// Two scorers, per group and overall.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PairedComparison {
    /// One per group id.
    pub groups: Vec<GroupComparison>,
    /// All pairs as one group.
    pub overall: GroupComparison,
    /// The first's mean accuracy over the groups that have one.
    pub first_macro: f64,
    /// The second's.
    pub second_macro: f64,
    /// The mean of the groups' differences.
    pub macro_difference: Difference,
    /// Clusters with a pair that is compared; they are what is drawn.
    pub n_clusters: usize,
}

/// Compares two scorers on the same pairs: `McNemar`'s exact test, and a clustered bootstrap of the
/// difference of their accuracies. Complexity as [`accuracy_intervals`](super::accuracy_intervals).
///
/// # Errors
///
/// [`Error::InvalidArgument`] as [`accuracy_intervals`](super::accuracy_intervals), and where the two
/// scorers have not the same number of pairs.
///
/// # Example
///
/// ```
/// use similar_fast_core::metrics::{
///     AccuracyOptions, BootstrapOptions, Labels, PairColumns, compare,
/// };
///
/// let first = PairColumns { chosen: &[1.0; 3], rejected: &[0.0; 3] };
/// let second = PairColumns { chosen: &[0.0, 2.0, 0.0], rejected: &[1.0; 3] };
/// let (groups, tasks) = (Labels { ids: &[0; 3], count: 1 }, Labels { ids: &[0, 1, 2], count: 3 });
/// let draws = BootstrapOptions::default();
/// let result = compare([&first, &second], groups, tasks, AccuracyOptions::default(), draws)?;
/// assert_eq!((result.overall.n_first_better, result.overall.n_second_better), (2, 0));
/// assert!((result.overall.mcnemar.p_value - 0.5).abs() < 1e-12);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
pub fn compare<T: Copy + Into<f64>>(
    scorers: [&PairColumns<'_, T>; 2],
    groups: Labels<'_>,
    clusters: Labels<'_>,
    options: AccuracyOptions,
    bootstrap: BootstrapOptions,
) -> Result<PairedComparison, Error> {
    let [first, second] = scorers;
    let n = first.chosen.len();
    first.check()?;
    second.check()?;
    same_length("second", second.chosen.len(), n)?;
    groups.check("groups", n)?;
    clusters.check("clusters", n)?;
    options.check()?;
    bootstrap.check()?;
    let pairs = || first.rows().zip(second.rows());
    let mut counts = vec![Counts::default(); groups.count];
    for ((first, second), &group) in pairs().zip(groups.ids) {
        counts[group as usize].add(first, second, options);
    }
    // The difference of what a pair earns, raised by its unit of 2 so that it is never negative; the
    // origin 1 takes it off again.
    let rows = pairs().map(|(first, second)| {
        Some(options.earned(first.0, first.1)? + 2 - options.earned(second.0, second.1)?)
    });
    let tallies = Tallies::new(rows, groups, clusters, 2, 1);
    let sampled = tallies.sample(bootstrap);
    let overall = counts.iter().fold(Counts::default(), Counts::merged);
    let groups: Vec<GroupComparison> = counts
        .iter()
        .zip(sampled.groups)
        .map(|(counts, sampled)| counts.finish(difference(sampled, bootstrap)))
        .collect();
    Ok(PairedComparison {
        first_macro: mean_defined(groups.iter().map(|group| group.first)),
        second_macro: mean_defined(groups.iter().map(|group| group.second)),
        groups,
        overall: overall.finish(difference(sampled.micro, bootstrap)),
        macro_difference: difference(sampled.macro_average, bootstrap),
        n_clusters: tallies.num_clusters(),
    })
}

fn difference(sampled: Sampled, options: BootstrapOptions) -> Difference {
    Difference {
        p_value: sampled.p_value(),
        estimate: sampled.estimate(options),
    }
}

/// `McNemar`'s exact test of `first` against `second` discordant pairs: the binomial test of a fair
/// coin, here of the sign of the difference in what a pair earns. O(`first + second`).
///
/// Source: `McNemar` 1947, Psychometrika 12; mid-p: Fagerland, Lydersen and Laake 2013, BMC Medical
/// Research Methodology 13:91. `X` binomial of `first + second` fair tosses, `k` the smaller count:
/// `p = min(1, 2 P(X <= k))`, `mid-p = 2 P(X <= k) - P(X = k)`.
pub fn mcnemar(first: u64, second: u64) -> Mcnemar {
    let (n, k) = ((first + second) as f64, first.min(second) as f64);
    let log_choose = libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
    let at_k = libm::exp(log_choose - n * std::f64::consts::LN_2);
    let (mut below, mut term, mut i) = (at_k, at_k, k);
    while i > 0.0 && term > below * f64::EPSILON / 4.0 {
        term *= i / (n - i + 1.0);
        below += term;
        i -= 1.0;
    }
    Mcnemar {
        p_value: (2.0 * below).min(1.0),
        mid_p_value: (2.0 * below - at_k).min(1.0),
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    n: u64,
    invalid: u64,
    excluded: u64,
    first_better: u64,
    second_better: u64,
    first_earned: u64,
    second_earned: u64,
}

impl Counts {
    fn add(&mut self, first: (f64, f64), second: (f64, f64), options: AccuracyOptions) {
        if ![first.0, first.1, second.0, second.1]
            .iter()
            .all(|score| score.is_finite())
        {
            self.invalid += 1;
            return;
        }
        let earned = |pair: (f64, f64)| options.earned(pair.0, pair.1);
        let (Some(first), Some(second)) = (earned(first), earned(second)) else {
            self.excluded += 1;
            return;
        };
        self.n += 1;
        self.first_better += u64::from(first > second);
        self.second_better += u64::from(second > first);
        self.first_earned += u64::from(first);
        self.second_earned += u64::from(second);
    }

    fn merged(self, other: &Self) -> Self {
        Self {
            n: self.n + other.n,
            invalid: self.invalid + other.invalid,
            excluded: self.excluded + other.excluded,
            first_better: self.first_better + other.first_better,
            second_better: self.second_better + other.second_better,
            first_earned: self.first_earned + other.first_earned,
            second_earned: self.second_earned + other.second_earned,
        }
    }

    fn finish(self, difference: Difference) -> GroupComparison {
        let halves = (2 * self.n) as f64;
        GroupComparison {
            n: self.n,
            n_invalid: self.invalid,
            n_excluded: self.excluded,
            n_first_better: self.first_better,
            n_second_better: self.second_better,
            first: self.first_earned as f64 / halves,
            second: self.second_earned as f64 / halves,
            mcnemar: mcnemar(self.first_better, self.second_better),
            difference,
        }
    }
}
