//! Laws of intervals, comparisons and calibration, on small random data.

use proptest::prelude::*;
use similar_fast_core::metrics::{
    AccuracyIntervals, AccuracyOptions, Binning, Bins, BootstrapOptions, Estimate, Labels, Method,
    PairColumns, PairedComparison, Ties, accuracy_intervals, calibration_table, compare,
    fit_temperature, mcnemar, pair_calibration,
};

/// `(chosen, rejected, group, cluster)`.
type Row = (f64, f64, u32, u32);

const GROUPS: usize = 3;
const CLUSTERS: usize = 6;

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-3i32..4).prop_map(f64::from),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY]),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (score(), score(), 0..GROUPS as u32, 0..CLUSTERS as u32);
    prop::collection::vec(row, 0..40)
}

fn ties() -> impl Strategy<Value = Ties> {
    prop::sample::select(vec![Ties::Half, Ties::Wrong, Ties::Exclude])
}

fn draws(method: Method) -> BootstrapOptions {
    BootstrapOptions {
        num_draws: 200,
        seed: 7,
        method,
        ..BootstrapOptions::default()
    }
}

fn with(ties: Ties) -> AccuracyOptions {
    AccuracyOptions {
        ties,
        ..AccuracyOptions::default()
    }
}

struct Columns {
    chosen: Vec<f64>,
    rejected: Vec<f64>,
    groups: Vec<u32>,
    clusters: Vec<u32>,
}

impl Columns {
    fn of(rows: &[Row]) -> Self {
        Self {
            chosen: rows.iter().map(|row| row.0).collect(),
            rejected: rows.iter().map(|row| row.1).collect(),
            groups: rows.iter().map(|row| row.2).collect(),
            clusters: rows.iter().map(|row| row.3).collect(),
        }
    }

    fn pairs(&self) -> PairColumns<'_, f64> {
        PairColumns {
            chosen: &self.chosen,
            rejected: &self.rejected,
        }
    }

    fn groups(&self) -> Labels<'_> {
        Labels {
            ids: &self.groups,
            count: GROUPS,
        }
    }

    fn clusters(&self) -> Labels<'_> {
        Labels {
            ids: &self.clusters,
            count: CLUSTERS,
        }
    }
}

fn intervals(rows: &[Row], ties: Ties, method: Method) -> AccuracyIntervals {
    let columns = Columns::of(rows);
    let (groups, clusters) = (columns.groups(), columns.clusters());
    accuracy_intervals(
        &columns.pairs(),
        groups,
        clusters,
        with(ties),
        draws(method),
    )
    .unwrap()
}

/// Compares the rows' scores with the same scores after `change`.
fn compared(rows: &[Row], change: impl Fn(Row) -> Row, swap: bool) -> PairedComparison {
    let (one, other) = (
        Columns::of(rows),
        Columns::of(&rows.iter().map(|&row| change(row)).collect::<Vec<_>>()),
    );
    let (first, second) = (one.pairs(), other.pairs());
    let scorers = if swap {
        [&second, &first]
    } else {
        [&first, &second]
    };
    let options = AccuracyOptions::default();
    compare(
        scorers,
        one.groups(),
        one.clusters(),
        options,
        draws(Method::Percentile),
    )
    .unwrap()
}

fn estimates(result: &AccuracyIntervals) -> impl Iterator<Item = &Estimate> {
    result
        .groups
        .iter()
        .chain([&result.micro, &result.macro_average])
}

/// NaN is equal to itself here.
fn bits(estimate: &Estimate) -> [u64; 4] {
    let Estimate {
        value, interval, ..
    } = estimate;
    [*value, interval.low, interval.high, estimate.standard_error].map(f64::to_bits)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-12 || (a.is_nan() && b.is_nan())
}

