"""Graphs and their weights on the disk: where bytes lie, what is refused, products in few bits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from similar_fast.errors import ModelError
from similar_fast.models.runtime import open_session
from similar_fast_export.graph import FLOAT, FLOAT16, INT64, UINT8, Dtype, Graph, Stored
from similar_fast_export.quantize import (
    BLOCK_SIZE,
    quantize,
    quantized_product,
    quantized_rows,
    unpacked_product,
)
from similar_fast_export.weight import Weight, joined

PAGE = 4096


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def two_products(first: np.ndarray, second: np.ndarray) -> Graph:
    graph = Graph("g")
    value = graph.input("x", FLOAT, ["N", first.shape[0]])
    for name, values in (("first", first), ("second", second)):
        value = graph.node("MatMul", value, graph.weight(name, Weight.of(values)))
    graph.output("y", value, type_=FLOAT, shape=["N", second.shape[1]])
    return graph


def run(path: Path, **feeds: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def places(path: Path) -> dict[str, dict[str, str]]:
    model = onnx.load(str(path), load_external_data=False)
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
    }


def test_great_weights_lie_page_aligned_beside_the_graph(tmp_path: Path) -> None:
    first, second = draw(8, 33), draw(33, 40, seed=1)
    path = tmp_path / "g.onnx"

    two_products(first, second).save(path, inline_bytes=1)

    found = places(path)
    data = (tmp_path / "g.onnx.data").read_bytes()
    assert {name: entry["location"] for name, entry in found.items()} == {
        "first": "g.onnx.data",
        "second": "g.onnx.data",
    }
    for name, values in (("first", first), ("second", second)):
        start, length = int(found[name]["offset"]), int(found[name]["length"])
        assert start % PAGE == 0
        assert data[start : start + length] == values.tobytes()
    x = draw(3, 8, seed=2)
    assert np.allclose(run(path, x=x), x @ first @ second, atol=1e-4)


def test_least_weight_that_goes_to_the_data_has_the_inline_size(tmp_path: Path) -> None:
    first, second = draw(8, 33), draw(33, 40)

    two_products(first, second).save(tmp_path / "g.onnx", inline_bytes=second.nbytes)

    assert places(tmp_path / "g.onnx")["first"] == {}
    assert places(tmp_path / "g.onnx")["second"]["length"] == str(second.nbytes)
    assert (tmp_path / "g.onnx.data").stat().st_size == second.nbytes


def test_small_graph_has_no_data_file(tmp_path: Path) -> None:
    two_products(draw(8, 33), draw(33, 40)).save(tmp_path / "g.onnx")

    assert [path.name for path in tmp_path.iterdir()] == ["g.onnx"]


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        two_products(draw(8, 33), draw(33, 40)).save(tmp_path / name / "g.onnx", inline_bytes=1)

    for file in ("g.onnx", "g.onnx.data"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_weights_are_read_one_after_another_when_the_graph_is_saved(tmp_path: Path) -> None:
    order: list[str] = []
    graph = Graph("g")
    value = graph.input("x", FLOAT, ["N", 4])
    for name in ("b", "a"):

        def read(name: str = name) -> np.ndarray:
            order.append(name)
            return draw(4, 4)

        value = graph.node("MatMul", value, graph.weight(name, Weight((4, 4), read)))
    graph.output("y", value, type_=FLOAT, shape=["N", 4])
    assert order == []

    graph.save(tmp_path / "g.onnx")

    assert order == ["b", "a"]


def with_weight(weight: Weight, *, type_: int = FLOAT) -> Graph:
    graph = Graph("g")
    name = graph.weight("w", weight, type_=type_)
    graph.output("y", graph.cast(name, FLOAT), type_=FLOAT, shape=list(weight.shape))
    return graph


def test_weight_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    def read() -> np.ndarray:
        raise ModelError("the disk is gone")

    with pytest.raises(ModelError, match="the disk is gone"):
        with_weight(Weight((4,), read)).save(tmp_path / "g.onnx")

    assert not (tmp_path / "g.onnx").exists()


def test_weight_of_another_shape_than_was_said_is_an_error(tmp_path: Path) -> None:
    graph = with_weight(Weight((4,), lambda: draw(5)))

    with pytest.raises(ModelError, match=r"w has the shape \(5,\); expected \(4,\)"):
        graph.save(tmp_path / "g.onnx")


@pytest.mark.parametrize("value", [70_000.0, -70_000.0])
def test_weight_beyond_fp16_is_an_error(tmp_path: Path, value: float) -> None:
    graph = with_weight(Weight.of(np.array([value, 0])), type_=FLOAT16)

    with pytest.raises(ModelError, match="w holds values beyond 65504, the most of fp16"):
        graph.save(tmp_path / "g.onnx")


def test_weight_without_axes_keeps_none(tmp_path: Path) -> None:
    graph = with_weight(Weight.of(np.float32(1.5)))

    graph.save(tmp_path / "g.onnx")

    assert run(tmp_path / "g.onnx").shape == ()


def test_transposed_weight_is_written_row_after_row(tmp_path: Path) -> None:
    values = draw(3, 5)

    with_weight(Weight.of(values).transposed()).save(tmp_path / "g.onnx", inline_bytes=1)

    assert (tmp_path / "g.onnx.data").read_bytes() == values.T.tobytes()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda g: g.weight("w", Weight.of(draw(2))), "another weight w"),
        (lambda g: g.constant("c", np.float32(2)), "another constant c"),
        (lambda g: g.output("z", "x", type_=FLOAT, shape=[2]), "x is no node's result"),
        (lambda g: g.output("z", "Add.0", type_=FLOAT, shape=[2]), "Add.0 is the output y already"),
    ],
)
def test_names_that_clash_are_refused(spoil: Callable[[Graph], object], message: str) -> None:
    graph = Graph("g")
    total = graph.node("Add", graph.input("x", FLOAT, [2]), graph.weight("w", Weight.of(draw(2))))
    graph.constant("c", np.float32(1))
    graph.output("y", total, type_=FLOAT, shape=[2])

    with pytest.raises(ValueError, match=message):
        spoil(graph)


def test_equal_constants_are_stored_once() -> None:
    graph = Graph("g")

    assert graph.ints(1, 2) == graph.ints(1, 2)
    assert graph.number(0.5) == graph.number(0.5)
    assert len(graph._constants) == 2


def test_joined_weights_follow_one_another() -> None:
    a, b = draw(2, 3), draw(4, 3, seed=1)

    both = joined([Weight.of(a), Weight.of(b)])
    wide = joined([Weight.of(a.T), Weight.of(b.T)], axis=1)

    assert np.array_equal(both.read(), np.concatenate([a, b]))
    assert (both.shape, wide.shape) == ((6, 3), (3, 6))
    assert np.array_equal(wide.read(), both.read().T)


@pytest.mark.parametrize("shapes", [[], [(2, 3), (2, 4)]])
def test_weights_that_do_not_join_are_refused(shapes: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match=r"no weight to join|differ beside axis 0"):
        joined([Weight.of(draw(*shape)) for shape in shapes])


def dequantised(packed: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    """Written from the operator's description, byte by byte."""
    outputs, blocks, _ = packed.shape
    values = np.empty((outputs, blocks, BLOCK_SIZE))
    for i in range(BLOCK_SIZE):
        byte = packed[:, :, i if bits == 8 else i // 2].astype(int)
        values[:, :, i] = byte if bits == 8 else (byte >> 4 * (i % 2)) & 15
    values = (values - 2 ** (bits - 1)) * scales[:, :, None]
    return values.reshape(outputs, blocks * BLOCK_SIZE)


def product(path: Path, dtype: Dtype, matrix: np.ndarray) -> None:
    graph = Graph("g", dtype=dtype)
    value = graph.input("x", FLOAT, ["N", matrix.shape[1]])
    result = quantized_product(graph, value, "w", Weight.of(matrix))
    graph.output("y", result, type_=FLOAT, shape=["N", matrix.shape[0]])
    graph.save(path)


@pytest.mark.parametrize(("dtype", "bits"), [("int8", 8), ("int4", 4)])
@pytest.mark.parametrize("shape", [(5, 32), (64, 96), (33, 256)])
def test_product_equals_that_of_the_dequantised_weights(
    tmp_path: Path, dtype: Dtype, bits: int, shape: tuple[int, int]
) -> None:
    matrix = draw(*shape) / np.float32(shape[1] ** 0.5)
    x = draw(19, shape[1], seed=1)

    product(tmp_path / "g.onnx", dtype, matrix)

    expected = x.astype(np.float64) @ dequantised(*quantize(matrix, bits), bits).T
    assert np.abs(run(tmp_path / "g.onnx", x=x) - expected).max() < 1e-5


@pytest.mark.parametrize(("inputs", "block"), [(128, 64), (96, 32)])
def test_unpacked_product_equals_that_of_weights_rounded_in_blocks(
    tmp_path: Path, inputs: int, block: int
) -> None:
    matrix, x = draw(40, inputs) / np.float32(inputs**0.5), draw(7, inputs, seed=1)
    graph = Graph("g", dtype="int8", unpacks_int8=True)
    result = unpacked_product(graph, graph.input("x", FLOAT, ["N", inputs]), "w", Weight.of(matrix))
    graph.output("y", result, type_=FLOAT, shape=["N", 40])
    graph.save(tmp_path / "g.onnx")

    y = open_session(tmp_path / "g.onnx", providers="cpu").run({"x": x})["y"]

    blocks = matrix.reshape(40, -1, block).astype(np.float64)
    greatest = np.abs(blocks).argmax(2)[:, :, None]
    scale = -np.take_along_axis(blocks, greatest, 2) / 128
    rounded = np.clip(np.rint(blocks / scale), -128, 127) * scale
    assert np.abs(y - x @ rounded.reshape(matrix.shape).T).max() < 1e-5
    assert np.abs(y - x @ matrix.T).max() > 1e-4


def test_rows_of_an_int8_table_are_within_one_step(tmp_path: Path) -> None:
    table = draw(50, 24) * np.logspace(-3, 3, 50, dtype=np.float32)[:, None]
    graph = Graph("g", dtype="int8", unpacks_int8=True)
    ids = graph.input("ids", INT64, ["N"])
    found = quantized_rows(graph, ids, "t", Weight.of(table))
    graph.output("y", found, type_=FLOAT, shape=["N", 24])
    graph.save(tmp_path / "g.onnx")

    y = run(tmp_path / "g.onnx", ids=np.array([49, 0, 7, 7]))

    step = np.abs(table).max(1, keepdims=True)[[49, 0, 7, 7]] / 128
    assert (np.abs(y - table[[49, 0, 7, 7]]) <= step * 1.001).all()
    assert (np.abs(y - table[[49, 0, 7, 7]]) > step / 10).any()


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_row_of_a_product_does_not_depend_on_its_neighbours(tmp_path: Path, dtype: Dtype) -> None:
    product(tmp_path / "g.onnx", dtype, draw(64, 96))
    x = draw(7, 96, seed=1)
    loud = np.concatenate([x[:1], 1000 * draw(6, 96, seed=2)])

    together = run(tmp_path / "g.onnx", x=x)

    assert np.allclose(run(tmp_path / "g.onnx", x=x[:1]), together[:1], rtol=1e-5, atol=1e-5)
    assert np.allclose(run(tmp_path / "g.onnx", x=loud)[:1], together[:1], rtol=1e-5, atol=1e-5)


@settings(max_examples=60)
@given(bits=st.sampled_from([4, 8]), seed=st.integers(0, 999), power=st.integers(-20, 20))
def test_prop_quantised_weight_is_within_one_step(bits: int, seed: int, power: int) -> None:
    matrix = draw(3, 2 * BLOCK_SIZE, seed=seed) * np.float32(2.0**power)

    packed, scales = quantize(matrix, bits)

    error = np.abs(dequantised(packed, scales, bits) - matrix).reshape(3, 2, BLOCK_SIZE)
    # Half a step is rounding; a whole one is where the most positive number is cut.
    assert (error <= np.abs(scales)[:, :, None] * 1.001).all()
    greatest = np.abs(matrix).reshape(error.shape).argmax(2)[:, :, None]
    found = np.take_along_axis(error, greatest, 2)
    assert (found <= np.abs(scales)[:, :, None] * 1e-4).all()


def test_block_of_zeros_stays_zero() -> None:
    packed, scales = quantize(np.zeros((2, BLOCK_SIZE), np.float32), 4)

    assert np.array_equal(dequantised(packed, scales, 4), np.zeros((2, BLOCK_SIZE)))
    assert np.isfinite(scales).all()


def test_inputs_that_are_no_whole_blocks_are_refused() -> None:
    graph = Graph("g", dtype="int8")

    with pytest.raises(ValueError, match="w has 33 inputs; expected a multiple of 32"):
        quantized_product(graph, "x", "w", Weight.of(draw(4, 33)))


def test_group_of_weights_is_written_from_one_reading(tmp_path: Path) -> None:
    stored = (Stored("n", UINT8, (2,)), Stored("s", FLOAT, (1,)))
    calls: list[int] = []
    graph = Graph("g")

    def read() -> tuple[np.ndarray, np.ndarray]:
        calls.append(1)
        return np.array([3, 4], np.uint8), np.array([0.5], np.float32)

    graph.weights(stored, read)
    value = graph.node("Mul", graph.cast("n", FLOAT), "s")
    graph.output("y", value, type_=FLOAT, shape=[2])
    graph.save(tmp_path / "g.onnx")

    assert run(tmp_path / "g.onnx").tolist() == [1.5, 2.0]
    assert calls == [1]
