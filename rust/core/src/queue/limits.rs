//! What a batch and the queue may hold.

use std::time::Duration;

use super::entry::Entry;
use crate::Error;

/// What a batch and the queue may hold.
///
/// A limit that is not set costs nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries in a batch, at most; at least 1.
    pub max_batch_size: usize,
    /// Tokens in a batch, at most; at least 1. None sets no limit.
    pub max_batch_tokens: Option<u64>,
    /// Pixels in a batch, at most; at least 1. None sets no limit.
    pub max_batch_pixels: Option<u64>,
    /// Whether a batch is padded to its longest entry, so that it costs
    /// `entries * longest` tokens; otherwise it costs the sum of its tokens.
    pub is_padded: bool,
    /// Where one length bucket ends and the next begins, in tokens, ascending: an entry belongs to
    /// the first bucket whose edge is no smaller than its tokens, or to the last one, which has
    /// no edge. Entries of different buckets never share a batch. Empty for one bucket.
    pub bucket_edges: Vec<u32>,
    /// How long the oldest entry of a bucket waits for company before its batch is ready.
    pub max_wait: Duration,
    /// The head start that one level of priority is worth: with `p` more levels an entry overtakes
    /// those that came up to `p * priority_step` before it, and no others.
    pub priority_step: Duration,
    /// Entries that may wait at once; at least `max_batch_size`. A full queue waits no longer.
    pub capacity: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_batch_size: 64,
            max_batch_tokens: None,
            max_batch_pixels: None,
            is_padded: false,
            bucket_edges: Vec::new(),
            max_wait: Duration::from_millis(2),
            priority_step: Duration::from_millis(100),
            capacity: 4096,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.max_batch_size == 0 {
            return Err(Error::invalid("max_batch_size", "at least 1", "0"));
        }
        if self.max_batch_tokens == Some(0) {
            return Err(Error::invalid("max_batch_tokens", "at least 1", "0"));
        }
        if self.max_batch_pixels == Some(0) {
            return Err(Error::invalid("max_batch_pixels", "at least 1", "0"));
        }
        if self.capacity < self.max_batch_size {
            return Err(Error::invalid(
                "capacity",
                "at least max_batch_size",
                format!("{} < {}", self.capacity, self.max_batch_size),
            ));
        }
        if !self.bucket_edges.is_sorted_by(|a, b| a < b) {
            return Err(Error::invalid(
                "bucket_edges",
                "strictly ascending",
                format!("{:?}", self.bucket_edges),
            ));
        }
        Ok(())
    }

    /// Refuses an entry that alone breaks a limit.
    pub(super) fn check_entry(&self, entry: &Entry) -> Result<(), Error> {
        let sizes = [
            ("tokens", entry.tokens, self.max_batch_tokens),
            ("pixels", entry.pixels, self.max_batch_pixels),
        ];
        for (unit, size, limit) in sizes {
            if let Some(limit) = limit.filter(|&limit| u64::from(size) > limit) {
                return Err(Error::EntryTooLarge { size, unit, limit });
            }
        }
        if entry.key.is_some() && entry.count != 1 {
            return Err(Error::invalid(
                "count",
                "1 where the entry has a key",
                entry.count.to_string(),
            ));
        }
        if entry.id.checked_add(u64::from(entry.count)).is_none() {
            return Err(Error::invalid(
                "id",
                "at most 2^64 - 1 in all of a run",
                format!("{} and {} more", entry.id, entry.count),
            ));
        }
        Ok(())
    }

    /// The bucket that entries of this length belong to.
    pub(super) fn bucket_of(&self, tokens: u32) -> usize {
        self.bucket_edges.partition_point(|&edge| edge < tokens)
    }

    /// How many entries of one size a batch of this load still has room for.
    pub(super) fn room(&self, load: &Load, tokens: u32, pixels: u32) -> u64 {
        let by_size = self.max_batch_size as u64 - load.len;
        let by_tokens = match self.max_batch_tokens {
            None => u64::MAX,
            Some(limit) if self.is_padded => {
                share(limit, load.longest.max(tokens)).saturating_sub(load.len)
            }
            Some(limit) => share(limit - load.tokens, tokens),
        };
        let by_pixels = self
            .max_batch_pixels
            .map_or(u64::MAX, |limit| share(limit - load.pixels, pixels));
        by_size.min(by_tokens).min(by_pixels)
    }

    /// Whether no limit leaves room for the load and one more: where the load is all of a bucket,
    /// some run of its first entries is a batch that no later entry could join.
    pub(super) fn is_full(&self, load: &Load) -> bool {
        let tokens = if self.is_padded {
            load.len * u64::from(load.longest)
        } else {
            load.tokens
        };
        load.len >= self.max_batch_size as u64
            || self.max_batch_tokens.is_some_and(|limit| tokens >= limit)
            || self
                .max_batch_pixels
                .is_some_and(|limit| load.pixels >= limit)
    }
}

/// `whole / part`, where nothing is in nothing without end.
fn share(whole: u64, part: u32) -> u64 {
    whole.checked_div(u64::from(part)).unwrap_or(u64::MAX)
}

/// What some entries hold together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub(super) len: u64,
    pub(super) tokens: u64,
    pub(super) pixels: u64,
    /// The most tokens of one entry; kept where batches are padded.
    pub(super) longest: u32,
}

impl Load {
    pub(super) fn add(&mut self, count: u64, tokens: u32, pixels: u32) {
        self.len += count;
        self.tokens += count * u64::from(tokens);
        self.pixels += count * u64::from(pixels);
        self.longest = self.longest.max(tokens);
    }

    /// Takes entries off; `longest` is the caller's to correct.
    pub(super) fn remove(&mut self, count: u64, tokens: u32, pixels: u32) {
        self.len -= count;
        self.tokens -= count * u64::from(tokens);
        self.pixels -= count * u64::from(pixels);
    }
}
