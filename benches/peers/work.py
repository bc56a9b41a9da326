"""The work that every search is given: a tree whose values are hashes of the path.

`branching` candidates everywhere, depth limit 12, values in [-1, 1), uniform priors, PUCT with
`c = 2 * branching`, so that nearly every simulation makes a leaf.
"""

import numpy as np
from numpy.typing import NDArray

MAX_DEPTH = 12
ROOT = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def exploration(branching: int) -> float:
    """The weight of the prior."""
    return 2.0 * branching


def extend(path: int, action: int) -> int:
    """The hash of a path that is extended by an action (one step of splitmix64)."""
    mixed = (path + (action + 1) * ROOT) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    return mixed ^ (mixed >> 27)


def value(path: int) -> float:
    """A number in [-1, 1)."""
    return (path >> 40) * (2.0 / 16777216.0) - 1.0


def extend_all(paths: NDArray[np.uint64], actions: NDArray[np.integer]) -> NDArray[np.uint64]:
    """As `extend`, for columns."""
    mixed = paths + (actions.astype(np.uint64) + np.uint64(1)) * np.uint64(ROOT)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(27))


def value_all(paths: NDArray[np.uint64]) -> NDArray[np.float32]:
    """As `value`, for columns."""
    return (paths >> np.uint64(40)).astype(np.float32) * np.float32(2 / 16777216) - np.float32(1)
