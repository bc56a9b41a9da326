"""One run of Triple-M, from a checkpoint and data to a folder that `RewardModel` opens.

    OUT/plan.json            what the run is made of; a resumed run must be of the same
    OUT/untrained/           the checkpoint's export, while stage 0 goes on: its prompt is trained
    OUT/stage0.safetensors   the backbone and its optimiser, while stage 0 goes on
    OUT/backbone/            the fine-tuned checkpoint
    OUT/frozen/              its export in float32, whose heads are drawn: what computes features
    OUT/features/            h and p of every step
    OUT/stage2.safetensors   the gate and its optimiser, until the run is done
    OUT/checkpoint/          the backbone with heads.safetensors and prompt.json, for
                             `similar-fast-export`
    OUT/model/               the exported model
    OUT/metrics.jsonl        what was measured, a line each time
    OUT/result.json          what came out

A resumed run goes on where the last checkpoint was written: what a stage made is kept as a whole,
and stage 1, which takes seconds, is done again. A run that is over is told of once more.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from similar_fast_export.checkpoint import Checkpoint
from similar_fast_export.reward_model import ExportOptions, export_reward_model

from similar_fast.files.file_lock import lock_file
from similar_fast.files.whole_file import write_whole
from similar_fast.models.heads import HEADS_WEIGHTS_NAME, Heads, encode_heads
from similar_fast.models.manifest import CARD_NAME, read_manifest
from similar_fast.prompts.settings import write_prompt
from similar_fast.reward.lexical_prior import add_lexical_prior
from similar_fast.reward.model import RewardModel
from similar_fast.train.backbones import (
    check_adapters,
    check_backbone,
    open_backbone,
    save_backbone,
)
from similar_fast.train.checkpoint_files import copy_checkpoint
from similar_fast.train.data import TrainingSet
from similar_fast.train.features import cached_features
from similar_fast.train.finetune import finetune
from similar_fast.train.finetune_settings import FinetuneMetrics, check_finetuning
from similar_fast.train.finished import finished_result
from similar_fast.train.gate_settings import GatePairs, check_settings
from similar_fast.train.gating import GateFit, GateMetrics, fit_gate
from similar_fast.train.heads import HeadsModule
from similar_fast.train.held_out import hold_out_rows
from similar_fast.train.measures import Measured, measure
from similar_fast.train.plan import check_out, keep_plan
from similar_fast.train.regression import RegressionFit, fit_regression
from similar_fast.train.result import (
    RESULT_NAME,
    TrainResult,
    finite,
    model_card,
    result_document,
)
from similar_fast.train.settings import TrainSettings
from similar_fast.train.shuffling import shuffled
from similar_fast.train.split import draw_states
from similar_fast.train.tracking import Tracker

__all__ = ["Progress", "train"]

_INNER = {name: f"inner_{name}" for name in ("validation_loss", "accuracy", "accuracy_by_type")}

_Floats = NDArray[np.float32]
_Features = tuple[_Floats, _Floats]

Progress = Callable[[str, int, int], None]
"""Told the stage in words, how much of it is done, and of how much."""


def train(
    rows: TrainingSet,
    checkpoint: Path,
    out: Path,
    settings: TrainSettings,
    *,
    resume: bool = False,
    threads: int | None = None,
    tracker: Tracker | None = None,
    progress: Progress = lambda _stage, _done, _total: None,
) -> TrainResult:
    """Trains a reward model and exports it to `out/model`.

    Args:
        rows: Labelled steps and pairs.
        checkpoint: A Hugging Face folder of a family that can be exported.
        out: Where everything goes; made where it is missing.
        settings: How.
        resume: Whether to go on with the run in `out`, if there is one; without it `out` must be
            empty.
        threads: Of onnxruntime on the CPU, where features are computed; torch has its own setting.
        tracker: Takes the metrics as well.
        progress: Told what is being done.

    Raises:
        DataError: `out` holds another run, or something else; a step or a screenshot cannot be
            read.
        FileExistsError: `out` is not empty, and `resume` is not set.
        ImportError: peft is not installed, and adapters are asked for.
        ModelError: The checkpoint cannot be exported, or a loss is not finite.
        ValueError: A setting is out of its range, the data has nothing to train on, or one of `out`
            and `checkpoint` lies in the other.
    """
    check_out(out, checkpoint=checkpoint, resume=resume)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("ab") as lock:
        lock_file(lock, out / "lock")
        run = _Run(rows, checkpoint, out, settings=settings, tracker=tracker, progress=progress)
        return run.execute(threads)


class _Run:
    """One run; each stage reads what the one before wrote."""

    def __init__(
        self,
        rows: TrainingSet,
        checkpoint: Path,
        out: Path,
        *,
        settings: TrainSettings,
        tracker: Tracker | None,
        progress: Progress,
    ) -> None:
        self._checkpoint, self._out, self._settings = checkpoint, out, settings
        self._tracker, self._progress = tracker, progress
        held_out = hold_out_rows(
            rows,
            tasks=settings.validation_tasks,
            share=settings.validation_share,
            seed=settings.seed,
        )
        self._split_by = held_out.by
        # What is measured on is never shuffled.
        self._training = rows.rows(~held_out.rows)
        if settings.shuffles_labels:
            self._training = shuffled(self._training, settings.pairs, seed=settings.seed)
        drawn = draw_states(self._training.states, share=settings.feature_share, seed=settings.seed)
        self._frozen = self._training.rows(drawn)
        self._validation = rows.rows(held_out.rows)
        _check(self._training, self._frozen, settings)
        family = Checkpoint(checkpoint).family
        check_backbone(family, settings.backbone, device=settings.device)
        keep_plan(out, settings=settings, rows=rows, checkpoint=checkpoint)

    def execute(self, threads: int | None) -> TrainResult:
        if (done := finished_result(self._out)) is not None:
            return done
        backbone = self._fine_tuned()
        features, validation = self._features(backbone, threads)
        regression = self._regression(features)
        gate = self._gate(features, regression.heads())
        plain_heads = self._with_prior(regression.heads())
        heads = plain_heads if gate is None else self._with_prior(gate.heads)
        plain, gated = self._measured(validation, plain_heads, None if gate is None else heads)
        self._export(backbone, heads)
        result = TrainResult(
            folder=self._out / "model",
            heads=heads,
            training_tasks=tuple(sorted(set(self._training.tasks))),
            validation_tasks=tuple(sorted(set(self._validation.tasks))),
            split_by=self._split_by,
            training_steps=len(self._training),
            training_pairs=len(self._training.pairs),
            regression=regression,
            plain=plain,
            gated=gated,
            is_finetuned=self._settings.finetune is not None,
        )
        document = result_document(result)
        _write_json(self._out / RESULT_NAME, document)
        (self._out / "stage2.safetensors").unlink(missing_ok=True)
        card = model_card(document, self._settings, read_manifest(result.folder)).encode()
        write_whole(self._out / "checkpoint" / CARD_NAME, card)
        # What tells that the run is over comes last.
        write_whole(result.folder / CARD_NAME, card)
        return result

    def _fine_tuned(self) -> Path:
        """Stage 0: the checkpoint that the other stages stand on."""
        settings, folder = self._settings, self._out / "backbone"
        if settings.finetune is None:
            return self._checkpoint
        layout, state = self._out / "untrained", self._out / "stage0.safetensors"
        if not folder.exists():
            if not layout.exists():
                self._export_to(self._checkpoint, layout, drawn=True)
            self._check_provider(layout)
            backbone = open_backbone(
                self._checkpoint,
                read_manifest(layout),
                settings.backbone,
                device=settings.device,
                seed=settings.seed,
            )
            finetune(
                backbone,
                self._training,
                settings=settings.finetune,
                seed=settings.seed,
                validation=self._validation,
                checkpoint=state,
                progress=lambda done, total: self._progress("fine-tuning", done, total),
                report=self._report_finetune,
            )
            scratch = self._out / "backbone.partial"
            shutil.rmtree(scratch, ignore_errors=True)
            save_backbone(backbone, self._checkpoint, scratch)
            scratch.replace(folder)
        shutil.rmtree(layout, ignore_errors=True)
        state.unlink(missing_ok=True)
        return folder

    def _check_provider(self, model: Path) -> None:
        """Refuses a card that onnxruntime cannot use, before stage 0 takes hours on it."""
        providers = _providers(self._settings.device)
        if providers != "cpu":
            RewardModel(model, providers=providers)

    def _features(self, backbone: Path, threads: int | None) -> tuple[_Features, _Features]:
        """Of the rows that stages 1 and 2 see, and of the validation's."""
        folder = self._out / "frozen"
        if not folder.exists():
            self._export_to(backbone, folder, drawn=True)
        # torch keeps what stage 0 gave back, and onnxruntime needs it.
        torch.cuda.empty_cache()
        model = RewardModel(folder, providers=_providers(self._settings.device), threads=threads)
        h, p = cached_features(
            model,
            (*self._frozen.steps, *self._validation.steps),
            folder=self._out / "features",
            progress=lambda done, total: self._progress("computing features", done, total),
        )
        n = len(self._frozen)
        return (h[:n], p[:n]), (h[n:], p[n:])

    def _regression(self, features: _Features) -> RegressionFit:
        self._progress("regression", 0, 1)
        rows = self._frozen
        fit = fit_regression(
            features[0],
            rows.labels,
            groups=rows.tasks,
            weights=rows.weights,
            seed=self._settings.seed,
        )
        self._progress("regression", 1, 1)
        return fit

    def _gate(self, features: _Features, heads: Heads) -> GateFit | None:
        """Stage 2."""
        settings, rows = self._settings, self._frozen
        if settings.gate is None:
            return None
        pairs = GatePairs(
            chosen=rows.pairs[:, 0],
            rejected=rows.pairs[:, 1],
            groups=[rows.tasks[row] for row in rows.pairs[:, 0].tolist()],
            weights=rows.pair_weights.astype(np.float32),
            types=[str(type_) for type_ in rows.pair_types],
        )
        return fit_gate(
            pairs,
            features,
            heads=heads,
            settings=settings.gate,
            seed=settings.seed,
            device=settings.device,
            checkpoint=self._out / "stage2.safetensors",
            progress=lambda done, total: self._progress("gating", done, total),
            report=self._report_gate,
        )

    def _measured(
        self, features: _Features, plain: Heads, gated: Heads | None
    ) -> tuple[Measured | None, Measured | None]:
        """Both heads on the validation tasks."""
        rows = self._validation
        if not len(rows):
            return None, None
        found = []
        for name, heads in (("plain", plain), ("gated", gated)):
            if heads is not None:
                scores = HeadsModule(heads).scores(*features)
                scores = add_lexical_prior(scores, rows.steps, heads.lexical_prior)
                found.append(measure(rows, scores))
                self._log(name, asdict(found[-1]), step=0)
        return found[0], found[1] if gated is not None else None

    def _with_prior(self, heads: Heads) -> Heads:
        return replace(heads, lexical_prior=self._settings.export.lexical_prior)

    def _export(self, backbone: Path, heads: Heads) -> None:
        """The checkpoint with its heads, and the model."""
        checkpoint, model = self._out / "checkpoint", self._out / "model"
        for folder in (checkpoint, model):
            shutil.rmtree(folder, ignore_errors=True)
        copy_checkpoint(backbone, checkpoint)
        (checkpoint / HEADS_WEIGHTS_NAME).write_bytes(encode_heads(heads))
        write_prompt(checkpoint, self._settings.export.prompt)
        self._progress("exporting", 0, 1)
        self._export_to(checkpoint, model, drawn=False)
        self._progress("exporting", 1, 1)

    def _export_to(self, checkpoint: Path, folder: Path, *, drawn: bool) -> None:
        """An export of `checkpoint`; one with drawn heads is in float32."""
        about = self._settings.export
        export_reward_model(
            checkpoint,
            folder,
            ExportOptions(
                random_heads=0 if drawn else None,
                dtype="fp32" if drawn else about.dtype,
                prompt=about.prompt,
                name=about.name,
                license_id=about.license_id,
            ),
        )

    def _report_finetune(self, found: FinetuneMetrics) -> None:
        self._log("fine-tuning", asdict(found), step=found.step)

    def _report_gate(self, found: GateMetrics) -> None:
        # Stage 0 has seen the tasks that the gate is chosen on.
        metrics = {_INNER.get(name, name): value for name, value in asdict(found).items()}
        self._log("gating", metrics, step=found.step)

    def _log(self, stage: str, metrics: Mapping[str, Any], *, step: int) -> None:
        line = json.dumps(finite({"stage": stage, **metrics}), ensure_ascii=False) + "\n"
        path = self._out / "metrics.jsonl"
        # What a killed run wrote after its last checkpoint comes again.
        if not path.exists() or line not in path.read_text("utf-8").splitlines(keepends=True):
            with path.open("a", encoding="utf-8") as stream:
                stream.write(line)
        if self._tracker is not None:
            self._tracker.log(stage, _flat(metrics), step)


