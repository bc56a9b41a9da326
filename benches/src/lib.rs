//! Workloads that more than one bench uses.

pub mod decisions;
pub mod synthetic;
