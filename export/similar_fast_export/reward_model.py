"""Makes the folder of a reward model from a checkpoint and its heads.

A family is a line of `_BACKBONES`: which graphs it has and who builds them.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from similar_fast.errors import ModelError
from similar_fast.models.heads import HEADS_WEIGHTS_NAME, random_heads
from similar_fast.models.manifest import (
    CARD_NAME,
    DecoderSpec,
    HeadsSpec,
    Manifest,
    PatchSpec,
    RewardSpec,
    TileSpec,
    describe_file,
    write_manifest,
)
from similar_fast.models.runtime import onnxruntime_distributions
from similar_fast.prompts.settings import PromptSettings, read_prompt

from similar_fast_export.bert_prefix import build_bert
from similar_fast_export.chat_template import bert_prompt_spec, prompt_spec
from similar_fast_export.checkpoint import Checkpoint, copy_companions
from similar_fast_export.decoder import build_decoder
from similar_fast_export.graph import Dtype
from similar_fast_export.heads import build_heads
from similar_fast_export.mllama import build_mllama
from similar_fast_export.progress import Meter, Watch
from similar_fast_export.reference import check_installed
from similar_fast_export.scratch import scratch_beside
from similar_fast_export.verify import MAX_STATES, check_ranks, check_scores, read_states
from similar_fast_export.vision_qwen import build_vision

__all__ = ["DTYPES", "ExportOptions", "dtype_words", "export_reward_model"]

DTYPES: dict[Dtype, str] = {
    "fp32": "float32",
    "fp16": "float16, sums in float32",
    "int8": "int8 weights, one float scale for 32 of them; tables float16, the rest float32",
    "int4": "int4 weights, one float scale for 32 of them; tables float16, the rest float32",
}
"""How the weights can be stored, and the manifest's words for it; `dtype_words` knows more."""

_UNPACKED_INT8 = "int8 weights, one float scale for 64 of them (for a row of a table); rest float32"
"""The same for a build whose int8 weights become float32 when a session opens."""

_QUANTISED = {"int8", "int4"}
_VISUAL = {"qwen2_vl", "qwen2_5_vl", "mllama"}
_TOOLS = ("numpy", "onnx", "safetensors", "similar-fast", "tokenizers")

Report = Callable[[str], None]
"""Told in words what comes next."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a checkpoint is exported.

    Attributes:
        heads: A file of heads in safetensors; None for `heads.safetensors` of the checkpoint.
        random_heads: A seed, at least 0, to draw heads from instead; they show speed and parity,
            no quality.
        dtype: How weights are stored.
        prompt: How a step is put to the backbone; None for what the checkpoint says of itself, or,
            where it says nothing, the published way.
        name: What the model is called where it was published.
        license_id: SPDX identifier of the weights' licence.
        inputs: JSON lines of steps that a quantised build is compared on, packed or not; None for
            our own.
        max_states: How many of their states at most, at least 1.
        verify: Whether to compare with transformers.
        seed: Of the steps that `verify` draws, at least 0.
    """

    heads: Path | None = None
    random_heads: int | None = None
    dtype: Dtype = "fp32"
    prompt: PromptSettings | None = None
    name: str | None = None
    license_id: str = "unknown"
    inputs: Path | None = None
    max_states: int = MAX_STATES
    verify: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Backbone:
    decoder: DecoderSpec
    patches: PatchSpec | None = None
    tiles: TileSpec | None = None


def _text(checkpoint: Checkpoint, folder: Path, dtype: Dtype) -> _Backbone:
    return _Backbone(build_decoder(checkpoint, folder, dtype))


def _qwen_vision(checkpoint: Checkpoint, folder: Path, dtype: Dtype) -> _Backbone:
    patches = build_vision(checkpoint, folder, dtype)
    return _Backbone(build_decoder(checkpoint, folder, dtype), patches=patches)


def _mllama(checkpoint: Checkpoint, folder: Path, dtype: Dtype) -> _Backbone:
    decoder, tiles = build_mllama(checkpoint, folder, dtype)
    return _Backbone(decoder, tiles=tiles)


def _bert(checkpoint: Checkpoint, folder: Path, dtype: Dtype) -> _Backbone:
    return _Backbone(build_bert(checkpoint, folder, dtype))


_BACKBONES: dict[str, Callable[[Checkpoint, Path, Dtype], _Backbone]] = {
    "qwen2": _text,
    "qwen2_vl": _qwen_vision,
    "qwen2_5_vl": _qwen_vision,
    "mllama": _mllama,
    "bert": _bert,
}


