//! The leaves that are open: which node is to get a child, and how many simulations wait for it.

use super::arena::{Arena, NONE};
use crate::Error;

/// How a slot of the table is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Open,
    Discarded,
}

/// One open leaf. The tickets of one node form a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// The call that checked it last.
    stamp: u64,
    /// How many tickets were opened before it.
    pub(super) order: u64,
    generation: u32,
    /// The node that is to get a child.
    pub(super) parent: u32,
    before: u32,
    after: u32,
    /// Simulations that wait.
    pub(super) visits: u16,
    state: State,
}

impl Ticket {
    /// Whether the part of the tree that asked is gone.
    pub(super) fn is_discarded(&self) -> bool {
        self.state == State::Discarded
    }
}

/// The table of tickets. An id is `generation << 32 | slot`; a slot's generation grows each time that
/// it is freed, so an old id is told apart from an unknown one, and an id fits an `i64`.
#[derive(Clone, Debug, Default)]
pub(super) struct Tickets {
    slots: Vec<Ticket>,
    free: Vec<u32>,
    /// Tickets that are open and not discarded.
    num_open: usize,
    opened: u64,
    calls: u64,
}

const MAX_GENERATION: u32 = i32::MAX as u32;

impl Tickets {
    /// Opens a ticket of a node for one simulation; returns its slot.
    pub(super) fn open(&mut self, arena: &mut Arena, parent: u32) -> u32 {
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        let old = self.slots.get(slot as usize);
        let ticket = Ticket {
            stamp: 0,
            order: 0,
            generation: old.map_or(0, |old| old.generation),
            parent,
            before: slot,
            after: slot,
            visits: 1,
            state: State::Open,
        };
        match self.slots.get_mut(slot as usize) {
            Some(old) => *old = ticket,
            None => self.slots.push(ticket),
        }
        self.num_open += 1;
        let node = arena.get_mut(parent);
        node.generating += 1;
        if node.pending == NONE {
            node.pending = slot;
        } else {
            self.link(slot, node.pending);
        }
        slot
    }

    /// Puts a slot into a ring, before `next`.
    fn link(&mut self, slot: u32, next: u32) {
        let last = self.slots[next as usize].before;
        self.slots[slot as usize].before = last;
        self.slots[slot as usize].after = next;
        self.slots[last as usize].after = slot;
        self.slots[next as usize].before = slot;
    }

    /// Lets one more simulation wait for an open leaf of a node, each in turn.
    pub(super) fn join(&mut self, arena: &mut Arena, parent: u32) {
        let node = arena.get_mut(parent);
        let ticket = &mut self.slots[node.pending as usize];
        ticket.visits += 1;
        node.pending = ticket.after;
    }

    /// Says in which order tickets were opened: in that of `slots`, after all before.
    pub(super) fn enumerate(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.slots[slot as usize].order = self.opened;
            self.opened += 1;
        }
    }

    pub(super) fn id(&self, slot: u32) -> u64 {
        u64::from(self.slots[slot as usize].generation) << 32 | u64::from(slot)
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> &Ticket {
        &self.slots[slot as usize]
    }

    pub(super) fn num_open(&self) -> usize {
        self.num_open
    }

    /// Begins a call in which no id may come twice.
    pub(super) fn begin(&mut self) {
        self.calls += 1;
    }

    /// The ticket of an id.
    ///
    /// # Errors
    ///
    /// `UnknownLeaf`, `FinishedLeaf`; `InvalidRow` for an id that came before in this call.
    pub(super) fn check(&mut self, id: u64, row: usize) -> Result<Ticket, Error> {
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

    /// Closes the ticket of a checked id, and takes it off its node; a slot whose generations are
    /// used up is not used again.
    pub(super) fn close(&mut self, arena: &mut Arena, id: u64) -> Ticket {
        let slot = id as u32;
        let closed = self.slots[slot as usize];
        if closed.state == State::Open {
            self.num_open -= 1;
            let node = arena.get_mut(closed.parent);
            node.generating -= 1;
            if closed.after == slot {
                node.pending = NONE;
            } else {
                if node.pending == slot {
                    node.pending = closed.after;
                }
                self.slots[closed.before as usize].after = closed.after;
                self.slots[closed.after as usize].before = closed.before;
            }
        }
        let ticket = &mut self.slots[slot as usize];
        ticket.state = State::Free;
        ticket.generation += 1;
        if ticket.generation < MAX_GENERATION {
            self.free.push(slot);
        }
        closed
    }

    /// Moves every open ticket to where its node went; discards those whose node is gone. `moved` is
    /// `[old nodes]`, the new id or `NONE`.
    pub(super) fn follow(&mut self, moved: &[u32]) {
        for ticket in &mut self.slots {
            if ticket.state != State::Open {
                continue;
            }
            ticket.parent = moved[ticket.parent as usize];
            if ticket.parent == NONE {
                ticket.state = State::Discarded;
                self.num_open -= 1;
            }
        }
    }

    pub(super) fn nbytes(&self) -> usize {
        self.slots.len() * size_of::<Ticket>() + self.free.len() * size_of::<u32>()
    }

    /// The most that [`Self::nbytes`] can be until `more` further tickets have been opened and closed.
    pub(super) fn most_nbytes(&self, more: usize) -> usize {
        let slots = self.slots.len() + more.saturating_sub(self.free.len());
        slots * (size_of::<Ticket>() + size_of::<u32>())
    }
}
