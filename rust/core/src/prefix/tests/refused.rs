//! What each part refuses.

use crate::Error;
use crate::prefix::{Attention, Images, PackOptions, PrefixIndex, Tokens, pack, rope_positions};

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

#[test]
fn index_refuses_no_tokens_and_keys_that_disagree() {
    let mut index = PrefixIndex::new(9);

    for error in [
        index.insert(&[], &[], 1).unwrap_err(),
        index.insert(&[1], &[1, 2], 1).unwrap_err(),
        index.find(&[1], &[1, 2]).unwrap_err(),
    ] {
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    }
    assert_eq!(index.stats(), PrefixIndex::new(9).stats());
}
