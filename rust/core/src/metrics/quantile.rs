//! Quantiles of sorted values.

/// The quantile of sorted values, linear between neighbours (type 7 of Hyndman and Fan 1996, *The
/// American Statistician* 50); NaN for a level of NaN.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    let place = q * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let (low, high) = (sorted[below], sorted[(below + 1).min(sorted.len() - 1)]);
    // Of the two roundings the one that never leaves the nearer neighbour's side.
    if part < 0.5 {
        low + (high - low) * part
    } else {
        high - (high - low) * (1.0 - part)
    }
}
