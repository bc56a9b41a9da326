"""`similar-fast train`: labelled steps and a checkpoint become a reward model."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.arguments import ExamplesFormatter
from similar_fast.cli.data_files import DataFiles
from similar_fast.cli.output import Bar, Output, count
from similar_fast.cli.train_options import add_options, train_settings

if TYPE_CHECKING:
    from similar_fast.train.data import OpenScreenshot, TrainingSet
    from similar_fast.train.measures import Measured
    from similar_fast.train.result import TrainResult
    from similar_fast.train.settings import TrainSettings
    from similar_fast.train.tracking import Tracker

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Triple-M: trains a reward model of five dimensions and a total from labelled steps and pairs.
Stage 0 fine-tunes the backbone (off with --no-finetune), stage 1 fits the dimensions on its frozen
states in closed form, stage 2 trains the gate that weighs them (off with --no-gate). OUT/model is
what `RewardModel.from_pretrained` opens, with a model card. The model is measured on tasks that no
stage saw. What was interrupted, or killed, goes on with --resume; on the CPU one seed gives the
same bits.
"""

_EPILOG = """\
examples:
  similar-fast train data/miniwob-steps.jsonl.xz --backbone MiniLM-L12 --out runs/mini \\
    --mark-overlap --freeze-embeddings --rename 0.7
  similar-fast train steps.jsonl --backbone Qwen2-VL-2B-Instruct --screenshots shots \\
    --out runs/2b --device cuda --backbone-dtype bfloat16 --save-memory --max-actions 6
  similar-fast train steps.jsonl --backbone Qwen2-VL-2B-Similar --no-finetune --out runs/heads

docs/training.md tells what each stage does, what OUT holds, and what to expect.
"""

