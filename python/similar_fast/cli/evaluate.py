"""`similar-fast eval`: what scorers are worth on labelled pairs (SRMEval)."""

import argparse
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from similar_fast.cli.arguments import ExamplesFormatter, add_device_arguments
from similar_fast.cli.data_files import refuse_inputs
from similar_fast.cli.evaluated import print_comparison, print_evaluation
from similar_fast.cli.output import Bar, Output, count
from similar_fast.models.shipped import REWARD_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from similar_fast.protocols import Scorer
    from similar_fast.records import PairRecord, StepRecord
    from similar_fast.srm.evaluate.evaluation import Evaluation
    from similar_fast.srm.evaluate.plan import OpenScreenshot

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Of two actions at the same step, which is the better one? Evaluates a reward model or a baseline on
labelled pairs: accuracy for each type of judgement (H, OS, E, TR, C, total, traj), over all of
them and for each platform, with intervals that draw whole tasks; chance is 50. Exit code 1 where a
pair could not be scored.
"""

_EPILOG = """\
models: a folder that similar-fast-export wrote; similar-mini, the one of the package
similar-fast-mini (the default); labels:FILE, a second labelling of the same
actions (collect --targets), on the pairs that it labels; or baseline:NAME with NAME one of
  random     a coin
  length     the longer action, or the shorter one: for each type what is right more often on the
             train split; without one, the longer
  lexical    words shared with the instruction
  embedding  likeness to the instruction, by a small text encoder
  oracle     the labels themselves; less than 100 means that they contradict the pairs
