//! Pairwise accuracy: how often the chosen step scores above the rejected one.
//!
//! A pair is *correct* where `chosen - rejected > tie_tolerance`, a *tie* where
//! `|chosen - rejected| <= tie_tolerance`, *wrong* below that, and *invalid* where either score is
//! NaN or infinite. Every pair is counted as exactly one of the four.
//!
//! Source: the accuracy of `RewardBench` (Lambert et al. 2024, arXiv 2403.13787), with ties and
//! invalid pairs made explicit.

use super::columns::{Labels, PairColumns};
use crate::Error;

/// What a tie is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ties {
    /// Half a correct pair, as a coin flip would earn. Swapping the two columns turns `a` into
    /// `1 - a`.
    #[default]
    Half,
    /// Nothing.
    Wrong,
    /// It is counted, but is no part of the accuracy.
    Exclude,
}

/// How pairs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AccuracyOptions {
    /// What a tie is worth.
    pub ties: Ties,
    /// The greatest difference that is a tie; finite, at least 0.
    pub tie_tolerance: f64,
}

/// The pairs of one group, counted.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct GroupAccuracy {
    /// Valid pairs: correct, tied and wrong ones.
    pub n: u64,
    /// Pairs whose chosen score is greater.
    pub n_correct: u64,
    /// Valid pairs that tie.
    pub n_ties: u64,
    /// Pairs with a score that is NaN or infinite; no part of `n`.
    pub n_invalid: u64,
    /// In [0, 1]; NaN where no pair counts.
    pub accuracy: f64,
}

/// Pairwise accuracy, per group and overall.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Accuracy {
    /// One per group id.
    pub groups: Vec<GroupAccuracy>,
    /// All pairs as one group: its accuracy is the micro average.
    pub overall: GroupAccuracy,
    /// The macro average: the mean accuracy of the groups that have one; NaN where none has.
    pub macro_accuracy: f64,
}

/// Counts the pairs of each group and says how often the chosen score is the greater one.
///
/// `chosen` and `rejected` are `[n]`; `groups` is `[n]`, ids in `0..num_groups`. Differences are
/// taken in f64. O(n + `num_groups`).
///
/// # Errors
///
/// [`Error::InvalidArgument`] where the three differ in length, an id is out of range or the
/// tolerance is negative, NaN or infinite.
///
/// # Example
///
/// ```
/// use similar_fast_core::metrics::{AccuracyOptions, pairwise_accuracy};
///
/// let options = AccuracyOptions::default();
/// let result = pairwise_accuracy(&[2.0, 1.0], &[1.0, 1.0], &[0, 0], 1, options)?;
/// assert_eq!(result.overall.accuracy, 0.75);
/// assert_eq!(result.overall.n_ties, 1);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
pub fn pairwise_accuracy<T: Copy + Into<f64>>(
    chosen: &[T],
    rejected: &[T],
    groups: &[u32],
    num_groups: usize,
    options: AccuracyOptions,
) -> Result<Accuracy, Error> {
    let pairs = PairColumns { chosen, rejected };
    let groups = Labels {
        ids: groups,
        count: num_groups,
    };
    pairs.check()?;
    groups.check("groups", chosen.len())?;
    options.check()?;
    Ok(count_pairs(&pairs, groups, options))
}

/// [`pairwise_accuracy`] of columns that were checked.
pub(super) fn count_pairs<T: Copy + Into<f64>>(
    pairs: &PairColumns<'_, T>,
    groups: Labels<'_>,
    options: AccuracyOptions,
) -> Accuracy {
    let mut counts = vec![Counts::default(); groups.count];
    for ((chosen, rejected), &group) in pairs.rows().zip(groups.ids) {
        counts[group as usize].add(chosen, rejected, options.tie_tolerance);
    }
    let overall = counts
        .iter()
        .fold(Counts::default(), |sum, group| sum.merged(*group));
    let groups: Vec<GroupAccuracy> = counts.iter().map(|c| c.finish(options.ties)).collect();
    Accuracy {
        macro_accuracy: mean_defined(groups.iter().map(|group| group.accuracy)),
        overall: overall.finish(options.ties),
        groups,
    }
}

impl AccuracyOptions {
    pub(super) fn check(self) -> Result<(), Error> {
        let tolerance = self.tie_tolerance;
        if tolerance.is_finite() && tolerance >= 0.0 {
            return Ok(());
        }
        let found = tolerance.to_string();
        Err(Error::invalid(
            "tie_tolerance",
            "finite and at least 0",
            found,
        ))
    }