def export_reward_model(
    checkpoint: Path,
    out: Path,
    options: ExportOptions,
    *,
    report: Report = lambda _: None,
    watch: Watch = lambda _: None,
) -> Manifest:
    """Writes the model of `checkpoint` to the new folder `out` and returns its manifest.

    The folder appears whole or not at all. The same source and tools give the same bytes. Weights
    are read, changed and written one by one. What can be refused early, is: the weights come last.

    Args:
        checkpoint: A Hugging Face folder: `config.json`, safetensors, `tokenizer.json`.
        out: The folder to make.
        options: How.
        report: Told what comes next.
        watch: Told how much of the weights was read, after each tensor.

    Raises:
        FileExistsError: `out` exists.
        ModelError: The checkpoint or the heads are missing, broken or of a kind that cannot be
            exported; a quantised build orders actions too differently; `verify` found too large
            an error.
        DataError: A row of `inputs` is broken.
        ModuleNotFoundError: `verify` was asked for and torch or transformers is not installed.
        ValueError: A seed is negative, heads are both named and drawn, or `inputs` are named for a
            build that is not quantised.
    """
    _check_options(options)
    with scratch_beside(out) as scratch:
        source = Checkpoint(checkpoint)
        folder = scratch / "model"
        checks: dict[str, float] = {}
        if options.dtype in _QUANTISED:
            states = read_states(
                options.inputs,
                has_vision=source.family in _VISUAL,
                max_states=options.max_states,
            )
            manifest = _write(source, folder, options, report, watch)
            whole = scratch / "float32"
            _write(source, whole, replace(options, dtype="fp32"), report, watch)
            report("comparing with float32")
            checks |= check_ranks(folder, whole, states)
            shutil.rmtree(whole)
        else:
            manifest = _write(source, folder, options, report, watch)
        if options.verify:
            report("comparing with transformers")
            checks |= check_scores(folder, checkpoint, dtype=options.dtype, seed=options.seed)
        manifest = replace(manifest, checks=checks)
        write_manifest(folder, manifest)
        folder.replace(out)
    return manifest


def _check_options(options: ExportOptions) -> None:
    seeds = {"random_heads": options.random_heads or 0, "seed": options.seed}
    for name, seed in seeds.items():
        if seed < 0:
            raise ValueError(f"{name} is {seed}; expected a seed of at least 0")
    if options.heads is not None and options.random_heads is not None:
        raise ValueError(f"heads are {options.heads} and drawn at random; expected one of the two")
    if options.inputs is not None and options.dtype not in _QUANTISED:
        raise ValueError(
            f"inputs are {options.inputs} and the dtype is {options.dtype}; expected int8 or int4, "
            "which alone are compared on them"
        )
    if options.verify:
        check_installed()


def _write(
    source: Checkpoint, folder: Path, options: ExportOptions, report: Report, watch: Watch
) -> Manifest:
    """One folder with its manifest, nothing measured yet."""
    family = source.family
    folder.mkdir()
    heads = _write_heads(source, folder, options)
    _copy_files(source.folder, folder)
    report(f"writing {options.dtype} graphs")
    meter = Meter(folder, source.num_bytes, watch)
    try:
        backbone = _BACKBONES[family](source.watched(meter.advance), folder, options.dtype)
    except (AttributeError, KeyError, OverflowError, TypeError) as err:
        # What a configuration holds can be anything; each reader checks what it needs most.
        raise ModelError(
            f"{source.folder}/config.json or a preprocessor's cannot be understood: {err}"
        ) from err
    vision = backbone.patches or backbone.tiles
    asked = options.prompt or read_prompt(source.folder) or PromptSettings()
    if family == "bert":
        prompt = bert_prompt_spec(source.folder, asked.layout)
    else:
        token = vision.token if vision else None
        prompt = prompt_spec(source.folder, asked.layout, image_token=token)
    prompt = replace(prompt, max_history=asked.max_history, marks_overlap=asked.marks_overlap)
    manifest = Manifest(
        family=family,  # type: ignore[arg-type]  # a key of _BACKBONES
        hidden_size=source.hidden_size,
        max_positions=source.max_positions,
        dtype=dtype_words(options.dtype, family),
        license=options.license_id,
        source=options.name or source.folder.resolve().name,
        files=tuple(describe_file(path) for path in sorted(folder.iterdir())),
        reward=RewardSpec(backbone.decoder, prompt, heads, backbone.patches, backbone.tiles),
        versions=_versions(),
    )
    write_manifest(folder, manifest)
    return manifest


def dtype_words(dtype: Dtype, family: str) -> str:
    """The manifest's words for how a family's weights are stored."""
    is_unpacked = family == "bert" and dtype == "int8"
    return _UNPACKED_INT8 if is_unpacked else DTYPES[dtype]


def _copy_files(source: Path, folder: Path) -> None:
    """Keeps beside the graphs what says where they came from, the model's card included."""
    path = source / "tokenizer.json"
    if not path.is_file():
        raise ModelError(f"{path} is missing; expected the tokenizer of the checkpoint")
    copy_companions(source, folder)
    for name in ("config.json", CARD_NAME):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _write_heads(source: Checkpoint, folder: Path, options: ExportOptions) -> HeadsSpec:
    if options.random_heads is not None:
        heads = random_heads(source.hidden_size, options.random_heads)
        return build_heads(heads, folder, source.hidden_size, is_random=True)
    path = options.heads or source.folder / HEADS_WEIGHTS_NAME
    if not path.is_file():
        raise ModelError(
            f"{path} is missing; expected the heads of the reward model: name them with --heads "
            "(`similar-fast-export convert` makes them from upstream's files), or draw some with "
            "--random-heads for measurements of speed"
        )
    return build_heads(path, folder, source.hidden_size)


def _versions() -> dict[str, str]:
    return {tool: metadata.version(tool) for tool in _TOOLS} | dict(onnxruntime_distributions())
