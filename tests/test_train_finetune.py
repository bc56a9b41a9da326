"""Stage 0: losses against a plain count, gradients, and that a run goes on to the same bits."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from similar_fast.errors import DataError, ModelError
from similar_fast.models.heads import LABEL_SCALES, Heads
from similar_fast.models.manifest import Manifest, read_manifest
from similar_fast.train.backbones import BackboneSettings, PackedBert, open_backbone
from similar_fast.train.data import PairSettings, TrainingSet, training_set
from similar_fast.train.finetune import FinetuneFit, finetune
from similar_fast.train.finetune_settings import FinetuneMetrics, FinetuneSettings
from similar_fast.train.heads import HeadsModule
from similar_fast.train.losses import partners_of, step_loss
from similar_fast.train.sampling import Batch, Sampler, SamplingSettings
from train_data import clicks

Export = Callable[[str], tuple[Path, Path]]
SETTINGS = FinetuneSettings(
    epochs=2,
    learning_rate=1e-3,
    rename=0.5,
    sampling=SamplingSettings(batch_states=4),
    save_every=3,
)


def toy(*, episodes: int = 4, gaps: bool = True) -> TrainingSet:
    """Screens of toy clicks, two to an episode, with labels that are not known here and there."""
    found = []
    for i, record in enumerate(clicks(episodes=episodes)):
        labels = record.labels
        if gaps and i % 5 == 0:
            labels = type(labels)(odds_of_success=labels.odds_of_success)
        elif gaps and i % 7 == 0:
            labels = type(labels)()
        # Two episodes are two states of one, so that endings stand side by side.
        trajectory = f"{record.task} {record.seed // 2}"  # type: ignore[operator]
        found.append(msgspec.structs.replace(record, labels=labels, trajectory=trajectory, seed=0))
    return training_set(found)


def batches(rows: TrainingSet, count: int) -> list[Batch]:
    sampler = iter(Sampler(rows, SETTINGS.sampling, seed=1))
    return [next(sampler) for _ in range(count)]


def plain_losses(
    dims: list[list[float]], rows: TrainingSet, batch: Batch, settings: FinetuneSettings
) -> tuple[float, float]:
    """The two losses by loops over numbers."""
    flat = [row for state in batch for row in state]
    values = dict(zip(flat, dims, strict=True))
    label = 0.0
    for row in flat:
        for d in range(5):
            truth = float(rows.labels[row, d])
            if not math.isnan(truth):
                error = values[row][d] / LABEL_SCALES[d] - truth
                label += settings.label_weights[d] * float(rows.weights[row]) * error**2
    weighted = total = 0.0
    pairs = [
        (a, b, w)
        for (a, b), w in zip(rows.pairs.tolist(), rows.pair_weights.tolist(), strict=True)
        if rows.states[a] == rows.states[b] and a in values and b in values
    ]
    pairs += [
        (a, b, settings.ending_weight)
        for a in flat
        for b in flat
        if rows.is_final[a]
        and rows.is_final[b]
        and rows.episodes[a] == rows.episodes[b]
        and rows.states[a] != rows.states[b]
        and rows.labels[a, 1] == 1
        and rows.labels[b, 1] == 0
    ]
    for a, b, weight in pairs:
        margin = sum(values[a]) - sum(values[b])
        weighted += weight * -math.log(1 / (1 + math.exp(-margin)))
        total += weight
    return label / len(flat), weighted / total if total else math.nan


def test_losses_equal_a_plain_count() -> None:
    rows = toy()
    settings = replace(SETTINGS, ending_weight=0.3)
    rng = np.random.default_rng(0)

    counted = 0
    for batch in batches(rows, 8):
        n = sum(map(len, batch))
        dims = torch.tensor(rng.normal(size=(n, 5)))
        found = step_loss(dims, rows, batch, partners=partners_of(rows), settings=settings)
        expected = plain_losses(dims.tolist(), rows, batch, settings)
        assert [float(x) for x in found] == pytest.approx(list(expected), rel=1e-9, nan_ok=True)
        counted += not math.isnan(expected[1])
    assert counted > 4


def test_label_that_is_not_known_has_no_gradient_and_no_pairs_is_no_loss() -> None:
    rows = toy()
    no_pairs = replace(
        rows,
        pairs=rows.pairs[:0],
        pair_weights=rows.pair_weights[:0],
        pair_types=(),
        is_final=np.zeros(len(rows), bool),
    )
    batch = batches(rows, 1)[0]
    flat = [row for state in batch for row in state]
    dims = torch.zeros(len(flat), 5, dtype=torch.float64, requires_grad=True)

    label_loss, pair_loss = step_loss(
        dims, no_pairs, batch, partners=partners_of(no_pairs), settings=SETTINGS
    )
    label_loss.backward()

    assert math.isnan(float(pair_loss))
    unknown = np.isnan(rows.labels[flat])
    assert unknown.any()
    assert dims.grad is not None
    gradient = dims.grad.numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[unknown] == 0).all()
    known = ~unknown & (rows.labels[flat] != 0)
    assert (gradient[known] != 0).all()


def test_gradients_equal_finite_differences(exported: Export) -> None:
    checkpoint, folder = exported("bert")
    backbone = PackedBert(checkpoint, read_manifest(folder))
    backbone.model.double()
    rng = np.random.default_rng(3)
    heads = HeadsModule(Heads(rng.normal(0, 0.1, (5, 64)).astype(np.float32))).double()
    rows = toy()
    batch = batches(rows, 1)[0]
    states = [[rows.steps[row] for row in state] for state in batch]

    def loss() -> torch.Tensor:
        dims = heads.regression(backbone.encode(states)[0])
        label, pair = step_loss(dims, rows, batch, partners=partners_of(rows), settings=SETTINGS)
        assert not torch.isnan(pair)
        return label + SETTINGS.pair_weight * pair

    loss().backward()

    parameters = {**dict(backbone.model.named_parameters()), "heads": heads.regression.weight}
    names = ["heads", *rng.choice(sorted(n for n in parameters if n != "heads"), 12, replace=False)]
    for name in names:
        weight = parameters[name]
        gradient = weight.grad
        assert gradient is not None, name
        index = np.unravel_index(int(gradient.abs().argmax()), weight.shape)
        values = []
        with torch.no_grad():
            for move in (1e-6, -2e-6):
                weight[index] += move
                values.append(float(loss()))
            weight[index] += 1e-6
        expected = (values[0] - values[1]) / 2e-6
        assert float(gradient[index]) == pytest.approx(expected, rel=1e-5, abs=1e-8), name


Run = Callable[..., tuple[FinetuneFit, dict[str, torch.Tensor]]]


@pytest.fixture
def run(exported: Export) -> Run:
    checkpoint, folder = exported("bert")
    manifest: Manifest = read_manifest(folder)

    def tune(
        rows: TrainingSet | None = None,
        settings: FinetuneSettings = SETTINGS,
        seed: int = 5,
        **options: object,
    ) -> tuple[FinetuneFit, dict[str, torch.Tensor]]:
        backbone = open_backbone(checkpoint, manifest)
        fit = finetune(
            backbone,
            toy() if rows is None else rows,
            settings=settings,
            seed=seed,
            **options,  # type: ignore[arg-type]
        )
        assert not backbone.model.training
        return fit, dict(backbone.model.state_dict())

    return tune


def assert_same(
    left: tuple[FinetuneFit, dict[str, torch.Tensor]],
    right: tuple[FinetuneFit, dict[str, torch.Tensor]],
    *,
    is_same: bool = True,
) -> None:
    bits = np.array_equal(left[0].heads.regression, right[0].heads.regression)
    weights = [torch.equal(left[1][name], right[1][name]) for name in left[1]]
    assert (bits and all(weights)) is is_same


def test_seed_gives_the_same_bits_and_draws_nothing_from_outside(run: Run) -> None:
    before = torch.random.get_rng_state()

    first = run()

    assert torch.equal(before, torch.random.get_rng_state())
    assert_same(first, run())
    assert_same(first, run(seed=6), is_same=False)


def test_held_out_rows_have_no_influence_and_are_measured_each_epoch(run: Run) -> None:
    held_out = toy(episodes=2, gaps=False)
    reports: list[FinetuneMetrics] = []

    measured = run(validation=held_out, report=reports.append)

    assert_same(run(), measured)
    found = [m for m in reports if m.validation is not None]
    assert len(found) == 2
    assert found[-1].step == found[-1].steps == measured[0].steps
    for metrics in found:
        assert metrics.validation is not None
        assert metrics.validation.pairs["total"] > 0
        assert metrics.validation.dimensions["odds of success"].n == len(held_out)
    assert measured[0].history == tuple(reports)


@pytest.mark.parametrize("average", [0.0, 0.6])
@pytest.mark.parametrize("stop", [2, 3, 7])
def test_interrupted_run_goes_on_to_the_same_bits(
    run: Run, stop: int, average: float, tmp_path: Path
) -> None:
    run = partial(run, settings=replace(SETTINGS, average=average))
    path = tmp_path / "stage0.safetensors"
    steps: list[int] = []

    def interrupt(done: int, _total: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=path, progress=interrupt)
    assert path.exists() is (stop > 3)
    went_on = run(checkpoint=path, progress=lambda done, _total: steps.append(done))

    assert steps[0] == (stop - 1) // 3 * 3 + 1
    assert_same(run(), went_on)
    assert_same(run(checkpoint=path), went_on)


def test_run_goes_on_where_no_gradient_reached_a_part(exported: Export, tmp_path: Path) -> None:
    """A model with vision that is trained on words alone."""
    checkpoint, folder = exported("qwen2_vl")
    rows = toy(episodes=2).rows(np.arange(36) < 6)
    settings = replace(SETTINGS, epochs=3, rename=0.0, save_every=1)

    def tune(path: Path | None = None, **options: object) -> dict[str, torch.Tensor]:
        whole = BackboneSettings(lora_rank=0)
        backbone = open_backbone(checkpoint, read_manifest(folder), whole)
        finetune(backbone, rows, settings=settings, seed=0, checkpoint=path, **options)  # type: ignore[arg-type]
        return dict(backbone.model.state_dict())

    def interrupt(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    expected = tune()
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        tune(path, progress=interrupt)
    found = tune(path)

    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_average_is_the_mean_of_the_last_weights_at_one_rate(exported: Export) -> None:
    checkpoint, folder = exported("bert")
    backbone = open_backbone(checkpoint, read_manifest(folder))
    weights: list[dict[str, torch.Tensor]] = []

    def note(_done: int, _total: int) -> None:
        weights.append({name: x.clone() for name, x in backbone.model.state_dict().items()})

    settings = replace(SETTINGS, average=0.5)
    fit = finetune(backbone, toy(), settings=settings, seed=5, progress=note)

    last = weights[fit.steps - round(fit.steps / 2) :]
    assert 1 < len(last) < fit.steps
    moved = 0
    for name, found in backbone.model.state_dict().items():
        mean = torch.stack([x[name].double() for x in last]).mean(0)
        assert torch.allclose(found.double(), mean, rtol=0, atol=1e-6)
        moved += not torch.allclose(found.double(), last[-1][name].double(), rtol=0, atol=1e-5)
    assert moved > 10


@pytest.mark.parametrize("what", ["seed", "settings", "labels", "texts"])
def test_checkpoint_of_another_run_is_refused(run: Run, what: str, tmp_path: Path) -> None:
    path = tmp_path / "state"
    short = replace(SETTINGS, epochs=0.5)
    run(settings=short, checkpoint=path)
    rows, seed, settings = toy(), 5, short
    if what == "seed":
        seed = 6
    elif what == "settings":
        settings = replace(short, pair_weight=0.1)
    elif what == "labels":
        rows = replace(rows, labels=rows.labels + 0.5)
    else:
        rows = replace(rows, steps=tuple(replace(s, observation="x") for s in rows.steps))

    with pytest.raises(DataError, match="of another run") as caught:
        run(rows, settings=settings, seed=seed, checkpoint=path)
    assert caught.value.path == path


def test_broken_checkpoint_is_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"nothing")

    with pytest.raises(DataError, match="cannot be read"):
        run(checkpoint=path)


def test_loss_that_is_not_finite_is_an_error(run: Run) -> None:
    rows = toy()

    with pytest.raises(ModelError, match="the loss is inf after 0 steps"):
        run(replace(rows, labels=np.where(np.isnan(rows.labels), np.nan, 1e30)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0.0}, "epochs is 0.0; expected a number above 0"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"pair_weight": -1.0}, "pair_weight is -1.0; expected at least 0"),
        ({"label_weights": (1, 1, 1, 1, -1)}, "label_weights are"),
        ({"warmup": 1.0}, "warmup is 1.0; expected a share of at least 0 and below 1"),
        ({"rename": 1.5}, "rename is 1.5; expected a share, at most 1"),
        ({"average": 1.0}, "average is 1.0; expected a share of at least 0 and below 1"),
        ({"save_every": 0}, "save_every and the seed are 0 and 5"),
        ({"sampling": SamplingSettings(max_actions=0)}, "expected counts of at least 1"),
        ({"sampling": SamplingSettings(plain_share=2.0)}, "expected counts of at least 1"),
    ],
)
def test_setting_out_of_its_range_is_refused(
    run: Run, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(settings=replace(SETTINGS, **change))  # type: ignore[arg-type]


def test_nothing_to_learn_from_is_refused(run: Run) -> None:
    rows = training_set(clicks(episodes=1), compared_by=PairSettings(min_difference=99))

    with pytest.raises(ValueError, match="has a label and there are no pairs"):
        run(replace(rows, labels=np.full_like(rows.labels, np.nan)))
