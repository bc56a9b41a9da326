"""The command `similar-fast-export`."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from similar_fast.errors import SimilarFastError
from similar_fast.manifest import Manifest, read_manifest

__all__ = ["main"]


_EPILOG = """\
further commands, each with a --help of its own:
  convert     upstream's heads (a .pt file) to heads.safetensors; the only one that reads a pickle
  verify      a folder that was exported before, against its checkpoint
  embedding   a BERT encoder with mean pooling, for EmbeddingScorer

families: qwen2, qwen2_vl, qwen2_5_vl, mllama, bert (as a prefix-LM)

example:
  similar-fast-export Qwen2-VL-2B-Similar similar-2b --dtype fp16 --verify
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; 0 when it did its work, 1 when it refused, 2 for a wrong call."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] and arguments[0] in _COMMAND_PARSERS:
        parser = _COMMAND_PARSERS[arguments[0]]()
        options = parser.parse_args(arguments[1:])
    else:
        options = _model_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = options.run
    try:
        run(options)
    except ModuleNotFoundError as err:
        _fail(f"{err.name} is not installed; `pip install 'similar-fast-export[verify]'`")
        return 1
    except (SimilarFastError, OSError, ValueError) as err:
        _fail(str(err))
        return 1
    return 0


def _run_model(options: argparse.Namespace) -> None:
    from similar_fast_export.reward_model import (  # noqa: PLC0415  # --help stays quick
        ExportOptions,
        export_reward_model,
    )

    checkpoint = _from_hub(options.checkpoint) if options.from_hub else Path(options.checkpoint)
    manifest = export_reward_model(
        checkpoint,
        options.out,
        ExportOptions(
            heads=options.heads,
            random_heads=options.random_heads,
            dtype=options.dtype,
            layout=options.layout,
            name=options.name or (options.checkpoint if options.from_hub else None),
            license_id=options.license,
            inputs=options.inputs,
            verify=options.verify,
            seed=options.seed,
        ),
        report=_fail if not options.json else lambda _: None,
    )
    _report(options.out, manifest, as_json=options.json)


def _run_verify(options: argparse.Namespace) -> None:
    from similar_fast_export.verify import check_scores  # noqa: PLC0415  # as above

    dtype = "fp32" if read_manifest(options.out).dtype == "float32" else "other"
    checks = check_scores(options.out, options.checkpoint, dtype=dtype, seed=options.seed)
    _report_checks(checks, as_json=options.json)


def _run_convert(options: argparse.Namespace) -> None:
    from similar_fast_export.convert import convert_heads  # noqa: PLC0415  # as above

    heads = convert_heads(
        options.regression,
        options.out,
        gating=options.gating,
        temperature=options.temperature,
        label_scales=options.label_scales,
    )
    kind = f"gated by {len(heads.layers)} layers" if heads.layers else "ungated, a plain sum"
    print(f"wrote {options.out}: heads for states of {heads.regression.shape[1]}, {kind}")  # noqa: T201  # a command's output


def _run_embedding(options: argparse.Namespace) -> None:
    from similar_fast_export.embedding import export_embedding  # noqa: PLC0415  # as above

    manifest = export_embedding(
        options.source,
        options.out,
        name=options.name,
        license_id=options.license,
        texts=options.texts,
    )
    _report(options.out, manifest, as_json=options.json)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # an extra

    return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja"]))


def _report(out: Path, manifest: Manifest, *, as_json: bool) -> None:
    size = sum(file.size for file in manifest.files)
    if as_json:
        record = {
            "folder": str(out),
            "family": manifest.family,
            "dtype": manifest.dtype,
            "nbytes": size,
            "checks": dict(manifest.checks),
        }
        print(json.dumps(record))  # noqa: T201  # a command's output
        return
    print(f"wrote {out}: {manifest.family}, {size / 1e6:.1f} MB, {manifest.dtype}")  # noqa: T201
    if manifest.reward is not None and manifest.reward.heads.is_random:
        print("  its heads are random: good for speed and parity, no quality")  # noqa: T201
    _report_checks(manifest.checks, as_json=False)