"""

_BASELINE = "baseline:"
_LABELS = "labels:"


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "eval",
        parents=[shared],
        help="evaluate a reward model on labelled pairs",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=ExamplesFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--model", default=REWARD_NAME, metavar="M", help="what is evaluated, see below"
    )
    parser.add_argument("--compare", metavar="M2", help="a second one, on the same pairs")
    _add_data_arguments(parser)
    _add_counting_arguments(parser)
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="actions in one call of the scorer"
    )
    parser.add_argument(
        "--probe",
        type=int,
        default=256,
        metavar="N",
        help="pairs that are scored again in both orders, to see whether that matters; 0: none",
    )
    parser.add_argument("--html", type=Path, metavar="OUT.html", help="write a page of it all")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="ROWS.jsonl",
        help="write a line for each pair: its scores, and what became of it",
    )
    add_device_arguments(parser)


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="F",
        help="files of pairs, or of trajectories, which are made pairs",
    )
    parser.add_argument("--split", help="only what is of this split, such as eval (default: all)")
    parser.add_argument(
        "--train-data",
        type=Path,
        nargs="+",
        metavar="F",
        help="where a baseline makes its free choices (default: the split `train` of --data, where "
        "--split names another); tasks that are evaluated are left out of it",
    )
    parser.add_argument("--types", default="all", help="a comma list of types, such as H,OS,total")
    parser.add_argument(
        "--screenshots",
        type=Path,
        metavar="FOLDER",
        help="where the screenshots lie (default: the folder `screenshots` beside the data)",
    )


def _add_counting_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ties",
        choices=("half", "wrong", "exclude"),
        default="half",
        help="what a tie is worth: half a pair, nothing, or no part of the accuracy",
    )
    parser.add_argument("--level", type=float, default=0.95, help="level of the intervals")
    parser.add_argument(
        "--num-draws", type=int, default=10_000, metavar="N", help="draws of the bootstrap"
    )
    parser.add_argument("--seed", type=int, default=0, help="of every draw")


def run(args: argparse.Namespace, output: Output) -> int:
    """Evaluates, prints and writes; 1 where a pair could not be scored."""
    from similar_fast.srm.evaluate.counting import compare_evaluations

    work = _Work(args, output)
    first = work.evaluate(args.model)
    print_evaluation(output, first)
    comparison = None
    if args.compare is not None:
        second = work.evaluate(args.compare)
        comparison = compare_evaluations(work.pairs, first, second, counting=work.counting)
        print_evaluation(output, second)
        print_comparison(output, comparison)
    for note in work.notes:
        output.note(f"note: {note}")
    if args.html is not None:
        from similar_fast.report.benchmark_page import write_benchmark

        facts = {"Data": ", ".join(path.name for path in args.data), "Split": args.split or "all"}
        write_benchmark(first, args.html, facts=facts, notes=work.notes, comparison=comparison)
        output.text(f"page: {args.html}")
    if args.out is not None:
        _write_rows(args.out, work.pairs, first, None if comparison is None else second)
        output.text(f"rows: {args.out}")
    output.document(
        {
            "data": [str(path) for path in args.data],
            "split": args.split,
            "ties": args.ties,
            **first.to_dict(),
            "notes": work.notes,
            "comparison": None if comparison is None else comparison.to_dict(),
        }
    )
    n_invalid = first.n_invalid if comparison is None else max(first.n_invalid, second.n_invalid)
    return 1 if n_invalid else 0


class _Work:
    """The data of one call, and scorers evaluated on it."""

    def __init__(self, args: argparse.Namespace, output: Output) -> None:
        from similar_fast.srm.evaluate.counting import Counting

        self._args = args
        self._output = output
        self.notes: list[str] = []
        _check_outputs(args)
        self.pairs = self._read()
        self._relabelled: dict[str, list[StepRecord]] = {}
        for model in (args.model, args.compare or ""):
            if model.startswith(_LABELS):
                self._read_labels(model)
        self.counting = Counting(
            ties=args.ties, num_draws=args.num_draws, level=args.level, seed=args.seed
        )
        self._train: list[PairRecord] | None = None
        self._open = self._screenshots()

    def evaluate(self, model: str) -> "Evaluation":
        """The evaluation of the model or baseline of that name."""
        from similar_fast.srm.evaluate import baselines
        from similar_fast.srm.evaluate.counting import evaluate_pair_scores
        from similar_fast.srm.evaluate.run import evaluate

        name = model.removeprefix(_BASELINE)
        is_baseline = model.startswith(_BASELINE)
        if is_baseline and name == "oracle":
            scores = baselines.oracle_scores(self.pairs)
            return evaluate_pair_scores(self.pairs, scores, name=model, counting=self.counting)
        if model in self._relabelled:
            scores = baselines.label_scores(self.pairs, self._relabelled[model])
            return evaluate_pair_scores(self.pairs, scores, name=model, counting=self.counting)
        is_signed = is_baseline and name in baselines.SIGNED_BASELINES
        scorer = _open_scorer(model, self._args)
        with ExitStack() as stack:
            bars: list[tuple[Bar, int]] = []

            def report(done: int, total: int) -> None:
                if not bars:
                    bar = stack.enter_context(self._output.progress(total, f"actions for {model}"))
                    bars.append((bar, 0))
                bar, before = bars.pop()
                bar.advance(amount=done - before)
                bars.append((bar, done))

            return evaluate(
                scorer,
                self.pairs,
                name=model if is_baseline else Path(model).name,
                counting=self.counting,
                sign_pairs=self._train_pairs() if is_signed else (),
                batch_size=self._args.batch_size,
                num_probe=self._args.probe,
                open_screenshot=self._open,
                report=report,
            )

    def _read(self) -> "list[PairRecord]":
        from similar_fast.dimensions import parse_types
        from similar_fast.errors import DataError
        from similar_fast.srm.evaluate.data import read_pairs

        args = self._args
        splits = None if args.split is None else {args.split}
        wanted = parse_types("H,OS,E,TR,C,total,traj" if args.types == "all" else args.types)
        pairs = read_pairs(args.data, splits=splits, types=wanted)
        if not pairs:
            found = "" if args.split is None else f" of the split {args.split!r}"
            raise DataError(f"the data holds no pair{found} of the types asked for")
        return pairs

    def _read_labels(self, model: str) -> None:
        """Reads the labels that `model` names, and leaves out the pairs that they do not label."""
        import numpy as np

        from similar_fast.errors import DataError
        from similar_fast.records import StepRecord
        from similar_fast.srm.evaluate.baselines import label_scores
        from similar_fast.srm.readers import read_data

        path = Path(model.removeprefix(_LABELS))
        steps = [record for record in read_data(path) if isinstance(record, StepRecord)]
        scores = label_scores(self.pairs, steps)
        is_known = ~np.isnan(scores.chosen + scores.rejected)
        left = [pair for pair, known in zip(self.pairs, is_known, strict=True) if known]
        if not left:
            raise DataError("it labels both actions of no pair of the data", path=path)
        if len(left) < len(self.pairs):
            missing = count(len(self.pairs) - len(left), "pair")
            self.notes.append(f"{missing} not labelled in {path.name}: left out for all models")
        self.pairs = left
        self._relabelled[model] = steps

    def _train_pairs(self) -> "list[PairRecord]":
        """What free choices are made on; empty, with a note, where there is nothing."""
        from similar_fast.srm.evaluate.data import read_pairs, without_tasks

        args = self._args
        if self._train is not None:
            return self._train
        found: list[PairRecord] = []
        if args.train_data is not None:
            found = read_pairs(args.train_data, splits={"train", ""})
        elif args.split not in {None, "train"}:
            found = read_pairs(args.data, splits={"train"})
        self._train, num_left = without_tasks(found, self.pairs)
        if num_left:
            self.notes.append(
                f"{count(num_left, 'train pair')} of tasks that are evaluated were left out"
            )
        if not self._train:
            self.notes.append("no train data: signs are not fitted, the longer action is preferred")
        return self._train

    def _screenshots(self) -> "OpenScreenshot | None":
        """Opens screenshots in the folders where they may lie; None where no pair names one."""
        args = self._args
        num_named = sum(pair.screenshot is not None for pair in self.pairs)
        if not num_named:
            return None
        given = [args.screenshots] if args.screenshots is not None else None
        folders = given or list(dict.fromkeys(p.parent / "screenshots" for p in args.data))
        if given is None and not any(folder.is_dir() for folder in folders):
            self.notes.append(
                f"{count(num_named, 'pair')} name a screenshot, and there is no folder of them: "
                "scored without"
            )
            return None
        return lambda name: _open_screenshot(folders, name)


def _open_screenshot(folders: "Sequence[Path]", name: str) -> bytes:
    from similar_fast.errors import DataError
    from similar_fast.srm.screenshots import ScreenshotStore

    for folder in folders:
        with suppress(FileNotFoundError):
            return ScreenshotStore(folder).open(name)
    raise DataError(f"the screenshot {name} is missing in {', '.join(map(str, folders))}")


def _open_scorer(model: str, args: argparse.Namespace) -> "Scorer":
    if model.startswith(_BASELINE) and model != f"{_BASELINE}embedding":
        from similar_fast.srm.evaluate.baselines import open_baseline

        return open_baseline(model.removeprefix(_BASELINE), seed=args.seed)
    if model == f"{_BASELINE}embedding":
        from similar_fast.embedding import EmbeddingScorer

        return EmbeddingScorer(providers=args.device, threads=args.threads)
    from similar_fast.reward.model import RewardModel

    return RewardModel(
        model,
        providers=args.device,
        threads=args.threads,
        verify=not args.no_verify,
        deterministic=args.deterministic,
    )


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuses before any work what could not be written after it, or only over what is read."""
    models = (args.model, args.compare or "")
    labels = [Path(m.removeprefix(_LABELS)) for m in models if m.startswith(_LABELS)]
    inputs = [*args.data, *(args.train_data or ()), *labels]
    outs = [path for path in (args.html, args.out) if path is not None]
    for out in outs:
        refuse_inputs(inputs, out)
    if len(outs) == 2 and outs[0].resolve() == outs[1].resolve():
        raise ValueError(f"--html and --out are both {outs[0]}; expected two files")


def _write_rows(
    path: Path,
    pairs: "Sequence[PairRecord]",
    first: "Evaluation",
    second: "Evaluation | None",
) -> None:
    import msgspec

    from similar_fast.files.whole_file import write_whole
    from similar_fast.srm.evaluate.rows import pair_row

    lines: list[dict[str, Any]] = []
    for i, pair in enumerate(pairs):
        line = pair_row(i, pair, first)
        if second is not None:
            line["second"] = pair_row(i, pair, second)["scores"]
        lines.append(line)
    write_whole(path, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
