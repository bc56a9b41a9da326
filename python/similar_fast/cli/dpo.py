"""`similar-fast dpo`: preference pairs as rows for TRL's trainers."""

import argparse
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.arguments import ExamplesFormatter, add_device_arguments
from similar_fast.cli.data_files import DataFiles, refuse_inputs
from similar_fast.cli.output import Output, count
from similar_fast.prompts.settings import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from similar_fast.dimensions import Dimension
    from similar_fast.protocols import Scorer
    from similar_fast.records import PairRecord, Record, StepRecord
    from similar_fast.srm.screenshots import ScreenshotStore

__all__ = ["add_parser", "run"]

_BASELINES = ("lexical", "length", "random")

_DESCRIPTION = """\
Writes pairs of two actions as rows in TRL's preference format: prompt, chosen, rejected. Reads
pairs as they are, and makes pairs of steps and of trajectories as `similar-fast pairs` does, in
any form that `convert` reads. With --model the pairs are not those of the labels: a reward model
scores the candidates of each state, and its best one stands against its worst. Exit code 1 where
a candidate could not be scored.
"""

_EPILOG = """\
a row of OUT.jsonl:
  {"prompt": [{"role": "system", ...}, {"role": "user", ...}],
   "chosen": [{"role": "assistant", "content": "click button \\"Buy\\""}],
   "rejected": [{"role": "assistant", "content": "click link \\"Help\\""}],
   "environment": ..., "task": ..., "seed": ..., "step": ..., "split": ..., "state": ...,
   "type": "total", "margin": 5.5, "chosen_rollouts": 8, "rejected_rollouts": 8}
"""


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "dpo",
        parents=[shared],
        help="write preference rows for TRL, from labels or from a model's scores",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=ExamplesFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("sources", type=Path, nargs="+", metavar="IN", help="the files to read")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="the rows: .jsonl or .parquet"
    )
    parser.add_argument(
        "--types",
        default="total",
        help="a comma list of types, such as H,OS,total; two of them may order the same actions "
        "differently",
    )
    parser.add_argument(
        "--min-margin",
        type=float,
        default=0.0,
        metavar="X",
        help="the least difference of the two labels, or of the two scores",
    )
    parser.add_argument("--split", metavar="NAME", help="records of this split alone")
    _add_row_arguments(parser)
    _add_scoring_arguments(parser)


def _add_row_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--form",
        choices=("conversational", "standard"),
        default="conversational",
        help="messages, or plain texts for a model without a chat template",
    )
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="screen-first",
        help="what comes first in the prompt",
    )
    parser.add_argument(
        "--candidates",
        action="store_true",
        help="number the actions of a state in the prompt; all records are held then",
    )
    parser.add_argument(
        "--screenshots",
        type=Path,
        metavar="FOLDER",
        help="where the screenshots lie; rows then have `images`, and the model sees them",
    )


