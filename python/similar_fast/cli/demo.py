"""`similar-fast demo`: a search solves recorded web tasks, with no browser and no download."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.arguments import HelpFormatter, add_miniwob_arguments
from similar_fast.cli.output import Output
from similar_fast.cli.search_options import explanation_lines, search_document

if TYPE_CHECKING:
    from similar_fast.protocols import Environment, Scorer
    from similar_fast.types import SearchResult

__all__ = ["add_parser", "run"]


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "demo",
        parents=[shared],
        help="watch a search solve web tasks (recorded ones; no browser needed)",
        description="Runs a tree search, guided by an ONNX model, on MiniWoB++ tasks that were "
        "recorded from a real browser, and writes the largest tree of a solved task as one "
        "HTML file.",
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--seed", type=int, default=0, help="seed of the search")
    parser.add_argument(
        "--scorer",
        choices=("reward", "embedding"),
        default="reward",
        help="who guides it: similar-mini, or a text encoder that sees words alone; both are of "
        "the package similar-fast-mini",
    )
    parser.add_argument(
        "--num-simulations", type=int, default=64, metavar="N", help="most simulations of a search"
    )
    parser.add_argument(
        "--budget",
        type=int,
        default=128,
        metavar="STEPS",
        help="most environment steps of a search, replays included",
    )
    parser.add_argument(
        "--report",
        type=Path,
        default=Path("similar-fast-demo.html"),
        metavar="FILE",
        help="the page to write",
    )
    parser.add_argument(
        "--explain", action="store_true", help="tell why each action was committed, in sentences"
    )
    parser.add_argument("--browser", action="store_true", help="the same tasks in a live Chromium")
    add_miniwob_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Searches each task, prints what was chosen and why, and writes the report."""
    from similar_fast.envs.recorded import Recorded
    from similar_fast.report.search_page import write_report
    from similar_fast.search.search import Search, SearchProgress

    if args.chromium is not None and not args.browser:
        raise ValueError("--chromium has no effect without --browser")
    if not args.report.parent.is_dir():
        raise FileNotFoundError(f"the folder of --report is missing: {args.report.parent}")
    search = Search(
        _scorer(args.scorer),
        num_simulations=args.num_simulations,
        budget=args.budget,
        seed=args.seed,
        screenshots=args.browser,
    )
    recorded = Recorded.builtin()
    pairs = [(task, seed) for task, seeds in recorded.tasks().items() for seed in seeds]
    results: list[SearchResult] = []
    with (
        _environment(args, recorded) as env,
        output.progress(len(pairs), "searching") as bar,
    ):
        for task, seed in pairs:

            def say(now: SearchProgress, *, task: str = task) -> None:
                bar.say(f"{task}: {now.num_simulations} simulations, {now.env_steps} steps")

            result = search.run(env, task, seed=seed, progress=say)
            results.append(result)
            bar.advance()
            _print_result(output, result)
            if args.explain:
                output.text(*explanation_lines(result))
    report = write_report(max(results, key=lambda r: (r.success, len(r.nodes))), args.report)
    _print_summary(output, results, report, is_explained=args.explain)
    return 0


def _scorer(name: str) -> "Scorer":
    if name == "embedding":
        from similar_fast.embedding import EmbeddingScorer

        return EmbeddingScorer()
    from similar_fast.reward.model import RewardModel

    return RewardModel()


@contextlib.contextmanager
def _environment(args: argparse.Namespace, recorded: "Environment") -> Iterator["Environment"]:
    if not args.browser:
        yield recorded
        return
    from similar_fast.envs.miniwob import MiniWob

    with MiniWob(executable=args.chromium) as env:
        yield env


def _print_result(output: Output, result: "SearchResult") -> None:
    verdict = "solved" if result.success else "not solved"
    output.text(
        "",
        f"{result.task} (seed {result.seed}): {verdict}",
        f"  {result.instruction}",
        *(
            f"  {score.total:7.3f}  {action}"
            for action, score in zip(result.actions, result.scores, strict=True)
        ),
        f"  {result.num_simulations} simulations, {result.env_steps} environment steps, "
        f"{result.scored_actions} scored actions, {result.seconds:.1f} s",
    )


def _print_summary(
    output: Output, results: list["SearchResult"], report: Path, *, is_explained: bool
) -> None:
    tasks = list(dict.fromkeys(result.task for result in results))
    rows = []
    for task in tasks:
        found = [result for result in results if result.task == task]
        solved = sum(result.success for result in found)
        rows.append((task, f"{solved} of {len(found)}", sum(r.env_steps for r in found)))
    output.text("")
    output.table("success per task", ("task", "solved", "environment steps"), rows)
    solved = sum(result.success for result in results)
    output.text(
        f"{solved} of {len(results)} solved; the search tree of the largest: {report}",
    )
    output.document(
        {
            "solved": solved,
            "episodes": [
                {
                    **search_document(r, is_explained=is_explained),
                    "scores": [score.total for score in r.scores],
                    "env_steps": r.env_steps,
                    "resets": r.resets,
                    "seconds": r.seconds,
                }
                for r in results
            ],
            "report": str(report),
        }
    )
