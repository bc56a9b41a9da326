"""Pictures as mllama reads them: laid over up to `max_tiles` square tiles.

Equal, value for value, to `MllamaImageProcessorPil` of transformers 5.24 on one picture.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from similar_fast.models.manifest import TileSpec
from similar_fast.processing.pixels import normalize

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Tiles", "arrangements", "fit_to_canvas", "lay_tiles", "tile_canvas"]

_BILINEAR = 2  # PIL.Image.Resampling.BILINEAR, without importing Pillow
_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Tiles:
    """One picture on tiles, row by row from the upper left.

    Attributes:
        pixel_values: `[max_tiles, 3, tile_size, tile_size]` float32, normalised; what the picture
            does not cover is black in a used tile, and unused tiles are 0.
        aspect_ratio_id: The arrangement's 1-based place in `arrangements(max_tiles)`.
        num_tiles: Tiles in use.
        aspect_ratio_mask: `[max_tiles]` int64, 1 for each tile in use.
    """

    pixel_values: NDArray[np.float32]
    aspect_ratio_id: int
    num_tiles: int
    aspect_ratio_mask: NDArray[np.int64]


def arrangements(max_tiles: int) -> list[tuple[int, int]]:
    """Every (tiles down, tiles across) of at most `max_tiles` tiles, in the model's order.

    Example:
        >>> arrangements(3)
        [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)]
    """
    return [
        (down, across)
        for down in range(1, max_tiles + 1)
        for across in range(1, max_tiles // down + 1)
    ]


def tile_canvas(width: int, height: int, spec: TileSpec) -> tuple[int, int]:
    """(tiles down, tiles across) that suit a picture of this size best.

    Where the picture fits, the arrangement that enlarges it least; else the one that shrinks it
    least; among equals the fewest tiles.

    Raises:
        ValueError: A side is less than 1.

    Source: `get_optimal_tiled_canvas` in transformers.
    """
    if min(width, height) < 1:
        raise ValueError(f"the picture is {width} x {height}; expected sides of at least 1")
    size = spec.tile_size
    scales = {
        (down, across): min(down * size / height, across * size / width)
        for down, across in arrangements(spec.max_tiles)
    }
    enlarging = [scale for scale in scales.values() if scale >= 1]
    best = min(enlarging) if enlarging else max(scales.values())
    return min((tiles for tiles, scale in scales.items() if scale == best), key=math.prod)


def fit_to_canvas(
    width: int, height: int, *, canvas: tuple[int, int], tile_size: int
) -> tuple[int, int]:
    """(width, height) of a picture after the resize; its aspect ratio is kept, each side >= 1.

    Args:
        width: The picture's width in pixels.
        height: The picture's height in pixels.
        canvas: Tiles down and across.
        tile_size: Side of a tile in pixels.

    Source: `get_image_size_fit_to_canvas` in transformers.
    """
    down, across = canvas
    most_height = min(max(height, tile_size), down * tile_size)
    most_width = min(max(width, tile_size), across * tile_size)
    scale_height, scale_width = most_height / height, most_width / width
    if scale_width < scale_height:
        return most_width, min(max(math.floor(height * scale_width), 1), most_height)
    return min(max(math.floor(width * scale_height), 1), most_width), most_height


def lay_tiles(image: "Image", spec: TileSpec) -> Tiles:
    """The tiles of `image`, an RGB picture (see `open_image`)."""
    down, across = tile_canvas(image.width, image.height, spec)
    size = fit_to_canvas(image.width, image.height, canvas=(down, across), tile_size=spec.tile_size)
    levels = np.asarray(image.resize(size, resample=_BILINEAR))
    side, used = spec.tile_size, down * across
    pixel_values = np.zeros((spec.max_tiles, _CHANNELS, side, side), np.float32)
    for i, tile in enumerate(pixel_values[:used]):
        top, left = i // across * side, i % across * side
        part = levels[top : top + side, left : left + side]
        tile[:, : part.shape[0], : part.shape[1]] = part.transpose(2, 0, 1)
        normalize(tile, spec.mean, spec.std)
    return Tiles(
        pixel_values=pixel_values,
        aspect_ratio_id=arrangements(spec.max_tiles).index((down, across)) + 1,
        num_tiles=used,
        aspect_ratio_mask=(np.arange(spec.max_tiles) < used).astype(np.int64),
    )