def _add_scoring_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="FOLDER",
        help="a reward model that orders the candidates, or baseline:NAME, one of "
        + ", ".join(_BASELINES),
    )
    parser.add_argument(
        "--pairing",
        choices=("extremes", "all"),
        help="with --model: the best against the worst (the default), or every two",
    )
    add_device_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Writes the rows and counts what was left out; 1 where a candidate could not be scored."""
    from similar_fast.dimensions import Dimension, parse_types
    from similar_fast.rl.dpo import step_dpo_rows
    from similar_fast.rl.row_files import check_row_suffix, write_rows
    from similar_fast.srm.screenshots import ScreenshotStore

    check_row_suffix(args.out)
    refuse_inputs(args.sources, args.out)
    types = parse_types(args.types)
    if Dimension.TRAJECTORY in types:
        raise ValueError("--types names the trajectory; expected types of two steps")
    if args.pairing is not None and args.model is None:
        raise ValueError("--pairing has no effect without --model")
    store = None if args.screenshots is None else ScreenshotStore(args.screenshots)
    left_out: Counter[str] = Counter()
    work = _Work(args, output, types, store)
    with work.records() as records:
        rows = step_dpo_rows(
            records,
            form=args.form,
            layout=args.layout,
            types=types,
            min_margin=args.min_margin,
            candidates=work.candidates,
            screenshots=store,
            left_out=lambda reason: left_out.update([reason]),
        )
        written = write_rows(args.out, work.counted(rows))
    _tell(args, output, work, left_out, written)
    return 1 if work.failed else 0


class _Work:
    """The records of one call, with a model's pairs in their place where one is named."""

    def __init__(
        self,
        args: argparse.Namespace,
        output: Output,
        types: "tuple[Dimension, ...]",
        store: "ScreenshotStore | None",
    ) -> None:
        self._args = args
        self._output = output
        self._types = types
        self._store = store
        self.by_type: Counter[str] = Counter()
        self.failed: list[str] = []
        self.candidates: list[Record] = []

    @contextmanager
    def records(self) -> "Iterator[Iterable[Record]]":
        """The pairs and what pairs are made of, while a bar shows how far reading is."""
        with DataFiles.shown(self._args.sources, self._output) as files:
            found = files.of_split(self._args.split)
            if self._args.candidates:
                self.candidates = list(found)
                found = iter(self.candidates)
            if self._args.model is None:
                yield found
                return
            # What cannot be scored is refused before a model is opened, which can take minutes.
            states = list(_states(found))
        yield self._scored(states)

    def counted(self, rows: "Iterator[dict[str, object]]") -> "Iterator[dict[str, object]]":
        for row in rows:
            self.by_type[str(row["type"])] += 1
            yield row

    def _scored(self, states: "Sequence[StepRecord]") -> "Iterator[PairRecord]":
        """The pairs that the model makes."""
        from similar_fast.rl.preferences import preferences_from_scores

        name = self._args.model
        scorer = _open_scorer(name, self._args)
        with self._output.progress(len(states), f"candidates for {name}") as bar:
            before = 0

            def report(done: int, _total: int) -> None:
                nonlocal before
                bar.advance(amount=done - before)
                before = done

            yield from preferences_from_scores(
                states,
                scorer,
                min_margin=self._args.min_margin,
                types=self._types,
                pairing=self._args.pairing or "extremes",
                screenshots=self._store,
                name=name if name.startswith("baseline:") else Path(name).name,
                failed=lambda _record, reason: self.failed.append(reason),
                report=report,
            )


def _states(records: "Iterator[Record]") -> "Iterator[StepRecord]":
    """The steps; a model orders candidates, which no pair and no trajectory names.

    Raises:
        DataError: A record is none.
    """
    from similar_fast.errors import DataError
    from similar_fast.records import StepRecord

    for record in records:
        if not isinstance(record, StepRecord):
            kind = record.__struct_config__.tag
            raise DataError(f"a record is a {kind}; expected steps, which --model can order")
        yield record


def _open_scorer(name: str, args: argparse.Namespace) -> "Scorer":
    if name.startswith("baseline:"):
        from similar_fast.srm.evaluate.baselines import open_baseline

        if name.removeprefix("baseline:") not in _BASELINES:
            raise ValueError(f"--model is {name}; expected baseline: and {', '.join(_BASELINES)}")
        return open_baseline(name.removeprefix("baseline:"))
    from similar_fast.reward.model import RewardModel

    return RewardModel(
        name,
        providers=args.device,
        threads=args.threads,
        verify=not args.no_verify,
        deterministic=args.deterministic,
    )


def _tell(
    args: argparse.Namespace,
    output: Output,
    work: _Work,
    left_out: Counter[str],
    written: int,
) -> None:
    """What was written and what was not."""
    output.table("rows", ("type", "rows"), sorted(work.by_type.items()))
    output.text(f"{count(written, 'row')} written: {args.out}")
    for reason, number in sorted(left_out.items()):
        output.text(f"  {count(number, 'pair')} left out: {reason}")
    if work.failed:
        candidates = count(len(work.failed), "candidate")
        output.note(f"{candidates} could not be scored; the first: {work.failed[0]}")
    output.document(
        {
            "rows": written,
            "out": str(args.out),
            "form": args.form,
            "types": dict(work.by_type),
            "min_margin": args.min_margin,
            "model": args.model,
            "pairing": (args.pairing or "extremes") if args.model is not None else None,
            "left_out": dict(left_out),
            "failed": len(work.failed),
        }
    )
