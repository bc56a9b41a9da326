//! A search from bytes that somebody else may have written: believed only when everything fits.

use std::collections::HashMap;

use super::held::{Held, OwnedTold};
use super::save::{HEADER_BYTES, MAGIC, VERSION};
use super::schedule::Schedule;
use super::tickets::Tickets;
use super::{
    Backup, Channels, Config, Fpu, Gumbel, Normalize, Parked, Policy, Rows, Tree, TreeSearch,
};
use crate::Error;
use crate::tree::Block;

impl TreeSearch {
    /// A saved search, and the caller's `extra` bytes.
    ///
    /// Nothing of the file is believed before its checksum fits, and nothing is used before every
    /// count, link and number in it agrees with the others; memory is taken in proportion to the
    /// file only. O(file).
    ///
    /// # Errors
    ///
    /// `CorruptFile`: the file was cut or altered, was written by something else or by a newer
    /// version, or does not hold a search that could have been saved.
    pub fn load(file: &[u8]) -> Result<(Self, Vec<u8>), Error> {
        let mut reader = Reader::open(file)?;
        let config = reader.config()?;
        let completed = reader.u64()?;
        let (least, greatest) = (reader.f32()?, reader.f32()?);
        let is_full = reader.flag()?;
        let words = reader.column(4, Reader::u32)?;
        let mut rows: Rows = config.rows();
        *rows.values_mut() = reader.floats()?;
        let limit = config.max_nbytes.unwrap_or(usize::MAX);
        let tree = Tree::from_words(words, rows, limit)
            .ok_or_else(|| corrupt("blocks that follow one another", "others"))?;
        let mut search = Self::over(config, tree);
        search.completed = completed;
        search.least = least;
        search.greatest = greatest;
        search.is_full = is_full;
        search.tickets = Tickets::load(&mut reader)?;
        search.parked = reader.column(12, |reader| {
            Ok(Parked {
                block: Block::at(reader.u32()?),
                depth: reader.u32()?,
                visits: reader.u32()?,
            })
        })?;
        let keys = reader.column(12, |reader| Ok((reader.u64()?, Block::at(reader.u32()?))))?;
        let num_keys = keys.len();
        search.keys = HashMap::from_iter(keys);
        search.schedule = reader.plan()?;
        search.held = reader.held()?;
        let extra = reader.column(1, Reader::u8)?;
        if search.keys.len() != num_keys {
            return Err(corrupt("keys without repeats", "one again"));
        }
        if !reader.bytes.is_empty() {
            let found = format!("{} bytes more", reader.bytes.len());
            return Err(corrupt("the end of the file", found));
        }
        search.validate()?;
        search.count_askable();
        search.list_anew();
        Ok((search, extra))
    }
}

pub(super) fn corrupt(expected: &'static str, found: impl Into<String>) -> Error {
    Error::CorruptFile {
        expected,
        found: found.into(),
    }
}

