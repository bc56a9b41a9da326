"""A published checkpoint's folder: its configuration, and its tensors, read one at a time.

Source: the layout of a safetensors file is 8 bytes with the header's length, a JSON header, and the
tensors' bytes (huggingface/safetensors, README, "Format"); an index names each tensor's file.
"""

import copy
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from similar_fast.errors import ModelError

from similar_fast_export.weight import Weight

__all__ = ["FAMILIES", "Checkpoint", "Part", "copy_companions", "read_json", "read_size"]

FAMILIES = ("bert", "qwen2", "qwen2_vl", "qwen2_5_vl", "mllama")
"""The model types that can be exported."""

_COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "LICENSE",
)
"""What belongs to a checkpoint beside its weights and its configuration."""

_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_MAX_HEADER = 100_000_000  # bytes; safetensors' own limit
_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # the upper half of a float32
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor's bytes lie."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: str


class Checkpoint:
    """The folder of a Hugging Face checkpoint.

    Attributes:
        folder: Where it lies.
        config: What `config.json` says.
        family: The configuration's `model_type`.
    """

    def __init__(self, folder: str | Path) -> None:
        """Reads the configuration and the headers; O(number of tensors).

        Raises:
            ModelError: `config.json` or the weights are missing, cut off or no safetensors, or the
                model is of an unknown type.
        """
        self.folder = Path(folder)
        self.config = read_json(self.folder / "config.json")
        self.family = str(self.config.get("model_type"))
        if self.family not in FAMILIES:
            raise ModelError(
                f"{self.folder} has the model_type {self.family!r}; expected one of "
                f"{', '.join(FAMILIES)}"
            )
        self._places = _find_tensors(self.folder)
        self._on_read: Callable[[int], None] = lambda _: None

    def watched(self, on_read: Callable[[int], None]) -> "Checkpoint":
        """The same checkpoint, which tells `on_read` how many bytes each tensor had, once read."""
        other = copy.copy(self)
        other._on_read = on_read  # noqa: SLF001  # of the same class
        return other

    @property
    def names(self) -> list[str]:
        """Every tensor's name, sorted."""
        return sorted(self._places)

    @property
    def files(self) -> list[Path]:
        """The files that hold the tensors, and the index of them where there is one."""
        index = self.folder / _INDEX
        weights = sorted({place.path for place in self._places.values()})
        return [*weights, *([index] if index.exists() else [])]

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors as they are stored."""
        return sum(_size(place) for place in self._places.values())

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The configuration's part on text; the whole where there is no such part."""
        part = self.config.get("text_config")
        return part if isinstance(part, dict) else self.config

    @property
    def hidden_size(self) -> int:
        """Width of a token's state.

        Raises:
            ModelError: The configuration does not say it.
        """
        return self.text_size("hidden_size")

    @property
    def max_positions(self) -> int:
        """Longest input in tokens.

        Raises:
            ModelError: The configuration does not say it.
        """
        return self.text_size("max_position_embeddings")

    def text_size(self, name: str) -> int:
        """A positive whole number of the configuration's part on text.

        Raises:
            ModelError: It is missing or something else.
        """
        return read_size(self.text_config, name, f"{self.folder}/config.json")

    def shape(self, name: str) -> tuple[int, ...]:
        """The sizes of the tensor `name`, without reading it.

        Raises:
            ModelError: There is none of that name, or it holds no floats that can be exported.
        """
        return self._place(name).shape

    def tensor(self, name: str) -> NDArray[np.float32]:
        """The tensor `name` as float32, read from the disk now and kept by nobody.

        Raises:
            ModelError: As `shape`; or its file was altered since, or a value is NaN or infinite.
        """
        place = self._place(name)
        raw = self._read(place)
        if place.dtype == "BF16":
            wide = raw.astype(np.uint32)
            wide <<= 16
            floats = wide.view(np.float32)
        else:
            floats = raw.astype(np.float32, copy=False)
        # The extremes are NaN or infinite where a value is, and need no second array.
        if floats.size and not (np.isfinite(floats.min()) and np.isfinite(floats.max())):
            raise ModelError(f"{place.path}: {name} holds NaN or infinite values")
        self._on_read(_size(place))
        return floats

    def weight(self, name: str, shape: tuple[int, ...] | None = None) -> Weight:
        """The tensor `name`, to be read later; `shape` is what is expected of it.

        Raises:
            ModelError: As `shape`; or it has another shape.
        """
        found = self.shape(name)
        if shape is not None and found != shape:
            raise ModelError(f"{self.folder}: {name} has the shape {found}; expected {shape}")
        return Weight(found, lambda: self.tensor(name))

    def part(self, prefixes: Sequence[str], probe: str) -> "Part":
        """The tensors under the first of `prefixes` that holds `probe`.

        Layouts differ in the prefix alone: `visual.` became `model.visual.`, for example.

        Raises:
            ModelError: No prefix holds it.
        """
        for prefix in prefixes:
            if prefix + probe in self._places:
                return Part(self, prefix)
        raise ModelError(
            f"{self.folder} has no tensor {probe} under any of the prefixes "
            f"{', '.join(repr(prefix) for prefix in prefixes)}"
        )

    def _place(self, name: str) -> _Place:
        try:
            place = self._places[name]
        except KeyError:
            raise ModelError(f"{self.folder} has no tensor {name}") from None
        if place.dtype not in _DTYPES:
            raise ModelError(
                f"{place.path}: {name} is of {place.dtype}; expected {', '.join(_DTYPES)}"
            )
        return place

    def _read(self, place: _Place) -> NDArray[Any]:
        count = math.prod(place.shape)
        try:
            raw = np.fromfile(place.path, _DTYPES[place.dtype], count, offset=place.offset)
        except OSError as err:
            raise ModelError(f"{place.path} cannot be read: {err}") from err
        if raw.size != count:
            raise ModelError(f"{place.path} was cut off while it was read")
        return raw.reshape(place.shape)


