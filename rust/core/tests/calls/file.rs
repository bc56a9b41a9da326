//! Saved searches, altered: they must be refused, or hold a search that can be used.

use arbitrary::{Result, Unstructured};
use similar_fast_core::search::{CandidateColumns, Candidates, Told, TreeSearch};

/// Bytes of the header: mark, version, checksum, length; `rust/core/src/search/save.rs` draws it.
const HEADER: usize = 24;

/// A file with this body and a header that fits it.
fn file(body: &[u8]) -> Vec<u8> {
    let mut file = b"SFTREE\r\n".to_vec();
    file.extend(1_u32.to_le_bytes());
    file.extend(crc32fast::hash(body).to_le_bytes());
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(body);
    file
}

/// Loads any body behind a header that fits.
pub(crate) fn any_file(bytes: &[u8]) {
    load_and_go_on(&file(bytes));
}

/// Loads a saved search in which some bytes were changed, with the checksum made good.
pub(crate) fn altered_file(bytes: &[u8]) {
    let _ = alter(&mut Unstructured::new(bytes));
}

fn alter(from: &mut Unstructured<'_>) -> Result<()> {
    let calls = from.int_in_range(0..=12)?;
    let Some(search) = super::drive(from, calls)? else {
        return Ok(());
    };
    let mut body = search.save(b"the caller's")[HEADER..].to_vec();
    for _ in 0..from.int_in_range(1..=4_u8)? {
        let at = from.choose_index(body.len())?;
        match from.int_in_range(0..=5_u8)? {
            0 => body.truncate(at.max(1)),
            1 => body[at] = body[at].wrapping_add(1),
            2 => body[at] = body[at].wrapping_sub(1),
            3 => body[at] = 0xff,
            4 => body[at] ^= 1 << from.int_in_range(0..=7_u8)?,
            _ => body[at] = from.arbitrary()?,
        }
    }
    load_and_go_on(&file(&body));
    Ok(())
}

/// Uses a search that could be loaded.
fn load_and_go_on(file: &[u8]) {
    let Ok((mut search, extra)) = TreeSearch::load(file) else {
        return;
    };
    assert!(TreeSearch::load(&search.save(&extra)).is_ok());
    search.best_action();
    search.principal_variation();
    for round in 0..6 {
        let Ok(leaves) = search.ask(1 + round) else {
            break;
        };
        let channels = search.config().channels;
        let numbers = vec![0.25; leaves.ids.len() * channels.count().max(1)];
        let told = Told {
            ids: &leaves.ids,
            values: &numbers,
            weights: channels.is_gated().then_some(&numbers),
            candidates: CandidateColumns {
                counts: Some(&vec![2; leaves.ids.len()]),
                ..CandidateColumns::default()
            },
            ..Told::default()
        };
        let _ = search.tell(told);
        let _ = search.fail(&leaves.ids);
    }
    let weights = [0.5; 8];
    let _ = search.reweight(Some(&weights[..search.config().channels.count()]));
    for action in 0..4 {
        let root = Candidates {
            count: 2,
            ..Candidates::default()
        };
        let _ = search.advance(action, (action % 2 == 0).then_some(root));
        let _ = search.ask(3);
    }
    let _ = search.save(&extra);
}
