//! The leaves that are open: who asked for what, and how often.

use super::load::{Reader, corrupt};
use super::save::Writer;
use crate::Error;
use crate::tree::Block;

/// What a leaf is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A value; candidates are welcome.
    Evaluate,
    /// Candidates; the leaf has a value.
    Expand,
}

/// How a slot of the table is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Open,
    /// Told, and held back until its round is told.
    Held,
    Discarded,
}

/// One open leaf: an edge, and the simulations that wait for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The call that checked it last.
    stamp: u64,
    /// How many were opened before it.
    order: u64,
    generation: u32,
    block: Block,
    /// At most `MAX_IN_FLIGHT`.
    visits: u16,
    edge: u16,
    depth: u16,
    pub(crate) kind: Kind,
    state: State,
}

impl Ticket {
    /// The block, the edge, and how many edges there are from the root to the block.
    pub(crate) fn place(&self) -> (Block, u32, u32) {
        (self.block, self.edge.into(), self.depth.into())
    }

    /// Simulations that wait.
    pub(crate) fn visits(&self) -> u32 {
        self.visits.into()
    }

    fn load(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let ticket = Self {
            stamp: 0,
            order: reader.u64()?,
            generation: reader.u32()?,
            block: Block::at(reader.u32()?),
            visits: reader.u16()?,
            edge: reader.u16()?,
            depth: reader.u16()?,
            kind: if reader.flag()? {
                Kind::Expand
            } else {
                Kind::Evaluate
            },
            state: match reader.u8()? {
                0 => State::Free,
                1 => State::Open,
                2 => State::Held,
                3 => State::Discarded,
                other => return Err(corrupt("a leaf's state from 0 to 3", other.to_string())),
            },
        };
        let is_fine = if ticket.state == State::Free {
            ticket.generation <= MAX_GENERATION
        } else {
            ticket.generation < MAX_GENERATION && ticket.visits > 0
        };
        if !is_fine {
            return Err(corrupt("leaves that are waited for", "others"));
        }
        Ok(ticket)
    }

    /// Whether the part of the tree that asked is gone.
    pub(crate) fn is_discarded(&self) -> bool {
        self.state == State::Discarded
    }
}

/// The table of tickets. An id is `generation << 32 | slot`; a slot's generation grows each time that
/// it is freed, so an old id is told apart from an unknown one, and an id fits an `i64`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tickets {
    slots: Vec<Ticket>,
    free: Vec<u32>,
    calls: u64,
    opened: u64,
    num_open: usize,
}

const MAX_GENERATION: u32 = i32::MAX as u32;

impl Tickets {
    /// Opens a ticket for an edge of a block `depth` edges below the root; returns its slot.
    #[inline]
    pub(crate) fn open(
        &mut self,
        (block, edge, depth): (Block, u32, u32),
        kind: Kind,
        visits: u32,
    ) -> u32 {
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        let generation = self
            .slots
            .get(slot as usize)
            .map_or(0, |old| old.generation);
        self.num_open += 1;
        self.opened += 1;
        let ticket = Ticket {
            stamp: 0,
            order: self.opened,
            generation,
            block,
            visits: visits as u16,
            edge: edge as u16,
            depth: depth as u16,
            kind,
            state: State::Open,
        };
        match self.slots.get_mut(slot as usize) {
            Some(old) => *old = ticket,
            None => self.slots.push(ticket),
        }
        slot
    }

    pub(crate) fn id(&self, slot: u32) -> u64 {
        u64::from(self.slots[slot as usize].generation) << 32 | u64::from(slot)
    }

    pub(crate) fn get(&self, slot: u32) -> &Ticket {
        &self.slots[slot as usize]
    }

    /// Begins a call in which no id may come twice.
    pub(crate) fn begin(&mut self) {
        self.calls += 1;
    }

    /// The ticket of an id.
    ///
    /// # Errors
    ///
    /// `UnknownLeaf`, `FinishedLeaf`; `InvalidRow` for an id that came before in this call.
    #[inline]
    pub(crate) fn check(&mut self, id: u64, row: usize) -> Result<Ticket, Error> {
        let generation = id >> 32;
        let Some(ticket) = self.slots.get_mut(id as u32 as usize) else {
            return Err(Error::UnknownLeaf { id });
        };
        if generation < u64::from(ticket.generation) {
            return Err(Error::FinishedLeaf { id });
        }
        if generation > u64::from(ticket.generation) || ticket.state == State::Free {
            return Err(Error::UnknownLeaf { id });
        }
        if ticket.state == State::Held {
            return Err(Error::FinishedLeaf { id });
        }
        if ticket.stamp == self.calls {
            return Err(Error::InvalidRow {
                row,
                name: "ids",
                expected: "without repeats",
                found: format!("leaf {id} again"),
            });
        }
        ticket.stamp = self.calls;
        Ok(*ticket)
    }

