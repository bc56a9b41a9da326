"""A CUDA device beside the CPU; `make gpu` runs these, and without a device they fail."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from similar_fast import Step
from similar_fast.errors import InferenceError
from similar_fast.reward.model import RewardModel
from similar_fast_export.graph import Dtype
from similar_fast_export.reward_model import ExportOptions, export_reward_model
from similar_fast_export.verify import pair_agreement, random_states

pytestmark = pytest.mark.gpu

FAMILIES = ("bert", "qwen2", "qwen2_vl", "qwen2_5_vl", "mllama")
TOLERANCE = 1e-3
MIN_AGREEMENT = 0.98
Export = Callable[[str], tuple[Path, Path]]


def states_for(family: str) -> list[list[Step]]:
    return random_states(3, has_vision=family not in {"bert", "qwen2"})


@pytest.mark.parametrize("family", FAMILIES)
def test_cuda_in_float32_scores_as_the_cpu(exported: Export, family: str) -> None:
    states = states_for(family)
    on_cpu = RewardModel(exported(family)[1], providers="cpu")
    model = RewardModel(exported(family)[1], providers="cuda")

    for steps in states:
        expected, cold, warm = on_cpu.score(steps), model.score(steps), model.score(steps)

        for name in ("total", "dims", "weights"):
            assert np.abs(getattr(cold, name) - getattr(expected, name)).max() < TOLERANCE
            assert np.abs(getattr(warm, name) - getattr(cold, name)).max() < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["fp16", "int8", "int4"])
def test_cuda_in_few_bits_orders_as_the_cpu_does(
    exported: Export,
    family: str,
    dtype: Dtype,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Weights this wild lose their order in few bits, on either device alike.
    monkeypatch.setattr("similar_fast_export.reward_model.check_ranks", lambda *_: {})
    checkpoint = exported(family)[0]
    options = ExportOptions(random_heads=0, dtype=dtype)
    export_reward_model(checkpoint, tmp_path / "model", options)
    states = states_for(family)

    on_cpu, on_cuda = (
        [model.score(steps) for steps in states]
        for model in (RewardModel(tmp_path / "model", providers=x) for x in ("cpu", "cuda"))
    )

    assert pair_agreement(on_cpu, on_cuda) >= MIN_AGREEMENT


def test_keys_and_values_stay_on_the_device(exported: Export) -> None:
    model = RewardModel(exported("qwen2_vl")[1], providers="cuda")
    model.score(states_for("qwen2_vl")[1])

    (state,) = model._cache._states.values()

    for part in state.past.values():
        assert isinstance(part, onnxruntime.OrtValue)
        assert part.device_name() == "cuda"


def test_picture_states_stay_on_the_device(exported: Export) -> None:
    model = RewardModel(exported("qwen2_vl")[1], providers="cuda")
    seen = []
    see = model._pictures.see
    model._pictures.see = lambda screenshot: seen.append(see(screenshot)) or seen[-1]

    model.score(states_for("qwen2_vl")[1])

    assert [part.device_name() for tensors in seen for part in tensors.values()] == ["cuda"]


def test_threads_on_the_device_do_not_mix(exported: Export) -> None:
    states = states_for("qwen2_vl")
    expected = [RewardModel(exported("qwen2_vl")[1], providers="cpu").score(s) for s in states]
    model = RewardModel(exported("qwen2_vl")[1], providers="cuda")
    found: dict[int, np.ndarray] = {}

    def score(i: int) -> None:
        found[i] = model.score(states[i % len(states)]).total

    threads = [threading.Thread(target=score, args=(i,)) for i in range(4 * len(states))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == len(threads)
    for i, total in found.items():
        assert np.abs(total - expected[i % len(states)].total).max() < TOLERANCE


def test_kept_states_outlive_their_model(exported: Export) -> None:
    model = RewardModel(exported("qwen2")[1], providers="cuda")
    model.score(states_for("qwen2")[0])
    (state,) = model._cache._states.values()
    before = [part.numpy() for part in state.past.values()]
    del model

    after = [part.numpy() for part in state.past.values()]

    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("providers", ["auto", "cuda", "cuda:0"])
def test_model_that_can_run_on_the_device_does(exported: Export, providers: str) -> None:
    model = RewardModel(exported("qwen2")[1], providers=providers)

    assert model.providers[0] == "CUDAExecutionProvider"
    assert model._backbone.device == ("cuda", 0)


def test_card_that_is_not_there_is_an_inference_error(exported: Export) -> None:
    with pytest.raises(InferenceError, match=r"(?i)cuda"):
        RewardModel(exported("qwen2")[1], providers="cuda:77")
