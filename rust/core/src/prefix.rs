//! What scorings that begin alike can share: a pure plan, without a model and without a clock.
//!
//! [`pack`] lays sequences into rows so that a token that several of them share from their start is
//! computed once; [`rope_positions`] numbers the tokens of a prompt with pictures; [`PrefixIndex`]
//! knows which beginnings are cached. Ids, keys and positions come in, arrays and entry ids go
//! out; embeddings, keys and values of the attention stay with whoever runs the model.

mod index;
mod pack;
mod plan;
mod radix;
mod rope;
mod trie;

pub use index::{Found, IndexStats, Inserted, PrefixIndex};
pub use pack::{Attention, MAX_MASK_BYTES, Pack, PackOptions, Tokens, pack};
pub use rope::{Images, rope_positions};
