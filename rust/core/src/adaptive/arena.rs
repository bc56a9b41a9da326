//! The nodes of an adaptive search: one fixed-size record each, children as a ring of siblings.
//!
//! A node keeps two sums. `generated` are the values of its children, each for as many simulations
//! as waited for it; `continued` are the values of everything deeper. Its own value with these two
//! is all that was observed in its subtree, and their counts are its visits. So no sum is ever the
//! difference of two others.

use super::posterior::Sums;

/// No node, no ticket.
pub(super) const NONE: u32 = u32::MAX;
/// The root is the first node.
pub(super) const ROOT: u32 = 0;

const TERMINAL: u8 = 1;
const EXHAUSTED: u8 = 2;
const CLOSED: u8 = 4;

/// One node. Ids are indices into the arena, so a child's id is above its parent's.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) generated: Sums,
    pub(super) continued: Sums,
    /// The node's own, in the scorer's scale; NaN for a root without one.
    pub(super) value: f32,
    pub(super) parent: u32,
    /// The youngest child; its `next` is the eldest.
    last_child: u32,
    /// The next younger sibling; of the youngest the eldest.
    next: u32,
    pub(super) num_children: u32,
    /// Children that are closed.
    pub(super) num_closed: u32,
    /// The slot of the open ticket of this node that gets the next simulation that must wait.
    pub(super) pending: u32,
    /// Simulations in flight at this node and below.
    pub(super) in_flight: u16,
    /// Open tickets of this node: children to be.
    pub(super) generating: u16,
    /// Simulations that waited for this node when it was told.
    pub(super) own: u16,
    /// Steps from the root.
    pub(super) depth: u16,
    flags: u8,
}

impl Node {
    pub(super) fn root(value: Option<f32>) -> Self {
        Self {
            generated: Sums::default(),
            continued: Sums::default(),
            value: value.unwrap_or(f32::NAN),
            parent: NONE,
            last_child: NONE,
            next: NONE,
            num_children: 0,
            num_closed: 0,
            pending: NONE,
            in_flight: 0,
            generating: 0,
            own: value.is_some().into(),
            depth: 0,
            flags: 0,
        }
    }

    /// Completed simulations: its own evaluations and its children's visits.
    #[inline]
    pub(super) fn visits(&self) -> u32 {
        u32::from(self.own) + self.generated.count + self.continued.count
    }

    /// Completed and in flight.
    #[inline]
    pub(super) fn all_visits(&self) -> u32 {
        self.visits() + u32::from(self.in_flight)
    }

    /// Everything observed in the subtree.
    #[inline]
    pub(super) fn observed(&self, origin: f64) -> Sums {
        let own = match self.own {
            0 => Sums::default(),
            own => Sums::of(f64::from(self.value) - origin, own.into()),
        };
        own.and(self.generated).and(self.continued)
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.flags & TERMINAL != 0
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.flags & EXHAUSTED != 0
    }

    /// Whether nothing can ever be generated in the subtree.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.flags & CLOSED != 0
    }

    /// Whether the node may ever get a child of its own.
    #[inline]
    pub(super) fn is_fertile(&self, max_depth: u32) -> bool {
        self.flags & (TERMINAL | EXHAUSTED) == 0 && u32::from(self.depth) < max_depth
    }

    pub(super) fn set_terminal(&mut self) {
        self.flags |= TERMINAL;
    }

    pub(super) fn set_exhausted(&mut self) {
        self.flags |= EXHAUSTED;
    }

    /// Whether the node may have children by now: it is not terminal and above the depth limit.
    pub(super) fn may_have_children(&self, max_depth: u32) -> bool {
        !self.is_terminal() && u32::from(self.depth) < max_depth
    }

    /// What a file keeps: whether the node is terminal (1), exhausted (2).
    pub(super) fn flags(&self) -> u8 {
        self.flags & (TERMINAL | EXHAUSTED)
    }

    /// As [`Self::flags`] gave them.
    pub(super) fn set_flags(&mut self, flags: u8) {
        self.flags = flags;
    }

    fn set_closed(&mut self) {
        self.flags |= CLOSED;
    }

    fn reopen(&mut self) {
        self.flags &= !CLOSED;
    }
}

/// All nodes, the root first.
#[derive(Clone, Debug)]
pub(super) struct Arena {
    pub(super) nodes: Vec<Node>,
}

impl Arena {
    pub(super) fn new(root_value: Option<f32>) -> Self {
        Self {
            nodes: vec![Node::root(root_value)],
        }
    }

