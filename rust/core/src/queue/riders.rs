//! Who shares whose row, and who must be gone by when: what only keys and deadlines pay for.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys are the caller's ids: small numbers that count up, most of the time.
pub(super) type IdMap<V> = HashMap<u64, V, BuildHasherDefault<IdHasher>>;

/// Fibonacci hashing. An id is chosen by the program, not by a stranger, so it need not resist one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 / the golden ratio. The table reads the lowest and the highest bits.
        self.0 = (self.0 ^ id)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(32);
    }
}

/// The rows that have a key, and who rides on them.
#[derive(Debug, Default)]
pub(super) struct Riders {
    leaders: HashMap<u128, u64>,
    rows: IdMap<Row>,
}

#[derive(Debug)]
struct Row {
    key: u128,
    riders: Vec<u64>,
}

impl Riders {
    /// The id whose row has this key.
    pub(super) fn leader(&self, key: u128) -> Option<u64> {
        self.leaders.get(&key).copied()
    }

    pub(super) fn lead(&mut self, key: u128, id: u64) {
        self.leaders.insert(key, id);
        let riders = Vec::new();
        self.rows.insert(id, Row { key, riders });
    }

    pub(super) fn ride(&mut self, leader: u64, id: u64) {
        if let Some(row) = self.rows.get_mut(&leader) {
            row.riders.push(id);
        }
    }

    pub(super) fn leave(&mut self, leader: u64, id: u64) {
        if let Some(row) = self.rows.get_mut(&leader) {
            row.riders.retain(|&rider| rider != id);
        }
    }

    /// Ends a row, and returns who rode on it.
    pub(super) fn end(&mut self, leader: u64) -> Vec<u64> {
        let Some(row) = self.rows.remove(&leader) else {
            return Vec::new();
        };
        self.leaders.remove(&row.key);
        row.riders
    }

    /// Hands a row whose leader leaves to its first rider. Returns the heir and those that ride
    /// on; None where nobody rode, and the row has ended.
    pub(super) fn promote(&mut self, leader: u64) -> Option<(u64, &[u64])> {
        let mut row = self.rows.remove(&leader)?;
        if row.riders.is_empty() {
            self.leaders.remove(&row.key);
            return None;
        }
        let heir = row.riders.remove(0);
        self.leaders.insert(row.key, heir);
        let row = self.rows.entry(heir).insert_entry(row);
        Some((heir, &row.into_mut().riders))
    }
}

/// When each entry that has a deadline must be gone, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    order: BTreeSet<(u64, u64)>,
    of: IdMap<u64>,
}

impl Deadlines {
    pub(super) fn add(&mut self, id: u64, deadline: u64) {
        self.order.insert((deadline, id));
        self.of.insert(id, deadline);
    }

    /// Whether it had one.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let deadline = self.of.remove(&id);
        deadline.is_some_and(|deadline| self.order.remove(&(deadline, id)))
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.order.first().map(|&(deadline, _)| deadline)
    }

    /// Removes and returns the first entry whose deadline has come.
    pub(super) fn pop(&mut self, now: u64) -> Option<u64> {
        let &(deadline, id) = self.order.first()?;
        (deadline <= now && self.remove(id)).then_some(id)
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.of.contains_key(&id)
    }
}
