//! Each part against a plain reference, and what it refuses.

mod index;
mod pack;
mod refused;
mod rope;
