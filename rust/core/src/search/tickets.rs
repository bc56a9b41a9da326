//! The leaves that are open: who asked for what, and how often.

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
    Discarded,
}

/// One open leaf: an edge, and the simulations that wait for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The call that checked it last.
    stamp: u64,
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
        let ticket = Ticket {
            stamp: 0,
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
        ticket.state = State::Free;
        ticket.generation += 1;
        if ticket.generation < MAX_GENERATION {
            self.free.push(slot);
        }
        closed
    }

    /// Adds visits to an open ticket.
    #[inline]
    pub(crate) fn join(&mut self, slot: u32, visits: u32) {
        self.slots[slot as usize].visits += visits as u16;
    }

    /// Moves every open ticket to where its block went, one level up; discards those whose block is
    /// gone.
    pub(crate) fn follow(&mut self, moved: impl Fn(Block) -> Option<Block>) {
        for ticket in &mut self.slots {
            if ticket.state != State::Open {
                continue;
            }
            match moved(ticket.block) {
                Some(block) => {
                    ticket.block = block;
                    ticket.depth -= 1;
                }
                None => ticket.state = State::Discarded,
            }
        }
    }

    pub(crate) fn nbytes(&self) -> usize {
        self.slots.len() * size_of::<Ticket>() + self.free.len() * size_of::<u32>()
    }
}