def _report_checks(checks: Mapping[str, float], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dict(checks)))  # noqa: T201  # as above
        return
    for name, value in checks.items():
        print(f"  {name}: {value:.5g}")  # noqa: T201  # as above


def _fail(message: str) -> None:
    print(f"similar-fast-export: {message}", file=sys.stderr)  # noqa: T201  # as above


def _model_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similar-fast-export",
        description="Turns a checkpoint and its heads into a model folder for similar-fast.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("checkpoint", help="Hugging Face folder (config.json, safetensors, tokenizer.json)")
    add("out", type=Path, help="folder to make; must not exist")
    add("--heads", type=Path, help="heads in safetensors (default: CHECKPOINT/heads.safetensors)")
    add("--random-heads", type=int, metavar="SEED", help="draw heads instead: for speed tests only")
    add("--dtype", choices=("fp32", "fp16", "int8", "int4"), default="fp32")
    add(
        "--layout",
        choices=("screen-first", "history-first"),
        default="screen-first",
        help="what comes first in the prompt (default: screen-first, as published)",
    )
    add("--verify", action="store_true", help="compare with transformers; refuse what differs")
    add("--seed", type=int, default=0, help="of the steps that --verify draws (default: 0)")
    add("--inputs", type=Path, help="JSON lines of steps to compare a quantised build on")
    add("--name", help="what it is called where it was published (default: the folder's name)")
    add("--license", default="unknown", help="SPDX identifier of the weights' licence")
    add("--from-hub", action="store_true", help="CHECKPOINT is a hub id: download it first")
    add("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=_run_model)
    return parser


def _embedding_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similar-fast-export embedding",
        description="A BERT encoder with mean pooling, such as all-MiniLM-L6-v2, to int8.",
    )
    add = parser.add_argument
    add(
        "source",
        type=Path,
        help="folder with config.json, model.safetensors, tokenizer.json, "
        "sentence_bert_config.json",
    )
    add("out", type=Path, help="folder to make; must not exist")
    add("--name", required=True, help="its name where it was published")
    add("--license", required=True, help="SPDX identifier of its licence")
    add(
        "--texts",
        type=Path,
        help="JSON lines with instruction and actions to compare with fp32 on (default: our own)",
    )
    add("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=_run_embedding)
    return parser


def _verify_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similar-fast-export verify",
        description="Compares an exported folder with transformers on random steps.",
    )
    parser.add_argument("checkpoint", type=Path, help="the Hugging Face folder it came from")
    parser.add_argument("out", type=Path, help="the exported folder")
    parser.add_argument("--seed", type=int, default=0, help="of the steps (default: 0)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=_run_verify)
    return parser


def _convert_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similar-fast-export convert",
        description="Upstream's heads (.pt, ArmoRM-style) to safetensors. It reads a pickle, with "
        "torch's loader of plain tensors, in a process of its own.",
    )
    add = parser.add_argument
    add("regression", type=Path, help="the .pt file with `weight`, [5, H]")
    add("out", type=Path, help="safetensors to write; must not exist")
    add("--gating", type=Path, help="the gate's .pt file, where it is another")
    add("--temperature", type=float, default=10.0, help="of the gate (default: 10, upstream's)")
    add(
        "--label-scales",
        type=float,
        nargs=5,
        default=(3.0, 5.0, 5.0, 1.0, 1.0),
        metavar=("H", "OS", "E", "TR", "C"),
        help="what labels were multiplied by for training (default: 3 5 5 1 1, upstream's)",
    )
    parser.set_defaults(run=_run_convert)
    return parser


_COMMAND_PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "convert": _convert_parser,
    "embedding": _embedding_parser,
    "verify": _verify_parser,
}


if __name__ == "__main__":
    sys.exit(main())
