"""`similar.json`: what an export wrote into a model's folder and what the runtime expects there."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from similar_fast.errors import ModelError

__all__ = [
    "CARD_NAME",
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "DecoderSpec",
    "EmbeddingSpec",
    "Family",
    "HeadsSpec",
    "Manifest",
    "ModelFile",
    "PatchSpec",
    "Piece",
    "PromptSpec",
    "RewardSpec",
    "TileSpec",
    "describe_file",
    "kv_bytes_per_token",
    "read_manifest",
    "write_manifest",
]

MANIFEST_NAME = "similar.json"
"""The manifest's name in a model's folder."""

CARD_NAME = "README.md"
"""The model card's name, there and in a checkpoint's folder."""

FORMAT_VERSION = 2
"""The one format that this version of the package reads and writes."""

Family = Literal["bert-embedding", "bert", "qwen2", "qwen2_vl", "qwen2_5_vl", "mllama"]
"""The families that this version of the package can run."""

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Token = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model's folder.

    Attributes:
        name: Its name in the folder; a plain name, no path.
        size: Bytes.
        sha256: Its digest, 64 lower-case hexadecimal digits.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class EmbeddingSpec:
    """How an encoder turns a text into a vector.

    Attributes:
        pooling: How token states become one vector: `mean` over the tokens of the attention mask.
        is_normalized: Whether the graph divides that vector by its length.
    """

    pooling: Literal["mean"]
    is_normalized: bool


@dataclass(frozen=True, slots=True)
class DecoderSpec:
    """The interface of `decoder.onnx`.

    Attributes:
        layers: The self-attention layers, by the checkpoint's count: i of `past.i.key`.
        cross_layers: The layers that attend to the picture: j of `cross.j.key`; mllama only.
        num_kv_heads: Heads of the keys and values.
        head_dim: Width of one head.
        kv_dtype: Type of keys and values, and of `image_embeds`.
        position_axes: First size of `position_ids`: 3 for M-RoPE (time, row, column), else 1.
        attention: `causal`, or `prefix`: the prefix sees the whole prefix, a suffix sees the prefix
            and the whole of itself.
    """

    layers: tuple[int, ...]
    num_kv_heads: _Count
    head_dim: _Count
    kv_dtype: Literal["float32", "float16"]
    position_axes: Literal[1, 3] = 1
    attention: Literal["causal", "prefix"] = "causal"
    cross_layers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a prompt; exactly one of the first three says what it is.

    Attributes:
        token: A control token's id.
        text: Literal text.
        field: What the step fills in: `instruction`, `observation`, `history`, `action`, or
            `image`, which stands for the picture's tokens.
        needs_image: Whether the piece is left out of a prompt that has no picture.
    """

    token: _Token | None = None
    text: str | None = None
    field: Literal["instruction", "observation", "history", "action", "image"] | None = None
    needs_image: bool = False


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """How a step becomes a prompt, see `similar_fast.prompts`.

    Attributes:
        layout: Whether the screen or the history comes first in the user's turn.
        prefix: What all candidates of a state share; ends with a control token.
        suffix: The candidate's own part.
        gate_offset: Which token of the prefix the gate reads, as Python counts: -1 is the last, 0
            the first.
        max_history: How many of the last actions stand in a prompt; None for all that fit.
        marks_overlap: Whether quoted names say what they have in common with the instruction, see
            `similar_fast.prompts.overlap`.
    """

    layout: Literal["screen-first", "history-first"]
    prefix: tuple[Piece, ...]
    suffix: tuple[Piece, ...]
    gate_offset: int = -1
    max_history: _Count | None = None
    marks_overlap: bool = False


