//! Several numbers for each leaf, weighed anew.

mod growth;

use std::collections::HashMap;

use growth::{batches, channels, configs, grown, table, worlds};
use proptest::prelude::*;
use similar_fast_core::Error;
use similar_fast_core::search::{
    Backup, Candidates, Channels, Config, EdgeColumns, EdgeState, Told, TreeSearch,
};

fn search(config: Config) -> TreeSearch {
    let root = Candidates {
        count: 2,
        ..Candidates::default()
    };
    TreeSearch::new(config, root).unwrap()
}

#[test]
fn a_value_is_the_weighted_sum_and_follows_new_weights() {
    let channels = Channels::weighted(&[1.0, 0.5]).unwrap();
    let mut search = search(Config {
        channels,
        ..Config::default()
    });
    let id = search.ask_edge(0, 1).unwrap().ids[0];
    let told = Told {
        ids: &[id],
        values: &[0.25, 2.0],
        ..Told::default()
    };
    search.tell(told).unwrap();
    let value = |search: &TreeSearch| search.edges(0).unwrap().values[1];

    assert_eq!(value(&search).to_bits(), 1.25_f32.to_bits());
    search.reweight(Some(&[0.0, 2.0])).unwrap();
    assert_eq!(value(&search).to_bits(), 4.0_f32.to_bits());
    let numbers = search.told(0).unwrap();
    assert!(numbers[..2].iter().all(|number| number.is_nan()));
    assert_eq!(numbers[2..], [0.25, 2.0]);
}

#[test]
fn a_gated_search_that_was_reweighted_can_be_saved() {
    let mut search = search(Config {
        channels: Channels::gated(2).unwrap(),
        ..Config::default()
    });
    let id = search.ask_edge(0, 0).unwrap().ids[0];
    let told = Told {
        ids: &[id],
        values: &[0.25, 2.0],
        weights: Some(&[1.0, 0.0]),
        ..Told::default()
    };
    search.tell(told).unwrap();
    search.reweight(Some(&[0.0, 1.0])).unwrap();

    let (mut loaded, _) = TreeSearch::load(&search.save(b"")).unwrap();

    assert_eq!(loaded.edges(0), search.edges(0));
    loaded.reweight(None).unwrap();
    let value = loaded.edges(0).unwrap().values[0];
    assert_eq!(value.to_bits(), 0.25_f32.to_bits());
}

#[test]
fn weights_that_make_values_out_of_range_are_refused() {
    let mut search = search(Config {
        backup: Backup::PowerMean { exponent: 2.0 },
        channels: Channels::weighted(&[1.0]).unwrap(),
        ..Config::default()
    });
    let id = search.ask(1).unwrap().ids[0];
    let told = Told {
        ids: &[id],
        values: &[2.0],
        ..Told::default()
    };
    search.tell(told).unwrap();
    let before = search.save(b"");

    for wrong in [&[-1.0][..], &[1e38], &[f32::NAN], &[1.0, 1.0]] {
        let error = search.reweight(Some(wrong)).unwrap_err();
        assert!(matches!(
            error,
            Error::InvalidArgument {
                name: "weights",
                ..
            }
        ));
        assert_eq!(search.save(b""), before);
    }
}

/// The values of all edges, made from the bottom up in `f64` from what each edge was told.
fn made_from_below(search: &TreeSearch, node: u32, scalars: &Scalars) -> Vec<f64> {
    let edges = search.edges(node).unwrap();
    let rows = (0..edges.visits.len()).map(|row| {
        let told = scalars[&(node, row)];
        match edges.states[row] {
            EdgeState::Expanded => from_below(search, &edges, row, told, scalars),
            _ if told.is_nan() => edges.values[row].into(),
            _ => told,
        }
    });
    rows.collect()
}

type Scalars = HashMap<(u32, usize), f64>;

fn from_below(
    search: &TreeSearch,
    edges: &EdgeColumns,
    row: usize,
    told: f64,
    scalars: &Scalars,
) -> f64 {
    let child = edges.children[row].unwrap();
    let values = made_from_below(search, child, scalars);
    let below = search.edges(child).unwrap();
    let visited: Vec<(f64, f64)> = values
        .iter()
        .zip(&below.visits)
        .filter(|(_, visits)| **visits > 0)
        .map(|(&value, &visits)| (visits.into(), value))
        .collect();
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if edges.solved[row] {
        return greatest;
    }
    let done = f64::from(edges.visits[row]);
    let own = done - visited.iter().map(|(visits, _)| visits).sum::<f64>();
    let sum = |of: &dyn Fn(f64) -> f64| {
        visited
            .iter()
            .map(|&(visits, value)| visits * of(value))
            .sum::<f64>()
    };
    match search.config().backup {
        Backup::Mean => (own * told + sum(&|value| value)) / done,
        Backup::Max => visited
            .iter()
            .fold(told, |most, &(_, value)| most.max(value)),
        Backup::PowerMean { exponent } => {
            let exponent = f64::from(exponent);
            let powers = own * told.powf(exponent) + sum(&|value| value.powf(exponent));
            (powers / done).powf(1.0 / exponent)
        }
        Backup::Discounted { discount } => told + f64::from(discount) * sum(&|value| value) / done,
    }
}

/// What every edge was told, as one number.
fn scalars(search: &TreeSearch, weights: &[f32]) -> Scalars {
    let mut scalars = Scalars::new();
    for node in search.nodes() {
        let told = search.told(node).unwrap();
        for (row, numbers) in told.chunks_exact(weights.len()).enumerate() {
            let products = numbers.iter().zip(weights);
            let sum = products.map(|(&number, &weight)| f64::from(number) * f64::from(weight));
            scalars.insert((node, row), sum.sum());
        }
    }
    scalars
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn prop_reweighted_values_are_those_made_from_the_bottom_up(
        config in configs(), channels in channels(), world in worlds(), batches in batches(),
        weights in prop::collection::vec(0.0..2.0_f32, 8)
    ) {
        let mut search = grown(Config { channels, ..config }, world, &batches);
        let weights = &weights[..channels.count()];

        search.reweight(Some(weights)).unwrap();

        let scalars = scalars(&search, weights);
        for node in search.nodes() {
            let found = search.edges(node).unwrap().values;
            for (found, expected) in found.iter().zip(made_from_below(&search, node, &scalars)) {
                let error = (f64::from(*found) - expected).abs();
                prop_assert!(error <= 1e-5 * (1.0 + expected.abs()), "{found} for {expected}");
            }
        }
    }

    // Where a search solves, values above a solved edge were told before it was known, and are made
    // from its exact value after.
    #[test]
    fn prop_the_first_weights_restore_the_tree(
        config in configs(), channels in channels(), world in worlds(), batches in batches(),
        weights in prop::collection::vec(0.0..2.0_f32, 8)
    ) {
        let config = Config { channels, solve: false, ..config };
        let mut search = grown(config, world, &batches);
        let before = table(&search);

        search.reweight(Some(&weights[..channels.count()])).unwrap();
        search.reweight(channels.weights()).unwrap();

        for (way, mut edges) in table(&search) {
            let old = &before[&way];
            for (value, old) in edges.values.iter_mut().zip(&old.values) {
                prop_assert!((*value - old).abs() <= 2e-5 * (1.0 + old.abs()), "{value} for {old}");
                *value = *old;
            }
            prop_assert_eq!(&edges, old);
        }
    }
}
