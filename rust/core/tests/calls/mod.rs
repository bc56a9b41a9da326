//! Calls of a search, decoded from bytes: any settings, any order, wrong arguments too.
//!
//! The fuzz targets of `rust/fuzz` and the short runs of `search_fuzz.rs` share it. Every call is made
//! of a search and of its twin, which was saved and loaded just before; both must answer alike and be
//! alike, to the byte. A call that is refused must have changed nothing. Loading checks the counts,
//! links and numbers of the whole tree, so that it is the check of the laws as well.

#![allow(dead_code)] // each user makes calls or files

mod draw;
pub(crate) mod file;
mod laws;

use arbitrary::{Result, Unstructured};
use similar_fast_core::Error;
use similar_fast_core::search::{Leaves, TreeSearch};

use draw::{Rows, any_id, any_node, candidates, chosen, config, number};

/// Calls that one input can make, and bytes of a search after which it makes no more: each call is
/// followed by a save and a load, and no input shall take long.
const MOST_CALLS: usize = 200;
const MOST_BYTES: usize = 1 << 17;

/// Makes the calls that these bytes stand for.
pub(crate) fn make_calls(bytes: &[u8]) {
    // It ends with the bytes, in the middle of a call if need be.
    let _ = drive(&mut Unstructured::new(bytes), MOST_CALLS);
}

fn drive(from: &mut Unstructured<'_>, most: usize) -> Result<Option<TreeSearch>> {
    let Some(mut calls) = Calls::new(from)? else {
        return Ok(None);
    };
    for _ in 0..most {
        let is_small = calls.search.nbytes() < MOST_BYTES;
        if from.is_empty() || !is_small || calls.next(from).is_err() {
            break;
        }
    }
    Ok(Some(calls.search))
}

/// A search, its twin, and the leaves that may be told.
struct Calls {
    search: TreeSearch,
    twin: TreeSearch,
    open: Vec<(u64, bool)>,
    finished: Vec<u64>,
}

impl Calls {
    fn new(from: &mut Unstructured<'_>) -> Result<Option<Self>> {
        let config = config(from)?;
        let root = candidates(from, &config.channels)?;
        let Ok(search) = TreeSearch::new(config, root.view()) else {
            return Ok(None);
        };
        Ok(Some(Self {
            twin: search.clone(),
            search,
            open: Vec::new(),
            finished: Vec::new(),
        }))
    }

    /// One call.
    fn next(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        match from.int_in_range(0..=15_u8)? {
            0..=3 => self.ask(from),
            4..=8 => self.tell(from),
            9 => self.fail(from),
            10 | 11 => self.ask_edge(from),
            12 => self.advance(from),
            13 => self.plan(from),
            14 => self.reweight(from),
            _ => self.look(from),
        }
    }

    /// Makes a call of both searches and compares them; `None` where they refuse it.
    fn both<T: PartialEq + std::fmt::Debug>(
        &mut self,
        call: impl Fn(&mut TreeSearch) -> std::result::Result<T, Error>,
    ) -> Option<T> {
        let before = self.search.save(b"");
        let (found, other) = (call(&mut self.search), call(&mut self.twin));
        assert_eq!(found, other, "a loaded search answers differently");
        assert_eq!(self.search.settled(), self.twin.settled());
        let after = self.search.save(b"");
        assert_eq!(after, self.twin.save(b""), "a loaded search differs");
        if found.is_err() {
            assert_eq!(before, after, "a refused call changed the search");
        }
        let (twin, extra) = TreeSearch::load(&after).expect("what was saved");
        assert!(extra.is_empty());
        self.twin = twin;
        laws::check(&self.search);
        found.ok()
    }

    fn note(&mut self, leaves: &Leaves) {
        let rows = leaves.ids.iter().zip(&leaves.wants_candidates);
        self.open.extend(rows.map(|(&id, &wants)| (id, wants)));
    }

    fn ask(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let asked = match from.int_in_range(0..=40_u32)? {
            40 => from.arbitrary::<u32>()?,
            few => few,
        };
        if let Some(leaves) = self.both(|search| search.ask(asked)) {
            self.note(&leaves);
        }
        Ok(())
    }

    fn ask_edge(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let (node, action) = (any_node(from, &self.search)?, from.int_in_range(0..=8_u32)?);
        if let Some(leaves) = self.both(|search| search.ask_edge(node, action)) {
            self.note(&leaves);
        }
        Ok(())
    }

    fn tell(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let leaves = chosen(from, &self.open)?;
        let mut rows = Rows::draw(from, &leaves, self.search.config())?;
        if from.ratio(1, 12)? {
            let ids: Vec<u64> = self.open.iter().map(|&(id, _)| id).collect();
            rows.spoil(from, &ids, &self.finished)?;
        }
        if self.both(|search| search.tell(rows.view())).is_some() {
            self.finish(&rows.ids);
        }
        Ok(())
    }

    fn fail(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let leaves = chosen(from, &self.open)?;
        let mut ids: Vec<u64> = leaves.iter().map(|&(id, _)| id).collect();
        if from.ratio(1, 12)? {
            ids.push(any_id(from, &ids, &self.finished)?);
        }
        if self.both(|search| search.fail(&ids)).is_some() {
            self.finish(&ids);
        }
        Ok(())
    }

    fn finish(&mut self, ids: &[u64]) {
        self.open.retain(|(id, _)| !ids.contains(id));
        self.finished.extend(ids);
    }

    fn advance(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let action = from.int_in_range(0..=4_u32)?;
        let root = if from.ratio(1, 2)? {
            Some(candidates(from, &self.search.config().channels)?)
        } else {
            None
        };
        let root = root.as_ref();
        self.both(|search| search.advance(action, root.map(draw::OwnedCandidates::view)));
        Ok(())
    }

    fn plan(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let edges = self.search.edges(self.search.root()).expect("a root");
        let count = match from.int_in_range(0..=9_u8)? {
            0 => from.int_in_range(0..=5_usize)?,
            _ => edges.visits.len(),
        };
        let noise: Vec<f32> = (0..count).map(|_| number(from)).collect::<Result<_>>()?;
        let noise = from.ratio(2, 3)?.then_some(noise);
        let num_simulations = if from.ratio(1, 20)? {
            from.arbitrary()?
        } else {
            from.int_in_range(1..=50)?
        };
        self.both(|search| search.plan(noise.as_deref(), num_simulations));
        Ok(())
    }

    fn reweight(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let count = match from.int_in_range(0..=9_u8)? {
            0 => from.int_in_range(0..=9_usize)?,
            _ => self.search.config().channels.count(),
        };
        let weights: Vec<f32> = (0..count).map(|_| number(from)).collect::<Result<_>>()?;
        let weights = from.ratio(4, 5)?.then_some(weights);
        self.both(|search| search.reweight(weights.as_deref()));
        Ok(())
    }

    /// Reads everything that can be read.
    fn look(&mut self, from: &mut Unstructured<'_>) -> Result<()> {
        let node = any_node(from, &self.search)?;
        let (key, more) = (from.int_in_range(0..=9)?, from.arbitrary()?);
        self.both(|search| {
            let seen = (search.best_action(), search.principal_variation());
            let found = (search.node_of_key(key), search.is_decided(more));
            let counts = (search.num_open(), search.num_parked(), search.is_full());
            let is_over = (search.is_exhausted(), search.is_solved());
            let told = search.told(node)?;
            let bits: Vec<u32> = told.iter().map(|number| number.to_bits()).collect();
            let place = (search.path(node)?, search.place(node)?);
            Ok((seen, found, counts, is_over, bits, place))
        });
        Ok(())
    }
}
