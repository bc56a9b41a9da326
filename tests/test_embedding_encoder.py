"""`TextEncoder`: what is encoded when, and how texts are batched; `prompts`: what is cut first."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import similar_fast_mini
from similar_fast.embedding import TextEncoder
from similar_fast.errors import InferenceError, ModelError
from similar_fast.models.manifest import (
    MANIFEST_NAME,
    EmbeddingSpec,
    describe_file,
    read_manifest,
    write_manifest,
)
from similar_fast.prompts import fit_tokens, passage_parts, query_parts
from similar_fast.types import Step

MODEL = Path(similar_fast_mini.__file__).parent / "embedding"


class Recorder:
    """A session that remembers the shapes it was run on."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401  # stands in for any session
        self.session = session
        self.shapes: list[tuple[int, ...]] = []

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.shapes.append(feeds["input_ids"].shape)
        return self.session.run(feeds)


Make = Callable[..., tuple[TextEncoder, Recorder]]


@pytest.fixture
def make_encoder() -> Make:
    def make(**options: int) -> tuple[TextEncoder, Recorder]:
        encoder = TextEncoder(MODEL, threads=1, **options)  # type: ignore[arg-type]
        recorder = Recorder(encoder._session)
        encoder._session = recorder  # type: ignore[assignment]
        return encoder, recorder

    return make


def test_each_distinct_text_is_encoded_once(make_encoder: Make) -> None:
    encoder, recorder = make_encoder()

    vectors = encoder.encode([("a",), ("b",), ("a",), ("a",)])
    again = encoder.encode([("b",), ("a",)])

    assert recorder.shapes == [(2, 3)]
    assert list(vectors) == [("a",), ("b",)]
    np.testing.assert_array_equal(again["a",], vectors["a",])
    assert np.linalg.norm(vectors["a",]) == pytest.approx(1.0, abs=1e-5)


def test_cache_drops_the_least_recently_used(make_encoder: Make) -> None:
    encoder, recorder = make_encoder(cache_size=2)
    encoder.encode([("a",), ("b",)])
    encoder.encode([("a",)])
    encoder.encode([("c",)])
    recorder.shapes.clear()

    encoder.encode([("a",), ("c",)])
    assert recorder.shapes == []

    encoder.encode([("b",)])
    assert recorder.shapes == [(1, 3)]
    assert len(encoder._cache) == 2


def test_no_cache_still_answers_a_call_larger_than_it(make_encoder: Make) -> None:
    encoder, recorder = make_encoder(cache_size=0)

    vectors = encoder.encode([("a",), ("b",)])
    encoder.encode([("a",)])

    assert len(vectors) == 2
    assert recorder.shapes == [(2, 3), (1, 3)]


def test_batches_are_sorted_by_length_and_keep_both_limits(make_encoder: Make) -> None:
    encoder, recorder = make_encoder(max_batch_size=3, max_batch_tokens=24)
    counts = [30, 1, 6, 2, 1, 6, 1, 6]

    encoder.encode([(f"{'word ' * (n - 1)}{'abcdefgh'[i]}",) for i, n in enumerate(counts)])

    assert recorder.shapes == [(3, 3), (3, 8), (1, 8), (1, 32)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The committed model's files as links, as in a hub's cache, with the manifest copied."""
    for path in MODEL.iterdir():
        (tmp_path / path.name).symlink_to(path)
    manifest = tmp_path / MANIFEST_NAME
    data = manifest.read_bytes()
    manifest.unlink()
    manifest.write_bytes(data)
    return tmp_path


def test_folder_of_links_runs(folder: Path) -> None:
    assert TextEncoder(folder).encode([("a",)])["a",].shape == (384,)


def test_model_that_does_not_normalize_is_a_model_error(folder: Path) -> None:
    spec = EmbeddingSpec(pooling="mean", is_normalized=False)
    write_manifest(folder, replace(read_manifest(folder), embedding=spec))

    with pytest.raises(ModelError, match="does not normalize its embeddings"):
        TextEncoder(folder)


def test_graph_with_other_inputs_is_a_model_error(folder: Path) -> None:
    path = folder / "model.onnx"
    manifest = read_manifest(folder)
    model = onnx.load(path)
    path.unlink()
    model.graph.input[1].name = "mask"
    for node in model.graph.node:
        node.input[:] = ["mask" if name == "attention_mask" else name for name in node.input]
    onnx.save(model, path)
    files = tuple(describe_file(folder / file.name) for file in manifest.files)
    write_manifest(folder, replace(manifest, files=files))

    with pytest.raises(ModelError, match=r"turns \('input_ids', 'mask'\) into"):
        TextEncoder(folder)


def test_manifest_of_another_width_is_an_inference_error(folder: Path) -> None:
    write_manifest(folder, replace(read_manifest(folder), hidden_size=383))

    with pytest.raises(InferenceError, match=r"shape \[1, 384\]; expected \[1, 383\]"):
        TextEncoder(folder).encode([("a",)])


def test_query_takes_the_last_actions_and_passage_the_action_alone() -> None:
    step = Step("Log in", ("a", "b", "c"), "d", "the screen")

    assert query_parts(step, num_actions=0) == ("Log in",)
    assert query_parts(step, num_actions=2) == ("Log in", "b", "c")
    assert query_parts(step, num_actions=9) == ("Log in", "a", "b", "c")
    assert passage_parts(step) == ("d",)


@pytest.mark.parametrize(
    ("limit", "ids", "num_cut"),
    [
        (9, (1, 2, 3, 4, 5, 6, 7), 0),
        (7, (1, 2, 3, 4, 5, 6, 7), 0),
        (6, (1, 2, 3, 6, 7), 2),
        (5, (1, 2, 3, 6, 7), 2),
        (4, (1, 2, 3), 4),
        (2, (1, 2), 5),
        (0, (), 7),
    ],
)
def test_oldest_action_goes_first_then_the_end_of_the_instruction(
    limit: int, ids: tuple[int, ...], num_cut: int
) -> None:
    fitted = fit_tokens(
        ["123", "45", "67"], encode=lambda text: [int(x) for x in text], limit=limit
    )

    assert (fitted.ids, fitted.num_cut) == (ids, num_cut)
