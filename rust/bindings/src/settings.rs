//! The settings of a search: a Python dataclass in, a configuration for the core out.

use pyo3::prelude::*;
use similar_fast_core::Error;
use similar_fast_core::search::{Backup, Channels, Config, Fpu, Gumbel, Policy};

use crate::columns::{Scale, normalize_of, unknown_name};

/// A value or, checked by the caller, "parent".
#[derive(FromPyObject)]
enum Urgency {
    Value(f32),
    #[allow(dead_code)] // there is one name only
    Name(String),
}

/// The attributes of `similar_fast.tree.settings.TreeSettings`, whose docstring explains them.
#[derive(FromPyObject)]
pub(crate) struct Settings {
    policy: String,
    c_puct: f32,
    c_visit: f32,
    c_scale: f32,
    max_considered: i64,
    num_simulations: i64,
    beam_width: i64,
    backup: String,
    exponent: f32,
    discount: f32,
    fpu: Urgency,
    normalize: Option<Scale>,
    max_depth: i64,
    virtual_loss: i64,
    max_collisions: Option<i64>,
    channels: i64,
    weights: Option<Vec<f32>>,
    solve: bool,
    deterministic: bool,
    max_nbytes: Option<i64>,
}

impl Settings {
    pub(crate) fn config(self) -> Result<Config, Error> {
        let channels = match (self.channels, &self.weights) {
            (0, None) => Channels::NONE,
            (count, None) => Channels::gated(count.max(0) as usize)?,
            (_, Some(weights)) => Channels::weighted(weights)?,
        };
        Ok(Config {
            policy: self.policy()?,
            backup: self.backup()?,
            fpu: match self.fpu {
                Urgency::Value(value) => Fpu::Value(value),
                Urgency::Name(_) => Fpu::Parent,
            },
            normalize: normalize_of(self.normalize)?,
            max_depth: count(self.max_depth),
            virtual_loss: u32::try_from(self.virtual_loss).unwrap_or(u32::MAX),
            max_collisions: self.max_collisions.map(count),
            channels,
            solve: self.solve,
            deterministic: self.deterministic,
            max_nbytes: self.max_nbytes.map(|bytes| bytes.max(0) as usize),
        })
    }

    fn policy(&self) -> Result<Policy, Error> {
        match self.policy.as_str() {
            "puct" => Ok(Policy::Puct { c: self.c_puct }),
            "uct" => Ok(Policy::Uct { c: self.c_puct }),
            "gumbel" => Ok(Policy::Gumbel(Gumbel {
                c_visit: self.c_visit,
                c_scale: self.c_scale,
                max_considered: count(self.max_considered),
                num_simulations: count(self.num_simulations),
            })),
            "best_first" => Ok(Policy::BestFirst),
            "beam" => Ok(Policy::Beam {
                width: count(self.beam_width),
            }),
            other => {
                let expected = "\"puct\", \"uct\", \"gumbel\", \"best_first\" or \"beam\"";
                Err(unknown_name("policy", expected, other))
            }
        }
    }

    fn backup(&self) -> Result<Backup, Error> {
        match self.backup.as_str() {
            "mean" => Ok(Backup::Mean),
            "max" => Ok(Backup::Max),
            "power_mean" => Ok(Backup::PowerMean {
                exponent: self.exponent,
            }),
            "discounted" => Ok(Backup::Discounted {
                discount: self.discount,
            }),
            other => {
                let expected = "\"mean\", \"max\", \"power_mean\" or \"discounted\"";
                Err(unknown_name("backup", expected, other))
            }
        }
    }
}

/// A Python integer as a count; what is out of range becomes a count that the core refuses.
pub(crate) fn count(number: i64) -> u32 {
    number.clamp(0, i64::from(u32::MAX)) as u32
}
