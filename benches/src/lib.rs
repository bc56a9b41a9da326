//! Workloads that more than one bench uses.

pub mod synthetic;
