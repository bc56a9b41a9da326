//! The entries of one length bucket: a lane for each priority, first come, first served.

use std::collections::BTreeMap;
use std::time::Duration;

use super::limits::Load;

/// Entries with consecutive ids and the same size that came together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) tokens: u32,
    pub(super) pixels: u32,
    pub(super) arrival: Duration,
    pub(super) deadline: Option<Duration>,
    pub(super) key: Option<u128>,
}

/// Where a run stands: its place in the order of pushes, and its first id, since a run whose
/// middle was cancelled goes on as two.
pub(super) type Seat = (u64, u64);

#[derive(Debug)]
struct Lane {
    priority: i8,
    /// In the order of arrival, so that the first is the oldest.
    runs: BTreeMap<Seat, Waiting>,
}

/// The front of a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Front {
    /// Arrival less the head start of its priority; the least goes first. Nanoseconds.
    pub(super) place: i128,
    pub(super) seat: Seat,
    pub(super) run: Waiting,
    pub(super) priority: i8,
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    lanes: Vec<Lane>,
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

    pub(super) fn insert(&mut self, priority: i8, seat: Seat, run: Waiting) {
        self.load.add(u64::from(run.count), run.tokens, run.pixels);
        if let Some(lengths) = &mut self.lengths {
            *lengths.entry(run.tokens).or_default() += u64::from(run.count);
        }
        self.lane(priority).runs.insert(seat, run);
    }

    pub(super) fn remove(&mut self, priority: i8, seat: Seat) -> Waiting {
        let run = self
            .lane(priority)
            .runs
            .remove(&seat)
            .expect("the table of ids names seats that are taken. This is a bug.");
        self.unload(u64::from(run.count), run.tokens, run.pixels);
        run
    }

    /// The oldest arrival of all that wait here. O(lanes).
    pub(super) fn oldest(&self) -> Option<Duration> {
        let fronts = self
            .lanes
            .iter()
            .filter_map(|lane| lane.runs.values().next());
        fronts.map(|run| run.arrival).min()
    }

    /// The run that goes next. O(lanes).
    pub(super) fn front(&self, priority_step: Duration) -> Option<Front> {
        let step = priority_step.as_nanos() as i128;
        let fronts = self.lanes.iter().filter_map(|lane| {
            let (&seat, &run) = lane.runs.first_key_value()?;
            Some(Front {
                place: run.arrival.as_nanos() as i128 - i128::from(lane.priority) * step,
                seat,
                run,
                priority: lane.priority,
            })
        });
        fronts.min_by_key(|front| (front.place, front.seat))
    }

    fn unload(&mut self, count: u64, tokens: u32, pixels: u32) {
        self.load.remove(count, tokens, pixels);
        if let Some(lengths) = &mut self.lengths {
            let left = lengths.entry(tokens).or_default();
            *left -= count;
            if *left == 0 {
                lengths.remove(&tokens);
            }
            self.load.longest = lengths.last_key_value().map_or(0, |(&longest, _)| longest);
        }
    }

    fn lane(&mut self, priority: i8) -> &mut Lane {
        let place = self.lanes.iter().position(|lane| lane.priority == priority);
        let place = place.unwrap_or_else(|| {
            self.lanes.push(Lane {
                priority,
                runs: BTreeMap::new(),
            });
            self.lanes.len() - 1
        });
        &mut self.lanes[place]
    }
}
