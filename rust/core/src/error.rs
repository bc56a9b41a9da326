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
}
