//! Laws of rows, for random sequences that often begin alike.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::{Attention, MAX_MASK_BYTES, Pack, PackOptions, Tokens, pack};
use crate::Error;

/// Id, key, position on each of two axes.
type Token = (i64, u64, [i64; 2]);

#[derive(Debug, Clone)]
struct Case {
    sequences: Vec<Vec<Token>>,
    options: PackOptions,
}

impl Case {
    fn rows(&self) -> Vec<Pack> {
        let flat: Vec<Token> = self.sequences.concat();
        let ids: Vec<i64> = flat.iter().map(|token| token.0).collect();
        let keys: Vec<u64> = flat.iter().map(|token| token.1).collect();
        let on_axis = |axis: usize| flat.iter().map(move |token| token.2[axis]);
        let positions: Vec<i64> = on_axis(0).chain(on_axis(1)).collect();
        let tokens = Tokens {
            ids: &ids,
            keys: &keys,
            positions: &positions,
        };
        let lengths: Vec<usize> = self.sequences.iter().map(Vec::len).collect();
        pack(&tokens, &lengths, self.options).unwrap()
    }

    /// Tokens that a row of these sequences must hold: shared ones once.
    fn distinct<'a>(&self, members: impl Iterator<Item = &'a Vec<Token>>) -> usize {
        match self.options.attention {
            Attention::Causal => {
                let beginnings = |all: &'a Vec<Token>| (1..=all.len()).map(|end| &all[..end]);
                members.flat_map(beginnings).collect::<HashSet<_>>().len()
            }
            Attention::Block => {
                let whole: HashSet<_> = members.collect();
                whole.into_iter().map(Vec::len).sum()
            }
        }
    }

    fn members<'a>(&'a self, row: &'a Pack) -> impl Iterator<Item = &'a Vec<Token>> {
        row.sequences.iter().map(|&at| &self.sequences[at as usize])
    }
}

/// Ids, keys and positions that are seldom different.
fn token() -> impl Strategy<Value = Token> {
    let seldom = || prop_oneof![4 => Just(0u64), 1 => Just(1u64)];
    (0i64..3, seldom(), seldom()).prop_map(|(id, key, axis)| (id, key, [7, 7 + axis as i64]))
}

fn case() -> impl Strategy<Value = Case> {
    let sequences = prop::collection::vec(prop::collection::vec(token(), 1..8), 0..12);
    let attention = prop_oneof![Just(Attention::Causal), Just(Attention::Block)];
    (sequences, 0usize..4, 1usize..20, attention).prop_map(
        |(sequences, past, max_tokens, attention)| Case {
            sequences,
            options: PackOptions {
                past,
                max_tokens,
                attention,
            },
        },
    )
}

/// The tokens that a token of a row attends to, apart from the past, which must be all there.
fn seen(row: &Pack, seat: usize, past: usize) -> Vec<usize> {
    let width = past + row.input_ids.len();
    let mask = &row.mask[seat * width..][..width];
    assert!(mask[..past].iter().all(|&is_seen| is_seen));
    let of_row = mask[past..].iter().enumerate();
    of_row
        .filter(|(_, is_seen)| **is_seen)
        .map(|(at, _)| at)
        .collect()
}