/// Bytes that are read from the front.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the header and the checksum.
    fn open(file: &'a [u8]) -> Result<Self, Error> {
        let mut header = Self { bytes: file };
        if header.take(MAGIC.len())? != MAGIC {
            return Err(corrupt("the mark of a search tree", "another kind of file"));
        }
        let version = header.u32()?;
        if version != VERSION {
            return Err(corrupt("format version 1", format!("version {version}")));
        }
        let checksum = header.u32()?;
        let length = header.u64()?;
        let bytes = &file[HEADER_BYTES..];
        if length != bytes.len() as u64 {
            let found = format!("{} of {length} bytes", bytes.len());
            return Err(corrupt("as many bytes as the header says", found));
        }
        let found = crc32fast::hash(bytes);
        if found != checksum {
            return Err(corrupt(
                "the checksum of the header",
                format!("{found:08x} against {checksum:08x}"),
            ));
        }
        Ok(Self { bytes })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        if length > self.bytes.len() {
            let found = format!("{} bytes for {length}", self.bytes.len());
            return Err(corrupt("more bytes", found));
        }
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn flag(&mut self) -> Result<bool, Error> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(corrupt("0 or 1", other.to_string())),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn f32(&mut self) -> Result<f32, Error> {
        Ok(f32::from_bits(self.u32()?))
    }

    /// A column whose items take at least `least` bytes each, so that its length can be believed.
    pub(super) fn column<T>(
        &mut self,
        least: usize,
        read: impl Fn(&mut Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let length = self.u64()?;
        if length > (self.bytes.len() / least) as u64 {
            let found = format!("{} bytes for {length} items", self.bytes.len());
            return Err(corrupt("more bytes", found));
        }
        (0..length).map(|_| read(self)).collect()
    }

    fn floats(&mut self) -> Result<Vec<f32>, Error> {
        self.column(4, Self::f32)
    }

    fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if self.flag()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    fn config(&mut self) -> Result<Config, Error> {
        let config = Config {
            policy: self.policy()?,
            backup: self.backup()?,
            fpu: self.option(Self::f32)?.map_or(Fpu::Parent, Fpu::Value),
            normalize: self.normalize()?,
            max_depth: self.u32()?,
            virtual_loss: self.u32()?,
            max_collisions: self.option(Self::u32)?,
            channels: self.channels()?,
            solve: self.flag()?,
            deterministic: self.flag()?,
            max_nbytes: self
                .option(Self::u64)?
                .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        };
        config
            .check()
            .map_err(|error| corrupt("a configuration in range", error.to_string()))?;
        Ok(config)
    }

    fn policy(&mut self) -> Result<Policy, Error> {
        Ok(match self.u8()? {
            0 => Policy::Puct { c: self.f32()? },
            1 => Policy::Uct { c: self.f32()? },
            2 => Policy::Gumbel(Gumbel {
                c_visit: self.f32()?,
                c_scale: self.f32()?,
                max_considered: self.u32()?,
                num_simulations: self.u32()?,
            }),
            3 => Policy::BestFirst,
            4 => Policy::Beam { width: self.u32()? },
            other => return Err(corrupt("a policy from 0 to 4", other.to_string())),
        })
    }

    fn backup(&mut self) -> Result<Backup, Error> {
        let (kind, constant) = (self.u8()?, self.f32()?);
        Ok(match kind {
            0 => Backup::Mean,
            1 => Backup::Max,
            2 => Backup::PowerMean { exponent: constant },
            3 => Backup::Discounted { discount: constant },
            other => return Err(corrupt("a backup from 0 to 3", other.to_string())),
        })
    }

    fn normalize(&mut self) -> Result<Normalize, Error> {
        let (kind, low, high) = (self.u8()?, self.f32()?, self.f32()?);
        Ok(match kind {
            0 => Normalize::None,
            1 => Normalize::MinMax,
            2 => Normalize::Range { low, high },
            other => return Err(corrupt("a scale from 0 to 2", other.to_string())),
        })
    }

    fn channels(&mut self) -> Result<Channels, Error> {
        let (count, is_gated) = (usize::from(self.u8()?), self.flag()?);
        let weights = self.option(Self::floats)?;
        let channels = match (count, is_gated, &weights) {
            (0, false, None) => Ok(Channels::NONE),
            (_, false, Some(weights)) if weights.len() == count => Channels::weighted(weights),
            (_, true, None) => Channels::gated(count),
            (_, true, Some(weights)) if weights.len() == count => Channels::gated(count)
                .and_then(|gated| Ok(gated.weighed_by(Channels::weighted(weights)?.weights()))),
            _ => Err(corrupt("weights for the channels", "others")),
        };
        channels.map_err(|error| corrupt("channels in range", error.to_string()))
    }

    fn plan(&mut self) -> Result<Schedule, Error> {
        Ok(Schedule {
            noise: self.floats()?,
            before: self.column(4, Self::u32)?,
            considered: self.column(4, Self::u32)?,
            quota: self.u32()?,
            phases: self.u32()?,
            num_simulations: self.u32()?,
        })
    }

    fn held(&mut self) -> Result<Held, Error> {
        Ok(Held {
            calls: self.column(16, Self::call)?,
            settled: self.column(12, |reader| Ok((reader.u64()?, reader.u32()?)))?,
        })
    }

    fn call(&mut self) -> Result<OwnedTold, Error> {
        Ok(OwnedTold {
            ids: self.column(8, Self::u64)?,
            values: self.floats()?,
            weights: self.option(Self::floats)?,
            terminal: self.option(|reader| reader.column(1, Self::flag))?,
            counts: self.option(|reader| reader.column(4, |reader| Ok(reader.u32()? as i32)))?,
            priors: self.option(Self::floats)?,
            first_values: self.option(Self::floats)?,
            first_weights: self.option(Self::floats)?,
            keys: self.option(|reader| reader.column(8, Self::u64))?,
        })
    }
}
