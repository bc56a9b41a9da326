//! Tells that are held back until their whole round is told, and applied in the order of the asks.

use super::Channels;
use super::tickets::Tickets;
use super::told::{CandidateColumns, Row, Told};

/// The columns of one call, kept.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnedTold {
    pub(super) ids: Vec<u64>,
    pub(super) values: Vec<f32>,
    pub(super) weights: Option<Vec<f32>>,
    pub(super) terminal: Option<Vec<bool>>,
    pub(super) counts: Option<Vec<i32>>,
    pub(super) priors: Option<Vec<f32>>,
    pub(super) first_values: Option<Vec<f32>>,
    pub(super) first_weights: Option<Vec<f32>>,
    pub(super) keys: Option<Vec<u64>>,
}

impl OwnedTold {
    fn of(told: &Told<'_>) -> Self {
        let floats = |column: Option<&[f32]>| column.map(<[f32]>::to_vec);
        Self {
            ids: told.ids.to_vec(),
            values: told.values.to_vec(),
            weights: floats(told.weights),
            terminal: told.terminal.map(<[bool]>::to_vec),
            counts: told.candidates.counts.map(<[i32]>::to_vec),
            priors: floats(told.candidates.priors),
            first_values: floats(told.candidates.first_values),
            first_weights: floats(told.candidates.first_weights),
            keys: told.candidates.keys.map(<[u64]>::to_vec),
        }
    }

    pub(super) fn view(&self) -> Told<'_> {
        Told {
            ids: &self.ids,
            values: &self.values,
            weights: self.weights.as_deref(),
            terminal: self.terminal.as_deref(),
            candidates: CandidateColumns {
                counts: self.counts.as_deref(),
                priors: self.priors.as_deref(),
                first_values: self.first_values.as_deref(),
                first_weights: self.first_weights.as_deref(),
                keys: self.keys.as_deref(),
            },
        }
    }

    fn nbytes(&self) -> usize {
        let floats = [
            &self.weights,
            &self.priors,
            &self.first_values,
            &self.first_weights,
        ];
        let floats = floats.into_iter().flatten().map(Vec::len).sum::<usize>();
        let words = floats + self.values.len() + self.counts.as_ref().map_or(0, Vec::len);
        let keys = self.keys.as_ref().map_or(0, Vec::len);
        let terminal = self.terminal.as_ref().map_or(0, Vec::len);
        4 * words + 8 * (self.ids.len() + keys) + terminal
    }
}

/// What was told of a round that is still open.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) calls: Vec<OwnedTold>,
    /// The leaves of earlier calls that became nodes when the round was applied.
    pub(super) settled: Vec<(u64, u32)>,
}

impl Held {
    pub(super) fn push(&mut self, told: &Told<'_>) {
        self.calls.push(OwnedTold::of(told));
    }

    /// Gives settled leaves the new ids of their nodes: the places of the old ones in `kept`.
    pub(super) fn follow(&mut self, kept: &[u32]) {
        self.settled.retain_mut(|(_, node)| {
            let place = kept.iter().position(|old| old == node);
            *node = place.unwrap_or_default() as u32;
            place.is_some()
        });
    }

    pub(super) fn nbytes(&self) -> usize {
        self.calls.iter().map(OwnedTold::nbytes).sum()
    }

    /// The rows of `views` whose leaf is still part of the tree, in the order in which they were asked
    /// for.
    pub(super) fn rows<'a>(
        views: &'a [Told<'a>],
        tickets: &Tickets,
        channels: Channels,
    ) -> Vec<(u64, Row<'a>)> {
        let mut rows: Vec<_> = views.iter().flat_map(|told| told.rows(channels)).collect();
        rows.retain(|&(id, _)| tickets.is_held(id));
        rows.sort_by_key(|&(id, _)| tickets.order(id));
        rows
    }
}
