//! What a search refuses: ranges and lengths.

use std::fmt::Display;

use super::{
    Backup, Candidates, Channels, Config, Fpu, Gumbel, MAX_EDGES, MAX_VALUE, Normalize, Policy,
};
use crate::Error;

pub(super) const VALUE_RANGE: &str = "finite and at most 1e38 in magnitude";
const MAX_VIRTUAL_LOSS: u32 = 1000;
/// With it `c * sqrt(N)` is still a finite `f32`, so that no score is infinity less infinity.
const MAX_C: f32 = 1e30;

#[inline]
pub(super) fn is_value(value: f32) -> bool {
    value.abs() <= MAX_VALUE
}

pub(super) fn invalid(name: &'static str, expected: &'static str, found: impl Display) -> Error {
    Error::InvalidArgument {
        name,
        expected,
        found: found.to_string(),
    }
}

pub(super) fn check_length<T>(
    name: &'static str,
    expected: &'static str,
    column: Option<&[T]>,
    length: usize,
) -> Result<(), Error> {
    match column {
        Some(column) if column.len() != length => Err(invalid(
            name,
            expected,
            format!("{} for {length}", column.len()),
        )),
        _ => Ok(()),
    }
}

fn ensure(
    is_fine: bool,
    name: &'static str,
    expected: &'static str,
    found: impl Display,
) -> Result<(), Error> {
    if is_fine {
        Ok(())
    } else {
        Err(invalid(name, expected, found))
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.policy.check()?;
        match self.backup {
            Backup::Mean | Backup::Max => {}
            Backup::PowerMean { exponent } => ensure(
                (1.0..=MAX_VALUE).contains(&exponent),
                "exponent",
                "from 1 to 1e38",
                exponent,
            )?,
            Backup::Discounted { discount } => ensure(
                (0.0..=1.0).contains(&discount),
                "discount",
                "from 0 to 1",
                discount,
            )?,
        }
        if let Fpu::Value(value) = self.fpu {
            ensure(is_value(value), "fpu", VALUE_RANGE, value)?;
        }
        if let Normalize::Range { low, high } = self.normalize {
            ensure(
                is_value(low) && is_value(high) && low < high,
                "normalize",
                "a range (low, high) with low < high",
                format_args!("({low}, {high})"),
            )?;
        }
        let depth = self.max_depth;
        ensure(
            (1..=65_535).contains(&depth),
            "max_depth",
            "from 1 to 65535",
            depth,
        )?;
        let has_losses = matches!(self.policy, Policy::Puct { .. } | Policy::Uct { .. });
        let most = if has_losses { MAX_VIRTUAL_LOSS } else { 0 };
        ensure(
            self.virtual_loss <= most,
            "virtual_loss",
            "at most 1000, and 0 for policies other than puct and uct",
            self.virtual_loss,
        )
    }
}

impl Policy {
    fn check(self) -> Result<(), Error> {
        let weight = |name, c: f32| {
            let is_fine = (0.0..=MAX_VALUE).contains(&c);
            ensure(is_fine, name, "from 0 to 1e38", c)
        };
        match self {
            Self::Puct { c } | Self::Uct { c } => {
                let is_fine = (0.0..=MAX_C).contains(&c);
                ensure(is_fine, "c_puct", "from 0 to 1e30", c)
            }
            Self::Gumbel(Gumbel {
                c_visit,
                c_scale,
                max_considered,
                num_simulations,
            }) => {
                weight("c_visit", c_visit)?;
                weight("c_scale", c_scale)?;
                ensure(max_considered > 0, "max_considered", "at least 1", 0)?;
                ensure(num_simulations > 0, "num_simulations", "at least 1", 0)
            }
            Self::BestFirst => Ok(()),
            Self::Beam { width } => ensure(width > 0, "beam_width", "at least 1", 0),
        }
    }
}

impl Candidates<'_> {
    pub(super) fn check(&self, config: Config) -> Result<(), Error> {
        if !(1..=MAX_EDGES).contains(&self.count) {
            return Err(invalid("candidates", "1 to 65535", self.count));
        }
        let channels = config.channels;
        check_length("priors", "one for each candidate", self.priors, self.count)?;
        check_first_values(
            channels,
            (self.first_values, self.first_weights),
            self.count,
        )?;
        match self.flaw(&channels) {
            Some((name, expected, found)) => Err(invalid(name, expected, found)),
            None => Ok(()),
        }
    }

    /// What is wrong with the numbers, as (name, expected, found).
    pub(super) fn flaw(&self, channels: &Channels) -> Option<(&'static str, &'static str, f32)> {
        let priors = self.priors.unwrap_or_default();
        if let Some(&prior) = priors.iter().find(|p| !(p.is_finite() && **p >= 0.0)) {
            return Some(("priors", "finite and at least 0", prior));
        }
        if self.priors.is_some() && self.count > 0 && priors.iter().all(|&prior| prior == 0.0) {
            return Some(("priors", "above 0 in sum", 0.0));
        }
        let values = self.first_values.unwrap_or_default();
        channels.flaw(
            "first_values",
            values,
            ("first_weights", self.first_weights),
        )
    }
}

/// The lengths of first values and of their weights, for `count` candidates.
pub(super) fn check_first_values(
    channels: Channels,
    (values, weights): (Option<&[f32]>, Option<&[f32]>),
    count: usize,
) -> Result<(), Error> {
    let expected = "one for each candidate, and for each channel";
    check_length("first_values", expected, values, count * channels.width())?;
    let is_wanted = channels.is_gated() && values.is_some();
    if is_wanted != weights.is_some() {
        let found = if is_wanted { "none" } else { "some" };
        let expected = "given with first values of gated channels, and only then";
        return Err(invalid("first_weights", expected, found));
    }
    check_length("first_weights", expected, weights, count * channels.width())
}
