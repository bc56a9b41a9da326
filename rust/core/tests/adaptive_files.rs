//! Saved trees: bytes that are not whole are an error, whatever they are.

use proptest::prelude::*;
use similar_fast_core::Error;
use similar_fast_core::adaptive::{AdaptiveSearch, Config, Policy, Prior, Rule, Told};

/// Where the nodes begin, and what each takes.
const HEADER: usize = 91;
const NODE: usize = 43;

fn saved(policy: Policy) -> Vec<u8> {
    let config = Config {
        policy,
        ..Config::default()
    };
    let mut search = AdaptiveSearch::new(config, Some(0.5)).unwrap();
    for step in 0..6 {
        let leaves = search.ask(3).unwrap();
        let values: Vec<f32> = (0..leaves.ids.len())
            .map(|row| (step + row) as f32 / 8.0)
            .collect();
        let told = Told {
            ids: &leaves.ids,
            values: &values,
            ..Told::default()
        };
        search.tell(told).unwrap();
    }
    search.save()
}

fn gaussian() -> Vec<u8> {
    saved(Policy::AbMcts {
        prior: Prior::GAUSSIAN,
    })
}

/// CRC-32 bit by bit, as a hostile writer would compute it.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 4;
    let mut crc = !0_u32;
    for &byte in &bytes[..end] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    bytes[end..].copy_from_slice(&(!crc).to_le_bytes());
    bytes
}

fn changed(at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = gaussian();
    bytes[at..at + new.len()].copy_from_slice(new);
    sealed(bytes)
}

/// What the file should have had.
fn expected(bytes: &[u8]) -> &'static str {
    match AdaptiveSearch::load(bytes) {
        Err(Error::CorruptFile { expected, .. }) => expected,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sealing_an_unchanged_file_changes_nothing() {
    assert_eq!(sealed(gaussian()), gaussian());
    assert_eq!((gaussian().len() - HEADER - 4) % NODE, 0);
}

#[test]
fn every_policy_survives_the_way_there_and_back() {
    let rules = [Rule::Uct, Rule::Puct];
    let widening = rules.map(|rule| Policy::Widening {
        k: 1.5,
        alpha: 0.25,
        rule,
        c: 2.0,
    });
    let bayes = [Prior::GAUSSIAN, Prior::BETA].map(|prior| Policy::AbMcts { prior });
    for policy in widening.into_iter().chain(bayes) {
        let bytes = saved(policy);
        assert_eq!(AdaptiveSearch::load(&bytes).unwrap().save(), bytes);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = gaussian();
    for length in 0..bytes.len() {
        expected(&bytes[..length]);
    }
    expected(&[&bytes[..], &[0]].concat());
}

#[test]
fn every_flipped_bit_is_an_error() {
    let bytes = gaussian();
    for bit in 0..8 * bytes.len() {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        expected(&altered);
    }
}

#[test]
fn another_version_is_named() {
    let error = AdaptiveSearch::load(&changed(8, &2_u32.to_le_bytes())).unwrap_err();

    let text = "the file is not a whole search tree: expected version 1, found version 2";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_number_of_nodes_that_the_file_does_not_hold_is_refused_before_any_allocation() {
    let lengths = "at least one node and 43 bytes for each";
    assert_eq!(
        expected(&changed(HEADER - 4, &u32::MAX.to_le_bytes())),
        lengths
    );
    assert_eq!(
        expected(&changed(HEADER - 4, &0_u32.to_le_bytes())),
        lengths
    );
}

#[test]
fn parts_that_contradict_each_other_are_errors() {
    let second = HEADER + NODE;
    let parents = "each node below an older one that may have it";
    let values = "a value, visits and known flags";

    assert_eq!(expected(&changed(12, &[9])), "a policy from 0 to 3");
    assert_eq!(
        expected(&changed(13, &f64::NAN.to_le_bytes())),
        "a valid configuration"
    );
    assert_eq!(expected(&changed(45, &[7])), "a normalisation from 0 to 2");
    assert_eq!(
        expected(&changed(HEADER - 17, &9_f32.to_le_bytes())),
        "a scale that holds its origin"
    );
    assert_eq!(expected(&changed(HEADER, &0_u32.to_le_bytes())), parents);
    assert_eq!(expected(&changed(second, &1_u32.to_le_bytes())), parents);
    assert_eq!(expected(&changed(second, &u32::MAX.to_le_bytes())), parents);
    assert_eq!(expected(&changed(HEADER + 10, &[1])), parents); // children of a terminal root
    assert_eq!(
        expected(&changed(second + 4, &f32::NAN.to_le_bytes())),
        values
    );
    assert_eq!(
        expected(&changed(second + 4, &1e9_f32.to_le_bytes())),
        values
    );
    assert_eq!(expected(&changed(second + 8, &0_u16.to_le_bytes())), values);
    assert_eq!(expected(&changed(second + 10, &[4])), values);
    let sums = "sums that agree with the values";
    assert_eq!(
        expected(&changed(HEADER + 11, &f64::NAN.to_le_bytes())),
        sums
    );
    assert_eq!(
        expected(&changed(HEADER + 19, &1e300_f64.to_le_bytes())),
        sums
    );
    assert_eq!(expected(&changed(second + 8, &9_u16.to_le_bytes())), sums);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A sealed file with any bytes changed is refused, or is a tree that can go on.
    #[test]
    fn prop_a_hostile_file_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let mut bytes = gaussian();
        for (at, byte) in changes {
            let at = 12 + at.index(bytes.len() - 16);
            bytes[at] = byte;
        }
        if let Ok(mut search) = AdaptiveSearch::load(&sealed(bytes)) {
            for batch in [1, 5, 20] {
                let Ok(leaves) = search.ask(batch) else { break };
                let values = vec![0.25; leaves.ids.len()];
                let told = Told { ids: &leaves.ids, values: &values, ..Told::default() };
                if search.tell(told).is_err() { break }
                search.nodes();
                search.arms(0).unwrap();
            }
        }
    }

    #[test]
    fn prop_any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(AdaptiveSearch::load(&bytes).is_err());
    }
}
