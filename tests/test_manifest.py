"""The manifest of a model's folder: what is read, what is refused and in which words."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from similar_fast.errors import ModelError
from similar_fast.models.manifest import (
    CARD_NAME,
    FORMAT_VERSION,
    MANIFEST_NAME,
    EmbeddingSpec,
    Manifest,
    describe_file,
    read_manifest,
    write_manifest,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in (("model.onnx", b"graph" * 100), ("tokenizer.json", b"{}")):
        (folder / name).write_bytes(data)
    write_manifest(folder, manifest_of(folder))
    return folder


def manifest_of(folder: Path) -> Manifest:
    return Manifest(
        family="bert-embedding",
        hidden_size=8,
        max_positions=16,
        embedding=EmbeddingSpec(pooling="mean", is_normalized=True),
        dtype="float32",
        license="Apache-2.0",
        source="nowhere",
        files=tuple(describe_file(folder / name) for name in ("model.onnx", "tokenizer.json")),
        versions={"onnx": "1.0"},
        checks={"rank_agreement": 0.99},
    )


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / MANIFEST_NAME
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_write_then_read_gives_the_same_manifest(folder: Path) -> None:
    assert read_manifest(folder) == manifest_of(folder)


def test_fingerprint_is_of_what_scores_and_of_no_card(folder: Path) -> None:
    manifest = read_manifest(folder)
    (folder / CARD_NAME).write_text("# a model", "utf-8")
    with_card = replace(manifest, files=(*manifest.files, describe_file(folder / CARD_NAME)))
    other = replace(manifest, files=manifest.files[1:])

    assert with_card.fingerprint == manifest.fingerprint != other.fingerprint


def test_write_twice_gives_the_same_bytes(folder: Path) -> None:
    first = (folder / MANIFEST_NAME).read_bytes()

    write_manifest(folder, manifest_of(folder))

    assert (folder / MANIFEST_NAME).read_bytes() == first


def test_write_refuses_what_read_would_refuse(folder: Path) -> None:
    before = (folder / MANIFEST_NAME).read_bytes()

    with pytest.raises(ModelError, match=r"Invalid enum value 'gpt' - at `\$\.family`"):
        write_manifest(folder, replace(manifest_of(folder), family="gpt"))

    assert (folder / MANIFEST_NAME).read_bytes() == before


def test_altered_byte_of_the_same_size_is_a_model_error_with_both_digests(folder: Path) -> None:
    digest = describe_file(folder / "model.onnx").sha256
    (folder / "model.onnx").write_bytes(b"Graph" + b"graph" * 99)

    with pytest.raises(ModelError, match=f"was altered: its sha256 is .*; expected {digest}"):
        read_manifest(folder)


def test_unverified_read_skips_digests_and_still_checks_sizes(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"Graph" + b"graph" * 99)
    assert read_manifest(folder, verify=False).hidden_size == 8

    (folder / "model.onnx").write_bytes(b"graph")
    with pytest.raises(ModelError, match="holds 5 bytes; expected 500"):
        read_manifest(folder, verify=False)


@pytest.mark.parametrize("verify", [True, False])
def test_missing_file_is_a_model_error(folder: Path, *, verify: bool) -> None:
    (folder / "tokenizer.json").unlink()

    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        read_manifest(folder, verify=verify)


def test_folder_without_a_manifest_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no similar\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_manifest_that_is_no_json_object_is_a_model_error(folder: Path, data: bytes) -> None:
    (folder / MANIFEST_NAME).write_bytes(data)

    with pytest.raises(ModelError, match=r"similar\.json"):
        read_manifest(folder)


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, FORMAT_VERSION - 1, 0])
def test_other_format_is_a_model_error_whatever_else_it_holds(folder: Path, version: int) -> None:
    edit(folder, lambda record: (record.clear(), record.update(format_version=version)))

    with pytest.raises(ModelError, match=f"format_version {version}.*reads {FORMAT_VERSION}"):
        read_manifest(folder)


@pytest.mark.parametrize("version", ["1", True, None])
def test_format_that_is_no_number_is_a_model_error(folder: Path, version: object) -> None:
    edit(folder, lambda record: record.update(format_version=version))

    with pytest.raises(ModelError, match=r"Expected `int`, got .* - at `\$\.format_version`"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("family", "gpt"),
        ("family", 3),
        ("hidden_size", "384"),
        ("hidden_size", True),
        ("hidden_size", 0),
        ("max_positions", None),
        ("embedding", {"pooling": "mean", "is_normalized": 1}),
        ("embedding", {"pooling": "max", "is_normalized": True}),
        ("embedding", None),
        ("files", {}),
        ("files", ["model.onnx"]),
        ("files", [{"name": "model.onnx"}]),
        ("checks", []),
    ],
)
def test_field_of_the_wrong_kind_is_a_model_error(folder: Path, field: str, value: object) -> None:
    edit(folder, lambda record: record.update({field: value}))

    with pytest.raises(ModelError, match=r"at `\$\.|and no part 'embedding'"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "a/b", "a\\b", "C:model.onnx", "..", ".", "", "a\0b"]
)
def test_name_that_leaves_the_folder_is_a_model_error(folder: Path, name: str) -> None:
    edit(folder, lambda record: record["files"][0].update(name=name))

    with pytest.raises(ModelError, match="expected a plain name"):
        read_manifest(folder)


def test_links_of_a_hub_cache_are_followed(folder: Path) -> None:
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    (folder / "model.onnx").rename(blobs / "416b")
    (folder / "model.onnx").symlink_to("../blobs/416b")

    assert read_manifest(folder).files[0].name == "model.onnx"


def test_file_that_the_manifest_does_not_name_is_left_alone(folder: Path) -> None:
    (folder / "README.md").write_text("hello")

    assert read_manifest(folder).family == "bert-embedding"
