"""How the families show a picture to their decoder: as tokens of the prompt, or beside them.

The Qwen families put a picture's states in the place of image tokens; mllama lets some layers
attend to them. `pictures` reads and keeps pictures and does not know the difference.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from similar_fast.errors import InferenceError
from similar_fast.models.manifest import PatchSpec, TileSpec
from similar_fast.models.runtime import Tensor, to_host
from similar_fast.processing.patches import cut_patches, resized_size
from similar_fast.processing.tiles import lay_tiles, tile_canvas
from similar_fast.reward.backbone import Backbone
from similar_fast.reward.prefix import rope_positions
from similar_fast.reward.state_cache import PromptTokens

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CrossVision", "NoVision", "TokenVision", "Vision", "open_vision"]

Grid = tuple[int, int, int]
"""(time, rows, columns) of a picture in patches."""

_NUM_TILES = "num_tiles"

See = Callable[[], Mapping[str, Tensor]]
"""The vision graph's outputs for the picture at hand, run when they are needed and not kept."""


class Vision(Protocol):
    """One family's way. A picture is told by its size, its key and `see`; None where there is none.

    Attributes:
        token: The token that stands for (a part of) a picture; None for a family without vision.
    """

    token: int | None

    def grid(self, width: int, height: int) -> Grid | None:
        """The patches that a picture of this size is cut into; None where that has no bearing."""

    def num_tokens(self, grid: Grid | None) -> int:
        """Tokens that a picture takes in a prompt."""

    def run(self, image: "Image") -> dict[str, Tensor]:
        """The vision graph's outputs for `image`, RGB."""

    def tokens(
        self,
        ids: NDArray[np.int64],
        *,
        image_start: int,
        grid: Grid | None,
        words: NDArray[np.uint64] | None,
    ) -> PromptTokens:
        """A prefix's tokens with positions, and with what tells two pictures apart.

        Args:
            ids: `[P]` int64.
            image_start: Index of the first image token; -1 without a picture.
            grid: The picture's.
            words: `[4]`, what tells the picture's content from another's; None without a picture.
        """

    def prefix_feeds(
        self, tokens: PromptTokens, start: int, stop: int, *, see: See | None
    ) -> dict[str, Tensor]:
        """What the decoder reads of the picture to run the tokens `start` to `stop` of a prefix."""

    def suffix_feeds(self, count: int, see: See | None) -> dict[str, Tensor]:
        """What the decoder reads of the picture to run `count` tokens behind the prefix."""


def open_vision(backbone: Backbone) -> Vision:
    """The way of the backbone's family."""
    if backbone.spec.patches is not None:
        return TokenVision(backbone, backbone.spec.patches)
    if backbone.spec.tiles is not None:
        return CrossVision(backbone, backbone.spec.tiles)
    return NoVision(backbone.spec.decoder.position_axes)


class NoVision:
    """A family that reads text alone."""

    token: int | None = None

    def __init__(self, position_axes: int) -> None:
        self._axes = position_axes

    def grid(self, width: int, height: int) -> Grid | None:  # noqa: ARG002  # the protocol's
        """As `Vision.grid`."""
        return None

    def num_tokens(self, grid: Grid | None) -> int:  # noqa: ARG002  # as above
        """As `Vision.num_tokens`."""
        return 0

    def run(self, image: "Image") -> dict[str, Tensor]:  # noqa: ARG002  # as above
        """Refuses: no screenshot is looked at, so there is none to run."""
        raise InferenceError("the model has no vision; expected a step without a screenshot")

    def tokens(
        self,
        ids: NDArray[np.int64],
        *,
        image_start: int,  # noqa: ARG002  # as above
        grid: Grid | None,  # noqa: ARG002  # as above
        words: NDArray[np.uint64] | None,  # noqa: ARG002  # as above
    ) -> PromptTokens:
        """As `Vision.tokens`."""
        return _text_tokens(ids, self._axes)

    def prefix_feeds(
        self,
        tokens: PromptTokens,  # noqa: ARG002  # as above
        start: int,  # noqa: ARG002  # as above
        stop: int,  # noqa: ARG002  # as above
        *,
        see: See | None,  # noqa: ARG002  # as above
    ) -> dict[str, Tensor]:
        """As `Vision.prefix_feeds`."""
        return {}

    def suffix_feeds(self, count: int, see: See | None) -> dict[str, Tensor]:  # noqa: ARG002  # as above
        """As `Vision.suffix_feeds`."""
        return {}


