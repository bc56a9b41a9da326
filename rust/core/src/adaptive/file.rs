//! A tree as bytes, and back.
//!
//! ```text
//! magic      8   "SF-ADAPT"                     least     f32
//! version    u32                                greatest  f32
//! policy     u8  0 Gaussian, 1 Beta,            origin    u8 whether there is one, f32
//!                2 UCT, 3 PUCT                  nodes     u32, n
//! parameters f64 [4], 0 where there is none     n times: parent u32, value f32, own u16,
//! normalize  u8  0 none, 1 range, 2 minmax;              flags u8, generated sum and squares f64,
//!            f32 low, f32 high                           continued sum and squares f64
//! seed       u64                                crc32     u32 of all bytes before (IEEE 802.3)
//! max_depth  u32
//! max_nbytes u64, 2^64 - 1 for none
//! ```
//!
//! All numbers are little-endian. Links, counts and depths are not in the file: they follow from the
//! parents and the nodes' own visits. The sums are, since their rounding depends on the order in
//! which values came; they must agree with the values.

use super::arena::{Arena, NONE, Node, ROOT};
use super::posterior::Sums;
use super::{AdaptiveSearch, Config, MAX_VISITS, Normalize, Policy, Prior, Rule};
use crate::Error;

const MAGIC: [u8; 8] = *b"SF-ADAPT";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 1 + 32 + 9 + 8 + 4 + 8 + 4 + 4 + 5 + 4;
const NODE: usize = 4 + 4 + 2 + 1 + 32;
const CHECKSUM: usize = 4;
/// How far a sum may lie from that of the file's values, in units of the sum of magnitudes.
const TOLERANCE: f64 = 1e-6;

