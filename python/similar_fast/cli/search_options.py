"""The options of a search: how they are declared, refused, told, and made a `Search`."""

import argparse
from typing import TYPE_CHECKING, Any

from similar_fast.cli.arguments import dimension_weights

if TYPE_CHECKING:
    from similar_fast.protocols import Scorer
    from similar_fast.search.search import Search
    from similar_fast.types import SearchResult

__all__ = [
    "SEARCH_OPTIONS",
    "add_search_arguments",
    "explanation_lines",
    "idle_options",
    "make_search",
    "search_document",
    "search_policy",
    "search_settings",
]

POLICIES = ("auto", "puct", "uct", "gumbel", "best_first", "beam", "abmcts", "widening")

_SETTINGS = (
    "budget",
    "num_simulations",
    "max_seconds",
    "max_scorer_calls",
    "max_batch_size",
    "policy",
    "c_puct",
    "beam_width",
    "backup",
    "backup_value",
    "weights",
    "prior_temperature",
    "greedy_first",
    "greedy_margin",
    "ending_value",
    "commit",
    "merge",
    "solve",
    "early_stop",
    "max_nbytes",
)
"""What changes what a search does; all of it stands in the name of its arm."""

SEARCH_OPTIONS = (*_SETTINGS, "screenshots", "explain", "report")
"""Every option that only a search looks at."""


def add_search_arguments(group: argparse._ArgumentGroup) -> None:
    """Declares what `Search` takes."""
    _add_limits(group)
    _add_rules(group)
    _add_commitment(group)
    group.add_argument("--screenshots", action="store_true", help="take pictures for the report")
    group.add_argument(
        "--explain", action="store_true", help="tell why each action was committed, in sentences"
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--budget", type=int, metavar="STEPS", help="environment steps at most")
    group.add_argument("--num-simulations", type=int, default=256, help="simulations at most")
    group.add_argument(
        "--max-seconds",
        type=float,
        metavar="SECONDS",
        help="wall time after which no batch begins; what is found then depends on the machine",
    )
    group.add_argument(
        "--max-scorer-calls", type=int, metavar="CALLS", help="calls of the scorer at most"
    )
    group.add_argument("--max-batch-size", type=int, default=16, help="screens scored together")
    group.add_argument(
        "--max-nbytes", type=int, metavar="BYTES", help="memory of the tree in the core at most"
    )


def _add_rules(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--policy",
        choices=POLICIES,
        default="auto",
        help="how edges are selected; auto: gumbel for up to 200 simulations, puct for more",
    )
    group.add_argument(
        "--c-puct", type=float, default=1.0, help="puct, uct and widening: weight of exploration"
    )
    group.add_argument(
        "--beam-width", type=int, default=8, help="beam: steps of a level that are visited"
    )
    group.add_argument(
        "--backup", choices=("mean", "max"), default="mean", help="what an edge keeps of its values"
    )
    group.add_argument(
        "--backup-value",
        choices=("edge", "screen", "mix"),
        default="mix",
        help="what a simulation sends up: the edge's score, the best on the new screen, their mean",
    )
    group.add_argument(
        "--weights",
        type=dimension_weights,
        metavar="H,OS,E,TR,C",
        help="what the five dimensions count in a total (default: the scorer's own total)",
    )
    group.add_argument(
        "--prior-temperature", type=float, default=1.0, help="of the priors; small is greedy"
    )
    for name, words in (
        ("merge", "a screen that was reached before is explored again"),
        ("solve", "steps that are known to all their ends still get simulations"),
        ("early-stop", "goes on when nothing is left to visit, or the first action is decided"),
    ):
        _add_switch_off(group, name, words)


def _add_commitment(group: argparse._ArgumentGroup) -> None:
    _add_switch_off(group, "greedy-first", "does not walk the greedy path first")
    group.add_argument(
        "--greedy-margin",
        type=float,
        default=0.1,
        help="how much better than the greedy ending another must be, of the range of scores",
    )
    group.add_argument(
        "--ending-value",
        choices=("last", "mean"),
        default="mean",
        help="what an ending is worth: its last score, or the mean of its scores",
    )
    group.add_argument(
        "--commit",
        choices=("ending", "visits"),
        default="ending",
        help="the best ending, or the most visited path",
    )


def _add_switch_off(group: argparse._ArgumentGroup, name: str, words: str) -> None:
    group.add_argument(
        f"--no-{name}", dest=name.replace("-", "_"), action="store_false", help=words
    )


def idle_options(args: argparse.Namespace) -> list[str]:
    """What the chosen policy does not look at."""
    policy = search_policy(args)
    idle = []
    if policy != "beam":
        idle += ["beam_width"]
    if policy not in ("puct", "uct", "widening"):
        idle += ["c_puct"]
    if policy in ("abmcts", "widening"):
        idle += ["backup", "merge", "solve", "greedy_first", "greedy_margin"]
    return idle


def search_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Every setting that changes what a search does, by name."""
    return {name: getattr(args, name) for name in _SETTINGS} | {"policy": search_policy(args)}


def search_policy(args: argparse.Namespace) -> str:
    """The policy that the search will have, `auto` resolved."""
    from similar_fast.search.settings import resolve_policy

    return resolve_policy(args.policy, args.num_simulations)


def make_search(args: argparse.Namespace, scorer: "Scorer") -> "Search":
    """The search that the options ask for.

    Raises:
        ValueError: A setting is outside of its range.
    """
    from similar_fast.search.search import Search

    settings = {name: getattr(args, name) for name in _SETTINGS}
    return Search(
        scorer,
        seed=args.seed,
        max_depth=args.max_steps,
        screenshots=args.screenshots,
        **settings,
    )


def explanation_lines(result: "SearchResult") -> list[str]:
    """Why each action was committed, for people."""
    from similar_fast.tree.explain import explain_steps

    return [f"  {line}" for step in explain_steps(result) for line in ("", *step.sentences)]


def search_document(result: "SearchResult", *, is_explained: bool) -> dict[str, Any]:
    """What one search says of itself, for programs."""
    from similar_fast.tree.explain import explain_steps

    document = {
        "task": result.task,
        "seed": result.seed,
        "success": result.success,
        "policy": result.policy,
        "stopped_by": result.stopped_by,
        "committed_by": result.committed_by,
        "num_simulations": result.num_simulations,
        "actions": [str(action) for action in result.actions],
    }
    if is_explained:
        document["explanation"] = [step.to_dict() for step in explain_steps(result)]
    return document
