//! The index against a plain list in the order of use.

use proptest::prelude::*;

use super::{Found, IndexStats, PrefixIndex};
use crate::Error;

type Token = (i64, u64);

#[derive(Debug, Clone)]
enum Operation {
    Insert(Vec<Token>, u64),
    Find(Vec<Token>),
    Clear,
}

fn tokens(least: usize) -> impl Strategy<Value = Vec<Token>> {
    prop::collection::vec(
        (0i64..2, prop_oneof![5 => Just(0u64), 1 => Just(9)]),
        least..7,
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (tokens(1), 0u64..7).prop_map(|(tokens, nbytes)| Operation::Insert(tokens, nbytes)),
        10 => tokens(0).prop_map(Operation::Find),
        1 => Just(Operation::Clear),
    ]
}

/// Entry, tokens and bytes, the most recently used last.
#[derive(Default)]
struct Model {
    held: Vec<(u64, Vec<Token>, u64)>,
    stats: IndexStats,
}

impl Model {
    fn insert(&mut self, entry: u64, tokens: &[Token], nbytes: u64) -> Vec<u64> {
        self.held.retain(|held| held.0 != entry);
        self.held.push((entry, tokens.to_vec(), nbytes));
        let mut evicted = Vec::new();
        while self.nbytes() > self.stats.capacity_bytes {
            evicted.push(self.held.remove(0).0);
        }
        self.stats.evictions += evicted.len() as u64;
        evicted
    }

    fn entry_of(&self, tokens: &[Token]) -> Option<u64> {
        let same = self.held.iter().find(|held| held.1 == tokens);
        same.map(|held| held.0)
    }

    /// The longest beginning that something shares.
    fn longest(&self, tokens: &[Token]) -> usize {
        let shared = self.held.iter().map(|held| shared(&held.1, tokens));
        shared.max().unwrap_or(0)
    }

    fn mark(&mut self, entry: u64) -> Vec<Token> {
        let at = self.held.iter().position(|held| held.0 == entry).unwrap();
        let held = self.held.remove(at);
        self.held.push(held.clone());
        held.1
    }

    fn nbytes(&self) -> u64 {
        self.held.iter().map(|held| held.2).sum()
    }

    fn stats(&self) -> IndexStats {
        IndexStats {
            entries: self.held.len(),
            nbytes: self.nbytes(),
            ..self.stats
        }
    }
}

fn shared(left: &[Token], right: &[Token]) -> usize {
    left.iter().zip(right).take_while(|(l, r)| l == r).count()
}

fn columns(tokens: &[Token]) -> (Vec<i64>, Vec<u64>) {
    tokens.iter().copied().unzip()
}

fn check_insert(index: &mut PrefixIndex, model: &mut Model, tokens: &[Token], nbytes: u64) {
    let (ids, keys) = columns(tokens);
    let known = model.entry_of(tokens);
    let inserted = index.insert(&ids, &keys, nbytes).unwrap();
    let Some(entry) = inserted.entry else {
        assert!(nbytes > model.stats.capacity_bytes);
        assert!(inserted.evicted.is_empty());
        return;
    };
    assert!(nbytes <= model.stats.capacity_bytes);
    assert!(known.is_none_or(|known| known == entry));
    assert_eq!(inserted.evicted, model.insert(entry, tokens, nbytes));
}

fn check_find(index: &mut PrefixIndex, model: &mut Model, tokens: &[Token]) {
    let (ids, keys) = columns(tokens);
    let longest = model.longest(tokens);
    let Some(found) = index.find(&ids, &keys).unwrap() else {
        assert_eq!(longest, 0);
        model.stats.misses += 1;
        return;
    };
    assert_eq!(found.shared, longest);
    if let Some(entry) = model.entry_of(&tokens[..longest]) {
        assert_eq!(found.entry, entry);
    }
    let own = model.mark(found.entry);
    assert_eq!(shared(&own, tokens), longest);
    if own == tokens {
        model.stats.hits += 1;
    } else {
        model.stats.partial_hits += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn prop_index_is_a_list_in_the_order_of_use(
        capacity_bytes in 0u64..30,
        operations in prop::collection::vec(operation(), 0..80),
    ) {
        let mut index = PrefixIndex::new(capacity_bytes);
        let mut model = Model::default();
        model.stats.capacity_bytes = capacity_bytes;
        for operation in operations {
            match operation {
                Operation::Insert(tokens, nbytes) => {
                    check_insert(&mut index, &mut model, &tokens, nbytes);
                }
                Operation::Find(tokens) => check_find(&mut index, &mut model, &tokens),
                Operation::Clear => {
                    index.clear();
                    model.held.clear();
                }
            }

            prop_assert_eq!(index.stats(), model.stats());
            prop_assert!(index.stats().nbytes <= capacity_bytes);
        }
    }
}

#[test]
fn an_entry_id_is_never_given_twice() {
    let mut index = PrefixIndex::new(1);

    let first = index.insert(&[1], &[], 1).unwrap();
    let second = index.insert(&[2], &[], 1).unwrap();
    index.clear();
    let third = index.insert(&[1], &[], 1).unwrap();

    assert_eq!(second.evicted, [first.entry.unwrap()]);
    assert!(first.entry < second.entry && second.entry < third.entry);
}

#[test]
fn bytes_near_the_end_of_their_range_do_not_overflow() {
    let mut index = PrefixIndex::new(u64::MAX);
    let first = index.insert(&[1], &[], u64::MAX).unwrap().entry.unwrap();

    assert_eq!(index.insert(&[2], &[], u64::MAX).unwrap().evicted, [first]);
    assert_eq!(index.stats().nbytes, u64::MAX);
}

#[test]
fn a_million_tokens_overflow_no_stack() {
    let ids: Vec<i64> = (0..1_000_000).collect();
    let length = |cut: usize| ids.len() - 7_000 * cut;
    let mut index = PrefixIndex::new(4);

    // Each one ends on the way of those before it; from the fifth on they push each other out.
    for cut in 0..8 {
        index.insert(&ids[..length(cut)], &[], 1).unwrap();
    }

    let (entry, shared) = (4, length(4));
    let found = index.find(&ids, &[]).unwrap();
    assert_eq!(found, Some(Found { entry, shared }));
    assert_eq!(index.stats().evictions, 4);
}

#[test]
fn many_finds_of_one_entry_take_no_memory_and_keep_its_place() {
    let mut index = PrefixIndex::new(2);
    index.insert(&[1], &[], 1).unwrap();
    index.insert(&[2], &[], 1).unwrap();

    for _ in 0..1_000 {
        index.find(&[1], &[]).unwrap();
    }

    assert!(index.uses.len() <= 2 * 2 + 16);
    assert_eq!(index.insert(&[3], &[], 1).unwrap().evicted, [1]);
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