proptest! {
    #[test]
    fn prop_figures_are_those_of_accuracy_and_bounds_are_in_order(
        rows in rows(), ties in ties(), bca in any::<bool>(),
    ) {
        let method = if bca { Method::Bca } else { Method::Percentile };
        let result = intervals(&rows, ties, method);
        for (estimate, group) in result.groups.iter().zip(&result.accuracy.groups) {
            prop_assert!(near(estimate.value, group.accuracy));
        }
        prop_assert!(near(result.micro.value, result.accuracy.overall.accuracy));
        prop_assert!(near(result.macro_average.value, result.accuracy.macro_accuracy));
        for estimate in estimates(&result) {
            let (low, high) = (estimate.interval.low, estimate.interval.high);
            prop_assert!(low.is_nan() == high.is_nan());
            prop_assert!(low.is_nan() || (0.0 <= low && low <= high && high <= 1.0));
            prop_assert!(result.n_clusters >= 2 || low.is_nan());
        }
    }

    #[test]
    fn prop_swapping_mirrors_the_interval(rows in rows()) {
        let swapped: Vec<Row> = rows.iter().map(|&(c, r, g, k)| (r, c, g, k)).collect();
        let one = intervals(&rows, Ties::Half, Method::Percentile);
        let other = intervals(&swapped, Ties::Half, Method::Percentile);
        for (a, b) in estimates(&one).zip(estimates(&other)) {
            prop_assert!(near(a.interval.low, 1.0 - b.interval.high));
            prop_assert!(near(a.interval.high, 1.0 - b.interval.low));
            prop_assert!(near(a.standard_error, b.standard_error));
        }
    }

    #[test]
    fn prop_row_order_and_invalid_rows_change_no_interval(
        (rows, shuffled) in rows().prop_flat_map(|r| (Just(r.clone()), Just(r).prop_shuffle())),
        ties in ties(),
    ) {
        let one = intervals(&rows, ties, Method::Bca);
        let mut others = shuffled;
        others.retain(|row| row.0.is_finite() && row.1.is_finite());
        others.extend((0..CLUSTERS as u32).map(|cluster| (f64::NAN, 0.0, 0, cluster)));
        let other = intervals(&others, ties, Method::Bca);
        prop_assert_eq!(one.n_clusters, other.n_clusters);
        for (a, b) in estimates(&one).zip(estimates(&other)) {
            prop_assert_eq!(bits(a), bits(b));
        }
    }

    #[test]
    fn prop_every_pair_twice_in_its_cluster_changes_no_interval(rows in rows(), ties in ties()) {
        let twice: Vec<Row> = rows.iter().chain(&rows).copied().collect();
        let one = intervals(&rows, ties, Method::Bca);
        let other = intervals(&twice, ties, Method::Bca);
        for (a, b) in estimates(&one).zip(estimates(&other)) {
            prop_assert_eq!(bits(a), bits(b));
        }
    }

    #[test]
    fn prop_swapping_scorers_negates_the_difference(rows in rows(), by in -3i32..4) {
        let change = |(c, r, g, k): Row| (c + f64::from(by) * f64::from(k % 3), r, g, k);
        let (one, other) = (compared(&rows, change, false), compared(&rows, change, true));
        let all = |result: &PairedComparison| {
            let rows = result.groups.iter().chain([&result.overall]);
            rows.map(|row| row.difference).chain([result.macro_difference]).collect::<Vec<_>>()
        };
        for (a, b) in all(&one).iter().zip(all(&other)) {
            prop_assert!(near(a.estimate.value, -b.estimate.value));
            prop_assert!(near(a.estimate.interval.low, -b.estimate.interval.high));
            prop_assert!(near(a.p_value, b.p_value));
        }
        prop_assert_eq!(one.overall.mcnemar, other.overall.mcnemar);
        prop_assert_eq!(one.overall.n_first_better, other.overall.n_second_better);
        prop_assert!(near(one.overall.difference.estimate.value, one.overall.first - one.overall.second));
        prop_assert!(near(one.macro_difference.estimate.value, one.first_macro - one.second_macro));
        let counted = one.groups.iter().map(|g| g.n + g.n_invalid + g.n_excluded).sum::<u64>();
        prop_assert_eq!(counted, rows.len() as u64);
    }

    #[test]
    fn prop_a_scorer_does_not_differ_from_itself(rows in rows()) {
        let result = compared(&rows, |row| row, false);
        prop_assert_eq!(result.overall.mcnemar.p_value.to_bits(), 1f64.to_bits());
        let difference = result.overall.difference;
        prop_assert!(result.n_clusters < 2 || near(difference.p_value, 1.0));
        prop_assert!(result.n_clusters < 2 || near(difference.estimate.interval.high, 0.0));
    }

    #[test]
    fn prop_mcnemar_is_symmetric_and_falls_with_the_gap(first in 0u64..60, second in 0u64..60) {
        let result = mcnemar(first, second);
        prop_assert_eq!(result, mcnemar(second, first));
        prop_assert!(0.0 < result.mid_p_value && result.mid_p_value <= result.p_value && result.p_value <= 1.0);
        let (less, more) = (first.min(second), first.max(second));
        prop_assert!(less == 0 || mcnemar(less - 1, more + 1).p_value < result.p_value);
    }

    #[test]
    fn prop_every_row_is_in_one_bin(
        rows in prop::collection::vec((score(), score()), 0..60), count in 1u32..8, mass in any::<bool>(),
    ) {
        let (predicted, observed): (Vec<f64>, Vec<f64>) = rows.iter().copied().unzip();
        let binning = if mass { Binning::Mass } else { Binning::Width };
        let table = calibration_table(&predicted, &observed, Bins { count, binning }, None).unwrap();
        prop_assert_eq!(table.n + table.n_invalid, rows.len() as u64);
        prop_assert_eq!(table.bins.iter().map(|bin| bin.n).sum::<u64>(), table.n);
        prop_assert!(table.n == 0 || table.bins.len() == count as usize);
        for bin in table.bins.iter().filter(|bin| bin.n > 0) {
            prop_assert!(bin.low <= bin.mean_predicted + 1e-12 && bin.mean_predicted <= bin.high + 1e-12);
        }
        prop_assert!(table.n == 0 || table.expected_error <= table.max_error + 1e-12);
    }

    #[test]
    fn prop_the_fitted_temperature_has_the_least_loss(rows in rows(), factor in 0.3..3.0f64) {
        let columns = Columns::of(&rows);
        let fit = fit_temperature(&columns.pairs()).unwrap();
        prop_assert_eq!(fit.n + fit.n_invalid, rows.len() as u64);
        if fit.temperature.is_finite() && fit.temperature > 0.0 {
            let bins = Bins { count: 1, binning: Binning::Width };
            let at = |t: f64| pair_calibration(&columns.pairs(), t, bins).unwrap().log_loss;
            prop_assert!(near(at(fit.temperature), fit.log_loss));
            prop_assert!(fit.log_loss <= at(fit.temperature * factor) + 1e-12);
        }
    }

    #[test]
    fn prop_calibration_is_the_same_whichever_step_is_named_first(rows in rows(), mass in any::<bool>()) {
        // Turning a pair around and its score as well says the same; the loss must not see it.
        let turned: Vec<Row> = rows.iter().map(|&(c, r, g, k)| (-r, -c, g, k)).collect();
        let bins = Bins { count: 4, binning: if mass { Binning::Mass } else { Binning::Width } };
        let (one, other) = (Columns::of(&rows), Columns::of(&turned));
        let one = pair_calibration(&one.pairs(), 0.7, bins).unwrap();
        let other = pair_calibration(&other.pairs(), 0.7, bins).unwrap();
        prop_assert!(near(one.brier, other.brier) && near(one.log_loss, other.log_loss));
        prop_assert!(near(one.table.expected_error, other.table.expected_error));
    }
}

