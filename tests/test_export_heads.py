"""The heads' graph against torch, their file, and what is refused."""

import hashlib
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from similar_fast.errors import ModelError
from similar_fast.models.heads import (
    HEADS_NAME,
    HEADS_WEIGHTS_NAME,
    LABEL_SCALES,
    Heads,
    encode_heads,
    random_heads,
    read_heads,
)
from similar_fast.models.manifest import HeadsSpec
from similar_fast_export.heads import build_heads

WIDTH = 48

Arrays = dict[str, np.ndarray]


def tensors(*, is_gated: bool = True, seed: int = 0) -> Arrays:
    """Trained heads in the manner of upstream, by the names of their file."""
    rng = np.random.default_rng(seed)
    made = {"regression.weight": rng.normal(size=(5, WIDTH))}
    if is_gated:
        sizes = [WIDTH, 32, 40, 24, 5]
        for i, (inputs, outputs) in enumerate(pairwise(sizes)):
            gain = 15 if outputs == 5 else 1.5  # the last layer's outputs are divided by T
            scale = gain * inputs**-0.5
            made[f"gating.layers.{i}.weight"] = rng.normal(0, scale, (outputs, inputs))
            made[f"gating.layers.{i}.bias"] = rng.normal(0, gain / 3, outputs)
        made["gating.logit_scale"] = np.array([1.7])
    return {name: array.astype(np.float32) for name, array in made.items()}


def write(path: Path, made: Arrays, metadata: dict[str, str] | None = None) -> Path:
    save_file(made, path, metadata)
    return path


def states(seed: int, *rows: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, WIDTH)).astype(np.float32) for n in rows]


def run(folder: Path, hidden: np.ndarray, prompt: np.ndarray, group: list[int]) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        folder / HEADS_NAME, options, providers=["CPUExecutionProvider"]
    )
    names = ["dims", "weights", "score"]
    feed = {"hidden": hidden, "prompt_hidden": prompt, "group": np.array(group, np.int64)}
    return dict(zip(names, session.run(names, feed), strict=True))


def expected(
    made: Arrays, hidden: np.ndarray, prompt: np.ndarray, group: list[int], temperature: float
) -> Arrays:
    """The formula in float64, one linear layer of torch after another."""
    wide = {name: torch.tensor(array, dtype=torch.float64) for name, array in made.items()}
    dims = torch.nn.functional.linear(torch.tensor(hidden).double(), wide["regression.weight"])
    if "gating.logit_scale" not in wide:
        return {"dims": dims.numpy(), "weights": np.ones(dims.shape), "score": dims.sum(1).numpy()}
    value = torch.tensor(prompt).double()
    count = sum("weight" in name for name in made) - 1
    for i in range(count):
        name = f"gating.layers.{i}"
        value = torch.nn.functional.linear(value, wide[f"{name}.weight"], wide[f"{name}.bias"])
        value = torch.relu(value) if i < count - 1 else value
    weights = (torch.softmax(value / temperature, 1) * wide["gating.logit_scale"])[group]
    score = (weights * dims).sum(1)
    return {"dims": dims.numpy(), "weights": weights.numpy(), "score": score.numpy()}


def assert_close(found: Arrays, wanted: Arrays, tolerance: float = 1e-5) -> None:
    for name, array in wanted.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == np.float32
        assert np.abs(found[name] - array).max() < tolerance * max(1, np.abs(array).max())


def test_gated_heads_equal_the_formula(tmp_path: Path) -> None:
    made = tensors()
    path = write(tmp_path / "source.safetensors", made, {"temperature": "25"})
    hidden, prompt = states(1, 7, 3)
    group = [0, 2, 1, 1, 0, 2, 0]

    spec = build_heads(path, tmp_path, WIDTH)
    found = run(tmp_path, hidden, prompt, group)

    wanted = expected(made, hidden, prompt, group, 25.0)
    assert spec == HeadsSpec(is_gated=True, label_scales=LABEL_SCALES)
    assert np.median(wanted["weights"]) > 0.05
    assert np.ptp(wanted["weights"]) > 0.2
    assert_close(found, wanted)


def test_temperature_is_ten_where_the_file_names_none(tmp_path: Path) -> None:
    made = tensors()
    hidden, prompt = states(2, 2, 1)

    build_heads(write(tmp_path / "source.safetensors", made), tmp_path, WIDTH)

    wanted = expected(made, hidden, prompt, [0, 0], 10.0)
    assert_close(run(tmp_path, hidden, prompt, [0, 0]), wanted)


