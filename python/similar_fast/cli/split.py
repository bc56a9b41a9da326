"""`similar-fast split`: whole tasks go to train or to eval."""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.arguments import HelpFormatter
from similar_fast.cli.data_files import DataFiles, refuse_inputs
from similar_fast.cli.output import Output

if TYPE_CHECKING:
    from similar_fast.records import Record
    from similar_fast.srm.splits import Split

__all__ = ["add_parser", "run"]


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    from similar_fast.srm.writers import SUFFIXES

    parser = commands.add_parser(
        "split",
        parents=[shared],
        help="split labelled data by task, without a leak",
        description="Writes train and eval files. A task is on one side with all its records, and "
        "so are tasks that share an instruction, across all files. The split of every record is "
        "written anew. Equal seeds give equal files.",
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("sources", type=Path, nargs="+", metavar="IN", help="the files to read")
    parser.add_argument(
        "--out-dir", type=Path, required=True, metavar="DIR", help="where train and eval go"
    )
    parser.add_argument(
        "--eval-share", type=float, default=0.2, metavar="X", help="share of tasks held out"
    )
    parser.add_argument("--seed", type=int, default=0, help="seeds the choice of tasks")
    parser.add_argument(
        "--by", choices=("task", "environment"), default="task", help="what is held out as a whole"
    )
    parser.add_argument("--suffix", choices=SUFFIXES, default=".jsonl", help="what is written")


def run(args: argparse.Namespace, output: Output) -> int:
    """Writes both files and counts what is in them."""
    from similar_fast.srm.splits import assign_splits, split_of, with_split
    from similar_fast.srm.writers import write_data

    args.out_dir.mkdir(parents=True, exist_ok=True)
    outs: dict[Split, Path] = {
        "train": args.out_dir / f"train{args.suffix}",
        "eval": args.out_dir / f"eval{args.suffix}",
    }
    for out in outs.values():
        refuse_inputs(args.sources, out)
    written: Counter[Split] = Counter()
    with DataFiles.shown(args.sources, output, passes=1 + len(outs)) as files:
        splits = assign_splits(
            files.records(), eval_share=args.eval_share, seed=args.seed, by=args.by
        )

        def side(name: "Split") -> Iterator["Record"]:
            for record in files.records():
                if split_of(record, splits) == name:
                    yield with_split(record, name)

        for name, out in outs.items():
            written[name] = write_data(out, side(name))
    tasks = Counter(splits.values())
    output.table(
        "splits",
        ("split", "tasks", "records", "file"),
        [(name, tasks[name], written[name], str(out)) for name, out in outs.items()],
    )
    output.document(
        {
            name: {"tasks": tasks[name], "records": written[name], "file": str(out)}
            for name, out in outs.items()
        }
    )
    return 0
