//! Several numbers for each leaf, and the weights that make one value of them.

use super::check::{VALUE_RANGE, is_value};
use super::{Backup, TreeSearch, invalid, scalar_of};
use crate::Error;
use crate::tree::{Block, Child, Tree, bounded, power_mean};

/// The most numbers that a leaf can be told.
pub const MAX_CHANNELS: usize = 8;

/// How many numbers a leaf is told, and how they become its value: their weighted sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channels {
    count: usize,
    is_gated: bool,
    /// What holds for all rows; where absent, a gate weighs each row by itself.
    weights: Option<[f32; MAX_CHANNELS]>,
}

impl Channels {
    /// One number, which is the value; nothing is kept of it beside the tree.
    pub const NONE: Self = Self {
        count: 0,
        is_gated: false,
        weights: None,
    };

    /// As many numbers as weights, the same weights for all leaves.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: not 1 to 8 weights, or one that is not finite.
    pub fn weighted(weights: &[f32]) -> Result<Self, Error> {
        check_count(weights.len())?;
        if let Some(&weight) = weights.iter().find(|weight| !is_value(**weight)) {
            return Err(invalid("weights", VALUE_RANGE, weight));
        }
        let channels = Self {
            count: weights.len(),
            is_gated: false,
            weights: None,
        };
        Ok(channels.weighed_by(Some(weights)))
    }

    /// The same with other weights, as many as there are channels.
    pub(super) fn weighed_by(self, weights: Option<&[f32]>) -> Self {
        let weights = weights.map(|given| {
            let mut all = [0.0; MAX_CHANNELS];
            all[..given.len()].copy_from_slice(given);
            all
        });
        Self { weights, ..self }
    }

    /// `count` numbers, and as many weights with each leaf.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: not 1 to 8.
    pub fn gated(count: usize) -> Result<Self, Error> {
        check_count(count)?;
        Ok(Self {
            count,
            is_gated: true,
            weights: None,
        })
    }

    /// How many; 0 where values are told as they are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether every leaf is told with weights of its own.
    pub fn is_gated(&self) -> bool {
        self.is_gated
    }

    /// The weights that hold for all leaves.
    pub fn weights(&self) -> Option<&[f32]> {
        self.weights.as_ref().map(|weights| &weights[..self.count])
    }

    /// Numbers that a leaf is told, at least 1.
    pub(super) fn width(self) -> usize {
        self.count.max(1)
    }

    /// One value for each row of `numbers`: by the row's weights, unless others hold for all.
    pub(super) fn weigh<'a>(
        self,
        numbers: &'a [f32],
        weights: Option<&[f32]>,
        scalars: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        if self.count == 0 {
            return numbers;
        }
        scalars.clear();
        for (index, row) in numbers.chunks_exact(self.count).enumerate() {
            let own = || &weights.unwrap_or_default()[index * self.count..][..self.count];
            scalars.push(scalar_of(row, self.weights().unwrap_or_else(own)));
        }
        scalars
    }

    /// What is wrong with rows of numbers, as (name, expected, found).
    pub(super) fn flaw(
        &self,
        name: &'static str,
        numbers: &[f32],
        (weights_name, weights): (&'static str, Option<&[f32]>),
    ) -> Option<(&'static str, &'static str, f32)> {
        if numbers.is_empty() {
            return None;
        }
        let wrong = |column: &[f32]| column.iter().copied().find(|&number| !is_value(number));
        if let Some(number) = wrong(numbers) {
            return Some((name, VALUE_RANGE, number));
        }
        if let Some(weight) = weights.and_then(wrong) {
            return Some((weights_name, VALUE_RANGE, weight));
        }
        let mut scalars = Vec::new();
        let sums = self.weigh(numbers, weights, &mut scalars);
        let sum = (self.count > 0).then(|| wrong(sums)).flatten()?;
        Some((name, "at most 1e38 in magnitude when weighed", sum))
    }
}

fn check_count(count: usize) -> Result<(), Error> {
    if (1..=MAX_CHANNELS).contains(&count) {
        return Ok(());
    }
    Err(invalid("channels", "from 1 to 8", count))
}

impl TreeSearch {
    /// Weighs everything that was told anew, and gives every edge the value that it would have had
    /// with these weights. Nothing is asked for again; visits and priors stay. Without weights the
    /// gate's own rows hold again. O(tree).
    ///
    /// Values are made from the rows, so they agree with those of the ask and tell loop to the
    /// rounding of `f32`. A first value that did not come in channels stays as it is; the values of
    /// solved edges are made from what their endings were told, and those above from these.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`: the search has no channels, the weights are not one finite number for each,
    /// none are given where no gate gave any, or some weighed sum could not have been told: it is
    /// above 1e38 in magnitude, or below 0 with the power mean. Nothing is changed then.
    pub fn reweight(&mut self, weights: Option<&[f32]>) -> Result<(), Error> {
        let channels = self.config.channels;
        if channels.count == 0 {
            return Err(invalid(
                "weights",
                "given to a search with channels",
                "one without",
            ));
        }
        match weights {
            None if channels.is_gated() => {}
            Some(given) if given.len() == channels.count && given.iter().all(|w| is_value(*w)) => {}
            _ => {
                let found = weights.map_or("none".into(), |given| format!("{given:?}"));
                return Err(invalid(
                    "weights",
                    "one finite number for each channel",
                    found,
                ));
            }
        }
        self.tree.rows.weigh(weights);
        if let Some(sum) = self.sum_out_of_range() {
            self.tree.rows.weigh(channels.weights());
            let expected = "such that every weighed sum could have been told";
            return Err(invalid("weights", expected, sum));
        }
        self.config.channels = channels.weighed_by(weights);
        self.value_anew();
        self.list_anew();
        Ok(())
    }

