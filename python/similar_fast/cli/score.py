"""`similar-fast score`: a file of steps becomes a file of scores."""

import argparse
from dataclasses import asdict
from pathlib import Path

from similar_fast.cli.arguments import HelpFormatter, add_model_arguments
from similar_fast.cli.output import Output

__all__ = ["add_parser", "run"]

_EPILOG = """\
a row, one JSON object a line; either `action` or `actions`, the rest may be left out:
  {"id": 7, "instruction": "Buy a ticket", "history": ["click link \\"Tickets\\""],
   "observation": "button \\"Buy\\"", "screenshot": "shots/2.png",
   "actions": ["click button \\"Buy\\"", "click link \\"Help\\""]}

its scores:
  {"line": 1, "id": 7, "scores": [{"action": ..., "total": ..., "helpfulness": ...,
   "odds_of_success": ..., "efficiency": ..., "task_relevance": ..., "coherence": ...}, ...]}

A screenshot is a path from the file's folder. Rows that fail are kept in OUT.rejected.jsonl.
Where a state does not fit the model, its oldest actions go first, then the end of the
observation, then the end of the instruction; `num_cut` says how many tokens went.
"""


class _Formatter(HelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Leaves the examples as they are."""


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "score",
        parents=[shared],
        help="score a file of steps with a reward model",
        description="Scores every step of a file of JSON lines. An interrupted run goes on with "
        "--resume. Exit code 1 if a row was rejected.",
        epilog=_EPILOG,
        formatter_class=_Formatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("source", type=Path, metavar="IN.jsonl")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.jsonl")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted OUT")
    parser.add_argument(
        "--batch-rows", type=int, default=32, metavar="N", help="rows read and scored together"
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Scores the file; 1 where a row was rejected."""
    from similar_fast.reward import RewardModel
    from similar_fast.score_file import progress_path, rejected_path, score_file

    size = args.source.stat().st_size
    model = RewardModel(
        args.model,
        providers=args.device,
        threads=args.threads,
        verify=not args.no_verify,
        deterministic=args.deterministic,
    )
    with output.progress(size, f"scoring {args.source}") as bar:
        done = 0

        def report(num_bytes: int) -> None:
            nonlocal done
            bar.advance(amount=num_bytes - done)
            done = num_bytes

        try:
            summary = score_file(
                model,
                args.source,
                out=args.out,
                batch_rows=args.batch_rows,
                resume=args.resume,
                report=report,
            )
        except KeyboardInterrupt:
            if progress_path(args.out).exists():
                output.note("the same command with --resume goes on from here")
            raise
    stats = model.stats
    output.text(
        f"{summary.scored_actions} actions of {summary.rows} rows scored: {args.out}",
        f"  {stats.tokens_run} of {stats.tokens_asked} tokens run, the others were shared",
    )
    if summary.cut_rows:
        output.text(f"  {summary.cut_rows} rows did not fit the model and were cut (`num_cut`)")
    if summary.rejected:
        output.note(f"{summary.rejected} rows failed; they are in {rejected_path(args.out)}")
    output.document(
        {
            **asdict(summary),
            "out": str(args.out),
            "rejected_file": str(rejected_path(args.out)) if summary.rejected else None,
            "providers": list(model.providers),
            "stats": asdict(stats),
        }
    )
    return 1 if summary.rejected else 0