proptest! {
    #[test]
    fn prop_every_sequence_ends_in_exactly_one_row(case in case()) {
        let rows = case.rows();

        prop_assert!(rows.iter().all(|row| row.sequences.is_sorted()));
        let mut all: Vec<i64> = rows.iter().flat_map(|row| row.sequences.clone()).collect();
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..case.sequences.len() as i64));
    }

    #[test]
    fn prop_a_path_through_the_mask_is_the_sequence(case in case()) {
        let past = case.options.past;
        for row in case.rows() {
            let size = row.input_ids.len();
            for (sequence, &last) in case.members(&row).zip(&row.score_index) {
                let path = seen(&row, last as usize, past);
                let found: Vec<(i64, [i64; 2])> = path
                    .iter()
                    .map(|&at| (row.input_ids[at], [row.positions[at], row.positions[size + at]]))
                    .collect();
                let expected: Vec<_> = sequence.iter().map(|token| (token.0, token.2)).collect();

                prop_assert_eq!(found, expected);
                prop_assert_eq!(path.last(), Some(&(last as usize)));
                for (i, &seat) in path.iter().enumerate() {
                    let expected = match case.options.attention {
                        Attention::Causal => &path[..=i],
                        Attention::Block => &path[..],
                    };
                    prop_assert_eq!(seen(&row, seat, past), expected);
                }
            }
        }
    }

    #[test]
    fn prop_a_row_holds_shared_tokens_once_and_no_others(case in case()) {
        let flat = case.sequences.concat();
        for row in case.rows() {
            let size = row.input_ids.len();

            prop_assert_eq!(size, case.distinct(case.members(&row)));
            prop_assert_eq!(row.positions.len(), 2 * size);
            prop_assert_eq!(row.mask.len(), size * (case.options.past + size));
            for (at, &source) in row.sources.iter().enumerate() {
                let (id, _, position) = flat[source as usize];
                prop_assert_eq!(row.input_ids[at], id);
                prop_assert_eq!([row.positions[at], row.positions[size + at]], position);
            }
        }
    }

    #[test]
    fn prop_tokens_of_different_keys_are_never_one(case in case()) {
        let flat = case.sequences.concat();
        for row in case.rows() {
            for (sequence, &last) in case.members(&row).zip(&row.score_index) {
                let path = seen(&row, last as usize, case.options.past);
                let keys: Vec<u64> = path.iter().map(|&at| flat[row.sources[at] as usize].1).collect();

                prop_assert_eq!(keys, sequence.iter().map(|token| token.1).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn prop_only_one_longer_sequence_exceeds_a_row(case in case()) {
        let limit = case.options.max_tokens;
        for row in case.rows() {
            let whole: HashSet<_> = case.members(&row).collect();

            prop_assert!(row.input_ids.len() <= limit || whole.len() == 1);
        }
    }

    #[test]
    fn prop_neighbouring_rows_hold_more_than_one_row_may(case in case()) {
        for pair in case.rows().windows(2) {
            let together = pair[0].input_ids.len() + pair[1].input_ids.len();

            prop_assert!(together > case.options.max_tokens);
        }
    }

    #[test]
    fn prop_a_group_that_fits_is_in_one_row(case in case()) {
        let mut row_of = BTreeMap::new();
        for (row, pack) in case.rows().iter().enumerate() {
            row_of.extend(pack.sequences.iter().map(|&sequence| (sequence as usize, row)));
        }
        let longest = |sequence: &Vec<Token>| match case.options.attention {
            Attention::Causal => 0..sequence.len() + 1,
            Attention::Block => sequence.len()..sequence.len() + 1,
        };
        for sequence in &case.sequences {
            for end in longest(sequence) {
                let is_alike = |other: &Vec<Token>| match case.options.attention {
                    Attention::Causal => other.starts_with(&sequence[..end]),
                    Attention::Block => other == sequence,
                };
                let group = || (0..row_of.len()).filter(|&at| is_alike(&case.sequences[at]));
                if case.distinct(group().map(|at| &case.sequences[at])) <= case.options.max_tokens {
                    let rows: HashSet<usize> = group().map(|at| row_of[&at]).collect();
                    prop_assert_eq!(rows.len(), 1);
                }
            }
        }
    }
}

#[test]
fn a_sequence_that_begins_another_ends_within_its_path() {
    let (ids, positions) = ([1, 2, 1, 2, 3], [0, 1, 0, 1, 2]);
    let tokens = Tokens {
        ids: &ids,
        keys: &[],
        positions: &positions,
    };
    let options = PackOptions {
        past: 1,
        max_tokens: 8,
        attention: Attention::Causal,
    };

    let rows = pack(&tokens, &[2, 3], options).unwrap();

    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].input_ids, [1, 2, 3]);
    assert_eq!(rows[0].score_index, [1, 2]);
    assert_eq!(rows[0].mask[..4], [true, true, false, false]);
}

#[test]
fn a_row_takes_sequences_that_share_its_beginning_while_there_is_room() {
    let ids: Vec<i64> = (0..5).flat_map(|own| [1, 2, 3, 4, 10 + own, 20]).collect();
    let positions: Vec<i64> = (0..5).flat_map(|_| 0..6).collect();
    let options = PackOptions {
        past: 0,
        max_tokens: 8,
        attention: Attention::Causal,
    };

    let rows = pack(&tokens(&ids, &[], &positions), &[6; 5], options).unwrap();

    let sequences: Vec<_> = rows.iter().map(|row| row.sequences.clone()).collect();
    assert_eq!(sequences, [vec![0, 1], vec![2, 3], vec![4]]);
}

#[test]
fn a_million_tokens_overflow_no_stack() {
    let ids = vec![3; 1_000_000];
    let tokens = Tokens {
        ids: &ids,
        keys: &[],
        positions: &ids,
    };
    let options = PackOptions {
        past: 0,
        max_tokens: 512,
        attention: Attention::Causal,
    };

    // Rows are planned before their masks are found to be too large.
    let error = pack(&tokens, &[1_000_000], options).unwrap_err();

    let (nbytes, limit) = (1_000_000_000_000, MAX_MASK_BYTES);
    assert_eq!(error, Error::MasksTooLarge { nbytes, limit });
}

#[test]
fn no_sequences_are_no_rows() {
    let tokens = Tokens {
        ids: &[],
        keys: &[],
        positions: &[],
    };
    let options = PackOptions {
        past: 5,
        max_tokens: 1,
        attention: Attention::Causal,
    };

    assert_eq!(pack(&tokens, &[], options), Ok(Vec::new()));
}

const OPTIONS: PackOptions = PackOptions {
    past: 0,
    max_tokens: 4,
    attention: Attention::Causal,
};

fn pack_error(tokens: &Tokens<'_>, lengths: &[usize], options: PackOptions) -> String {
    pack(tokens, lengths, options).unwrap_err().to_string()
}

fn tokens<'a>(ids: &'a [i64], keys: &'a [u64], positions: &'a [i64]) -> Tokens<'a> {
    Tokens {
        ids,
        keys,
        positions,
    }
}

