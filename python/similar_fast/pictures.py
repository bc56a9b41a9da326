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

    @property
    def token(self) -> int | None:
        """The token that stands for (a part of) a picture; None for a model without vision."""
        return None if self._spec is None else self._spec.token

    def look(
        self, steps: Sequence[Step], failed: dict[int, SimilarFastError]
    ) -> list[Screenshot | None]:
        """The screenshot of each step, by its header; a bad one is noted in `failed`.

        A callable that several steps share is called once.
        """
        seen: dict[int, Screenshot | SimilarFastError] = {}
        screenshots: list[Screenshot | None] = []
        for i, step in enumerate(steps):
            found: Screenshot | SimilarFastError | None = None
            if step.screenshot is not None and self._spec is not None:
                found = seen.get(id(step.screenshot)) or self._try_header(step.screenshot)
                seen[id(step.screenshot)] = found
            if isinstance(found, SimilarFastError):
                failed[i] = found
                found = None
            screenshots.append(found)
        return screenshots

    def tokens(
        self, ids: NDArray[np.int64], image_start: int, screenshot: Screenshot | None
    ) -> PromptTokens:
        """A prefix's tokens with what tells two pictures apart and with their positions."""
        keys = np.zeros(len(ids), np.uint64)
        axes = self._backbone.spec.decoder.position_axes
        if screenshot is None:
            positions = np.broadcast_to(np.arange(len(ids)), (axes, len(ids)))
            return PromptTokens(ids, keys, positions, len(ids))
        seed = int.from_bytes(screenshot.key[:8], "little") | 1
        if screenshot.grid is None:
            # mllama: every layer that attends to the picture changes every token that follows.
            keys[:] = seed
            return PromptTokens(ids, keys, np.arange(len(ids))[None], len(ids))
        stop = image_start + screenshot.num_tokens
        keys[image_start:stop] = np.uint64(seed) + np.arange(screenshot.num_tokens, dtype=np.uint64)
        assert isinstance(self._spec, PatchSpec)  # noqa: S101  # only it has grids
        positions, after = rope_positions(
            ids,
            image_token=self._spec.token,
            grids=[screenshot.grid],
            merge_size=self._spec.merge_size,
        )
        return PromptTokens(ids, keys, positions, after)
