"""What a pixel's value becomes before a vision graph reads it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["normalize"]


def normalize(levels: NDArray[np.float32], mean: Sequence[float], std: Sequence[float]) -> None:
    """Turns levels in 0..255 into `(level / 255 - mean) / std`, in place.

    transformers multiplies by 1/255 in float64 and rounds to float32; for each of the 256 levels
    that is the float32 quotient by 255, so all of it is done in float32, without a difference.

    Args:
        levels: `[..., 3, height, width]`, whole numbers from 0 to 255; holds the result.
        mean: Of the three channels, in [0, 1].
        std: Of the three channels.
    """
    levels /= np.float32(255)
    levels -= np.array(mean, np.float32)[:, None, None]
    levels /= np.array(std, np.float32)[:, None, None]
