"""Sessions on real ONNX files: providers, faults of a file, exact weights, quiet start."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from similar_fast.errors import InferenceError, ModelError
from similar_fast.models import runtime
from similar_fast.models.runtime import has_cuda_device, onnxruntime_distributions, open_session

ONES = np.ones(4, np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that adds one to x `[N, 4]`."""
    return write_model(tmp_path / "add.onnx", numpy_helper.from_array(ONES, "w"))


def write_model(path: Path, weight: TensorProto) -> Path:
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 4]) for name in ("x", "y")
    )
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "add", [x], [y], [weight])
    opsets = [helper.make_opsetid("", 21)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    path.write_bytes(data)
    return path


def external_weight(location: str) -> TensorProto:
    weight = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT)
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weight.external_data.add(key=key, value=value)
    return weight


def in_fresh_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )


def test_run_returns_outputs_by_name(model: Path) -> None:
    session = open_session(model, threads=1)

    outputs = session.run({"x": np.zeros((2, 4), np.float32)})

    assert (session.inputs, session.outputs) == (("x",), ("y",))
    np.testing.assert_array_equal(outputs["y"], np.ones((2, 4), np.float32))


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"z": np.zeros((1, 4), np.float32)},
        {"x": np.zeros((1, 5), np.float32)},
        {"x": np.zeros((1, 4), np.int64)},
    ],
)
def test_arrays_that_do_not_fit_are_an_inference_error(
    model: Path, feeds: dict[str, np.ndarray]
) -> None:
    session = open_session(model)

    with pytest.raises(InferenceError, match=r"add\.onnx failed on \{"):
        session.run(feeds)


def test_threads_reach_the_session(model: Path) -> None:
    session = open_session(model, threads=1)

    assert session._session.get_session_options().intra_op_num_threads == 1


def test_arguments_out_of_range_are_value_errors(model: Path) -> None:
    with pytest.raises(ValueError, match="threads is 0"):
        open_session(model, threads=0)
    with pytest.raises(ValueError, match="providers is empty"):
        open_session(model, providers=())


def test_missing_model_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx is missing"):
        open_session(tmp_path / "none.onnx")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_truncated_model_is_a_model_error_that_tells_its_size(model: Path, share: float) -> None:
    data = model.read_bytes()
    size = int(share * len(data))
    model.write_bytes(data[:size])

    with pytest.raises(ModelError, match=rf"add\.onnx \({size} bytes\) is no ONNX model") as caught:
        open_session(model)

    assert not isinstance(caught.value, InferenceError)


def test_external_data_inside_the_folder_is_read(tmp_path: Path) -> None:
    (2 * ONES).tofile(tmp_path / "weights.bin")
    model = write_model(tmp_path / "add.onnx", external_weight("weights.bin"))

    outputs = open_session(model).run({"x": np.zeros((1, 4), np.float32)})

    np.testing.assert_array_equal(outputs["y"], [2 * ONES])


@pytest.mark.parametrize("location", ["../secret.bin", "{absolute}", "link.bin", "missing.bin"])
def test_external_data_outside_the_folder_is_a_model_error(tmp_path: Path, location: str) -> None:
    secret = tmp_path / "secret.bin"
    ONES.tofile(secret)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(secret)
    weight = external_weight(location.format(absolute=secret))
    model = write_model(folder / "add.onnx", weight)

    with pytest.raises(ModelError, match=r"(?i)external data"):
        open_session(model)


def test_int8_weights_become_float_and_activations_stay_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (64, 32), dtype=np.int8)
    scale = rng.uniform(0.01, 0.02, (1, 32)).astype(np.float32)
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
        for name, width in (("x", 64), ("y", 32))
    )
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["float"], axis=0, block_size=64),
        helper.make_node("MatMul", ["x", "float"], ["y"]),
    ]
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(scale, "s")]
    graph = helper.make_graph(nodes, "product", [x], [y], constants)
    opsets = [helper.make_opsetid("", 21)]
    path = tmp_path / "product.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    )
    rows = rng.normal(size=(8, 64)).astype(np.float32)

    product = open_session(path).run({"x": rows})["y"]

    exact = rows.astype(np.float64) @ (weight.astype(np.float64) * scale)
    np.testing.assert_allclose(product, exact, atol=2e-5)


def test_provider_that_no_build_has_is_an_inference_error(model: Path) -> None:
    with pytest.raises(InferenceError, match="NoSuchProvider is not in this build"):
        open_session(model, providers="NoSuchProvider")


def test_explicit_cuda_without_a_device_is_an_inference_error(model: Path) -> None:
    if has_cuda_device():
        session = open_session(model, providers="CUDAExecutionProvider")
        assert session.providers[0] == "CUDAExecutionProvider"
    else:
        with pytest.raises(InferenceError, match="CUDAExecutionProvider"):
            open_session(model, providers="CUDAExecutionProvider")


def test_explicit_provider_that_falls_back_is_an_inference_error(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runtime._import_onnxruntime()
    fake = SimpleNamespace(
        **{name: getattr(real, name) for name in ("SessionOptions", "__version__")},
        get_available_providers=lambda: ["FakeExecutionProvider", "CPUExecutionProvider"],
        InferenceSession=lambda path, sess_options, **_: real.InferenceSession(
            path, sess_options, providers=["CPUExecutionProvider"]
        ),
    )
    monkeypatch.setattr(runtime, "_import_onnxruntime", lambda: fake)

    with pytest.raises(InferenceError, match="FakeExecutionProvider was asked for and did not"):
        open_session(model, providers=[("FakeExecutionProvider", {"a": 1})])


def test_provider_with_options_runs(model: Path) -> None:
    session = open_session(model, providers=[("CPUExecutionProvider", {})])

    assert session.providers == ("CPUExecutionProvider",)


@pytest.mark.parametrize("is_device_claimed", [False, True])
def test_auto_says_nothing_where_cuda_does_not_start(
    model: Path, *, is_device_claimed: bool
) -> None:
    claim = "runtime.has_cuda_device = lambda: True;" if is_device_claimed else ""

    done = in_fresh_python(
        f"from similar_fast.models import runtime;{claim}"
        f"print(runtime.open_session({str(model)!r}).providers[-1])"
    )

    assert (done.stdout.strip(), done.stderr) == ("CPUExecutionProvider", "")


def test_one_distribution_is_installed_here() -> None:
    found = onnxruntime_distributions()

    assert len(found) == 1
    assert found[0][0] in {"onnxruntime", "onnxruntime-gpu"}


def test_two_distributions_are_an_inference_error_that_names_both_and_the_fix(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"onnxruntime": "1.23.0", "onnxruntime-gpu": "1.31.1"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(runtime.metadata, "version", version)

    assert onnxruntime_distributions() == tuple(installed.items())
    fix = (
        "onnxruntime 1.23.0 and onnxruntime-gpu 1.31.1 .*pip uninstall onnxruntime onnxruntime-gpu"
    )
    with pytest.raises(InferenceError, match=fix):
        open_session(model)


def test_import_is_light() -> None:
    done = in_fresh_python(
        "import sys, similar_fast, similar_fast.embedding, similar_fast.models.runtime;"
        "print([m for m in ('onnxruntime', 'tokenizers', 'onnx', 'PIL') if m in sys.modules])"
    )

    assert done.stdout.strip() == "[]"