class TokenVision:
    """Pictures in patches, whose states stand in the prompt: the Qwen families."""

    def __init__(self, backbone: Backbone, spec: PatchSpec) -> None:
        self._backbone = backbone
        self._spec = spec
        self.token: int | None = spec.token
        shape = (1, backbone.hidden_size)
        self._nothing = {"image_embeds": np.zeros(shape, backbone.spec.decoder.kv_dtype)}

    def grid(self, width: int, height: int) -> Grid | None:
        """As `Vision.grid`."""
        columns, rows = (
            side // self._spec.patch_size for side in resized_size(width, height, self._spec)
        )
        return 1, rows, columns

    def num_tokens(self, grid: Grid | None) -> int:
        """As `Vision.num_tokens`."""
        return 0 if grid is None else grid[1] * grid[2] // self._spec.merge_size**2

    def run(self, image: "Image") -> dict[str, Tensor]:
        """As `Vision.run`: `image_embeds` `[num_tokens, H]`."""
        return self._backbone.see(cut_patches(image, self._spec).feeds)

    def tokens(
        self,
        ids: NDArray[np.int64],
        *,
        image_start: int,
        grid: Grid | None,
        words: NDArray[np.uint64] | None,
    ) -> PromptTokens:
        """As `Vision.tokens`; the image tokens have the words for keys, in turn."""
        axes = self._backbone.spec.decoder.position_axes
        if grid is None or words is None:
            return _text_tokens(ids, axes)
        keys = np.zeros(len(ids), np.uint64)
        count = self.num_tokens(grid)
        keys[image_start : image_start + count] = np.resize(words, count)
        positions, after = rope_positions(
            ids, image_token=self._spec.token, grids=[grid], merge_size=self._spec.merge_size
        )
        return PromptTokens(ids, keys, positions, after)

    def prefix_feeds(
        self, tokens: PromptTokens, start: int, stop: int, *, see: See | None
    ) -> dict[str, Tensor]:
        """As `Vision.prefix_feeds`: the states of those of the tokens that are the picture's."""
        is_image = tokens.keys != 0
        first, last = (int(np.count_nonzero(is_image[:end])) for end in (start, stop))
        if see is None or first == last:
            return self._nothing
        embeds = see()["image_embeds"]
        is_whole = last - first == np.count_nonzero(is_image)
        return {"image_embeds": embeds if is_whole else to_host(embeds)[first:last]}

    def suffix_feeds(self, count: int, see: See | None) -> dict[str, Tensor]:  # noqa: ARG002  # as above
        """As `Vision.suffix_feeds`: the prefix's keys and values hold the picture already."""
        return self._nothing


class CrossVision:
    """Pictures on tiles, whose keys and values some layers attend to: mllama.

    As published, a token before the picture sees all tiles, the empty ones too, and a token from
    the picture on the tiles in use. So every token of a prompt depends on the picture.
    """

    def __init__(self, backbone: Backbone, spec: TileSpec) -> None:
        self._backbone = backbone
        self._spec = spec
        self.token: int | None = spec.token
        decoder = backbone.spec.decoder
        shape = (1, decoder.num_kv_heads, 1, decoder.head_dim)
        self._nothing = dict.fromkeys(backbone.cross_names, np.zeros(shape, decoder.kv_dtype))

    def grid(self, width: int, height: int) -> Grid | None:
        """As `Vision.grid`: (1, tiles down, tiles across)."""
        return 1, *tile_canvas(width, height, self._spec)

    def num_tokens(self, grid: Grid | None) -> int:  # noqa: ARG002  # the protocol's
        """As `Vision.num_tokens`: one stands for all."""
        return 1

    def run(self, image: "Image") -> dict[str, Tensor]:
        """As `Vision.run`: `cross.j.key` and `cross.j.value`, `[1, KV, M, D]` each.

        Beside them `num_tiles`, those in use.
        """
        tiles = lay_tiles(image, self._spec)
        cross = self._backbone.see(
            {
                "pixel_values": tiles.pixel_values,
                "aspect_ratio_id": np.array([tiles.aspect_ratio_id], np.int64),
                "tile_mask": tiles.aspect_ratio_mask,
            }
        )
        return {**cross, _NUM_TILES: np.array(tiles.num_tiles)}

    def tokens(
        self,
        ids: NDArray[np.int64],
        *,
        image_start: int,  # noqa: ARG002  # as above
        grid: Grid | None,  # noqa: ARG002  # as above
        words: NDArray[np.uint64] | None,
    ) -> PromptTokens:
        """As `Vision.tokens`; all tokens have the words for keys, in turn."""
        tokens = _text_tokens(ids, 1)
        if words is not None:
            tokens.keys[:] = np.resize(words, len(ids))
        return tokens

    def prefix_feeds(
        self, tokens: PromptTokens, start: int, stop: int, *, see: See | None
    ) -> dict[str, Tensor]:
        """As `Vision.prefix_feeds`."""
        first = int(np.argmax(tokens.ids == self._spec.token))
        return self._feeds(np.arange(start, stop) >= first, see)

    def suffix_feeds(self, count: int, see: See | None) -> dict[str, Tensor]:
        """As `Vision.suffix_feeds`."""
        return self._feeds(np.ones(count, np.bool_), see)

    def _feeds(self, is_behind: NDArray[np.bool_], see: See | None) -> dict[str, Tensor]:
        """Feeds for tokens of which `is_behind` tells whether the picture stands before them."""
        count = len(is_behind)
        weight = np.zeros((1, count, 2), np.float32)
        if see is None:
            mask = np.ones((1, 1, count, 1), np.bool_)
            return {**self._nothing, "cross_mask": mask, "cross_weight": weight}
        cross = dict(see())
        used = int(cross.pop(_NUM_TILES)) * self._spec.tokens_per_tile
        mask = np.ones((1, 1, count, self._spec.max_tiles * self._spec.tokens_per_tile), np.bool_)
        mask[:, :, is_behind, used:] = False
        weight[:, :, 0] = 1
        weight[:, :, 1] = is_behind
        return {**cross, "cross_mask": mask, "cross_weight": weight}


def _text_tokens(ids: NDArray[np.int64], axes: int) -> PromptTokens:
    positions = np.arange(len(ids))[None].repeat(axes, axis=0)
    return PromptTokens(ids, np.zeros(len(ids), np.uint64), positions, len(ids))
