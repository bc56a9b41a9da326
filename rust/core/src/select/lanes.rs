//! PUCT for a few edges, in vector registers: groups of four lanes, one lane an edge.

use wide::bytemuck::cast;
use wide::{f32x4, i32x4, u32x4};

use super::{Scale, as_f32};
use crate::tree::{Block, HEADER, Tree, prior};

/// The numbers that each lane is in its group of four.
const FIRST: i32x4 = i32x4::new([0, 1, 2, 3]);

/// The edges of one node in `G` groups. Lanes beyond the last edge read whatever follows the column;
/// their value is minus infinity and any prior is finite, so they never win.
struct Lanes<const G: usize> {
    q: [f32x4; G],
    priors: [f32x4; G],
    /// Visits, and the same plus one as `f32`: the divisor.
    visits: [i32x4; G],
    divisors: [f32x4; G],
}

/// Splits `times` visits of a node with up to `4 * G` edges among them, one after another.
#[inline]
pub(super) fn split<const G: usize>(
    tree: &Tree,
    block: Block,
    (c, scale): (f32, Scale),
    times: u32,
    shares: &mut Vec<(u32, u32)>,
) {
    let mut lanes = Lanes::<G>::read(tree, block, scale);
    let visits = 1 + lanes
        .visits
        .iter()
        .map(|group| group.reduce_add())
        .sum::<i32>() as u32;
    if times == 1 {
        let best = lanes.best(c * as_f32(visits).sqrt());
        shares.push((best, 1));
        return;
    }
    let before = lanes.visits;
    for nth in 0..times {
        let best = lanes.best(c * as_f32(visits + nth).sqrt());
        lanes.visit(best);
    }
    for (group, (after, before)) in lanes.visits.into_iter().zip(before).enumerate() {
        let grown = (after - before).to_array();
        for (lane, &share) in grown.iter().enumerate() {
            if share > 0 {
                shares.push(((4 * group + lane) as u32, share as u32));
            }
        }
    }
}

impl<const G: usize> Lanes<G> {
    #[inline]
    fn read(tree: &Tree, block: Block, scale: Scale) -> Self {
        let count = tree.count(block);
        let start = block.word() + HEADER;
        let visits = column::<G>(tree, start);
        let values = column::<G>(tree, start + count);
        let packed = column::<G>(tree, start + 3 * count);
        let mut lanes = Self {
            q: [f32x4::splat(f32::NEG_INFINITY); G],
            priors: [f32x4::ZERO; G],
            visits: [i32x4::ZERO; G],
            divisors: [f32x4::ONE; G],
        };
        for group in 0..G {
            let is_edge = numbers(group).simd_lt(i32x4::splat(count as i32));
            let value = scale.apply(cast(values[group]));
            lanes.q[group] = cast::<_, f32x4>(is_edge).bitselect(value, lanes.q[group]);
            lanes.priors[group] = prior::decode_lanes(packed[group]);
            lanes.visits[group] = cast::<_, i32x4>(visits[group]) & is_edge;
            lanes.divisors[group] += lanes.visits[group].round_float();
        }
        lanes
    }

    /// The lowest edge of the greatest score.
    #[inline]
    fn best(&self, bonus: f32) -> u32 {
        let bonus = f32x4::splat(bonus);
        let mut scores = [f32x4::ZERO; G];
        for (group, score) in scores.iter_mut().enumerate() {
            *score = self.q[group] + bonus * self.priors[group] / self.divisors[group];
        }
        let greatest = scores[1..].iter().fold(scores[0], |a, &b| a.fast_max(b));
        let [a, b, c, d] = greatest.to_array();
        let greatest = f32x4::splat(higher(higher(a, b), higher(c, d)));
        let mut mask = 0;
        for (group, score) in scores.iter().enumerate() {
            mask |= score.simd_eq(greatest).to_bitmask() << (4 * group);
        }
        mask.trailing_zeros()
    }

    #[inline]
    fn visit(&mut self, edge: u32) {
        for group in 0..G {
            let is_edge = numbers(group).simd_eq(i32x4::splat(edge as i32));
            self.visits[group] -= is_edge;
            self.divisors[group] += cast::<_, f32x4>(is_edge) & f32x4::ONE;
        }
    }
}

#[inline]
fn numbers(group: usize) -> i32x4 {
    FIRST + i32x4::splat(4 * group as i32)
}

#[inline]
fn higher(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// `4 * G` words of a block from `start`.
#[inline]
fn column<const G: usize>(tree: &Tree, start: usize) -> [u32x4; G] {
    let words = &tree.words[start..start + 4 * G];
    let mut groups = [u32x4::ZERO; G];
    for (group, words) in groups.iter_mut().zip(words.chunks_exact(4)) {
        *group = u32x4::new([words[0], words[1], words[2], words[3]]);
    }
    groups
}
