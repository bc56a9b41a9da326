"""The tables of the uplift evaluation, on made-up rows with known answers."""

import dataclasses
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import table_success
import uplift.goals
import uplift.table
from hypothesis import given, settings
from hypothesis import strategies as st
from similar_fast.envs.miniwob import HELD_OUT_TASKS, TRAIN_TASKS
from similar_fast.errors import DataError
from similar_fast.search.episodes import Episode
from uplift.command import main
from uplift.goals import (
    GREEDY_BASELINES,
    MIN_TRAININGS,
    Result,
    compare,
    goals_without_figure,
)
from uplift.macro import Draws, common_seeds, interval
from uplift.page import document, markdown
from uplift.table import MAIN_SEEDS, SEEN_SEEDS, Cell, cells, side_rows
from uplift_rows import row, rows

SEEDS = range(3030, 3040)


def cell_of(*arms: list[Episode]) -> Cell:
    (cell,) = cells({found[0].arm.partition("(")[0]: found for found in arms}, [MAIN_SEEDS])
    return cell


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer draws than the tables', which take seconds where all rows of a verdict are there."""
    for module in (uplift.goals, uplift.table):
        monkeypatch.setattr(module, "Draws", partial(Draws, num_draws=500))


def whole(
    arm: str, solved: Callable[[str, int], bool], *, tasks: Iterable[str] = TRAIN_TASKS
) -> list[Episode]:
    """Every row that a verdict needs."""
    return rows(arm, solved, tasks=tasks, seeds=MAIN_SEEDS)


def trainings(
    way: str, solved: Callable[[str, int], bool], *, tasks: Iterable[str] = TRAIN_TASKS
) -> list[list[Episode]]:
    """As many trainings as a verdict needs, all alike."""
    return [whole(f"mini-s{s}-{way}", solved, tasks=tasks) for s in range(MIN_TRAININGS)]


def result(cell: Cell, left: str, right: str | None, kind: str = "difference") -> Result:
    found = [
        r
        for r in compare(cell, "mini")
        if (r.left, r.kind) == (left, kind) and (right is None or r.right == right)
    ]
    assert len(found) == 1
    return found[0]


def test_macro_weighs_every_task_the_same() -> None:
    solved = {("x", 1): True, ("y", 1): False, ("y", 2): False, ("y", 3): True}

    value, _ = Draws(common_seeds([solved])).macro([solved])

    assert value == pytest.approx(100 * (1 + 1 / 3) / 2)


def test_macro_replicates_spread_as_binomials_do() -> None:
    solved = {("x", i): i < 5 for i in range(20)} | {("y", i): i < 10 for i in range(20)}

    value, replicates = Draws(common_seeds([solved]), num_draws=40_000).macro([solved])

    variance = (0.25 * 0.75 / 20 + 0.5 * 0.5 / 20) / 4
    assert replicates.mean() == pytest.approx(value, abs=0.2)
    assert replicates.var() == pytest.approx(1e4 * variance, rel=0.04)


def test_new_members_spread_as_the_mean_of_a_resample_does() -> None:
    members = [{("x", 1): is_good} for is_good in (True, False, False)]
    draws = Draws(common_seeds(members), num_draws=40_000)

    _, of_these = draws.macro(members)
    _, replicates = draws.macro(members, has_new_members=True)

    assert interval(of_these) == pytest.approx((100 / 3, 100 / 3))
    assert replicates.var() == pytest.approx(1e4 * (1 / 3) * (2 / 3) / 3, rel=0.04)


def test_new_tasks_spread_as_the_mean_of_a_resample_does() -> None:
    solved = {(task, 1): task == "x" for task in "xyz"}
    draws = Draws(common_seeds([solved]), num_draws=40_000)

    _, of_these = draws.macro([solved])
    value, replicates = draws.macro([solved], has_new_tasks=True)

    assert interval(of_these) == pytest.approx((100 / 3, 100 / 3))
    assert value == pytest.approx(100 / 3)
    assert replicates.var() == pytest.approx(1e4 * (1 / 3) * (2 / 3) / 3, rel=0.04)


