"""The reward model's benches in their smallest form, without timing."""

from pathlib import Path

import bench_minilm
import bench_reward_search
import bench_reward_threads
import pytest
from reward_models import export_random
from similar_fast.envs.recorded import Recorded


@pytest.mark.parametrize("size", ["qwen2-64x3", "bert-64x3"])
def test_bench_reward_search_splits_a_run_into_its_parts(tmp_path: Path, size: str) -> None:
    runs = bench_reward_search.run(
        size,
        Recorded.builtin(),
        tmp_path,
        tasks=("click-option",),
        seeds=(2000,),
        num_simulations=8,
    )

    (parts,) = runs
    assert 0 < parts.share < 1
    assert parts.own_us > 0
    assert parts.actions > 1


def test_bench_reward_search_times_the_scorer_alone(tmp_path: Path) -> None:
    model = export_random(tmp_path, "qwen2-64x3")

    own = bench_reward_search.score_alone(model, num_states=2, num_actions=3)

    assert min(own["new"], own["known"]) > 0


def test_bench_reward_threads_loses_nothing(tmp_path: Path) -> None:
    figures = bench_reward_threads.run(tmp_path, num_scores=200, num_threads=4)

    assert (figures.scores, figures.broken) == (200, 2)


def test_bench_minilm_agrees_with_torch(tmp_path: Path) -> None:
    model = export_random(tmp_path, "bert-64x3")

    figures = bench_minilm.run(
        tmp_path / "bert-64x3",
        model,
        rounds=1,
        whole=bench_minilm.Sizes(rows=3, prefix=12, suffix=4),
        shared=bench_minilm.Sizes(rows=4, prefix=20, suffix=5),
    )

    assert set(figures) == {"whole", "shared"}
