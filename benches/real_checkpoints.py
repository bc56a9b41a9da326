"""Random qwen2_vl checkpoints of the published sizes, written piece by piece in bfloat16.

They show memory, speed and parity; they judge nothing. Matrices are N(0, 1 / inputs), so states
keep their size through all layers; word tables and biases are N(0, 1) and N(0, 0.1^2), norms 1.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prompt_checkpoints import QWEN_CONTROLS, save_checkpoint

__all__ = ["SIZES", "Size", "write_real"]

PIECE = 1 << 22  # numbers drawn at a time
SHARD_BYTES = 10**9
ITEM = 2  # bytes of a bfloat16


@dataclass(frozen=True, slots=True)
class Size:
    """What tells the sizes of one architecture apart.

    Attributes:
        hidden: Width of a token's state.
        inner: Width within the decoder's MLP.
        layers: Of the decoder.
        heads: Of the queries.
        kv_heads: Of the keys and values.
        vocabulary: Rows of the word table.
        is_tied: Whether the checkpoint has no output table of its own.
        vision_width: Of a patch's state.
        vision_layers: Blocks of the tower.
        vision_heads: Of the tower.
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    is_tied: bool
    vision_width: int = 1280
    vision_layers: int = 32
    vision_heads: int = 16

    @property
    def mrope_section(self) -> list[int]:
        """Pairs of a head that follow time, row and column: 2 : 3 : 3, as published."""
        pairs = self.hidden // self.heads // 2
        rows = pairs * 3 // 8
        return [pairs - 2 * rows, rows, rows]


SIZES = {
    "2b": Size(1536, 8960, 28, 12, 2, 151936, is_tied=True),
    "7b": Size(3584, 18944, 28, 28, 4, 152064, is_tied=False),
    "tiny": Size(
        64, 96, 3, 4, 2, 704, is_tied=True, vision_width=32, vision_layers=2, vision_heads=2
    ),
}
"""Qwen2-VL-2B, Qwen2-VL-7B, and one that is made in a moment."""


