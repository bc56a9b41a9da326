"""A whole run learns what can be learnt, its control learns nothing, and metrics go where asked."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from checkpoints import VOCABULARY
from prompt_checkpoints import save_checkpoint
from similar_fast.errors import ModelError
from similar_fast.metrics import accuracy_intervals
from similar_fast.prompts.settings import PromptSettings
from similar_fast.reward.model import RewardModel
from similar_fast.train.data import TrainingSet, training_set
from similar_fast.train.finetune_settings import FinetuneSettings
from similar_fast.train.gate_settings import GateSettings
from similar_fast.train.heads import HeadsModule
from similar_fast.train.measures import measure
from similar_fast.train.module_state import save_module
from similar_fast.train.run import train
from similar_fast.train.settings import ExportSettings, TrainSettings
from similar_fast.train.split import draw_states
from similar_fast.train.tracking import open_tracker
from train_data import clicks
from transformers import BertConfig, BertModel

SETTINGS = TrainSettings(
    finetune=FinetuneSettings(epochs=10, learning_rate=3e-3, heads_rate=1.5e-2),
    gate=GateSettings(widths=(32,), steps=50),
    validation_tasks=("click-1", "click-4"),
)


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bert of two layers that can learn within seconds."""
    folder = save_checkpoint(tmp_path_factory.mktemp("small"), "bert")
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows() -> TrainingSet:
    return training_set(clicks(episodes=40))


def test_run_learns_what_a_screen_tells_and_orders_pairs_of_unseen_tasks(
    small_bert: Path, rows: TrainingSet, tmp_path: Path
) -> None:
    result = train(rows, small_bert, tmp_path / "out", replace(SETTINGS, seed=5))

    for measured in (result.plain, result.gated):
        assert measured is not None
        assert measured.pairs["total"] == 160
        assert measured.pair_accuracy["total"] > 0.8  # chance is 0.5
        assert measured.dimensions["odds of success"].r2 > 0.4
    held_out = rows.rows(rows.of_tasks(SETTINGS.validation_tasks))
    model = RewardModel(result.folder, providers="cpu", threads=1)
    total = model.score(held_out.steps).total
    better, worse = held_out.pairs.T
    assert (total[better] > total[worse]).mean() > 0.8  # chance is 0.5


def test_control_of_shuffled_labels_ends_at_chance(
    small_bert: Path, rows: TrainingSet, tmp_path: Path
) -> None:
    result = train(rows, small_bert, tmp_path / "out", replace(SETTINGS, shuffles_labels=True))

    held_out = rows.rows(rows.of_tasks(SETTINGS.validation_tasks))
    model = RewardModel(result.folder, providers="cpu", threads=1)
    total = model.score(held_out.steps).total.astype(np.float64)
    better, worse = held_out.pairs.T
    # Screens with one instruction are alike, whatever their task.
    words = [held_out.steps[i].instruction for i in better]
    found = accuracy_intervals(total[better], total[worse], clusters=words, seed=0)
    interval = found.micro.interval
    assert interval.low < 0.5 < interval.high
    # Measured on labels as they are: else a model that knows all would look like chance as well.
    assert result.gated is not None
    share = (total[better] > total[worse]).mean()
    assert result.gated.pair_accuracy["total"] == pytest.approx(share, abs=0.02)


def test_stages_on_the_frozen_backbone_may_see_a_share_of_the_states(
    small_bert: Path, rows: TrainingSet, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, finetune=None, feature_share=0.25)

    result = train(rows, small_bert, tmp_path / "out", settings)

    training = rows.rows(~rows.of_tasks(SETTINGS.validation_tasks))
    drawn = draw_states(training.states, share=0.25, seed=settings.seed)
    assert set(training.states[drawn]).isdisjoint(training.states[~drawn])
    assert len(set(training.states[drawn])) == round(len(set(training.states)) / 4)
    success = result.regression.dimensions[1]
    assert success.n == np.isfinite(training.labels[drawn, 1]).sum() < len(training)
    assert result.training_steps == len(training)
    assert result.plain is not None
    assert result.plain.steps == len(rows) - len(training)


def test_lexical_prior_is_in_the_model_and_in_what_is_measured(
    small_bert: Path, rows: TrainingSet, tmp_path: Path
) -> None:
    export = ExportSettings(lexical_prior=1.5)
    settings = replace(SETTINGS, finetune=None, gate=None, export=export)

    result = train(rows, small_bert, tmp_path / "out", settings)

    held_out = rows.rows(rows.of_tasks(SETTINGS.validation_tasks))
    model = RewardModel(result.folder, providers="cpu", threads=1)
    assert model.manifest.reward is not None
    assert model.manifest.reward.heads.lexical_prior == result.heads.lexical_prior == 1.5
    assert result.plain is not None
    found = measure(held_out, model.score(held_out.steps))
    assert found.pair_accuracy["total"] == pytest.approx(result.plain.pair_accuracy["total"])
    without = HeadsModule(result.heads).scores(*model.features(held_out.steps))
    assert measure(held_out, without).pair_accuracy["total"] != found.pair_accuracy["total"]
    assert "| lexical prior | 1.5 x" in (result.folder / "README.md").read_text("utf-8")


