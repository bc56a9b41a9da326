"""`similar-fast screenshots`: the pictures of the states that a data set tells of in words."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.arguments import HelpFormatter, add_miniwob_arguments
from similar_fast.cli.data_files import DataFiles, refuse_inputs
from similar_fast.cli.output import Output, count

if TYPE_CHECKING:
    from collections.abc import Callable

    from similar_fast.collect.screenshots import Picture
    from similar_fast.records import PairRecord, StepRecord

__all__ = ["add_parser", "run"]


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "screenshots",
        parents=[shared],
        help="take the screenshots of a data set's states anew",
        description="Goes to every state of the steps or pairs in IN (reset, then the actions of "
        "the history), takes its picture, keeps it in DIR under the SHA-256 of its bytes, and "
        "writes the records with the pictures' names. A state that does not show the recorded "
        "words gets none. Exit code 1 where one got none.",
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run, keeps_finished=True)
    parser.add_argument("source", type=Path, metavar="IN", help="steps or pairs with seeds")
    parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="the pictures")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="the records: .jsonl, .parquet, ..."
    )
    add_miniwob_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Takes the pictures; 1 where a state got none."""
    import msgspec

    from similar_fast.srm.screenshots import ScreenshotStore
    from similar_fast.srm.writers import check_suffix, write_data

    check_suffix(args.out)
    refuse_inputs([args.source], args.out)
    wanted = _states(args.source, output)
    found = _pictures(args, output, wanted=wanted, keep=ScreenshotStore(args.store).put)
    pictures = {picture.place: picture.name for picture in found}

    def shown(record: "StepRecord | PairRecord") -> "StepRecord | PairRecord":
        name = pictures[record.task, record.seed, record.history]
        return msgspec.structs.replace(record, screenshot=name)

    write_data(args.out, map(shown, wanted))
    missed = [picture for picture in found if picture.name is None]
    files_kept = len(set(pictures.values()) - {None})
    for picture in missed:
        task, seed, history = picture.place
        output.note(f"{task} seed {seed} after {count(len(history), 'action')}: {picture.problem}")
    output.text(
        f"{count(len(found) - len(missed), 'state')} shown, {count(files_kept, 'picture')} in "
        f"{args.store}",
        f"  {count(len(wanted), 'record')} written: {args.out}",
    )
    if missed:
        output.note(f"{count(len(missed), 'state')} got no picture")
    output.document(
        {
            "states": len(found),
            "pictures": files_kept,
            "missed": [
                {"task": p.place[0], "seed": p.place[1], "problem": p.problem} for p in missed
            ],
            "records": len(wanted),
            "store": str(args.store),
            "out": str(args.out),
        }
    )
    return 1 if missed else 0


def _states(source: Path, output: Output) -> "list[StepRecord | PairRecord]":
    """The records whose states are wanted."""
    from similar_fast.errors import DataError
    from similar_fast.records import PairRecord, StepRecord

    wanted: list[StepRecord | PairRecord] = []
    with DataFiles.shown([source], output) as files:
        for record in files.records():
            if not isinstance(record, StepRecord | PairRecord) or record.environment != "miniwob":
                raise DataError(
                    f"a record is of {record.environment!r}; expected steps or pairs of miniwob",
                    path=source,
                )
            wanted.append(record)
    return wanted


def _pictures(
    args: argparse.Namespace,
    output: Output,
    *,
    wanted: "list[StepRecord | PairRecord]",
    keep: "Callable[[bytes], str]",
) -> "list[Picture]":
    """What became of every state, while a bar is shown."""
    from similar_fast.collect.screenshots import take_pictures
    from similar_fast.envs.miniwob import MiniWob

    places = len({(r.task, r.seed, r.history) for r in wanted})
    found = []
    with (
        MiniWob(executable=args.chromium) as env,
        output.progress(places, f"pictures into {args.store}") as bar,
    ):
        for picture in take_pictures(env, wanted, keep=keep):
            found.append(picture)
            bar.advance(f"{picture.place[0]} seed {picture.place[1]}")
    return found
