"""The way of a CUDA session, with bound inputs and outputs, taken on the CPU."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from similar_fast import Step
from similar_fast.errors import InferenceError
from similar_fast.models import runtime
from similar_fast.models.runtime import to_host
from similar_fast.reward.model import RewardModel
from similar_fast_export.verify import random_states

FAMILIES = ("bert", "qwen2", "qwen2_vl", "qwen2_5_vl", "mllama")
Export = Callable[[str], tuple[Path, Path]]


@pytest.fixture
def is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that are opened from here on keep their outputs on the device `cpu`."""
    monkeypatch.setattr(runtime, "_device_of", lambda session: ("cpu", 0))


def open_model(folder: Path, **options: object) -> RewardModel:
    return RewardModel(folder, providers="cpu", threads=1, **options)


def states_for(family: str) -> list[list[Step]]:
    return random_states(3, has_vision=family not in {"bert", "qwen2"})


@pytest.mark.parametrize("family", FAMILIES)
def test_bound_scores_equal_plain_ones_cold_and_warm(
    exported: Export, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [step for state in states_for(family) for step in state]
    plain = open_model(exported(family)[1]).score(steps)
    monkeypatch.setattr(runtime, "_device_of", lambda session: ("cpu", 0))
    model = open_model(exported(family)[1])

    cold, warm = model.score(steps), model.score(steps)

    assert np.abs(cold.total - plain.total).max() < 1e-5
    assert np.abs(cold.dims - plain.dims).max() < 1e-5
    assert np.array_equal(warm.total, cold.total)


@pytest.mark.usefixtures("is_bound")
@pytest.mark.parametrize("family", FAMILIES)
def test_keys_and_values_stay_where_the_model_runs(exported: Export, family: str) -> None:
    model = open_model(exported(family)[1])
    steps = states_for(family)[1]

    model.score(steps)

    (state,) = model._cache._states.values()
    assert {type(part) for part in state.past.values()} == {onnxruntime.OrtValue}
    assert state.nbytes == sum(runtime.tensor_bytes(part) for part in state.past.values())
    for part in state.past.values():
        assert to_host(part).shape[2] == len(state.tokens.ids)


@pytest.mark.usefixtures("is_bound")
@pytest.mark.parametrize("family", ["qwen2", "qwen2_vl", "mllama"])
def test_bound_state_that_shares_a_beginning_scores_as_one_that_does_not(
    exported: Export, family: str
) -> None:
    first = states_for(family)[1]
    other = [replace(step, observation=step.observation + " and a new line") for step in first]
    fresh = open_model(exported(family)[1]).score(other)
    model = open_model(exported(family)[1])
    model.score(first)

    scores = model.score(other)

    assert model.stats.states.partial_hits > 0
    assert np.abs(scores.total - fresh.total).max() < 1e-5


@pytest.mark.usefixtures("is_bound")
def test_bound_long_prefixes_in_pieces_change_nothing(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = states_for("qwen2_vl")[1]
    whole = open_model(exported("qwen2_vl")[1]).score(steps)
    monkeypatch.setattr("similar_fast.reward.states._MAX_CELLS", 1)
    monkeypatch.setattr("similar_fast.reward.states._MIN_CHUNK", 23)

    pieces = open_model(exported("qwen2_vl")[1]).score(steps)

    assert np.abs(pieces.total - whole.total).max() < 1e-5


@pytest.mark.usefixtures("is_bound")
def test_bound_runs_of_many_threads_do_not_mix(exported: Export) -> None:
    states = states_for("qwen2_vl")
    expected = [open_model(exported("qwen2_vl")[1]).score(steps).total for steps in states]
    model = open_model(exported("qwen2_vl")[1])
    found: dict[int, np.ndarray] = {}

    def score(i: int) -> None:
        found[i] = model.score(states[i % len(states)]).total

    threads = [threading.Thread(target=score, args=(i,)) for i in range(2 * len(states))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == len(threads)
    for i, total in found.items():
        assert np.abs(total - expected[i % len(states)]).max() < 1e-5


@pytest.mark.usefixtures("is_bound")
@pytest.mark.parametrize(
    "hidden", [np.zeros((1, 3), np.float32), np.zeros((1, 64), np.float64), None]
)
def test_bound_feeds_that_do_not_fit_are_an_inference_error(
    exported: Export, hidden: np.ndarray | None
) -> None:
    session = runtime.open_session(exported("qwen2")[1] / "heads.onnx", providers="cpu")
    feeds = {"prompt_hidden": np.zeros((1, 64), np.float32), "group": np.zeros(1, np.int64)}
    if hidden is not None:
        feeds["hidden"] = hidden

    with pytest.raises(InferenceError, match=r"heads\.onnx failed on \{"):
        session.run(feeds)


def test_where_no_device_starts_for_the_decoder_no_graph_takes_one(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = runtime.open_session

    def open_session(path: Path, *, providers: str, threads: int | None) -> runtime.Session:
        asked.append((path.name, providers))
        return real(path, providers="cpu", threads=threads)

    monkeypatch.setattr("similar_fast.reward.backbone.open_session", open_session)

    RewardModel(exported("qwen2_vl")[1], providers="auto")

    assert asked == [("decoder.onnx", "auto"), ("heads.onnx", "cpu"), ("vision.onnx", "cpu")]


@pytest.mark.parametrize(("name", "number"), [("cuda", "0"), ("cuda:0", "0"), ("cuda:12", "12")])
def test_cuda_by_name_multiplies_float32_exactly(name: str, number: str) -> None:
    provider = runtime._spelled_out(name)

    assert provider == ("CUDAExecutionProvider", {"use_tf32": "0", "device_id": number})


@pytest.mark.parametrize("name", ["cuda:", "cuda:x", "cuda1", "ROCMExecutionProvider"])
def test_other_names_go_to_onnxruntime_as_they_are(name: str) -> None:
    assert runtime._spelled_out(name) == name
