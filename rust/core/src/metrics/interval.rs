//! Intervals, Wilson's score interval, and the normal distribution that they need.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::Error;

/// Two bounds, and how often such bounds should enclose the truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower bound; NaN where nothing can be said.
    pub low: f64,
    /// The upper bound; NaN where nothing can be said.
    pub high: f64,
    /// In (0, 1).
    pub level: f64,
}

impl Interval {
    /// An interval that says nothing.
    pub(super) fn undefined(level: f64) -> Self {
        Self {
            low: f64::NAN,
            high: f64::NAN,
            level,
        }
    }
}

/// Wilson's score interval of a proportion of `n` independent trials.
///
/// `successes` may hold halves: a tie that is half a success keeps its trial. Such a trial varies
/// less than one that is won or lost, so with ties the interval is wider than it need be, never
/// narrower. Both bounds are in [0, 1], and NaN where `n` is 0.
///
/// Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference",
/// JASA 22; `p = successes / n`, `z` the normal quantile of `level`:
/// `(p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`.
///
/// # Errors
///
/// [`Error::InvalidArgument`] where `successes` is not in `0..=n` or `level` not in (0, 1).
///
/// # Example
///
/// ```
/// let interval = similar_fast_core::metrics::wilson(8.0, 10, 0.95)?;
/// assert!((interval.low - 0.490).abs() < 1e-3 && (interval.high - 0.943).abs() < 1e-3);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
pub fn wilson(successes: f64, n: u64, level: f64) -> Result<Interval, Error> {
    check_level(level)?;
    if !(0.0..=n as f64).contains(&successes) {
        let found = format!("{successes} with n {n}");
        return Err(Error::invalid("successes", "in 0..=n", found));
    }
    if n == 0 {
        return Ok(Interval::undefined(level));
    }
    let n = n as f64;
    let z = normal_quantile(0.5 + level / 2.0);
    let p = successes / n;
    let centre = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    Ok(Interval {
        low: ((centre - half) / scale).clamp(0.0, p),
        high: ((centre + half) / scale).clamp(p, 1.0),
        level,
    })
}

pub(super) fn check_level(level: f64) -> Result<(), Error> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    let found = level.to_string();
    Err(Error::invalid("level", "between 0 and 1", found))
}

/// The share of a standard normal below `x`.
pub(super) fn normal_cdf(x: f64) -> f64 {
    libm::erfc(-x * FRAC_1_SQRT_2) / 2.0
}

/// The `x` below which a share `p` of a standard normal lies; infinite for 0 and 1.
///
/// Newton's method on the logarithm of the tail, which is concave, so that it falls monotonically onto
/// the root from anywhere above; it starts at the bound from `tail(x) <= exp(-x^2 / 2) / 2`.
pub(super) fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let mut x = (-2.0 * libm::log(2.0 * p)).max(0.0).sqrt();
    for _ in 0..64 {
        let tail = normal_cdf(-x);
        let density = libm::exp(-x * x / 2.0) / (2.0 * PI).sqrt();
        let step = libm::log(tail / p) * tail / density;
        x += step;
        if step.abs() <= 1e-15 * x.abs() {
            break;
        }
    }
    -x
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // As many digits as a table of the normal distribution in double precision gives.
        for (p, x) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.995, 2.575_829_303_548_901),
            (1e-10, -6.361_340_902_404_056),
            (1e-300, -37.047_096_299_361_2),
        ] {
            assert!((normal_quantile(p) - x).abs() < 1e-12, "{p:e}");
        }
        assert!(normal_quantile(0.0) < f64::MIN);
        assert!(normal_quantile(1.0) > f64::MAX);
    }

    #[test]
    fn no_trials_say_nothing() {
        let interval = wilson(0.0, 0, 0.9).unwrap();

        assert!(interval.low.is_nan() && interval.high.is_nan());
    }

    #[test]
    fn wrong_arguments_are_named() {
        let text = |successes, n, level| wilson(successes, n, level).unwrap_err().to_string();

        assert_eq!(
            text(3.0, 2, 0.9),
            "successes must be in 0..=n, got 3 with n 2"
        );
        assert_eq!(
            text(f64::NAN, 2, 0.9),
            "successes must be in 0..=n, got NaN with n 2"
        );
        assert_eq!(text(1.0, 2, 1.0), "level must be between 0 and 1, got 1");
    }

    proptest! {
        #[test]
        fn prop_quantile_inverts_the_cdf(p in 1e-12..1.0f64) {
            prop_assert!((normal_cdf(normal_quantile(p)) / p - 1.0).abs() < 1e-11);
        }

        #[test]
        fn prop_wilson_encloses_and_mirrors(n in 1u64..500, part in 0.0..=1.0f64, level in 0.01..0.999f64) {
            let successes = (part * 2.0 * n as f64).round() / 2.0;
            let p = successes / n as f64;
            let one = wilson(successes, n, level).unwrap();
            let other = wilson(n as f64 - successes, n, level).unwrap();
            prop_assert!(0.0 <= one.low && one.low <= p && p <= one.high && one.high <= 1.0);
            prop_assert!((one.low + other.high - 1.0).abs() < 1e-12);
            let more = wilson(2.0 * successes, 2 * n, level).unwrap();
            prop_assert!(more.high - more.low < one.high - one.low);
        }
    }
}
