"""Stage 1 against scikit-learn's ridge, and that a missing label leaks into nothing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.models.heads import LABEL_SCALES
from similar_fast.train import regression
from similar_fast.train.metrics import pair_accuracy, r2_score, regression_metrics
from similar_fast.train.regression import ALPHAS, RegressionFit, fit_regression
from similar_fast.train.split import hold_out
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score as sklearn_r2

Data = tuple[np.ndarray, np.ndarray, list[str]]


def drawn(
    n: int = 240, width: int = 12, *, seed: int = 0, noise: float = 0.3, missing: float = 0.2
) -> Data:
    """States, labels of a planted W, and the tasks that they are of."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, width)).astype(np.float32)
    labels = hidden @ rng.normal(size=(5, width)).T + rng.normal(0, noise, (n, 5))
    labels[rng.random((n, 5)) < missing] = np.nan
    return hidden, labels, [f"task {i % 10}" for i in range(n)]


def oracle(data: Data, fit: RegressionFit, weights: np.ndarray | None = None) -> np.ndarray:
    """Scikit-learn's W at the alphas that were chosen."""
    hidden, labels, _ = data
    rows = []
    for i, scale in enumerate(LABEL_SCALES):
        known = ~np.isnan(labels[:, i])
        ridge = Ridge(alpha=fit.dimensions[i].alpha, fit_intercept=False, solver="svd")
        ridge.fit(
            hidden[known].astype(np.float64),
            labels[known, i] * scale,
            sample_weight=None if weights is None else weights[known],
        )
        rows.append(ridge.coef_)
    return np.array(rows)


@pytest.mark.parametrize("shape", [(240, 12), (30, 64)], ids=["tall", "wide"])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("alphas", [ALPHAS, (1e-4,), (1e4,)])
def test_fit_equals_sklearn(
    shape: tuple[int, int],
    is_weighted: bool,  # noqa: FBT001
    alphas: tuple[float, ...],
) -> None:
    data = drawn(*shape)
    weights = np.random.default_rng(1).uniform(0.1, 9, shape[0]) if is_weighted else None

    fit = fit_regression(data[0], data[1], groups=data[2], weights=weights, alphas=alphas)

    wanted = oracle(data, fit, weights)
    assert np.abs(fit.regression - wanted).max() < 1e-6 * max(1, np.abs(wanted).max())


def test_fit_in_blocks_equals_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "_BLOCK_ROWS", 7)
    data = drawn()

    fit = fit_regression(data[0], data[1], groups=data[2])

    assert np.abs(fit.regression - oracle(data, fit)).max() < 1e-6


def test_alpha_is_the_one_of_the_least_held_out_error() -> None:
    hidden, labels, groups = drawn(60, 40, noise=6, missing=0.1)

    fit = fit_regression(hidden, labels, groups=groups, seed=3)

    for i, found in enumerate(fit.dimensions):
        known = np.flatnonzero(~np.isnan(labels[:, i]))
        out = hold_out([groups[row] for row in known], share=0.2, seed=3).held_out
        kept, held = known[~out], known[out]
        errors = {}
        for alpha in ALPHAS:
            ridge = Ridge(alpha=alpha, fit_intercept=False, solver="svd")
            ridge.fit(hidden[kept].astype(np.float64), labels[kept, i] * LABEL_SCALES[i])
            guess, truth = ridge.predict(hidden[held]), labels[held, i] * LABEL_SCALES[i]
            errors[alpha] = np.mean((guess - truth) ** 2)
            of_alpha = next(x for x in found.alphas if x.alpha == alpha)
            assert of_alpha.mse == pytest.approx(errors[alpha])
            assert of_alpha.r2 == pytest.approx(sklearn_r2(truth, guess))
        assert found.alpha == min(errors, key=errors.__getitem__)
        assert found.chosen is not None
        assert found.n_held_out == len(held)
        assert not {groups[row] for row in held} & {groups[row] for row in kept}
    assert len({found.alpha for found in fit.dimensions}) > 1


def test_of_alphas_that_are_as_good_the_greatest_is_taken() -> None:
    hidden, labels, groups = drawn(missing=0)

    fit = fit_regression(hidden, labels * 0, groups=groups)

    assert {found.alpha for found in fit.dimensions} == {1e4}
    assert math.isnan(fit.dimensions[0].alphas[0].r2)