impl AdaptiveSearch {
    /// The tree as bytes: all nodes and counts, and the configuration. Simulations in flight are left
    /// out, as if they had been taken back. 43 bytes a node.
    pub fn save(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.arena.len() * NODE + CHECKSUM);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        write_config(&mut bytes, &self.config);
        bytes.extend(self.least.to_le_bytes());
        bytes.extend(self.greatest.to_le_bytes());
        bytes.push(self.origin.is_some().into());
        bytes.extend(self.origin.unwrap_or(0.0).to_le_bytes());
        bytes.extend((self.arena.len() as u32).to_le_bytes());
        for node in &self.arena.nodes {
            write_node(&mut bytes, node);
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    /// The search that [`Self::save`] wrote; it goes on as the saved one does once its open leaves
    /// are taken back.
    ///
    /// # Errors
    ///
    /// `CorruptFile`: the bytes are not those of a whole tree.
    pub fn load(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::open(bytes)?;
        let config = read_config(&mut reader)?;
        let mut search = Self::empty(config, None);
        search.least = reader.f32();
        search.greatest = reader.f32();
        let (has_origin, origin) = (reader.u8(), reader.f32());
        search.origin = (has_origin != 0).then_some(origin);
        let count = reader.u32() as usize;
        let length = HEADER + count * NODE + CHECKSUM;
        if count == 0 || bytes.len() != length {
            let found = format!("{} bytes for {count} nodes", bytes.len());
            return Err(corrupt("at least one node and 43 bytes for each", found));
        }
        search.check_scale()?;
        search.read_nodes(&mut reader, count)?;
        search.check_sums()?;
        search.arena.close_all(config.max_depth);
        Ok(search)
    }

    fn check_scale(&self) -> Result<(), Error> {
        let (low, high) = self.value_range();
        let is_whole = match self.origin {
            None => self.least == f32::INFINITY && self.greatest == f32::NEG_INFINITY,
            Some(origin) => {
                low <= self.least
                    && self.greatest <= high
                    && (self.least..=self.greatest).contains(&origin)
            }
        };
        if is_whole {
            return Ok(());
        }
        let found = format!("{} to {}", self.least, self.greatest);
        Err(corrupt("a scale that holds its origin", found))
    }

    fn read_nodes(&mut self, reader: &mut Reader<'_>, count: usize) -> Result<(), Error> {
        self.arena = Arena::with_capacity(count);
        let mut visits = 0;
        for index in 0..count as u32 {
            let stored = StoredNode::read(reader);
            self.check_node(index, &stored)?;
            visits += u64::from(stored.own);
            if index == ROOT {
                self.arena.nodes.push(Node::root(None));
            } else {
                self.arena.add(stored.parent, stored.value, count);
            }
            stored.fill(self.arena.get_mut(index));
        }
        if visits >= MAX_VISITS {
            return Err(corrupt("less than 2^31 visits", visits.to_string()));
        }
        Ok(())
    }

    fn check_node(&self, index: u32, stored: &StoredNode) -> Result<(), Error> {
        let is_root = index == ROOT;
        let has_parent = match stored.parent {
            NONE => is_root,
            parent => {
                let mut nodes = self.arena.nodes.get(parent as usize).into_iter();
                !is_root
                    && nodes.all(|above| above.may_have_children(self.config.max_depth))
                    && parent < index
            }
        };
        if !has_parent {
            let found = format!("node {index} below {}", stored.parent);
            return Err(corrupt(
                "each node below an older one that may have it",
                found,
            ));
        }
        let has_value =
            self.origin.is_some() && (self.least..=self.greatest).contains(&stored.value);
        let is_empty = is_root && stored.own == 0 && stored.value.is_nan();
        if !(is_empty || has_value && stored.own > 0) || stored.flags > 3 {
            let found = format!(
                "node {index} with value {}, {} visits and flags {}",
                stored.value, stored.own, stored.flags
            );
            return Err(corrupt("a value, visits and known flags", found));
        }
        Ok(())
    }

    /// Counts the visits, and compares the sums with those of the values.
    fn check_sums(&mut self) -> Result<(), Error> {
        let origin = self.origin();
        let mut totals = vec![(Sums::default(), Sums::default(), [0.0; 2]); self.arena.len()];
        for index in (0..self.arena.len()).rev() {
            let (generated, continued, magnitude) = totals[index];
            let node = &mut self.arena.nodes[index];
            let close = |stored: Sums, sums: Sums| {
                (stored.sum - sums.sum).abs() <= TOLERANCE * magnitude[0]
                    && (stored.squares - sums.squares).abs() <= TOLERANCE * magnitude[1]
            };
            if !(close(node.generated, generated) && close(node.continued, continued)) {
                let found = format!("sums of node {index} that differ");
                return Err(corrupt("sums that agree with the values", found));
            }
            node.generated.count = generated.count;
            node.continued.count = continued.count;
            if node.parent != NONE {
                let distance = f64::from(node.value) - origin;
                let own = Sums::of(distance, node.own.into());
                let above = &mut totals[node.parent as usize];
                above.0.add(own);
                above.1.add(generated.and(continued));
                above.2[0] += magnitude[0] + own.sum.abs();
                above.2[1] += magnitude[1] + own.squares;
            }
        }
        Ok(())
    }
}

/// What the file says of a node.
struct StoredNode {
    parent: u32,
    value: f32,
    own: u16,
    flags: u8,
    sums: [f64; 4],
}

impl StoredNode {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            parent: reader.u32(),
            value: reader.f32(),
            own: reader.u16(),
            flags: reader.u8(),
            sums: std::array::from_fn(|_| reader.f64()),
        }
    }

    fn fill(&self, node: &mut Node) {
        let [sum, squares, deeper_sum, deeper_squares] = self.sums;
        node.value = self.value;
        node.own = self.own;
        node.set_flags(self.flags);
        node.generated = Sums {
            sum,
            squares,
            count: 0,
        };
        node.continued = Sums {
            sum: deeper_sum,
            squares: deeper_squares,
            count: 0,
        };
    }
}

fn write_node(bytes: &mut Vec<u8>, node: &Node) {
    bytes.extend(node.parent.to_le_bytes());
    bytes.extend(node.value.to_le_bytes());
    bytes.extend(node.own.to_le_bytes());
    bytes.push(node.flags());
    for sums in [node.generated, node.continued] {
        bytes.extend(sums.sum.to_le_bytes());
        bytes.extend(sums.squares.to_le_bytes());
    }
}

