"""The cache of what the heads read, h and p, so that the backbone sees each step once.

`FOLDER/MODEL/*.safetensors`, see `train.feature_shards`. A step's key is made from what is in it
and from everything of the model but its heads, so that data may grow, be reordered and be shared
between runs, and an interrupted run goes on where its last shard ended.
"""

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from similar_fast.errors import DataError
from similar_fast.models.heads import HEADS_NAME, HEADS_WEIGHTS_NAME
from similar_fast.models.manifest import HeadsSpec, Manifest
from similar_fast.reward.model import RewardModel
from similar_fast.train.feature_shards import (
    KEY_BYTES,
    Shard,
    read_keys,
    read_shard,
    shard_paths,
    write_shard,
)
from similar_fast.types import Step

__all__ = ["backbone_fingerprint", "cached_features", "step_keys"]

_BATCH_STEPS = 64  # that the model is given at a time; a state is never cut

_Floats = NDArray[np.float32]
_Pair = tuple[bytes, bytes]


def backbone_fingerprint(manifest: Manifest) -> str:
    """32 hex characters, equal for models whose features are the same, whatever their heads.

    Raises:
        ValueError: The manifest is of an embedding model.
    """
    if manifest.reward is None:
        raise ValueError(f"the manifest is of the family {manifest.family!r}, no reward model")
    files = tuple(
        file for file in manifest.files if file.name not in {HEADS_NAME, HEADS_WEIGHTS_NAME}
    )
    heads = HeadsSpec(is_gated=False, label_scales=(1.0, 1.0, 1.0, 1.0, 1.0))
    reward = replace(manifest.reward, heads=heads)
    return replace(manifest, files=files, reward=reward).fingerprint


def step_keys(fingerprint: str, steps: Sequence[Step]) -> list[_Pair]:
    """The key of each step, and that of its state: BLAKE2b of what the model reads.

    Each screenshot is read once where steps name it by the same callable, or by a `partial` of
    the same function and arguments.

    Args:
        fingerprint: Of the backbone.
        steps: `[n]`.

    Raises:
        DataError: A screenshot or a text cannot be read; the message names the step.
    """
    digests: dict[Hashable, str] = {}
    keys = []
    for i, step in enumerate(steps):
        picture = ""
        if step.screenshot is not None:
            name = _name(step.screenshot)
            if name not in digests:
                digests[name] = _picture_digest(step.screenshot, i)
            picture = digests[name]
        state = (fingerprint, step.instruction, step.history, step.observation, picture)
        try:
            state_key = _hash(state)
            keys.append((_hash((state_key.hex(), step.action)), state_key))
        except UnicodeEncodeError as err:
            raise DataError(f"step {i}: its text is no Unicode: {err}") from err
    return keys


def cached_features(
    model: RewardModel,
    steps: Sequence[Step],
    *,
    folder: Path,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    shard_steps: int = 1024,
) -> tuple[_Floats, _Floats]:
    """The states h and p of each step, `[n, H]` float32 each: read from `folder`, or added to it.

    What is computed goes through the model state by state, within its own rounding of
    `model.features`. Steps of one state have the same p to the bit, whenever each was computed.
    Equal steps are computed once. Whatever ends the work early, a shard is written with what was
    computed.

    Args:
        model: Computes what is missing.
        steps: `[n]`, in any order.
        folder: Made where it is missing; models do not disturb one another in it.
        progress: Told how many different steps are there, and of how many, at the beginning and
            after each batch.
        shard_steps: Steps after which a shard is written, at least 1.

    Raises:
        DataError: A shard is broken or foreign, or a step's screenshot or text cannot be read.
        InferenceError: The model failed.
        OSError: A file cannot be read or written.
        ValueError: `shard_steps` is less than 1.
    """
    if shard_steps < 1:
        raise ValueError(f"shard_steps is {shard_steps}; expected at least 1")
    fingerprint = backbone_fingerprint(model.manifest)
    place = folder / fingerprint
    place.mkdir(parents=True, exist_ok=True)
    keys = step_keys(fingerprint, steps)
    known = {
        key.tobytes() for path in shard_paths(place) for key in read_keys(path, model=fingerprint)
    }
    wanted = len({key for key, _ in keys})
    missing = _missing(keys, known)
    done = wanted - sum(map(len, missing))
    progress(done, wanted)
    growing = _Growing(place, fingerprint)
    try:
        for batch in _batches(missing):
            growing.add([keys[i] for i in batch], *model.features([steps[i] for i in batch]))
            done += len(batch)
            progress(done, wanted)
            if len(growing) >= shard_steps:
                growing.write()
    finally:
        growing.write()
    return _gather(place, fingerprint, keys, model.manifest.hidden_size)