@settings(max_examples=20)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=4))
def test_prop_an_arm_beside_itself_differs_by_nothing(tasks: list[list[bool]]) -> None:
    solved = {(f"t{t}", i): x for t, found in enumerate(tasks) for i, x in enumerate(found)}
    draws = Draws(common_seeds([solved]), num_draws=50)

    value, replicates = draws.macro([solved, solved], has_new_members=True, has_new_tasks=True)
    alone, one = draws.macro([solved], has_new_tasks=True)

    assert value == pytest.approx(alone)
    np.testing.assert_allclose(replicates, one)
    assert (replicates >= 0).all()
    assert (replicates <= 100 + 1e-9).all()


def test_draws_without_a_seed_are_refused() -> None:
    with pytest.raises(ValueError, match="every task needs a seed"):
        Draws({"x": []})


def test_cells_keep_groups_and_ranges_of_seeds_apart() -> None:
    played = [
        row("random", "enter-text", 3030),
        row("random", "enter-text", 3000, success=False),
        row("random", "email-inbox", 3031),
        row("random", "enter-text", 2000),
        row("random", "click-test", 3030),
    ]

    found = cells({"random": played}, [MAIN_SEEDS, SEEN_SEEDS])

    assert [(cell.group, cell.seeds, len(cell.pairs)) for cell in found] == [
        ("train", "3030-3049", 1),
        ("held-out", "3030-3049", 1),
        ("train", "3000-3029", 1),
    ]
    assert [side_rows(cell)[0].success for cell in found] == [100.0, 100.0, 0.0]


def test_cells_refuse_arms_of_different_screens() -> None:
    other = row("oracle", "enter-text", 3030)
    other = dataclasses.replace(other, arm=other.arm.replace("0123abcd", "ffffffff"))

    with pytest.raises(DataError, match="oracle was played with screens=ffffffff"):
        cells({"random": [row("random", "enter-text", 3030)], "oracle": [other]}, [MAIN_SEEDS])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("mini-s0-guard(guide=aa)", "mini-s0-search-32(guide=bb)", "guide=bb; expected aa as mini"),
        (
            "mini-search-32(c_puct=1.0,guide=aa)",
            "embedding-search-128(c_puct=2.0,guide=cc)",
            "c_puct=2.0; expected 1.0 as mini-search-32",
        ),
        ("mini-search-32(merge=True)", "embedding-search-128(solve=True)", "merge=None; expected"),
        ("heuristic-argmax(guide=aa)", "heuristic-search-32(guide=bb)", "guide=bb; expected aa"),
        ("heuristic-argmax(guide=aa)", "oracle(guide=bb)", "guide=bb; expected aa as heuristic"),
        ("mini-s0-guard(guide=aa)", "mini-s1-guard(guide=aa)", "so was mini-s0; expected models"),
    ],
)
def test_cells_refuse_ways_of_other_models_and_searches_of_other_settings(
    first: str, second: str, message: str
) -> None:
    arms = {
        name.partition("(")[0]: [dataclasses.replace(row("", "enter-text", 3030), arm=name)]
        for name in (first, second)
    }

    with pytest.raises(DataError, match=message):
        cells(arms, [MAIN_SEEDS])


def test_cells_take_models_and_budgets_that_differ() -> None:
    names = ("mini-s0-search-32(budget=32,guide=a)", "mini-s1-search-128(budget=128,guide=b)")
    arms = {
        name.partition("(")[0]: [dataclasses.replace(row("", "enter-text", 3030), arm=name)]
        for name in (*names, "oracle(width=10)")
    }

    (cell,) = cells(arms, [MAIN_SEEDS])

    assert len(cell.sides) == 5


def test_costs_are_per_solved_episode_and_missing_rows_are_counted() -> None:
    played = [
        row("random", "enter-text", 3030, steps=8),
        row("random", "enter-text", 3031, success=False, steps=4),
        row("random", "click-option", 3030, success=False, steps=6),
    ]
    cell = cell_of(played, rows("oracle", lambda *_: False))

    by_name = {r.name: r for r in side_rows(cell)}

    assert by_name["random"].success == pytest.approx(25.0)
    assert by_name["random"].env_steps_per_solved == pytest.approx(18.0)
    assert by_name["random"].resets_per_solved == pytest.approx(3.0)
    assert (by_name["random"].n, by_name["random"].n_missing) == (3, 17)
    assert by_name["random"].by_task == {"click-option": 0.0, "enter-text": 50.0}
    assert by_name["oracle"].env_steps_per_solved is None


