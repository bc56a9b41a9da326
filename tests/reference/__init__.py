"""The tree search in plain Python: slow, one descent after another, the same rules to the bit.

What the core keeps in `f32` is `np.float32` here, what it sums in `f64` is a Python float. Nodes
and leaves are addressed by their path, a tuple of action indices. Where a sum depends on the order
of its terms, the order is the core's: `rust/core/src/tree/ascent.rs` states it.
"""

from reference.model import Asked, Config, Edge, F, Path, Refused, Row
from reference.search import ReferenceSearch

__all__ = ["Asked", "Config", "Edge", "F", "Path", "ReferenceSearch", "Refused", "Row"]