class _Growing:
    """What was computed and is in no shard yet."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._keys: list[_Pair] = []
        self._hidden: list[_Floats] = []
        self._prompt_hidden: dict[bytes, _Floats] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: Sequence[_Pair], hidden: _Floats, prompt_hidden: _Floats) -> None:
        self._keys += keys
        self._hidden.append(hidden)
        for (_, state), row in zip(keys, prompt_hidden, strict=True):
            self._prompt_hidden.setdefault(state, row)

    def write(self) -> None:
        if not self._keys:
            return
        states = {state: i for i, state in enumerate(self._prompt_hidden)}
        shard = Shard(
            keys=_bytes([key for key, _ in self._keys]),
            state_keys=_bytes(list(states)),
            state=np.array([states[state] for _, state in self._keys], np.int64),
            hidden=np.concatenate(self._hidden),
            prompt_hidden=np.stack(list(self._prompt_hidden.values())),
        )
        write_shard(self._folder, shard, model=self._fingerprint)
        self._keys, self._hidden, self._prompt_hidden = [], [], {}


def _missing(keys: Sequence[_Pair], known: set[bytes]) -> list[list[int]]:
    """One step of each key that is not `known`, those of one state together."""
    states: dict[bytes, list[int]] = {}
    seen = set(known)
    for i, (key, state) in enumerate(keys):
        if key not in seen:
            seen.add(key)
            states.setdefault(state, []).append(i)
    return list(states.values())


def _batches(states: Sequence[list[int]]) -> Iterator[list[int]]:
    """Whole states, until a batch is large enough."""
    batch: list[int] = []
    for members in states:
        batch += members
        if len(batch) >= _BATCH_STEPS:
            yield batch
            batch = []
    if batch:
        yield batch


def _gather(
    folder: Path, fingerprint: str, keys: Sequence[_Pair], width: int
) -> tuple[_Floats, _Floats]:
    """The features of each step, from the first shard that has its key, and p from that of p's."""
    hidden, prompt_hidden = (np.empty((len(keys), width), np.float32) for _ in range(2))
    rows: dict[bytes, list[int]] = {}
    of_state: dict[bytes, list[int]] = {}
    for i, (key, state) in enumerate(keys):
        rows.setdefault(key, []).append(i)
        of_state.setdefault(state, []).append(i)
    for path in shard_paths(folder):
        shard = read_shard(path, model=fingerprint)
        if shard.hidden.shape[1:] != (width,):
            raise DataError(
                f"the shard's states have {shard.hidden.shape[1:]} values; expected {width}",
                path=path,
            )
        for found, wanted, values, out in (
            (shard.keys, rows, shard.hidden, hidden),
            (shard.state_keys, of_state, shard.prompt_hidden, prompt_hidden),
        ):
            for key, row in zip(found, values, strict=True):
                out[wanted.pop(key.tobytes(), [])] = row
    if rows or of_state:
        raise DataError(f"{len(rows)} steps are in no shard any more", path=folder)
    return hidden, prompt_hidden


def _name(screenshot: Callable[[], bytes]) -> Hashable:
    """Equal for callables that are known to return the same bytes."""
    if isinstance(screenshot, partial) and not screenshot.keywords:
        name = (screenshot.func, screenshot.args)
        try:
            hash(name)
        except TypeError:
            return id(screenshot)
        return name
    return id(screenshot)


def _picture_digest(screenshot: Callable[[], bytes], index: int) -> str:
    try:
        data = screenshot()
    except Exception as err:
        raise DataError(f"step {index}: its screenshot cannot be read: {err}") from err
    return hashlib.blake2b(data, digest_size=KEY_BYTES).hexdigest()


def _hash(parts: tuple[object, ...]) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=KEY_BYTES).digest()


def _bytes(keys: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
