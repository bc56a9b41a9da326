//! Batched tree search, a batching queue and pairwise metrics for step-wise reward models.
//!
//! This crate speaks of nodes, entries, tokens and counts. It knows no Python, no screen and no
//! model; it reads no clock (the batcher is the one exception) and has no randomness of its own:
//! time and seeds enter as arguments.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod adaptive;
pub mod batcher;
pub mod error;
pub mod metrics;
pub mod prefix;
pub mod queue;
pub mod search;
mod select;
mod tree;

pub use error::Error;

/// The version of this crate, which is the version of the whole project.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
