//! The temperature at which score differences are log-odds.

use super::calibration::{loss, sigmoid};
use super::columns::PairColumns;
use crate::Error;

/// The temperature of the least log loss.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct TemperatureFit {
    /// Above 0 and finite, or a limit: 0 where no pair is wrong, infinite where the differences do not
    /// favour the chosen steps, NaN where no difference says anything.
    pub temperature: f64,
    /// The mean of `-ln P` at that temperature, in nats; NaN where no pair counts.
    pub log_loss: f64,
    /// Pairs whose difference is finite.
    pub n: u64,
    /// The others.
    pub n_invalid: u64,
}

/// Fits `T` in `P(chosen is better) = sigmoid((chosen - rejected) / T)` by maximum likelihood.
///
/// The loss is convex in `1 / T`; Newton's method, kept inside a bracket of the root by bisection.
/// O(n) a step, about ten steps.
///
/// Source: Platt 1999 and Guo et al. 2017, arXiv 1706.04599, section 4.2 (temperature scaling).
///
/// # Errors
///
/// [`Error::InvalidArgument`] where the columns differ in length.
///
/// # Example
///
/// ```
/// use similar_fast_core::metrics::{PairColumns, fit_temperature};
///
/// // Three of four are right by 1: sigmoid(1 / T) = 3 / 4.
/// let pairs = PairColumns { chosen: &[1.0, 1.0, 1.0, 0.0], rejected: &[0.0, 0.0, 0.0, 1.0] };
/// let fit = fit_temperature(&pairs)?;
/// assert!((fit.temperature - 1.0 / 3f64.ln()).abs() < 1e-12);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
pub fn fit_temperature<T: Copy + Into<f64>>(
    pairs: &PairColumns<'_, T>,
) -> Result<TemperatureFit, Error> {
    pairs.check()?;
    let differences = pairs.rows().map(|(chosen, rejected)| chosen - rejected);
    let mut margins: Vec<f64> = differences.filter(|margin| margin.is_finite()).collect();
    let greatest = margins.iter().fold(0.0f64, |most, m| most.max(m.abs()));
    // A power of two, so that the scaled margins, and with them the sign of their sum, are exact.
    let scale = libm::ldexp(1.0, libm::frexp(greatest).1);
    for margin in &mut margins {
        *margin /= scale;
    }
    let n = margins.len() as f64;
    let (temperature, log_loss) = if greatest == 0.0 {
        (
            f64::NAN,
            if n > 0.0 {
                std::f64::consts::LN_2
            } else {
                f64::NAN
            },
        )
    } else if margins.iter().sum::<f64>() <= 0.0 {
        (f64::INFINITY, std::f64::consts::LN_2)
    } else if margins.iter().all(|&margin| margin >= 0.0) {
        let ties = margins.iter().filter(|&&margin| margin == 0.0).count();
        (0.0, std::f64::consts::LN_2 * ties as f64 / n)
    } else {
        let slope = best_slope(&margins);
        let total: f64 = margins.iter().map(|margin| loss(slope * margin)).sum();
        (scale / slope, total / n)
    };
    Ok(TemperatureFit {
        temperature,
        log_loss,
        n: margins.len() as u64,
        n_invalid: (pairs.chosen.len() - margins.len()) as u64,
    })
}

/// The root of the loss' derivative, which is negative at 0 and positive far out.
fn best_slope(margins: &[f64]) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while high < f64::MAX / 4.0 && derivatives(margins, high).0 < 0.0 {
        (low, high) = (high, 2.0 * high);
    }
    let mut slope = f64::midpoint(low, high);
    for _ in 0..200 {
        let (first, second) = derivatives(margins, slope);
        if first < 0.0 {
            low = slope;
        } else {
            high = slope;
        }
        let newton = slope - first / second;
        let next = if low < newton && newton < high {
            newton
        } else {
            f64::midpoint(low, high)
        };
        let is_still = (next - slope).abs() <= 4.0 * f64::EPSILON * slope;
        slope = next;
        if is_still {
            break;
        }
    }
    slope
}

/// The first and second derivative of the summed loss by the slope `1 / T`.
fn derivatives(margins: &[f64], slope: f64) -> (f64, f64) {
    margins.iter().fold((0.0, 0.0), |(first, second), margin| {
        let wrong = sigmoid(-slope * margin);
        (
            first - margin * wrong,
            second + margin * margin * wrong * (1.0 - wrong),
        )
    })
}