#[test]
fn more_clusters_of_the_same_kind_narrow_the_interval() {
    let rows = |clusters: u32| -> Vec<Row> {
        let row = |i: u32| (f64::from(u8::from(!i.is_multiple_of(3))), 0.5, 0, i);
        (0..clusters).map(row).collect()
    };
    let width = |clusters: u32| {
        let columns = Columns::of(&rows(clusters));
        let of_all = Labels {
            ids: &columns.clusters,
            count: clusters as usize,
        };
        let result = accuracy_intervals(
            &columns.pairs(),
            columns.groups(),
            of_all,
            AccuracyOptions::default(),
            BootstrapOptions::default(),
        );
        let interval = result.unwrap().micro.interval;
        interval.high - interval.low
    };

    // Four times the clusters, half the width.
    assert!((width(300) / width(1200) - 2.0).abs() < 0.1);
}

#[test]
fn what_lies_in_one_cluster_has_no_interval() {
    let rows = [
        (1.0, 0.0, 0, 0),
        (0.0, 1.0, 0, 0),
        (1.0, 0.0, 1, 1),
        (0.0, 1.0, 1, 2),
        (f64::NAN, 1.0, 0, 3),
    ];

    let result = intervals(&rows, Ties::Half, Method::Percentile);

    assert_eq!(result.n_clusters, 3);
    assert!(result.groups[0].interval.low.is_nan() && result.groups[0].standard_error.is_nan());
    assert_eq!(
        (
            result.groups[1].interval.low,
            result.groups[1].interval.high
        ),
        (0.0, 1.0)
    );
    assert!(result.groups[1].n_undefined_draws > 0 && result.groups[2].n_undefined_draws == 200);
}

