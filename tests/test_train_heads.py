"""The heads in torch against the exported graph and against the formula in numpy."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from similar_fast.errors import ModelError
from similar_fast.models.heads import HEADS_NAME, Heads, encode_heads, random_heads
from similar_fast.train.heads import HeadsModule
from similar_fast_export.heads import build_heads

WIDTH = 24

Arrays = tuple[np.ndarray, np.ndarray]


def drawn(*, is_gated: bool = True, seed: int = 0) -> Heads:
    """Heads that were not drawn, as far as they say."""
    heads = random_heads(WIDTH, seed)
    return Heads(
        heads.regression,
        heads.layers if is_gated else (),
        logit_scale=1.7 if is_gated else 1.0,
        temperature=7.0 if is_gated else 10.0,
        label_scales=(1.0, 2.0, 3.0, 4.0, 5.0),
    )


def states(n: int, seed: int = 1) -> Arrays:
    rng = np.random.default_rng(seed)
    hidden, prompt = (rng.normal(size=(n, WIDTH)).astype(np.float32) for _ in range(2))
    return hidden, prompt


@pytest.mark.parametrize("is_gated", [True, False])
def test_module_equals_the_exported_graph(tmp_path: Path, is_gated: bool) -> None:  # noqa: FBT001
    heads = drawn(is_gated=is_gated)
    hidden, prompt = states(9)
    build_heads(heads, tmp_path, WIDTH)
    session = onnxruntime.InferenceSession(
        tmp_path / HEADS_NAME, providers=["CPUExecutionProvider"]
    )

    found = HeadsModule(heads).scores(hidden, prompt)
    dims, weights, total = session.run(
        ["dims", "weights", "score"],
        {"hidden": hidden, "prompt_hidden": prompt, "group": np.arange(9)},
    )

    assert np.abs(found.dims - dims).max() < 1e-5
    assert np.abs(found.weights - weights).max() < 1e-6
    assert np.abs(found.total - total).max() < 1e-5
    assert np.ptp(weights) > 0.2 or not is_gated


def test_module_equals_the_formula_in_float64() -> None:
    heads = drawn()
    hidden, prompt = states(5)

    found = HeadsModule(heads).scores(hidden, prompt)

    value = prompt.astype(np.float64)
    for i, (weight, bias) in enumerate(heads.layers):
        value = (np.maximum(value, 0) if i else value) @ weight.T + bias
    odds = np.exp(value / 7)
    weights = odds / odds.sum(1, keepdims=True) * 1.7
    dims = hidden @ heads.regression.T
    assert np.abs(found.weights - weights).max() < 1e-5
    assert np.abs(found.total - (weights * dims).sum(1)).max() < 1e-4


@pytest.mark.parametrize("is_gated", [True, False])
def test_heads_come_back_as_they_went_in(is_gated: bool) -> None:  # noqa: FBT001
    heads = drawn(is_gated=is_gated)

    assert encode_heads(HeadsModule(heads).to_heads()) == encode_heads(heads)


def test_heads_that_were_drawn_still_say_so() -> None:
    assert HeadsModule(random_heads(WIDTH, 0)).to_heads().is_random


def test_changing_the_module_leaves_the_heads_it_gave_alone() -> None:
    module = HeadsModule(drawn())
    heads = module.to_heads()
    before = heads.regression.copy()

    with torch.no_grad():
        module.regression.weight.zero_()

    assert np.array_equal(heads.regression, before)


def test_dropout_acts_in_training_mode_alone() -> None:
    module = HeadsModule(drawn())
    hidden, prompt = (torch.tensor(array) for array in states(64))
    whole = module(hidden, prompt).weights

    module.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dropped = module(hidden, prompt).weights

    assert module.eval()(hidden, prompt).weights.equal(whole)
    assert (dropped - whole).abs().mean() > 1e-3


def test_scores_leave_the_mode_as_it_was() -> None:
    module = HeadsModule(drawn()).train()
    hidden, prompt = states(3)

    first, second = module.scores(hidden, prompt), module.scores(hidden, prompt)

    assert module.training
    assert np.array_equal(first.total, second.total)


def test_dropout_is_as_large_as_it_says() -> None:
    wide = Heads(
        np.ones((5, 1), np.float32),
        (
            (np.ones((20_000, 1), np.float32), np.zeros(20_000, np.float32)),
            (np.eye(5, 20_000, dtype=np.float32), np.zeros(5, np.float32)),
        ),
    )
    module = HeadsModule(wide).train()
    layer = module.gating.layers[1]
    seen: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module.gating(torch.ones(1, 1))

    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert seen[0].max().item() == pytest.approx(1.25)


def test_new_gate_is_upstreams_by_default_and_follows_its_seed() -> None:
    heads = Heads(drawn().regression)
    before = torch.random.get_rng_state()

    first, again, other = (HeadsModule.with_new_gate(heads, seed=seed) for seed in (1, 1, 2))

    shapes = [tuple(weight.shape) for weight, _ in first.to_heads().layers]
    assert shapes == [(1024, WIDTH), (1024, 1024), (1024, 1024), (5, 1024)]
    assert first.to_heads().logit_scale == 1
    assert first.to_heads().temperature == 10
    assert encode_heads(first.to_heads()) == encode_heads(again.to_heads())
    assert encode_heads(first.to_heads()) != encode_heads(other.to_heads())
    assert torch.random.get_rng_state().equal(before)
    assert not first.training


def test_making_a_module_draws_nothing() -> None:
    before = torch.random.get_rng_state()

    HeadsModule(drawn())

    assert torch.random.get_rng_state().equal(before)


def test_gradients_reach_every_weight() -> None:
    module = HeadsModule(drawn())
    hidden, prompt = (torch.tensor(array) for array in states(8))

    module(hidden, prompt).total.sum().backward()

    assert all(weight.grad is not None and weight.grad.any() for weight in module.parameters())


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match=r"regression\.weight has the shape \[4, 24\]"):
        HeadsModule(Heads(np.zeros((4, WIDTH), np.float32)))


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_out_of_its_range_is_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match=r"dropout is .*; expected a share in \[0, 1\)"):
        HeadsModule(drawn(), dropout=dropout)
