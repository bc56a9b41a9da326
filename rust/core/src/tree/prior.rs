//! A prior probability in 16 bits: 5 bits of exponent, 11 of mantissa, over [2^-31, 1].
//!
//! The code is the middle of the `f32`: its sign and the bits that are the same for the whole range
//! are dropped, the mantissa is rounded to nearest, ties to even. So the relative error is at most
//! 2^-12, 1 and every power of two are exact, and reading is one shift and one addition, which
//! compilers turn into vector code. Anything below 2^-31, zero as well, is stored as 2^-31.

use wide::bytemuck::cast;
use wide::{f32x4, u32x4};

/// Bits of the `f32` mantissa that the code leaves out.
const DROPPED: u32 = 12;
/// The code of 2^-31 before the offset is taken off: its `f32` exponent is 96.
const OFFSET: u32 = 96 << (23 - DROPPED);
const SMALLEST: f32 = 1.0 / 2_147_483_648.0;

/// The code of a probability in [0, 1].
pub(crate) fn encode(prior: f32) -> u32 {
    if prior < SMALLEST {
        return 0;
    }
    let bits = prior.to_bits();
    let is_odd = (bits >> DROPPED) & 1;
    let rounded = bits + (1 << (DROPPED - 1)) - 1 + is_odd;
    (rounded >> DROPPED) - OFFSET
}

/// The probability in the upper half of an edge's packed word; the lower half is not read.
#[inline]
pub(crate) fn decode(packed: u32) -> f32 {
    f32::from_bits(((packed >> 16) << DROPPED) + (OFFSET << DROPPED))
}

/// As [`decode`], four at a time.
#[inline]
pub(crate) fn decode_lanes(packed: u32x4) -> f32x4 {
    cast(((packed >> 16_u32) << DROPPED) + u32x4::splat(OFFSET << DROPPED))
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // exact by contract
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn powers_of_two_are_exact() {
        for exponent in 0..32 {
            let prior = 0.5_f32.powi(exponent);
            assert_eq!(decode(encode(prior) << 16), prior);
        }
    }

    #[test]
    fn zero_is_the_smallest_code() {
        assert_eq!(encode(0.0), 0);
        assert_eq!(decode(0xffff), SMALLEST);
    }

    #[test]
    fn ties_go_to_the_even_code() {
        let step = 1.0 / 2048.0;

        assert_eq!(decode(encode(0.5 * (1.0 + 0.5 * step)) << 16), 0.5);
        assert_eq!(
            decode(encode(0.5 * (1.0 + 1.5 * step)) << 16),
            0.5 * (1.0 + 2.0 * step)
        );
    }

    proptest! {
        #[test]
        fn prop_relative_error_is_at_most_one_in_4096(prior in SMALLEST..=1.0_f32) {
            let read = decode(encode(prior) << 16);
            prop_assert!((f64::from(read) / f64::from(prior) - 1.0).abs() <= 1.0 / 4096.0);
        }

        #[test]
        fn prop_order_is_kept(a in 0.0..=1.0_f32, b in 0.0..=1.0_f32) {
            let (low, high) = if a <= b { (a, b) } else { (b, a) };
            prop_assert!(encode(low) <= encode(high));
        }
    }
}
