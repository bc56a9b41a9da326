"""`similar-fast score`: a file of steps becomes a file of scores."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.arguments import ExamplesFormatter, add_model_arguments
from similar_fast.cli.output import Output, count

if TYPE_CHECKING:
    from similar_fast.reward.model import RewardModel
    from similar_fast.score_file import ScoreSummary

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Scores every step of a file of JSON lines, batch by batch. A row that fails stops nothing: it is
kept in OUT.jsonl.rejected.jsonl with its line and the reason. What was interrupted, or killed,
goes on with --resume. Exit code 1 where a row was rejected.
"""

_EPILOG = """\
a row of IN.jsonl; `instruction` and either `action` or `actions`, the rest may be left out, and
what else is there is not read:
  {"id": 7, "instruction": "Buy a ticket", "history": ["click link \\"Tickets\\""],
   "observation": "button \\"Buy\\"", "screenshot": "shots/2.png",
   "actions": ["click button \\"Buy\\"", "click link \\"Help\\""]}

its line of OUT.jsonl:
  {"line": 1, "id": 7, "scores": [{"action": ..., "total": ..., "helpfulness": ...,
   "odds_of_success": ..., "efficiency": ..., "task_relevance": ..., "coherence": ...}, ...]}

A screenshot is a PNG, JPEG or WebP file, by its path from the folder of IN.jsonl or by an
absolute one: whoever wrote IN.jsonl chooses which pictures are opened. Where a state does not
fit the model, its oldest actions go first, then the end of the observation, then the end of the
instruction; `num_cut` says how many tokens went. An action that failed has `error` in place of
its numbers where others of its row have scores.
"""


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "score",
        parents=[shared],
        help="score a file of steps with a reward model",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=ExamplesFormatter,
    )
    parser.set_defaults(run=run, keeps_finished=True)
    parser.add_argument("source", type=Path, metavar="IN.jsonl", help="the steps, see below")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="OUT.jsonl",
        help="where the scores go; a file that holds something is never written over",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with an OUT.jsonl that was interrupted: same rows, same model and options",
    )
    parser.add_argument(
        "--batch-rows",
        type=int,
        default=32,
        metavar="N",
        help="rows that are read, scored and made safe together",
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Scores the file; 1 where a row was rejected."""
    from similar_fast.reward.model import RewardModel
    from similar_fast.score_file import check_start, rejected_path

    # Opening a model can take minutes; what cannot be begun is refused before.
    check_start(args.source, args.out, resume=args.resume)
    model = RewardModel(
        args.model,
        providers=args.device,
        threads=args.threads,
        verify=not args.no_verify,
        deterministic=args.deterministic,
    )
    summary = _score(model, args, output)
    stats, rejected = model.stats, rejected_path(args.out)
    output.text(
        f"{count(summary.scored_actions, 'action')} of {count(summary.rows, 'row')} scored: "
        f"{args.out}"
    )
    if stats.tokens_asked:
        shared = 1 - stats.tokens_run / stats.tokens_asked
        output.text(
            f"  {stats.tokens_run:,} tokens run for prompts of {stats.tokens_asked:,}; "
            f"{shared:.0%} were shared"
        )
    if summary.cut_rows:
        cut = count(summary.cut_rows, "row")
        output.text(f"  {cut} did not fit the model and lost the tokens that `num_cut` counts")
    if summary.unread_fields:
        names = ", ".join(map(ascii, summary.unread_fields))
        output.note(f"fields that nothing reads: {names} (see `similar-fast score --help`)")
    if summary.rejected:
        output.note(f"{count(summary.rejected, 'row')} failed, with the reasons: {rejected}")
    output.document(
        {
            **asdict(summary),
            "out": str(args.out),
            "rejected_file": str(rejected) if summary.rejected else None,
            "providers": list(model.providers),
            "stats": asdict(stats),
        }
    )
    return 1 if summary.rejected else 0


def _score(model: "RewardModel", args: argparse.Namespace, output: Output) -> "ScoreSummary":
    """The work, with a bar; says what goes on where it is interrupted."""
    from similar_fast.score_file import progress_path, score_file

    with output.progress(args.source.stat().st_size, f"bytes of {args.source}") as bar:
        done = 0

        def report(num_bytes: int) -> None:
            nonlocal done
            bar.advance(amount=num_bytes - done)
            done = num_bytes

        try:
            return score_file(
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
