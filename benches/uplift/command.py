"""The command line: play, pack, unpack, table."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from similar_fast.cli.arguments import miniwob_tasks, seeds, words
from similar_fast.envs.recorded import Recorded
from similar_fast.errors import SimilarFastError
from uplift.page import document, markdown
from uplift.plan import SHUFFLED, Arm, choose_arms, make_arms
from uplift.play import Options, play_arms
from uplift.rows import COMMITTED, pack, read_folders, unpack
from uplift.table import MAIN_SEEDS, SEEN_SEEDS, cells

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 1 where episodes are left to be tried again, 2 for what does not fit."""
    args = _parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except (SimilarFastError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benches/uplift", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_play(commands.add_parser("play", help="play what is missing of the arms"))
    for name, run, text in (
        ("pack", _pack, "pack the logs of --out into --rows, beside what is packed there"),
        ("unpack", _unpack, "write the rows of --rows into the logs of --out that lack them"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument("--out", type=Path, default=Path("runs/uplift"), metavar="DIR")
        command.add_argument("--rows", type=Path, default=COMMITTED, metavar="DIR")
    table = commands.add_parser("table", help="the tables of the rows in one or more folders")
    table.set_defaults(run=_table)
    table.add_argument(
        "folders",
        nargs="*",
        type=Path,
        default=[COMMITTED],
        metavar="FOLDER",
        help="logs, or packed (default: the committed rows)",
    )
    table.add_argument(
        "--seeds",
        type=_range,
        action="append",
        metavar="A-B",
        help="a range of its own each time (default: 3030-3049 and 3000-3029)",
    )
    table.add_argument("--json", action="store_true", help="every figure, for programs")
    return parser


def _add_play(play: argparse.ArgumentParser) -> None:
    play.set_defaults(run=_play)
    play.add_argument("--arms", type=words, default=["all"], help="names or patterns, `mini-*`")
    play.add_argument("--list", action="store_true", help="name the arms and play nothing")
    play.add_argument(
        "--models",
        type=_named,
        nargs="*",
        default=[],
        metavar="NAME=FOLDER",
        help="trained reward models; NAME-s0, NAME-s1 are two training seeds of one",
    )
    play.add_argument("--shuffled", type=Path, metavar="FOLDER", help="trained on shuffled labels")
    play.add_argument("--env", choices=("miniwob", "recorded"), default="miniwob")
    play.add_argument("--tasks", type=words, metavar="NAMES", help="default: train,held-out")
    play.add_argument("--seeds", type=seeds, metavar="A-B", help="default: 3030-3049")
    play.add_argument("--workers", type=int, default=2, help="pages that are played at once")
    play.add_argument("--out", type=Path, default=Path("runs/uplift"), metavar="DIR")
    play.add_argument(
        "--rows", type=Path, default=COMMITTED, metavar="DIR", help="taken over first"
    )
    play.add_argument("--fresh", action="store_true", help="take no committed rows over")
    play.add_argument("--chromium", metavar="PATH", help="the Chromium to run")


def _named(text: str) -> tuple[str, Path]:
    name, sign, folder = text.partition("=")
    if not sign or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=FOLDER")
    return name, Path(folder)


def _range(text: str) -> range:
    numbers = seeds(text)
    if numbers != list(range(numbers[0], numbers[-1] + 1)):
        raise argparse.ArgumentTypeError(f"{text!r} is no range such as 3030-3049")
    return range(numbers[0], numbers[-1] + 1)


def _play(args: argparse.Namespace) -> int:
    if args.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {args.workers}")
    if len(dict(args.models)) < len(args.models):
        raise ValueError("--models names one model twice")
    names = [name for name, _ in args.models]
    arms = choose_arms(make_arms(names, has_shuffled=args.shuffled is not None), args.arms)
    if args.list:
        print("\n".join(arm.name for arm in arms))
        return 0
    failed = play_arms(arms, _options(args, arms))
    if failed:
        print(f"{failed} episodes failed; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


def _options(args: argparse.Namespace, arms: Sequence[Arm]) -> Options:
    models = dict(args.models)
    if args.shuffled is not None:
        models[SHUFFLED] = args.shuffled
    used = {arm.guide for arm in arms}
    if args.env == "recorded":
        known = Recorded.builtin().tasks()
        tasks = args.tasks or list(known)
        numbers = args.seeds or [2000]
    else:
        tasks = miniwob_tasks(args.tasks or ["train", "held-out"])
        numbers = args.seeds or list(MAIN_SEEDS)
    return Options(
        env=args.env,
        tasks=tasks,
        seeds=numbers,
        models={name: folder for name, folder in models.items() if name in used},
        workers=args.workers,
        out=args.out,
        committed=None if args.fresh else args.rows,
        chromium=args.chromium,
    )


def _pack(args: argparse.Namespace) -> int:
    for path, count in pack(args.out, args.rows).items():
        print(f"{path}: {count} rows, {path.stat().st_size} bytes")
    return 0


def _unpack(args: argparse.Namespace) -> int:
    for path, count in unpack(args.rows, args.out).items():
        print(f"{path}: {count} rows more")
    return 0


def _table(args: argparse.Namespace) -> int:
    found = cells(read_folders(*args.folders), args.seeds or (MAIN_SEEDS, SEEN_SEEDS))
    if not found:
        names = ", ".join(map(str, args.folders))
        raise ValueError(f"no row in {names} is of these seeds and of the tables' tasks")
    models = list(dict.fromkeys(model for cell in found for model in cell.models))
    if args.json:
        print(json.dumps(document(found, models), indent=2))
    else:
        print(markdown(found, models))
    return 0
