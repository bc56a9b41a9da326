"""`similar-fast collect`: labels for single steps, from rollouts in the real environment."""

import argparse
import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from similar_fast.cli.arguments import (
    HelpFormatter,
    add_llm_arguments,
    add_miniwob_arguments,
    check_llm_arguments,
    miniwob_tasks,
    seeds,
    words,
)
from similar_fast.cli.data_files import DataFiles
from similar_fast.cli.output import Output, count

if TYPE_CHECKING:
    from similar_fast.collect.collector import CollectProgress, CollectSummary, Engine
    from similar_fast.collect.settings import CollectSettings
    from similar_fast.collect.spec import LlmSpec, WorkerSpec
    from similar_fast.collect.worker import Unit

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
MCTS-P: plays rollouts of candidate actions in the real environment and labels each action by what
became of them. Writes DIR/steps.jsonl (one labelled step a line), DIR/episodes.jsonl (what each
episode cost) and DIR/manifest.json. What was interrupted, or killed, goes on with --resume: no
label is lost or made twice, and the same plan gives the same file, whatever the workers. Exit code
1 where an episode failed.
"""

_SETTINGS = (
    "mode",
    "rollouts",
    "min_rollouts",
    "root_rollouts",
    "root_successes",
    "width",
    "num_simulations",
    "max_steps",
    "c_puct",
    "temperature",
    "epsilon",
    "rule",
    "idle",
    "budget",
)


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    from similar_fast.collect.settings import CollectSettings

    parser = commands.add_parser(
        "collect",
        parents=[shared],
        help="label steps by rollouts in the real environment (MCTS-P)",
        description=_DESCRIPTION,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run, keeps_finished=True)
    what = parser.add_argument_group("what")
    what.add_argument(
        "--tasks",
        type=words,
        metavar="NAMES",
        help="comma list; `train`, `held-out` and `all` stand for the tasks of the tables "
        "(default: train)",
    )
    what.add_argument(
        "--seeds",
        type=seeds,
        metavar="A-B",
        help="task seeds (default: 1000-1099)",
    )
    what.add_argument(
        "--targets",
        type=Path,
        metavar="FILE",
        help="label the actions of these steps or pairs again, and no others; in place of --tasks "
        "and --seeds",
    )
    what.add_argument("--sample", type=int, metavar="N", help="of --targets, so many at random")
    what.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    what.add_argument(
        "--resume", action="store_true", help="go on with the collection that DIR holds"
    )
    what.add_argument("--max-labels", type=int, metavar="N", help="stop once so many are there")
    _add_settings(parser.add_argument_group("how"), CollectSettings())
    who = parser.add_argument_group("who plays the rollouts")
    who.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        help="a reward model, for a second round (default: a lexical heuristic)",
    )
    who.add_argument(
        "--judge",
        choices=("proxy", "llm"),
        default="proxy",
        help="who labels task relevance and coherence: rules on what the environment showed, or a "
        "language model (extra `llm`)",
    )
    who.add_argument(
        "--proposer",
        choices=("rules", "llm"),
        default="rules",
        help="who proposes the candidate actions",
    )
    add_llm_arguments(who)
    who.add_argument("--device", default="auto", help="where the model runs")
    where = parser.add_argument_group("where")
    where.add_argument("--workers", type=int, default=2, metavar="N", help="browsers at work")
    where.add_argument(
        "--engine",
        choices=("processes", "ray"),
        default="processes",
        help="processes of this machine, or a Ray cluster (extra `ray`)",
    )
    where.add_argument("--ray-address", metavar="ADDRESS", help="of a running Ray cluster")
    add_miniwob_arguments(where)


def _add_settings(how: argparse._ArgumentGroup, default: "CollectSettings") -> None:
    def number(name: str, help_: str, kind: type = int) -> None:
        option = "--" + name.replace("_", "-")
        how.add_argument(
            option, dest=name, type=kind, default=getattr(default, name), metavar="N", help=help_
        )

    how.add_argument(
        "--mode",
        choices=("tree", "greedy"),
        default=default.mode,
        help="a tree search by the labels, or a walk along the best label of each step",
    )
    number("rollouts", "rollouts of an action at most")
    number("min_rollouts", "so many settle it where all agree; as --rollouts for exactly so many")
    number("root_rollouts", "from the start at most; without a success the episode is skipped")
    number("root_successes", "successes from the start after which no more are played")
    number("width", "candidates of a state that are labelled on purpose")
    number("num_simulations", "actions that a tree labels on purpose")
    number("max_steps", "actions of a rollout at most")
    number("c_puct", "how widely a tree looks", float)
    number("temperature", "of the rollout policy", float)
    number("epsilon", "share of uniform choices in every second rollout", float)
    how.add_argument(
        "--rule",
        choices=("majority", "mean"),
        default=default.rule,
        help="what counts as reached in helpfulness: most rollouts, or their share",
    )
    how.add_argument(
        "--idle",
        choices=("label", "skip"),
        default=default.idle,
        help="label an action that changed nothing by what is known of its state, or leave it out",
    )
    how.add_argument("--budget", type=int, metavar="STEPS", help="environment steps an episode")
    how.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seeds all chance; with --targets, give another than the first labelling had",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Collects; 1 where an episode failed."""
    from similar_fast.collect.journal import PLAN
    from similar_fast.collect.manifest import write_manifest
    from similar_fast.collect.settings import CollectSettings
    from similar_fast.collect.spec import WorkerSpec
    from similar_fast.models.shipped import reward_folder

    if args.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {args.workers}")
    units, what = _units(args, output)
    settings = CollectSettings(**{name: getattr(args, name) for name in _SETTINGS}, draws=args.seed)
    spec = WorkerSpec(
        settings=settings,
        chromium=args.chromium,
        # On another node the folder is looked for under the same path.
        model=None if args.model is None else reward_folder(args.model).absolute(),
        device=args.device,
        llm=_llm(args),
    )
    # What a resumed collection must have in common with its first run.
    plan = {
        "environment": "miniwob",
        **what,
        "policy": spec.policy,
        "model": spec.fingerprint,
        "judge": args.judge,
        "llm_model": args.llm_model,
        "settings": settings.to_dict(),
    }
    try:
        summary = _collect(args, output, units=units, spec=spec, plan=plan)
    except KeyboardInterrupt:
        if (args.out / PLAN).exists():
            output.note("the same command with --resume goes on from here")
        raise
    manifest = write_manifest(args.out)
    _print(output, args, summary, manifest)
    return 1 if summary.failed else 0


