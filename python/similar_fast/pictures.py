"""Screenshots: bytes from anywhere -> what the decoder reads, each content seen once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from similar_fast.backbone import Backbone
from similar_fast.errors import DataError, SimilarFastError
from similar_fast.manifest import PatchSpec, TileSpec
from similar_fast.prefix import rope_positions
from similar_fast.processing.images import image_key, open_image
from similar_fast.processing.patches import join, num_tokens, patch_grid, patches
from similar_fast.state_cache import CacheStats, Picture, PictureCache, PromptTokens
from similar_fast.types import Step

__all__ = ["PictureReader", "Screenshot"]


@dataclass(frozen=True, slots=True, eq=False)
class Screenshot:
    """A picture whose header was read; its pixels were not.

    Attributes:
        key: Hash of its content.
        data: Its PNG, JPEG or WebP bytes.
        num_tokens: Image tokens that it takes in a prompt.
        grid: (time, rows, columns) in patches; None for mllama.
    """

    key: bytes
    data: bytes
    num_tokens: int
    grid: tuple[int, int, int] | None


class PictureReader:
    """Reads screenshots for one backbone and keeps what it saw; safe in threads."""

    def __init__(self, backbone: Backbone, cache: PictureCache, *, max_pixels: int) -> None:
        self._backbone = backbone
        self._spec: PatchSpec | TileSpec | None = backbone.spec.patches or backbone.spec.tiles
        self._cache = cache
        self._max_pixels = max_pixels

    @property
    def stats(self) -> CacheStats:
        """What is kept and how often it helped."""
        return self._cache.stats

    def clear(self) -> None:
        """Forgets every picture."""
        self._cache.clear()