def test_heads_without_a_gate_add_up(tmp_path: Path) -> None:
    made = tensors(is_gated=False)
    hidden, prompt = states(3, 4, 2)

    spec = build_heads(write(tmp_path / "source.safetensors", made), tmp_path, WIDTH)
    found = run(tmp_path, hidden, prompt, [0, 1, 1, 0])

    assert not spec.is_gated
    assert_close(found, expected(made, hidden, prompt, [0, 1, 1, 0], 10.0))


def test_row_is_the_same_alone_and_in_a_batch(tmp_path: Path) -> None:
    build_heads(random_heads(WIDTH, 0), tmp_path, WIDTH)
    hidden, prompt = states(4, 67, 5)
    group = [i % 5 for i in range(67)]

    whole = run(tmp_path, hidden, prompt, group)
    alone = [run(tmp_path, hidden[[i]], prompt[[group[i]]], [0]) for i in range(0, 67, 6)]

    for name, array in whole.items():
        rows = np.concatenate([row[name] for row in alone])
        assert np.abs(array[::6] - rows).max() < 1e-6 * max(1, np.abs(rows).max())


def test_no_action_gives_no_row(tmp_path: Path) -> None:
    build_heads(random_heads(WIDTH, 0), tmp_path, WIDTH)
    (prompt,) = states(5, 1)

    found = run(tmp_path, prompt[:0], prompt, [])

    assert found["score"].shape == (0,)


def test_random_heads_weigh_the_dimensions_unlike(tmp_path: Path) -> None:
    spec = build_heads(random_heads(WIDTH, 7), tmp_path, WIDTH)
    hidden, prompt = states(6, 16, 16)

    weights = run(tmp_path, hidden, prompt, list(range(16)))["weights"]

    assert spec.is_random
    assert np.allclose(weights.sum(1), 2)
    assert np.ptp(weights, axis=1).min() > 0.1
    assert np.ptp(weights, axis=0).min() > 0.1


def test_random_heads_follow_their_seed() -> None:
    first, again, other = (encode_heads(random_heads(WIDTH, seed)) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_heads_that_were_drawn_say_so_when_read_again(tmp_path: Path) -> None:
    build_heads(random_heads(WIDTH, 0), tmp_path, WIDTH)
    (tmp_path / "second").mkdir()

    spec = build_heads(tmp_path / HEADS_WEIGHTS_NAME, tmp_path / "second", WIDTH)

    assert spec.is_random


def test_caller_may_say_that_a_file_is_random(tmp_path: Path) -> None:
    path = write(tmp_path / "source.safetensors", tensors())

    assert build_heads(path, tmp_path, WIDTH, is_random=True).is_random


def test_file_is_copied_byte_for_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "source.safetensors", tensors(), {"source": "somewhere"})

    build_heads(path, tmp_path, WIDTH)

    assert (tmp_path / HEADS_WEIGHTS_NAME).read_bytes() == path.read_bytes()


def test_encoded_heads_are_read_back_whole(tmp_path: Path) -> None:
    made = tensors()
    path = write(
        tmp_path / "source.safetensors",
        made,
        {"temperature": "2.5", "label_scales": "1 2 3 4 0.1"},
    )
    copy = tmp_path / "copy.safetensors"

    copy.write_bytes(encode_heads(read_heads(path)))

    with safe_open(str(copy), framework="np") as file:
        assert file.metadata() == {"temperature": "2.5", "label_scales": "1 2 3 4 0.1"}
        assert sorted(file.keys()) == sorted(made)
        for name, array in made.items():
            assert np.array_equal(file.get_tensor(name), array)
    assert read_heads(copy).label_scales == (1, 2, 3, 4, 0.1)


def test_same_heads_give_the_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib; from similar_fast.models.heads import encode_heads, random_heads; "
        f"print(hashlib.sha256(encode_heads(random_heads({WIDTH}, 3))).hexdigest())"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"}

    other = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()

    assert other == hashlib.sha256(encode_heads(random_heads(WIDTH, 3))).hexdigest()


def test_half_precision_file_is_read_as_float32(tmp_path: Path) -> None:
    made = {name: array.astype(np.float16) for name, array in tensors().items()}

    heads = read_heads(write(tmp_path / "source.safetensors", made))

    assert heads.regression.dtype == np.float32
    assert np.array_equal(heads.regression, made["regression.weight"])