    /// Without any node, with room for `count`.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self {
            nodes: Vec::with_capacity(count),
        }
    }

    #[inline]
    pub(super) fn get(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn nbytes(&self) -> usize {
        self.nodes.len() * size_of::<Node>()
    }

    /// Makes room for one more node: twice as many as before, but no more than `most`.
    fn reserve(&mut self, most: usize) {
        let len = self.nodes.len();
        if len == self.nodes.capacity() {
            let wanted = (2 * len).clamp(len + 1, most.max(len + 1));
            self.nodes.reserve_exact(wanted - len);
        }
    }

    /// Adds the youngest child of a node, without a visit; returns its id.
    pub(super) fn add(&mut self, parent: u32, value: f32, most: usize) -> u32 {
        self.reserve(most);
        let child = self.nodes.len() as u32;
        let above = &mut self.nodes[parent as usize];
        let eldest = above.last_child;
        let mut node = Node {
            parent,
            depth: above.depth + 1,
            ..Node::root(None)
        };
        node.value = value;
        above.num_children += 1;
        above.last_child = child;
        node.next = if eldest == NONE { child } else { eldest };
        if eldest != NONE {
            let youngest = &mut self.nodes[eldest as usize];
            node.next = std::mem::replace(&mut youngest.next, child);
        }
        self.nodes.push(node);
        child
    }

    /// Counts the evaluation of a new child at the child and above it. O(depth).
    pub(super) fn observe(&mut self, child: u32, visits: u16, distance: f64) {
        let sums = Sums::of(distance, visits.into());
        let node = self.get_mut(child);
        node.own = visits;
        let parent = node.parent;
        self.get_mut(parent).generated.add(sums);
        let mut above = self.get(parent).parent;
        while above != NONE {
            let node = self.get_mut(above);
            node.continued.add(sums);
            above = node.parent;
        }
    }

    /// Takes visits in flight off a node and all above it. O(depth).
    pub(super) fn land(&mut self, node: u32, visits: u16) {
        let mut above = node;
        while above != NONE {
            let node = self.get_mut(above);
            node.in_flight -= visits;
            above = node.parent;
        }
    }

    /// Closes a node if nothing can be generated in its subtree any more, and those above likewise.
    pub(super) fn settle(&mut self, node: u32, max_depth: u32) {
        let mut next = node;
        while next != NONE {
            let node = self.get_mut(next);
            let grows = node.is_fertile(max_depth)
                || node.generating > 0
                || node.num_closed < node.num_children;
            if grows || node.is_closed() {
                return;
            }
            node.set_closed();
            next = node.parent;
            if next != NONE {
                self.get_mut(next).num_closed += 1;
            }
        }
    }

    /// The children of a node, the eldest first.
    pub(super) fn children(&self, node: u32) -> impl Iterator<Item = u32> {
        let last = self.get(node).last_child;
        let first = match last {
            NONE => NONE,
            last => self.get(last).next,
        };
        let following = move |&child: &u32| (child != last).then(|| self.get(child).next);
        std::iter::successors((first != NONE).then_some(first), following)
    }

    /// The ids from a node up to the root, both included.
    pub(super) fn ancestors(&self, node: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(node), |&below| {
            let above = self.get(below).parent;
            (above != NONE).then_some(above)
        })
    }

    /// Keeps the subtree of `root` and frees the rest. The order of the ids is kept. Returns the old
    /// id of each node kept, and for each old id the new one or `NONE`. O(nodes).
    pub(super) fn keep(&mut self, root: u32, max_depth: u32) -> (Vec<u32>, Vec<u32>) {
        let mut moved = vec![NONE; self.nodes.len()];
        let mut kept = Vec::new();
        for old in root..self.nodes.len() as u32 {
            let parent = self.get(old).parent;
            if old == root || (parent != NONE && moved[parent as usize] != NONE) {
                moved[old as usize] = kept.len() as u32;
                kept.push(old);
            }
        }
        let up = self.get(root).depth;
        let place = |old: u32| {
            if old == NONE {
                NONE
            } else {
                moved[old as usize]
            }
        };
        for (new, &old) in kept.iter().enumerate() {
            let mut node = self.get(old).clone();
            node.parent = if new == 0 { NONE } else { place(node.parent) };
            node.next = if new == 0 { NONE } else { place(node.next) };
            node.last_child = place(node.last_child);
            node.depth -= up;
            node.num_closed = 0;
            node.reopen();
            self.nodes[new] = node;
        }
        self.nodes.truncate(kept.len());
        self.nodes.shrink_to_fit();
        self.close_all(max_depth);
        (kept, moved)
    }

    /// Finds out anew which nodes are closed; none may be marked before. O(nodes).
    pub(super) fn close_all(&mut self, max_depth: u32) {
        for node in (0..self.nodes.len() as u32).rev() {
            self.settle(node, max_depth);
        }
    }
}