def test_planted_weights_are_recovered() -> None:
    rng = np.random.default_rng(5)
    planted = rng.normal(size=(5, 12))
    hidden = rng.normal(size=(400, 12)).astype(np.float32)
    labels = hidden @ planted.T
    labels[rng.random(labels.shape) < 0.3] = np.nan

    fit = fit_regression(hidden, labels, groups=[str(i % 8) for i in range(400)])

    scaled = planted * np.array(LABEL_SCALES)[:, None]
    assert np.abs(fit.regression - scaled).max() < 1e-4
    assert all(found.chosen.spearman > 0.999 for found in fit.dimensions)
    assert fit.heads().regression.dtype == np.float32
    assert fit.heads().label_scales == LABEL_SCALES


def test_label_scales_are_in_the_order_of_the_dimensions() -> None:
    assert dict(zip(DIMENSIONS, LABEL_SCALES, strict=True)) == {
        Dimension.HELPFULNESS: 3,
        Dimension.ODDS_OF_SUCCESS: 5,
        Dimension.EFFICIENCY: 5,
        Dimension.TASK_RELEVANCE: 1,
        Dimension.COHERENCE: 1,
    }


@given(seed=st.integers(0, 10_000), column=st.integers(0, 4))
@settings(max_examples=15)
def test_prop_missing_labels_never_leak(seed: int, column: int) -> None:
    hidden, labels, groups = drawn(60, 8, seed=seed, missing=0.3)
    rng = np.random.default_rng(seed)
    before = fit_regression(hidden, labels, groups=groups)

    # A state counts for nothing in the dimensions whose label it lacks.
    lacking = np.isnan(labels[:, column])
    changed = hidden.copy()
    changed[lacking] = rng.normal(0, 100, (lacking.sum(), 8))
    after = fit_regression(changed, labels, groups=groups)

    assert np.array_equal(after.regression[column], before.regression[column])
    assert after.dimensions[column] == before.dimensions[column]


def test_row_without_any_label_has_no_influence() -> None:
    hidden, labels, groups = drawn()
    labels[::7] = np.nan
    kept = ~np.isnan(labels).all(axis=1)

    whole = fit_regression(hidden, labels, groups=groups)
    without = fit_regression(
        hidden[kept],
        labels[kept],
        groups=[group for group, keep in zip(groups, kept, strict=True) if keep],
    )

    assert kept.sum() < len(kept)
    assert np.array_equal(whole.regression, without.regression)
    assert whole.dimensions == without.dimensions


def test_labels_of_other_dimensions_have_no_influence() -> None:
    hidden, labels, groups = drawn()
    other = labels.copy()
    other[:, 1:] = np.random.default_rng(9).normal(size=(len(labels), 4))

    first = fit_regression(hidden, labels, groups=groups)
    second = fit_regression(hidden, other, groups=groups)

    assert np.array_equal(first.regression[0], second.regression[0])
    assert not np.array_equal(first.regression[1], second.regression[1])


def test_row_of_weight_0_is_as_one_that_is_not_there() -> None:
    hidden, labels, groups = drawn()
    weights = np.ones(len(hidden))
    weights[:50] = 0

    weighted = fit_regression(hidden, labels, groups=groups, weights=weights)
    without = fit_regression(hidden[50:], labels[50:], groups=groups[50:])

    assert np.array_equal(weighted.regression, without.regression)


def test_dimension_without_labels_is_0_and_says_so() -> None:
    hidden, labels, groups = drawn()
    labels[:, 3] = np.nan

    fit = fit_regression(hidden, labels, groups=groups)

    assert not fit.regression[3].any()
    assert fit.dimensions[3].n == 0
    assert math.isnan(fit.dimensions[3].alpha)
    assert fit.dimensions[3].chosen is None
    assert fit.regression[[0, 1, 2, 4]].all()


def test_dimension_with_one_labelled_row_takes_the_greatest_alpha() -> None:
    hidden, labels, groups = drawn()
    labels[1:, 3] = np.nan

    fit = fit_regression(hidden, labels, groups=groups)

    assert (fit.dimensions[3].n, fit.dimensions[3].alpha) == (1, max(ALPHAS))
    assert fit.dimensions[3].split_by == "none"
    assert fit.dimensions[3].chosen is None


