"""The lexical prior: its laws, and that a model carries it from its heads' file to its scores."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from similar_fast import RewardModel
from similar_fast.baselines import LexicalScorer
from similar_fast.cli import main
from similar_fast.errors import DataError, ModelError
from similar_fast.models.heads import (
    HEADS_WEIGHTS_NAME,
    Heads,
    encode_heads,
    random_heads,
    read_heads,
)
from similar_fast.models.manifest import read_manifest
from similar_fast.reward.lexical_prior import add_lexical_prior
from similar_fast.types import Scores, Step
from similar_fast_export.reward_model import ExportOptions, export_reward_model
from similar_fast_export.verify import check_scores

STATE = Step('Enter "bob" as user and press login', (), "", 'textbox "User"\nbutton "Login"')
ACTIONS = ('click button "Login"', 'click button "Help"', 'type "bob" into textbox "User" (empty)')
STEPS = [replace(STATE, action=action) for action in ACTIONS]
words = st.text(alphabet='abc "()', max_size=12)


def drawn(n: int, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    dims, weights = (rng.normal(size=(n, 5)).astype(np.float32) for _ in range(2))
    return Scores((dims * weights).sum(1), dims, weights)


def columns(scores: Scores) -> list[np.ndarray]:
    assert scores.dims is not None
    assert scores.weights is not None
    return [scores.total, scores.dims, scores.weights]


@given(st.lists(st.tuples(words, words), min_size=1, max_size=5), st.floats(0, 4))
def test_total_stays_the_weighted_sum_and_one_dimension_moves(
    texts: list[tuple[str, str]], weight: float
) -> None:
    steps = [Step(instruction, (), action) for instruction, action in texts]
    before = drawn(len(steps))

    after = add_lexical_prior(before, steps, weight)

    total, dims, weights = columns(after)
    moved = dims - columns(before)[1]
    assert total == pytest.approx((dims * weights).sum(1), abs=1e-4)
    assert moved[:, 3] == pytest.approx(weight * LexicalScorer().score(steps).total, abs=1e-5)
    assert (moved[:, [0, 1, 2, 4]] == 0).all()
    for i, step in enumerate(steps):
        alone = add_lexical_prior(before.rows(i, i + 1), [step], weight)
        assert alone.total[0] == after.total[i]


def test_no_weight_changes_nothing() -> None:
    before = drawn(3)

    assert add_lexical_prior(before, STEPS, 0.0) is before


@pytest.mark.timeout(120)
def test_endless_texts_get_finite_scores() -> None:
    endless = " ".join(['("a" (b'] * 200_000)
    step = Step(endless, (endless,) * 500, f'click link "{endless}"', endless)

    scores = add_lexical_prior(drawn(1), [step], 1.0)

    assert np.isfinite(scores.total).all()


def test_heads_file_keeps_the_prior_and_says_nothing_of_none(tmp_path: Path) -> None:
    path = tmp_path / HEADS_WEIGHTS_NAME
    plain = Heads(np.ones((5, 4), np.float32))
    path.write_bytes(encode_heads(replace(plain, lexical_prior=1.25)))

    assert read_heads(path).lexical_prior == 1.25
    assert b"lexical_prior" not in encode_heads(plain)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_prior_out_of_its_range_is_refused(weight: float) -> None:
    heads = Heads(np.ones((5, 4), np.float32), lexical_prior=weight)

    with pytest.raises(ModelError, match=r"the heads has the lexical_prior .* expected at least 0"):
        heads.check(4, "the heads")


def test_model_scores_with_the_prior_of_its_heads(
    exported: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint, _ = exported("bert")
    models = []
    for weight in (0.0, 1.5):
        heads, folder = tmp_path / f"{weight}.safetensors", tmp_path / f"model {weight}"
        drawn_heads = random_heads(read_manifest(exported("bert")[1]).hidden_size, 3)
        heads.write_bytes(encode_heads(replace(drawn_heads, lexical_prior=weight)))
        export_reward_model(checkpoint, folder, ExportOptions(heads=heads))
        models.append(RewardModel(folder, providers="cpu", threads=1))
    plain, model = models

    expected = add_lexical_prior(plain.score(STEPS), STEPS, 1.5)
    for found, column in zip(columns(model.score(STEPS)), columns(expected), strict=True):
        assert (found == column).all()
    assert plain.manifest.fingerprint != model.manifest.fingerprint
    checks = check_scores(tmp_path / "model 1.5", checkpoint, dtype="fp32", seed=0)
    assert checks["transformers_max_error_total"] < 1e-4
    broken = replace(STEPS[0], screenshot=lambda: b"no picture")
    rows = model.score_rows([STEPS[1], replace(broken, action="x " * 10_000), STEPS[2]])
    assert isinstance(rows.errors[1], DataError)
    assert np.isnan(rows.scores.total[1])
    # Another batch, and so other last bits of a sum.
    np.testing.assert_allclose(rows.scores.total[[0, 2]], expected.total[1:], rtol=1e-5)
    assert main(["inspect", str(tmp_path / "model 1.5")]) == 0
    assert "lexical prior   1.5 x the overlap" in capsys.readouterr().out
