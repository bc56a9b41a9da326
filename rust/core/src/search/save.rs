//! A search as bytes, in the middle of a batch if need be.
//!
//! ```text
//! magic      8 bytes, "SFTREE\r\n"
//! version    u32
//! checksum   u32, CRC-32 (IEEE) of everything behind the header
//! length     u64, bytes behind the header
//! config, counters, arena, rows, tickets, parked, keys, plan, held, extra
//! ```
//!
//! Numbers are little-endian, columns begin with their length as `u64`, options with a byte. The
//! landmarks and the open list are made again by the reader.

use super::held::OwnedTold;
use super::{Backup, Config, Fpu, Gumbel, Normalize, Policy, TreeSearch};

pub(super) const MAGIC: &[u8; 8] = b"SFTREE\r\n";
pub(super) const VERSION: u32 = 1;
/// Bytes before what the checksum covers.
pub(super) const HEADER_BYTES: usize = 24;

impl TreeSearch {
    /// Everything this search knows, and `extra`, which belongs to the caller, as bytes that
    /// [`Self::load`] reads on any machine. Leaves that are open stay open under the same ids.
    /// O(tree).
    pub fn save(&self, extra: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.config(&self.config);
        writer.u64(self.completed);
        writer.f32(self.least);
        writer.f32(self.greatest);
        writer.flag(self.is_full);
        writer.column(self.tree.saved_words(), |writer, &word| writer.u32(word));
        writer.floats(self.tree.rows.values());
        self.tickets.save(&mut writer);
        writer.column(&self.parked, |writer, parked| {
            writer.u32(parked.block.word() as u32);
            writer.u32(parked.depth);
            writer.u32(parked.visits);
        });
        let mut keys: Vec<(u64, u32)> = Vec::with_capacity(self.keys.len());
        keys.extend(
            self.keys
                .iter()
                .map(|(&key, block)| (key, block.word() as u32)),
        );
        keys.sort_unstable();
        writer.column(&keys, |writer, &(key, block)| {
            writer.u64(key);
            writer.u32(block);
        });
        self.save_plan(&mut writer);
        writer.column(&self.held.calls, Writer::call);
        writer.column(&self.held.settled, |writer, &(id, node)| {
            writer.u64(id);
            writer.u32(node);
        });
        writer.column(extra, |writer, &byte| writer.u8(byte));
        writer.finish()
    }

    fn save_plan(&self, writer: &mut Writer) {
        let plan = &self.schedule;
        writer.floats(&plan.noise);
        writer.column(&plan.before, |writer, &visits| writer.u32(visits));
        writer.column(&plan.considered, |writer, &edge| writer.u32(edge));
        writer.u32(plan.quota);
        writer.u32(plan.phases);
        writer.u32(plan.num_simulations);
    }
}

/// Bytes that grow.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.u8(value.into());
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn f32(&mut self, value: f32) {
        self.u32(value.to_bits());
    }

    pub(super) fn column<T>(&mut self, column: &[T], write: impl Fn(&mut Self, &T)) {
        self.u64(column.len() as u64);
        for item in column {
            write(self, item);
        }
    }

    fn floats(&mut self, column: &[f32]) {
        self.column(column, |writer, &value| writer.f32(value));
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn config(&mut self, config: &Config) {
        match config.policy {
            Policy::Puct { c } => {
                self.u8(0);
                self.f32(c);
            }
            Policy::Uct { c } => {
                self.u8(1);
                self.f32(c);
            }
            Policy::Gumbel(Gumbel {
                c_visit,
                c_scale,
                max_considered,
                num_simulations,
            }) => {
                self.u8(2);
                self.f32(c_visit);
                self.f32(c_scale);
                self.u32(max_considered);
                self.u32(num_simulations);
            }
            Policy::BestFirst => self.u8(3),
            Policy::Beam { width } => {
                self.u8(4);
                self.u32(width);
            }
        }
        let (backup, constant) = match config.backup {
            Backup::Mean => (0, 0.0),
            Backup::Max => (1, 0.0),
            Backup::PowerMean { exponent } => (2, exponent),
            Backup::Discounted { discount } => (3, discount),
        };
        self.u8(backup);
        self.f32(constant);
        let fpu = match config.fpu {
            Fpu::Value(value) => Some(value),
            Fpu::Parent => None,
        };
        self.option(fpu, Self::f32);
        let (scale, low, high) = match config.normalize {
            Normalize::None => (0, 0.0, 0.0),
            Normalize::MinMax => (1, 0.0, 0.0),
            Normalize::Range { low, high } => (2, low, high),
        };
        self.u8(scale);
        self.f32(low);
        self.f32(high);
        self.u32(config.max_depth);
        self.u32(config.virtual_loss);
        self.option(config.max_collisions, Self::u32);
        self.u8(config.channels.count() as u8);
        self.flag(config.channels.is_gated());
        self.option(config.channels.weights(), |writer, weights| {
            writer.floats(weights);
        });
        self.flag(config.solve);
        self.flag(config.deterministic);
        self.option(config.max_nbytes, |writer, bytes| writer.u64(bytes as u64));
    }

    fn call(&mut self, call: &OwnedTold) {
        self.column(&call.ids, |writer, &id| writer.u64(id));
        self.floats(&call.values);
        let floats = |writer: &mut Self, column: &Vec<f32>| writer.floats(column);
        self.option(call.weights.as_ref(), floats);
        self.option(call.terminal.as_ref(), |writer, column| {
            writer.column(column, |writer, &is_terminal| writer.flag(is_terminal));
        });
        self.option(call.counts.as_ref(), |writer, column| {
            writer.column(column, |writer, &count| writer.u32(count as u32));
        });
        self.option(call.priors.as_ref(), floats);
        self.option(call.first_values.as_ref(), floats);
        self.option(call.first_weights.as_ref(), floats);
        self.option(call.keys.as_ref(), |writer, column| {
            writer.column(column, |writer, &key| writer.u64(key));
        });
    }

    /// The header, and what was written behind it.
    fn finish(self) -> Vec<u8> {
        let mut file = Vec::with_capacity(HEADER_BYTES + self.bytes.len());
        file.extend(MAGIC);
        file.extend(VERSION.to_le_bytes());
        file.extend(crc32fast::hash(&self.bytes).to_le_bytes());
        file.extend((self.bytes.len() as u64).to_le_bytes());
        file.extend(self.bytes);
        file
    }
}
