//! The bootstrap over clusters: pairs of one task are not independent, so whole tasks are drawn.
//!
//! Only what a cluster earns in each group matters, so a draw is one multinomial sample over the
//! clusters and two sums a group: O(clusters + entries), whatever the number of pairs.
//!
//! Source: Davison and Hinkley 1997, "Bootstrap methods and their application", 2.4 and 3.8; Efron
//! 1987, "Better bootstrap confidence intervals", JASA 82 (`BCa`).

use super::accuracy::mean_defined;
use super::columns::Labels;
use super::interval::{Interval, check_level, normal_cdf, normal_quantile};
use super::quantile::quantile;
use super::random::Words;
use crate::Error;

/// How an interval is read off the draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The draws' quantiles.
    #[default]
    Percentile,
    /// Quantiles corrected for bias and skewness, the skewness taken from leaving out each cluster.
    Bca,
}

/// Draws, at most: the figures of every draw are held.
const MAX_DRAWS: u32 = 10_000_000;

/// How a bootstrap draws, and what it reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapOptions {
    /// Draws, in 1..=10,000,000.
    pub num_draws: u32,
    /// The intervals' level, in (0, 1).
    pub level: f64,
    /// The same seed gives the same draws, on every machine.
    pub seed: u64,
    /// How an interval is read off the draws.
    pub method: Method,
}

impl BootstrapOptions {
    pub(super) fn check(self) -> Result<(), Error> {
        if !(1..=MAX_DRAWS).contains(&self.num_draws) {
            let found = self.num_draws.to_string();
            return Err(Error::invalid("num_draws", "in 1..=10000000", found));
        }
        check_level(self.level)
    }
}

impl Default for BootstrapOptions {
    fn default() -> Self {
        Self {
            num_draws: 10_000,
            level: 0.95,
            seed: 0,
            method: Method::Percentile,
        }
    }
}

/// A figure and what resampling says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The figure itself, on the rows as they are.
    pub value: f64,
    /// NaN where fewer than two clusters count.
    pub interval: Interval,
    /// The draws' standard deviation; NaN where fewer than two clusters or draws count.
    pub standard_error: f64,
    /// Draws that hold no row of the figure and are therefore left out.
    pub n_undefined_draws: u32,
}

/// What each cluster earns, by group. A figure is `earned / counted - origin`.
pub(super) struct Tallies {
    groups: Vec<Vec<Entry>>,
    num_clusters: usize,
    origin: u32,
}

/// What one cluster earns in one group; `counted > 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    cluster: u32,
    earned: u32,
    counted: u32,
}

/// A figure for each group, over all pairs, and averaged over groups.
pub(super) struct Figures<T> {
    pub(super) groups: Vec<T>,
    pub(super) micro: T,
    pub(super) macro_average: T,
}

impl Tallies {
    /// Sums what rows earn. Clusters in which nothing counts are no clusters, so that an invalid row
    /// changes nothing; the others keep the order of their ids. `earned` is in units of which a row
    /// that counts has `unit`.
    pub(super) fn new(
        rows: impl Iterator<Item = Option<u32>>,
        groups: Labels<'_>,
        clusters: Labels<'_>,
        unit: u32,
        origin: u32,
    ) -> Self {
        let mut entries = vec![Vec::new(); groups.count];
        let mut place = vec![0u32; clusters.count];
        for ((earned, &group), &cluster) in rows.zip(groups.ids).zip(clusters.ids) {
            let Some(earned) = earned else { continue };
            place[cluster as usize] = 1;
            entries[group as usize].push(Entry {
                cluster,
                earned,
                counted: unit,
            });
        }
        let mut num_clusters = 0;
        for place in &mut place {
            num_clusters += std::mem::replace(place, num_clusters);
        }
        for group in &mut entries {
            *group = merged(std::mem::take(group), &place);
        }
        Self {
            groups: entries,
            num_clusters: num_clusters as usize,
            origin,
        }
    }

    pub(super) fn num_clusters(&self) -> usize {
        self.num_clusters
    }

    fn figure(&self, earned: u64, counted: u64) -> f64 {
        // Integers below 2^62, so that the difference is exact and the only rounding is the quotient's.
        let excess = earned as i64 - i64::from(self.origin) * counted as i64;
        excess as f64 / counted as f64
    }