#[test]
fn pack_refuses_columns_that_disagree() {
    let good = tokens(&[1, 2], &[], &[0, 1]);
    for (tokens, lengths, word) in [
        (good, &[2, 0][..], "none in sequence 1"),
        (good, &[1], "1 for 2 tokens"),
        (tokens(&[1, 2], &[3], &[0, 1]), &[2], "keys must be one"),
        (tokens(&[1, 2], &[], &[0]), &[2], "got 1 for 2 tokens"),
        (tokens(&[1, 2], &[], &[0; 8]), &[2], "got 8 for 2 tokens"),
    ] {
        let text = pack_error(&tokens, lengths, OPTIONS);

        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn pack_refuses_rows_of_no_tokens() {
    let options = PackOptions {
        max_tokens: 0,
        ..OPTIONS
    };

    let text = pack_error(&tokens(&[1], &[], &[0]), &[1], options);

    assert_eq!(text, "max_tokens must be at least 1, got 0");
}

#[test]
fn pack_refuses_masks_that_are_too_large() {
    let options = PackOptions {
        past: usize::MAX,
        ..OPTIONS
    };

    let error = pack(&tokens(&[1], &[], &[0]), &[1], options).unwrap_err();

    let nbytes = usize::MAX as u128 + 1;
    let limit = 1 << 30;
    assert_eq!(error, Error::MasksTooLarge { nbytes, limit });
}