@dataclass(frozen=True, slots=True)
class Part:
    """The tensors of a checkpoint under one prefix.

    Attributes:
        checkpoint: Whose tensors they are.
        prefix: What all their names begin with.
    """

    checkpoint: Checkpoint
    prefix: str

    def shape(self, name: str) -> tuple[int, ...]:
        """As `Checkpoint.shape`."""
        return self.checkpoint.shape(self.prefix + name)

    def weight(self, name: str, *shape: int) -> Weight:
        """As `Checkpoint.weight`; no `shape` at all takes any."""
        return self.checkpoint.weight(self.prefix + name, shape or None)


def read_size(record: Mapping[str, Any], name: str, place: str) -> int:
    """The positive whole number `name` of a configuration.

    Raises:
        ModelError: It is missing or something else; the message begins with `place`.
    """
    value = record.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{place} has {name} {value!r}; expected a positive whole number")
    return value


def _find_tensors(folder: Path) -> dict[str, _Place]:
    index = folder / _INDEX
    if not index.exists():
        if not (folder / _FILE).exists():
            raise ModelError(_missing(folder))
        return _read_header(folder / _FILE)
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise ModelError(f"{index} has no weight_map of tensors to files")
    places: dict[str, _Place] = {}
    for file in sorted(set(files.values())):
        path = folder / file
        if Path(file).name != file:
            raise ModelError(f"{index} names the file {file!r}; expected a plain name")
        if not path.exists():
            raise ModelError(f"{path} is missing; {_INDEX} names it")
        places |= _read_header(path)
    lost = sorted(name for name in files if name not in places)
    if lost:
        raise ModelError(f"{index} names {lost[0]}; its file {files[lost[0]]} does not hold it")
    return places


def _missing(folder: Path) -> str:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    found = f"; {pickles[0]} is a pickle, which can run code when read: refused" if pickles else ""
    return f"{folder} holds no {_FILE} or {_INDEX}{found}"


def _read_header(path: Path) -> dict[str, _Place]:
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(size - 8, _MAX_HEADER):
                raise ModelError(
                    f"{path} is cut off or no safetensors file: its header has {length} bytes, "
                    f"the file {size}"
                )
            record = json.loads(stream.read(length))
    except (OSError, ValueError, RecursionError) as err:
        raise ModelError(f"{path} cannot be read: {err}") from err
    if not isinstance(record, dict):
        raise ModelError(f"{path} has a header that is no object")
    record.pop("__metadata__", None)
    start = 8 + length
    places = {name: _parse_place(path, name, entry, start) for name, entry in record.items()}
    for name, place in places.items():
        if place.offset + _size(place) > size:
            raise ModelError(f"{path} is cut off: {name} ends behind its {size} bytes")
    return places


def _parse_place(path: Path, name: str, entry: Mapping[str, Any], start: int) -> _Place:
    try:
        dtype, shape = str(entry["dtype"]), tuple(int(size) for size in entry["shape"])
        begin, end = (int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError, OverflowError) as err:
        raise ModelError(f"{path} describes {name} as {entry}") from err
    if dtype not in _DTYPES:
        # Buffers of integers or booleans occur; they are refused only where one is asked for.
        return _Place(path, start + begin, (), dtype)
    place = _Place(path, start + begin, shape, dtype)
    if min((begin, *shape)) < 0 or end - begin != _size(place):
        raise ModelError(f"{path} gives {name} {end - begin} bytes for {dtype} {list(shape)}")
    return place


def _size(place: _Place) -> int:
    return math.prod(place.shape) * _DTYPES[place.dtype].itemsize if place.dtype in _DTYPES else 0


def copy_companions(source: Path, folder: Path) -> None:
    """Copies what `source` has beside its weights and its configuration, and a model needs.

    Raises:
        OSError: A file cannot be read or written.
    """
    for name in _COMPANIONS:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ModelError: The file is missing, cannot be read, or holds something else.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as err:
        raise ModelError(f"{path} is missing") from err
    except (OSError, ValueError, RecursionError) as err:
        raise ModelError(f"{path} cannot be read: {err}") from err
    if not isinstance(record, dict):
        raise ModelError(f"{path} holds no object")
    return record