def test_history_of_no_action_is_refused(
    small_bert: Path, rows: TrainingSet, tmp_path: Path
) -> None:
    export = ExportSettings(prompt=PromptSettings(max_history=0))

    with pytest.raises(ValueError, match="max_history is 0; expected at least 1"):
        train(rows, small_bert, tmp_path / "out", replace(SETTINGS, export=export))


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_share_of_the_states_out_of_its_range_is_refused(
    small_bert: Path, rows: TrainingSet, tmp_path: Path, share: float
) -> None:
    with pytest.raises(ValueError, match="the share of the states is"):
        train(rows, small_bert, tmp_path / "out", replace(SETTINGS, feature_share=share))


def test_card_that_onnxruntime_cannot_use_is_refused_before_stage_0(
    exported: Callable[[str], tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, *, providers: str) -> None:
        raise ModelError(f"{folder.name} on {providers}")

    monkeypatch.setattr("similar_fast.train.run.RewardModel", refuse)
    few = training_set(clicks(episodes=2))

    with pytest.raises(ModelError, match="untrained on cuda"):
        train(few, exported("qwen2")[0], tmp_path / "out", replace(SETTINGS, device="cuda"))


class StubLibrary(ModuleType):
    """What trackio and wandb have in common; a stub, for neither is installed here."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, object]] = []

    def init(self, **options: object) -> None:
        self.calls.append(("init", options))

    def log(self, metrics: dict[str, float]) -> None:
        self.calls.append(("log", metrics))

    def finish(self) -> None:
        self.calls.append(("finish", None))


@pytest.fixture(params=["trackio", "wandb"])
def stub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubLibrary]:
    library = StubLibrary(request.param)
    monkeypatch.setitem(sys.modules, request.param, library)
    return library


def test_tracker_is_told_every_stage_and_finished(
    stub: StubLibrary, small_bert: Path, tmp_path: Path
) -> None:
    few = training_set(clicks(episodes=2))
    finetune = FinetuneSettings(epochs=1, save_every=1)
    settings = replace(SETTINGS, finetune=finetune, gate=GateSettings(widths=(8,), steps=2))

    name = stub.__name__
    with open_tracker(name, project="p", run="r", config=settings.to_dict()) as tracker:  # type: ignore[arg-type]
        train(few, small_bert, tmp_path / "out", settings, tracker=tracker)

    assert stub.calls[0] == ("init", {"project": "p", "name": "r", "config": settings.to_dict()})
    assert stub.calls[-1] == ("finish", None)
    logged = [metrics for kind, metrics in stub.calls if kind == "log"]
    assert all(isinstance(v, float | int) for m in logged for v in m.values())  # type: ignore[attr-defined]
    names = set().union(*logged)  # type: ignore[arg-type]
    assert {
        "fine-tuning/label_loss",
        "fine-tuning/validation/pair_accuracy/total",
        "gating/step",
        "gating/inner_validation_loss",
        "gated/pair_accuracy/total",
    } <= names
    lines = (tmp_path / "out" / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["stage"] for line in lines] == [
        next(iter(m)).split("/")[0]  # type: ignore[call-overload]
        for m in logged
    ]


@pytest.mark.parametrize("stage", ["finetune", "gating"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_around_a_checkpoint_loses_no_measurement_and_repeats_none(
    when: str, stage: str, small_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = training_set(clicks(episodes=2))
    finetune = FinetuneSettings(epochs=2, save_every=2)
    gate = GateSettings(widths=(8,), steps=4, measure_every=2)
    settings = replace(SETTINGS, finetune=finetune, gate=gate)
    train(few, small_bert, tmp_path / "whole", settings)

    def die(*args: object, **options: object) -> None:
        if when == "after":
            save_module(*args, **options)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"similar_fast.train.{stage}.save_module", die)
        with pytest.raises(KeyboardInterrupt):
            train(few, small_bert, tmp_path / "killed", settings)
    train(few, small_bert, tmp_path / "killed", settings, resume=True)

    whole, killed = (tmp_path / name / "metrics.jsonl" for name in ("whole", "killed"))
    assert killed.read_text("utf-8") == whole.read_text("utf-8")


def test_tracker_is_finished_where_a_run_fails(stub: StubLibrary) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        open_tracker(stub.__name__, project="p", run="r", config={}),  # type: ignore[arg-type]
    ):
        raise KeyboardInterrupt

    assert stub.calls[-1] == ("finish", None)


def test_no_tracker_forgets_all() -> None:
    with open_tracker("none", project="p", run="r", config={}) as tracker:
        tracker.log("gating", {"loss": 1.0}, 1)
