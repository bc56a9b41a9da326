import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lock_env import NOTHING, OPEN, LockEnv, press
from similar_fast.baselines import ConstantScorer
from similar_fast.errors import DataError
from similar_fast.search.episodes import (
    Episode,
    EpisodeLog,
    RandomPolicy,
    ScoredPolicy,
    play,
    run_search,
)
from similar_fast.search.search import Search
from similar_fast.types import Scores
from test_search import CodeScorer, FunctionScorer


def episode(task: str = "easy", seed: int = 0, arm: str = "a") -> Episode:
    return play(LockEnv(), RandomPolicy(), arm=arm, task=task, seed=seed)


def test_play_greedy_with_a_good_scorer_opens_the_lock() -> None:
    row = play(LockEnv(), ScoredPolicy(CodeScorer()), arm="greedy", task="hard", seed=1)

    assert row.success
    assert row.is_done
    assert row.env_steps == len(row.actions) == 4
    assert row.scored_actions == 4 * 7


def test_play_stops_at_max_steps() -> None:
    row = play(
        LockEnv(),
        ScoredPolicy(FunctionScorer(prefer_nothing), guard=False),
        arm="a",
        task="easy",
        seed=0,
        max_steps=5,
    )

    assert not row.is_done
    assert len(row.actions) == 5


def prefer_nothing(steps):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    return Scores(np.array([step.action == str(NOTHING) for step in steps], dtype=np.float32))


def test_guard_never_repeats_an_action_on_the_same_screen() -> None:
    row = play(
        LockEnv(), ScoredPolicy(FunctionScorer(prefer_nothing)), arm="a", task="easy", seed=0
    )

    assert row.actions.count(str(NOTHING)) < len(row.actions)
    assert row.actions[0] == str(NOTHING)
    assert row.actions[1] != str(NOTHING)


def test_guard_is_forgotten_at_the_next_episode() -> None:
    policy = ScoredPolicy(CodeScorer())

    rows = [play(LockEnv(), policy, arm="a", task="hard", seed=0) for _ in range(2)]

    assert rows[0].actions == rows[1].actions


def test_play_same_seed_same_episode() -> None:
    assert episode().actions == episode().actions
    assert len({episode(seed=seed).actions for seed in range(8)}) > 1


def test_sampling_follows_the_temperature() -> None:
    policy = ScoredPolicy(CodeScorer(), temperature=0.5, guard=False)
    env = LockEnv()
    observation = env.reset("hard", seed=0)
    candidates = [press("c"), press("a")]  # 0.5 and 0.0
    rng = random.Random(0)

    share = np.mean([policy.choose(observation, candidates, (), rng) == 0 for _ in range(4000)])

    assert share == pytest.approx(1 / (1 + np.exp(-1.0)), abs=0.02)


def test_scored_policy_with_a_negative_temperature_raises_value_error() -> None:
    with pytest.raises(ValueError, match="temperature"):
        ScoredPolicy(ConstantScorer(), temperature=-1.0)


def test_run_search_gives_the_row_and_the_result() -> None:
    row, result = run_search(LockEnv(), Search(CodeScorer()), arm="s", task="hard", seed=3)

    assert row.success == result.success is True
    assert row.actions == tuple(str(a) for a in result.actions)
    assert row.actions[-1] == str(OPEN)
    assert row.env_steps == result.env_steps


def test_log_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = EpisodeLog(path)
    log.append(episode("easy", 0))
    log.append(episode("hard", 0))
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"arm": "a", "task": "ea')  # killed while writing

    log = EpisodeLog(path)
    left = log.missing("a", [(t, s) for t in ("easy", "hard") for s in (0, 1)])
    log.append(episode("easy", 1))
    log.close()

    assert left == [("easy", 1), ("hard", 1)]
    assert path.read_bytes().startswith(whole)
    assert [(e.task, e.seed) for e in EpisodeLog.read_only(path)] == [
        ("easy", 0),
        ("hard", 0),
        ("easy", 1),
    ]


def test_log_keeps_a_whole_last_row_without_a_line_break(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(episode("easy", 0).to_json())

    log = EpisodeLog(path)
    log.append(episode("easy", 1))
    log.close()

    assert [e.seed for e in EpisodeLog.read_only(path)] == [0, 1]


def test_log_leaves_a_foreign_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes")

    with pytest.raises(DataError, match="not an episode"):
        EpisodeLog(path)

    assert path.read_text() == "my notes"


def test_log_is_written_by_one_at_a_time(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path / "log.jsonl")

    with pytest.raises(DataError, match="another process"):
        EpisodeLog(tmp_path / "log.jsonl")

    log.close()
    EpisodeLog(tmp_path / "log.jsonl").close()


def test_log_keeps_arms_apart(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path / "log.jsonl")
    log.append(episode(arm="a"))

    assert log.missing("b", [("easy", 0)]) == [("easy", 0)]
    assert log.missing("a", [("easy", 0)]) == []
    log.close()


@pytest.mark.parametrize("line", [b"nonsense", b"[1]", b'{"arm": "a"}', b""])
def test_log_with_a_foreign_line_raises_data_error(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(episode().to_json().encode() + b"\n" + line + b"\n")

    with pytest.raises(DataError, match="not an episode") as caught:
        EpisodeLog(path)
    assert caught.value.line == 2
    assert caught.value.path == path


def test_log_row_survives_its_json() -> None:
    row = episode()

    record = json.loads(row.to_json())

    assert row == Episode(**{**record, "actions": tuple(record["actions"])})


def logged(path: Path, *rows: Episode) -> EpisodeLog:
    """A log that was written with these rows, closed and opened again."""
    log = EpisodeLog(path)
    for row in rows:
        log.append(row)
    log.close()
    return EpisodeLog(path)


def test_log_refuses_a_name_of_other_settings_and_names_them(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = logged(path, episode(arm="b"), replace(episode(), settings={"budget": 5, "beam": None}))

    with pytest.raises(DataError, match=r"'a' was played with budget=5; expected budget=6") as it:
        log.check_settings("a", {"budget": 6})

    assert (it.value.path, it.value.line) == (path, 2)
    log.close()


def test_log_goes_on_with_the_same_settings(tmp_path: Path) -> None:
    settings = {"budget": 5, "weights": (1.0, 2.0)}
    log = logged(tmp_path / "log.jsonl", replace(episode(), settings=settings))
    log.append(replace(episode(seed=1), settings=settings))

    log.check_settings("a", settings)
    log.check_settings("another", {"budget": 6})
    log.close()

    assert [e.settings for e in EpisodeLog.read_only(tmp_path / "log.jsonl")] == [
        {"budget": 5, "weights": [1.0, 2.0]}
    ] * 2


def test_log_row_without_settings_has_no_key_and_is_not_checked(tmp_path: Path) -> None:
    log = logged(tmp_path / "log.jsonl", episode())

    log.check_settings("a", {"budget": 6})
    log.close()

    assert "settings" not in json.loads((tmp_path / "log.jsonl").read_text())
    assert log.episodes[0].settings is None


def test_log_row_whose_settings_have_no_names_raises_data_error(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({**json.loads(episode().to_json()), "settings": "budget=5"}) + "\n")

    with pytest.raises(DataError, match="not an episode"):
        EpisodeLog(path)
