//! What is believed of an arm: sums of observations, a conjugate prior, and draws of the mean.
//!
//! Gaussian observations of unknown mean and variance with a normal-inverse-chi-squared prior
//! (m, kappa, nu, `tau_square`). After n observations of mean x and squared deviations D,
//!
//! ```text
//! kappa_n = kappa + n        m_n = (kappa * m + n * x) / kappa_n
//! nu_n = nu + n              S_n = nu * tau_square + D + n * kappa * (m - x)^2 / kappa_n
//! ```
//!
//! and the mean is `m_n + sqrt(S_n / (nu_n * kappa_n)) * t` for a t of Student's distribution with
//! `nu_n` degrees of freedom. Source: Murphy 2023, "Probabilistic machine learning: advanced topics", section 3.4.3.3.
//!
//! Observations in [0, 1] with a Beta prior (a, b): an observation x adds x to a and 1 - x to b.
//!
//! A visit in flight is taken for an observation that equals the present posterior mean. So it leaves
//! the mean and narrows the draw: it counts as a visit and never as a value.

use super::draw::{Stream, logit_beta, student_t};

/// What is believed of every arm before its first observation, in normalised values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prior {
    /// Normal-inverse-chi-squared.
    Gaussian {
        /// The mean, finite.
        m: f64,
        /// How many observations the mean is worth, above 0.
        kappa: f64,
        /// How many observations the variance is worth, above 0.
        nu: f64,
        /// The variance, above 0.
        tau_square: f64,
    },
    /// Of a mean in [0, 1].
    Beta {
        /// Observations of 1 that the prior is worth, above 0.
        a: f64,
        /// Observations of 0 that the prior is worth, above 0.
        b: f64,
    },
}

impl Prior {
    /// m = 0, kappa = 1, nu = 1, `tau_square` = 0.1.
    pub const GAUSSIAN: Self = Self::Gaussian {
        m: 0.0,
        kappa: 1.0,
        nu: 1.0,
        tau_square: 0.1,
    };
    /// Jeffreys' prior, a = b = 1/2.
    pub const BETA: Self = Self::Beta { a: 0.5, b: 0.5 };
}

/// Observations, as sums of their distances from the search's origin.
///
/// The origin is one of the observations, so that squares of great values with small differences do
/// not cancel (Chan, Golub & `LeVeque` 1983, section 3: shifted data).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) sum: f64,
    pub(super) squares: f64,
    pub(super) count: u32,
}

impl Sums {
    /// The same observation `count` times.
    #[inline]
    pub(super) fn of(distance: f64, count: u32) -> Self {
        let times = f64::from(count);
        Self {
            sum: times * distance,
            squares: times * (distance * distance),
            count,
        }
    }

    #[inline]
    pub(super) fn add(&mut self, other: Self) {
        self.sum += other.sum;
        self.squares += other.squares;
        self.count += other.count;
    }

    #[inline]
    pub(super) fn and(mut self, other: Self) -> Self {
        self.add(other);
        self
    }
}

/// From the sums' distances to normalised values: `q = (distance + shift) * inverse`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) shift: f64,
    pub(super) inverse: f64,
}

impl Scale {
    /// The normalised mean; 0 without observations.
    #[inline]
    pub(super) fn mean(self, sums: Sums) -> f64 {
        let count = f64::from(sums.count).max(1.0);
        (sums.sum / count + self.shift) * self.inverse
    }

    /// The normalised sum of squared deviations from the mean.
    #[inline]
    fn deviations(self, sums: Sums) -> f64 {
        let count = f64::from(sums.count).max(1.0);
        let deviations = sums.squares - sums.sum * sums.sum / count;
        deviations.max(0.0) * (self.inverse * self.inverse)
    }
}

/// What is believed of one arm.
#[derive(Clone, Copy, Debug)]
pub(super) enum Posterior {
    /// `m_n`, `kappa_n`, `nu_n`, `S_n`.
    Gaussian {
        mean: f64,
        kappa: f64,
        nu: f64,
        squares: f64,
    },
    Beta {
        a: f64,
        b: f64,
    },
}

impl Posterior {
    #[inline]
    pub(super) fn new(prior: Prior, sums: Sums, scale: Scale) -> Self {
        let n = f64::from(sums.count);
        let x = scale.mean(sums);
        match prior {
            Prior::Gaussian {
                m,
                kappa,
                nu,
                tau_square,
            } => {
                let total = kappa + n;
                let off = m - x;
                Self::Gaussian {
                    mean: (kappa * m + n * x) / total,
                    kappa: total,
                    nu: nu + n,
                    squares: nu * tau_square
                        + scale.deviations(sums)
                        + n * kappa * (off * off) / total,
                }
            }
            Prior::Beta { a, b } => {
                let x = x.clamp(0.0, 1.0);
                Self::Beta {
                    a: a + n * x,
                    b: b + n * (1.0 - x),
                }
            }
        }
    }

