"""A weight that is read only when it is written: the file of a graph is one stream of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Weight", "joined"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Weight:
    """A float32 array of known shape whose values are read by a call, each time anew.

    Attributes:
        shape: Its sizes, known without reading.
        read: The values, `shape` float32, as an array that the caller may keep but not write to.
    """

    shape: tuple[int, ...]
    read: Callable[[], Floats]

    @classmethod
    def of(cls, values: NDArray[Any]) -> "Weight":
        """`values`, which are in memory already."""
        floats = np.asarray(values, np.float32)
        return cls(floats.shape, lambda: floats)

    def mapped(self, function: Callable[[Floats], Floats], shape: tuple[int, ...]) -> "Weight":
        """What `function` makes of the values; it has the sizes `shape`."""
        return Weight(shape, lambda: function(self.read()))

    def transposed(self) -> "Weight":
        """`[outputs, inputs]`, as checkpoints hold a matrix, to `[inputs, outputs]`, or back."""
        return self.mapped(np.transpose, self.shape[::-1])

    def reshaped(self, *shape: int) -> "Weight":
        """The same values in the same order with the sizes `shape`."""
        return self.mapped(lambda values: values.reshape(shape), shape)


def joined(weights: Sequence[Weight], axis: int = 0) -> Weight:
    """The weights behind one another along `axis`; their other sizes are equal.

    Raises:
        ValueError: There is none, or other sizes differ.
    """
    if not weights:
        raise ValueError("there is no weight to join; expected at least one")
    sizes = [list(weight.shape) for weight in weights]
    total = sum(size.pop(axis) for size in sizes)
    if any(size != sizes[0] for size in sizes):
        raise ValueError(f"shapes {[w.shape for w in weights]} differ beside axis {axis}")
    sizes[0].insert(axis, total)

    def read() -> Floats:
        return np.concatenate([weight.read() for weight in weights], axis=axis)

    return Weight(tuple(sizes[0]), read)
