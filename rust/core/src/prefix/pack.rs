//! Sequences as rows: ids, positions, masks, and where each sequence's score stands.

use super::plan::{Plan, plan_shared, plan_whole};
use super::trie::Trie;
use crate::Error;

/// The most that the masks of one [`pack`] may take together: 1 GiB, one row of 32,768 tokens.
pub const MAX_MASK_BYTES: u64 = 1 << 30;

/// The tokens of all sequences, one sequence after another; T is how many these are.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// `[T]` token ids.
    pub ids: &'a [i64],
    /// `[T]` what tells tokens of equal id apart, such as patches of different pictures; 0 for text.
    /// Empty where all are 0.
    pub keys: &'a [u64],
    /// `[A, T]` positions on each of A axes, 1 to 3.
    pub positions: &'a [i64],
}

/// What a token may attend to beside the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Itself and what stands before it in its sequence. Equal beginnings are shared.
    Causal,
    /// The whole of its sequence. Only equal sequences are shared.
    Block,
}

/// How rows are made.
#[derive(Debug, Clone, Copy)]
pub struct PackOptions {
    /// Tokens whose keys and values are there already; every token attends to all of them.
    pub past: usize,
    /// The most tokens of a row; a longer sequence has a row of its own.
    pub max_tokens: usize,
    /// What a token may attend to.
    pub attention: Attention,
}

/// One row: S tokens, and K sequences that end in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// `[S]` token ids.
    pub input_ids: Vec<i64>,
    /// `[A, S]` positions.
    pub positions: Vec<i64>,
    /// `[S, past + S]` whether a token may attend.
    pub mask: Vec<bool>,
    /// `[K]` where in the row each sequence's last token stands.
    pub score_index: Vec<i64>,
    /// `[K]` which sequence of the input each is, ascending.
    pub sequences: Vec<i64>,
    /// `[S]` where in the flattened input each token was taken from.
    pub sources: Vec<i64>,
}

/// Lays sequences of these `lengths` into rows.
///
/// Under [`Attention::Causal`] a row is a trie: it holds a token once for all its sequences that
/// agree from their start up to it, in id, key and positions. Its tokens stand as the sequences,
/// ascending, come to need them, so a token attends to earlier ones only.
///
/// Every sequence ends in exactly one row. Rows are filled one after another with whole groups of
/// sequences that share a beginning; a group that fits into a row is never split, and one that does
/// not is split where its sequences part. Neighbouring rows hold more than `max_tokens` tokens
/// together, so of n tokens in rows there are fewer than 2 n / `max_tokens` + 1 rows.
///
/// O(tokens of the input + bytes of the masks).
///
/// # Errors
///
/// - [`Error::InvalidArgument`] where a sequence is empty, columns disagree in length, there are
///   not 1 to 3 axes, or `max_tokens` is 0.
/// - [`Error::MasksTooLarge`] above [`MAX_MASK_BYTES`].
///
/// # Example
///
/// ```
/// use similar_fast_core::prefix::{Attention, PackOptions, Tokens, pack};
///
/// let ids = [5, 6, 7, 5, 6, 8];
/// let positions = [0, 1, 2, 0, 1, 2];
/// let tokens = Tokens { ids: &ids, keys: &[], positions: &positions };
/// let options = PackOptions { past: 0, max_tokens: 512, attention: Attention::Causal };
/// let rows = pack(&tokens, &[3, 3], options)?;
/// assert_eq!(rows[0].input_ids, [5, 6, 7, 8]);
/// assert_eq!(rows[0].score_index, [2, 3]);
/// assert_eq!(rows[0].mask[12..], [true, true, false, true]);
/// # Ok::<(), similar_fast_core::Error>(())
/// ```
pub fn pack(
    tokens: &Tokens<'_>,
    lengths: &[usize],
    options: PackOptions,
) -> Result<Vec<Pack>, Error> {
    check(tokens, lengths, options)?;
    if lengths.is_empty() {
        return Ok(Vec::new());
    }
    let trie = Trie::new(tokens, lengths);
    let plan = match options.attention {
        Attention::Causal => plan_shared(&trie, options.max_tokens),
        Attention::Block => plan_whole(&trie, options.max_tokens),
    };
    check_masks(&plan, options.past)?;
    let mut starts = Vec::with_capacity(lengths.len());
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); plan.sizes.len()];
    let mut start = 0;
    for (sequence, (&row, length)) in plan.row_of.iter().zip(lengths).enumerate() {
        starts.push(start);
        start += length;
        members[row as usize].push(sequence);
    }
    let mut seats = Seats {
        tokens,
        lengths,
        starts,
        seat_of: vec![(u32::MAX, 0); trie.nodes.len()],
        trie,
    };
    let rows = members.iter().zip(&plan.sizes).enumerate();
    let packs = rows.map(|(row, (members, &size))| {
        let filled = Row::new(seats.tokens, members.len(), size, options.past);
        match options.attention {
            Attention::Causal => seats.fill_shared(row as u32, members, filled),
            Attention::Block => seats.fill_whole(row as u32, members, filled),
        }
    });
    Ok(packs.collect())
}

impl Tokens<'_> {
    pub(super) fn key(&self, at: usize) -> u64 {
        self.keys.get(at).copied().unwrap_or(0)
    }

    /// The position on each axis.
    pub(super) fn position(&self, at: usize) -> impl Iterator<Item = i64> {
        let stride = self.ids.len();
        self.positions.iter().skip(at).step_by(stride).copied()
    }

    /// Whether two tokens have equal ids, keys and positions.
    pub(super) fn are_same(&self, left: usize, right: usize) -> bool {
        self.ids[left] == self.ids[right]
            && self.key(left) == self.key(right)
            && self.position(left).eq(self.position(right))
    }

    fn axes(&self) -> usize {
        self.positions.len() / self.ids.len()
    }
}

