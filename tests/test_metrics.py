"""Pairwise accuracy against an oracle in plain numpy, and its laws."""

import math
from collections.abc import Hashable
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from similar_fast.metrics import Accuracy, TieRule, accuracy

TIE_RULES: tuple[TieRule, ...] = ("half", "wrong", "exclude")

Table = list[tuple[float, float, Hashable]]

# Few distinct values, so that ties are common.
finite = st.integers(-4, 4).map(lambda x: x / 2)
score = finite | st.sampled_from([math.nan, math.inf, -math.inf])
label = st.sampled_from(["web", "mobile", ("desktop", 2), 7, None])
rows = st.lists(st.tuples(score, score, label), max_size=40)
tolerance = st.sampled_from([0.0, 0.5, 1.0])


def oracle(
    chosen: NDArray[np.float64], rejected: NDArray[np.float64], *, ties: TieRule, tolerance: float
) -> tuple[int, int, int, int, float]:
    """(n, n_correct, n_ties, n_invalid, accuracy) in plain numpy."""
    valid = np.isfinite(chosen) & np.isfinite(rejected)
    difference = chosen[valid] - rejected[valid]
    tied = np.abs(difference) <= tolerance
    correct = (difference > 0) & ~tied
    worth = correct + {"half": 0.5, "wrong": 0.0, "exclude": 0.0}[ties] * tied
    counted = worth[~tied] if ties == "exclude" else worth
    mean = float(counted.mean()) if counted.size else math.nan
    return valid.sum(), correct.sum(), tied.sum(), (~valid).sum(), mean


def call(table: Table, *, ties: TieRule = "half", tie_tolerance: float = 0.0) -> Accuracy:
    chosen, rejected = [row[0] for row in table], [row[1] for row in table]
    labels = [row[2] for row in table]
    return accuracy(chosen, rejected, groups=labels, ties=ties, tie_tolerance=tie_tolerance)


def overall(result: Accuracy) -> tuple[int, int, int, int, float]:
    return (result.n, result.n_correct, result.n_ties, result.n_invalid, result.micro)


@given(rows, st.sampled_from(TIE_RULES), tolerance)
def test_accuracy_agrees_with_the_oracle(table: Table, ties: TieRule, tolerance: float) -> None:
    result = call(table, ties=ties, tie_tolerance=tolerance)

    chosen = np.array([row[0] for row in table], np.float64)
    rejected = np.array([row[1] for row in table], np.float64)
    expected = oracle(chosen, rejected, ties=ties, tolerance=tolerance)
    assert overall(result) == pytest.approx(expected, nan_ok=True)
    assert list(result.groups) == list(dict.fromkeys(row[2] for row in table))
    means = []
    for name, group in result.groups.items():
        of_group = np.array([row[2] == name for row in table])
        expected = oracle(chosen[of_group], rejected[of_group], ties=ties, tolerance=tolerance)
        assert astuple(group) == pytest.approx(expected, nan_ok=True)
        means.append(expected[-1])
    defined = [mean for mean in means if not math.isnan(mean)]
    macro = np.mean(defined) if defined else math.nan
    assert result.macro == pytest.approx(macro, nan_ok=True)
    assert result.n_undefined_groups == len(means) - len(defined)


@given(rows, tolerance)
def test_accuracy_swapped_is_the_complement(table: Table, tolerance: float) -> None:
    swapped = [(rejected, chosen, name) for chosen, rejected, name in table]

    one = call(table, tie_tolerance=tolerance)
    other = call(swapped, tie_tolerance=tolerance)

    assert one.micro == pytest.approx(1 - other.micro, nan_ok=True)
    assert one.macro == pytest.approx(1 - other.macro, nan_ok=True)


@given(rows.map(lambda t: [row for row in t if row[0] != row[1]]), st.sampled_from(TIE_RULES))
def test_accuracy_swapped_without_ties_is_the_complement_under_every_rule(
    table: Table, ties: TieRule
) -> None:
    swapped = [(rejected, chosen, name) for chosen, rejected, name in table]

    one, other = call(table, ties=ties), call(swapped, ties=ties)

    assert one.micro == pytest.approx(1 - other.micro, nan_ok=True)


