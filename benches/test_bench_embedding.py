"""`EmbeddingScorer` on one state with ten candidates, cold and warm; int8 beside float32."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import similar_fast_mini
from onnx import numpy_helper
from pytest_benchmark.fixture import BenchmarkFixture
from similar_fast.embedding import EmbeddingScorer
from similar_fast.models.runtime import Session, open_session
from similar_fast.types import Step

MODEL = Path(similar_fast_mini.__file__).parent / "embedding"
INSTRUCTION = "Press the login button."
CANDIDATES = (
    'type "elda" into textbox "Username"',
    'type "9k2" into textbox "Username"',
    'type "elda" into textbox "Password"',
    'type "9k2" into textbox "Password"',
    'click button "Login"',
    'click link "Forgot your password?"',
    'click link "Create an account"',
    'click checkbox "Remember me"',
    'click link "Help"',
    'click heading "Welcome"',
)
STEPS = [Step(INSTRUCTION, CANDIDATES[:1], action) for action in CANDIDATES]
BEST = 4


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_bench_score(benchmark: BenchmarkFixture, cache: str) -> None:
    scorer = EmbeddingScorer(threads=1, cache_size=0 if cache == "cold" else 1024)
    scorer.score(STEPS)

    scores = benchmark(scorer.score, STEPS)

    assert scores.total.argmax() == BEST


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_bench_embed(benchmark: BenchmarkFixture, weights: str, tmp_path: Path) -> None:
    exact = open_session(write_float32(tmp_path / "float32.onnx"), threads=1)
    session = exact if weights == "float32" else open_session(MODEL / "model.onnx", threads=1)
    feeds = random_tokens(rows=10, length=16)

    embedding = benchmark(embed, session, feeds)

    np.testing.assert_allclose(embedding, embed(exact, feeds), atol=1e-5)


def embed(session: Session, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return session.run(feeds)["embedding"]


def random_tokens(*, rows: int, length: int) -> dict[str, Any]:
    ids = np.random.default_rng(0).integers(1000, 20_000, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def write_float32(path: Path) -> Path:
    """The committed model with its matrices stored in float32: the same function, larger."""
    model = onnx.load(MODEL / "model.onnx")
    constants = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type == "DequantizeLinear":
            weight, scale = (constants[name] for name in node.input)
            block = weight.shape[0] // scale.shape[0]
            matrix = weight.astype(np.float32) * scale.repeat(block, axis=0)
            model.graph.initializer.append(numpy_helper.from_array(matrix, node.output[0]))
            model.graph.node.remove(node)
    onnx.save(model, path)
    return path
