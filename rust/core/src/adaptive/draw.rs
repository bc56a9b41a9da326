//! Random numbers that are a function of their place: no state, no order.
//!
//! A [`Stream`] is a seed of `SplitMix64`, whose output number `i` is `mix(seed + (i + 1) * GAMMA)`
//! (64-bit, wrapping). Any output can be computed by itself, so the generator is counter based: an
//! output is either a uniform number or the seed of a stream below. Two calls that ask for the same
//! place get the same number, whatever was asked in between.
//!
//! Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", figure 15.

use std::f64::consts::TAU;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn mix(seed: u64) -> u64 {
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    seed ^ (seed >> 31)
}

/// Numbers addressed by an index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream(pub(super) u64);

impl Stream {
    #[inline]
    fn output(self, index: u64) -> u64 {
        mix(self
            .0
            .wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA)))
    }

    /// The stream at `index` below this one.
    #[inline]
    pub(super) fn fork(self, index: u64) -> Self {
        Self(self.output(index))
    }

    /// The number at `index`: `(k + 1/2) / 2^52` for a uniform k, so never 0 and never 1.
    #[inline]
    pub(super) fn uniform(self, index: u64) -> f64 {
        const STEP: f64 = 1.0 / 4_503_599_627_370_496.0;
        ((self.output(index) >> 12) as f64 + 0.5) * STEP
    }
}

/// A draw of Student's t with `nu` degrees of freedom out of two uniform numbers.
///
/// The first number makes the radius of a bivariate t, the second its angle; `nu -> infinity` is the
/// Box-Muller draw of a normal number. Source: Bailey 1994, "Polar generation of random variates
/// with the t-distribution", in its form with an angle.
#[inline]
pub(super) fn student_t(nu: f64, radius: f64, angle: f64) -> f64 {
    (nu * (radius.ln() * (-2.0 / nu)).exp_m1()).sqrt() * (TAU * angle).cos()
}

/// The logit of a draw of Beta(a, b), which grows with the draw: `ln G(a) - ln G(b)` for two gamma
/// draws G. Unlike the draw itself it never rounds to 0 or 1.
pub(super) fn logit_beta(a: f64, b: f64, stream: Stream) -> f64 {
    ln_gamma_draw(a, stream.fork(0)) - ln_gamma_draw(b, stream.fork(1))
}

/// The logarithm of a draw of Gamma(shape, 1).
///
/// Source: Marsaglia & Tsang 2000, "A simple method for generating gamma variables"; shapes below 1
/// by section 6: `G(a) = G(a + 1) * U^(1/a)`. Here the accepted `d * v` is left as its logarithm.
/// Round `i` takes the numbers 3i + 1 to 3i + 3, the boost takes number 0.
fn ln_gamma_draw(shape: f64, stream: Stream) -> f64 {
    if shape < 1.0 {
        return ln_gamma_draw(shape + 1.0, stream) + stream.uniform(0).ln() / shape;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    let mut index = 1;
    loop {
        let radius = (-2.0 * stream.uniform(index).ln()).sqrt();
        let x = radius * (TAU * stream.uniform(index + 1)).cos();
        let v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
        let bound = 0.5 * x * x + d - d * v;
        if v > 0.0 && stream.uniform(index + 2).ln() < bound + d * v.ln() {
            return (d * v).ln();
        }
        index += 3;
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // exact by contract
mod tests {
    use super::*;

    const N: u64 = 20_000;

    /// The greatest distance between the draws' and the true distribution function, times `sqrt(N)`;
    /// above 1.95 in one of 1,000 right generators (Kolmogorov).
    fn distance(mut draws: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
        draws.sort_by(f64::total_cmp);
        let rows = draws.iter().enumerate();
        let gaps = rows.map(|(rank, &draw)| (cdf(draw) - (rank as f64 + 0.5) / N as f64).abs());
        gaps.fold(0.0, f64::max) * (N as f64).sqrt()
    }

    fn draws(draw: impl Fn(Stream) -> f64) -> Vec<f64> {
        (0..N).map(|index| draw(Stream(7).fork(index))).collect()
    }

    #[test]
    fn outputs_are_those_of_splitmix64() {
        // The first outputs of the reference implementation for the seed 1234567.
        assert_eq!(Stream(1_234_567).output(0), 6_457_827_717_110_365_317);
        assert_eq!(Stream(1_234_567).output(1), 3_203_168_211_198_807_973);
    }

    #[test]
    fn uniform_numbers_are_uniform_and_open() {
        let found = draws(|stream| stream.uniform(0));

        assert!(found.iter().all(|&u| u > 0.0 && u < 1.0));
        assert!(distance(found, |u| u) < 1.95);
    }

    #[test]
    fn student_t_has_its_distribution() {
        let draw = |nu| draws(|stream| student_t(nu, stream.uniform(0), stream.uniform(1)));
        let cauchy = |t: f64| 0.5 + t.atan() / std::f64::consts::PI;
        let two = |t: f64| 0.5 + t / (2.0 * (2.0 + t * t).sqrt());

        assert!(distance(draw(1.0), cauchy) < 1.95);
        assert!(distance(draw(2.0), two) < 1.95);
    }

    #[test]
    fn student_t_of_many_degrees_is_normal() {
        let found = draws(|stream| student_t(1e9, stream.uniform(0), stream.uniform(1)));
        let inside = found.iter().filter(|t| t.abs() < 1.0).count() as f64 / N as f64;

        assert!((inside - 0.682_69).abs() < 0.01, "{inside}");
    }

    #[test]
    fn beta_draws_have_their_distribution() {
        let draw = |a, b| draws(|stream| 1.0 / (1.0 + (-logit_beta(a, b, stream)).exp()));
        let arcsine = |x: f64| 2.0 / std::f64::consts::PI * x.sqrt().asin();
        let two_one = |x: f64| x * x;
        let three_two = |x: f64| x.powi(3) * (4.0 - 3.0 * x);

        assert!(distance(draw(0.5, 0.5), arcsine) < 1.95);
        assert!(distance(draw(2.0, 1.0), two_one) < 1.95);
        assert!(distance(draw(3.0, 2.0), three_two) < 1.95);
    }

    #[test]
    fn beta_of_tiny_shapes_is_never_nan() {
        assert!(
            draws(|stream| logit_beta(1e-3, 1e-3, stream))
                .iter()
                .all(|x| x.is_finite())
        );
    }
}