def test_mean_of_trainings_averages_them_and_resamples_them() -> None:
    trainings = [rows(f"mini-s{s}-guard", lambda *_, s=s: s > 0) for s in range(2)]
    cell = cell_of(*trainings)

    first = side_rows(cell)[0]

    assert cell.models == ["mini"]
    assert (first.name, first.members, first.success) == ("mini-guard", 2, 50.0)
    assert first.interval == (0.0, 100.0)
    assert first.interval_of_these_models == (50.0, 50.0)


def test_difference_is_paired_and_its_goal_judged() -> None:
    heuristic = whole("heuristic-argmax", lambda _, seed: seed % 2 == 0)
    better = trainings("guard", lambda _, seed: seed % 2 == 0 or seed < 3042)
    cell = cell_of(heuristic, *better)

    found = result(cell, "mini-guard", "heuristic-argmax")

    # Six more seeds of twenty in each task, none less: no draw can be below 0.
    assert found.value == pytest.approx(30.0)
    assert found.interval[0] > 0
    assert (found.n, found.is_met, found.missing) == (240, True, ())
    assert found.by_training == pytest.approx((30.0,) * MIN_TRAININGS)
    assert found.num_differing == 6 * len(TRAIN_TASKS) * MIN_TRAININGS
    assert found.interval_over_tasks[0] > 0
    same = result(cell_of(heuristic, *trainings("guard", lambda _, s: s % 2 == 0)), *_GUARD)
    assert (same.value, same.interval, same.is_met) == (0.0, (0.0, 0.0), False)
    assert same.num_differing == 0


_GUARD = ("mini-guard", "heuristic-argmax")


def test_held_out_tasks_have_goals_of_their_own() -> None:
    cell = cell_of(
        whole("heuristic-argmax", lambda *_: True, tasks=HELD_OUT_TASKS),
        *trainings("guard", lambda *_: True, tasks=HELD_OUT_TASKS),
    )

    assert result(cell, *_GUARD).is_met


def test_goal_has_no_verdict_where_a_row_of_any_arm_is_missing() -> None:
    heuristic = whole("heuristic-argmax", lambda *_: False)
    first, second, third = trainings("guard", lambda *_: True)

    cell = cell_of(heuristic[:-1], first, second, third[20:])
    found = result(cell, *_GUARD)

    assert found.value == pytest.approx(100.0)
    assert found.is_met is None
    assert found.missing == (
        "mini-s2-guard lacks 20 of 240 rows",
        "heuristic-argmax lacks 1 of 240 rows",
    )
    assert "| incomplete: mini-s2-guard lacks 20 of 240 rows, heuristic" in markdown(
        [cell], ["mini"]
    )


def test_goal_has_no_verdict_on_fewer_than_three_trainings() -> None:
    heuristic = whole("heuristic-argmax", lambda *_: False)
    first, second, _ = trainings("guard", lambda *_: True)

    found = result(cell_of(heuristic, first, second), *_GUARD)

    assert (found.is_met, found.missing) == (None, ("mini-guard has 2 of 3 trainings",))


def test_gain_has_no_verdict_until_every_baseline_that_might_be_best_has_played() -> None:
    cell = cell_of(
        *(whole(name, lambda _, s: s < 3035) for name in GREEDY_BASELINES[:-1]),
        *trainings("search-128", lambda *_: True),
    )

    (found,) = (r for r in compare(cell, "mini") if r.kind == "gain" and r.goal)

    assert (found.is_met, found.missing) == (None, ("embedding-greedy lacks 240 of 240 rows",))


