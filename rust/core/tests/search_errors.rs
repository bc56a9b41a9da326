//! What a search refuses, and that it then changes nothing.

use similar_fast_core::Error;
use similar_fast_core::search::{
    Backup, CandidateColumns, Candidates, Config, Fpu, MAX_IN_FLIGHT, Normalize, Policy, Told,
    TreeSearch,
};

fn with(count: usize) -> Candidates<'static> {
    Candidates {
        count,
        ..Candidates::default()
    }
}

fn search(count: usize) -> TreeSearch {
    let config = Config {
        max_collisions: None,
        ..Config::default()
    };
    TreeSearch::new(config, with(count)).unwrap()
}

fn told<'a>(ids: &'a [u64], values: &'a [f32]) -> Told<'a> {
    Told {
        ids,
        values,
        ..Told::default()
    }
}

/// The argument that a call refused.
fn argument(result: Result<impl Sized, Error>) -> &'static str {
    match result.err().expect("an error") {
        Error::InvalidArgument { name, .. } => name,
        other => panic!("another error: {other}"),
    }
}

/// The row and the column that a call refused.
fn row(result: Result<impl Sized, Error>) -> (usize, &'static str) {
    match result.err().expect("an error") {
        Error::InvalidRow { row, name, .. } => (row, name),
        other => panic!("another error: {other}"),
    }
}

#[test]
fn configuration_outside_of_its_range_is_an_error() {
    let refused = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        argument(TreeSearch::new(config, with(2)))
    };

    assert_eq!(refused(|it| it.policy = Policy::Puct { c: -1.0 }), "c_puct");
    assert_eq!(
        refused(|it| it.policy = Policy::Uct { c: f32::NAN }),
        "c_puct"
    );
    // With it c * sqrt(N) could be infinite, and a score no number.
    assert_eq!(refused(|it| it.policy = Policy::Puct { c: 2e30 }), "c_puct");
    assert_eq!(refused(|it| it.fpu = Fpu::Value(f32::INFINITY)), "fpu");
    let empty = |it: &mut Config| {
        it.normalize = Normalize::Range {
            low: 1.0,
            high: 1.0,
        }
    };
    assert_eq!(refused(empty), "normalize");
    assert_eq!(refused(|it| it.max_depth = 0), "max_depth");
    assert_eq!(refused(|it| it.max_depth = 65_536), "max_depth");
}

#[test]
fn root_candidates_outside_of_their_range_are_an_error() {
    let refused = |count, priors, first_values| {
        let root = Candidates {
            count,
            priors,
            first_values,
            ..Candidates::default()
        };
        argument(TreeSearch::new(Config::default(), root))
    };

    assert_eq!(refused(0, None, None), "candidates");
    assert_eq!(refused(65_536, None, None), "candidates");
    assert_eq!(refused(2, Some(&[1.0]), None), "priors");
    assert_eq!(refused(2, Some(&[1.0, f32::NAN]), None), "priors");
    assert_eq!(refused(2, Some(&[1.0, -0.5]), None), "priors");
    assert_eq!(refused(2, Some(&[0.0, 0.0]), None), "priors");
    assert_eq!(refused(2, None, Some(&[0.0, 2e38])), "first_values");
}

#[test]
fn tell_of_an_unknown_leaf_is_an_error() {
    let mut search = search(1);
    let id = search.ask(1).unwrap().ids[0];

    for unknown in [id + 1, id + (1 << 32), u64::MAX] {
        let error = search.tell(told(&[unknown], &[0.0])).unwrap_err();
        assert_eq!(error, Error::UnknownLeaf { id: unknown });
    }
}

#[test]
fn tell_twice_is_an_error() {
    let mut search = search(2);
    let leaves = search.ask(2).unwrap();
    let id = leaves.ids[0];
    search.tell(told(&[id], &[0.0])).unwrap();

    let error = search.tell(told(&leaves.ids, &[0.0, 0.0])).unwrap_err();

    assert_eq!(error, Error::FinishedLeaf { id });
    assert_eq!(search.fail(&[id]).unwrap_err(), Error::FinishedLeaf { id });
    assert_eq!(search.in_flight(), 1);
}

#[test]
fn one_bad_row_applies_nothing_and_can_be_mended() {
    let mut search = search(3);
    let ids = search.ask(3).unwrap().ids;
    let before = search.edges(search.root()).unwrap();
    let grown = |counts, priors, first_values| Told {
        candidates: CandidateColumns {
            counts: Some(counts),
            priors,
            first_values,
            ..CandidateColumns::default()
        },
        ..told(&ids, &[0.0; 3])
    };
    let terminal = Told {
        terminal: Some(&[false, true, false]),
        ..grown(&[1, 1, 1], None, None)
    };
    let twice = [ids[0], ids[1], ids[0]];
    let priors = Some(&[1.0, 0.0, 0.0][..]);
    let first_values = Some(&[0.0, f32::NAN][..]);

    let nan = [0.0, f32::NAN, 0.0];
    assert_eq!(row(search.tell(told(&ids, &nan))), (1, "values"));
    assert_eq!(
        row(search.tell(told(&ids, &[0.0, 0.0, -2e38]))),
        (2, "values")
    );
    assert_eq!(row(search.tell(told(&twice, &[0.0; 3]))), (2, "ids"));
    assert_eq!(
        row(search.tell(grown(&[1, -1, 65_536], None, None))),
        (2, "candidates")
    );
    assert_eq!(
        row(search.tell(grown(&[1, -1, 2], priors, None))),
        (2, "priors")
    );
    assert_eq!(
        row(search.tell(grown(&[1, 1, 0], None, first_values))),
        (1, "first_values")
    );
    assert_eq!(row(search.tell(terminal)), (1, "candidates"));

    assert_eq!(search.edges(search.root()).unwrap(), before);
    search.tell(told(&ids, &[0.0; 3])).unwrap();
    assert_eq!(search.num_simulations(), 3);
}

