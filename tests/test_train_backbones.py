"""Backbones in torch beside the exported model and beside transformers, row by row."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import draw, encode
from similar_fast import RewardModel
from similar_fast.errors import DataError, ModelError
from similar_fast.models.manifest import read_manifest
from similar_fast.train.backbones import (
    BackboneSettings,
    PackedBert,
    RowBackbone,
    open_backbone,
    save_backbone,
)
from similar_fast.types import Step
from similar_fast_export.reference import Reference

Export = Callable[[str], tuple[Path, Path]]
ROW_FAMILIES = ["qwen2", "qwen2_vl", "qwen2_5_vl", "mllama"]
LORA = BackboneSettings(lora_rank=2)


def states(*, has_vision: bool = False) -> list[list[Step]]:
    """Three states of one, two and three actions; with pictures, the last one has none."""
    found = []
    for n in (1, 2, 3):
        data = encode(draw(80, 60, seed=n))
        picture = partial(bytes, data) if has_vision and n < 3 else None
        history = tuple(f"click {i}" for i in range(n - 1))
        found.append(
            [
                Step(f"Book flight {n}", history, f"click button {i}", "Rome\n" * n, picture)
                for i in range(n)
            ]
        )
    return found


def whole(
    found: list[list[Step]], features: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """H of every step, and p of the first step of every state."""
    firsts = np.cumsum([0, *(len(state) for state in found[:-1])])
    return features[0], features[1][firsts]


def arrays(encoded: tuple[torch.Tensor, torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    hidden, prompt_hidden = encoded
    return hidden.detach().float().numpy(), prompt_hidden.detach().float().numpy()


def assert_close(
    found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray], bound: float
) -> None:
    for left, right in zip(found, expected, strict=True):
        assert left.shape == right.shape
        assert np.abs(left - right).max() <= bound * max(1, np.abs(right).max())


def flat(found: list[list[Step]]) -> list[Step]:
    return [step for state in found for step in state]


def test_packed_bert_equals_the_exported_model_and_one_row_an_action(exported: Export) -> None:
    checkpoint, folder = exported("bert")
    manifest = read_manifest(folder)
    found = states()

    encoded = arrays(PackedBert(checkpoint, manifest).encode(found))

    model = RewardModel(folder, providers="cpu", threads=1)
    assert_close(encoded, whole(found, model.features(flat(found))), 1e-5)
    reference = Reference(checkpoint, manifest)
    assert_close(encoded, whole(found, reference.features(flat(found))), 1e-5)


def test_packed_bert_gives_a_long_action_a_prefix_of_its_own(exported: Export) -> None:
    checkpoint, folder = exported("bert")
    long = [
        Step("Book", ("click",) * 3, action, "flight user " * 300)
        for action in ("click user", "type " + "user " * 300, "click flight")
    ]

    backbone = PackedBert(checkpoint, read_manifest(folder))
    encoded = arrays(backbone.encode([long]))

    model = RewardModel(folder, providers="cpu", threads=1)
    prompts = backbone._writer.write_all(long, [0] * 3)
    assert prompts[0].prefix is prompts[2].prefix is not prompts[1].prefix
    assert_close(encoded, whole([long], model.features(long)), 1e-5)


def test_packed_bert_drops_out_in_training_alone(exported: Export) -> None:
    checkpoint, folder = exported("bert")
    backbone = PackedBert(checkpoint, read_manifest(folder))
    calm = backbone.encode(states())[0]

    backbone.model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        noisy = backbone.encode(states())[0]
    backbone.model.eval()

    assert not torch.equal(calm, noisy)
    assert torch.equal(calm, backbone.encode(states())[0])


@pytest.mark.parametrize("family", ROW_FAMILIES)
def test_rows_equal_the_exported_model_before_and_after_adapters_are_merged(
    family: str, exported: Export, tmp_path: Path
) -> None:
    checkpoint, folder = exported(family)
    manifest = read_manifest(folder)
    found = states(has_vision=family != "qwen2")

    plain = arrays(open_backbone(checkpoint, manifest).encode(found))
    backbone = open_backbone(checkpoint, manifest, LORA)
    before = arrays(backbone.encode(found))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for name, weight in backbone.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.05 * torch.randn(weight.shape, generator=generator))
    adapted = arrays(backbone.encode(found))
    save_backbone(backbone, checkpoint, tmp_path / "merged")

    model = RewardModel(folder, providers="cpu", threads=1)
    assert_close(plain, whole(found, model.features(flat(found))), 2e-5)
    assert_close(before, plain, 1e-6)
    assert np.abs(adapted[0] - plain[0]).max() > 0.1
    merged = Reference(tmp_path / "merged", manifest).features(flat(found))
    assert_close(adapted, whole(found, merged), 1e-4)


def test_adapters_are_drawn_from_their_seed(exported: Export) -> None:
    checkpoint, folder = exported("qwen2")
    manifest = read_manifest(folder)

    def drawn(seed: int) -> list[torch.Tensor]:
        backbone = open_backbone(checkpoint, manifest, LORA, seed=seed)
        return [p.detach() for n, p in backbone.model.named_parameters() if "lora_A" in n]

    before = torch.random.get_rng_state()
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_is_saved_without_losing_gradients(dtype: str, exported: Export) -> None:
    checkpoint, folder = exported("qwen2_vl")
    settings = BackboneSettings(lora_rank=2, dtype=dtype, saves_memory=True)  # type: ignore[arg-type]
    backbone = open_backbone(checkpoint, read_manifest(folder), settings)
    backbone.model.train()

    hidden, _ = backbone.encode(states(has_vision=True)[:2])
    hidden.square().sum().backward()

    trained = {n: p for n, p in backbone.model.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    reached = [p for n, p in trained.items() if "lora_B" in n and p.grad is not None]
    assert len(reached) > 10
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().max() > 0 for p in reached)


def test_embeddings_are_frozen_where_asked(exported: Export) -> None:
    checkpoint, folder = exported("bert")
    settings = BackboneSettings(freezes_embeddings=True)

    backbone = open_backbone(checkpoint, read_manifest(folder), settings)

    frozen = {n for n, p in backbone.model.named_parameters() if not p.requires_grad}
    assert frozen == {
        f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")
    }


@pytest.mark.parametrize(
    ("settings", "device"),
    [
        (LORA, "cpu"),
        (BackboneSettings(dtype="bfloat16"), "cpu"),
        (BackboneSettings(saves_memory=True), "cpu"),
        (None, "cuda"),
    ],
)
def test_bert_refuses_what_it_does_not_have(
    settings: BackboneSettings | None, device: str, exported: Export
) -> None:
    checkpoint, folder = exported("bert")

    with pytest.raises(ModelError, match="a bert is trained whole, in float32"):
        open_backbone(checkpoint, read_manifest(folder), settings, device=device)


def test_step_beyond_the_positions_is_refused_where_nothing_is_cut(exported: Export) -> None:
    checkpoint, folder = exported("qwen2")
    backbone = open_backbone(checkpoint, read_manifest(folder))
    assert isinstance(backbone, RowBackbone)

    with pytest.raises(DataError, match="tokens; expected at most 1024"):
        backbone.encode([[Step("i", (), "a", "word " * 2000)]])


def test_missing_peft_says_what_to_install(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, folder = exported("qwen2")
    monkeypatch.setitem(sys.modules, "peft", None)

    with pytest.raises(ImportError, match=r"similar-fast\[train\]"):
        open_backbone(checkpoint, read_manifest(folder), LORA)
