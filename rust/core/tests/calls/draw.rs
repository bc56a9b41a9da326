//! Arguments of calls, drawn from bytes: mostly fine, sometimes not.

use arbitrary::{Result, Unstructured};
use similar_fast_core::search::{
    Backup, CandidateColumns, Candidates, Channels, Config, Fpu, Gumbel, Normalize, Policy, Told,
    TreeSearch,
};

/// Mostly a multiple of 1/16 from 0 to 1; sometimes any number at all.
pub(super) fn number(from: &mut Unstructured<'_>) -> Result<f32> {
    Ok(match from.arbitrary::<u8>()? {
        byte @ 0..=199 => f32::from(byte % 17) / 16.0,
        byte @ 200..=239 => f32::from(byte) / 16.0 - 14.0,
        240 => 1e38,
        241 => -1e38,
        242 => 1e30,
        243 => -0.0,
        244 => 1e-38,
        245 => f32::NAN,
        246 => f32::INFINITY,
        247 => f32::from_bits(from.arbitrary()?),
        _ => -1.0,
    })
}

fn numbers(from: &mut Unstructured<'_>, count: usize) -> Result<Vec<f32>> {
    (0..count).map(|_| number(from)).collect()
}

fn option<T>(
    from: &mut Unstructured<'_>,
    draw: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if from.ratio(1, 3)? {
        draw(from).map(Some)
    } else {
        Ok(None)
    }
}

pub(super) fn config(from: &mut Unstructured<'_>) -> Result<Config> {
    let c = number(from)?.abs();
    Ok(Config {
        policy: match from.int_in_range(0..=5_u8)? {
            0 | 1 => Policy::Puct { c },
            2 => Policy::Uct { c },
            3 => Policy::Gumbel(Gumbel {
                c_visit: c,
                c_scale: number(from)?.abs(),
                max_considered: from.int_in_range(0..=9)?,
                num_simulations: from.int_in_range(0..=70)?,
            }),
            4 => Policy::BestFirst,
            _ => Policy::Beam {
                width: from.int_in_range(0..=4)?,
            },
        },
        backup: match from.int_in_range(0..=3_u8)? {
            0 => Backup::Mean,
            1 => Backup::Max,
            2 => Backup::PowerMean {
                exponent: 1.0 + number(from)?.abs(),
            },
            _ => Backup::Discounted {
                discount: number(from)?,
            },
        },
        fpu: option(from, number)?.map_or(Fpu::Parent, Fpu::Value),
        normalize: match from.int_in_range(0..=3_u8)? {
            0 => Normalize::None,
            1 => Normalize::Range {
                low: number(from)?,
                high: number(from)?,
            },
            _ => Normalize::MinMax,
        },
        max_depth: from.int_in_range(0..=8)?,
        virtual_loss: option(from, |from| from.int_in_range(0..=1001))?.unwrap_or(0),
        max_collisions: option(from, |from| from.int_in_range(0..=3))?,
        channels: channels(from)?,
        solve: from.arbitrary()?,
        deterministic: from.arbitrary()?,
        max_nbytes: option(from, |from| from.int_in_range(0..=3000))?,
    })
}

fn channels(from: &mut Unstructured<'_>) -> Result<Channels> {
    let count = from.int_in_range(0..=4_usize)?;
    let channels = match from.int_in_range(0..=2_u8)? {
        0 => Ok(Channels::NONE),
        1 => Channels::gated(count),
        _ => Channels::weighted(&numbers(from, count)?),
    };
    Ok(channels.unwrap_or(Channels::NONE))
}

/// The candidates of one node.
pub(super) struct OwnedCandidates {
    count: usize,
    priors: Option<Vec<f32>>,
    first_values: Option<Vec<f32>>,
    first_weights: Option<Vec<f32>>,
    key: u64,
}

impl OwnedCandidates {
    pub(super) fn view(&self) -> Candidates<'_> {
        Candidates {
            count: self.count,
            priors: self.priors.as_deref(),
            first_values: self.first_values.as_deref(),
            first_weights: self.first_weights.as_deref(),
            key: self.key,
        }
    }
}

pub(super) fn candidates(
    from: &mut Unstructured<'_>,
    channels: &Channels,
) -> Result<OwnedCandidates> {
    let count = match from.arbitrary::<u8>()? {
        byte @ 0..=239 => usize::from(byte % 5) + 1,
        byte @ 240..=250 => usize::from(byte) - 230,
        _ => from.int_in_range(0..=200)?,
    };
    let numbers_in_all = count * channels.count().max(1);
    let priors = option(from, |from| numbers(from, count))?;
    let first_values = option(from, |from| numbers(from, numbers_in_all))?;
    let first_weights = match &first_values {
        Some(_) if channels.is_gated() => Some(numbers(from, numbers_in_all)?),
        _ => None,
    };
    Ok(OwnedCandidates {
        count,
        priors,
        first_values,
        first_weights,
        key: from.int_in_range(0..=9)?,
    })
}

