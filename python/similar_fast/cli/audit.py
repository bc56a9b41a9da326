"""`similar-fast audit-env`: replays random episodes and compares every screen."""

import argparse

from similar_fast.cli.arguments import add_miniwob_arguments, seeds, words
from similar_fast.cli.output import Output

__all__ = ["add_parser", "run"]


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "audit-env",
        parents=[shared],
        help="check that an environment replays exactly",
        description="Plays random episodes, replays each, and compares the digest of every "
        "screen. Exit code 1 if any replay diverged.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--tasks", type=words, default=["all"], metavar="NAMES", help="`all`: the 20 of the tables"
    )
    parser.add_argument("--seeds", type=seeds, default=list(range(2000, 2005)), metavar="A-B")
    parser.add_argument("--replays", type=int, default=3, help="replays an episode")
    parser.add_argument("--max-steps", type=int, default=8, help="actions in one episode")
    parser.add_argument("--seed", type=int, default=0, help="seeds the random actions")
    add_miniwob_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Audits and lists what diverged."""
    from similar_fast.envs.miniwob import HELD_OUT_TASKS, TRAIN_TASKS, MiniWob
    from similar_fast.envs.replay import audit

    tasks = [*TRAIN_TASKS, *HELD_OUT_TASKS] if args.tasks == ["all"] else args.tasks
    total = len(tasks) * len(args.seeds) * args.replays
    with (
        MiniWob(executable=args.chromium) as env,
        output.progress(total, "replaying") as bar,
    ):
        report = audit(
            env,
            tasks,
            seeds=args.seeds,
            replays=args.replays,
            max_steps=args.max_steps,
            rng_seed=args.seed,
            progress=bar.advance,
        )
    rows = [(d.task, d.seed, d.step, d.difference) for d in report.divergences]
    if rows:
        output.table("diverged", ("task", "seed", "step", "difference"), rows)
    output.text(f"{report.replays} replays, {len(rows)} diverged")
    output.document(
        {
            "replays": report.replays,
            "diverged": [
                {"task": task, "seed": seed, "step": step, "difference": difference}
                for task, seed, step, difference in rows
            ],
        }
    )
    return 1 if rows else 0
