//! Random words by position: the same seed gives the same words on every machine and version.
//!
//! Word `i` of a seed is `SplitMix64`'s output number `i` from the state `mix(seed)`, so any draw can
//! be made without those before it.
//!
//! Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
const LOW: u64 = 0xFFFF_FFFF;

/// The words of one seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    state: u64,
}

impl Words {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: mix(seed) }
    }

    fn at(self, position: u64) -> u64 {
        let steps = position.wrapping_add(1);
        mix(self.state.wrapping_add(GAMMA.wrapping_mul(steps)))
    }

    /// Draw number `draw`: sets `counts[i]` to how often `i` is drawn in `counts.len()` draws with
    /// replacement, that is to one multinomial sample. O(`counts.len()`).
    ///
    /// Each word gives two places, the low half's first: `(half * len) >> 32`. A place's probability is
    /// off by less than `len / 2^32` of itself (Lemire 2019, without the rejection).
    pub(super) fn resample(self, draw: u64, counts: &mut [u32]) {
        counts.fill(0);
        let len = counts.len() as u64;
        let first = draw.wrapping_mul(len.div_ceil(2));
        for pair in 0..len / 2 {
            let word = self.at(first.wrapping_add(pair));
            counts[place(word & LOW, len)] += 1;
            counts[place(word >> 32, len)] += 1;
        }
        if len % 2 == 1 {
            let word = self.at(first.wrapping_add(len / 2));
            counts[place(word & LOW, len)] += 1;
        }
    }
}

fn place(half: u64, len: u64) -> usize {
    ((half * len) >> 32) as usize
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_zero_gives_the_published_words() {
        let words = Words::new(0);

        let expected = [
            0xE220_A839_7B1D_CDAF,
            0x6E78_9E6A_A1B9_65F4,
            0x06C4_5D18_8009_454F,
        ];
        assert_eq!([0, 1, 2].map(|i| words.at(i)), expected);
    }

    #[test]
    fn a_draw_counts_as_many_as_there_are_places() {
        for len in [1, 2, 3, 10, 101] {
            let mut counts = vec![7; len];
            Words::new(5).resample(3, &mut counts);
            assert_eq!(counts.iter().sum::<u32>() as usize, len);
        }
    }

    #[test]
    fn places_are_drawn_equally_often() {
        let (mut counts, mut sums) = ([0; 5], [0; 5]);
        for draw in 0..20_000 {
            Words::new(1).resample(draw, &mut counts);
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }

        // 20,000 expected each, with a standard deviation of 126.
        assert!(
            sums.iter().all(|sum| sum.abs_diff(20_000) < 500),
            "{sums:?}"
        );
    }
}
