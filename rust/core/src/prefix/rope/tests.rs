//! Positions against three plain loops.

use proptest::prelude::*;

use super::{Images, rope_positions};
use crate::Error;

const IMAGE: i64 = -7;

/// Pieces of text before each picture, and after the last: how many tokens.
#[derive(Debug, Clone)]
struct Prompt {
    texts: Vec<usize>,
    /// In tokens.
    grids: Vec<[i64; 3]>,
    merge_size: i64,
    start: i64,
}

impl Prompt {
    /// Ids, (time, row, column) of each token, and what follows.
    fn expected(&self) -> (Vec<i64>, Vec<[i64; 3]>, i64) {
        let (mut ids, mut places, mut next) = (Vec::new(), Vec::new(), self.start);
        for (i, &text) in self.texts.iter().enumerate() {
            for _ in 0..text {
                ids.push(i as i64);
                places.push([next; 3]);
                next += 1;
            }
            let Some(&[frames, rows, columns]) = self.grids.get(i) else {
                continue;
            };
            for frame in 0..frames {
                for row in 0..rows {
                    for column in 0..columns {
                        ids.push(IMAGE);
                        places.push([next + frame, next + row, next + column]);
                    }
                }
            }
            next += frames.max(rows).max(columns);
        }
        (ids, places, next)
    }

    fn patches(&self) -> Vec<[i64; 3]> {
        let m = self.merge_size;
        let in_patches = |&[frames, rows, columns]: &[i64; 3]| [frames, rows * m, columns * m];
        self.grids.iter().map(in_patches).collect()
    }
}

fn prompt() -> impl Strategy<Value = Prompt> {
    let grid = (1i64..3, 1i64..5, 1i64..5).prop_map(|(t, h, w)| [t, h, w]);
    let parts = prop::collection::vec((1usize..5, grid), 0..4);
    (parts, 0usize..4, 0usize..2, 1i64..4, 0i64..9).prop_map(
        |(parts, last, first, merge_size, start)| {
            let (mut texts, grids): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            texts.push(last);
            // Only between two pictures must there be text.
            texts[0] *= first;
            Prompt {
                texts,
                grids,
                merge_size,
                start,
            }
        },
    )
}

proptest! {
    #[test]
    fn prop_positions_are_those_of_plain_loops(prompt in prompt()) {
        let (ids, places, after) = prompt.expected();
        let grids = prompt.patches();
        let images = Images { token: IMAGE, grids: &grids, merge_size: prompt.merge_size };

        let (positions, next) = rope_positions(&ids, &images, prompt.start).unwrap();

        let on_axis = |axis: usize| places.iter().map(move |place| place[axis]);
        let expected: Vec<i64> = (0..3).flat_map(on_axis).collect();
        prop_assert_eq!(positions, expected);
        prop_assert_eq!(next, after);
    }
}

fn rope_error(ids: &[i64], grids: &[[i64; 3]], merge_size: i64, start: i64) -> String {
    let images = Images {
        token: 0,
        grids,
        merge_size,
    };
    rope_positions(ids, &images, start).unwrap_err().to_string()
}

#[test]
fn rope_positions_refuse_a_start_or_merge_size_out_of_range() {
    for (merge_size, start, word) in [
        (0, 0, "merge_size must be at least 1"),
        (1, -1, "start must be"),
        (1, i64::MAX, "start must be"),
    ] {
        let text = rope_error(&[1], &[], merge_size, start);

        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn rope_positions_refuse_grids_that_are_no_grids() {
    for grid in [[0, 2, 2], [1, -2, 2], [1, 3, 2], [1, 2, 3]] {
        let text = rope_error(&[0], &[grid], 2, 0);

        assert!(
            text.starts_with("row 0: grids must be at least 1"),
            "{text}"
        );
    }
}

#[test]
fn rope_positions_refuse_grids_and_runs_that_disagree_in_number() {
    for (ids, grids, word) in [
        (&[0, 1, 0][..], &[[1, 1, 1]][..], "1 for 2 runs or more"),
        (&[0, 1], &[[1, 1, 1], [1, 1, 1]], "2 for 1 runs"),
        (&[], &[[1, 1, 1]], "1 for 0 runs"),
    ] {
        let text = rope_error(ids, grids, 1, 0);

        assert!(text.ends_with(word), "{text}");
    }
}

#[test]
fn rope_positions_refuse_a_run_of_another_length_than_its_grid() {
    for (grid, expected) in [([1, 2, 2], 4), ([i64::MAX; 3], i128::MAX)] {
        let images = Images {
            token: 0,
            grids: &[[1, 1, 1], grid],
            merge_size: 1,
        };

        let error = rope_positions(&[0, 5, 0, 0], &images, 0).unwrap_err();

        let (image, found) = (1, 2);
        assert_eq!(
            error,
            Error::ImageMismatch {
                image,
                expected,
                found
            }
        );
    }
}
