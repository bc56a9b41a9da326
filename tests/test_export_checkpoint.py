"""The folder of a checkpoint: where tensors lie, how they are read, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from similar_fast.errors import ModelError
from similar_fast_export.checkpoint import FAMILIES, Checkpoint
from similar_fast_export.reward_model import _BACKBONES

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def checkpoint(folder: Path, **tensors: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    save_file(tensors or {"a": VALUES}, folder / FILE)
    return folder


def with_header(folder: Path, header: object, data: bytes = bytes(64)) -> Path:
    checkpoint(folder)
    text = json.dumps(header).encode()
    (folder / FILE).write_bytes(len(text).to_bytes(8, "little") + text + data)
    return folder


def shards(folder: Path, weight_map: object) -> Path:
    checkpoint(folder)
    (folder / FILE).unlink()
    save_file({"a": VALUES}, folder / "one.safetensors")
    save_file({"b": VALUES + 1}, folder / "two.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    return folder


def place(dtype: str = "F32", shape: object = (2, 3), offsets: object = (0, 24)) -> object:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def test_every_family_has_a_backbone() -> None:
    assert set(_BACKBONES) == set(FAMILIES)


def test_tensors_are_read_in_every_float_type(tmp_path: Path) -> None:
    bits = np.array([0x3F80, 0xC040], np.uint16)  # 1 and -3 in bfloat16
    header = {
        "half": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
        "brain": {"dtype": "BF16", "shape": [2], "data_offsets": [4, 8]},
        "none": {"dtype": "F32", "shape": [0, 4], "data_offsets": [8, 8]},
    }
    data = np.array([0.5, -2], "<f2").tobytes() + bits.tobytes()

    source = Checkpoint(with_header(tmp_path / "c", header, data))

    assert source.tensor("half").tolist() == [0.5, -2]
    assert source.tensor("brain").tolist() == [1, -3]
    assert source.tensor("none").shape == (0, 4)
    assert source.num_bytes == 8
    assert all(source.tensor(name).dtype == np.float32 for name in source.names)


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    folder = shards(tmp_path / "c", {"a": "one.safetensors", "b": "two.safetensors"})

    source = Checkpoint(folder)

    assert source.names == ["a", "b"]
    assert np.array_equal(source.tensor("b"), VALUES + 1)


def test_watcher_is_told_the_bytes_of_each_tensor_once_read(tmp_path: Path) -> None:
    told: list[int] = []
    plain = Checkpoint(checkpoint(tmp_path / "c"))
    watched = plain.watched(told.append)

    weight = watched.weight("a", (2, 3))
    assert told == []
    weight.read()
    plain.tensor("a")

    assert told == [24]


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "one.safetensors", "c": "three.safetensors"}, "three.safetensors is missing"),
        ({"a": "two.safetensors"}, "names a; its file two.safetensors does not hold it"),
        ({"a": "../one.safetensors"}, "expected a plain name"),
        ({"a": ""}, "cannot be read"),
        ({"a": 7}, "no weight_map"),
        (["a"], "no weight_map"),
    ],
)
def test_broken_index_is_refused(tmp_path: Path, weight_map: object, message: str) -> None:
    folder = shards(tmp_path / "c", weight_map)

    with pytest.raises(ModelError, match=message):
        Checkpoint(folder)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "a header that is no object"),
        ({"a": 3}, "describes a as 3"),
        ({"a": {"dtype": "F32", "shape": [2]}}, "describes a as"),
        (place(shape=7), "describes a as"),
        (place(offsets=[0, 1, 2]), "describes a as"),
        (place(shape=[float("inf")]), "describes a as"),
        (place(shape=[2, 4]), r"gives a 24 bytes for F32 \[2, 4\]"),
        (place(shape=[-2, -3]), "gives a 24 bytes"),
        (place(offsets=[-24, 0]), "gives a 24 bytes"),
        (place(offsets=[64, 88]), "is cut off: a ends behind its"),
    ],
)
def test_broken_header_is_refused(tmp_path: Path, header: object, message: str) -> None:
    folder = with_header(tmp_path / "c", header)

    with pytest.raises(ModelError, match=message):
        Checkpoint(folder)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("size", [0, 7, 8, 40, -1])
def test_truncated_weights_are_refused(tmp_path: Path, size: int) -> None:
    folder = checkpoint(tmp_path / "c")
    cut(folder / FILE, size)

    with pytest.raises(ModelError, match="cut off"):
        Checkpoint(folder)


def test_weights_that_shrink_after_they_were_opened_are_refused(tmp_path: Path) -> None:
    source = Checkpoint(checkpoint(tmp_path / "c"))
    cut(tmp_path / "c" / FILE, -4)

    with pytest.raises(ModelError, match="was cut off while it was read"):
        source.tensor("a")


def test_weights_that_vanish_after_they_were_opened_are_refused(tmp_path: Path) -> None:
    source = Checkpoint(checkpoint(tmp_path / "c"))
    (tmp_path / "c" / FILE).unlink()

    with pytest.raises(ModelError, match="cannot be read"):
        source.tensor("a")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_values_that_are_not_finite_are_refused(
    tmp_path: Path, value: float, dtype: type[np.floating]
) -> None:
    source = Checkpoint(checkpoint(tmp_path / "c", a=np.array([1, value, 2], dtype)))

    with pytest.raises(ModelError, match="a holds NaN or infinite values"):
        source.tensor("a")


def test_tensors_of_other_types_are_refused_where_they_are_asked_for(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "c", a=VALUES, ids=np.arange(4))

    source = Checkpoint(folder)

    assert source.tensor("a").shape == (2, 3)
    assert source.num_bytes == 24
    for ask in (source.shape, source.tensor, source.weight):
        with pytest.raises(ModelError, match="ids is of I64; expected F32, F16, BF16"):
            ask("ids")


def test_unknown_tensor_is_named(tmp_path: Path) -> None:
    source = Checkpoint(checkpoint(tmp_path / "c"))

    with pytest.raises(ModelError, match="has no tensor b"):
        source.weight("b")


def test_wrong_shape_is_named_before_anything_is_read(tmp_path: Path) -> None:
    source = Checkpoint(checkpoint(tmp_path / "c"))

    with pytest.raises(ModelError, match=r"a has the shape \(2, 3\); expected \(3, 2\)"):
        source.weight("a", (3, 2))


def test_part_takes_the_first_prefix_that_fits(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "c", **{"new.a": VALUES, "old.a": VALUES + 1})
    source = Checkpoint(folder)

    part = source.part(["none.", "old.", "new."], "a")

    assert part.prefix == "old."
    assert np.array_equal(part.weight("a", 2, 3).read(), VALUES + 1)
    with pytest.raises(ModelError, match=r"no tensor a under any of the prefixes 'x.', ''"):
        source.part(["x.", ""], "a")


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def config(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "config.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove("config.json"), "config.json is missing"),
        (config("{"), "config.json cannot be read"),
        (config("[]"), "config.json holds no object"),
        (config("[" * 100_000), "config.json cannot be read"),
        (config('{"model_type": "llama"}'), "model_type 'llama'; expected one of bert, qwen2"),
        (config("{}"), "model_type 'None'"),
        (remove(FILE), "holds no model.safetensors or model.safetensors.index.json$"),
    ],
)
def test_folder_that_is_no_checkpoint_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder = checkpoint(tmp_path / "c")
    spoil(folder)

    with pytest.raises(ModelError, match=message):
        Checkpoint(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused_unread(tmp_path: Path, name: str) -> None:
    folder = checkpoint(tmp_path / "c")
    (folder / FILE).rename(folder / name)

    with pytest.raises(ModelError, match=f"{name} is a pickle, which can run code when read"):
        Checkpoint(folder)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "64", None])
def test_size_that_is_no_positive_number_is_refused(tmp_path: Path, value: object) -> None:
    folder = checkpoint(tmp_path / "c")
    record = {"model_type": "qwen2", "hidden_size": value}
    (folder / "config.json").write_text(json.dumps(record), encoding="utf-8")

    with pytest.raises(ModelError, match=r"c/config.json has hidden_size .*; expected a positive"):
        _ = Checkpoint(folder).hidden_size


def test_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    blobs = checkpoint(tmp_path / "blobs")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)

    assert np.array_equal(Checkpoint(snapshot).tensor("a"), VALUES)
