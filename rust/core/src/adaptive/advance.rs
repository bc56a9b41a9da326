//! Tree reuse: a step is taken for good, and its subtree becomes the tree.

use super::AdaptiveSearch;
use crate::Error;

impl AdaptiveSearch {
    /// Makes a node, usually a child of the root, the root and frees everything not below it.
    ///
    /// Nodes below it keep their counts, and those at the depth limit can grow again. Open leaves
    /// below it stay open; telling or failing any other is accepted and does nothing. The scale of
    /// `Normalize::MinMax` is kept. O(nodes).
    ///
    /// Nodes get new ids in the order of the old ones, the root 0. Returned are the old ids,
    /// `[num_nodes]`, so that a column kept beside the tree follows by taking these rows. Draws
    /// depend on ids, so the search goes on with other ones than it would have without this call.
    ///
    /// # Errors
    ///
    /// `UnknownNode`. Nothing is changed then.
    pub fn advance(&mut self, node: u32) -> Result<Vec<u32>, Error> {
        self.find(node)?;
        let (kept, moved) = self.arena.keep(node, self.config.max_depth);
        self.tickets.follow(&moved);
        Ok(kept)
    }
}