def test_goals_without_a_figure_say_what_is_missing() -> None:
    guard = rows("mini-guard", lambda *_: True)
    search = rows("mini-search-128", lambda *_: True)
    oracle = rows("oracle", lambda *_: False)
    elsewhere = rows("heuristic-search-128", lambda *_: True, seeds=[3048, 3049])

    cell = cell_of(guard, search, oracle, elsewhere)
    why = {(it.kind, it.right): it.why for it in goals_without_figure(cell, "mini")}
    alone = goals_without_figure(cell_of(guard), "mini")

    assert why == {
        ("difference", "heuristic-argmax"): "heuristic-argmax has no rows",
        ("difference", "heuristic-search-128"): "no task and seed was played by all of "
        "mini-search-128 and heuristic-search-128",
        ("difference", "embedding-search-128"): "embedding-search-128 has no rows",
        ("share", "oracle"): "oracle solved none of what both have played",
        ("gain", "best greedy baseline"): "no baseline has rows",
    }
    assert [it.why for it in alone[1:]] == ["mini-search-128 has no rows"] * 6
    assert (alone[-1].right, alone[-1].goal) == ("best greedy baseline", "at least 36")
    page = markdown([cell], ["mini"])
    assert (
        "- embedding-search-128 has no rows: mini-search-128 - embedding-search-128, poin" in page
    )
    (told,) = document([cell], ["mini"])
    assert [it["why"] for it in told["goals_without_figure"]] == list(why.values())


def test_goals_without_a_figure_know_trainings_from_models() -> None:
    cell = cell_of(
        rows("mini-s0-guard", lambda *_: True),
        rows("mini-s1-search-128", lambda *_: True, seeds=[3030]),
        rows("mini-s2-search-128", lambda *_: True, seeds=[3031]),
        rows("heuristic-argmax", lambda *_: True, seeds=[3049]),
        rows("oracle", lambda *_: True, seeds=[3030]),
    )

    why = {(it.kind, it.right): it.why for it in goals_without_figure(cell, "mini")}

    assert why["difference", "mini-guard"] == "no training has rows of both"
    assert why["success", None] == "no task and seed was played by all of mini-search-128"
    assert why["gain", "best greedy baseline"].endswith("mini-search-128 and heuristic-argmax")


def test_figures_without_a_goal_lack_nothing() -> None:
    cell = cell_of(*(rows(f"mini-{way}", lambda *_: True) for way in ("guard", "search-32")))

    found = result(cell, "mini-search-32", "mini-guard")

    assert (found.goal, found.is_met, found.missing) == ("", None, ())


def test_share_and_gain_are_over_the_oracle_and_the_best_baseline() -> None:
    cell = cell_of(
        *(whole(name, lambda *_: False) for name in GREEDY_BASELINES if name != "heuristic-argmax"),
        whole("heuristic-argmax", lambda _, seed: seed < 3038),
        whole("heuristic-search-128", lambda _, seed: seed < 3040),
        *trainings("search-128", lambda _, seed: seed < 3046),
        whole("oracle", lambda *_: True),
    )

    share = result(cell, "mini-search-128", "oracle", "share")
    gain = result(cell, "mini-search-128", "heuristic-argmax", "gain")
    over_all = result(cell, "mini-search-128", "heuristic-search-128", "gain")

    assert (share.value, share.is_met) == (pytest.approx(80.0), False)
    assert share.interval[0] < 80 < share.interval[1]
    assert (gain.value, gain.is_met) == (pytest.approx(100.0), True)
    assert (over_all.value, over_all.is_met) == (pytest.approx(60.0), None)
    assert result(cell, "mini-search-128", None, "success").value == pytest.approx(80.0)


def test_a_ratio_to_an_arm_that_solves_nothing_is_left_out() -> None:
    cell = cell_of(rows("random", lambda *_: False), rows("mini-guard", lambda *_: True))

    assert [r.kind for r in compare(cell, "mini")] == []


def test_a_ratio_to_an_arm_that_solves_next_to_nothing_is_told_for_each_training() -> None:
    oracle = rows("oracle", lambda task, seed: (task, seed) == ("enter-text", 3032))
    searches = [rows(f"mini-s{s}-search-128", lambda _, x, s=s: x < 3032 + s) for s in range(2)]

    found = result(cell_of(oracle, *searches), "mini-search-128", "oracle", "share")

    assert found.by_training == pytest.approx((400.0, 600.0))
    assert found.value == pytest.approx(500.0)