def _collect(
    args: argparse.Namespace,
    output: Output,
    *,
    units: "list[Unit]",
    spec: "WorkerSpec",
    plan: dict[str, Any],
) -> "CollectSummary":
    """Collects while a bar is shown."""
    from similar_fast.collect.collector import collect

    with output.progress(len(units), f"episodes into {args.out}") as bar:
        done = 0

        def report(now: "CollectProgress") -> None:
            nonlocal done
            words = f"{now.labels:,} labels, {now.labels_per_hour:,.0f} an hour"
            bar.advance(words, amount=now.done - done)
            done = now.done

        return collect(
            _engine(args, spec),
            units,
            out=args.out,
            plan=plan,
            resume=args.resume,
            max_labels=args.max_labels,
            report=report,
        )


def _units(args: argparse.Namespace, output: Output) -> "tuple[list[Unit], dict[str, Any]]":
    """The episodes to label, and what the plan says of them."""
    from similar_fast.collect.targets import units_of_records
    from similar_fast.collect.worker import Unit

    if args.targets is None:
        if args.sample is not None:
            raise ValueError("--sample has no effect without --targets")
        tasks = miniwob_tasks(args.tasks or ["train"])
        seeds = args.seeds or list(range(1000, 1100))
        # Seeds outside, tasks inside: what an early stop leaves is even over tasks.
        units = [Unit(task, seed) for seed in seeds for task in tasks]
        return units, {"tasks": tasks, "seeds": seeds}
    if args.tasks is not None or args.seeds is not None:
        raise ValueError("--targets names its own tasks and seeds; expected no others beside it")
    with DataFiles.shown([args.targets], output) as files:
        units = units_of_records(
            files.records(), sample=args.sample, seed=args.seed, path=args.targets
        )
    digest = hashlib.sha256(args.targets.read_bytes()).hexdigest()
    targets = {"name": args.targets.name, "sha256": digest, "sample": args.sample}
    return units, {"targets": targets}


def _llm(args: argparse.Namespace) -> "LlmSpec | None":
    """The language model that judges or proposes."""
    from similar_fast.collect.spec import LlmSpec

    judges, proposes = args.judge == "llm", args.proposer == "llm"
    option = "--judge or --proposer" if not judges and not proposes else "--judge"
    check_llm_arguments(args, is_asked=judges or proposes, option=option)
    if not judges and not proposes:
        return None
    return LlmSpec(url=args.llm_url, model=args.llm_model, judges=judges, proposes=proposes)


def _engine(args: argparse.Namespace, spec: "WorkerSpec") -> "Engine":
    if args.engine == "ray":
        from similar_fast.collect.ray_engine import RayEngine

        return RayEngine(spec, args.workers, address=args.ray_address)
    from similar_fast.collect.processes import ProcessEngine

    return ProcessEngine(spec, args.workers)


def _print(
    output: Output, args: argparse.Namespace, summary: "CollectSummary", manifest: dict[str, Any]
) -> None:
    costs = summary.counts
    labels = max(1, summary.labels)
    output.text(
        f"{count(summary.labels, 'label')} of {count(summary.episodes, 'episode')} in {args.out}",
        f"  {summary.sampled:,} on purpose, {summary.labels - summary.sampled:,} by rollouts "
        "that passed through",
        f"  {summary.labels_per_hour:,.0f} labels an hour in this run; "
        f"{costs['resets'] / labels:.2f} resets, {costs['env_steps'] / labels:.2f} steps a label",
        f"  {summary.skipped:,} episodes skipped: no rollout from the start reached the goal",
        f"  {costs['diverged']:,} of {costs['rollouts'] + costs['diverged']:,} rollouts diverged "
        f"and were dropped; {costs['lost']:,} were lost and played again",
    )
    if summary.solved is not None:
        walks = summary.episodes + summary.skipped
        output.text(f"  {summary.solved:,} of {walks:,} greedy walks reached the goal")
    if costs.get("llm_requests"):
        output.text(
            f"  {costs['llm_requests']:,} requests of the language model, "
            f"{costs['llm_prompt_tokens']:,} tokens in and {costs['llm_completion_tokens']:,} out; "
            f"{costs['judge_failures']:,} steps could not be judged"
        )
    if costs["missing"]:
        output.note(f"{count(costs['missing'], 'action')} of --targets are not offered any more")
    if summary.failed:
        output.note(
            f"{count(summary.failed, 'episode')} failed; --resume tries them again; the last: "
            f"{summary.last_error}"
        )
    output.document(
        {
            **asdict(summary),
            "labels_per_hour": summary.labels_per_hour,
            "out": str(args.out),
            "manifest": manifest,
        }
    )
