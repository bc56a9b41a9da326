"""The sizes of a Qwen vision tower and of its patches; what our graph cannot express is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from similar_fast.errors import ModelError
from similar_fast.models.manifest import PatchSpec

from similar_fast_export.checkpoint import Checkpoint, read_json, read_size
from similar_fast_export.decoder_config import inverse_frequencies

__all__ = [
    "VisionConfig",
    "read_channels",
    "read_patch_spec",
    "read_preprocessor",
    "read_vision_config",
]

# A saved configuration leaves out what equals the default of transformers 5.
_QWEN2_VL: dict[str, Any] = {
    "depth": 32,
    "embed_dim": 1280,
    "hidden_act": "quick_gelu",
    "hidden_size": 3584,
    "mlp_ratio": 4,
    "num_heads": 16,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
_QWEN2_5_VL: dict[str, Any] = {
    "depth": 32,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "hidden_act": "silu",
    "hidden_size": 3584,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
}
_PREPROCESSOR: dict[str, Any] = {
    "patch_size": 14,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280}

_THETA = 10000.0
_CHANNELS = 3
_BICUBIC = 3
_EIGHT_BITS = 1 / 255


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """A vision transformer over patches, whose states are merged into tokens.

    Attributes:
        num_layers: Blocks.
        width: Of a patch's state.
        mlp_width: Within the MLP.
        num_heads: Heads; each of width `head_dim`.
        output_width: Of a token, as the decoder reads it.
        patch_size: Side of a patch in pixels.
        merge_size: Patches a side that become one token.
        temporal_patch_size: Frames in a patch.
        theta: Base of the rotary frequencies.
        window_size: Side of a window in pixels; 0 where every layer sees the whole picture.
        full_layers: The layers that see the whole picture; all of them where there are no windows.
    """

    num_layers: int
    width: int
    mlp_width: int
    num_heads: int
    output_width: int
    patch_size: int
    merge_size: int
    temporal_patch_size: int
    theta: float
    window_size: int
    full_layers: frozenset[int]

    @property
    def is_windowed(self) -> bool:
        """Whether it is qwen2_5_vl's: windows, RMS norms and gated MLPs."""
        return self.window_size > 0

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.width // self.num_heads

    @property
    def patch_shape(self) -> tuple[int, int, int, int]:
        """Channels, frames, rows and columns of a patch."""
        return (_CHANNELS, self.temporal_patch_size, self.patch_size, self.patch_size)

    @property
    def frequencies(self) -> tuple[float, ...]:
        """`[head_dim / 4]` radians a patch: of the pairs that turn with the row, or the column."""
        return tuple(inverse_frequencies(self.theta, self.head_dim // 2).tolist())


def read_vision_config(checkpoint: Checkpoint) -> VisionConfig:
    """The vision tower of a qwen2_vl or qwen2_5_vl checkpoint.

    Raises:
        ModelError: The checkpoint is of another family or has no vision, a size is impossible, or
            the tower has something that our graph has not.
    """
    place = f"{checkpoint.folder}/config.json, vision_config,"
    if checkpoint.family not in {"qwen2_vl", "qwen2_5_vl"}:
        raise ModelError(
            f"{checkpoint.folder} has the model_type {checkpoint.family!r}; expected 'qwen2_vl' "
            "or 'qwen2_5_vl'"
        )
    found = checkpoint.config.get("vision_config")
    if not isinstance(found, dict):
        raise ModelError(f"{checkpoint.folder}/config.json has no vision_config")
    is_windowed = checkpoint.family == "qwen2_5_vl"
    defaults = _QWEN2_5_VL if is_windowed else _QWEN2_VL
    vision = {**defaults, **found}
    _refuse_unknown(vision, place, activation=defaults["hidden_act"])

    def size(name: str) -> int:
        return read_size(vision, name, place)

    width = size("hidden_size" if is_windowed else "embed_dim")
    config = VisionConfig(
        num_layers=size("depth"),
        width=width,
        mlp_width=size("intermediate_size") if is_windowed else _mlp_width(vision, width, place),
        num_heads=size("num_heads"),
        output_width=size("out_hidden_size" if is_windowed else "hidden_size"),
        patch_size=size("patch_size"),
        merge_size=size("spatial_merge_size"),
        temporal_patch_size=size("temporal_patch_size"),
        theta=_read_theta(vision, place),
        window_size=size("window_size") if is_windowed else 0,
        full_layers=_full_layers(vision, place) if is_windowed else frozenset(range(size("depth"))),
    )
    _check_sizes(config, checkpoint, place)
    return config


def read_patch_spec(checkpoint: Checkpoint, config: VisionConfig) -> PatchSpec:
    """How the checkpoint's image processor cuts pictures, and the token that stands for a patch.

    Raises:
        ModelError: The image processor's configuration is missing, does not fit `config`, or does
            something else than resize, rescale and normalise; the token is missing.
    """
    found, place = read_preprocessor(checkpoint.folder)
    record = {**_PREPROCESSOR, **found}
    _refuse_other_steps(record, place)
    sizes = {name: read_size(record, name, place) for name in _PREPROCESSOR if "size" in name}
    for name, size in sizes.items():
        if size != getattr(config, name):
            raise ModelError(
                f"{place} has {name} {size}; expected {getattr(config, name)}, as config.json"
            )
    least, most = _read_pixels(record, place)
    config_place = f"{checkpoint.folder}/config.json"
    return PatchSpec(
        token=read_size(checkpoint.config, "image_token_id", config_place),
        **sizes,
        min_pixels=least,
        max_pixels=most,
        mean=read_channels(record, "image_mean", place),
        std=read_channels(record, "image_std", place),
        window_size=config.window_size,
    )


def _refuse_unknown(vision: Mapping[str, Any], place: str, *, activation: str) -> None:
    if vision["hidden_act"] != activation:
        found = vision["hidden_act"]
        raise ModelError(f"{place} has hidden_act {found!r}; expected {activation!r}")
    channels = vision.get("in_channels", vision.get("in_chans", _CHANNELS))
    if channels != _CHANNELS:
        raise ModelError(f"{place} has {channels} channels; expected {_CHANNELS}")


def _mlp_width(vision: Mapping[str, Any], width: int, place: str) -> int:
    ratio = vision["mlp_ratio"]
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or int(width * ratio) < 1:
        raise ModelError(f"{place} has mlp_ratio {ratio!r}; expected a positive number")
    return int(width * ratio)


def _full_layers(vision: Mapping[str, Any], place: str) -> frozenset[int]:
    layers = vision["fullatt_block_indexes"]
    depth = read_size(vision, "depth", place)
    if not isinstance(layers, list) or not all(layer in range(depth) for layer in layers):
        raise ModelError(
            f"{place} has fullatt_block_indexes {layers!r}; expected a list of layers below {depth}"
        )
    return frozenset(layers)


def _read_theta(vision: Mapping[str, Any], place: str) -> float:
    rope = vision.get("rope_parameters") or {}
    kind, theta = rope.get("rope_type", "axial"), rope.get("rope_theta", _THETA)
    if kind != "axial":
        raise ModelError(f"{place} has the rope type {kind!r}; expected 'axial'")
    if not isinstance(theta, int | float) or theta <= 0:
        raise ModelError(f"{place} has rope_theta {theta!r}; expected a positive number")
    return float(theta)


def _check_sizes(config: VisionConfig, checkpoint: Checkpoint, place: str) -> None:
    """What sizes mean for one another."""
    heads = config.num_heads
    if config.width % heads or config.head_dim % 4:
        raise ModelError(
            f"{place} has a width of {config.width} in {heads} heads; expected heads whose width "
            "is a multiple of 4, as rows and columns turn pairs"
        )
    unit = config.patch_size * config.merge_size
    if config.is_windowed and config.window_size < unit:
        raise ModelError(
            f"{place} has window_size {config.window_size}; expected at least a token's side, "
            f"{unit}"
        )
    hidden = checkpoint.hidden_size
    if config.output_width != hidden:
        raise ModelError(
            f"{place} makes states of width {config.output_width}; expected {hidden}, the "
            "decoder's hidden_size"
        )


def read_preprocessor(folder: Path) -> tuple[Mapping[str, Any], str]:
    """The image processor's record and where it lies; transformers 5 saves all processors as one.

    A file of its own has the say where there are both, as in transformers.

    Raises:
        ModelError: There is none, or it cannot be read.
    """
    for name, part in (
        ("preprocessor_config.json", None),
        ("processor_config.json", "image_processor"),
    ):
        path = folder / name
        if not path.is_file():
            continue
        whole = read_json(path)
        record = whole.get(part) if part else whole
        if not isinstance(record, dict):
            raise ModelError(f"{path} holds no object{f' {part}' if part else ''}")
        return record, str(path)
    raise ModelError(
        f"{folder / 'preprocessor_config.json'} is missing; expected an image processor"
    )


def _refuse_other_steps(record: Mapping[str, Any], place: str) -> None:
    for name in ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb"):
        if record.get(name, True) is not True:
            raise ModelError(f"{place} has {name} {record[name]!r}; expected true")
    for name, expected in (("resample", _BICUBIC), ("rescale_factor", _EIGHT_BITS)):
        found = record.get(name, expected)
        if found != expected:
            raise ModelError(f"{place} has {name} {found!r}; expected {expected!r}")


def _read_pixels(record: Mapping[str, Any], place: str) -> tuple[int, int]:
    """Least and most pixels; the older names have the say where there are both, as upstream."""
    size = record.get("size") or _PIXELS
    if not isinstance(size, dict):
        raise ModelError(f"{place} has size {size!r}; expected shortest_edge and longest_edge")
    edges = {
        "shortest_edge": record.get("min_pixels") or size.get("shortest_edge"),
        "longest_edge": record.get("max_pixels") or size.get("longest_edge"),
    }
    least, most = (read_size(edges, edge, place) for edge in edges)
    if least > most:
        raise ModelError(f"{place} asks for {least} to {most} pixels; expected the least first")
    return least, most


def read_channels(record: Mapping[str, Any], name: str, place: str) -> tuple[float, float, float]:
    """The numbers `name` of the three channels; `image_std` is above 0.

    Raises:
        ModelError: They are something else; the message begins with `place`.
    """
    values = record.get(name)
    if (
        not isinstance(values, list)
        or len(values) != _CHANNELS
        or not all(isinstance(value, int | float) for value in values)
        or (name == "image_std" and min(values) <= 0)
    ):
        raise ModelError(f"{place} has {name} {values!r}; expected three numbers, std above 0")
    red, green, blue = values
    return float(red), float(green), float(blue)
