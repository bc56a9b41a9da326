//! The shape of the tree after random calls: no node without need, no token without a sequence.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{ROOT, Radix, Token};

fn check(radix: &Radix) {
    let reached = reached(radix);
    assert_eq!(reached.len() + radix.free.len(), radix.nodes.len());
    assert_eq!(reached.len(), radix.children.len() + 1);
    for &at in &reached {
        let node = &radix.nodes[at as usize];
        for (place, &child) in node.children.iter().enumerate() {
            let below = &radix.nodes[child as usize];
            assert_eq!((below.parent, below.place), (at, place as u32));
            assert!(below.depth > node.depth);
            let first = radix.sequences[&below.witness].tokens[node.depth];
            assert_eq!(radix.children[&(at, first)], child);
        }
        if at == ROOT {
            continue;
        }
        assert!(node.end.is_some() || node.children.len() > 1);
        assert!(passes(radix, node.witness, at));
        if let Some(end) = node.end {
            assert_eq!(radix.sequences[&end].node, at);
            assert_eq!(radix.sequences[&end].tokens.len(), node.depth);
        }
    }
}

fn reached(radix: &Radix) -> Vec<u32> {
    let mut reached = vec![ROOT];
    let mut next = 0;
    while next < reached.len() {
        reached.extend_from_slice(&radix.nodes[reached[next] as usize].children);
        next += 1;
    }
    reached
}

/// Whether a node stands on the way to where a sequence ends.
fn passes(radix: &Radix, number: u64, node: u32) -> bool {
    let mut at = radix.sequences[&number].node;
    while at != ROOT && at != node {
        at = radix.nodes[at as usize].parent;
    }
    at == node
}

fn tokens() -> impl Strategy<Value = Vec<Token>> {
    prop::collection::vec((0i64..3, Just(0u64)), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn prop_tree_has_a_node_for_each_end_and_parting_only(
        calls in prop::collection::vec((tokens(), any::<bool>()), 0..60),
    ) {
        let mut radix = Radix::new();
        let mut held: HashMap<Vec<Token>, u64> = HashMap::new();
        for (tokens, is_removed) in calls {
            let number = radix.insert(tokens.len(), |at| tokens[at]);
            prop_assert_eq!(*held.entry(tokens.clone()).or_insert(number), number);
            if is_removed {
                radix.remove(number);
                held.remove(&tokens);
            }

            check(&radix);
            prop_assert_eq!(radix.len(), held.len());
        }
        for number in held.into_values() {
            radix.remove(number);
            check(&radix);
        }
        prop_assert_eq!(radix.nodes.len(), radix.free.len() + 1);
    }
}