@given(rows.flatmap(lambda table: st.tuples(st.just(table), st.permutations(table))))
def test_accuracy_of_permuted_rows_is_the_same(
    tables: tuple[Table, Table],
) -> None:
    one, other = (call(table) for table in tables)

    assert overall(one) == pytest.approx(overall(other), abs=0, rel=0, nan_ok=True)
    assert set(one.groups) == set(other.groups)


@given(rows)
def test_accuracy_counts_every_row(table: Table) -> None:
    result = call(table)

    assert result.n + result.n_invalid == len(table)
    assert sum(group.n + group.n_invalid for group in result.groups.values()) == len(table)


@pytest.mark.parametrize("ties", TIE_RULES)
def test_accuracy_of_float32_equals_that_of_float64(ties: TieRule) -> None:
    rng = np.random.default_rng(3)
    chosen, rejected = rng.normal(size=(2, 500)).round(1).astype(np.float32)

    narrow = accuracy(chosen, rejected, ties=ties)
    wide = accuracy(chosen.astype(np.float64), rejected.astype(np.float64), ties=ties)
    strided = accuracy(np.repeat(chosen, 2)[::2], rejected, ties=ties)

    assert narrow == wide == strided
    assert narrow.n_ties > 0


@pytest.mark.parametrize(
    "labels",
    [
        np.array([7, 9, 7, 8]),
        np.array([-9, 120, -9, 3], np.int8),
        np.array([2**63 + 1, 2**63, 2**63 + 1, 2**63 + 2], np.uint64),
        np.array([7, 3, 7, 5]),
        np.array(["b", "a", "b", "c"]),
        ["b", ("x", 1), "b", None],
    ],
)
def test_accuracy_groups_keep_the_order_of_appearance(
    labels: NDArray[np.str_] | list[Hashable],
) -> None:
    result = accuracy([1, 1, 0, 1], [0, 0, 1, 0], groups=labels)

    assert list(result.groups) == [labels[0], labels[1], labels[3]]
    assert [group.n for group in result.groups.values()] == [2, 1, 1]
    assert [group.accuracy for group in result.groups.values()] == [0.5, 1.0, 1.0]
    assert result.micro == 0.75
    assert result.macro == pytest.approx(2.5 / 3)


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=300))
def test_accuracy_groups_of_an_array_are_those_of_its_list(labels: list[int]) -> None:
    n = len(labels)
    chosen, rejected = np.arange(n) % 5, np.arange(n) % 3

    of_list = accuracy(chosen, rejected, groups=labels)
    of_array = accuracy(chosen, rejected, groups=np.array(labels, np.int8))
    of_shifted = accuracy(chosen, rejected, groups=np.array(labels) + 2**40)

    assert list(of_array.groups.items()) == list(of_list.groups.items())
    assert list(of_shifted.groups) == [label + 2**40 for label in dict.fromkeys(labels)]


def test_accuracy_without_groups_is_one_group() -> None:
    result = accuracy([1.0, 0.0], [0.0, 1.0])

    assert list(result.groups) == [None]
    assert result.micro == result.macro == 0.5


def test_accuracy_of_nothing_is_nan() -> None:
    result = accuracy([], [], groups=[])

    assert math.isnan(result.micro)
    assert math.isnan(result.macro)
    assert (result.n, result.groups) == (0, {})


@pytest.mark.parametrize(
    ("chosen", "rejected", "options", "message"),
    [
        ([1, 2], [1], {}, r"chosen and rejected must both be \[n\], got \(2,\) and \(1,\)"),
        ([[1]], [[1]], {}, r"got \(1, 1\) and \(1, 1\)"),
        ([1], [1], {"groups": ["a", "b"]}, r"groups must be .* got \(2,\) and \(1,\)"),
        ([1], [1], {"groups": np.array([[1]])}, r"groups must be .* got \(1, 1\) and \(1,\)"),
        ([1], [1], {"ties": "coin"}, "ties must be 'half', 'wrong' or 'exclude', got 'coin'"),
        ([1], [1], {"tie_tolerance": -0.5}, "tie_tolerance must be finite and at least 0"),
        ([1], [1], {"tie_tolerance": math.nan}, "tie_tolerance must be finite .* got NaN"),
    ],
)
def test_accuracy_of_wrong_arguments_raises_value_error(
    chosen: ArrayLike, rejected: ArrayLike, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        accuracy(chosen, rejected, **options)


def test_accuracy_of_unhashable_label_raises_type_error() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        accuracy([1], [1], groups=[["a"]])  # type: ignore[list-item]  # the mistake under test