    /// What a pair earns of 2, in halves of a pair; `None` where it is invalid or excluded.
    pub(super) fn earned(self, chosen: f64, rejected: f64) -> Option<u32> {
        let difference = chosen - rejected;
        if !(chosen.is_finite() && rejected.is_finite()) {
            None
        } else if difference.abs() > self.tie_tolerance {
            Some(if difference > 0.0 { 2 } else { 0 })
        } else {
            match self.ties {
                Ties::Half => Some(1),
                Ties::Wrong => Some(0),
                Ties::Exclude => None,
            }
        }
    }
}

/// The mean of the values that are no NaN; NaN where all are.
pub(super) fn mean_defined(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values
        .filter(|value| !value.is_nan())
        .fold((0.0, 0u64), |(sum, n), value| (sum + value, n + 1));
    sum / n as f64
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    pairs: u64,
    correct: u64,
    ties: u64,
    invalid: u64,
}

impl Counts {
    // Sums of booleans, so that no branch depends on which way a pair goes.
    fn add(&mut self, chosen: f64, rejected: f64, tie_tolerance: f64) {
        let difference = chosen - rejected;
        let is_valid = chosen.is_finite() && rejected.is_finite();
        self.pairs += 1;
        self.correct += u64::from(is_valid && difference > tie_tolerance);
        self.ties += u64::from(is_valid && difference.abs() <= tie_tolerance);
        self.invalid += u64::from(!is_valid);
    }

    fn merged(self, other: Self) -> Self {
        Self {
            pairs: self.pairs + other.pairs,
            correct: self.correct + other.correct,
            ties: self.ties + other.ties,
            invalid: self.invalid + other.invalid,
        }
    }

