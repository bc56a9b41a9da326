"""Upstream's pickles as heads: layouts, the order of the rows, and what is refused.

A reader of its own imports torch each time, which takes seconds; the tests that ask for `quick`
run the reader here instead.
"""

import contextlib
import io
import os
import pickle
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.errors import ModelError
from similar_fast.models.heads import LABEL_SCALES, read_heads
from similar_fast_export import convert_worker
from similar_fast_export.convert import UPSTREAM_ORDER, convert_heads
from similar_fast_export.heads import build_heads

WIDTH = 16

Tensors = dict[str, torch.Tensor]


class Gating(torch.nn.Module):
    """The parameters of upstream's gate."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [WIDTH, 12, 10, 5]
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in pairwise(sizes))
        self.logit_scale = torch.nn.Parameter(torch.ones(1) * 1.5)


def regression(seed: int = 0) -> torch.Tensor:
    """As the ridge regression leaves it: float64."""
    return torch.tensor(np.random.default_rng(seed).normal(size=(5, WIDTH)))


def gating() -> Tensors:
    torch.manual_seed(0)
    return dict(Gating().state_dict())


def save(path: Path, record: object) -> Path:
    torch.save(record, path)
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the reader in this process, for files that were made here."""

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        out = io.TextIOWrapper(io.BytesIO())
        with contextlib.redirect_stdout(out):
            status = convert_worker.main(command[3:])
        return subprocess.CompletedProcess(command, status, out.buffer.getvalue())

    monkeypatch.setattr(subprocess, "run", run)


def test_two_files_of_upstream_become_one(tmp_path: Path) -> None:
    weight, state = regression(), Gating().state_dict()
    first = save(tmp_path / "regression.pt", {"weight": weight})
    second = save(tmp_path / "gating.pt", state)

    convert_heads(first, tmp_path / "out", gating=second, order=DIMENSIONS)

    with safe_open(str(tmp_path / "out"), framework="np") as file:
        assert file.metadata() == {"temperature": "10", "label_scales": "3 5 5 1 1"}
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
    expected = {"regression.weight": weight} | {f"gating.{k}": v for k, v in state.items()}
    assert sorted(found) == sorted(expected)
    for name, tensor in expected.items():
        assert np.array_equal(found[name], tensor.float().numpy())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", ""),
        ("regression_layer.", "gating."),
        ("regression.", "gating_network."),
        ("regression_layer.", ""),
    ],
)
def test_one_file_is_read_with_and_without_prefixes(
    tmp_path: Path, first: str, second: str
) -> None:
    record = OrderedDict({f"{first}weight": regression()})
    record.update({f"{second}{name}": tensor for name, tensor in gating().items()})

    convert_heads(save(tmp_path / "heads.pt", record), tmp_path / "out")

    heads = read_heads(tmp_path / "out")
    assert len(heads.layers) == 3
    assert heads.logit_scale == 1.5


@pytest.mark.usefixtures("quick")
def test_rows_take_our_order(tmp_path: Path) -> None:
    weight, state = regression(), gating()

    convert_heads(save(tmp_path / "heads.pt", {"weight": weight, **state}), tmp_path / "out")

    heads = read_heads(tmp_path / "out")
    for i, dimension in enumerate(DIMENSIONS):
        row = UPSTREAM_ORDER.index(dimension)
        assert np.array_equal(heads.regression[i], weight[row].float())
        assert np.array_equal(heads.layers[-1][0][i], state["layers.2.weight"][row])
        assert heads.layers[-1][1][i] == state["layers.2.bias"][row].item()
    assert np.array_equal(heads.layers[0][0], state["layers.0.weight"])


def test_order_upstream_is_that_of_its_keys() -> None:
    assert UPSTREAM_ORDER == (
        Dimension.ODDS_OF_SUCCESS,
        Dimension.EFFICIENCY,
        Dimension.HELPFULNESS,
        Dimension.TASK_RELEVANCE,
        Dimension.COHERENCE,
    )


@pytest.mark.usefixtures("quick")
def test_heads_without_a_gate_are_converted(tmp_path: Path) -> None:
    path = save(tmp_path / "heads.pt", {"weight": regression().bfloat16()})

    convert_heads(path, tmp_path / "out", temperature=2.5, label_scales=(1, 1, 1, 1, 1))

    heads = read_heads(tmp_path / "out")
    assert heads.layers == ()
    assert (heads.temperature, heads.label_scales) == (2.5, (1, 1, 1, 1, 1))


@pytest.mark.usefixtures("quick")
def test_converted_heads_can_be_built(tmp_path: Path) -> None:
    path = save(tmp_path / "heads.pt", {"weight": regression(), **gating()})

    convert_heads(path, tmp_path / "out")

    spec = build_heads(tmp_path / "out", tmp_path, WIDTH)
    assert spec.is_gated
    assert spec.label_scales == LABEL_SCALES
    assert not spec.is_random


@pytest.mark.usefixtures("quick")
def test_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    path = save(tmp_path / "heads.pt", {"weight": regression(), **gating()})

    for name in ("a", "b"):
        convert_heads(path, tmp_path / name)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