fn check(tokens: &Tokens<'_>, lengths: &[usize], options: PackOptions) -> Result<(), Error> {
    let count = tokens.ids.len();
    if options.max_tokens < 1 {
        return Err(Error::invalid("max_tokens", "at least 1", "0"));
    }
    if let Some(empty) = lengths.iter().position(|&length| length == 0) {
        let found = format!("none in sequence {empty}");
        return Err(Error::invalid("sequences", "one token or more each", found));
    }
    let total: usize = lengths.iter().sum();
    if total != count {
        let found = format!("{total} for {count} tokens");
        return Err(Error::invalid(
            "lengths",
            "of as many tokens as there are",
            found,
        ));
    }
    if count >= u32::MAX as usize {
        let found = count.to_string();
        return Err(Error::invalid("tokens", "fewer than 2^32 - 1", found));
    }
    if !tokens.keys.is_empty() && tokens.keys.len() != count {
        let found = format!("{} for {count}", tokens.keys.len());
        return Err(Error::invalid("keys", "one for each token", found));
    }
    let is_whole = (1..=3).any(|axes| tokens.positions.len() == axes * count);
    if !is_whole {
        let found = format!("{} for {count} tokens", tokens.positions.len());
        return Err(Error::invalid("positions", "1 to 3 for each token", found));
    }
    Ok(())
}

fn check_masks(plan: &Plan, past: usize) -> Result<(), Error> {
    let of_row = |&size: &usize| size as u128 * (past as u128 + size as u128);
    let nbytes: u128 = plan.sizes.iter().map(of_row).sum();
    if nbytes > u128::from(MAX_MASK_BYTES) {
        return Err(Error::MasksTooLarge {
            nbytes,
            limit: MAX_MASK_BYTES,
        });
    }
    Ok(())
}

/// Where the tokens of the trie stand in the rows.
struct Seats<'a> {
    tokens: &'a Tokens<'a>,
    lengths: &'a [usize],
    starts: Vec<usize>,
    trie: Trie,
    /// The last row that holds each node, and the node's place there.
    seat_of: Vec<(u32, u32)>,
}

impl Seats<'_> {
    fn fill_shared(&mut self, row: u32, members: &[usize], mut filled: Row<'_>) -> Pack {
        for &sequence in members {
            let start = self.starts[sequence];
            let mut before = None;
            for source in start..start + self.lengths[sequence] {
                let seat = &mut self.seat_of[self.trie.node_of[source] as usize];
                if seat.0 != row {
                    *seat = (row, filled.add(source));
                    filled.attend_as(seat.1 as usize, before);
                }
                before = Some(seat.1 as usize);
            }
            filled.score(sequence, before.unwrap_or(0));
        }
        filled.finish()
    }

    fn fill_whole(&mut self, row: u32, members: &[usize], mut filled: Row<'_>) -> Pack {
        for &sequence in members {
            let (start, length) = (self.starts[sequence], self.lengths[sequence]);
            let seat = &mut self.seat_of[self.trie.ends[sequence] as usize];
            if seat.0 != row {
                let first = filled.pack.input_ids.len();
                for source in start..start + length {
                    *seat = (row, filled.add(source));
                }
                filled.attend_within(first, length);
            }
            filled.score(sequence, seat.1 as usize);
        }
        filled.finish()
    }
}

/// A row that is being filled.
struct Row<'a> {
    tokens: &'a Tokens<'a>,
    past: usize,
    width: usize,
    pack: Pack,
}

impl<'a> Row<'a> {
    fn new(tokens: &'a Tokens<'a>, num_sequences: usize, size: usize, past: usize) -> Self {
        let width = past + size;
        Self {
            tokens,
            past,
            width,
            pack: Pack {
                input_ids: Vec::with_capacity(size),
                positions: Vec::with_capacity(size * tokens.axes()),
                mask: vec![false; size * width],
                score_index: Vec::with_capacity(num_sequences),
                sequences: Vec::with_capacity(num_sequences),
                sources: Vec::with_capacity(size),
            },
        }
    }

    /// Appends a token of the flattened input; returns its place in the row.
    fn add(&mut self, source: usize) -> u32 {
        self.pack.input_ids.push(self.tokens.ids[source]);
        self.pack.sources.push(source as i64);
        self.pack.input_ids.len() as u32 - 1
    }

    /// Lets a token attend to itself and to what the token `before` it attends to.
    fn attend_as(&mut self, seat: usize, before: Option<usize>) {
        let at = seat * self.width;
        match before {
            None => self.pack.mask[at..at + self.past].fill(true),
            Some(before) => {
                let from = before * self.width;
                let seen = from..from + self.past + before + 1;
                self.pack.mask.copy_within(seen, at);
            }
        }
        self.pack.mask[at + self.past + seat] = true;
    }

    /// Lets `length` tokens attend to all of each other.
    fn attend_within(&mut self, first: usize, length: usize) {
        for seat in first..first + length {
            let row = &mut self.pack.mask[seat * self.width..][..self.width];
            row[..self.past].fill(true);
            row[self.past + first..][..length].fill(true);
        }
    }

    fn score(&mut self, sequence: usize, seat: usize) {
        self.pack.score_index.push(seat as i64);
        self.pack.sequences.push(sequence as i64);
    }

    fn finish(mut self) -> Pack {
        let count = self.tokens.ids.len();
        for axis in self.tokens.positions.chunks_exact(count) {
            let of_row = self.pack.sources.iter().map(|&at| axis[at as usize]);
            self.pack.positions.extend(of_row);
        }
        self.pack
    }
}

#[cfg(test)]
mod tests;
