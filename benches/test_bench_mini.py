"""The speed of a small reward model, in its smallest form, without judging the times."""

from pathlib import Path

import bench_mini
from reward_models import export_random
from similar_fast.envs.recorded import Recorded


def test_bench_mini_times_states_and_a_demo_episode(tmp_path: Path) -> None:
    model = export_random(tmp_path, "bert-64x3")

    figures = bench_mini.run(model, rounds=1, max_states=2, max_episodes=1)

    assert figures["states"] == 2
    assert set(figures["ms"]) == {"cold wall", "cold cpu", "warm wall", "warm cpu"}
    assert all(0 < spread["low"] <= spread["median"] for spread in figures["ms"].values())
    assert figures["demo"]["search_cpu_s"] > 0


def test_bench_mini_states_have_ten_candidates_and_differ() -> None:
    states = bench_mini.states(Recorded.builtin(), max_states=30)

    assert {len(steps) for steps in states} == {bench_mini.NUM_CANDIDATES}
    assert len({(steps[0].observation, steps[0].history) for steps in states}) == len(states) > 20