    /// The figures where cluster `i` counts `weights[i]` times.
    fn figures(&self, weights: &[u32]) -> Figures<f64> {
        let (mut all_earned, mut all_counted) = (0, 0);
        let mut groups = Vec::with_capacity(self.groups.len());
        for entries in &self.groups {
            let (earned, counted) = weighted_sums(entries, weights);
            all_earned += earned;
            all_counted += counted;
            groups.push(self.figure(earned, counted));
        }
        Figures {
            micro: self.figure(all_earned, all_counted),
            macro_average: mean_defined(groups.iter().copied()),
            groups,
        }
    }

    /// Every figure with its draws.
    pub(super) fn sample(&self, options: BootstrapOptions) -> Figures<Sampled> {
        let mut weights = vec![1; self.num_clusters];
        let values = self.figures(&weights);
        let mut draws: Vec<Vec<f64>> = vec![Vec::new(); self.groups.len() + 2];
        let words = Words::new(options.seed);
        for draw in 0..u64::from(options.num_draws) {
            words.resample(draw, &mut weights);
            let figures = self.figures(&weights);
            let all = figures
                .groups
                .iter()
                .chain([&figures.micro, &figures.macro_average]);
            for (draws, &figure) in draws.iter_mut().zip(all) {
                draws.push(figure);
            }
        }
        let mut left_out = self.left_out(options.method);
        let mut take = |place: usize, value, num_clusters| Sampled {
            value,
            draws: std::mem::take(&mut draws[place]),
            left_out: left_out
                .get_mut(place)
                .map(std::mem::take)
                .unwrap_or_default(),
            num_clusters,
        };
        let last = self.groups.len();
        Figures {
            groups: (0..last)
                .map(|i| take(i, values.groups[i], self.groups[i].len()))
                .collect(),
            micro: take(last, values.micro, self.num_clusters),
            macro_average: take(last + 1, values.macro_average, self.num_clusters),
        }
    }

    /// The figures without each cluster, for `BCa` alone: `[groups, micro, macro][clusters]`.
    fn left_out(&self, method: Method) -> Vec<Vec<f64>> {
        if method == Method::Percentile {
            return Vec::new();
        }
        let weights = vec![1; self.num_clusters];
        let mut all = vec![Vec::with_capacity(self.num_clusters); self.groups.len() + 2];
        let sums: Vec<(u64, u64)> = self
            .groups
            .iter()
            .map(|entries| weighted_sums(entries, &weights))
            .collect();
        let mut next = vec![0; self.groups.len()];
        for cluster in 0..self.num_clusters as u32 {
            let (mut earned, mut counted) = (0, 0);
            let mut groups = Vec::with_capacity(sums.len());
            for ((entries, next), sum) in self.groups.iter().zip(&mut next).zip(&sums) {
                let entry = entries.get(*next).filter(|entry| entry.cluster == cluster);
                *next += usize::from(entry.is_some());
                let rest = entry.map_or(*sum, |entry| {
                    (
                        sum.0 - u64::from(entry.earned),
                        sum.1 - u64::from(entry.counted),
                    )
                });
                earned += rest.0;
                counted += rest.1;
                groups.push(self.figure(rest.0, rest.1));
            }
            let micro = self.figure(earned, counted);
            let macro_average = mean_defined(groups.iter().copied());
            for (figures, figure) in all
                .iter_mut()
                .zip(groups.into_iter().chain([micro, macro_average]))
            {
                figures.push(figure);
            }
        }
        all
    }
}

/// One entry a cluster, by renumbered cluster.
fn merged(mut rows: Vec<Entry>, place: &[u32]) -> Vec<Entry> {
    rows.sort_unstable_by_key(|row| row.cluster);
    let mut entries: Vec<Entry> = Vec::new();
    for row in rows {
        let cluster = place[row.cluster as usize];
        match entries.last_mut() {
            Some(last) if last.cluster == cluster => {
                last.earned += row.earned;
                last.counted += row.counted;
            }
            _ => entries.push(Entry { cluster, ..row }),
        }
    }
    entries
}

