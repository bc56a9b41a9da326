"""What a `TreeSearch` can be set to, and what is refused."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from similar_fast.dimensions import DIMENSIONS
from similar_fast.tree.search import TreeSearch
from similar_fast.tree.settings import TreeSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"virtual_loss": -1}, "virtual_loss must not be negative, got -1"),
        ({"max_collisions": -2}, "max_collisions must not be negative, got -2"),
        ({"channels": -1}, "channels must not be negative, got -1"),
        ({"max_nbytes": -8}, "max_nbytes must not be negative, got -8"),
        ({"fpu": "child"}, 'fpu must be a number or "parent", got "child"'),
        (
            {"channels": 2, "weights": (1.0,)},
            "weights must be one for each of 2 channels, got 1",
        ),
        ({"weights": (1.0,)}, "weights must be one for each of 0 channels, got 1"),
    ],
)
def test_settings_refuse(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeSettings(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"virtual_loss": 1001}, "virtual_loss must be at most 1000, and 0 for policies other"),
        (
            {"policy": "gumbel", "virtual_loss": 1},
            "virtual_loss must be at most 1000, and 0 for policies other",
        ),
        ({"policy": "gumbel", "c_visit": -1.0}, "c_visit must be from 0 to 1e38, got -1"),
        ({"policy": "gumbel", "c_scale": float("nan")}, "c_scale must be from 0 to 1e38, got NaN"),
        ({"policy": "gumbel", "max_considered": 0}, "max_considered must be at least 1, got 0"),
        ({"policy": "gumbel", "num_simulations": 0}, "num_simulations must be at least 1, got 0"),
        ({"policy": "beam", "beam_width": 0}, "beam_width must be at least 1, got 0"),
        ({"backup": "power_mean", "exponent": 0.5}, "exponent must be from 1 to 1e38, got 0.5"),
        ({"backup": "discounted", "discount": 1.5}, "discount must be from 0 to 1, got 1.5"),
        ({"channels": 9}, "channels must be from 1 to 8, got 9"),
        ({"channels": 9, "weights": (1.0,) * 9}, "channels must be from 1 to 8, got 9"),
        ({"channels": 1, "weights": (float("inf"),)}, "weights must be finite .* got inf"),
    ],
)
def test_search_refuses_settings(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TreeSearch(2, **given)


def test_unknown_setting_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="widht"):
        TreeSearch(2, widht=3)


def test_settings_by_name_replace_those_given() -> None:
    settings = TreeSettings(policy="beam", beam_width=3)

    search = TreeSearch(2, settings, beam_width=5)

    assert search.settings == TreeSettings(policy="beam", beam_width=5)
    with pytest.raises(FrozenInstanceError):
        settings.beam_width = 4  # type: ignore[misc]  # the point of the test


def test_five_dimensions_are_weighted_or_gated() -> None:
    weights = (0.1, 0.2, 0.3, 0.2, 0.2)

    weighted = TreeSettings.five_dimensions(weights, max_depth=7)
    gated = TreeSettings.five_dimensions()

    assert (weighted.channels, weighted.weights, weighted.max_depth) == (5, weights, 7)
    assert (gated.channels, gated.weights) == (len(DIMENSIONS), None)
    assert gated.is_gated
    assert not weighted.is_gated
    assert not TreeSettings().is_gated


def test_settings_are_a_dictionary_and_back() -> None:
    settings = TreeSettings(policy="uct", channels=2, weights=(0.5, 0.5), max_nbytes=10**9)

    assert TreeSettings(**settings.to_dict()) == settings