fn write_config(bytes: &mut Vec<u8>, config: &Config) {
    let (policy, parameters) = match config.policy {
        Policy::AbMcts {
            prior:
                Prior::Gaussian {
                    m,
                    kappa,
                    nu,
                    tau_square,
                },
        } => (0, [m, kappa, nu, tau_square]),
        Policy::AbMcts {
            prior: Prior::Beta { a, b },
        } => (1, [a, b, 0.0, 0.0]),
        Policy::Widening { k, alpha, rule, c } => (2 + rule as u8, [k, alpha, c, 0.0]),
    };
    bytes.push(policy);
    bytes.extend(parameters.iter().flat_map(|number| number.to_le_bytes()));
    let (normalize, low, high) = match config.normalize {
        Normalize::None => (0, 0.0, 0.0),
        Normalize::Range { low, high } => (1, low, high),
        Normalize::MinMax => (2, 0.0, 0.0),
    };
    bytes.push(normalize);
    bytes.extend(low.to_le_bytes());
    bytes.extend(high.to_le_bytes());
    bytes.extend(config.seed.to_le_bytes());
    bytes.extend(config.max_depth.to_le_bytes());
    let limit = config.max_nbytes.map_or(u64::MAX, |most| most as u64);
    bytes.extend(limit.to_le_bytes());
}

fn read_config(reader: &mut Reader<'_>) -> Result<Config, Error> {
    let tag = reader.u8();
    let [first, second, third, fourth] = std::array::from_fn(|_| reader.f64());
    let policy = match tag {
        0 => Policy::AbMcts {
            prior: Prior::Gaussian {
                m: first,
                kappa: second,
                nu: third,
                tau_square: fourth,
            },
        },
        1 => Policy::AbMcts {
            prior: Prior::Beta {
                a: first,
                b: second,
            },
        },
        2 | 3 => Policy::Widening {
            k: first,
            alpha: second,
            rule: if tag == 2 { Rule::Uct } else { Rule::Puct },
            c: third,
        },
        _ => return Err(corrupt("a policy from 0 to 3", tag.to_string())),
    };
    let (tag, low, high) = (reader.u8(), reader.f32(), reader.f32());
    let normalize = match tag {
        0 => Normalize::None,
        1 => Normalize::Range { low, high },
        2 => Normalize::MinMax,
        _ => return Err(corrupt("a normalisation from 0 to 2", tag.to_string())),
    };
    let (seed, max_depth, limit) = (reader.u64(), reader.u32(), reader.u64());
    let config = Config {
        policy,
        normalize,
        seed,
        max_depth,
        max_nbytes: usize::try_from(limit).ok().filter(|_| limit != u64::MAX),
    };
    match config.check() {
        Ok(()) => Ok(config),
        Err(error) => Err(corrupt("a valid configuration", error.to_string())),
    }
}

fn corrupt(expected: &'static str, found: impl Into<String>) -> Error {
    Error::CorruptFile {
        expected,
        found: found.into(),
    }
}

/// Reads numbers one after another; the length has been checked.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Behind the magic and the version, once these, the least length and the checksum are right.
    fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        if !bytes.starts_with(&MAGIC) {
            let start = &bytes[..bytes.len().min(MAGIC.len())];
            let found = format!("\"{}\"", start.escape_ascii());
            return Err(corrupt("\"SF-ADAPT\" at its beginning", found));
        }
        if bytes.len() < HEADER + NODE + CHECKSUM {
            let found = format!("{} bytes", bytes.len());
            return Err(corrupt("a header and a node", found));
        }
        let mut reader = Self {
            bytes: &bytes[MAGIC.len()..],
        };
        let version = reader.u32();
        if version != VERSION {
            return Err(corrupt("version 1", format!("version {version}")));
        }
        let (body, end) = bytes.split_at(bytes.len() - CHECKSUM);
        let (stored, computed) = (Reader { bytes: end }.u32(), crc32fast::hash(body));
        if stored != computed {
            let found = format!("{stored:08x} for {computed:08x}");
            return Err(corrupt("the right checksum", found));
        }
        Ok(reader)
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self
            .bytes
            .split_first_chunk()
            .expect("the file is as long as its header says. This is a bug.");
        self.bytes = rest;
        *first
    }

    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn f32(&mut self) -> f32 {
        f32::from_le_bytes(self.take())
    }

    fn f64(&mut self) -> f64 {
        f64::from_le_bytes(self.take())
    }
}
