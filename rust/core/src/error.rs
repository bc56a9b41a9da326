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
    /// One row of a column is outside of its range; nothing of the call was applied.
    #[error("row {row}: {name} must be {expected}, got {found}")]
    InvalidRow {
        /// The row, from 0.
        row: usize,
        /// The column's name, as the caller knows it.
        name: &'static str,
        /// What is accepted.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// A leaf id that this search never gave out.
    #[error("leaf {id} was never asked for by this search")]
    UnknownLeaf {
        /// The id.
        id: u64,
    },
    /// A leaf that was told or failed before.
    #[error("leaf {id} is finished: it was told or failed before")]
    FinishedLeaf {
        /// The id.
        id: u64,
    },
    /// A node id that no node of the tree has.
    #[error("node {node} is not in the tree (it holds {num_nodes} nodes)")]
    UnknownNode {
        /// The id.
        node: i64,
        /// Nodes in the tree.
        num_nodes: usize,
    },
    /// More simulations in flight than the counts can hold.
    #[error(
        "{asked} simulations cannot start: {in_flight} are in flight and at most {limit} can be"
    )]
    TooManyInFlight {
        /// Simulations to start.
        asked: u32,
        /// Simulations in flight before the call.
        in_flight: u32,
        /// The most that can be in flight.
        limit: u32,
    },
    /// The arena's addresses or the visit counts are used up.
    #[error("the tree is full: {num_simulations} simulations, {nbytes} bytes")]
    TreeFull {
        /// Simulations completed.
        num_simulations: u64,
        /// Bytes in use.
        nbytes: usize,
    },
    /// Every way on from the root is known: a search has nothing left to ask for.
    #[error(
        "the search is exhausted after {num_simulations} simulations: nothing is left to ask for"
    )]
    Exhausted {
        /// Simulations completed.
        num_simulations: u64,
    },
    /// A saved search that was cut, altered, or written by something else.
    #[error("the file is not a whole search tree: expected {expected}, found {found}")]
    CorruptFile {
        /// What a whole file has there.
        expected: &'static str,
        /// What was read.
        found: String,
    },
    /// The search cannot advance to an action whose candidates nobody has given.
    #[error("action {action} is not expanded: its candidates must be given")]
    NotExpanded {
        /// The action's index at the root.
        action: u32,
    },
    /// The search cannot advance to an action that ends the episode.
    #[error("action {action} is terminal: nothing follows it")]
    TerminalAction {
        /// The action's index at the root.
        action: u32,
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
    #[error("an entry has {size} {unit}, more than a batch may hold ({limit})")]
    EntryTooLarge {
        /// The entry's size.
        size: u32,
        /// What is counted: `tokens` or `pixels`.
        unit: &'static str,
        /// A batch's greatest size.
        limit: u64,
    },
    /// An id that already waits in the queue.
    #[error("entry {id} already waits in the queue")]
    DuplicateEntry {
        /// The id.
        id: u64,
    },
    /// Rows whose masks would take more memory than is sane.
    #[error("the masks take {nbytes} bytes, more than {limit}: give fewer or shorter sequences")]
    MasksTooLarge {
        /// Bytes of all masks.
        nbytes: u128,
        /// The most they may be.
        limit: u64,
    },
    /// A run of image tokens that is not as long as its picture's grid says.
    #[error("picture {image} has {found} image tokens, expected {expected} by its grid")]
    ImageMismatch {
        /// The picture, from 0.
        image: usize,
        /// Tokens by the grid.
        expected: i128,
        /// Tokens of the run.
        found: usize,
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
