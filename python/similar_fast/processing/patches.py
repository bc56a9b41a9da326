"""Pictures as the Qwen families read them: patches, at the picture's own aspect ratio.

Equal, value for value, to `Qwen2VLImageProcessorPil` of transformers 5.24, which serves qwen2_vl
and qwen2_5_vl. Patches stand in *merge order*: the `merge_size ** 2` patches that become one token
follow one another, and the tokens go row by row.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from similar_fast.errors import DataError, ModelError
from similar_fast.models.manifest import PatchSpec
from similar_fast.processing.pixels import normalize

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Patches", "cut_patches", "num_tokens", "resized_size"]

_BICUBIC = 3  # PIL.Image.Resampling.BICUBIC, without importing Pillow
_MAX_ASPECT_RATIO = 200
_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Patches:
    """One picture in N patches, in merge order.

    Attributes:
        pixel_values: `[N, channels * temporal_patch_size * patch_size ** 2]` float32, normalised.
        grid: Patches in time (1), down and across; N is their product.
        hw: `[N, 2]` int64, row and column of each patch.
        num_tokens: Tokens of the picture in a prompt: N over `merge_size ** 2`.
        window: `[N]` int64, the attention window of each patch, counted from 0; patches may attend
            to one another in a window layer iff theirs is the same. None where the model has no
            windows (qwen2_vl).
    """

    pixel_values: NDArray[np.float32]
    grid: tuple[int, int, int]
    hw: NDArray[np.int64]
    num_tokens: int
    window: NDArray[np.int64] | None = None

    @property
    def feeds(self) -> dict[str, NDArray[Any]]:
        """What `vision.onnx` reads, by the names of its inputs."""
        feeds: dict[str, NDArray[Any]] = {"pixel_values": self.pixel_values, "hw": self.hw}
        if self.window is not None:
            feeds["window"] = self.window
        return feeds


def resized_size(width: int, height: int, spec: PatchSpec) -> tuple[int, int]:
    """(width, height) of a picture after the resize, multiples of `patch_size * merge_size`.

    Each side goes to the nearest multiple; where the area then lies outside of `min_pixels` to
    `max_pixels`, both sides are scaled by one factor first, and rounded towards the inside.

    Raises:
        ValueError: A side is less than 1.
        DataError: One side is more than 200 times the other.

    Source: `smart_resize` of the Qwen2-VL release, as in transformers.
    """
    if min(width, height) < 1:
        raise ValueError(f"the picture is {width} x {height}; expected sides of at least 1")
    if max(width, height) / min(width, height) > _MAX_ASPECT_RATIO:
        raise DataError(
            f"the picture is {width} x {height}; expected sides in a ratio of at most "
            f"{_MAX_ASPECT_RATIO}"
        )
    unit = spec.patch_size * spec.merge_size
    sides = (width, height)
    fitted = [round(side / unit) * unit for side in sides]
    if fitted[0] * fitted[1] > spec.max_pixels:
        shrink = math.sqrt(height * width / spec.max_pixels)
        fitted = [max(unit, math.floor(side / shrink / unit) * unit) for side in sides]
    elif fitted[0] * fitted[1] < spec.min_pixels:
        grow = math.sqrt(spec.min_pixels / (height * width))
        fitted = [math.ceil(side * grow / unit) * unit for side in sides]
    return fitted[0], fitted[1]


def num_tokens(width: int, height: int, spec: PatchSpec) -> int:
    """Tokens that a picture of this size takes in a prompt; nothing is decoded.

    Raises:
        ValueError, DataError: As `resized_size`.
    """
    columns, rows = (side // spec.patch_size for side in resized_size(width, height, spec))
    return rows * columns // spec.merge_size**2


def cut_patches(image: "Image", spec: PatchSpec) -> Patches:
    """The patches of `image`, an RGB picture (see `open_image`).

    Raises:
        DataError: One side is more than 200 times the other.
        ModelError: `spec` has windows smaller than a token.
    """
    size = resized_size(image.width, image.height, spec)
    levels = np.asarray(image.resize(size, resample=_BICUBIC))
    columns, rows = (side // spec.patch_size for side in size)
    hw = _places(rows, columns, spec.merge_size)
    return Patches(
        pixel_values=_cut(levels, spec),
        grid=(1, rows, columns),
        hw=hw,
        num_tokens=rows * columns // spec.merge_size**2,
        window=_windows(hw, columns, spec) if spec.window_size else None,
    )


def _cut(levels: NDArray[np.uint8], spec: PatchSpec) -> NDArray[np.float32]:
    """`[height, width, 3]` levels as normalised patches; one row of tokens at a time in between."""
    side, merge, frames = spec.patch_size, spec.merge_size, spec.temporal_patch_size
    down, across = (length // (side * merge) for length in levels.shape[:2])
    tokens = levels.reshape(down, merge, side, across, merge, side, _CHANNELS)
    tokens = tokens.transpose(0, 3, 1, 4, 6, 2, 5)
    patches = np.empty((down, across, merge, merge, _CHANNELS, frames, side, side), np.float32)
    for row, out in zip(tokens, patches, strict=True):
        values = row.astype(np.float32, order="C")
        normalize(values, spec.mean, spec.std)
        out[:] = values[:, :, :, :, np.newaxis]
    return patches.reshape(-1, _CHANNELS * frames * side * side)


def _places(rows: int, columns: int, merge: int) -> NDArray[np.int64]:
    """`[N, 2]` row and column of the patches, in merge order."""
    places = np.indices((rows, columns), np.int64)
    blocks = places.reshape(2, rows // merge, merge, columns // merge, merge)
    return np.ascontiguousarray(blocks.transpose(1, 3, 2, 4, 0)).reshape(-1, 2)


def _windows(hw: NDArray[np.int64], columns: int, spec: PatchSpec) -> NDArray[np.int64]:
    """`[N]` window of each patch: windows lie row by row, the last ones of a row may be narrower.

    Source: `get_vision_window_index` in transformers, here as the number of a patch's window
    instead of an order of the patches by window.
    """
    tokens_a_side = spec.window_size // spec.merge_size // spec.patch_size
    if not tokens_a_side:
        raise ModelError(
            f"window_size is {spec.window_size}; expected 0 or at least one token's side, "
            f"{spec.merge_size * spec.patch_size}"
        )
    patches_a_side = tokens_a_side * spec.merge_size
    windows_across = -(-columns // patches_a_side)
    window: NDArray[np.int64] = hw // patches_a_side @ np.array([windows_across, 1])
    return window
