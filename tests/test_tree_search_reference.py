"""The core against the plain-Python search: call for call, node for node, bit for bit."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair import Pair
from walks import BACKUPS, POLICIES, Walk, draw_settings

CALLS = ["ask"] * 3 + ["edge"] + ["answer"] * 4 + ["advance", "plan", "reweight", "save"]


def walk_together(rng: random.Random, folder: pytest.TempPathFactory, *, most: int) -> None:
    walk = Walk(
        rng,
        draw_settings(rng),
        calls=CALLS,
        ends=rng.choice([0.0, 0.1, 0.4]),
        num_keys=rng.choice([0, 0, 3, 12]),
    )
    pair = Pair(walk.search, walk.root, folder.getbasetemp())
    for _ in range(rng.randint(1, most)):
        pair.make(walk.call())


@settings(max_examples=60)
@given(rng=st.randoms(use_true_random=False))
def test_any_calls_give_the_reference_tree(
    tmp_path_factory: pytest.TempPathFactory, rng: random.Random
) -> None:
    walk_together(rng, tmp_path_factory, most=12)


@pytest.mark.parametrize("seed", range(120))
def test_long_walks_give_the_reference_tree(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    walk_together(random.Random(seed), tmp_path_factory, most=60)


def test_walks_reach_every_option() -> None:
    drawn = [draw_settings(random.Random(seed)) for seed in range(120)]
    pairs = {(given["policy"], given["backup"]) for given in drawn}

    assert pairs == {(policy, backup) for policy in POLICIES for backup in BACKUPS}
    for option in ("solve", "deterministic", "channels", "max_nbytes", "virtual_loss", "weights"):
        assert len({given[option] for given in drawn}) > 1