/// Some of the open leaves, in any order.
pub(super) fn chosen(
    from: &mut Unstructured<'_>,
    open: &[(u64, bool)],
) -> Result<Vec<(u64, bool)>> {
    let mut left = open.to_vec();
    let count = match from.int_in_range(0..=3_u8)? {
        0 => from.choose_index(left.len() + 1)?,
        _ => left.len(),
    };
    let mut leaves = Vec::new();
    while leaves.len() < count {
        let index = from.choose_index(left.len())?;
        leaves.push(left.swap_remove(index));
    }
    Ok(leaves)
}

/// An id that may be anybody's.
pub(super) fn any_id(from: &mut Unstructured<'_>, open: &[u64], finished: &[u64]) -> Result<u64> {
    match from.int_in_range(0..=2_u8)? {
        0 if !open.is_empty() => from.choose(open).copied(),
        1 if !finished.is_empty() => from.choose(finished).copied(),
        _ => from.arbitrary(),
    }
}

/// A node, mostly of the tree.
pub(super) fn any_node(from: &mut Unstructured<'_>, search: &TreeSearch) -> Result<u32> {
    if from.ratio(1, 20)? {
        return from.arbitrary();
    }
    from.int_in_range(0..=search.num_nodes() as u32 - 1)
}

/// What is told of some leaves.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) ids: Vec<u64>,
    values: Vec<f32>,
    weights: Option<Vec<f32>>,
    terminal: Option<Vec<bool>>,
    counts: Option<Vec<i32>>,
    priors: Option<Vec<f32>>,
    first_values: Option<Vec<f32>>,
    first_weights: Option<Vec<f32>>,
    keys: Option<Vec<u64>>,
}

impl Rows {
    /// Rows that fit the leaves; their numbers may be anything.
    pub(super) fn draw(
        from: &mut Unstructured<'_>,
        leaves: &[(u64, bool)],
        config: &Config,
    ) -> Result<Self> {
        let width = config.channels.count().max(1);
        let (mut terminal, mut counts, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for &(_, wants) in leaves {
            let is_end = from.ratio(1, 6)?;
            let grows = !is_end && (wants || from.ratio(1, 3)?);
            let count = if grows { from.int_in_range(1..=4)? } else { -1 };
            terminal.push(is_end);
            counts.push(count);
            keys.push(from.int_in_range(0..=9_u64)?);
        }
        let total = counts.iter().map(|&count| count.max(0) as usize).sum();
        let is_gated = config.channels.is_gated();
        let values = numbers(from, leaves.len() * width)?;
        let first_values = option(from, |from| numbers(from, total * width))?;
        let first_weights = match &first_values {
            Some(_) if is_gated => Some(numbers(from, total * width)?),
            _ => None,
        };
        let weights = if is_gated {
            Some(numbers(from, values.len())?)
        } else {
            None
        };
        Ok(Self {
            ids: leaves.iter().map(|&(id, _)| id).collect(),
            values,
            weights,
            terminal: Some(terminal),
            counts: Some(counts),
            priors: option(from, |from| numbers(from, total))?,
            first_values,
            first_weights,
            keys: from.arbitrary::<bool>()?.then_some(keys),
        })
    }

    /// Makes one thing wrong, or at least strange.
    pub(super) fn spoil(
        &mut self,
        from: &mut Unstructured<'_>,
        open: &[u64],
        finished: &[u64],
    ) -> Result<()> {
        match from.int_in_range(0..=7_u8)? {
            0 => self.values.push(0.0),
            1 => self.counts = None,
            2 => self.terminal = Some(vec![true; self.ids.len()]),
            3 => self.weights = Some(vec![1.0; self.values.len()]),
            4 => self.first_weights = Some(Vec::new()),
            5 => {
                let id = any_id(from, open, finished)?;
                if let Some(first) = self.ids.first_mut() {
                    *first = id;
                }
            }
            6 => {
                let count = from.arbitrary()?;
                if let Some(first) = self.counts.as_mut().and_then(|counts| counts.first_mut()) {
                    *first = count;
                }
            }
            _ => self.keys = Some(vec![from.int_in_range(0..=9)?; self.ids.len()]),
        }
        Ok(())
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
}
