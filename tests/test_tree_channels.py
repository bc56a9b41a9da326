"""Several numbers for each leaf: told, read back, and weighed anew."""

from typing import Any

import numpy as np
import pytest
from similar_fast.tree.search import TreeSearch


def told(search: TreeSearch, action: int, values: list[float], **given: object) -> int:
    """Tells one leaf of the root; the node that it became."""
    leaves = search.ask_edge(search.root, action)
    return int(search.tell(leaves, [values], **given)[0])  # type: ignore[arg-type]  # as named


def test_value_is_the_weighted_sum_of_the_numbers() -> None:
    search = TreeSearch(2, channels=3, weights=(1.0, 0.5, 0.25))

    told(search, 1, [1.0, 2.0, 4.0])

    assert search.children().values.tolist() == [0.0, 3.0]
    assert search.told().shape == (2, 3)
    assert np.isnan(search.told()[0]).all()
    assert search.told()[1].tolist() == [1.0, 2.0, 4.0]


def test_gate_weighs_each_leaf_by_itself() -> None:
    search = TreeSearch(2, channels=2)

    leaves = search.ask(2)
    search.tell(leaves, [[1.0, 2.0], [1.0, 2.0]], weights=[[1.0, 0.0], [0.5, 0.5]])

    assert search.children().values.tolist() == [1.0, 1.5]


def test_first_values_come_in_channels_flat_or_ragged() -> None:
    values = []
    for ragged in (True, False):
        search = TreeSearch(1, channels=2, weights=(1.0, 0.5))
        first = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
        node = told(
            search,
            0,
            [0.0, 0.0],
            candidates=[["x", "y"]],
            first_values=[first] if ragged else first,
        )
        values.append(search.children(node).values.tolist())
        assert search.told(node).tolist() == first.tolist()

    assert values == [[2.0, 5.0]] * 2


def test_root_takes_first_values_and_a_gates_weights() -> None:
    search = TreeSearch(
        2, channels=2, first_values=[[1.0, 2.0], [3.0, 4.0]], first_weights=[[1, 0], [0, 1]]
    )

    assert search.children().values.tolist() == [1.0, 4.0]


def test_reweight_asks_for_nothing_and_changes_what_is_best() -> None:
    search = TreeSearch(["safe", "fast"], channels=2, weights=(1.0, 0.0))
    for action, numbers in enumerate([[1.0, 0.0], [0.0, 1.0]]):
        told(search, action, numbers)
    assert search.best_action() == 0

    search.reweight([0.0, 1.0])

    assert search.best_action() == 1
    assert search.settings.weights == (0.0, 1.0)
    assert search.num_open == 0
    assert search.children().values.tolist() == [0.0, 1.0]


def test_reweight_with_none_goes_back_to_the_gate() -> None:
    search = TreeSearch(1, channels=2)
    told(search, 0, [1.0, 2.0], weights=[[1.0, 0.0]])

    search.reweight([0.0, 1.0])
    fixed = search.children().values.tolist()
    search.reweight(None)

    assert fixed == [2.0]
    assert search.children().values.tolist() == [1.0]
    assert search.settings.is_gated


@pytest.mark.parametrize(
    ("settings", "weights", "message"),
    [
        ({}, [1.0], "weights must be given to a search with channels, got one without"),
        (
            {"channels": 2, "weights": (1, 1)},
            [1.0],
            "weights must be one finite number for each channel",
        ),
        (
            {"channels": 2, "weights": (1, 1)},
            None,
            "weights must be one finite number for each channel, got none",
        ),
        (
            {"channels": 1, "weights": (1,)},
            [np.nan],
            "weights must be one finite number for each channel",
        ),
        ({"channels": 1, "weights": (1,)}, [1e38], "weights must be such that every weighed sum"),
        (
            {"channels": 1, "weights": (1,), "backup": "power_mean"},
            [-1.0],
            "weights must be such that every weighed sum could have been told, got -2",
        ),
    ],
)
def test_reweight_refuses_and_changes_nothing(
    settings: dict[str, Any], weights: list[float] | None, message: str
) -> None:
    search = TreeSearch(1, **settings)
    width = settings.get("channels", 0)
    leaves = search.ask(1)
    search.tell(leaves, [[2.0] * width] if width else [2.0])
    before = search.children().values.tolist()

    with pytest.raises(ValueError, match=message):
        search.reweight(weights)

    assert search.children().values.tolist() == before
    assert search.settings.weights == settings.get("weights")


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ({"channels": 2}, {"values": [[1.0, 2.0]]}, "weights must be given with gated channels"),
        (
            {"channels": 2, "weights": (1, 1)},
            {"values": [[1.0, 2.0]], "weights": [[1.0, 1.0]]},
            "weights must be given with gated channels, and only then, got some",
        ),
        ({"channels": 2, "weights": (1, 1)}, {"values": [1.0]}, "values must be"),
        ({"channels": 2, "weights": (1, 1)}, {"values": [[1.0, 2.0, 3.0]]}, "values must be"),
        (
            {"channels": 2, "weights": (1, 1)},
            {"values": [[1e38, 1e38]]},
            "row 0: values must be at most 1e38 in magnitude when weighed",
        ),
        (
            {"channels": 1, "weights": (-1,), "backup": "power_mean"},
            {"values": [[2.0]]},
            "row 0: values must be at least 0 with the power mean, got -2",
        ),
        (
            {"channels": 2},
            {
                "values": [[1.0, 2.0]],
                "weights": [[1.0, 1.0]],
                "candidates": [["x"]],
                "first_values": [[[1.0, 2.0]]],
            },
            "first_weights must be given with first values of gated channels",
        ),
    ],
)
def test_tell_refuses_numbers_that_do_not_fit(
    settings: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    search = TreeSearch(1, **settings)
    leaves = search.ask(1)

    with pytest.raises(ValueError, match=message):
        search.tell(leaves, **given)

    assert search.num_open == 1
