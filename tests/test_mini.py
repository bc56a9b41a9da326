"""The committed model and the distribution that carries it."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from similar_fast.embedding import EmbeddingScorer, TextEncoder
from similar_fast.errors import ModelError
from similar_fast.models.manifest import MANIFEST_NAME, EmbeddingSpec, read_manifest

PACKAGE = Path(__file__).parents[1] / "python" / "similar_fast_mini"
MODEL = PACKAGE / "embedding"
MAX_BYTES = 25_000_000
# The tokenizer.json that sentence-transformers/all-MiniLM-L6-v2 was published with.
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
FIRST_OF_EMPTY = [-0.118838, 0.048299, -0.002548]


def test_manifest_covers_every_file_and_the_folder_is_small() -> None:
    manifest = read_manifest(MODEL)

    names = {path.name for path in MODEL.iterdir()}
    assert names == {file.name for file in manifest.files} | {MANIFEST_NAME}
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= MAX_BYTES


def test_manifest_tells_what_the_model_is() -> None:
    manifest = read_manifest(MODEL)

    assert (manifest.family, manifest.hidden_size, manifest.max_positions) == (
        "bert-embedding",
        384,
        256,
    )
    assert manifest.embedding == EmbeddingSpec(pooling="mean", is_normalized=True)
    assert manifest.license == "Apache-2.0"
    assert manifest.source.startswith("sentence-transformers/all-MiniLM-L6-v2, ")
    assert manifest.checks["rank_agreement"] >= 0.98


def test_tokenizer_is_the_published_file() -> None:
    digests = {file.name: file.sha256 for file in read_manifest(MODEL).files}

    assert digests["tokenizer.json"] == TOKENIZER_SHA256


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        (
            "Click “Größe ändern” for 日本語 🙂 now",
            [11562, 1523, 24665, 2080, 17499, 1998, 11795, 1524, 2005, 1864, 1876, 1950, 100, 2085],
        ),
        (
            'type "elda" into textbox "Username"',
            [2828, 1000, 3449, 2850, 1000, 2046, 3793, 8758, 1000, 5310, 18442, 1000],
        ),
    ],
)
def test_tokens_are_those_of_transformers(text: str, ids: list[int]) -> None:
    encoder = TextEncoder(MODEL)

    assert list(encoder._fit((text,)).ids) == ids


def test_embedding_of_the_empty_text_is_that_of_transformers() -> None:
    vector = TextEncoder(MODEL).encode([("",)])["",]

    np.testing.assert_allclose(vector[:3], FIRST_OF_EMPTY, atol=0.005)


def test_longest_input_runs_and_one_more_position_does_not_exist() -> None:
    encoder = TextEncoder(MODEL)
    ids = np.full((1, 257), 2773)

    fitted = encoder._session.run(
        {"input_ids": ids[:, :256], "attention_mask": np.ones((1, 256), np.int64)}
    )

    assert np.isfinite(fitted["embedding"]).all()
    with pytest.raises(ModelError, match="failed on"):
        encoder._session.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})


def test_altered_model_is_refused(tmp_path: Path) -> None:
    for path in MODEL.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "model.onnx").write_bytes(data)

    with pytest.raises(ModelError, match=r"model\.onnx was altered"):
        EmbeddingScorer(tmp_path)


def test_package_holds_no_code() -> None:
    body = ast.parse((PACKAGE / "__init__.py").read_text()).body

    assert [type(node) for node in body] == [ast.Expr]


def test_wheel_builds_and_holds_the_model(tmp_path: Path) -> None:
    subprocess.run(  # our own interpreter and arguments
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=PACKAGE,
        check=True,
        capture_output=True,
        timeout=120,
    )

    (wheel,) = tmp_path.glob("similar_fast_mini-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        model = archive.read("similar_fast_mini/embedding/model.onnx")
        offers = next(name for name in names if name.endswith("entry_points.txt"))
        offered = archive.read(offers).decode()
    expected = {
        f"similar_fast_mini/{path.relative_to(PACKAGE).as_posix()}"
        for folder in ("embedding", "reward")
        for path in (PACKAGE / folder).glob("*")
    }
    assert expected | {"similar_fast_mini/__init__.py"} <= names
    assert any(name.endswith("NOTICE") for name in names)
    assert offered.split("\n")[:2] == [
        "[similar_fast.scorers]",
        "default = similar_fast:RewardModel",
    ]
    assert model == (MODEL / "model.onnx").read_bytes()


def test_reward_model_is_small_whole_and_trained() -> None:
    folder = PACKAGE / "reward"
    manifest = read_manifest(folder)

    assert {p.name for p in folder.iterdir()} == {f.name for f in manifest.files} | {MANIFEST_NAME}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    assert manifest.reward is not None
    assert not manifest.reward.heads.is_random
    assert manifest.checks["rank_agreement"] >= 0.98
    assert manifest.license == "Apache-2.0"
