"""`similar-fast pairs`: preference pairs out of trajectories and of labelled states."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.cli.arguments import HelpFormatter
from similar_fast.cli.data_files import DataFiles, refuse_inputs
from similar_fast.cli.output import Output, count

if TYPE_CHECKING:
    from similar_fast.dimensions import Dimension
    from similar_fast.records import PairRecord

__all__ = ["add_parser", "run"]


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "pairs",
        parents=[shared],
        help="make preference pairs of labelled data",
        description="Pairs the trajectories of one task at their first differing action, and as "
        "wholes; pairs the labelled actions of one state. Steps without a state count as "
        "trajectories. Any form that `convert` reads.",
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("sources", type=Path, nargs="+", metavar="IN", help="the files to read")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="the pairs: .jsonl, .parquet, ..."
    )
    parser.add_argument(
        "--as-published",
        action="store_true",
        help="of trajectories, lose the pairs that the published builder loses",
    )
    parser.add_argument("--types", help="a comma list of types, such as H,OS,total (default: all)")
    parser.add_argument(
        "--min-difference",
        type=_differences,
        default=0.0,
        metavar="X|TYPE=X,...",
        help="of states, the least difference of two labels, such as 0.5 for all or "
        "odds_of_success=0.5,efficiency=0.1",
    )
    parser.add_argument(
        "--min-rollouts", type=int, default=0, metavar="N", help="of states, behind both labels"
    )
    parser.add_argument(
        "--max-per-state", type=int, metavar="N", help="of states, the most pairs of one type"
    )
    parser.add_argument(
        "--balance",
        action="store_true",
        help="leave pairs out until rules of verbs and lengths are right for half of them",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seeds the draws of --max-per-state and --balance"
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Writes the pairs and counts them by type."""
    from similar_fast.dimensions import DIMENSION_INFO, parse_types
    from similar_fast.srm.balance import balanced
    from similar_fast.srm.pairs import STEP_TYPES
    from similar_fast.srm.writers import check_suffix, write_data

    check_suffix(args.out)
    refuse_inputs(args.sources, args.out)
    types = parse_types(args.types) if args.types else tuple(DIMENSION_INFO)
    found: Counter[tuple[str, str, Dimension]] = Counter()

    def counted() -> Iterator["PairRecord"]:
        pairs: Iterable[PairRecord] = (p for p in _pairs(args, files) if p.type in types)
        if args.balance:
            pairs = balanced(pairs, seed=args.seed)
        for pair in pairs:
            found[f"{pair.environment} {pair.platform}", pair.split, pair.type] += 1
            yield pair

    with DataFiles.shown(args.sources, output) as files:
        written = write_data(args.out, counted())
    groups = sorted({(name, split) for name, split, _ in found})
    output.table(
        "pairs",
        ("data", "split", *(info.symbol for info in DIMENSION_INFO.values())),
        [
            (name, split or "-", *(found[name, split, kind] for kind in DIMENSION_INFO))
            for name, split in groups
        ],
    )
    output.text(f"{count(written, 'pair')} written: {args.out}")
    output.document(
        {
            "pairs": written,
            "out": str(args.out),
            "types": [kind.value for kind in types],
            "min_difference": {
                kind.value: args.min_difference.get(kind, 0.0)
                if isinstance(args.min_difference, dict)
                else args.min_difference
                for kind in STEP_TYPES
            },
            "min_rollouts": args.min_rollouts,
            "max_per_state": args.max_per_state,
            "is_balanced": args.balance,
            "is_as_published": args.as_published,
            "seed": args.seed,
            "groups": [
                {
                    "data": name,
                    "split": split,
                    **{kind.name.lower(): found[name, split, kind] for kind in DIMENSION_INFO},
                }
                for name, split in groups
            ],
        }
    )
    return 0


def _pairs(args: argparse.Namespace, files: DataFiles) -> Iterator["PairRecord"]:
    """The pairs of all files: of trajectories first, then of states."""
    from similar_fast.errors import DataError
    from similar_fast.records import StepRecord, TrajectoryRecord
    from similar_fast.srm.pairs import (
        pairs_of_states,
        pairs_of_trajectories,
        trajectories_of_steps,
    )

    trajectories: list[TrajectoryRecord] = []
    loose: list[StepRecord] = []
    states: list[StepRecord] = []
    for record in files.records():
        match record:
            case TrajectoryRecord():
                trajectories.append(record)
            case StepRecord():
                (states if record.state else loose).append(record)
            case _:
                raise DataError("a record is a pair already; expected steps or trajectories")
    trajectories += trajectories_of_steps(loose)
    yield from pairs_of_trajectories(trajectories, as_published=args.as_published)
    yield from pairs_of_states(
        states,
        min_difference=args.min_difference,
        min_rollouts=args.min_rollouts,
        max_pairs_per_state=args.max_per_state,
        seed=args.seed,
    )


def _differences(text: str) -> "dict[Dimension, float] | float":
    """One number for all types, or a number by type."""
    from similar_fast.dimensions import DIMENSION_INFO
    from similar_fast.srm.pairs import STEP_TYPES

    names = {
        name.lower(): kind
        for kind in STEP_TYPES
        for name in (kind.name, DIMENSION_INFO[kind].symbol)
    }
    try:
        if "=" not in text:
            return _difference(text)
        parts = [part.split("=") for part in text.split(",")]
        return {names[name.strip().lower()]: _difference(value) for name, value in parts}
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number from 0 and no list such as odds_of_success=0.5,E=0.1"
        ) from None


def _difference(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value