#[test]
fn columns_of_different_lengths_are_an_error() {
    let mut search = search(2);
    let ids = search.ask(2).unwrap().ids;
    let base = told(&ids, &[0.0; 2]);
    let short = Told {
        terminal: Some(&[true]),
        ..base
    };
    let grown = |counts, priors, first_values| Told {
        candidates: CandidateColumns {
            counts,
            priors,
            first_values,
            ..CandidateColumns::default()
        },
        ..base
    };

    assert_eq!(argument(search.tell(told(&ids, &[0.0]))), "values");
    assert_eq!(argument(search.tell(short)), "terminal");
    assert_eq!(
        argument(search.tell(grown(Some(&[1]), None, None))),
        "candidates"
    );
    assert_eq!(
        argument(search.tell(grown(Some(&[1, 2]), Some(&[1.0]), None))),
        "priors"
    );
    assert_eq!(
        argument(search.tell(grown(None, None, Some(&[1.0])))),
        "first_values"
    );
}

#[test]
fn leaf_that_wants_candidates_is_not_told_without() {
    let mut search = search(1);
    let first = search.ask(1).unwrap().ids;
    search.tell(told(&first, &[0.5])).unwrap();
    let leaves = search.ask(1).unwrap();
    assert_eq!(leaves.wants_candidates, [true]);

    let refused = row(search.tell(told(&leaves.ids, &[0.0])));

    assert_eq!(refused, (0, "candidates"));
}

#[test]
fn ask_beyond_the_limit_in_flight_is_an_error() {
    let mut search = search(1);
    search.ask(MAX_IN_FLIGHT - 1).unwrap();

    let error = search.ask(2).unwrap_err();

    let expected = Error::TooManyInFlight {
        asked: 2,
        in_flight: MAX_IN_FLIGHT - 1,
        limit: MAX_IN_FLIGHT,
    };
    assert_eq!(error, expected);
    assert_eq!(argument(search.ask(0)), "num_simulations");
    assert_eq!(search.in_flight(), MAX_IN_FLIGHT - 1);
}

#[test]
fn unknown_node_is_an_error() {
    let search = search(1);

    let expected = Error::UnknownNode {
        node: 1,
        num_nodes: 1,
    };

    assert_eq!(search.edges(1).unwrap_err(), expected);
    assert_eq!(search.place(1).unwrap_err(), expected);
    assert_eq!(search.path(1).unwrap_err(), expected);
}

#[test]
fn advance_to_what_cannot_be_a_root_is_an_error() {
    let mut search = search(2);
    let leaves = search.ask(2).unwrap();
    let ends = Told {
        terminal: Some(&[true, false]),
        ..told(&leaves.ids, &[0.0; 2])
    };
    search.tell(ends).unwrap();
    let before = search.edges(search.root()).unwrap();
    let [ended, open] = leaves.actions[..] else {
        panic!("two leaves")
    };

    let terminal = search.advance(ended, Some(with(2))).unwrap_err();
    let unexpanded = search.advance(open, None).unwrap_err();

    assert_eq!(terminal, Error::TerminalAction { action: ended });
    assert_eq!(unexpanded, Error::NotExpanded { action: open });
    assert_eq!(argument(search.advance(2, None)), "action");
    assert_eq!(argument(search.advance(open, Some(with(0)))), "candidates");
    assert_eq!(search.edges(search.root()).unwrap(), before);
}

#[test]
fn the_greatest_weight_of_a_prior_selects_an_edge_that_there_is() {
    let config = Config {
        policy: Policy::Puct { c: 1e30 },
        max_collisions: None,
        ..Config::default()
    };
    let mut search = TreeSearch::new(config, with(1)).unwrap();

    search.ask(MAX_IN_FLIGHT).unwrap();

    assert_eq!(search.edges(0).unwrap().in_flight, [MAX_IN_FLIGHT]);
}

#[test]
fn sums_of_discounted_values_stay_in_the_range_of_one() {
    let config = Config {
        backup: Backup::Discounted { discount: 1.0 },
        ..Config::default()
    };
    for value in [1e38_f32, -1e38] {
        let values = [value];
        let mut search = TreeSearch::new(config, with(1)).unwrap();
        for _ in 0..5 {
            let ids = search.ask(1).unwrap().ids;
            let grown = Told {
                candidates: CandidateColumns {
                    counts: Some(&[1]),
                    ..CandidateColumns::default()
                },
                ..told(&ids, &values)
            };
            search.tell(grown).unwrap();
        }

        let found = search.edges(0).unwrap().values[0];

        assert_eq!(found.to_bits(), value.to_bits());
        assert!(TreeSearch::load(&search.save(b"")).is_ok());
    }
}

#[test]
fn any_number_of_simulations_may_be_asked_to_decide() {
    let mut search = search(2);
    search.ask(1).unwrap();

    assert!(!search.is_decided(u64::MAX));
}
