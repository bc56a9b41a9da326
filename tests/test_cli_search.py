"""What `similar-fast search` refuses, and what it goes on with; without a browser."""

import json
import shutil
from pathlib import Path

import pytest
from similar_fast.cli import main
from similar_fast.envs.miniwob import HELD_OUT_TASKS, TRAIN_TASKS
from similar_fast.envs.recorded import Recorded

SHORT = ("--scorer", "lexical", "--num-simulations", "5")
ONE = ("--tasks", "enter-password", "--seeds", "2000")


def search(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    """Runs the command on recordings: its exit code, stdout and stderr."""
    code = main(["search", "--env", "recorded", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_name_goes_on_with_the_settings_that_it_was_played_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs.jsonl"
    argv = (*ONE, *SHORT, "--out", out, "--name", "abc", "--json")

    first, _, _ = search(capsys, *argv)
    again, text, err = search(capsys, *argv)

    assert (first, again) == (0, 0)
    assert "1 episodes of abc are there already; 0 are left" in err
    assert json.loads(text)["arm"] == "abc"
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row["settings"]["arm"] == "search"
    assert row["settings"]["scorer"] == "lexical"
    assert row["settings"]["num_simulations"] == 5
    assert row["settings"]["max_steps"] == 8


@pytest.mark.parametrize(
    ("changed", "found", "expected"),
    [
        (("--num-simulations", "6"), "num_simulations=5", "num_simulations=6"),
        (("--scorer", "constant"), "scorer='lexical'", "scorer='constant'"),
        (("--max-steps", "3"), "max_steps=8", "max_steps=3"),
        (("--no-merge",), "merge=True", "merge=False"),
    ],
)
def test_a_name_of_other_settings_is_refused(
    changed: tuple[str, ...],
    found: str,
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "runs.jsonl"
    argv = (*ONE, *SHORT, "--out", out, "--name", "abc")
    search(capsys, *argv)
    before = out.read_bytes()

    code, text, err = search(capsys, *argv, *changed)

    assert code == 3
    assert text == ""
    assert err == (
        f"error: DataError: {out}:1: 'abc' was played with {found}; "
        f"expected {expected}, or another name\n"
    )
    assert out.read_bytes() == before


def test_rows_of_an_older_log_are_gone_on_with_unchecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs.jsonl"
    argv = (*ONE, *SHORT, "--out", out, "--name", "abc")
    search(capsys, *argv)
    row = json.loads(out.read_text())
    del row["settings"]
    out.write_text(json.dumps(row) + "\n")

    code, _, err = search(capsys, *argv, "--num-simulations", "6")

    assert code == 0
    assert "1 episodes of abc are there already" in err


def test_settings_that_a_default_name_rounds_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = (*ONE, "--arm", "heuristic", "--out", tmp_path / "runs.jsonl", "--temperature")
    search(capsys, *argv, "0.12345678")

    code, _, err = search(capsys, *argv, "0.12345679")

    assert code == 3
    assert "was played with temperature=0.12345678; expected temperature=0.12345679" in err


@pytest.mark.parametrize(("group", "tasks"), [("train", TRAIN_TASKS), ("held-out", HELD_OUT_TASKS)])
def test_a_group_stands_for_those_of_its_tasks_that_are_recorded(
    group: str, tasks: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = [task for task in tasks if task in Recorded.builtin().tasks()]

    code, text, err = search(
        capsys, "--tasks", group, "--arm", "random", "--max-steps", "1", "--json"
    )

    assert code == 0
    assert list(json.loads(text)["tasks"]) == recorded
    assert err == f"{group}: {len(recorded)} of {len(tasks)} tasks are recorded\n"


def test_a_task_that_is_not_recorded_is_refused_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorded = Recorded.builtin().tasks()

    code, _, err = search(capsys, "--tasks", "enter-text,click-tab-2-hard", "--arm", "random")

    assert code == 3
    assert err == (
        f"error: EnvError: recorded has no task 'click-tab-2-hard'; it has {len(recorded)}: "
        f"{', '.join(recorded)}\n"
    )


def test_a_group_of_which_nothing_is_recorded_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(Recorded.builtin().path("enter-text", 2000), tmp_path)

    code, _, err = search(
        capsys, "--recordings", tmp_path, "--tasks", "held-out", "--arm", "random"
    )

    assert code == 3
    assert "EnvError: recorded has no task of held-out; it has 1: enter-text" in err


@pytest.mark.parametrize(
    ("where", "refusal"),
    [
        ((), "no seed 9999; it has 2000, 2001, 2002"),
        (("--tasks", "train"), "no seed 9999; it has 2000, 2001, 2002"),
        (("--tasks", "enter-password"), "no 'enter-password' with seed 9999; it has 2000, 2001"),
    ],
)
def test_a_seed_that_is_not_recorded_is_refused_before_anything_is_played(
    where: tuple[str, ...], refusal: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs.jsonl"

    code, text, err = search(
        capsys, *where, "--seeds", "2000,9999", "--arm", "random", "--out", out
    )

    assert code == 3
    assert text == ""
    assert err.splitlines()[-1] == f"error: EnvError: recorded has {refusal}"
    assert not out.exists()


def test_seeds_of_a_group_are_those_that_are_recorded_of_each_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorded = Recorded.builtin().tasks()
    there = {task: recorded[task] for task in HELD_OUT_TASKS if task in recorded}

    code, text, err = search(
        capsys,
        *("--tasks", "held-out", "--seeds", "2000-2001"),
        *("--arm", "random", "--max-steps", "1", "--json"),
    )

    expected = {task: len({2000, 2001} & set(seeds)) for task, seeds in there.items()}
    played = {task: found["n"] for task, found in json.loads(text)["tasks"].items()}
    assert code == 0
    assert played == expected
    assert sum(played.values()) < 2 * len(there)
    assert f"{sum(played.values())} of {2 * len(there)} episodes are recorded" in err


@pytest.mark.parametrize("scorer", ["lexical", "constant", "random", "embedding"])
def test_weights_for_a_scorer_without_dimensions_are_refused_before_anything_is_played(
    scorer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs.jsonl"

    code, text, err = search(
        capsys, *ONE, "--scorer", scorer, "--weights", "3,5,5,1,1", "--out", out
    )

    assert code == 3
    assert text == ""
    assert err == (
        f"error: ValueError: --weights weighs dimensions, and --scorer {scorer} has none; "
        "expected --scorer reward\n"
    )
    assert not out.exists()


def test_a_log_in_a_folder_that_does_not_exist_is_refused_and_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, reports = tmp_path / "none", tmp_path / "reports"

    code, text, err = search(
        capsys, *ONE, *SHORT, "--out", folder / "runs.jsonl", "--report", reports
    )

    assert code == 3
    assert text == ""
    assert err == f"error: FileNotFoundError: the folder {folder} does not exist\n"
    assert list(tmp_path.iterdir()) == []


def test_a_report_may_go_into_a_new_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = tmp_path / "new" / "reports"

    code, _, _ = search(capsys, *ONE, *SHORT, "--report", reports)

    assert code == 0
    assert len(list(reports.glob("*/enter-password-2000.html"))) == 1
