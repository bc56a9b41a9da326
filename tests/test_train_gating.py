"""Stage 2 against a plain loop in torch, on planted and on shuffled labels, and when it goes on."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from similar_fast.errors import DataError, ModelError
from similar_fast.metrics import accuracy_intervals
from similar_fast.models.heads import Heads, encode_heads
from similar_fast.train.drawing import step_seed
from similar_fast.train.gate_settings import GatePairs, GateSettings, batch_rows
from similar_fast.train.gating import GateFit, fit_gate
from similar_fast.train.heads import HeadsModule
from similar_fast.train.split import hold_out
from torch import nn

if TYPE_CHECKING:
    from similar_fast.train.gating import GateMetrics

WIDTH = 12
SMALL = GateSettings(widths=(16, 16), steps=40, batch_size=32, measure_every=10)
Features = tuple[np.ndarray, np.ndarray]


def drawn(
    n: int = 150, *, seed: int = 0, shares_p: bool = True
) -> tuple[GatePairs, Features, Heads]:
    """Pairs of ten tasks; which of two is chosen depends on one of two dimensions, as p says."""
    rng = np.random.default_rng(seed)
    heads = Heads(np.random.default_rng(99).normal(size=(5, WIDTH)).astype(np.float32))
    hidden = rng.normal(size=(2 * n, WIDTH)).astype(np.float32)
    states = rng.normal(size=(n, WIDTH)).astype(np.float32)
    prompt_hidden = states[np.arange(2 * n) // 2]
    if not shares_p:
        prompt_hidden = prompt_hidden + rng.normal(0, 0.1, prompt_hidden.shape).astype(np.float32)
    total = (planted(prompt_hidden) * (hidden @ heads.regression.T)).sum(1)
    first = np.arange(0, 2 * n, 2)
    is_first = total[first] > total[first + 1]
    pairs = GatePairs(
        chosen=np.where(is_first, first, first + 1),
        rejected=np.where(is_first, first + 1, first),
        groups=[f"task {i % 10}" for i in range(n)],
        types=[("helpfulness", "efficiency")[i % 2] for i in range(n)],
    )
    return pairs, (hidden, prompt_hidden), heads


def planted(prompt_hidden: np.ndarray) -> np.ndarray:
    """`[n, 5]`, weights that move between the first and the last dimension."""
    share = 1 / (1 + np.exp(-4 * prompt_hidden[:, 0]))
    weights = np.zeros((len(share), 5), np.float32)
    weights[:, 0], weights[:, 4] = share, 1 - share
    return weights


def hit_rate(total: np.ndarray, pairs: GatePairs) -> float:
    return float((total[pairs.chosen] > total[pairs.rejected]).mean())


def plain_loop(
    data: tuple[GatePairs, Features, Heads], settings: GateSettings, seed: int
) -> tuple[nn.Sequential, torch.Tensor, list[float]]:
    """The gate, s and the losses of a loop that shares no code with the package but its draws."""
    pairs, features, heads = data
    hidden, prompt = (torch.tensor(array) for array in features)
    rewards = hidden @ torch.tensor(heads.regression).T
    weight = torch.tensor(pairs.weights)
    sizes = [WIDTH, *settings.widths, 5]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(settings.dropout)]
        gate = nn.Sequential(*layers[:-2])
        scale = nn.Parameter(torch.ones(1))
        optimizer = torch.optim.AdamW(
            [*gate.parameters(), scale],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=settings.steps)
        losses = []
        for step in range(settings.steps):
            rows = batch_rows(step, num_pairs=len(pairs), batch_size=settings.batch_size, seed=seed)
            torch.manual_seed(step_seed(seed, step))
            chosen, rejected = pairs.chosen[rows], pairs.rejected[rows]
            left = torch.softmax(gate(prompt[chosen]) / settings.temperature, 1) * scale
            apart = (prompt[chosen] != prompt[rejected]).any(1)
            right = left.clone()
            if apart.any():
                logits = gate(prompt[rejected][apart])
                right[apart] = torch.softmax(logits / settings.temperature, 1) * scale
            margin = (left * rewards[chosen]).sum(1) - (right * rewards[rejected]).sum(1)
            each = -torch.log(torch.sigmoid(margin))
            loss = (each * weight[rows]).sum() / weight[rows].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return gate, scale, losses


@pytest.mark.parametrize("that_share_p", ["all", "some", "none"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_every_step_equals_a_plain_loop(that_share_p: str, dropout: float) -> None:
    pairs, features, heads = drawn(shares_p=that_share_p != "none")
    if that_share_p == "some":
        features[1][pairs.rejected[::3]] += 0.1
    weights = np.random.default_rng(4).uniform(0.2, 3, len(pairs)).astype(np.float32)
    pairs = replace(pairs, weights=weights)
    settings = replace(
        SMALL, dropout=dropout, validation_share=0.0, measure_every=1, weight_decay=0.1
    )

    fit = fit_gate(pairs, features, heads=heads, settings=settings, seed=5)
    gate, scale, losses = plain_loop((pairs, features, heads), settings, 5)

    found = [metrics.train_loss for metrics in fit.history[1:]]
    assert found == pytest.approx(losses, abs=2e-6)
    linear = [layer for layer in gate if isinstance(layer, nn.Linear)]
    for (weight, bias), layer in zip(fit.heads.layers, linear, strict=True):
        assert np.abs(weight - layer.weight.detach().numpy()).max() < 1e-5
        assert np.abs(bias - layer.bias.detach().numpy()).max() < 1e-5
    assert fit.heads.logit_scale == pytest.approx(scale.item(), abs=1e-5)
    assert fit.heads.logit_scale != pytest.approx(1, abs=1e-3)


def test_batches_are_one_permutation_after_another() -> None:
    rows = np.concatenate(
        [batch_rows(step, num_pairs=10, batch_size=4, seed=1) for step in range(5)]
    )

    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert not np.array_equal(rows[:10], rows[10:])


PLANTED = GateSettings(
    widths=(64, 64), steps=500, batch_size=256, learning_rate=1e-2, measure_every=50
)


def test_planted_weights_are_recovered() -> None:
    pairs, features, heads = drawn(3000)
    fresh, (hidden, prompt_hidden), _ = drawn(1000, seed=8)

    fit = fit_gate(pairs, features, heads=heads, settings=PLANTED)

    scores = HeadsModule(fit.heads).scores(hidden, prompt_hidden)
    mean = (hidden @ heads.regression.T).sum(1)
    assert hit_rate(scores.total, fresh) > 0.93
    assert hit_rate(mean, fresh) < 0.75
    shares = scores.weights / scores.weights.sum(1, keepdims=True)
    assert np.abs(shares - planted(prompt_hidden)).mean() < 0.08
    assert np.array_equal(fit.heads.regression, heads.regression)
    assert not fit.heads.is_random


def test_shuffled_labels_end_at_chance_on_held_out_tasks() -> None:
    pairs, features, heads = drawn(2000)
    swap = np.random.default_rng(3).random(len(pairs)) < 0.5
    shuffled = replace(
        pairs,
        chosen=np.where(swap, pairs.rejected, pairs.chosen),
        rejected=np.where(swap, pairs.chosen, pairs.rejected),
    )

    fit = fit_gate(shuffled, features, heads=heads, settings=replace(PLANTED, steps=200))

    out = hold_out(pairs.groups, share=0.2, seed=0).held_out
    total = HeadsModule(fit.heads).scores(*features).total
    result = accuracy_intervals(
        total[shuffled.chosen[out]],
        total[shuffled.rejected[out]],
        clusters=np.flatnonzero(out),
    )
    interval = result.micro.interval
    assert interval.low < 0.5 < interval.high
    assert interval.high - interval.low < 0.12
    assert fit.num_held_out == out.sum()


def fingerprint(fit: GateFit) -> bytes:
    return encode_heads(fit.heads)


def test_one_seed_gives_the_same_bits_whatever_was_drawn_before() -> None:
    pairs, features, heads = drawn()

    first = fit_gate(pairs, features, heads=heads, settings=SMALL, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(77)
        again = fit_gate(pairs, features, heads=heads, settings=SMALL, seed=1)
    other = fit_gate(pairs, features, heads=heads, settings=SMALL, seed=2)

    assert fingerprint(first) == fingerprint(again)
    assert first.history == again.history
    assert fingerprint(first) != fingerprint(other)


def test_torchs_own_generator_is_left_as_it_was() -> None:
    pairs, features, heads = drawn()
    before = torch.random.get_rng_state()

    fit_gate(pairs, features, heads=heads, settings=SMALL)

    assert torch.random.get_rng_state().equal(before)


class StoppedError(Exception):
    pass


def stop_at(step: int, done: int) -> None:
    if done == step:
        raise StoppedError


@pytest.mark.parametrize("stop", [3, 10, 25])
def test_interrupted_run_ends_with_the_same_bits(tmp_path: Path, stop: int) -> None:
    pairs, features, heads = drawn()
    whole = fit_gate(pairs, features, heads=heads, settings=SMALL)
    path = tmp_path / "gate.safetensors"

    with pytest.raises(StoppedError):
        fit_gate(
            pairs,
            features,
            heads=heads,
            settings=SMALL,
            checkpoint=path,
            progress=lambda done, _: stop_at(stop, done),
        )
    told: list[int] = []
    resumed = fit_gate(
        pairs,
        features,
        heads=heads,
        settings=SMALL,
        checkpoint=path,
        progress=lambda done, _: told.append(done),
    )

    # A checkpoint is written at a measurement, after the step has been told.
    assert told[0] == (stop - 1) // 10 * 10 + 1
    assert fingerprint(resumed) == fingerprint(whole)
    assert resumed.history == whole.history
    assert resumed.best_step == whole.best_step


def test_finished_run_is_read_back(tmp_path: Path) -> None:
    pairs, features, heads = drawn()
    path = tmp_path / "gate.safetensors"
    first = fit_gate(pairs, features, heads=heads, settings=SMALL, checkpoint=path)

    again = fit_gate(
        pairs,
        features,
        heads=heads,
        settings=SMALL,
        checkpoint=path,
        progress=lambda done, _: stop_at(done, done),
    )

    assert fingerprint(again) == fingerprint(first)


@pytest.mark.parametrize("what", ["seed", "settings", "features", "labels", "heads"])
def test_checkpoint_of_another_run_is_refused(tmp_path: Path, what: str) -> None:
    pairs, features, heads = drawn()
    path = tmp_path / "gate.safetensors"
    fit_gate(pairs, features, heads=heads, settings=SMALL, checkpoint=path)
    settings, seed = SMALL, 0
    if what == "seed":
        seed = 1
    elif what == "settings":
        settings = replace(SMALL, learning_rate=2e-3)
    elif what == "features":
        features = features[0], features[1] + np.float32(1)
    elif what == "labels":
        pairs = replace(pairs, chosen=pairs.rejected, rejected=pairs.chosen)
    else:
        heads = Heads(heads.regression * 2)

    with pytest.raises(DataError, match="of another run") as caught:
        fit_gate(pairs, features, heads=heads, settings=settings, seed=seed, checkpoint=path)

    assert caught.value.path == path


def test_broken_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    pairs, features, heads = drawn()
    path = tmp_path / "gate.safetensors"
    fit_gate(pairs, features, heads=heads, settings=SMALL, checkpoint=path)
    data = path.read_bytes()

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            fit_gate(pairs, features, heads=heads, settings=SMALL, checkpoint=path)
        assert caught.value.path == path

    path.write_bytes(data[:-1])
    refused("cannot be read")
    path.write_bytes(data)
    tensors = load_file(path)
    save_file(tensors, path)
    refused("no checkpoint of a training run")
    size = int.from_bytes(data[:8], "little")
    path.write_bytes(
        data[: 8 + size].replace(b"weight.layers.0.bias", b"weight.layers.9.bias")
        + data[8 + size :]
    )
    refused(r"weight\.layers\.0\.bias is missing; expected \[16\]")


def test_gate_of_the_least_validation_loss_is_kept() -> None:
    pairs, features, heads = drawn(60)
    settings = replace(SMALL, widths=(128, 128), steps=150, learning_rate=3e-2, dropout=0.0)

    fit = fit_gate(pairs, features, heads=heads, settings=settings)

    losses = [metrics.validation_loss for metrics in fit.history]
    best = int(np.argmin(losses))
    out = hold_out(pairs.groups, share=0.2, seed=0).held_out
    total = HeadsModule(fit.heads).scores(*features).total.astype(np.float64)
    margin = total[pairs.chosen[out]] - total[pairs.rejected[out]]
    assert fit.best_step == fit.history[best].step < settings.steps
    assert np.log1p(np.exp(-margin)).mean() == pytest.approx(losses[best], abs=1e-5)
    assert fit.history[best].accuracy == pytest.approx((margin > 0).mean())


def test_gate_of_the_most_pairs_ordered_right_is_kept() -> None:
    pairs, features, heads = drawn(60)
    settings = replace(
        SMALL, widths=(128, 128), steps=150, learning_rate=3e-2, dropout=0.0, best_by="accuracy"
    )

    fit = fit_gate(pairs, features, heads=heads, settings=settings)

    shares = [metrics.accuracy for metrics in fit.history]
    losses = [metrics.validation_loss for metrics in fit.history]
    assert fit.best_step == fit.history[int(np.argmax(shares))].step
    assert int(np.argmax(shares)) != int(np.argmin(losses))


def test_scale_of_five_starts_near_the_plain_sum() -> None:
    pairs, features, heads = drawn(60)
    settings = replace(SMALL, steps=1, learning_rate=1e-9, scale=5.0)

    fit = fit_gate(pairs, features, heads=heads, settings=settings)

    scores = HeadsModule(fit.heads).scores(*features)
    assert scores.weights.sum(1) == pytest.approx(5.0, abs=1e-4)
    assert scores.weights == pytest.approx(1.0, abs=0.1)


def test_held_out_pairs_are_not_trained_on() -> None:
    pairs, features, heads = drawn()
    out = hold_out(pairs.groups, share=0.2, seed=0).held_out
    swapped = replace(
        pairs,
        chosen=np.where(out, pairs.rejected, pairs.chosen),
        rejected=np.where(out, pairs.chosen, pairs.rejected),
    )

    first, second = (fit_gate(x, features, heads=heads, settings=SMALL) for x in (pairs, swapped))

    for one, other in zip(first.history, second.history, strict=True):
        assert one.train_loss == other.train_loss
        assert one.accuracy == pytest.approx(1 - other.accuracy)
    assert first.split_by == "group"
    assert (first.num_train, first.num_held_out) == (120, 30)


def test_metrics_are_told_by_type_and_step() -> None:
    pairs, features, heads = drawn()
    told: list[GateMetrics] = []

    fit = fit_gate(pairs, features, heads=heads, settings=SMALL, report=told.append)

    assert tuple(told) == fit.history
    assert [metrics.step for metrics in told] == [0, 10, 20, 30, 40]
    assert told[0].train_loss is None
    assert told[0].learning_rate == 1e-3
    assert told[2].learning_rate == pytest.approx(5e-4)
    assert told[-1].learning_rate == pytest.approx(0)
    assert set(told[-1].accuracy_by_type) == {"helpfulness", "efficiency"}
    assert np.mean(list(told[-1].accuracy_by_type.values())) == pytest.approx(
        told[-1].accuracy, abs=0.2
    )


def test_one_task_is_split_by_rows_and_small_data_have_small_batches() -> None:
    pairs, features, heads = drawn(20)

    fit = fit_gate(
        replace(pairs, groups=["a"] * 20),
        features,
        heads=heads,
        settings=replace(SMALL, batch_size=1024),
    )

    assert fit.split_by == "row"
    assert (fit.num_train, fit.num_held_out, fit.batch_size) == (16, 4, 16)


def test_without_held_out_pairs_the_last_gate_is_kept() -> None:
    pairs, features, heads = drawn()

    fit = fit_gate(pairs, features, heads=heads, settings=replace(SMALL, validation_share=0.0))

    assert fit.split_by == "none"
    assert fit.best_step == 40
    assert fit.history[-1].accuracy is None


def test_loss_that_is_not_finite_stops_the_run() -> None:
    pairs, features, heads = drawn()
    settings = replace(SMALL, learning_rate=1e30)

    with pytest.raises(ModelError, match="the loss is nan after 10 steps"):
        fit_gate(pairs, features, heads=heads, settings=settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"measure_every": 0}, "measure_every is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; expected a number above 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"scale": 0.0}, "scale is 0.0; expected a number above 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"widths": (0,)}, r"widths are \[0\]"),
        ({"validation_share": 1.0}, r"expected one in \[0, 1\)"),
    ],
)
def test_settings_out_of_their_range_are_refused(change: dict[str, object], message: str) -> None:
    pairs, features, heads = drawn(20)

    with pytest.raises(ValueError, match=message):
        fit_gate(pairs, features, heads=heads, settings=replace(SMALL, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rejected": np.zeros(3, np.int64)}, "rejected are 3; expected 20"),
        ({"groups": ["a"]}, "groups are 1; expected 20"),
        ({"types": ["a"]}, "types are 1; expected 20"),
        ({"weights": np.zeros(20, np.float32)}, "weight is not a number above 0"),
        ({"weights": np.full(20, np.nan, np.float32)}, "weight is not a number above 0"),
        ({"chosen": np.full(20, 40)}, "rows 40 to 40; expected 0 to 39"),
        ({"chosen": np.full(20, -1)}, "rows -1 to -1; expected 0 to 39"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    pairs, features, heads = drawn(20)

    with pytest.raises(ValueError, match=message):
        fit_gate(replace(pairs, **change), features, heads=heads, settings=SMALL)


def test_features_that_do_not_fit_are_refused() -> None:
    pairs, (hidden, prompt_hidden), heads = drawn(20)
    empty = GatePairs(np.zeros(0, np.int64), np.zeros(0, np.int64), [])

    with pytest.raises(ValueError, match=r"expected \[n, H\] both"):
        fit_gate(pairs, (hidden, prompt_hidden[1:]), heads=heads, settings=SMALL)
    with pytest.raises(ValueError, match="a state is not finite"):
        fit_gate(pairs, (hidden * np.nan, prompt_hidden), heads=heads, settings=SMALL)
    with pytest.raises(ValueError, match="there are no pairs"):
        fit_gate(empty, (hidden, prompt_hidden), heads=heads, settings=SMALL)
    with pytest.raises(ModelError, match=r"regression\.weight has the shape"):
        fit_gate(pairs, (hidden[:, 1:], prompt_hidden[:, 1:]), heads=heads, settings=SMALL)
    with pytest.raises(ValueError, match="the seed is -1"):
        fit_gate(pairs, (hidden, prompt_hidden), heads=heads, settings=SMALL, seed=-1)