class Malice:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("is_archive", [True, False])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, is_archive: bool) -> None:  # noqa: FBT001  # pytest's way
    mark, path = tmp_path / "mark", tmp_path / "heads.pt"
    record = {"weight": regression(), "layers.0.weight": Malice(mark)}
    if is_archive:
        save(path, record)
    else:
        path.write_bytes(pickle.dumps(record))

    with pytest.raises(ModelError, match="holds"):
        convert_heads(path, tmp_path / "out")

    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def test_forbidden_name_in_a_pickle_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "heads.pt", {"weight": Malice(tmp_path / "mark")})

    with pytest.raises(ModelError, match=r"holds a pickle that asks for posix\.mkdir"):
        convert_heads(path, tmp_path / "out")


def without(name: str) -> Tensors:
    return {key: tensor for key, tensor in gating().items() if key != name}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([1, 2], "holds a list; expected a table of tensors"),
        (regression(), "holds a Tensor; expected a table of tensors"),
        ({"weight": [1.0]}, "holds 'weight', a list; expected a name and a tensor"),
        ({1: regression()}, "holds 1, a Tensor; expected a name and a tensor"),
        ({"weight": torch.ones(5, WIDTH, dtype=torch.int64)}, r"a tensor of torch\.int64"),
        ({"weight": torch.ones(5, WIDTH, device="meta")}, "expected plain floating-point numbers"),
        ({"weight": torch.full((5, WIDTH), torch.nan)}, r"regression\.weight holds NaN"),
        ({"weight": regression() * 1e300}, r"regression\.weight holds NaN or infinite values"),
        ({"weight": torch.ones(4, WIDTH)}, r"has the shape \[4, 16\]; expected \[5, 16\]"),
        ({"weight": torch.ones(5)}, r"regression\.weight has the shape \[5\]"),
        (gating(), r"expected regression\.weight"),
        ({"weight": regression(), "bias": torch.ones(5)}, "holds 'bias'; expected weight or"),
        (
            {"weight": regression(), "regression_layer.weight": regression()},
            r"holds regression\.weight under two names",
        ),
        (
            {"weight": regression(), **without("layers.1.weight")},
            r"has no gating\.layers\.1\.weight",
        ),
        ({"weight": regression(), **without("logit_scale")}, "3 gating layers and no logit_scale"),
        (
            {"weight": regression(), **gating(), "layers.2.bias": torch.ones(6)},
            r"gating\.layers\.2\.bias has the shape \[6\]; expected \[5\]",
        ),
    ],
)
def test_file_that_is_no_heads_is_refused(tmp_path: Path, record: object, message: str) -> None:
    path = save(tmp_path / "heads.pt", record)

    with pytest.raises(ModelError, match=message):
        convert_heads(path, tmp_path / "out")

    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x80\x04K\x01."])
def test_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "heads.pt"
    path.write_bytes(content)

    with pytest.raises(ModelError, match=r"heads\.pt holds"):
        convert_heads(path, tmp_path / "out")


@pytest.mark.usefixtures("quick")
def test_regression_in_both_files_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "heads.pt", {"weight": regression()})

    with pytest.raises(ModelError, match=r"holds regression\.weight a second time"):
        convert_heads(path, tmp_path / "out", gating=path)


@pytest.mark.usefixtures("quick")
def test_tensor_of_more_numbers_than_are_stored_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1).expand(5, 2_000_000)}, tmp_path / "heads.pt")

    with pytest.raises(ModelError, match="10000000 numbers in a file of fewer"):
        convert_heads(tmp_path / "heads.pt", tmp_path / "heads.safetensors")


def test_file_that_is_there_stays(tmp_path: Path) -> None:
    path = save(tmp_path / "heads.pt", {"weight": regression()})
    (tmp_path / "out").write_text("mine")

    with pytest.raises(FileExistsError, match="expected a new file"):
        convert_heads(path, tmp_path / "out")

    assert (tmp_path / "out").read_text() == "mine"


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pt is missing"):
        convert_heads(tmp_path / "none.pt", tmp_path / "out")


def test_order_that_names_a_dimension_twice_is_refused(tmp_path: Path) -> None:
    order = [*DIMENSIONS[:4], DIMENSIONS[0]]

    with pytest.raises(ValueError, match="expected the five dimensions once each"):
        convert_heads(tmp_path / "none.pt", tmp_path / "out", order=order)


@pytest.mark.usefixtures("quick")
def test_temperature_of_zero_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "heads.pt", {"weight": regression()})

    with pytest.raises(ModelError, match="the temperature 0; expected 1 above 0"):
        convert_heads(path, tmp_path / "out", temperature=0.0)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("import sys; print('torch', end=''); sys.exit(3)", ModuleNotFoundError, "needs torch"),
        ("import os; os.abort()", ModelError, "the reader ended with status -"),
        ("print('no tensors')", ModelError, "its reader printed no tensors"),
    ],
)
def test_reader_that_fails_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    error: type[Exception],
    message: str,
) -> None:
    path = save(tmp_path / "heads.pt", {"weight": regression()})
    (tmp_path / "worker.py").write_text(code)
    monkeypatch.setattr(convert_worker, "__file__", str(tmp_path / "worker.py"))

    with pytest.raises(error, match=message):
        convert_heads(path, tmp_path / "out")
