"""`similar.json`: what an export wrote into a model's folder and what the runtime expects there."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from similar_fast.errors import ModelError

__all__ = [
    "FAMILIES",
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "Manifest",
    "ModelFile",
    "describe_file",
    "read_manifest",
    "write_manifest",
]

MANIFEST_NAME = "similar.json"
"""The manifest's name in a model's folder."""

FORMAT_VERSION = 1
"""The newest format that this version of the package reads; it writes no other."""

FAMILIES = ("bert-embedding",)
"""The families that this version of the package can run."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model's folder.

    Attributes:
        name: Its name in the folder; a plain name, no path.
        size: Bytes.
        sha256: Its digest, 64 lower-case hexadecimal digits.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is and which files it is made of.

    Attributes:
        family: Which graphs and prompts belong together; one of `FAMILIES`.
        hidden_size: Width of what the model returns.
        max_positions: Longest input in tokens, the special ones counted.
        pooling: How token states become one vector: `mean` over the tokens of the attention mask.
        is_normalized: Whether the graph divides that vector by its length.
        dtype: How the weights are stored, in words.
        license: SPDX identifier of the weights' licence.
        source: Where the weights come from.
        versions: Version of each tool that took part in the export.
        checks: What the export measured against fp32, by name.
        files: Every file of the folder but the manifest.
        format_version: The format of the manifest itself.
    """

    family: str
    hidden_size: int
    max_positions: int
    pooling: str
    is_normalized: bool
    dtype: str
    license: str
    source: str
    files: tuple[ModelFile, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, float] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


def read_manifest(folder: str | Path, *, verify: bool = True) -> Manifest:
    """The checked manifest of the model in `folder`.

    Presence and size of each file are always checked. Files that the manifest does not name are
    left alone, and a file may be a link to somewhere else, as in a hub's cache: what counts is
    what is read through it.

    Args:
        folder: The model's folder.
        verify: Whether to read every file and compare its sha256; O(bytes).

    Raises:
        ModelError: There is no manifest; it is no JSON of this format; its format is newer or its
            family unknown; a file's name is not a plain one; a file is missing or altered.
    """
    folder = Path(folder)
    path = folder / MANIFEST_NAME
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError as err:
        raise ModelError(f"{folder} holds no {MANIFEST_NAME}; expected an exported model") from err
    except (OSError, ValueError) as err:
        raise ModelError(f"{path} cannot be read as JSON: {err}") from err
    manifest = _parse(record, path)
    for file in manifest.files:
        _check_file(folder / file.name, file, verify=verify)
    return manifest


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Writes `manifest` into `folder`; the same manifest gives the same bytes.

    Raises:
        ModelError: `read_manifest` would refuse it.
    """
    folder = Path(folder)
    path = folder / MANIFEST_NAME
    record = asdict(manifest)
    _parse(json.loads(json.dumps(record)), path)
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def describe_file(path: str | Path) -> ModelFile:
    """Name, size and sha256 of the file at `path`, read in pieces."""
    path = Path(path)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return ModelFile(path.name, os.fstat(stream.fileno()).st_size, digest)


def _check_file(path: Path, expected: ModelFile, *, verify: bool) -> None:
    try:
        size = path.stat().st_size
        if size != expected.size:
            raise ModelError(f"{path} holds {size} bytes; expected {expected.size}")
        found = describe_file(path).sha256 if verify else expected.sha256
    except FileNotFoundError as err:
        raise ModelError(f"{path} is missing; {MANIFEST_NAME} names it") from err
    except OSError as err:
        raise ModelError(f"{path} cannot be read: {err}") from err
    if found != expected.sha256:
        raise ModelError(f"{path} was altered: its sha256 is {found}; expected {expected.sha256}")


# JSON's type for each field, and its name in a message.
_TYPES: dict[str, tuple[type, str]] = {
    "family": (str, "a string"),
    "hidden_size": (int, "an integer"),
    "max_positions": (int, "an integer"),
    "pooling": (str, "a string"),
    "is_normalized": (bool, "true or false"),
    "dtype": (str, "a string"),
    "license": (str, "a string"),
    "source": (str, "a string"),
    "versions": (dict, "an object"),
    "checks": (dict, "an object"),
    "files": (list, "an array"),
}


def _parse(record: object, path: Path) -> Manifest:
    if not isinstance(record, dict):
        raise ModelError(f"{path} holds a {type(record).__name__}; expected an object")
    version = record.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ModelError(
            f"{path} has format_version {version!r}; this version of similar-fast reads "
            f"1 to {FORMAT_VERSION}"
        )
    values: dict[str, Any] = {}
    for name, (kind, word) in _TYPES.items():
        value = record.get(name)
        if type(value) is not kind:
            raise ModelError(f"{path} has {name} {value!r}; expected {word}")
        values[name] = value
    if values["family"] not in FAMILIES:
        raise ModelError(f"{path} has family {values['family']!r}; expected one of {FAMILIES}")
    for name in ("hidden_size", "max_positions"):
        if values[name] < 1:
            raise ModelError(f"{path} has {name} {values[name]}; expected at least 1")
    values["files"] = tuple(_parse_file(file, path) for file in values["files"])
    return Manifest(**values, format_version=version)


def _parse_file(record: object, path: Path) -> ModelFile:
    name, size, digest = (
        (record.get("name"), record.get("size"), record.get("sha256"))
        if isinstance(record, dict)
        else (None, None, None)
    )
    if not isinstance(name, str) or type(size) is not int or not isinstance(digest, str):
        raise ModelError(f"{path} names the file {record!r}; expected name, size and sha256")
    if not _is_plain_name(name):
        raise ModelError(f"{path} names the file {name!r}; expected a plain name in its folder")
    return ModelFile(name, size, digest)


def _is_plain_name(name: str) -> bool:
    """Whether `name` is one part of a path on every platform, drives and backslashes included."""
    return bool(name) and name not in {".", ".."} and not set(name) & set("/\\:\0")
