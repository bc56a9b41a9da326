"""`similar-fast inspect`: what a model's folder holds."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.output import Output, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from similar_fast.models.manifest import Manifest, ModelFile, Piece, RewardSpec

__all__ = ["add_parser", "run"]


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "inspect",
        parents=[shared],
        help="what a model's folder holds: family, sizes, hashes, bytes a token",
        description="Reads a model's manifest and checks every file against its sha256; no graph "
        "is opened. Exit code 3 where a file is missing or altered.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        metavar="FOLDER",
        help="what similar-fast-export wrote (default: similar-mini, of the package "
        "similar-fast-mini)",
    )
    parser.add_argument(
        "--no-verify",
        action="store_true",
        help="look at the files' sizes only: quick for a large model",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints what the manifest says."""
    from similar_fast.models.manifest import kv_bytes_per_token, read_manifest
    from similar_fast.models.shipped import reward_folder

    folder = reward_folder(args.model)
    manifest = read_manifest(folder, verify=not args.no_verify)
    kv_bytes = kv_bytes_per_token(manifest.reward.decoder) if manifest.reward else None
    output.text(
        f"{folder}: {manifest.family}",
        f"  stored as       {manifest.dtype}",
        f"  source          {manifest.source}",
        f"  licence         {manifest.license}",
        f"  hidden size     {manifest.hidden_size}",
        f"  positions       {manifest.max_positions} tokens at most",
    )
    if manifest.embedding is not None:
        kind = "of length 1" if manifest.embedding.is_normalized else "of any length"
        output.text(f"  vector          {manifest.embedding.pooling} of the tokens, {kind}")
    if manifest.reward is not None:
        output.text(*_reward_lines(manifest.reward, kv_bytes or 0))
    output.text(*_file_lines(manifest.files, is_verified=not args.no_verify))
    for title, facts in (("checks of the export", manifest.checks), ("tools", manifest.versions)):
        if facts:
            width = max(map(len, facts))
            output.text("", title, *(f"  {name:{width}}  {x}" for name, x in facts.items()))
    output.document(_document(manifest, kv_bytes, is_verified=not args.no_verify))
    return 0


def _file_lines(files: "Sequence[ModelFile]", *, is_verified: bool) -> list[str]:
    """The files in aligned columns that fit a terminal; sha256 by its first digits."""
    names = max((len(file.name) for file in files), default=0)
    sizes = max((len(f"{file.size:,}") for file in files), default=0)
    checked = "each is as its sha256 says" if is_verified else "sha256 not checked"
    total = sum(file.size for file in files)
    return [
        "",
        f"{count(len(files), 'file')}, {count(total, 'byte')}; {checked}",
        *(f"  {f.name:{names}}  {f.size:>{sizes},}  {f.sha256[:16]}..." for f in files),
    ]


def _reward_lines(reward: "RewardSpec", kv_bytes: int) -> list[str]:
    heads, decoder = reward.heads, reward.decoder
    lines = [
        (
            f"  KV cache        {kv_bytes:,} bytes a token ({len(decoder.layers)} layers, "
            f"{decoder.num_kv_heads} x {decoder.head_dim}, {decoder.kv_dtype})"
        ),
        f"  attention       {decoder.attention}"
        + (
            f"; to the picture in the layers {', '.join(map(str, decoder.cross_layers))}"
            if decoder.cross_layers
            else ""
        ),
        f"  heads           {'gated' if heads.is_gated else 'plain sum'}"
        + (
            "; drawn at random: good for speed and parity, not for quality"
            if heads.is_random
            else ""
        ),
        f"  label scales    {', '.join(f'{scale:g}' for scale in heads.label_scales)}",
        (
            f"  prompt          {reward.prompt.layout}: {_pieces(reward.prompt.prefix)} | "
            f"{_pieces(reward.prompt.suffix)}"
        ),
    ]
    if heads.lexical_prior:
        lines.append(
            f"  lexical prior   {heads.lexical_prior:g} x the overlap with the instruction, in "
            "task relevance"
        )
    if reward.prompt.max_history is not None:
        lines.append(f"  history         the last {reward.prompt.max_history} actions")
    if reward.prompt.marks_overlap:
        lines.append("  marks           what quoted names share with the instruction")
    if reward.patches is not None:
        patches = reward.patches
        lines.append(
            f"  pictures        patches of {patches.patch_size} x {patches.patch_size} pixels; "
            f"{patches.min_pixels:,} to {patches.max_pixels:,} pixels after the resize"
        )
    if reward.tiles is not None:
        tiles = reward.tiles
        lines.append(
            f"  pictures        up to {tiles.max_tiles} tiles of {tiles.tile_size} x "
            f"{tiles.tile_size} pixels, {tiles.tokens_per_tile} states each"
        )
    return lines


def _pieces(pieces: "tuple[Piece, ...]") -> str:
    """Fields by name, control tokens by number, literal text left out."""
    shown = [
        piece.field or f"<{piece.token}>"
        for piece in pieces
        if piece.field or piece.token is not None
    ]
    return " ".join(shown)


def _document(
    manifest: "Manifest", kv_bytes: int | None, *, is_verified: bool
) -> dict[str, object]:
    return {**asdict(manifest), "kv_bytes_per_token": kv_bytes, "is_verified": is_verified}
