"""The cache of features: equal to the model's own, resumed, extended, and checked when read."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from exports import Export
from safetensors.numpy import load_file, save_file
from similar_fast import RewardModel
from similar_fast.errors import DataError
from similar_fast.models.heads import random_heads
from similar_fast.models.manifest import describe_file, read_manifest, write_manifest
from similar_fast.train.features import backbone_fingerprint, cached_features, step_keys
from similar_fast.types import Step
from similar_fast_export.heads import build_heads
from similar_fast_export.verify import random_states

Arrays = tuple[np.ndarray, np.ndarray]
Open = Callable[..., "Counting"]


class Counting(RewardModel):
    """A model that notes what it is asked, and fails at the call that is named."""

    calls: list[list[Step]]
    fails_at: int

    def features(self, steps: Sequence[Step]) -> Arrays:
        if len(self.calls) == self.fails_at:
            raise KeyboardInterrupt
        self.calls.append(list(steps))
        return super().features(steps)


@pytest.fixture
def opened(exported: Export) -> Open:
    def open_model(family: str = "qwen2", *, fails_at: int = -1) -> Counting:
        model = Counting(exported(family)[1], providers="cpu", threads=1, verify=False)
        model.calls, model.fails_at = [], fails_at
        return model

    return open_model


def steps_of(seed: int = 0, *, has_vision: bool = False, num_states: int = 6) -> list[Step]:
    """The candidates of some states, those of one state apart."""
    states = random_states(seed, has_vision=has_vision, num_states=num_states)
    return [state[i] for i in range(6) for state in states if i < len(state)]


def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("similar_fast.train.features._BATCH_STEPS", 1)


def assert_close(found: Arrays, wanted: Arrays) -> None:
    for left, right in zip(found, wanted, strict=True):
        assert left.dtype == np.float32
        assert left.shape == right.shape
        assert np.abs(left - right).max() < 1e-5 * max(1, np.abs(right).max())


@pytest.mark.parametrize("family", ["bert", "qwen2", "qwen2_vl"])
def test_features_equal_the_models_own(opened: Open, tmp_path: Path, family: str) -> None:
    model = opened(family)
    steps = steps_of(has_vision=family == "qwen2_vl")
    wanted = model.features(steps)

    first = cached_features(model, steps, folder=tmp_path)
    num_calls = len(model.calls)
    second = cached_features(model, steps, folder=tmp_path)

    assert_close(first, wanted)
    assert len(model.calls) == num_calls
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert np.ptp(first[0], axis=0).min() > 0


def test_candidates_of_a_state_reach_the_model_together(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch)
    model = opened("qwen2_vl")
    steps = steps_of(has_vision=True)

    hidden, prompt_hidden = cached_features(model, steps, folder=tmp_path)

    assert len(model.calls) == 6
    assert all(len({step.observation for step in call}) == 1 for call in model.calls)
    assert sum(map(len, model.calls)) == len(steps) == len(hidden)
    assert len(np.unique(prompt_hidden, axis=0)) == 6


def test_equal_steps_are_computed_once(opened: Open, tmp_path: Path) -> None:
    model = opened()
    steps = steps_of()

    hidden, _ = cached_features(model, steps * 3, folder=tmp_path)

    assert sum(map(len, model.calls)) == len(steps)
    assert np.array_equal(hidden[: len(steps)], hidden[-len(steps) :])


def test_interrupted_run_goes_on_where_it_was(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch)
    steps = steps_of()
    whole = cached_features(opened(), steps, folder=tmp_path / "whole")
    failing = opened(fails_at=3)

    with pytest.raises(KeyboardInterrupt):
        cached_features(failing, steps, folder=tmp_path / "cache")
    model = opened()
    told: list[tuple[int, int]] = []
    resumed = cached_features(
        model,
        steps,
        folder=tmp_path / "cache",
        progress=lambda done, total: told.append((done, total)),
    )

    done = sum(map(len, failing.calls))
    assert done > 0
    assert sum(map(len, model.calls)) == len(steps) - done
    assert told[0] == (done, len(steps))
    assert told[-1] == (len(steps), len(steps))
    assert all(np.array_equal(a, b) for a, b in zip(resumed, whole, strict=True))


def test_data_that_comes_later_is_all_that_is_computed(opened: Open, tmp_path: Path) -> None:
    model = opened()
    steps = steps_of()
    new = [replace(steps[0], action="something new"), *steps_of(7, num_states=1)]
    before = cached_features(model, steps, folder=tmp_path)
    model.calls.clear()

    hidden, prompt_hidden = cached_features(model, [*new, *steps], folder=tmp_path)

    assert [len(call) for call in model.calls] == [len(new)]
    assert np.array_equal(hidden[len(new) :], before[0])
    assert np.array_equal(prompt_hidden[len(new) :], before[1])
    # The new action is of a state that was there: the same p to the bit.
    assert np.array_equal(prompt_hidden[0], before[1][0])


def test_shards_are_as_large_as_they_are_asked_to_be(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch)
    model = opened()
    steps = steps_of()

    found = cached_features(model, steps, folder=tmp_path, shard_steps=8)

    sizes = [len(load_file(path)["keys"]) for path in sorted(tmp_path.rglob("*.safetensors"))]
    assert len(sizes) == 3
    assert all(8 <= size <= 13 for size in sizes[:-1])
    assert sum(sizes) == len(steps)
    assert_close(found, model.features(steps))


def test_state_is_stored_once(opened: Open, tmp_path: Path) -> None:
    cached_features(opened(), steps_of(), folder=tmp_path)

    (path,) = tmp_path.rglob("*.safetensors")
    shard = load_file(path)
    assert len(shard["prompt_hidden"]) == 6 < len(shard["hidden"])


def test_no_step_has_no_features(opened: Open, tmp_path: Path) -> None:
    model = opened()

    hidden, prompt_hidden = cached_features(model, [], folder=tmp_path)

    assert hidden.shape == prompt_hidden.shape == (0, model.manifest.hidden_size)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.fixture
def shard(opened: Open, tmp_path: Path) -> Path:
    cached_features(opened(), steps_of(), folder=tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    return path


def change_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 64
    path.write_bytes(data)


def change_about(path: Path, **about: str) -> None:
    save_file(load_file(path), path, {"similar_fast": json.dumps(about)})


def change_shape(path: Path) -> None:
    size = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    tensors = load_file(path)
    tensors["state"] = tensors["state"] + 1000
    save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-7]), "cannot be read"),
        (change_byte, "was altered"),
        (change_shape, "do not fit one another"),
        (lambda path: save_file(load_file(path), path), "has the format None"),
        (partial(change_about, format="x"), "has the format 'x'"),
        (
            partial(change_about, format="similar-fast features 1", model="other"),
            "is of the model 'other'",
        ),
        (
            lambda path: save_file({"a": np.zeros(1)}, path, {"similar_fast": "[1]"}),
            "has the format None",
        ),
    ],
)
def test_shard_that_is_broken_or_foreign_is_refused(
    opened: Open, shard: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(shard)

    with pytest.raises(DataError, match=message) as caught:
        cached_features(opened(), steps_of(), folder=shard.parent.parent)

    assert caught.value.path == shard


def test_other_heads_find_the_same_features_and_another_backbone_does_not(
    exported: Export, tmp_path: Path
) -> None:
    source = exported("qwen2")[1]
    manifest = read_manifest(source)
    folder = Path(shutil.copytree(source, tmp_path / "m"))
    heads = build_heads(random_heads(manifest.hidden_size, 9), folder, manifest.hidden_size)
    files = tuple(describe_file(folder / file.name) for file in manifest.files)
    assert manifest.reward is not None
    reward = replace(manifest.reward, heads=replace(heads, is_random=False))

    write_manifest(folder, replace(manifest, files=files, reward=reward))

    other = read_manifest(folder)
    assert other.fingerprint != manifest.fingerprint
    assert backbone_fingerprint(other) == backbone_fingerprint(manifest)
    decoder = next(file for file in files if file.name.startswith("decoder"))
    changed = tuple(replace(f, sha256="0" * 64) if f is decoder else f for f in files)
    assert backbone_fingerprint(replace(other, files=changed)) != backbone_fingerprint(other)


def test_each_part_of_a_step_is_in_its_key() -> None:
    step = Step("i", ("a", "b"), "x", "o", lambda: b"1")
    others = [
        replace(step, instruction="j"),
        replace(step, history=("a b",)),
        replace(step, observation="p"),
        replace(step, screenshot=lambda: b"2"),
        replace(step, screenshot=None),
        replace(step, action="y"),
    ]

    keys = step_keys("m", [step, *others])

    assert len({key for key, _ in keys}) == 7
    assert len({state for _, state in keys}) == 6
    assert keys[0][1] == keys[-1][1]
    assert step_keys("n", [step])[0] not in keys
    assert step_keys("m", [replace(step, screenshot=lambda: b"1")])[0] == keys[0]


def test_screenshot_is_read_once() -> None:
    asked: list[str] = []

    def read(name: str) -> bytes:
        asked.append(name)
        return name.encode()

    steps = [Step("i", (), str(i), "", partial(read, "ab"[i % 2])) for i in range(6)]

    step_keys("m", steps)

    assert sorted(asked) == ["a", "b"]


def test_step_that_cannot_be_read_is_named() -> None:
    def missing() -> bytes:
        raise FileNotFoundError("no such picture")

    with pytest.raises(DataError, match="step 1: its screenshot cannot be read: no such picture"):
        step_keys("m", [Step("i", (), "a"), Step("i", (), "a", "", missing)])
    with pytest.raises(DataError, match="step 0: its text is no Unicode"):
        step_keys("m", [Step("i", (), "\ud800")])


def test_shard_of_no_step_is_refused(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shard_steps is 0"):
        cached_features(opened(), [], folder=tmp_path, shard_steps=0)