@dataclass(frozen=True, slots=True)
class PatchSpec:
    """How the Qwen families cut a picture into patches, at its own aspect ratio.

    Attributes:
        token: The token that stands for one merged patch in a prompt.
        patch_size: Side of a patch in pixels.
        merge_size: Patches a side that become one token.
        temporal_patch_size: Frames in a patch; a still picture is repeated.
        min_pixels: Least pixels after the resize.
        max_pixels: Most pixels after the resize.
        mean: Of the channels, in [0, 1].
        std: Of the channels.
        window_size: Side of an attention window in pixels; 0 where attention sees all (qwen2_vl).
    """

    token: _Token
    patch_size: _Count
    merge_size: _Count
    temporal_patch_size: _Count
    min_pixels: _Count
    max_pixels: _Count
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    window_size: int = 0


@dataclass(frozen=True, slots=True)
class TileSpec:
    """How mllama lays a picture over square tiles.

    Attributes:
        token: The token that stands for the picture in a prompt.
        tile_size: Side of a tile in pixels.
        max_tiles: Most tiles of a picture.
        tokens_per_tile: Vision states of a tile, its class token counted.
        mean: Of the channels, in [0, 1].
        std: Of the channels.
    """

    token: _Token
    tile_size: _Count
    max_tiles: _Count
    tokens_per_tile: _Count
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class HeadsSpec:
    """What `heads.onnx` was made from.

    Attributes:
        is_gated: Whether the total is gated (Similar-TM) or the plain sum (Similar-RL).
        label_scales: What the labels of the five dimensions were multiplied by for training.
        is_random: Whether the heads were drawn at random: good for speed and parity, no quality.
        lexical_prior: What the lexical overlap of a step counts in its task relevance, see
            `similar_fast.reward.lexical_prior`; 0 for nothing.
    """

    is_gated: bool
    label_scales: tuple[float, float, float, float, float]
    is_random: bool = False
    lexical_prior: Annotated[float, msgspec.Meta(ge=0)] = 0.0


@dataclass(frozen=True, slots=True)
class RewardSpec:
    """A reward model's parts.

    Attributes:
        decoder: The decoder's interface.
        prompt: How a step becomes a prompt.
        heads: Where the heads came from.
        patches: How pictures are cut; the Qwen families with vision.
        tiles: How pictures are cut; mllama.
    """

    decoder: DecoderSpec
    prompt: PromptSpec
    heads: HeadsSpec
    patches: PatchSpec | None = None
    tiles: TileSpec | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is and which files it is made of.

    Attributes:
        family: Which graphs and prompts belong together.
        hidden_size: Width of a token's state.
        max_positions: Longest input in tokens, the special ones counted.
        dtype: How the weights are stored, in words.
        license: SPDX identifier of the weights' licence.
        source: Where the weights come from.
        files: Every file of the folder but the manifest.
        embedding: An embedding model's facts; None for a reward model.
        reward: A reward model's facts; None for an embedding model.
        versions: Version of each tool that took part in the export.
        checks: What the export measured, by name.
        format_version: The format of the manifest itself.
    """

    family: Family
    hidden_size: _Count
    max_positions: _Count
    dtype: str
    license: str
    source: str
    files: tuple[ModelFile, ...]
    embedding: EmbeddingSpec | None = None
    reward: RewardSpec | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, float] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def fingerprint(self) -> str:
        """32 hex characters, equal for models that score alike.

        What the export measured, and when, is left out, and so is what a card says.
        """
        files = tuple(file for file in self.files if file.name != CARD_NAME)
        what = asdict(replace(self, source="", license="", versions={}, checks={}, files=files))
        return hashlib.blake2b(
            json.dumps(what, sort_keys=True).encode(), digest_size=16
        ).hexdigest()


def read_manifest(folder: str | Path, *, verify: bool = True) -> Manifest:
    """The checked manifest of the model in `folder`.

    Presence and size of each file are always checked. Files that the manifest does not name are
    left alone, and a file may be a link to somewhere else, as in a hub's cache: what counts is
    what is read through it.

    Args:
        folder: The model's folder.
        verify: Whether to read every file and compare its sha256; O(bytes).

    Raises:
        ModelError: There is no manifest; it is no JSON of this format; its format is another or its
            family unknown; a file's name is not a plain one; a file is missing or altered.
    """
    folder = Path(folder)
    path = folder / MANIFEST_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError as err:
        raise ModelError(f"{folder} holds no {MANIFEST_NAME}; expected an exported model") from err
    except OSError as err:
        raise ModelError(f"{path} cannot be read: {err}") from err
    manifest = _parse(text, path)
    for file in manifest.files:
        _check_file(folder / file.name, file, verify=verify)
    return manifest


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Writes `manifest` into `folder`; the same manifest gives the same bytes.

    Raises:
        ModelError: `read_manifest` would refuse it.
    """
    path = Path(folder) / MANIFEST_NAME
    text = json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n"
    _parse(text.encode(), path)
    path.write_text(text, encoding="utf-8")