    /// Closes the ticket of a checked id; a slot whose generations are used up is not used again.
    #[inline]
    pub(crate) fn close(&mut self, id: u64) -> Ticket {
        let slot = id as u32;
        let ticket = &mut self.slots[slot as usize];
        let closed = *ticket;
        self.num_open -= usize::from(closed.state == State::Open);
        ticket.state = State::Free;
        ticket.generation += 1;
        if ticket.generation < MAX_GENERATION {
            self.free.push(slot);
        }
        closed
    }

    /// Open leaves: asked for, and not told or failed.
    pub(crate) fn num_open(&self) -> usize {
        self.num_open
    }

    /// Holds the ticket of a checked id back: it is told, and stays. A discarded one is closed.
    pub(crate) fn hold(&mut self, id: u64) {
        let ticket = &mut self.slots[id as u32 as usize];
        if ticket.state == State::Open {
            ticket.state = State::Held;
            self.num_open -= 1;
        } else {
            self.close(id);
        }
    }

    /// Whether the leaf of an id, of any number, is held back.
    pub(crate) fn is_held(&self, id: u64) -> bool {
        self.slots.get(id as u32 as usize).is_some_and(|ticket| {
            id >> 32 == u64::from(ticket.generation) && ticket.state == State::Held
        })
    }

    /// The least depth of a block that waits for one of its leaves.
    pub(crate) fn least_depth(&self) -> Option<u32> {
        let waiting = self.slots().filter_map(|slot| self.open_at(slot));
        waiting.map(|ticket| ticket.depth.into()).min()
    }

    /// The place of a checked id among all that were ever opened.
    pub(crate) fn order(&self, id: u64) -> u64 {
        self.slots[id as u32 as usize].order
    }

    /// Adds visits to an open ticket.
    #[inline]
    pub(crate) fn join(&mut self, slot: u32, visits: u32) {
        self.slots[slot as usize].visits += visits as u16;
    }

    /// Moves every ticket to where its block went, one level up. Of those whose block is gone the open
    /// ones are discarded, and the held ones closed.
    pub(crate) fn follow(&mut self, moved: impl Fn(Block) -> Option<Block>) {
        for slot in 0..self.slots.len() as u32 {
            let ticket = &mut self.slots[slot as usize];
            if !matches!(ticket.state, State::Open | State::Held) {
                continue;
            }
            if let Some(block) = moved(ticket.block) {
                ticket.block = block;
                ticket.depth -= 1;
            } else if ticket.state == State::Open {
                self.num_open -= 1;
                ticket.state = State::Discarded;
            } else {
                let id = self.id(slot);
                self.close(id);
            }
        }
    }

    /// All slots.
    pub(crate) fn slots(&self) -> std::ops::Range<u32> {
        0..self.slots.len() as u32
    }

    /// The ticket in a slot, if it is open or held.
    pub(crate) fn open_at(&self, slot: u32) -> Option<&Ticket> {
        let ticket = self.slots.get(slot as usize)?;
        matches!(ticket.state, State::Open | State::Held).then_some(ticket)
    }

    /// Leaves that are held back.
    pub(crate) fn num_held(&self) -> usize {
        let slots = self.slots.iter();
        slots.filter(|ticket| ticket.state == State::Held).count()
    }

    pub(crate) fn save(&self, writer: &mut Writer) {
        writer.u64(self.opened);
        writer.column(&self.slots, |writer, ticket| {
            writer.u64(ticket.order);
            writer.u32(ticket.generation);
            writer.u32(ticket.block.word() as u32);
            writer.u16(ticket.visits);
            writer.u16(ticket.edge);
            writer.u16(ticket.depth);
            writer.flag(ticket.kind == Kind::Expand);
            writer.u8(ticket.state as u8);
        });
        writer.column(&self.free, |writer, &slot| writer.u32(slot));
    }

    /// The table as it was saved. What its tickets say of the tree is not checked here.
    ///
    /// # Errors
    ///
    /// `CorruptFile`.
    pub(crate) fn load(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let opened = reader.u64()?;
        let slots = reader.column(24, Ticket::load)?;
        let free = reader.column(4, Reader::u32)?;
        let is_open = |ticket: &&Ticket| ticket.state == State::Open;
        let num_open = slots.iter().filter(is_open).count();
        let is_free = |slot: &u32| {
            let ticket = slots.get(*slot as usize);
            ticket.is_some_and(|it| it.state == State::Free && it.generation < MAX_GENERATION)
        };
        let length = free.len();
        let mut sorted = free.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let is_fine = sorted.len() == length
            && free.iter().all(is_free)
            && opened < u64::MAX / 2
            && slots.iter().all(|ticket: &Ticket| ticket.order <= opened)
            && slots.len() < 1 << 30;
        if !is_fine {
            return Err(corrupt("a table of leaves", "another one"));
        }
        Ok(Self {
            slots,
            free,
            calls: 0,
            opened,
            num_open,
        })
    }

    pub(crate) fn nbytes(&self) -> usize {
        self.slots.len() * size_of::<Ticket>() + self.free.len() * size_of::<u32>()
    }
}
