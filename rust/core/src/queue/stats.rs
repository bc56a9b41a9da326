//! Counters and histograms: what a queue has seen so far.

/// How often a value fell between two powers of two.
///
/// Bar 0 counts zeros; bar `i` counts the values in `2^(i-1)..2^i`; the last bar counts all that
/// are larger still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    /// The bars, see above.
    pub bars: [u64; Self::BARS],
}

impl Histogram {
    /// Bars of a histogram.
    pub const BARS: usize = 40;

    pub(super) fn record(&mut self, value: u64, times: u64) {
        let bar = (u64::BITS - value.leading_zeros()) as usize;
        self.bars[bar.min(Self::BARS - 1)] += times;
    }

    /// Values that were recorded.
    pub fn count(&self) -> u64 {
        self.bars.iter().sum()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            bars: [0; Self::BARS],
        }
    }
}

/// What a queue has seen so far. Entries are counted one by one, also those of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Entries that were pushed.
    pub pushed: u64,
    /// Entries that left in a batch, riders included.
    pub taken: u64,
    /// Entries that were cancelled while they waited.
    pub cancelled: u64,
    /// Entries whose deadline passed while they waited.
    pub expired: u64,
    /// Entries that left in a batch on the row of an entry with the same key.
    pub coalesced: u64,
    /// Batches that were handed out.
    pub batches: u64,
    /// Entries that waited when a push came, itself excluded: one value a push.
    pub queue_length: Histogram,
    /// Microseconds from the push to the batch: one value an entry, riders excluded.
    pub wait_us: Histogram,
    /// Rows of a batch: one value a batch.
    pub batch_size: Histogram,
}