fn weighted_sums(entries: &[Entry], weights: &[u32]) -> (u64, u64) {
    entries.iter().fold((0, 0), |(earned, counted), entry| {
        let weight = u64::from(weights[entry.cluster as usize]);
        (
            earned + weight * u64::from(entry.earned),
            counted + weight * u64::from(entry.counted),
        )
    })
}

/// One figure and its draws.
pub(super) struct Sampled {
    value: f64,
    draws: Vec<f64>,
    left_out: Vec<f64>,
    num_clusters: usize,
}

impl Sampled {
    /// The two-sided p-value of a figure of 0, by turning the percentile interval around: twice the
    /// smaller share of draws on either side of 0, the observed figure counted as a draw, at most 1.
    ///
    /// Source: Davison and Hinkley 1997, 4.2 and 5.4 (`(r + 1) / (R + 1)`).
    pub(super) fn p_value(&self) -> f64 {
        let defined = self.draws.iter().filter(|draw| !draw.is_nan()).count();
        if defined == 0 || self.num_clusters < 2 {
            return f64::NAN;
        }
        let below = self.draws.iter().filter(|&&draw| draw <= 0.0).count();
        let above = self.draws.iter().filter(|&&draw| draw >= 0.0).count();
        (2.0 * (below.min(above) + 1) as f64 / (defined + 1) as f64).min(1.0)
    }

    pub(super) fn estimate(self, options: BootstrapOptions) -> Estimate {
        let mut draws = self.draws;
        let num_draws = draws.len();
        draws.retain(|draw| !draw.is_nan());
        let n_undefined_draws = (num_draws - draws.len()) as u32;
        if self.num_clusters < 2 || draws.is_empty() {
            return Estimate {
                value: self.value,
                interval: Interval::undefined(options.level),
                standard_error: f64::NAN,
                n_undefined_draws,
            };
        }
        let standard_error = standard_deviation(&draws);
        draws.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - options.level) / 2.0;
        let (low, high) = match options.method {
            Method::Percentile => (tail, 1.0 - tail),
            Method::Bca => bca_levels(self.value, &draws, &self.left_out, tail),
        };
        Estimate {
            value: self.value,
            interval: Interval {
                low: quantile(&draws, low),
                high: quantile(&draws, high),
                level: options.level,
            },
            standard_error,
            n_undefined_draws,
        }
    }
}

fn standard_deviation(draws: &[f64]) -> f64 {
    let n = draws.len() as f64;
    let mean = draws.iter().sum::<f64>() / n;
    let squares: f64 = draws.iter().map(|draw| (draw - mean).powi(2)).sum();
    (squares / (n - 1.0)).sqrt()
}

/// The levels at which `BCa` reads the draws (Efron 1987, equations 6.8 and 6.6): `z0` the normal
/// quantile of the share of draws below the figure, equal ones by half, `a` the skewness of the
/// figures without each cluster. NaN where all draws are on one side of the figure.
fn bca_levels(value: f64, sorted: &[f64], left_out: &[f64], tail: f64) -> (f64, f64) {
    if sorted[0].total_cmp(&sorted[sorted.len() - 1]).is_eq() {
        return (tail, 1.0 - tail);
    }
    let below = sorted.partition_point(|&draw| draw < value);
    let not_above = sorted.partition_point(|&draw| draw <= value);
    let z0 = normal_quantile((below + not_above) as f64 / (2 * sorted.len()) as f64);
    let a = acceleration(left_out);
    let level = |z: f64| {
        let shifted = z0 + z;
        normal_cdf(z0 + shifted / (1.0 - a * shifted))
    };
    let z = normal_quantile(1.0 - tail);
    if z0.is_finite() {
        (level(-z), level(z))
    } else {
        (f64::NAN, f64::NAN)
    }
}

fn acceleration(left_out: &[f64]) -> f64 {
    let defined = || left_out.iter().filter(|figure| !figure.is_nan());
    let mean = mean_defined(left_out.iter().copied());
    let squares: f64 = defined().map(|figure| (mean - figure).powi(2)).sum();
    let cubes: f64 = defined().map(|figure| (mean - figure).powi(3)).sum();
    if squares > 0.0 {
        cubes / (6.0 * squares.powf(1.5))
    } else {
        0.0
    }
}
