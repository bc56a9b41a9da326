"""`similar-fast search`: plays tasks with one arm and logs one episode a line."""

import argparse
import contextlib
import hashlib
import re
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from similar_fast.cli.arguments import HelpFormatter, add_miniwob_arguments, seeds, words
from similar_fast.cli.output import Bar, Output
from similar_fast.cli.playing import Failure, Play, Played, play_all
from similar_fast.cli.search_arm import (
    SCORERS,
    WITH_DIMENSIONS,
    WITH_MODEL,
    arm_name,
    arm_settings,
    make_scorer,
)
from similar_fast.cli.search_options import (
    SEARCH_OPTIONS,
    add_search_arguments,
    explanation_lines,
    idle_options,
    make_search,
    search_document,
    search_policy,
)
from similar_fast.cli.search_tasks import environments, task_pairs

if TYPE_CHECKING:
    from similar_fast.protocols import Environment
    from similar_fast.search.episodes import Episode, EpisodeLog
    from similar_fast.types import SearchResult

__all__ = ["add_parser", "run"]


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "search",
        parents=[shared],
        help="play tasks with a search, or with a policy to compare it with",
        description="Plays TASKS x SEEDS with one arm. With --out, each episode is one JSON line, "
        "and a second run over the same file plays only what is missing.",
        formatter_class=HelpFormatter,
    )
    where = parser.add_argument_group("where")
    where.add_argument(
        "--env", choices=("miniwob", "recorded"), default="miniwob", help="live browser, or files"
    )
    where.add_argument(
        "--tasks",
        type=words,
        metavar="NAMES",
        help="comma list; `train` and `held-out` stand for the 12 and the 8 tasks of the tables, "
        "with recordings for those that are recorded (default: train, or all that is recorded)",
    )
    where.add_argument(
        "--seeds",
        type=seeds,
        metavar="A-B",
        help="task seeds (default: 2000, or all that is recorded)",
    )
    where.add_argument(
        "--recordings", type=Path, metavar="DIR", help="for --env recorded; none: those shipped"
    )
    where.add_argument("--workers", type=int, default=1, help="pages that are played at once")
    add_miniwob_arguments(where)
    who = parser.add_argument_group("who")
    who.add_argument(
        "--arm",
        choices=("random", "heuristic", "greedy", "search"),
        default="search",
        help="who plays",
    )
    who.add_argument("--scorer", choices=SCORERS, default="reward", help="of greedy and search")
    who.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="model folder for the scorer (default: that of the package similar-fast-mini)",
    )
    who.add_argument("--seed", type=int, default=0, help="seeds the arm's own draws")
    who.add_argument("--max-steps", type=int, default=8, help="actions in one episode")
    who.add_argument(
        "--temperature", type=float, default=0.0, help="heuristic and greedy: 0 takes the best"
    )
    who.add_argument(
        "--no-guard",
        dest="guard",
        action="store_false",
        help="heuristic and greedy: may repeat an action on the same screen",
    )
    add_search_arguments(parser.add_argument_group("search"))
    out = parser.add_argument_group("output")
    out.add_argument("--out", type=Path, metavar="FILE", help="JSON Lines log to go on with")
    out.add_argument(
        "--name",
        help="the arm's name in the log (default: made of its settings, which each row holds "
        "as well: a name goes on with the same ones only)",
    )
    out.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="one HTML file a search; the folder is made where it is missing",
    )
    # No other way to tell a given value from a default.
    defaults = {a.dest: a.default for a in parser._actions}  # noqa: SLF001  # argparse has no other
    parser.set_defaults(run=run, keeps_finished=True, defaults=defaults)