def describe_file(path: str | Path) -> ModelFile:
    """Name, size and sha256 of the file at `path`, read in pieces."""
    path = Path(path)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return ModelFile(path.name, os.fstat(stream.fileno()).st_size, digest)


def kv_bytes_per_token(decoder: DecoderSpec) -> int:
    """Bytes of one token's keys and values, over all layers."""
    width = np.dtype(decoder.kv_dtype).itemsize * decoder.num_kv_heads * decoder.head_dim
    return 2 * len(decoder.layers) * width


def _check_file(path: Path, expected: ModelFile, *, verify: bool) -> None:
    try:
        size = path.stat().st_size
        if size != expected.size:
            raise ModelError(f"{path} holds {size} bytes; expected {expected.size}")
        found = describe_file(path).sha256 if verify else expected.sha256
    except FileNotFoundError as err:
        raise ModelError(f"{path} is missing; {MANIFEST_NAME} names it") from err
    except OSError as err:
        raise ModelError(f"{path} cannot be read: {err}") from err
    if found != expected.sha256:
        raise ModelError(f"{path} was altered: its sha256 is {found}; expected {expected.sha256}")


@dataclass(frozen=True, slots=True)
class _Header:
    """What is read first: whether the rest can be."""

    format_version: int


def _parse(text: bytes, path: Path) -> Manifest:
    try:
        version = msgspec.json.decode(text, type=_Header).format_version
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{path} has format_version {version}; this version of similar-fast reads "
                f"{FORMAT_VERSION}"
            )
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise ModelError(f"{path} is no manifest: {err}") from err
    _check_parts(manifest, path)
    return manifest


def _check_parts(manifest: Manifest, path: Path) -> None:
    """What the types alone do not say."""
    is_embedding = manifest.family == "bert-embedding"
    found = manifest.embedding if is_embedding else manifest.reward
    if found is None:
        part = "embedding" if is_embedding else "reward"
        raise ModelError(f"{path} has the family {manifest.family!r} and no part {part!r}")
    for file in manifest.files:
        if not _is_plain_name(file.name):
            raise ModelError(
                f"{path} names the file {file.name!r}; expected a plain name in its folder"
            )
    if manifest.reward is not None:
        _check_reward(manifest.family, manifest.reward, path)


def _check_reward(family: str, reward: RewardSpec, path: Path) -> None:
    patches, tiles = reward.patches is not None, reward.tiles is not None
    if (patches, tiles) != (family in {"qwen2_vl", "qwen2_5_vl"}, family == "mllama"):
        raise ModelError(f"{path} has patches: {patches}, tiles: {tiles}; not as {family} has them")
    if bool(reward.decoder.cross_layers) != (family == "mllama"):
        raise ModelError(f"{path} has cross_layers {reward.decoder.cross_layers} in {family}")
    for piece in (*reward.prompt.prefix, *reward.prompt.suffix):
        if sum(x is not None for x in (piece.token, piece.text, piece.field)) != 1:
            raise ModelError(f"{path} has {piece}; expected one of token, text and field")


def _is_plain_name(name: str) -> bool:
    """Whether `name` is one part of a path on every platform, drives and backslashes included."""
    return bool(name) and name not in {".", ".."} and not set(name) & set("/\\:\0")
