"""The sizes of the Qwen vision towers and how their pictures are cut, read from a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from similar_fast.errors import ModelError
from similar_fast.manifest import PatchSpec

from similar_fast_export.checkpoint import Checkpoint, read_json, read_size

__all__ = ["VisionConfig", "read_channels", "read_patch_spec", "read_vision_config"]

_PREPROCESSOR = "preprocessor_config.json"
_EPSILON = 1e-6  # of every norm in both towers


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """A vision tower's sizes.

    Attributes:
        width: Of a patch's state.
        inner_width: Within the MLP.
        output_size: Width of a token, the decoder's.
        num_layers: Blocks.
        num_heads: Attention heads; they share the width evenly.
        patch_values: Numbers of a patch: channels, frames and pixels together.
        epsilon: Of the norms.
        is_gated: Whether norms are RMS and MLPs gated: qwen2_5_vl.
        full_layers: The blocks that attend to the whole picture where there are windows.
    """

    width: int
    inner_width: int
    output_size: int
    num_layers: int
    num_heads: int
    patch_values: int
    epsilon: float
    is_gated: bool
    full_layers: tuple[int, ...] = ()

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.width // self.num_heads


def read_vision_config(checkpoint: Checkpoint) -> VisionConfig:
    """The tower of a qwen2_vl or qwen2_5_vl checkpoint.

    Raises:
        ModelError: A size is missing or impossible, or the tower has another activation.
    """
    place = f"{checkpoint.folder}/config.json, vision_config"
    record = checkpoint.config.get("vision_config")
    if not isinstance(record, dict):
        raise ModelError(f"{checkpoint.folder}/config.json has no vision_config")
    is_gated = checkpoint.family == "qwen2_5_vl"

    def size(name: str, default: int | None = None) -> int:
        return read_size(record if default is None else {name: default, **record}, name, place)

    width = size("hidden_size" if is_gated else "embed_dim")
    activation = "silu" if is_gated else "quick_gelu"
    if record.get("hidden_act", activation) != activation:
        raise ModelError(f"{place} has hidden_act {record['hidden_act']!r}; expected {activation}")
    config = VisionConfig(
        width=width,
        inner_width=size("intermediate_size") if is_gated else _inner_width(record, width, place),
        output_size=checkpoint.hidden_size,
        num_layers=size("depth"),
        num_heads=size("num_heads"),
        patch_values=size("in_channels", 3)
        * size("temporal_patch_size", 2)
        * size("patch_size") ** 2,
        epsilon=_EPSILON,
        is_gated=is_gated,
        full_layers=tuple(record.get("fullatt_block_indexes", ())) if is_gated else (),
    )
    if width % config.num_heads or config.head_dim % 4:
        raise ModelError(
            f"{place} has {width} in {config.num_heads} heads; expected heads of a multiple of 4"
        )
    found = record.get("out_hidden_size" if is_gated else "hidden_size", config.output_size)
    if found != config.output_size:
        raise ModelError(f"{place} gives tokens of {found}; the decoder has {config.output_size}")
    return config


def read_patch_spec(checkpoint: Checkpoint, config: VisionConfig) -> PatchSpec:
    """How pictures are cut, by `preprocessor_config.json`.

    Raises:
        ModelError: The file is missing, or says what the tower does not fit.
    """
    path = checkpoint.folder / _PREPROCESSOR
    record, vision = read_json(path), checkpoint.config["vision_config"]
    sizes = {
        name: read_size({name: default, **record}, name, str(path))
        for name, default in (("patch_size", 14), ("merge_size", 2), ("temporal_patch_size", 2))
    }
    if 3 * sizes["temporal_patch_size"] * sizes["patch_size"] ** 2 != config.patch_values:
        raise ModelError(f"{path} has {sizes}; config.json has {config.patch_values} a patch")
    if sizes["merge_size"] != vision.get("spatial_merge_size", 2):
        raise ModelError(f"{path} has merge_size {sizes['merge_size']}; config.json another")
    window = read_size(vision, "window_size", str(path)) if config.is_gated else 0
    least, most = _pixels(record, str(path))
    return PatchSpec(
        token=read_size(checkpoint.config, "image_token_id", f"{checkpoint.folder}/config.json"),
        min_pixels=least,
        max_pixels=most,
        mean=read_channels(record, "image_mean", str(path)),
        std=read_channels(record, "image_std", str(path)),
        window_size=window,
        **sizes,
    )


def _inner_width(record: Mapping[str, Any], width: int, place: str) -> int:
    ratio = record.get("mlp_ratio", 4)
    if not isinstance(ratio, int | float) or ratio <= 0 or int(width * ratio) != width * ratio:
        raise ModelError(f"{place} has mlp_ratio {ratio!r}; expected one that gives a whole width")
    return int(width * ratio)


def _pixels(record: Mapping[str, Any], place: str) -> tuple[int, int]:
    """(min_pixels, max_pixels), in either spelling."""
    size = record.get("size") or {}
    names = (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge"))
    least, most = (
        read_size({old: record.get(old) or size.get(new)}, old, place) for old, new in names
    )
    if least > most:
        raise ModelError(f"{place} has min_pixels {least} and max_pixels {most}")
    return least, most


def read_channels(record: Mapping[str, Any], name: str, place: str) -> tuple[float, float, float]:
    """The three numbers `name` of a preprocessor's settings.

    Raises:
        ModelError: They are something else; the message begins with `place`.
    """
    values = record.get(name)
    if not isinstance(values, list) or len(values) != 3:
        raise ModelError(f"{place} has {name} {values!r}; expected three numbers")
    first, second, third = (float(value) for value in values)
    return first, second, third