def run(args: argparse.Namespace, output: Output) -> int:
    """Plays what is missing and prints the success of each task."""
    from similar_fast.search.episodes import EpisodeLog

    _check(args)
    settings = arm_settings(args)
    arm = args.name or arm_name(settings)
    pairs = task_pairs(args, output)
    with contextlib.closing(EpisodeLog(args.out)) as log:
        log.check_settings(arm, settings)
        if args.report is not None:
            args.report.mkdir(parents=True, exist_ok=True)
        left = log.missing(arm, pairs)
        if len(left) < len(pairs):
            done = len(pairs) - len(left)
            no_report = " and get no report" if args.report is not None else ""
            output.note(
                f"{done} episodes of {arm} are there already{no_report}; {len(left)} are left"
            )
        failures, searches = _play(args, output, arm=arm, settings=settings, pairs=left, log=log)
        wanted = set(pairs)
        rows = [e for e in log.episodes if e.arm == arm and (e.task, e.seed) in wanted]
        tasks = list(dict.fromkeys(task for task, _ in pairs))
        _print_summary(output, arm, tasks, rows, failures=failures, searches=searches)
    if failures:
        output.note(
            f"{len(failures)} episodes failed and are not in the log; run again to retry them"
        )
    return 1 if failures else 0


def _play(
    args: argparse.Namespace,
    output: Output,
    *,
    arm: str,
    settings: dict[str, Any],
    pairs: list[tuple[str, int]],
    log: "EpisodeLog",
) -> tuple[list[Failure], list[dict[str, Any]]]:
    """Plays `pairs` into the log; returns what failed, and what the searches say of themselves."""
    failures: list[Failure] = []
    searches: list[dict[str, Any]] = []
    with output.progress(len(pairs), arm) as bar:

        def keep(played: Played | Failure) -> None:
            if isinstance(played, Failure):
                failures.append(played)
                output.note(f"{played.task} seed {played.seed}: {played.error}")
                bar.advance()
                return
            episode = replace(played.episode, settings=settings)
            log.append(episode)
            _write_report(args, arm, played)
            if played.result is not None:
                searches.append(search_document(played.result, is_explained=args.explain))
                _print_explanation(args, output, played.result)
            solved = "solved" if episode.success else "not solved"
            bar.advance(f"{episode.task} seed {episode.seed}: {solved}")

        if pairs:
            with environments(args, min(args.workers, len(pairs))) as envs:
                play_all(_player(args, arm, bar), pairs, envs, keep)
    return failures, searches


def _print_explanation(args: argparse.Namespace, output: Output, result: "SearchResult") -> None:
    if args.explain:
        verdict = "solved" if result.success else "not solved"
        output.text(f"{result.task} seed {result.seed}: {verdict}", *explanation_lines(result), "")


def _write_report(args: argparse.Namespace, arm: str, played: Played) -> None:
    """One file a search, in a folder of the arm; the episode is in the log already."""
    if args.report is None or played.result is None:
        return
    from similar_fast.report.search_page import write_report

    words = re.sub(r"[^\w.=-]+", "_", arm)[:60]
    folder = args.report / f"{words}-{hashlib.sha256(arm.encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    episode = played.episode
    write_report(played.result, folder / f"{episode.task}-{episode.seed}.html")


