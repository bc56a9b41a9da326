"""Files of cached features: shards of safetensors, each whole or not there, checked when read.

A shard holds `keys` `[n, 16]` and `state_keys` `[m, 16]` uint8, `state` `[n]` int64 (the row of
`prompt_hidden` of each step), `hidden` `[n, H]` and `prompt_hidden` `[m, H]` float32. Its one entry
of metadata names the format, the model and a digest of the tensors.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from similar_fast.errors import DataError
from similar_fast.files.whole_file import write_whole

__all__ = ["KEY_BYTES", "Shard", "read_keys", "read_shard", "shard_paths", "write_shard"]

KEY_BYTES = 16
"""Bytes of a step's and of a state's key."""

_FORMAT = "similar-fast features 1"
_ENTRY = "similar_fast"

_Floats = NDArray[np.float32]
_Keys = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """The features of n steps of m states.

    Attributes:
        keys: `[n, 16]` uint8.
        state_keys: `[m, 16]` uint8.
        state: `[n]` int64, which state each step belongs to.
        hidden: `[n, H]` float32, h.
        prompt_hidden: `[m, H]` float32, p.
    """

    keys: _Keys
    state_keys: _Keys
    state: NDArray[np.int64]
    hidden: _Floats
    prompt_hidden: _Floats


def shard_paths(folder: Path) -> list[Path]:
    """The shards in `folder`, in the order of their names."""
    return sorted(folder.glob("*.safetensors"))


def write_shard(folder: Path, shard: Shard, *, model: str) -> Path:
    """Writes `shard` behind those that are there, by the order of names, and returns the path.

    Args:
        folder: Where the shards are.
        shard: What to write.
        model: What the features were computed with.

    Raises:
        OSError: The file cannot be written.
    """
    # The hash keeps two processes that write at once from taking each other's name.
    code = hashlib.blake2b(shard.keys.tobytes(), digest_size=8).hexdigest()
    name = f"{len(shard_paths(folder)):06d}-{code}"
    tensors = {field.name: getattr(shard, field.name) for field in fields(shard)}
    # One entry: the library writes several in a random order.
    about = {"format": _FORMAT, "model": model, "digest": _digest(tensors)}
    data = save(tensors, {_ENTRY: json.dumps(about, sort_keys=True)})
    return write_whole(folder / f"{name}.safetensors", data)


def read_keys(path: Path, *, model: str) -> _Keys:
    """The keys of a shard's steps, `[n, 16]` uint8; nothing else of the file is read.

    Raises:
        DataError: The file is broken, no shard, or one of another model.
    """
    keys: _Keys = _read(path, model, ("keys",))["keys"]
    return keys


def read_shard(path: Path, *, model: str) -> Shard:
    """A shard, whole and checked.

    Raises:
        DataError: The file is broken, no shard, altered, or one of another model.
    """
    names = tuple(field.name for field in fields(Shard))
    return Shard(**_read(path, model, names))


def _read(path: Path, model: str, names: tuple[str, ...]) -> dict[str, Any]:
    try:
        with safe_open(str(path), framework="np") as file:
            about = _about(path, file.metadata() or {}, model)
            expected = {field.name for field in fields(Shard)}
            if set(file.keys()) != expected:
                raise DataError(
                    f"the shard holds {sorted(file.keys())}; expected {sorted(expected)}", path=path
                )
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as err:
        raise DataError(f"the shard of features cannot be read: {err}", path=path) from err
    _check_shapes(path, tensors)
    if len(names) == len(expected) and _digest(tensors) != about.get("digest"):
        raise DataError("the shard was altered: its digest is another; delete it", path=path)
    return tensors


def _about(path: Path, metadata: Mapping[str, str], model: str) -> dict[str, Any]:
    try:
        about = json.loads(metadata.get(_ENTRY, "null"))
    except (ValueError, RecursionError):
        about = None
    found = about.get("format") if isinstance(about, dict) else None
    if not isinstance(about, dict) or found != _FORMAT:
        raise DataError(f"the file has the format {found!r}; expected {_FORMAT!r}", path=path)
    if about.get("model") != model:
        raise DataError(
            f"the shard is of the model {about.get('model')!r}; expected {model!r}", path=path
        )
    return about


def _check_shapes(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    keys = tensors["keys"]
    fits = keys.dtype == np.uint8 and keys.ndim == 2 and keys.shape[1] == KEY_BYTES
    if fits and len(tensors) > 1:
        n, m = len(keys), len(tensors["state_keys"])
        width = tensors["hidden"].shape[-1:]
        wanted = {
            "state_keys": (np.uint8, (m, KEY_BYTES)),
            "state": (np.int64, (n,)),
            "hidden": (np.float32, (n, *width)),
            "prompt_hidden": (np.float32, (m, *width)),
        }
        fits = all(
            tensors[name].dtype == dtype and tensors[name].shape == shape
            for name, (dtype, shape) in wanted.items()
        )
        state = tensors["state"]
        fits = fits and (not n or (state.min() >= 0 and state.max() < m))
    if not fits:
        shapes = {name: f"{array.dtype}{list(array.shape)}" for name, array in tensors.items()}
        raise DataError(f"the shard holds {shapes}, which do not fit one another", path=path)


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
