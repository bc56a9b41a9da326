"""`similar-fast record`: records tasks from the real browser, for searches without one."""

import argparse
from pathlib import Path

from similar_fast.cli.arguments import HelpFormatter, add_miniwob_arguments, seeds, words
from similar_fast.cli.output import Output

__all__ = ["add_parser", "run"]


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "record",
        parents=[shared],
        help="record tasks, closed over every candidate, for `--env recorded`",
        description="Walks every candidate of every screen down to --depth in a live browser and "
        "writes one file a (task, seed). A file that is there already is kept.",
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run, keeps_finished=True)
    parser.add_argument(
        "--tasks", type=words, required=True, metavar="NAMES", help="comma list of MiniWoB++ tasks"
    )
    parser.add_argument(
        "--seeds", type=seeds, default=[2000], metavar="A-B", help="task seeds (default: 2000)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.add_argument("--depth", type=int, default=4, help="actions deep")
    parser.add_argument("--max-states", type=int, default=1000, help="give up beyond this many")
    parser.add_argument(
        "--verify", type=int, default=20, metavar="N", help="random paths replayed to check a file"
    )
    parser.add_argument("--force", action="store_true", help="record again what is there")
    add_miniwob_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Records what is missing."""
    from similar_fast.envs.miniwob import MiniWob
    from similar_fast.envs.recorder import record
    from similar_fast.envs.recording import recording_name

    args.out.mkdir(parents=True, exist_ok=True)
    pairs = [(task, seed) for task in args.tasks for seed in args.seeds]
    files = []
    with (
        MiniWob(executable=args.chromium) as env,
        output.progress(len(pairs), "recording") as bar,
    ):
        for task, seed in pairs:
            path = args.out / recording_name(task, seed)
            if args.force or not path.exists():

                def say(found: int, left: int, *, task: str = task, seed: int = seed) -> None:
                    bar.say(f"{task} seed {seed}: {found} screens, {left} to try")

                record(
                    env,
                    task,
                    seed,
                    depth=args.depth,
                    folder=args.out,
                    max_states=args.max_states,
                    verify=args.verify,
                    progress=say,
                )
            files.append((str(path), path.stat().st_size))
            bar.advance()
    output.table("recordings", ("file", "bytes"), files)
    output.document([{"file": file, "bytes": size} for file, size in files])
    return 0