    fn finish(self, ties: Ties) -> GroupAccuracy {
        let n = self.pairs - self.invalid;
        let correct = self.correct as f64;
        let accuracy = match ties {
            Ties::Half => (correct + self.ties as f64 / 2.0) / n as f64,
            Ties::Wrong => correct / n as f64,
            Ties::Exclude => correct / (n - self.ties) as f64,
        };
        GroupAccuracy {
            n,
            n_correct: self.correct,
            n_ties: self.ties,
            n_invalid: self.invalid,
            accuracy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(
        pairs: &[(f64, f64)],
        groups: &[u32],
        num_groups: usize,
        options: AccuracyOptions,
    ) -> Accuracy {
        let (chosen, rejected): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        pairwise_accuracy(&chosen, &rejected, groups, num_groups, options).unwrap()
    }

    fn with(ties: Ties) -> AccuracyOptions {
        AccuracyOptions {
            ties,
            ..AccuracyOptions::default()
        }
    }

    #[test]
    fn every_pair_is_counted_once() {
        let pairs = [
            (2.0, 1.0),
            (1.0, 1.0),
            (0.0, 1.0),
            (f64::NAN, 1.0),
            (1.0, f64::INFINITY),
        ];

        let overall = of(&pairs, &[0; 5], 1, AccuracyOptions::default()).overall;

        let expected = GroupAccuracy {
            n: 3,
            n_correct: 1,
            n_ties: 1,
            n_invalid: 2,
            accuracy: 0.5,
        };
        assert_eq!(overall, expected);
    }

    #[test]
    fn ties_are_worth_what_the_rule_says() {
        let pairs = [(2.0, 1.0), (2.0, 1.0), (1.0, 1.0), (0.0, 1.0)];
        for (ties, expected) in [
            (Ties::Half, 2.5 / 4.0),
            (Ties::Wrong, 2.0 / 4.0),
            (Ties::Exclude, 2.0 / 3.0),
        ] {
            let overall = of(&pairs, &[0; 4], 1, with(ties)).overall;
            assert!((overall.accuracy - expected).abs() < 1e-15, "{ties:?}");
            assert_eq!((overall.n, overall.n_ties), (4, 1));
        }
    }

    #[test]
    fn tolerance_is_inclusive() {
        let options = AccuracyOptions {
            tie_tolerance: 0.5,
            ..AccuracyOptions::default()
        };

        let result = of(&[(1.5, 1.0), (1.0, 1.5), (1.51, 1.0)], &[0; 3], 1, options);

        assert_eq!((result.overall.n_ties, result.overall.n_correct), (2, 1));
    }

    #[test]
    fn macro_is_the_mean_of_the_groups_that_have_an_accuracy() {
        let pairs = [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (f64::NAN, 0.0)];

        let result = of(&pairs, &[0, 0, 1, 2], 3, AccuracyOptions::default());

        assert!((result.macro_accuracy - 0.75).abs() < 1e-15);
        assert!((result.overall.accuracy - 2.0 / 3.0).abs() < 1e-15);
        assert!(result.groups[2].accuracy.is_nan());
        assert_eq!(result.groups[2].n_invalid, 1);
    }

    #[test]
    fn nothing_to_count_is_nan() {
        let result = of(&[], &[], 0, AccuracyOptions::default());

        assert!(result.overall.accuracy.is_nan() && result.macro_accuracy.is_nan());
        assert_eq!(result.overall.n, 0);
    }

    #[test]
    fn wrong_arguments_are_named() {
        let options = AccuracyOptions::default();
        let text = |result: Result<Accuracy, Error>| result.unwrap_err().to_string();

        assert_eq!(
            text(pairwise_accuracy(&[1.0, 2.0], &[1.0], &[0, 0], 1, options)),
            "rejected must be as long as the other columns, got 1 against 2"
        );
        assert_eq!(
            text(pairwise_accuracy(&[1.0], &[1.0], &[], 1, options)),
            "groups must be as long as the other columns, got 0 against 1"
        );
        assert_eq!(
            text(pairwise_accuracy(&[1.0], &[1.0], &[1], 1, options)),
            "groups must be ids below their number, got 1 with 1 ids"
        );
        for tie_tolerance in [-1.0, f64::NAN, f64::INFINITY] {
            let options = AccuracyOptions {
                tie_tolerance,
                ..options
            };
            assert!(
                text(pairwise_accuracy(&[1.0], &[1.0], &[0], 1, options))
                    .starts_with("tie_tolerance must be finite and at least 0")
            );
        }
    }

    type Row = (f64, f64, u32);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let score = prop_oneof![
            8 => (-4i32..4).prop_map(|x| f64::from(x) / 2.0),
            1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        ];
        prop::collection::vec((score.clone(), score, 0u32..3), 0..40)
    }

    fn of_rows(rows: &[Row], options: AccuracyOptions) -> Accuracy {
        let pairs: Vec<(f64, f64)> = rows.iter().map(|r| (r.0, r.1)).collect();
        let groups: Vec<u32> = rows.iter().map(|r| r.2).collect();
        of(&pairs, &groups, 3, options)
    }

    /// NaN is equal to itself here, and everything else only to its own bits.
    fn bits(result: &Accuracy) -> Vec<(u64, u64, u64, u64, u64)> {
        let all = result.groups.iter().chain([&result.overall]);
        all.map(|g| {
            (
                g.n,
                g.n_correct,
                g.n_ties,
                g.n_invalid,
                g.accuracy.to_bits(),
            )
        })
        .collect()
    }

    proptest! {
        #[test]
        fn prop_swapping_turns_a_into_its_complement(rows in rows(), tolerance in 0u32..3) {
            let options = AccuracyOptions {
                tie_tolerance: f64::from(tolerance) / 2.0,
                ..with(Ties::Half)
            };
            let swapped: Vec<Row> = rows.iter().map(|&(c, r, g)| (r, c, g)).collect();
            let (one, other) = (of_rows(&rows, options), of_rows(&swapped, options));
            for (a, b) in one.groups.iter().zip(&other.groups) {
                prop_assert_eq!((a.n, a.n_ties, a.n_invalid), (b.n, b.n_ties, b.n_invalid));
                prop_assert!(a.n == 0 || (a.accuracy + b.accuracy - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn prop_swapping_holds_for_every_rule_without_ties(rows in rows()) {
            let rows: Vec<Row> = rows.into_iter().filter(|r| r.0.total_cmp(&r.1).is_ne()).collect();
            let swapped: Vec<Row> = rows.iter().map(|&(c, r, g)| (r, c, g)).collect();
            for ties in [Ties::Half, Ties::Wrong, Ties::Exclude] {
                let a = of_rows(&rows, with(ties)).overall;
                let b = of_rows(&swapped, with(ties)).overall;
                prop_assert!(a.n == 0 || (a.accuracy + b.accuracy - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn prop_no_row_is_dropped_and_order_is_nothing(
            (rows, shuffled) in rows().prop_flat_map(|r| (Just(r.clone()), Just(r).prop_shuffle())),
        ) {
            let result = of_rows(&rows, AccuracyOptions::default());
            let counted: u64 = result.groups.iter().map(|g| g.n + g.n_invalid).sum();
            prop_assert_eq!(counted, rows.len() as u64);
            prop_assert_eq!(result.overall.n + result.overall.n_invalid, counted);
            let again = of_rows(&shuffled, AccuracyOptions::default());
            prop_assert_eq!(bits(&result), bits(&again));
        }
    }
}
