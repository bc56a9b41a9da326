"""`similar-fast audit-env`: replays random episodes and compares every screen."""

import argparse
from dataclasses import asdict

from similar_fast.cli.arguments import HelpFormatter, add_miniwob_arguments, seeds, words
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
        description="Plays a random episode for each task and seed, then plays it again, once on "
        "the same page and once in a fresh browser, and compares every screen and outcome. "
        "Exit code 1 if any replay diverged.",
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--tasks",
        type=words,
        default=["all"],
        metavar="NAMES",
        help="comma list (default: all, the 20 of the tables)",
    )
    parser.add_argument(
        "--seeds",
        type=seeds,
        default=list(range(2000, 2008)),
        metavar="A-B",
        help="task seeds (default: 2000-2007)",
    )
    parser.add_argument("--max-steps", type=int, default=8, help="actions in one episode")
    parser.add_argument("--seed", type=int, default=0, help="seeds the random actions")
    add_miniwob_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Audits and lists what diverged."""
    from similar_fast.envs.miniwob import HELD_OUT_TASKS, TRAIN_TASKS, MiniWob
    from similar_fast.envs.replay import audit

    if args.max_steps < 1:
        raise ValueError(f"--max-steps must be at least 1, got {args.max_steps}")
    tasks = [*TRAIN_TASKS, *HELD_OUT_TASKS] if args.tasks == ["all"] else args.tasks
    played = 3 * len(tasks) * len(args.seeds)  # recorded, replayed, replayed in a fresh browser
    with (
        MiniWob(executable=args.chromium) as env,
        output.progress(played, "replaying") as bar,
    ):
        report = audit(
            env,
            tasks,
            seeds=args.seeds,
            max_steps=args.max_steps,
            rng_seed=args.seed,
            fresh=lambda: MiniWob(executable=args.chromium),
            progress=lambda task, seed: bar.advance(f"{task} seed {seed}"),
        )
    output.text(str(report))
    for found in report.divergences:
        where = "in a fresh browser" if found.is_fresh else "on the same page"
        output.text(
            "",
            f"{found.task} seed {found.seed}, {where}, after step {found.step}:",
            *(f"  {action}" for action in found.actions),
            *(f"    {line}" for line in found.lines),
        )
    output.document(asdict(report))
    return 1 if report.divergences else 0
