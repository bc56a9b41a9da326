"""The command `similar-fast-export`."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from similar_fast.cli.arguments import at_least_one
from similar_fast.cli.prompt_options import add_prompt_options, prompt_settings
from similar_fast.errors import ModelError, SimilarFastError
from similar_fast.models.manifest import Manifest, read_manifest
from similar_fast.prompts.settings import PromptSettings, read_prompt

from similar_fast_export.terminal import spectator

__all__ = ["main"]

_EPILOG = """\
further commands, each with a --help of its own:
  convert     upstream's heads (a .pt file) to heads.safetensors; the only one that reads a pickle
  verify      a folder that was exported before, against its checkpoint
  embedding   a BERT encoder with mean pooling, for EmbeddingScorer

families: bert (as a prefix-LM), qwen2, qwen2_vl, qwen2_5_vl, mllama
exit codes: 0 done, 1 refused or failed (and nothing was written), 2 usage, 130 interrupted

examples:
  similar-fast-export convert regression.pt heads.safetensors --gating gating.pt
  similar-fast-export Qwen2-VL-2B-Similar similar-2b --heads heads.safetensors --verify
  similar-fast-export Qwen2-VL-2B-Similar similar-2b-int8 --dtype int8 --inputs steps.jsonl.xz
"""

_EXTRAS = {"huggingface_hub": "hub"}
"""The extra that brings a package; `verify` brings the others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; 0 done, 1 refused or failed, 2 for a wrong call, 130 interrupted."""
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
        extra = _EXTRAS.get(str(err.name), "verify")
        hint = f"{err.name} is not installed; `pip install 'similar-fast-export[{extra}]'`"
        return _fail(hint, err, as_json=options.json)
    except (SimilarFastError, OSError, ValueError) as err:
        return _fail(str(err), err, as_json=options.json)
    except KeyboardInterrupt:
        _note("interrupted; nothing was written")
        return 130
    return 0


def _run_model(options: argparse.Namespace) -> None:
    from similar_fast_export.reward_model import (  # noqa: PLC0415  # --help stays quick
        ExportOptions,
        export_reward_model,
    )

    checkpoint = _find_checkpoint(options.checkpoint, from_hub=options.from_hub)
    prompt = _prompt(options, checkpoint)
    with spectator(is_quiet=options.json) as watcher:
        manifest = export_reward_model(
            checkpoint,
            options.out,
            ExportOptions(
                heads=options.heads,
                random_heads=options.random_heads,
                dtype=options.dtype,
                prompt=prompt,
                name=options.name or (options.checkpoint if options.from_hub else None),
                license_id=options.license,
                inputs=options.inputs,
                max_states=options.max_states,
                verify=options.verify,
                seed=options.seed,
            ),
            report=watcher.report,
            watch=watcher.watch,
        )
    _report(options.out, manifest, as_json=options.json)


def _prompt(options: argparse.Namespace, checkpoint: Path) -> PromptSettings | None:
    """What was asked for, which must be what a trained checkpoint was asked by in training."""
    asked, trained = prompt_settings(options), read_prompt(checkpoint)
    if asked is not None and trained is not None and asked != trained:
        raise ModelError(
            f"{checkpoint} was trained with {trained}; found {asked}; expected none of --layout, "
            "--mark-overlap and --max-history, or the same"
        )
    return asked


def _run_verify(options: argparse.Namespace) -> None:
    from similar_fast_export.verify import check_scores  # noqa: PLC0415  # as above

    dtype = "fp32" if read_manifest(options.out).dtype == "float32" else "other"
    checks = check_scores(options.out, options.checkpoint, dtype=dtype, seed=options.seed)
    if options.json:
        _print_json(dict(checks))
        return
    _print(f"{options.out} scores as {options.checkpoint} does:")
    _print_checks(checks)


def _run_convert(options: argparse.Namespace) -> None:
    from similar_fast_export.convert import convert_heads  # noqa: PLC0415  # as above

    heads = convert_heads(
        options.regression,
        options.out,
        gating=options.gating,
        temperature=options.temperature,
        label_scales=options.label_scales,
    )
    width = heads.regression.shape[1]
    if options.json:
        layers = len(heads.layers)
        _print_json({"file": str(options.out), "hidden_size": width, "gate_layers": layers})
        return
    kind = f"gated by {len(heads.layers)} layers" if heads.layers else "ungated, a plain sum"
    _print(f"wrote {options.out}: heads for states of {width}, {kind}")


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


def _find_checkpoint(name: str, *, from_hub: bool) -> Path:
    if from_hub:
        return _fetch(name)
    if not Path(name).is_dir():
        raise FileNotFoundError(
            f"{name} is no folder; expected a checkpoint's, or --from-hub to download one"
        )
    return Path(name)


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # an extra

    try:
        folder = snapshot_download(
            name,
            allow_patterns=["*.json", "*.safetensors", "*.jinja", "LICENSE"],
            ignore_patterns=["*/*"],  # the same weights again, for other tools
        )
    except (OSError, ValueError) as err:
        raise ModelError(f"{name} cannot be had from the hub: {err}") from err
    return Path(folder)


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
        _print_json(record)
        return
    _print(f"wrote {out}: {manifest.family}, {size / 1e6:.1f} MB, {manifest.dtype}")
    if manifest.reward is not None and manifest.reward.heads.is_random:
        _print("  its heads are random: good for speed and parity, no quality")
    _print_checks(manifest.checks)


def _print_checks(checks: Mapping[str, float]) -> None:
    for name, value in checks.items():
        _print(f"  {name}: {value:.5g}")


def _print(line: str) -> None:
    print(line)  # noqa: T201  # a command's output


def _print_json(record: Mapping[str, Any]) -> None:
    _print(json.dumps(record, ensure_ascii=False, allow_nan=False))


def _note(line: str) -> None:
    print(f"similar-fast-export: {line}", file=sys.stderr)  # noqa: T201  # a command's output


def _fail(message: str, error: Exception, *, as_json: bool) -> int:
    if as_json:
        _print_json({"error": {"type": type(error).__name__, "message": message}})
    _note(message)
    return 1


def _model_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similar-fast-export",
        usage="%(prog)s CHECKPOINT OUT [options]\n       %(prog)s {convert,verify,embedding} ...",
        description="Turns a checkpoint and its heads into a model folder for similar-fast. "
        "The folder appears whole or not at all.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="folder: config.json, safetensors, tokenizer.json")
    add("out", metavar="OUT", type=Path, help="folder to make; must not exist")
    add("--from-hub", action="store_true", help="CHECKPOINT is a hub id: download it first")
    _add_json(parser)
    _add_model_options(parser)
    _add_check_options(parser)
    parser.set_defaults(run=_run_model)
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is written")
    heads = group.add_mutually_exclusive_group()
    heads.add_argument(
        "--heads",
        type=Path,
        metavar="FILE",
        help="heads in safetensors (default: heads.safetensors of CHECKPOINT)",
    )
    heads.add_argument(
        "--random-heads",
        type=_seed,
        metavar="SEED",
        help="draw heads instead: for speed tests only",
    )
    group.add_argument(
        "--dtype",
        choices=("fp32", "fp16", "int8", "int4"),
        default="fp32",
        help="how weights are stored (default: fp32); fp16 is for GPUs, int8 and int4 are first "
        "compared with fp32",
    )
    add_prompt_options(group)
    group.add_argument(
        "--name", help="where the weights come from (default: the checkpoint folder's name)"
    )
    group.add_argument(
        "--license",
        metavar="SPDX",
        default="unknown",
        help="SPDX identifier of the weights' licence (default: unknown)",
    )


def _add_check_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is checked")
    group.add_argument(
        "--verify",
        action="store_true",
        help="compare with transformers on random steps; refuse what differs",
    )
    _add_seed(group)
    group.add_argument(
        "--inputs",
        type=Path,
        metavar="FILE",
        help="JSON lines of steps, as `similar-fast score` takes them or as they were collected, "
        "also packed (.gz, .xz), to compare int8 or int4 with fp32 on (default: 25 tasks of our "
        "own)",
    )
    group.add_argument(
        "--max-states",
        type=at_least_one,
        default=500,
        metavar="N",
        help="how many states of --inputs, evenly over the file (default: 500)",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def _add_seed(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--seed", type=_seed, default=0, help="of the random steps of --verify (default: 0)"
    )


def _seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative; expected a seed of at least 0")
    return value


def _embedding_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similar-fast-export embedding",
        description="A BERT encoder with mean pooling, such as all-MiniLM-L6-v2, to int8.",
    )
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        type=Path,
        help="folder with config.json, model.safetensors, tokenizer.json, "
        "sentence_bert_config.json",
    )
    add("out", metavar="OUT", type=Path, help="folder to make; must not exist")
    add("--name", required=True, help="its name where it was published")
    add("--license", metavar="SPDX", required=True, help="SPDX identifier of its licence")
    add(
        "--texts",
        type=Path,
        metavar="FILE",
        help="JSON lines with instruction and actions to compare with fp32 on (default: our own)",
    )
    _add_json(parser)
    parser.set_defaults(run=_run_embedding)
    return parser


def _verify_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similar-fast-export verify",
        description="Compares an exported folder with transformers on random steps: fp32 by the "
        "largest difference, other builds by the order of the actions.",
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", type=Path, help="the folder that it came from")
    add("out", metavar="OUT", type=Path, help="the exported folder")
    _add_seed(parser)
    _add_json(parser)
    parser.set_defaults(run=_run_verify)
    return parser


def _convert_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="similar-fast-export convert",
        description="Upstream's heads (.pt, ArmoRM-style) to safetensors. It reads a pickle, with "
        "torch's loader of plain tensors, in a process of its own.",
    )
    add = parser.add_argument
    add("regression", metavar="REGRESSION", type=Path, help="the .pt file with `weight`, [5, H]")
    add("out", metavar="OUT", type=Path, help="safetensors to write; must not exist")
    add("--gating", type=Path, metavar="FILE", help="the gate's .pt file, where it is another")
    add(
        "--temperature",
        type=float,
        metavar="T",
        default=10.0,
        help="of the gate (default: 10, upstream's)",
    )
    add(
        "--label-scales",
        type=float,
        nargs=5,
        default=(3.0, 5.0, 5.0, 1.0, 1.0),
        metavar=("H", "OS", "E", "TR", "C"),
        help="what labels were multiplied by for training (default: 3 5 5 1 1, upstream's)",
    )
    _add_json(parser)
    parser.set_defaults(run=_run_convert)
    return parser


_COMMAND_PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "convert": _convert_parser,
    "embedding": _embedding_parser,
    "verify": _verify_parser,
}


if __name__ == "__main__":
    sys.exit(main())
