"""The sizes of a decoder, read from a checkpoint; what our graphs cannot express is refused."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from similar_fast.errors import ModelError

from similar_fast_export.checkpoint import Checkpoint, read_size

__all__ = ["DecoderConfig", "inverse_frequencies", "read_decoder_config", "read_layer_sizes"]

_ROPE_TYPES = {"default", "mrope"}


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """A decoder in the manner of Llama: RMS norms, rotary positions, grouped heads, a gated MLP.

    Attributes:
        hidden_size: Width of a token's state.
        intermediate_size: Width within the MLP.
        num_layers: Layers, those of cross-attention counted.
        num_heads: Heads of the queries; a multiple of `num_kv_heads`.
        num_kv_heads: Heads of the keys and values.
        head_dim: Width of one head; even.
        vocab_size: Rows of the word table.
        epsilon: Added to the mean square in a norm.
        frequencies: Radians a position, one for each pair of a head: `[head_dim / 2]`.
        sections: How many of the pairs belong to time, row and column (M-RoPE); empty where a
            position is one number.
        has_bias: Whether the products that make queries, keys and values add a bias.
        image_token: The token whose state comes from the picture; None where there is none.
        max_positions: Rows of the table of positions; 0 where positions are rotations.
    """

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    epsilon: float
    frequencies: tuple[float, ...]
    sections: tuple[int, ...] = ()
    has_bias: bool = True
    image_token: int | None = None
    max_positions: int = 0

    @property
    def position_axes(self) -> int:
        """First size of `position_ids`."""
        return len(self.sections) or 1

    @property
    def axis_frequencies(self) -> NDArray[np.float32]:
        """`[position_axes, head_dim / 2]`: a pair's frequency in its own axis, 0 in the others."""
        pairs = len(self.frequencies)
        axis = np.repeat(np.arange(self.position_axes), self.sections or (pairs,))
        table = np.zeros((self.position_axes, pairs), np.float32)
        table[axis, np.arange(pairs)] = self.frequencies
        return table


def inverse_frequencies(theta: float, head_dim: int) -> NDArray[np.float32]:
    """theta^(-2i / head_dim) for each pair i, radians a position, in float32 as it was trained.

    Source: Su et al. 2021, "RoFormer", section 3.2.2.
    """
    exponents = np.arange(0, head_dim, 2).astype(np.float32) / np.float32(head_dim)
    return np.float32(1) / np.float32(theta) ** exponents


def read_decoder_config(checkpoint: Checkpoint) -> DecoderConfig:
    """The decoder of a qwen2, qwen2_vl or qwen2_5_vl checkpoint.

    Raises:
        ModelError: A size is missing or impossible, or the decoder has something that our graph
            has not: a sliding window, scaled positions, another activation.
    """
    record, text = checkpoint.config, checkpoint.text_config
    place = f"{checkpoint.folder}/config.json"
    config = read_layer_sizes(text, place)
    is_visual = checkpoint.family != "qwen2"
    theta, sections = _read_rope(text, place, has_sections=is_visual)
    if sections and sum(sections) != config.head_dim // 2:
        raise ModelError(
            f"{place} has mrope_section {sections}; expected a sum of {config.head_dim // 2}"
        )
    return replace(
        config,
        frequencies=tuple(inverse_frequencies(theta, config.head_dim).tolist()),
        sections=sections,
        image_token=read_size(record, "image_token_id", place) if is_visual else None,
    )


def read_layer_sizes(
    text: Mapping[str, Any], place: str, *, epsilon: float = 1e-6
) -> DecoderConfig:
    """The sizes that all decoders name alike; frequencies and what else differs are left out.

    Args:
        text: The configuration's part on text.
        place: What messages begin with.
        epsilon: Of the norms, where the configuration does not say it.

    Raises:
        ModelError: As `read_decoder_config`; the message begins with `place`.
    """
    _refuse_unknown(text, place)
    hidden, heads = (
        read_size(text, name, place) for name in ("hidden_size", "num_attention_heads")
    )
    config = DecoderConfig(
        hidden_size=hidden,
        intermediate_size=read_size(text, "intermediate_size", place),
        num_layers=read_size(text, "num_hidden_layers", place),
        num_heads=heads,
        num_kv_heads=read_size(text, "num_key_value_heads", place),
        head_dim=text.get("head_dim") or hidden // heads,
        vocab_size=read_size(text, "vocab_size", place),
        epsilon=float(text.get("rms_norm_eps", epsilon)),
        frequencies=(),
    )
    if config.num_heads % config.num_kv_heads or config.head_dim % 2:
        raise ModelError(
            f"{place} has {heads} heads over {config.num_kv_heads} of width {config.head_dim}; "
            "expected a multiple and an even width"
        )
    return config


def _refuse_unknown(text: Mapping[str, Any], place: str) -> None:
    activation = text.get("hidden_act", "silu")
    if activation != "silu":
        raise ModelError(f"{place} has hidden_act {activation!r}; expected 'silu'")
    windowed = "sliding_attention" in (text.get("layer_types") or ())
    if text.get("use_sliding_window") or windowed:
        raise ModelError(f"{place} uses a sliding window; expected attention to every token")
    if text.get("quantization_config"):
        raise ModelError(f"{place} has a quantization_config; expected plain weights")


def _read_rope(
    text: Mapping[str, Any], place: str, *, has_sections: bool
) -> tuple[float, tuple[int, ...]]:
    """The base of the frequencies, and the sections; both layouts of the configuration."""
    rope = {**(text.get("rope_scaling") or {}), **(text.get("rope_parameters") or {})}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in _ROPE_TYPES:
        raise ModelError(f"{place} has the rope type {kind!r}; expected 'default' or 'mrope'")
    theta = rope.get("rope_theta", text.get("rope_theta"))
    if not isinstance(theta, int | float) or theta <= 0:
        raise ModelError(f"{place} has rope_theta {theta!r}; expected a positive number")
    if not has_sections:
        return float(theta), ()
    sections = rope.get("mrope_section")
    if not isinstance(sections, list) or len(sections) != 3:
        raise ModelError(f"{place} has mrope_section {sections!r}; expected three numbers")
    return float(theta), tuple(int(size) for size in sections)