#[test]
fn all_ties_earn_half_in_every_draw() {
    let rows = [(1.0, 1.0, 0, 0), (2.0, 2.0, 0, 1)];

    let half = intervals(&rows, Ties::Half, Method::Bca).micro;
    let excluded = intervals(&rows, Ties::Exclude, Method::Bca);

    assert_eq!((half.interval.low, half.interval.high), (0.5, 0.5));
    assert!(excluded.micro.value.is_nan() && excluded.micro.interval.low.is_nan());
    assert_eq!(excluded.n_clusters, 0);
}

#[test]
fn temperatures_at_the_limits_are_named_by_the_limit() {
    let fit = |chosen: &[f64], rejected: &[f64]| {
        fit_temperature(&PairColumns { chosen, rejected }).unwrap()
    };

    assert_eq!(fit(&[1.0, 2.0], &[0.0, 0.0]).temperature.to_bits(), 0);
    assert!(fit(&[1.0, 0.0], &[0.0, 1.0]).temperature.is_infinite());
    assert!(fit(&[1.0], &[1.0]).temperature.is_nan());
    assert!(fit(&[f64::NAN], &[1.0]).log_loss.is_nan());
    // A wrong pair so slight that its slope is beyond every number.
    assert!(fit(&[1e300, 0.0], &[0.0, 1e-300]).temperature >= 0.0);
}

#[test]
fn wrong_arguments_are_named() {
    let columns = Columns::of(&[(1.0, 0.0, 0, 0)]);
    let of = |clusters: Labels<'_>, bootstrap: BootstrapOptions| {
        let options = AccuracyOptions::default();
        let result = accuracy_intervals(
            &columns.pairs(),
            columns.groups(),
            clusters,
            options,
            bootstrap,
        );
        result.unwrap_err().to_string()
    };
    let options = BootstrapOptions::default();

    let none = BootstrapOptions {
        num_draws: 0,
        ..options
    };
    assert_eq!(
        of(columns.clusters(), none),
        "num_draws must be in 1..=10000000, got 0"
    );
    let level = BootstrapOptions {
        level: f64::NAN,
        ..options
    };
    assert_eq!(
        of(columns.clusters(), level),
        "level must be between 0 and 1, got NaN"
    );
    let short = Labels { ids: &[], count: 1 };
    assert_eq!(
        of(short, options),
        "clusters must be as long as the other columns, got 0 against 1"
    );
    let bins = Bins {
        count: 2,
        binning: Binning::Width,
    };
    let text = calibration_table(&[1.5], &[1.0], bins, Some((0.0, 1.0)))
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "predicted must be inside of bounds, got 1.5 to 1.5 with 0 to 1"
    );
}