def write_real(folder: Path, size: Size, *, seed: int = 0, shard_bytes: int = SHARD_BYTES) -> int:
    """Writes a checkpoint of `size` into `folder`; returns the bytes of its tensors.

    One that is whole already is left as it is: its index is what is written last.

    Args:
        folder: The folder to fill; it may exist.
        size: The sizes.
        seed: Of the weights.
        shard_bytes: Most bytes of a file, unless one tensor alone is larger.
    """
    index_path = folder / "model.safetensors.index.json"
    if index_path.exists():
        return int(json.loads(index_path.read_text("utf-8"))["metadata"]["total_size"])
    save_checkpoint(folder, "qwen2_vl")
    (folder / "config.json").write_text(json.dumps(config_of(size), indent=2), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(PICTURES), encoding="utf-8")
    shards = list(_shards(dict(tensor_shapes(size)), shard_bytes))
    rng = np.random.default_rng(seed)
    weight_map = {}
    for number, shapes in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_shard(folder / name, shapes, rng)
        weight_map |= dict.fromkeys(shapes, name)
    total = sum(_num_bytes(shape) for shapes in shards for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    index_path.write_text(json.dumps(index), encoding="utf-8")
    return total


PICTURES = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 14,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
"""`preprocessor_config.json`, as published."""


def config_of(size: Size) -> dict[str, object]:
    """`config.json` as published, with the tokens of the small tokenizer."""
    control = QWEN_CONTROLS.index
    return {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": size.hidden,
        "intermediate_size": size.inner,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "vocab_size": size.vocabulary,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "rope_scaling": {"type": "mrope", "mrope_section": size.mrope_section},
        "tie_word_embeddings": size.is_tied,
        "use_sliding_window": False,
        "image_token_id": control("<|image_pad|>"),
        "video_token_id": control("<|video_pad|>"),
        "vision_start_token_id": control("<|vision_start|>"),
        "vision_end_token_id": control("<|vision_end|>"),
        "vision_config": {
            "depth": size.vision_layers,
            "embed_dim": size.vision_width,
            "num_heads": size.vision_heads,
            "hidden_size": size.hidden,
            "mlp_ratio": 4,
            "in_chans": 3,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    }


def tensor_shapes(size: Size) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor by its published name."""
    yield "model.embed_tokens.weight", (size.vocabulary, size.hidden)
    kv = size.hidden // size.heads * size.kv_heads
    for layer in range(size.layers):
        stem = f"model.layers.{layer}"
        for kind, outputs in (("q", size.hidden), ("k", kv), ("v", kv)):
            yield f"{stem}.self_attn.{kind}_proj.weight", (outputs, size.hidden)
            yield f"{stem}.self_attn.{kind}_proj.bias", (outputs,)
        yield f"{stem}.self_attn.o_proj.weight", (size.hidden, size.hidden)
        for kind in ("gate", "up"):
            yield f"{stem}.mlp.{kind}_proj.weight", (size.inner, size.hidden)
        yield f"{stem}.mlp.down_proj.weight", (size.hidden, size.inner)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{stem}.{norm}.weight", (size.hidden,)
    yield "model.norm.weight", (size.hidden,)
    if not size.is_tied:
        yield "lm_head.weight", (size.vocabulary, size.hidden)
    yield from _vision_shapes(size)


def _vision_shapes(size: Size) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = size.vision_width
    yield "visual.patch_embed.proj.weight", (width, 3, 2, 14, 14)
    for layer in range(size.vision_layers):
        stem = f"visual.blocks.{layer}"
        for name, outputs, inputs in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            yield f"{stem}.{name}.weight", (outputs, inputs)
            yield f"{stem}.{name}.bias", (outputs,)
        for norm in ("norm1", "norm2"):
            yield f"{stem}.{norm}.weight", (width,)
            yield f"{stem}.{norm}.bias", (width,)
    yield "visual.merger.ln_q.weight", (width,)
    yield "visual.merger.ln_q.bias", (width,)
    for name, outputs in (("mlp.0", 4 * width), ("mlp.2", size.hidden)):
        yield f"visual.merger.{name}.weight", (outputs, 4 * width)
        yield f"visual.merger.{name}.bias", (outputs,)


def _num_bytes(shape: tuple[int, ...]) -> int:
    return math.prod(shape) * ITEM


def _shards(
    shapes: dict[str, tuple[int, ...]], shard_bytes: int
) -> Iterator[dict[str, tuple[int, ...]]]:
    shard: dict[str, tuple[int, ...]] = {}
    taken = 0
    for name, shape in shapes.items():
        if shard and taken + _num_bytes(shape) > shard_bytes:
            yield shard
            shard, taken = {}, 0
        shard[name] = shape
        taken += _num_bytes(shape)
    yield shard


def _write_shard(path: Path, shapes: dict[str, tuple[int, ...]], rng: np.random.Generator) -> None:
    """One safetensors file; what is in memory is one piece of a tensor."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + _num_bytes(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the data to 8 bytes
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            for piece in _pieces(name, shape, rng):
                piece.tofile(stream)


def _pieces(
    name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> Iterator[NDArray[np.uint16]]:
    count = math.prod(shape)
    is_norm = "norm" in name or "ln_q" in name
    if len(shape) > 1:
        scale = 1.0 if "embed_tokens" in name else math.prod(shape[1:]) ** -0.5
    else:
        scale = 0.0 if is_norm else 0.1
    middle = 1.0 if is_norm and name.endswith("weight") else 0.0
    for start in range(0, count, PIECE):
        draws = rng.standard_normal(min(PIECE, count - start), np.float32)
        yield _bfloat16(draws * np.float32(scale) + np.float32(middle))


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves, rounded half up in magnitude; the draws are finite."""
    return ((values.view(np.uint32) + 0x8000) >> 16).astype("<u2")