_EXTRA = ("torch", "transformers", "safetensors", "similar_fast_export")
_BLIND = {"bert", "qwen2"}


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "train",
        parents=[shared],
        help="train a reward model from labelled steps (Triple-M)",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=ExamplesFormatter,
    )
    parser.set_defaults(run=run, keeps_finished=True)
    parser.add_argument(
        "data",
        type=Path,
        nargs="+",
        metavar="DATA",
        help="steps, trajectories or pairs: .jsonl (also .gz, .xz), .parquet, published forms",
    )
    parser.add_argument(
        "--backbone",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="a Hugging Face checkpoint: bert, qwen2, qwen2_vl, qwen2_5_vl or mllama",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="a new folder")
    parser.add_argument("--resume", action="store_true", help="go on with the run in OUT")
    parser.add_argument(
        "--screenshots",
        type=Path,
        metavar="STORE",
        help="the folder of pictures that the data names; without it only words are read",
    )
    parser.add_argument("--split", metavar="NAME", help="records of this split alone")
    add_options(parser)
    where = parser.add_argument_group("where")
    where.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:1; a bert is trained on the CPU"
    )
    where.add_argument("--threads", type=int, metavar="N", help="threads on the CPU")
    where.add_argument(
        "--track",
        choices=("none", "trackio", "wandb"),
        default="none",
        help="where the metrics go beside OUT/metrics.jsonl",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Trains, and tells how good the model is and where it lies."""
    _check_extra()
    import torch
    from similar_fast_export.checkpoint import Checkpoint

    from similar_fast.train.plan import check_out
    from similar_fast.train.tracking import open_tracker

    if args.threads is not None:
        if args.threads < 1:
            raise ValueError(f"--threads must be at least 1, got {args.threads}")
        torch.set_num_threads(args.threads)
    check_out(args.out, checkpoint=args.backbone, resume=args.resume)
    family = Checkpoint(args.backbone).family
    settings = train_settings(args, family)
    rows = _rows(args, output, settings=settings, opener=_opener(args, family))
    name = args.out.absolute().name
    with open_tracker(
        args.track, project="similar-fast", run=name, config=settings.to_dict()
    ) as tracker:
        result = _train(args, output, rows=rows, settings=settings, tracker=tracker)
    _print(output, args, result)
    return 0


def _check_extra() -> None:
    if missing := [name for name in _EXTRA if find_spec(name) is None]:
        raise ImportError(
            f'training needs `pip install "similar-fast[train]"`; missing: {", ".join(missing)} '
            "(similar_fast_export is the distribution similar-fast-export, in a clone ./export)"
        )


def _rows(
    args: argparse.Namespace,
    output: Output,
    *,
    settings: "TrainSettings",
    opener: "OpenScreenshot | None",
) -> "TrainingSet":
    """The data, with pictures where a store is named."""
    from similar_fast.train.data import training_set

    with DataFiles.shown(args.data, output) as files:
        records = files.of_split(args.split)
        rows = training_set(records, open_screenshot=opener, compared_by=settings.pairs)
    if args.split is None and len(files.splits) > 1:
        names = ", ".join(name or "no split" for name in sorted(files.splits))
        output.note(f"all splits are trained on ({names}); --split takes one")
    if rows.num_left_out:
        left_out = count(rows.num_left_out, "pair")
        output.note(f"{left_out} of whole trajectories left out: a model judges steps")
    if args.screenshots is not None and not any(step.screenshot for step in rows.steps):
        output.note("--screenshots has no effect: the data names no picture")
    return rows


def _opener(args: argparse.Namespace, family: str) -> "OpenScreenshot | None":
    from similar_fast.srm.screenshots import ScreenshotStore

    if args.screenshots is None:
        return None
    if family in _BLIND:
        raise ValueError(
            f"--screenshots is {args.screenshots} and the backbone is a {family}, which reads "
            "words alone; expected a backbone that sees"
        )
    if not args.screenshots.is_dir():
        raise FileNotFoundError(f"the folder {args.screenshots} does not exist")
    open_picture = ScreenshotStore(args.screenshots).open
    # One function for all, so that steps of one picture are known to share it.
    return partial(partial, open_picture)


def _train(
    args: argparse.Namespace,
    output: Output,
    *,
    rows: "TrainingSet",
    settings: "TrainSettings",
    tracker: "Tracker",
) -> "TrainResult":
    """Trains while a bar is shown for each stage."""
    from similar_fast.train.run import train

    with _Stages.shown(output, tracker) as stages:
        try:
            return train(
                rows,
                args.backbone,
                args.out,
                settings,
                resume=args.resume,
                threads=args.threads,
                tracker=stages,
                progress=stages.progress,
            )
        except KeyboardInterrupt:
            output.note("the same command with --resume goes on from here")
            raise


class _Stages:
    """A bar for the stage at work; its last losses stand beside it and go on to the tracker."""

    def __init__(self, output: Output, tracker: "Tracker", stack: ExitStack) -> None:
        self._output, self._tracker, self._stack = output, tracker, stack
        self._stage, self._done = "", 0
        self._bar: Bar | None = None

    @classmethod
    @contextmanager
    def shown(cls, output: Output, tracker: "Tracker") -> Iterator["_Stages"]:
        """Until the last stage is done."""
        with ExitStack() as stack:
            yield cls(output, tracker, stack)

    def progress(self, stage: str, done: int, total: int) -> None:
        """See `train.run.Progress`."""
        if self._bar is None or stage != self._stage:
            self._stack.close()
            self._bar = self._stack.enter_context(self._output.progress(total, stage))
            self._stage, self._done = stage, 0
        self._bar.advance(amount=done - self._done)
        self._done = done

    def log(self, stage: str, metrics: Mapping[str, float], step: int) -> None:
        """See `train.tracking.Tracker`."""
        words = [f"{name.replace('_', ' ')} {metrics[name]:.3f}" for name in _SHOWN & set(metrics)]
        if self._bar is not None and stage == self._stage:
            self._bar.say(", ".join([stage, *sorted(words)]))
        self._tracker.log(stage, metrics, step)


_SHOWN = frozenset({"label_loss", "pair_loss", "train_loss", "inner_validation_loss"})


def _print(output: Output, args: argparse.Namespace, result: "TrainResult") -> None:
    from similar_fast.train.result import result_document

    tasks = count(len(result.training_tasks), "task")
    output.text(
        f"trained on {count(result.training_steps, 'step')} and "
        f"{count(result.training_pairs, 'pair')} of {tasks}"
    )
    if result.plain is None:
        output.note("nothing was held out, so this training did not measure how good the model is")
    else:
        title = f"on {count(result.plain.steps, 'step')} {_HELD_OUT[result.split_by]}"
        columns = ("", "R2", "Spearman", "pairs", "right %")
        output.table(title, columns, _table_rows(result.plain, result.gated))
    model = result.folder
    output.text(
        f"the model: {model}",
        f"  similar-fast score IN.jsonl --model {model} --out SCORES.jsonl",
        f"  similar-fast eval --data PAIRS.jsonl --model {model}",
        f"  similar-fast-export {args.out / 'checkpoint'} SMALL --dtype int8",
    )
    output.document({"out": str(args.out), **result_document(result)})


_HELD_OUT = {
    "task": "of tasks that no stage saw",
    "episode": "of episodes that no stage saw, of the one task that there is",
}


def _table_rows(plain: "Measured", gated: "Measured | None") -> Iterator[tuple[str, ...]]:
    """A line for each dimension, and one or two for the total."""
    for name, fit in plain.dimensions.items():
        share, pairs = plain.pair_accuracy.get(name), plain.pairs.get(name, 0)
        numbers = (_number(fit.r2), _number(fit.spearman), str(pairs), _percent(share))
        yield name, *numbers
    totals = {"total, plain sum": plain} | ({} if gated is None else {"total, gated": gated})
    for title, measured in totals.items():
        share, pairs = measured.pair_accuracy.get("total"), measured.pairs.get("total", 0)
        yield title, "", "", str(pairs), _percent(share)


def _number(value: float) -> str:
    return f"{value:.2f}" if value == value else "-"  # noqa: PLR0124  # NaN


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