def test_one_task_is_split_by_rows_and_says_so() -> None:
    hidden, labels, groups = drawn()

    fit = fit_regression(hidden, labels, groups=["a"] * len(groups))

    assert {found.split_by for found in fit.dimensions} == {"row"}
    assert all(found.n_held_out == round(0.2 * found.n) for found in fit.dimensions)


def test_order_of_the_rows_plays_no_part_in_the_split() -> None:
    groups = [f"task {i % 9}" for i in range(90)]
    order = np.random.default_rng(0).permutation(90)

    first = hold_out(groups, share=0.3, seed=1)
    second = hold_out([groups[i] for i in order], share=0.3, seed=1)

    assert first.by == "group"
    assert np.array_equal(first.held_out[order], second.held_out)
    assert first.held_out.sum() == 30
    assert not np.array_equal(first.held_out, hold_out(groups, share=0.3, seed=2).held_out)


@given(
    groups=st.lists(st.sampled_from("abcdef"), max_size=30),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 99),
)
def test_prop_split_never_takes_all_and_never_cuts_a_group(
    groups: list[str], share: float, seed: int
) -> None:
    split = hold_out(groups, share=share, seed=seed)

    held = {group for group, out in zip(groups, split.held_out, strict=True) if out}
    kept = {group for group, out in zip(groups, split.held_out, strict=True) if not out}
    assert (split.by == "none") == (share == 0 or len(groups) < 2)
    assert bool(held) == (split.by != "none")
    assert kept or not groups
    assert split.by != "group" or not held & kept
    assert (split.by == "row") == (bool(held) and len(set(groups)) == 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alphas": ()}, r"the alphas are \[\]"),
        ({"alphas": (1.0, 0.0)}, "expected numbers above 0"),
        ({"validation_share": 1.0}, r"expected one in \[0, 1\)"),
        ({"validation_share": 0.0}, "9 alphas are given, and no row is held out"),
        ({"label_scales": (1.0, 1.0, 1.0, 1.0, 0.0)}, "expected five above 0"),
        ({"groups": ["a"]}, r"groups and weights are .*; expected \(n, H\)"),
        ({"weights": np.ones(3)}, "groups and weights are"),
        ({"weights": np.full(240, -1.0)}, "a weight is negative"),
        ({"weights": np.zeros(240)}, "none of 240 rows has a label"),
        ({"labels": np.full((240, 5), np.nan)}, "none of 240 rows has a label"),
        ({"labels": np.full((240, 5), np.inf)}, "a label is infinite"),
        ({"labels": np.zeros((240, 4))}, "groups and weights are"),
        ({"hidden": np.full((240, 3), np.nan, np.float32)}, "a state is not finite"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    hidden, labels, groups = drawn()
    arguments = {"hidden": hidden, "labels": labels, "groups": groups} | change

    with pytest.raises(ValueError, match=message):
        fit_regression(**arguments)


def test_metrics_are_of_the_rows_that_have_a_label() -> None:
    _, labels, _ = drawn()
    predicted = np.nan_to_num(labels, nan=99) + np.random.default_rng(0).normal(size=labels.shape)

    found = regression_metrics(predicted, labels)

    for i, dimension in enumerate(DIMENSIONS):
        known = ~np.isnan(labels[:, i])
        assert found[dimension].n == known.sum()
        assert found[dimension].r2 == pytest.approx(
            sklearn_r2(labels[known, i], predicted[known, i])
        )
        assert 0.9 < found[dimension].spearman < 1


def test_metrics_refuse_predictions_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"expected \[n, 5\] both"):
        regression_metrics(np.zeros((2, 5)), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="not finite"):
        regression_metrics(np.full((2, 5), np.nan), np.zeros((2, 5)))


def test_r2_equals_sklearn_with_weights() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.normal(size=(2, 30))
    weights = rng.uniform(0, 3, 30)

    found = r2_score(predicted, labels, weights=weights)

    assert found == pytest.approx(sklearn_r2(labels, predicted, sample_weight=weights))


def test_pairs_are_counted_by_type() -> None:
    scores = np.array([1.0, 0.0, 2.0])
    pairs = np.array([0, 1, 2]), np.array([1, 2, 2])

    found = pair_accuracy(scores, pairs, types=["H", "H", "E"])

    assert found.groups["H"].accuracy == 0.5
    assert found.groups["E"].n_ties == 1
