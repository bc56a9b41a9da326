//! The entries of one length bucket: a lane for each priority, first come, first served.

use std::collections::BTreeMap;

use super::limits::Load;
use super::slots::{Lane, Slots, Waiting};

/// What waits in one bucket, and what it is together.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    lanes: Vec<(i8, Lane)>,
    load: Load,
    /// How many entries have each length; kept where batches are padded.
    lengths: Option<BTreeMap<u32, u64>>,
}

impl Bucket {
    pub(super) fn new(is_padded: bool) -> Self {
        Self {
            lengths: is_padded.then(BTreeMap::new),
            ..Self::default()
        }
    }

    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// Puts a run into its lane, behind all that came before it. O(runs of the lane that came
    /// later): O(1) for a new one.
    pub(super) fn insert(&mut self, slots: &mut Slots, slot: u32) {
        let run = &slots[slot];
        let priority = run.priority;
        self.load.add(u64::from(run.count), run.tokens, run.pixels);
        if let Some(lengths) = &mut self.lengths {
            *lengths.entry(run.tokens).or_default() += u64::from(run.count);
        }
        slots.link(self.lane(priority), slot);
    }

    /// Takes a run out of its lane.
    pub(super) fn remove(&mut self, slots: &mut Slots, slot: u32) {
        let run = &slots[slot];
        let (priority, count) = (run.priority, run.count);
        self.unload(run, count);
        slots.unlink(self.lane(priority), slot);
    }

    /// Takes the first `count` entries off a run, fewer than it has.
    pub(super) fn shorten(&mut self, slots: &mut Slots, slot: u32, count: u32) {
        let run = &mut slots[slot];
        run.first += u64::from(count);
        run.count -= count;
        self.unload(run, count);
    }

    /// The oldest arrival of all that wait here. O(lanes).
    pub(super) fn oldest(&self, slots: &Slots) -> Option<u64> {
        self.heads(slots).map(|(_, run)| run.arrival).min()
    }

    /// The run that goes next. O(lanes).
    pub(super) fn front(&self, slots: &Slots) -> Option<u32> {
        let next = self.heads(slots).min_by_key(|(_, run)| run.order());
        next.map(|(slot, _)| slot)
    }

    fn heads<'a>(&'a self, slots: &'a Slots) -> impl Iterator<Item = (u32, &'a Waiting)> {
        let heads = self.lanes.iter().filter_map(|(_, lane)| lane.head());
        heads.map(|slot| (slot, &slots[slot]))
    }

    fn unload(&mut self, run: &Waiting, count: u32) {
        self.load.remove(u64::from(count), run.tokens, run.pixels);
        if let Some(lengths) = &mut self.lengths {
            let left = lengths.entry(run.tokens).or_default();
            *left -= u64::from(count);
            if *left == 0 {
                lengths.remove(&run.tokens);
            }
            self.load.longest = lengths.last_key_value().map_or(0, |(&longest, _)| longest);
        }
    }

    fn lane(&mut self, priority: i8) -> &mut Lane {
        let place = self.lanes.iter().position(|&(p, _)| p == priority);
        let place = place.unwrap_or_else(|| {
            self.lanes.push((priority, Lane::default()));
            self.lanes.len() - 1
        });
        &mut self.lanes[place].1
    }
}