def without(name: str) -> Arrays:
    made = tensors()
    del made[name]
    return made


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (without("regression.weight"), r"expected regression\.weight"),
        (
            tensors() | {"regression.weight": np.zeros((5, 32), np.float32)},
            r"regression\.weight has the shape \[5, 32\]; expected \[5, 48\]",
        ),
        (
            tensors() | {"regression.weight": np.zeros((6, WIDTH), np.float32)},
            r"has the shape \[6, 48\]; expected \[5, 48\]",
        ),
        (
            tensors() | {"regression.weight": np.full((5, WIDTH), np.nan, np.float32)},
            r"regression\.weight holds NaN or infinite values",
        ),
        (
            tensors() | {"gating.layers.2.bias": np.full(24, np.inf, np.float32)},
            r"gating\.layers\.2\.bias holds NaN or infinite values",
        ),
        (without("gating.layers.1.weight"), r"has no gating\.layers\.1\.weight"),
        (without("gating.layers.3.bias"), r"has no gating\.layers\.3\.bias"),
        (
            tensors() | {"gating.layers.3.weight": np.zeros((4, 24), np.float32)},
            r"gating\.layers\.3\.weight has the shape \[4, 24\]; expected \[5, 24\]",
        ),
        (
            tensors() | {"gating.layers.1.weight": np.zeros((40, 31), np.float32)},
            r"gating\.layers\.1\.weight has the shape \[40, 31\]; expected \[any, 32\]",
        ),
        (
            tensors() | {"gating.layers.0.weight": np.zeros(7, np.float32)},
            r"gating\.layers\.0\.weight has the shape \[7\]; expected \[any, 48\]",
        ),
        (
            tensors() | {"gating.layers.0.bias": np.zeros(31, np.float32)},
            r"gating\.layers\.0\.bias has the shape \[31\]; expected \[32\]",
        ),
        (without("gating.logit_scale"), "has 4 gating layers and no logit_scale"),
        (
            tensors(is_gated=False) | {"gating.logit_scale": np.ones(1, np.float32)},
            "has 0 gating layers and a logit_scale of 1 numbers",
        ),
        (
            tensors() | {"gating.logit_scale": np.ones(5, np.float32)},
            "a logit_scale of 5 numbers; expected one",
        ),
        (
            tensors() | {"gating.logit_scale": np.full(1, np.nan, np.float32)},
            "has the logit_scale nan; expected a number",
        ),
        (
            tensors() | {"regression.bias": np.zeros(5, np.float32)},
            r"holds regression\.bias, which heads do not have",
        ),
        (
            tensors() | {"regression.weight": np.zeros((5, WIDTH), np.int64)},
            r"regression\.weight is of I64; expected F32 or F16",
        ),
    ],
)
def test_file_that_is_no_heads_is_refused(tmp_path: Path, made: Arrays, message: str) -> None:
    path = write(tmp_path / "source.safetensors", made)

    with pytest.raises(ModelError, match=message):
        build_heads(path, tmp_path, WIDTH)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"temperature": "0"}, "has the temperature 0; expected 1 above 0"),
        ({"temperature": "nan"}, "has the temperature nan; expected 1 above 0"),
        ({"temperature": "warm"}, "has the metadata temperature 'warm'; expected 1 numbers"),
        ({"label_scales": "1 2 3"}, "label_scales '1 2 3'; expected 5 numbers"),
        ({"label_scales": "1 2 3 4 -5"}, "label_scales 1 2 3 4 -5; expected 5 above 0"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(
    tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    path = write(tmp_path / "source.safetensors", tensors(), metadata)

    with pytest.raises(ModelError, match=message):
        build_heads(path, tmp_path, WIDTH)


@pytest.mark.parametrize("content", [b"", b"\x80\x04}.", None])
def test_broken_or_missing_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "source.safetensors"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ModelError, match="cannot be read as heads"):
        build_heads(path, tmp_path, WIDTH)


def test_weights_in_memory_are_checked_as_well(tmp_path: Path) -> None:
    heads = Heads(np.zeros((5, WIDTH + 1), np.float32))

    with pytest.raises(ModelError, match=r"the heads: regression\.weight has the shape"):
        build_heads(heads, tmp_path, WIDTH)