    /// A sum of what an edge was told, by the rows' weights, that could not have been told.
    fn sum_out_of_range(&self) -> Option<f32> {
        let is_mean_of_powers = matches!(self.config.backup, Backup::PowerMean { .. });
        let edges = self.tree.blocks().flat_map(|block| {
            let first = Tree::row(block, self.tree.node(block), 0);
            self.tree
                .edges(block)
                .enumerate()
                .map(move |(index, edge)| {
                    let must_be_positive = is_mean_of_powers && edge.done() > 0;
                    (first + index, must_be_positive)
                })
        });
        let mut sums = edges.map(|(row, is_bounded)| (self.tree.rows.scalar(row), is_bounded));
        let is_fine = |sum: f32, is_bounded: bool| is_value(sum) && (sum >= 0.0 || !is_bounded);
        let wrong = sums.find(|&(sum, is_bounded)| !sum.is_nan() && !is_fine(sum, is_bounded));
        wrong.map(|(sum, _)| sum)
    }

    /// The weights in force for all leaves; the gate's own where absent.
    pub fn weights(&self) -> Option<&[f32]> {
        self.config.channels.weights()
    }

    /// What the edges of a node were told: `[n * channels]`, NaN where nothing; before a first visit
    /// the first values.
    ///
    /// # Errors
    ///
    /// `UnknownNode`.
    pub fn told(&self, node: u32) -> Result<Vec<f32>, Error> {
        let block = self.find(node)?;
        let first = Tree::row(block, node, 0);
        let rows = first..first + self.tree.count(block);
        let numbers = rows.flat_map(|row| self.tree.rows.numbers(row));
        Ok(if self.config.channels.count == 0 {
            Vec::new()
        } else {
            numbers.copied().collect()
        })
    }

    /// Makes every value again from the rows, the deepest first.
    fn value_anew(&mut self) {
        let blocks: Vec<Block> = self.tree.blocks().collect();
        self.least = f32::INFINITY;
        self.greatest = f32::NEG_INFINITY;
        let mut has_merged = false;
        for &block in blocks.iter().rev() {
            has_merged |= self.value_node(block);
        }
        if has_merged {
            for &block in blocks.iter().rev() {
                self.value_node(block);
            }
        }
    }

    /// Makes the values of a node's edges; whether one of them is merged with another state.
    fn value_node(&mut self, block: Block) -> bool {
        let node = self.tree.node(block);
        let mut has_merged = false;
        for index in 0..self.tree.count(block) as u32 {
            let row = Tree::row(block, node, index);
            let told = self.tree.rows.scalar(row);
            if !told.is_nan() {
                self.widen(&[told]);
            }
            let edge = self.tree.edge(block, index);
            let value = match edge.child {
                Child::Merged(with) => {
                    has_merged = true;
                    self.value_of(with)
                }
                Child::Node(below) if edge.done() > 0 => self.value_from(told, edge.done(), below),
                _ if told.is_nan() => edge.value,
                _ => told,
            };
            self.tree.set_value(block, index, value);
        }
        has_merged
    }

    /// The value of an edge with `done` visits, from what it was told and from the block below.
    fn value_from(&self, told: f32, done: u32, below: Block) -> f32 {
        let visited = self.tree.edges(below).map(|edge| (edge.done(), edge.value));
        if self.tree.is_solved(below) {
            return visited.fold(f32::NEG_INFINITY, |most, (_, value)| most.max(value));
        }
        let visited = visited.filter(|&(visits, _)| visits > 0);
        let deeper = visited.clone().map(|(visits, _)| visits).sum::<u32>();
        let own = f64::from(done - deeper) * f64::from(told);
        let sum = visited.clone().fold(0.0, |sum, (visits, value)| {
            sum + f64::from(visits) * f64::from(value)
        });
        match self.config.backup {
            Backup::Mean => ((own + sum) / f64::from(done)) as f32,
            Backup::Max => visited.fold(told, |most, (_, value)| most.max(value)),
            Backup::PowerMean { exponent } => power_mean(told, done, visited, exponent.into()),
            Backup::Discounted { discount } => {
                bounded(f64::from(told) + f64::from(discount) * sum / f64::from(done))
            }
        }
    }
}