def _check(rows: TrainingSet, frozen: TrainingSet, settings: TrainSettings) -> None:
    """Refuses what a stage would refuse, before the plan is written."""
    if not np.isfinite(frozen.labels).any():
        raise ValueError(
            f"none of {len(frozen)} steps to train on has a label; stage 1 expected some"
        )
    if settings.seed < 0:
        raise ValueError(f"the seed is {settings.seed}; expected at least 0")
    max_history = settings.export.prompt.max_history
    if max_history is not None and max_history < 1:
        raise ValueError(f"max_history is {max_history}; expected at least 1")
    if not 0 <= settings.export.lexical_prior < math.inf:
        raise ValueError(f"lexical_prior is {settings.export.lexical_prior}; expected at least 0")
    if settings.finetune is not None:
        check_finetuning(settings.finetune, rows, settings.seed)
        check_adapters(settings.backbone)
    if settings.gate is not None:
        check_settings(settings.gate, settings.seed)
    if settings.gate is not None and not len(frozen.pairs):
        raise ValueError(
            "there are no pairs to train the gate on; expected labels of one state that differ, "
            "or pairs in the data, or a run without the gate"
        )


def _providers(device: str) -> str:
    return device if device.startswith("cuda") else "cpu"


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    write_whole(path, text.encode())


def _flat(metrics: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """Nested numbers under names with slashes."""
    found: dict[str, float] = {}
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}/")
        elif isinstance(value, int | float) and np.isfinite(value):
            found[before + str(key)] = float(value)
    return found
