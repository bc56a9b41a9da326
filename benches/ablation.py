"""Do the dimensions and the gate earn their place? Totals made in other ways, on srm-miniwob.

    PYTHONPATH=export python benches/ablation.py RUN [--data PAIRS] [--seed N] [--json]

RUN is the folder of a run of `similar-fast train`. Its frozen backbone gives h and p of every step
of the benchmark (kept in RUN/features), and each row of the table is another total of the same
features: the gate's, that without the lexical prior and the prior alone (where the heads have one),
the plain sum of the dimensions, their mean in units of the labels, one without each dimension, each
dimension alone, and one objective in place of five: a ridge regression of the weighted total,
fitted to the steps of the run's own training tasks, without a prior. Accuracy is over pairs of all
types, with 95% intervals clustered by task, and each difference to the gate's total is paired.
Pairs of more than one action are left out: no step's features stand for them.
--labels must be what the run was made of, in the same order.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from similar_fast.dimensions import DIMENSION_INFO, DIMENSIONS, Dimension
from similar_fast.errors import DataError, SimilarFastError
from similar_fast.metrics.comparison import compare
from similar_fast.metrics.intervals import accuracy_intervals
from similar_fast.models.heads import HEADS_WEIGHTS_NAME, LABEL_SCALES, read_heads
from similar_fast.records import PairRecord
from similar_fast.reward.lexical_prior import add_lexical_prior
from similar_fast.reward.model import RewardModel
from similar_fast.srm.readers import read_data
from similar_fast.train.data import PairSettings, TrainingSet, training_set
from similar_fast.train.features import cached_features
from similar_fast.train.heads import HeadsModule
from similar_fast.train.plan import PLAN_NAME
from similar_fast.train.result import RESULT_NAME
from similar_fast.train.split import draw_states
from similar_fast.types import Step

ROOT = Path(__file__).resolve().parents[1]
PAIRS = ROOT / "data" / "srm-miniwob.jsonl.xz"
LABELS = [ROOT / "data" / f"{name}.jsonl.xz" for name in ("miniwob-steps", "miniwob-steps-2")]

Floats = NDArray[np.float64]


def steps_of(pair: PairRecord) -> tuple[Step, Step]:
    """The better and the worse step of a pair."""
    chosen, rejected = (
        Step(pair.instruction, pair.history, actions[0], pair.observation)
        for actions in (pair.chosen, pair.rejected)
    )
    return chosen, rejected


def totals(
    dims: Floats, weights: Floats, single: Floats, prior: Floats
) -> Iterator[tuple[str, Floats]]:
    """Each way to make a total, the model's own first.

    Args:
        dims: `[n, 5]`, the lexical prior in task relevance.
        weights: `[n, 5]`, the gate's.
        single: `[n]`, the one objective in place of five.
        prior: `[n]`, what of task relevance is the lexical prior; zeros where there is none.
    """
    yield "gate", (dims * weights).sum(1)
    if prior.any():
        relevance = DIMENSIONS.index(Dimension.TASK_RELEVANCE)
        yield (
            "gate without the lexical prior",
            (dims * weights).sum(1) - weights[:, relevance] * prior,
        )
        yield "the lexical prior alone", prior
    yield "plain sum (3 H + 5 OS + 5 E + TR + C)", dims.sum(1)
    yield "mean of the dimensions", (dims / np.array(LABEL_SCALES)).mean(1)
    yield "one objective: ridge on the total", single
    for i, dimension in enumerate(DIMENSIONS):
        kept = np.arange(len(DIMENSIONS)) != i
        yield f"gate without {DIMENSION_INFO[dimension].symbol}", (dims * weights)[:, kept].sum(1)
    for i, dimension in enumerate(DIMENSIONS):
        kept = np.arange(len(DIMENSIONS)) != i
        yield f"plain sum without {DIMENSION_INFO[dimension].symbol}", dims[:, kept].sum(1)
    for i, dimension in enumerate(DIMENSIONS):
        yield f"{DIMENSION_INFO[dimension].symbol} alone", dims[:, i]


def labels_of(run: Path, data: Sequence[Path]) -> TrainingSet:
    """What stage 1 of a run was fitted to, read again from `data`.

    Raises:
        DataError: `data` is not what the run's plan names.
        OSError: A file cannot be read.
    """
    try:
        plan = json.loads((run / PLAN_NAME).read_bytes())
        compared_by = PairSettings(**plan["settings"]["pairs"])
        share, seed = plan["settings"]["feature_share"], plan["settings"]["seed"]
        made_of, names = plan["data"], plan["settings"]["data"]
        tasks = json.loads((run / RESULT_NAME).read_bytes())["training_tasks"]
    except (ValueError, KeyError, TypeError) as err:
        raise DataError(
            f"{PLAN_NAME} or {RESULT_NAME} is broken or of another version: {err!r}", path=run
        ) from err
    rows = training_set(
        (record for path in data for record in read_data(path)), compared_by=compared_by
    )
    if rows.fingerprint() != made_of:
        given = ", ".join(path.name for path in data) or "nothing"
        raise DataError(
            f"the run was made of data with the fingerprint {made_of}; {given} has "
            f"{rows.fingerprint()}; expected --labels with the run's data in its order: "
            f"{', '.join(names) or 'not named'}",
            path=run / PLAN_NAME,
        )
    rows = rows.rows(rows.of_tasks(tasks))
    return rows.rows(draw_states(rows.states, share=share, seed=seed))


def single_objective(
    run: Path,
    rows: TrainingSet,
    features: Callable[[tuple[Step, ...]], tuple[Any, Any]],
    hidden: NDArray[np.float32],
) -> Floats:
    """The predictions `[n]` of one ridge regression of the weighted total.

    Fitted to the steps of the run's training tasks whose five labels are known; its alpha is the
    median of stage 1's, over the dimensions that have labels.

    Args:
        run: The run's folder.
        rows: What stage 1 was fitted to.
        features: h and p of steps.
        hidden: `[n, H]`, h of the steps to judge.

    Raises:
        DataError: No such step is there.
    """
    document = json.loads((run / RESULT_NAME).read_bytes())
    rows = rows.rows(rows.of_tasks(document["training_tasks"]))
    labels = rows.labels @ np.array(LABEL_SCALES)
    known = np.isfinite(labels)
    if not known.any():
        raise DataError("no step of the training tasks has all five labels", path=run / RESULT_NAME)
    # JSON has None for the alpha of a dimension without labels.
    alphas = np.array([fit["alpha"] for fit in document["regression"].values()], np.float64)
    trained = features(rows.steps)[0][known].astype(np.float64)
    weights = rows.weights[known, None]
    left = trained.T @ (weights * trained) + np.nanmedian(alphas) * np.eye(trained.shape[1])
    right = trained.T @ (weights[:, 0] * labels[known])
    return np.asarray(hidden.astype(np.float64) @ np.linalg.solve(left, right))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=PAIRS, help="pairs to judge")
    parser.add_argument(
        "--labels",
        type=Path,
        nargs="+",
        default=LABELS,
        help="what the run was made of, in its order (default: both rounds in data/)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    try:
        return ablate(args)
    except (SimilarFastError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def ablate(args: argparse.Namespace) -> int:
    """Prints the table, or the same as JSON."""
    # First, since it needs no features: a run of other data is refused at once.
    trained_on = labels_of(args.run, args.labels)
    records = [record for record in read_data(args.data) if isinstance(record, PairRecord)]
    pairs = [pair for pair in records if len(pair.chosen) == len(pair.rejected) == 1]
    if left_out := len(records) - len(pairs):
        print(f"{left_out} of {len(records)} pairs left out: of more actions", file=sys.stderr)
    if not pairs:
        raise DataError("it has no pair of two actions to judge", path=args.data)
    steps = tuple(step for pair in pairs for step in steps_of(pair))
    model = RewardModel(args.run / "frozen", providers="cpu")

    def features(of: tuple[Step, ...]) -> tuple[Any, Any]:
        return cached_features(model, of, folder=args.run / "features")

    hidden, prompt_hidden = features(steps)
    heads = read_heads(args.run / "checkpoint" / HEADS_WEIGHTS_NAME)
    scores = HeadsModule(heads).scores(hidden, prompt_hidden)
    assert scores.weights is not None
    dims, plain = (
        np.asarray(scored.dims, np.float64)
        for scored in (add_lexical_prior(scores, steps, heads.lexical_prior), scores)
    )
    prior = (dims - plain).sum(1)
    single = single_objective(args.run, trained_on, features, hidden)
    dtype = model.manifest.dtype
    rows = []
    for split in sorted({pair.split for pair in pairs}):
        of = np.array([pair.split == split for pair in pairs])
        tasks = [pair.task for pair in pairs if pair.split == split]
        gate: tuple[Floats, Floats] | None = None
        for name, total in totals(dims, scores.weights.astype(np.float64), single, prior):
            sides = (total[0::2][of], total[1::2][of])
            gate = gate or sides
            found = accuracy_intervals(*sides, clusters=tasks, seed=args.seed)
            paired = compare(
                sides, gate, clusters=tasks, seed=args.seed
            ).overall.difference.estimate
            rows.append(
                {
                    "split": split,
                    "total": name,
                    "pairs": len(tasks),
                    "accuracy": found.micro.value,
                    "low": found.micro.interval.low,
                    "high": found.micro.interval.high,
                    "against_gate": paired.value,
                    "against_gate_low": paired.interval.low,
                    "against_gate_high": paired.interval.high,
                }
            )
    if args.json:
        about = {"run": str(args.run), "dtype": dtype, "seed": args.seed}
        print(json.dumps({**about, "rows": rows}, indent=2))
        return 0
    print(f"Features of {args.run}/frozen, {dtype}: an exported model of another dtype differs.\n")
    print("| split | total | pairs | accuracy % [95%] | against the gate |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['split']} | {row['total']} | {row['pairs']} "
            f"| {100 * row['accuracy']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}] "
            f"| {100 * row['against_gate']:+.1f} [{100 * row['against_gate_low']:+.1f}, "
            f"{100 * row['against_gate_high']:+.1f}] |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
