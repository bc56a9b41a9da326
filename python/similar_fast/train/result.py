"""What a run of Triple-M ends with, as data and as a model card."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from similar_fast.models.heads import Heads
from similar_fast.models.manifest import Manifest
from similar_fast.train.held_out import SplitBy
from similar_fast.train.measures import Measured
from similar_fast.train.regression import RegressionFit
from similar_fast.train.settings import TrainSettings

__all__ = [
    "RESULT_NAME",
    "TrainResult",
    "finite",
    "model_card",
    "result_document",
]

RESULT_NAME = "result.json"
"""The result's file in a run's folder."""

_SPLITS = {
    "task": "whole tasks are held out",
    "episode": "episodes of the one task are held out: nothing is known of other tasks",
    "none": "nothing is held out: this training did not measure how good the model is",
}


@dataclass(frozen=True, slots=True, eq=False)
class TrainResult:
    """What a run ends with.

    Attributes:
        folder: The exported model.
        heads: Its heads.
        training_tasks: Tasks that it was trained on.
        validation_tasks: Tasks that it was measured on.
        split_by: What was held out of the training: whole tasks, episodes of the one task that
            there was, or nothing.
        training_steps: Steps that it was trained on.
        training_pairs: Pairs that it was trained on.
        regression: Stage 1, by dimension: alpha, and what it achieved while alpha was chosen.
        plain: The dimensions and their plain sum on the validation tasks; None where there are
            none.
        gated: The same with the gate; None as above, or where there is no gate.
        is_finetuned: Whether stage 0 was run. It saw the tasks that stages 1 and 2 hold out for
            choices of their own, so that what those measure on them is no measure of new tasks.
    """

    folder: Path
    heads: Heads
    training_tasks: tuple[str, ...]
    validation_tasks: tuple[str, ...]
    split_by: SplitBy
    training_steps: int
    training_pairs: int
    regression: RegressionFit
    plain: Measured | None
    gated: Measured | None
    is_finetuned: bool


def result_document(result: TrainResult) -> dict[str, Any]:
    """What is written of a result, as JSON takes it; NaN becomes None."""
    document = {
        "model": str(result.folder.name),
        "training_tasks": list(result.training_tasks),
        "validation_tasks": list(result.validation_tasks),
        "split_by": result.split_by,
        "training_steps": result.training_steps,
        "training_pairs": result.training_pairs,
        "is_gated": bool(result.heads.layers),
        "inner_held_out_seen_by_stage_0": result.is_finetuned,
        "regression": {
            str(fit.dimension): {
                "n": fit.n,
                "alpha": fit.alpha,
                "split_by": fit.split_by,
                "n_held_out": fit.n_held_out,
                "held_out": None if fit.chosen is None else asdict(fit.chosen),
            }
            for fit in result.regression.dimensions
        },
        "plain": None if result.plain is None else asdict(result.plain),
        "gated": None if result.gated is None else asdict(result.gated),
    }
    plain: dict[str, Any] = finite(document)
    return plain


def model_card(document: Mapping[str, Any], settings: TrainSettings, manifest: Manifest) -> str:
    """The card of the model, Markdown: data, splits, numbers and limits.

    Args:
        document: See `result_document`.
        settings: What the run was made with.
        manifest: Of the exported model.
    """
    validation = ", ".join(document["validation_tasks"]) or "nothing: no task was held out"
    tasks = document["training_tasks"]
    trained_on = (
        f"{document['training_steps']:,} steps and {document['training_pairs']:,} pairs of "
        f"{len(tasks)} tasks: {', '.join(tasks)}"
    )
    lines = [
        f"# {settings.export.name}",
        "",
        "A reward model of the Similar family (Miao et al., ICML 2025): scores in five dimensions",
        "and a total for the next action of a GUI agent. `similar-fast train` made it, and",
        "`similar_fast.RewardModel.from_pretrained(FOLDER)` opens it.",
        "",
        "| | |",
        "|---|---|",
        f"| backbone | {manifest.family}, {manifest.hidden_size} wide |",
        f"| weights | {manifest.dtype} out of the training; stored here as `similar.json` says |",
        f"| stages | {_stages(settings, is_gated=document['is_gated'])} |",
        f"| trained on | {trained_on} |",
        *_prior_lines(settings.export.lexical_prior),
        f"| data | {', '.join(settings.data) or 'not named'} |",
        f"| measured on | {validation} |",
        f"| split | {_SPLITS[document['split_by']]} |",
        *_numbers_lines(document, manifest),
        f"| seed | {settings.seed} |",
        f"| licence | {manifest.license} |",
        "",
    ]
    if settings.shuffles_labels:
        lines += ["**Its labels were shuffled: it is a control and knows nothing.**", ""]
    for name, title in (("plain", "plain sum of the dimensions"), ("gated", "gated total")):
        if document[name] is not None:
            lines += _measured_lines(document[name], title)
    lines += [
        "## Limits",
        "",
        "- What it has not seen, it guesses: tasks, words and screens unlike those of its data.",
        "- Labels from rollouts say what became of the policy that played them.",
        "- A score orders actions; it is no probability unless it was calibrated.",
        "",
    ]
    return "\n".join(lines)


def _prior_lines(weight: float) -> list[str]:
    if not weight:
        return []
    return [f"| lexical prior | {weight:g} x the overlap with the instruction, in task relevance |"]


def _stages(settings: TrainSettings, *, is_gated: bool) -> str:
    stages = ["regression"]
    if settings.finetune is not None:
        kind = (
            f"adapters of rank {settings.backbone.lora_rank}"
            if settings.backbone.lora_rank
            else "all layers"
        )
        stages.insert(0, f"fine-tuning ({kind}, {settings.finetune.epochs:g} epochs)")
    return ", ".join([*stages, *(["gate"] if is_gated else [])])


def _measured_lines(measured: Mapping[str, Any], title: str) -> list[str]:
    lines = [
        f"## On the validation tasks, {title}",
        "",
        "| dimension | steps | R2 | Spearman | pairs | ordered right % |",
        "|---|---|---|---|---|---|",
    ]
    for name, fit in measured["dimensions"].items():
        pairs = measured["pairs"].get(name, 0)
        lines.append(
            f"| {name} | {fit['n']:,} | {_number(fit['r2'])} | {_number(fit['spearman'])} "
            f"| {pairs:,} | {_percent(measured['pair_accuracy'].get(name))} |"
        )
    total = measured["pair_accuracy"].get("total")
    lines.append(f"| total | | | | {measured['pairs'].get('total', 0):,} | {_percent(total)} |")
    return [*lines, ""]


def _numbers_lines(document: Mapping[str, Any], manifest: Manifest) -> list[str]:
    if (document["plain"] or document["gated"]) and manifest.dtype != "float32":
        dtype = manifest.dtype
        return [f"| numbers | measured in float32, before the weights were stored as {dtype} |"]
    return []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def finite(value: Any) -> Any:  # noqa: ANN401  # whatever JSON can hold
    """`value` as JSON takes it, with None for every number that JSON has no word for."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
