//! Where runs are kept while they wait: slots that are used again, linked into lanes, so that a
//! run joins and leaves from anywhere in O(1) and nothing is allocated once the queue has been
//! full.

use std::ops::{Index, IndexMut};

/// No slot.
const NONE: u32 = u32::MAX;

/// Entries with consecutive ids and the same size that came together. Times in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// The name it was pushed under.
    pub(super) id: u64,
    /// The first id that still waits.
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) tokens: u32,
    pub(super) pixels: u32,
    pub(super) bucket: u32,
    pub(super) arrival: u64,
    /// Arrival less the head start of its priority; the least goes first.
    pub(super) place: i64,
    /// Its place in the order of pushes.
    pub(super) serial: u64,
    pub(super) priority: i8,
    pub(super) is_keyed: bool,
    pub(super) has_deadline: bool,
}

impl Waiting {
    /// What runs are ordered by.
    pub(super) fn order(&self) -> (i64, u64) {
        (self.place, self.serial)
    }
}

/// Runs in the order of their arrival.
#[derive(Debug)]
pub(super) struct Lane {
    head: u32,
    tail: u32,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            head: NONE,
            tail: NONE,
        }
    }
}

impl Lane {
    pub(super) fn head(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }
}

#[derive(Debug)]
struct Slot {
    run: Waiting,
    before: u32,
    after: u32,
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    pub(super) fn add(&mut self, run: Waiting) -> u32 {
        let slot = Slot {
            run,
            before: NONE,
            after: NONE,
        };
        if let Some(place) = self.free.pop() {
            self.slots[place as usize] = slot;
            return place;
        }
        self.slots.push(slot);
        self.slots.len() as u32 - 1
    }

    /// Frees the slot of a run that is in no lane.
    pub(super) fn free(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Puts a slot behind all of a lane that came before it.
    pub(super) fn link(&mut self, lane: &mut Lane, slot: u32) {
        let serial = self[slot].serial;
        let mut before = lane.tail;
        while before != NONE && self[before].serial > serial {
            before = self.slots[before as usize].before;
        }
        let after = match before {
            NONE => lane.head,
            _ => self.slots[before as usize].after,
        };
        self.slots[slot as usize].before = before;
        self.slots[slot as usize].after = after;
        self.join(lane, before, slot);
        self.join(lane, slot, after);
    }

    pub(super) fn unlink(&mut self, lane: &mut Lane, slot: u32) {
        let Slot { before, after, .. } = self.slots[slot as usize];
        self.join(lane, before, after);
    }

    /// Makes two neighbours of a lane know each other; its ends are neighbours of `NONE`.
    fn join(&mut self, lane: &mut Lane, before: u32, after: u32) {
        match before {
            NONE => lane.head = after,
            _ => self.slots[before as usize].after = after,
        }
        match after {
            NONE => lane.tail = before,
            _ => self.slots[after as usize].before = before,
        }
    }
}

impl Index<u32> for Slots {
    type Output = Waiting;

    fn index(&self, slot: u32) -> &Waiting {
        &self.slots[slot as usize].run
    }
}

impl IndexMut<u32> for Slots {
    fn index_mut(&mut self, slot: u32) -> &mut Waiting {
        &mut self.slots[slot as usize].run
    }
}