def _check(args: argparse.Namespace) -> None:
    """Refuses what makes no sense or cannot succeed, and options that this arm does not look at.

    Raises:
        FileNotFoundError: The folder of --out does not exist.
        ValueError: With the option's name.
    """
    for name in ("workers", "max_steps", "num_simulations", "max_batch_size"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1")
    _refuse(args, _ignored_options(args), f"--scorer {args.scorer} and --env {args.env}")
    if args.arm == "search":
        _refuse(args, idle_options(args), f"--policy {search_policy(args)}")
        if args.weights is not None and args.scorer not in WITH_DIMENSIONS:
            raise ValueError(
                f"--weights weighs dimensions, and --scorer {args.scorer} has none; "
                f"expected --scorer {' or '.join(WITH_DIMENSIONS)}"
            )
    if args.out is not None and not args.out.parent.is_dir():
        raise FileNotFoundError(f"the folder {args.out.parent} does not exist")


def _refuse(args: argparse.Namespace, names: Iterable[str], where: str) -> None:
    """Raises for the first of these options that was given."""
    for name in names:
        default = args.defaults[name]
        if getattr(args, name) != default:
            option = ("no-" if default is True else "") + name.replace("_", "-")
            raise ValueError(f"--{option} has no effect with --arm {args.arm}, {where}")


def _ignored_options(args: argparse.Namespace) -> list[str]:
    """What the chosen arm, scorer and environment do not look at."""
    ignored: list[str] = []
    if args.arm != "search":
        ignored += SEARCH_OPTIONS
    if args.arm in ("search", "random"):
        ignored += ["temperature", "guard"]
    if args.arm in ("heuristic", "random"):
        ignored += ["scorer"]
    if args.arm in ("heuristic", "random") or args.scorer not in WITH_MODEL:
        ignored += ["model"]
    ignored += ["chromium"] if args.env == "recorded" else ["recordings"]
    return ignored


def _player(args: argparse.Namespace, arm: str, bar: Bar) -> Play:
    """How one episode is played; the returned function is called from several threads."""
    from similar_fast.search.episodes import Policy, RandomPolicy, ScoredPolicy, play

    if args.arm == "search":
        return _searcher(args, arm, bar)
    scorer = None if args.arm == "random" else make_scorer(args)

    def play_one(env: "Environment", task: str, seed: int, _: threading.Event) -> Played:
        policy: Policy = (
            RandomPolicy()
            if scorer is None
            else ScoredPolicy(scorer, temperature=args.temperature, guard=args.guard)
        )
        return Played(
            play(
                env,
                policy,
                arm=arm,
                task=task,
                seed=seed,
                max_steps=args.max_steps,
                policy_seed=args.seed,
            )
        )

    return play_one


def _searcher(args: argparse.Namespace, arm: str, bar: Bar) -> Play:
    from similar_fast.search.episodes import run_search
    from similar_fast.search.search import SearchProgress

    search = make_search(args, make_scorer(args))

    def search_one(env: "Environment", task: str, seed: int, stop: threading.Event) -> Played:
        def say(now: SearchProgress) -> None:
            bar.say(f"{task} seed {seed}: {now.num_simulations} sims, {now.env_steps} steps")

        return Played(
            *run_search(env, search, arm=arm, task=task, seed=seed, progress=say, stop=stop)
        )

    return search_one


def _print_summary(
    output: Output,
    arm: str,
    tasks: list[str],
    rows: list["Episode"],
    *,
    failures: list[Failure],
    searches: list[dict[str, Any]],
) -> None:
    def share(found: list["Episode"]) -> float:
        return 100.0 * sum(e.success for e in found) / len(found)

    played = {e.task for e in rows}
    by_task = {task: [e for e in rows if e.task == task] for task in tasks if task in played}
    shares = {task: share(found) for task, found in by_task.items()}
    macro = sum(shares.values()) / len(shares) if shares else None
    output.table(
        arm,
        ("task", "n", "success %", "env steps", "resets", "actions"),
        [
            (
                task,
                len(found),
                shares[task],
                sum(e.env_steps for e in found) / max(1, len(found)),
                sum(e.resets for e in found) / max(1, len(found)),
                sum(len(e.actions) for e in found) / max(1, len(found)),
            )
            for task, found in by_task.items()
        ],
    )
    mean = "-" if macro is None else f"{macro:.1f}"
    output.text(
        f"success {mean} % (mean of {len(by_task)} tasks, {len(rows)} episodes), "
        f"{sum(e.diverged for e in rows)} diverged replays, "
        f"{sum(e.relaunches for e in rows)} relaunches"
    )
    output.document(
        {
            "arm": arm,
            "success_percent": macro,
            "tasks": {
                task: {"n": len(found), "success_percent": shares[task]}
                for task, found in by_task.items()
            },
            "searches": searches,
            "failed": [{"task": f.task, "seed": f.seed, "error": str(f.error)} for f in failures],
            "env_steps": sum(e.env_steps for e in rows),
            "resets": sum(e.resets for e in rows),
            "diverged": sum(e.diverged for e in rows),
            "relaunches": sum(e.relaunches for e in rows),
        }
    )