def test_a_goal_above_0_is_not_met_by_0() -> None:
    cell = cell_of(*(r for w in ("guard", "search-128") for r in trainings(w, lambda *_: True)))

    found = result(cell, "mini-search-128", "mini-guard")

    assert (found.interval, found.is_met) == ((0.0, 0.0), False)


def test_a_model_that_is_called_as_the_mean_of_others_is_refused() -> None:
    with pytest.raises(DataError, match="mini-guard is an arm, and the mean of mini-s0-guard"):
        cell_of(*(rows(f"{name}-guard", lambda *_: True) for name in ("mini", "mini-s0")))


def test_one_task_alone_makes_no_finding_over_tasks() -> None:
    first, *_ = TRAIN_TASKS
    heuristic = whole("heuristic-argmax", lambda *_: False)
    trained = [whole(f"mini-s{s}-guard", lambda t, _: t == first) for s in range(MIN_TRAININGS)]

    found = result(cell_of(heuristic, *trained), *_GUARD)

    assert found.interval == pytest.approx((100 / 12, 100 / 12))
    assert found.interval_over_tasks[0] == 0.0
    assert found.interval_over_tasks[1] > 100 / 12


def test_each_training_is_told_beside_its_own_other_way() -> None:
    guards = [whole(f"mini-s{s}-guard", lambda _, seed, s=s: seed < 3030 + 5 * s) for s in range(3)]
    searches = [whole(f"mini-s{s}-search-128", lambda _, seed: seed < 3040) for s in range(3)]

    found = result(cell_of(*guards, *searches), "mini-search-128", "mini-guard")

    assert found.by_training == pytest.approx((50.0, 25.0, 0.0))
    assert found.value == pytest.approx(25.0)


def test_own_greedy_is_compared_on_the_trainings_that_both_have() -> None:
    cell = cell_of(
        rows("mini-s0-guard", lambda *_: False),
        rows("mini-s1-guard", lambda *_: True),
        rows("mini-s1-search-128", lambda *_: True),
    )

    found = result(cell, "mini-search-128", "mini-guard")

    assert (found.members, found.value) == (1, 0.0)


def test_table_command_prints_markdown_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("heuristic-argmax", "mini-s0-guard", "mini-s1-guard"):
        found = rows(name, lambda _, seed: seed < 3035)
        folder = tmp_path / str(name == "mini-s1-guard")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.jsonl").write_text("".join(r.to_json() + "\n" for r in found))
    folders = list(map(str, tmp_path.iterdir()))

    assert main(["table", *folders]) == 0
    page = capsys.readouterr().out
    assert main(["table", *folders, "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)

    assert "### train tasks, seeds 3030-3049" in page
    assert "| mini-guard (mean of 2 trainings) | 20 | 50.0 [" in page
    beside = "| mini-guard - heuristic-argmax, points | 20 x 2 "
    assert f"{beside}| +0.0 (no outcome differs) | +0.0, +0.0 |" in page
    assert "| enter-text | 50 | 50 |" in page
    assert [a["name"] for a in document["arms"]][:2] == ["heuristic-argmax", "mini-guard"]
    assert "| verdict, with all 240 rows and 3 trainings |" in page
    assert document["comparisons"][0]["is_met"] is None
    assert document["comparisons"][0]["missing"][0] == "mini-guard has 2 of 3 trainings"


def test_markdown_of_no_cells_is_empty() -> None:
    assert markdown([], []) == ""


def test_table_success_reads_every_arm_on_common_pairs() -> None:
    outcomes = {
        "a": {("enter-text", s): (True, 3, 1) for s in range(4)},
        "b": {("enter-text", s): (s == 0, 5, 2) for s in range(2)},
    }

    first, second = table_success.table(outcomes, "train", "b")

    assert (first["success"], first["n"], first["left_out"]) == (100.0, 2, 2)
    assert (second["success"], first["difference"]) == (50.0, 50.0)
