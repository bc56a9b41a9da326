//! The one error type of the core. Data travels in the variants; the text is made at the end.

/// What can go wrong in the core.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside of its range.
    #[error("{name} must be {expected}, got {found}")]
    InvalidArgument {
        /// The argument's name, as the caller knows it.
        name: &'static str,
        /// What is accepted.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// The queue has no room for what was pushed.
    #[error("the queue holds {len} of at most {capacity} entries, no room for {wanted} more")]
    QueueFull {
        /// Entries that wait.
        len: usize,
        /// Entries that may wait.
        capacity: usize,
        /// Entries that were pushed.
        wanted: usize,
    },
    /// The queue was closed before the push.
    #[error("the queue is closed")]
    QueueClosed,
    /// An entry that fits into no batch.
    #[error("an entry has {tokens} tokens, more than a batch may hold ({limit})")]
    EntryTooLarge {
        /// The entry's size.
        tokens: u32,
        /// A batch's greatest size in tokens.
        limit: u64,
    },
    /// An id that already waits in the queue.
    #[error("entry {id} already waits in the queue")]
    DuplicateEntry {
        /// The id.
        id: u64,
    },
}

impl Error {
    /// An [`Error::InvalidArgument`].
    pub(crate) fn invalid(
        name: &'static str,
        expected: &'static str,
        found: impl Into<String>,
    ) -> Self {
        Self::InvalidArgument {
            name,
            expected,
            found: found.into(),
        }
    }
}
