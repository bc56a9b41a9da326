"""The command `similar-fast-export`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from similar_fast.errors import SimilarFastError

from similar_fast_export.embedding import export_embedding

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; 0 when it wrote a folder, 1 when it refused, 2 for a wrong call."""
    options = _parser().parse_args(arguments)
    try:
        manifest = export_embedding(
            options.source,
            options.out,
            name=options.name,
            license_id=options.license,
            texts=options.texts,
        )
    except (SimilarFastError, OSError) as err:
        print(f"similar-fast-export: {err}", file=sys.stderr)  # noqa: T201  # a command's output
        return 1
    size = sum(file.size for file in manifest.files)
    print(f"wrote {options.out}: {size / 1e6:.1f} MB, {manifest.dtype}")  # noqa: T201  # as above
    for name, value in manifest.checks.items():
        print(f"  {name}: {value:.5f}")  # noqa: T201  # as above
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="similar-fast-export", description=__doc__)
    commands = parser.add_subparsers(required=True)
    embedding = commands.add_parser(
        "embedding", help="a BERT encoder with mean pooling, such as all-MiniLM-L6-v2, to int8"
    )
    embedding.add_argument(
        "source",
        type=Path,
        help="folder with config.json, model.safetensors, tokenizer.json, "
        "sentence_bert_config.json",
    )
    embedding.add_argument("out", type=Path, help="folder to make; must not exist")
    embedding.add_argument("--name", required=True, help="its name where it was published")
    embedding.add_argument("--license", required=True, help="SPDX identifier of its licence")
    embedding.add_argument(
        "--texts",
        type=Path,
        help="JSON lines with instruction and actions to compare with fp32 on (default: our own)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
