//! Workloads that more than one bench uses.
