"""The benches of shared prefixes, small: every arm gives the same states."""

import bench_layouts
import bench_prefix
import bench_states
import pytest

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture(scope="module")
def models() -> bench_prefix.Models:
    return bench_prefix.make_models(SIZES, threads=1)


def test_arms_agree_for_one_state(models: bench_prefix.Models) -> None:
    found = bench_prefix.measure(bench_prefix.arms(models, (40, 5, 3), naive_rows=2), repeats=1)

    assert set(found) == set(bench_prefix.ARMS)


def test_arms_agree_for_several_states(models: bench_prefix.Models) -> None:
    for arms in bench_states.timed(bench_states.States(models, (3, 20, 4, 5))):
        found = bench_prefix.measure(arms, repeats=1, expected=next(iter(arms)))

        assert set(found) <= set(bench_states.ARMS)


def test_both_layouts_share_tokens() -> None:
    found = bench_layouts.measure(num_simulations=2, num_tasks=1)

    assert set(found) == set(bench_layouts.LAYOUTS)
    assert all(0 < counts["share"] < 1 for counts in found.values())