    /// With `visits` more observations of the posterior mean.
    #[inline]
    pub(super) fn with_in_flight(self, visits: u32) -> Self {
        let visits = f64::from(visits);
        match self {
            Self::Gaussian {
                mean,
                kappa,
                nu,
                squares,
            } => Self::Gaussian {
                mean,
                kappa: kappa + visits,
                nu: nu + visits,
                squares,
            },
            Self::Beta { a, b } => {
                let factor = 1.0 + visits / (a + b);
                Self::Beta {
                    a: a * factor,
                    b: b * factor,
                }
            }
        }
    }

    /// A draw of the arm's mean if it is above `floor`. Draws of Beta are logits; all arms of a search
    /// are of one kind, so draws are comparable.
    ///
    /// Where the draw cannot be above the floor, most often, this is known before any logarithm is
    /// taken. With z the distance from mean to floor in units of the draw's scale, a draw above needs
    /// a positive cosine, and a uniform number below `(1 + z^2 / nu)^(-nu / 2)`, which for `nu >= 2`
    /// is at most `1 / (1 + z^2 / 2)` (Bernoulli's inequality).
    #[inline]
    pub(super) fn draw_above(self, floor: f64, stream: Stream) -> Option<f64> {
        let draw = match self {
            Self::Gaussian {
                mean,
                kappa,
                nu,
                squares,
            } => {
                let gap = floor - mean;
                let angle = stream.uniform(1);
                if gap >= 0.0 && angle > 0.25 && angle < 0.75 {
                    return None;
                }
                let radius = stream.uniform(0);
                let variance = squares / (nu * kappa);
                if gap > 0.0 && nu >= 2.0 && radius * (variance + 0.5 * gap * gap) >= variance {
                    return None;
                }
                mean + variance.sqrt() * student_t(nu, radius, angle)
            }
            Self::Beta { a, b } => logit_beta(a, b, stream),
        };
        (draw > floor).then_some(draw)
    }

    /// The mean, and how far draws lie around it: the scale of the t, the deviation of the Beta.
    pub(super) fn summary(self) -> (f64, f64) {
        match self {
            Self::Gaussian {
                mean,
                kappa,
                nu,
                squares,
            } => (mean, (squares / (nu * kappa)).sqrt()),
            Self::Beta { a, b } => {
                let mean = a / (a + b);
                (mean, (mean * (1.0 - mean) / (a + b + 1.0)).sqrt())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // exact by contract
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Scale = Scale {
        shift: 0.0,
        inverse: 1.0,
    };

    fn sums(values: &[f64]) -> Sums {
        let mut sums = Sums::default();
        for &value in values {
            sums.add(Sums::of(value, 1));
        }
        sums
    }

    #[test]
    fn gaussian_posterior_is_the_textbook_one() {
        let posterior = Posterior::new(Prior::GAUSSIAN, sums(&[0.5, 1.0]), PLAIN);

        // kappa_n = 3, m_n = 1.5 / 3, nu_n = 3, S_n = 0.1 + 0.125 + 2 * 0.75^2 / 3.
        let (mean, spread) = posterior.summary();
        assert_eq!(mean, 0.5);
        assert!((spread - (0.6_f64 / 9.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn beta_posterior_counts_halves() {
        let Posterior::Beta { a, b } = Posterior::new(Prior::BETA, sums(&[0.25, 1.0]), PLAIN)
        else {
            panic!("a Beta prior makes a Beta posterior");
        };
        assert_eq!((a, b), (1.75, 1.25));
    }

    proptest! {
        #[test]
        fn prop_in_flight_keeps_the_mean_and_narrows(
            values in prop::collection::vec(0.0..1.0_f64, 0..9), visits in 1..50_u32,
            is_beta: bool
        ) {
            let prior = if is_beta { Prior::BETA } else { Prior::GAUSSIAN };
            let before = Posterior::new(prior, sums(&values), PLAIN);
            let after = before.with_in_flight(visits);

            let ((mean, spread), (same, narrower)) = (before.summary(), after.summary());
            prop_assert!((mean - same).abs() < 1e-12);
            prop_assert!(narrower < spread);
        }

        #[test]
        fn prop_an_observation_of_the_mean_is_a_visit_in_flight(
            values in prop::collection::vec(0.0..1.0_f64, 0..9), is_beta: bool
        ) {
            let prior = if is_beta { Prior::BETA } else { Prior::GAUSSIAN };
            let before = Posterior::new(prior, sums(&values), PLAIN);
            let (mean, _) = before.summary();
            let seen = sums(&values).and(Sums::of(mean, 1));
            let (found, expected) = (
                before.with_in_flight(1).summary(), Posterior::new(prior, seen, PLAIN).summary(),
            );

            prop_assert!((found.0 - expected.0).abs() < 1e-9);
            prop_assert!((found.1 - expected.1).abs() < 1e-9);
        }

        #[test]
        fn prop_a_draw_above_a_floor_is_the_draw(
            values in prop::collection::vec(0.0..1.0_f64, 0..40), floor in -1.0..2.0_f64, seed: u64
        ) {
            let posterior = Posterior::new(Prior::GAUSSIAN, sums(&values), PLAIN);
            for index in 0..50 {
                let stream = Stream(seed).fork(index);
                let draw = posterior.draw_above(f64::NEG_INFINITY, stream).unwrap();
                let expected = (draw > floor).then_some(draw);
                prop_assert_eq!(posterior.draw_above(floor, stream), expected);
            }
        }
    }
}
