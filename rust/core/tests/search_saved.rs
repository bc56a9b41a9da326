//! Searches as bytes: they go on as if nothing had happened, and nothing else is believed.

mod calls;
mod growth;

use growth::{World, batches, configs, grow, grown, worlds};
use proptest::prelude::*;
use similar_fast_core::Error;
use similar_fast_core::search::{
    Backup, CandidateColumns, Candidates, Channels, Config, Gumbel, Policy, Told, TreeSearch,
};

/// A small search with something in every part of its file: open and held leaves, parked
/// simulations, keys, rows, a plan.
fn full_of_everything() -> TreeSearch {
    let config = Config {
        policy: Policy::Gumbel(Gumbel::default()),
        backup: Backup::Discounted { discount: 0.5 },
        channels: Channels::gated(2).unwrap(),
        solve: true,
        deterministic: true,
        max_nbytes: Some(4000),
        max_collisions: Some(3),
        ..Config::default()
    };
    let root = Candidates {
        count: 2,
        key: 1,
        ..Candidates::default()
    };
    let mut search = TreeSearch::new(config, root).unwrap();
    search.plan(Some(&[0.5, -0.25]), 12).unwrap();
    let tell = |search: &mut TreeSearch, id: u64, count: i32, key: u64| {
        let candidates = CandidateColumns {
            counts: Some(&[count]),
            keys: Some(&[key]),
            ..CandidateColumns::default()
        };
        let told = Told {
            ids: &[id],
            values: &[0.5, 0.25],
            weights: Some(&[1.0, 0.5]),
            terminal: Some(&[count == 0]),
            candidates,
        };
        search.tell(told).unwrap();
    };
    for count in [-1, 2] {
        let ids = search.ask(2).unwrap().ids;
        tell(&mut search, ids[0], count, 0);
        tell(&mut search, ids[1], count, 9);
    }
    assert!(search.num_parked() > 0);
    let below = search.edges(0).unwrap().children[0].unwrap();
    let first = search.ask(1).unwrap().ids;
    tell(&mut search, first[0], 0, 0);
    let leaves = search.ask(2).unwrap().ids;
    tell(&mut search, leaves[0], 2, 1);
    assert!(search.num_open() > 0 && below > 0 && search.node_of_key(9).is_some());
    search
}

fn message(file: &[u8]) -> String {
    TreeSearch::load(file).unwrap_err().to_string()
}

#[test]
fn a_saved_search_has_the_callers_bytes_and_the_open_leaves() {
    let search = full_of_everything();

    let (loaded, extra) = TreeSearch::load(&search.save(b"names")).unwrap();

    assert_eq!(extra, b"names");
    assert_eq!(loaded.save(b""), search.save(b""));
    assert_eq!(loaded.config(), search.config());
    assert_eq!(loaded.num_open(), search.num_open());
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let file = full_of_everything().save(b"");
    let mut newer = file.clone();
    newer[8] = 2;
    let mut altered = file.clone();
    *altered.last_mut().unwrap() ^= 1;

    assert_eq!(
        message(b"a text file, and no tree"),
        "the file is not a whole search tree: expected the mark of a search tree, found another \
         kind of file"
    );
    assert!(message(&newer).ends_with("expected format version 1, found version 2"));
    assert!(message(&file[..file.len() - 1]).contains("as many bytes as the header says, found"));
    assert!(message(&altered).contains("the checksum of the header, found"));
    assert!(message(b"SF").ends_with("found 2 bytes for 8"));
}

#[test]
fn every_cut_and_every_changed_byte_is_refused() {
    let file = full_of_everything().save(b"names");

    for length in 0..file.len() {
        assert!(TreeSearch::load(&file[..length]).is_err(), "{length} bytes");
    }
    for at in 0..file.len() {
        for change in [1, 0x80, 0xff] {
            let mut altered = file.clone();
            altered[at] ^= change;
            assert!(
                matches!(TreeSearch::load(&altered), Err(Error::CorruptFile { .. })),
                "byte {at}"
            );
        }
    }
    let longer = [&file[..], b"x"].concat();
    assert!(TreeSearch::load(&longer).is_err());
}

#[test]
fn every_changed_byte_behind_a_good_checksum_is_refused_or_can_be_used() {
    let body = full_of_everything().save(b"names")[24..].to_vec();

    for at in 0..body.len() {
        for change in [1, 2, 0x40, 0x80, 0xff] {
            let mut altered = body.clone();
            altered[at] ^= change;
            calls::file::any_file(&altered);
        }
    }
    for length in 0..body.len() {
        calls::file::any_file(&body[..length]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn prop_a_loaded_search_goes_on_alike(
        config in configs(), is_deterministic: bool, keys in 0..8_u64,
        world in worlds(), batches in batches(), later in batches()
    ) {
        let config = Config { deterministic: is_deterministic, ..config };
        let world = World { keys, ..world };
        let mut search = grown(config, world, &batches);
        let _ = search.ask(9); // in the middle of a batch
        let (mut loaded, _) = TreeSearch::load(&search.save(b"")).unwrap();

        for batch in later {
            let (asked, again) = (search.ask(batch), loaded.ask(batch));
            prop_assert_eq!(&asked, &again);
            let Ok(leaves) = asked else { break };
            let rows = world.rows(&leaves, &config);
            prop_assert_eq!(rows.tell(&mut search), rows.tell(&mut loaded));
            prop_assert_eq!(search.best_action(), loaded.best_action());
        }
        prop_assert!(search.save(b"") == loaded.save(b""));
    }

    #[test]
    fn prop_any_changed_byte_is_refused(
        config in configs(), world in worlds(), batches in batches(),
        at in any::<prop::sample::Index>(), change in 1..=255_u8
    ) {
        let mut search = grown(config, world, &batches);
        grow(&mut search, world, &[3]);
        let mut file = search.save(b"");
        let at = at.index(file.len());

        file[at] ^= change;

        prop_assert!(TreeSearch::load(&file).is_err());
        prop_assert!(TreeSearch::load(&file[..at]).is_err());
    }
}
