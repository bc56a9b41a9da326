"""The uplift evaluation plays its arms, goes on where it was stopped, and keeps rows apart."""

import contextlib
import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uplift.plan
import uplift.play
from hypothesis import given, settings
from hypothesis import strategies as st
from lock_env import LockEnv
from similar_fast.baselines import LexicalScorer
from similar_fast.collect.episode import Episode as LabelledEpisode
from similar_fast.collect.episode import LabelledStep
from similar_fast.collect.rollouts import Counts
from similar_fast.collect.trie import Edge
from similar_fast.envs.recorded import Recorded
from similar_fast.errors import DataError, EnvError
from similar_fast.search.episodes import Episode
from similar_fast.types import Action, Observation, Step
from uplift.command import main
from uplift.guides import Guides, digest_of_steps, probe
from uplift.plan import BASELINES, BUDGETS, choose_arms, make_arms, row_name
from uplift.rows import pack, packed_bytes, parts_of, read_folders, read_rows, short_name, unpack
from uplift_rows import row

Export = Callable[[str], tuple[Path, Path]]

PLAYED = ["--env", "recorded", "--tasks", "enter-text,login-user", "--seeds", "2001"]


def play(out: Path, *options: object, rows: Path | None = None) -> int:
    packed = ["--fresh"] if rows is None else ["--rows", str(rows)]
    return main(["play", *PLAYED, "--out", str(out), *packed, *map(str, options)])


def test_plan_has_every_arm_once_with_the_same_search_for_all() -> None:
    arms = {arm.name: arm for arm in make_arms(["mini-s0", "mini-s1"], has_shuffled=True)}

    guides = ("mini-s0", "mini-s1", *BASELINES)
    searches = {f"{guide}-search-{steps}" for guide in guides for steps in BUDGETS}
    greedy = {f"mini-s{seed}-{way}" for seed in (0, 1) for way in ("greedy", "guard")}
    others = {"random", "heuristic-sampled", "heuristic-argmax", "embedding-greedy", "oracle"}
    assert set(arms) == searches | greedy | others
    for steps in BUDGETS:
        settings = [arms[name].settings() for name in searches if name.endswith(f"-{steps}")]
        assert all(found == settings[0] for found in settings)
        assert settings[0]["budget"] == steps
    assert not arms["mini-s0-greedy"].guard
    assert arms["mini-s0-guard"].guard


@pytest.mark.parametrize(
    "names", [["heuristic"], ["oracle"], ["Mini"], ["a/b"], ["m-s0", "m-s0"], ["m", "m-s0"]]
)
def test_plan_refuses_names_that_would_mix_arms(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"model"):
        make_arms(names, has_shuffled=False)


def test_choose_arms_takes_patterns_and_refuses_what_is_not_there() -> None:
    arms = make_arms(["mini"], has_shuffled=False)

    assert [arm.name for arm in choose_arms(arms, ["random", "mini-gu*"])] == [
        "random",
        "mini-guard",
    ]
    assert choose_arms(arms, ["all"]) == arms
    with pytest.raises(ValueError, match="no arm is called 'shuffled"):
        choose_arms(arms, ["shuffled-search-32"])


def test_row_name_changes_with_every_search_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = next(arm for arm in make_arms([], has_shuffled=False) if arm.player == "search")
    names = {row_name(arm, {"guide": "1"}), row_name(arm, {"guide": "2"})}

    for changed in ({"c_puct": 2.0}, {"commit": "visits"}, {"seed": 1}):
        settings = dataclasses.replace(uplift.plan.SEARCH, **changed)
        monkeypatch.setattr(uplift.plan, "SEARCH", settings)
        names.add(row_name(arm, {"guide": "1"}))

    assert len(names) == 5
    assert {short_name(name) for name in names} == {arm.name}
    assert {parts_of(name)["guide"] for name in names} == {"1", "2"}


def test_play_writes_a_row_an_episode_and_plays_none_twice(tmp_path: Path) -> None:
    assert play(tmp_path, "--arms", "random,heuristic-*") == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert play(tmp_path, "--arms", "random,heuristic-*") == 0

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    arms = read_folders(tmp_path)
    assert {name: len(rows) for name, rows in arms.items()} == dict.fromkeys(arms, 2)
    assert all(r.success for r in arms["heuristic-argmax"])
    assert all(r.env_steps <= 32 for r in arms["heuristic-search-32"])


def test_play_after_a_kill_plays_what_is_missing_and_leaves_the_rest(tmp_path: Path) -> None:
    play(tmp_path, "--arms", "heuristic-argmax", "--workers", 1)
    log = tmp_path / "heuristic-argmax.jsonl"
    whole = log.read_bytes()
    first, second = whole.splitlines(keepends=True)
    log.write_bytes(first + second[:40])  # a row that was being written

    assert play(tmp_path, "--arms", "heuristic-argmax") == 0

    assert log.read_bytes().startswith(first)
    again = read_rows(log)
    assert [r.actions for r in again] == [r.actions for r in (*_parsed(tmp_path, whole),)]


def _parsed(folder: Path, data: bytes) -> list[Episode]:
    path = folder / "whole.log"
    path.write_bytes(data)
    return read_rows(path)


def test_play_takes_committed_rows_over_and_plays_the_rest(tmp_path: Path) -> None:
    play(tmp_path / "a", "--arms", "heuristic-argmax")
    played = read_rows(tmp_path / "a/heuristic-argmax.jsonl")
    told = [dataclasses.replace(r, seconds=77.0) for r in played[:1]]
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/heuristic-argmax.jsonl.xz").write_bytes(packed_bytes(told))

    assert play(tmp_path / "b", "--arms", "heuristic-argmax", rows=tmp_path / "rows") == 0

    rows = read_rows(tmp_path / "b/heuristic-argmax.jsonl")
    assert [r.seconds == 77.0 for r in rows] == [True, False]
    assert {r.task for r in rows} == {"enter-text", "login-user"}


def test_play_refuses_rows_of_another_model_before_it_plays(
    tmp_path: Path, exported: Export, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other = exported("bert")[1], exported("qwen2")[1]
    arms = ("--arms", "random,mini-s0-guard")
    assert play(tmp_path, "--models", f"mini-s0={first}", *arms) == 0
    (tmp_path / "random.jsonl").unlink()

    assert play(tmp_path, "--models", f"mini-s0={other}", *arms) == 2

    assert "mini-s0-guard was played with guide=" in capsys.readouterr().err
    assert not read_rows(tmp_path / "random.jsonl")
    assert len(read_rows(tmp_path / "mini-s0-guard.jsonl")) == 2


class DyingEnv(Recorded):
    """Its platform dies for good under the first reset of one task."""

    deaths = 1

    def reset(self, task: str, *, seed: int) -> Observation:
        if task == "login-user" and seed == 2001 and DyingEnv.deaths:
            DyingEnv.deaths -= 1
            raise EnvError("the browser is gone")
        return super().reset(task, seed=seed)


@pytest.mark.parametrize(("deaths", "code", "count"), [(1, 0, 2), (9, 1, 1)])
def test_play_goes_on_after_a_dead_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, deaths: int, code: int, count: int
) -> None:
    @contextlib.contextmanager
    def environments(_: object) -> Iterator[list[Recorded]]:
        yield [DyingEnv.builtin()]

    monkeypatch.setattr(uplift.play, "_environments", environments)
    monkeypatch.setattr(uplift.play, "_probe_pairs", lambda *_: [("enter-text", 2001)])
    monkeypatch.setattr(DyingEnv, "deaths", deaths)

    assert play(tmp_path, "--arms", "heuristic-argmax") == code

    assert len(read_rows(tmp_path / "heuristic-argmax.jsonl")) == count


@pytest.mark.parametrize(
    ("tasks", "seeds", "solved"),
    [
        ("enter-text,login-user", "2001", 2),
        ("click-button-sequence", "2000-2001", 2),  # every first action leaves the screen as it was
    ],
)
def test_oracle_row_tells_the_actions_that_it_counts_as_solved(
    tmp_path: Path, tasks: str, seeds: str, solved: int
) -> None:
    assert play(tmp_path, "--arms", "oracle", "--tasks", tasks, "--seeds", seeds) == 0

    env = Recorded.builtin()
    rows = read_rows(tmp_path / "oracle.jsonl")
    assert sum(row.success for row in rows) == solved
    for found in rows:
        env.reset(found.task, seed=found.seed)
        success = is_done = False
        for text in found.actions:
            action = next(a for a in env.candidates() if str(a) == text)
            result = env.step(action)
            success, is_done = result.success, result.is_done
        assert found.actions
        assert (found.success, found.is_done) == (success, is_done)
        assert found.resets > 1
        assert found.scored_actions > 0


@pytest.mark.parametrize(
    ("walked", "success", "expected"),
    [
        ("ab", True, ("ab", True, True)),  # though a shorter rollout reached the goal
        ("ax", False, ("c", True, True)),
        ("", False, ("c", True, True)),
    ],
)
def test_oracle_takes_its_walk_or_else_the_shortest_rollout_that_reached_the_goal(
    walked: str, *, success: bool, expected: tuple[str, bool, bool]
) -> None:
    steps = [final_step(text, is_solved=text != "ax") for text in ("abc", "ab", "ax", "c")]

    assert best_ending(walked, success=success, steps=steps) == expected


def test_oracle_that_saw_no_success_tells_where_its_walk_ended() -> None:
    steps = [final_step("ax", is_solved=False)]

    assert best_ending("ax", success=False, steps=steps) == ("ax", False, True)
    assert best_ending("a", success=False, steps=steps) == ("a", False, False)


def clicks(letters: str) -> tuple[Action, ...]:
    return tuple(Action("click", ("button", letter, 0)) for letter in letters)


def final_step(letters: str, *, is_solved: bool) -> LabelledStep:
    *before, last = clicks(letters)
    edge = Edge(rollouts=1, successes=int(is_solved), is_final=True)
    unread: Any = None
    return LabelledStep(tuple(before), last, unread, edge, unread, 0.0, 0.0)


def best_ending(walked: str, *, success: bool, steps: list[LabelledStep]) -> tuple[str, bool, bool]:
    found = LabelledEpisode(
        *("a task", 1, "labelled", success, clicks(walked), 1.0, tuple(steps), Counts(), 0.0)
    )
    actions, is_solved, is_done = uplift.play._best_ending(found)  # its rule alone
    return "".join(action.target[1] for action in actions), is_solved, is_done


class OtherLock(LockEnv):
    """The same lock, worded otherwise."""

    def candidates(self) -> tuple[Action, ...]:
        found = super().candidates()
        return tuple(dataclasses.replace(a, text=a.text.replace("click", "press")) for a in found)


def test_screens_digest_tells_other_words_apart_and_nothing_else() -> None:
    pairs = [("easy", 1), ("hard", 2)]

    digests = [digest_of_steps(probe(env, pairs)) for env in (LockEnv(), LockEnv(), OtherLock())]

    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("changed", ["instruction", "history", "action", "observation"])
def test_screens_digest_reads_every_word_of_a_step(changed: str) -> None:
    step = Step("Buy", ("click a",), "click b", "a b")
    new = ("click c",) if changed == "history" else "other"

    assert digest_of_steps([step]) != digest_of_steps([dataclasses.replace(step, **{changed: new})])


def test_fingerprint_of_a_baseline_is_that_of_its_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    guides = Guides({}, probe(Recorded.builtin(), [("enter-text", 2000)]))
    before = guides.fingerprint("heuristic")
    score = LexicalScorer.score
    assert guides.fingerprint("heuristic") == before

    def changed(self, steps):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        scores = score(self, steps)
        scores.total[0] += 0.01
        return scores

    monkeypatch.setattr(LexicalScorer, "score", changed)

    assert guides.fingerprint("heuristic") != before


ROWS = [row("a", task, seed) for task in ("x", "y") for seed in range(3)]


@settings(max_examples=20)  # it writes files
@given(st.permutations(ROWS), st.integers(0, 6))
def test_pack_gives_the_same_bytes_in_any_order_and_any_number_of_goes(
    tmp_path_factory: pytest.TempPathFactory, order: list[Episode], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("pack")
    for part in (order[:cut], order):
        (folder / "a.jsonl").write_text("".join(r.to_json() + "\n" for r in part))
        pack(folder, folder / "rows")

    assert (folder / "rows/a.jsonl.xz").read_bytes() == packed_bytes(ROWS)


def test_unpack_gives_back_what_was_packed(tmp_path: Path) -> None:
    shuffled = random.Random(0).sample(ROWS, len(ROWS))
    (tmp_path / "a.jsonl").write_text("".join(r.to_json() + "\n" for r in shuffled))
    pack(tmp_path, tmp_path / "rows")

    counts = unpack(tmp_path / "rows", tmp_path / "new")

    assert counts == {tmp_path / "new/a.jsonl": len(ROWS)}
    assert [dataclasses.replace(r, seconds=0.0) for r in read_rows(tmp_path / "new/a.jsonl")] == [
        dataclasses.replace(r, seconds=0.0) for r in ROWS
    ]
    assert unpack(tmp_path / "rows", tmp_path / "new") == {tmp_path / "new/a.jsonl": 0}


def test_pack_keeps_the_packed_row_and_refuses_one_of_another_setting(tmp_path: Path) -> None:
    log, rows = tmp_path / "a.jsonl", tmp_path / "rows"
    log.write_text(ROWS[0].to_json() + "\n")
    pack(tmp_path, rows)

    log.write_text(dataclasses.replace(ROWS[0], success=False).to_json() + "\n")
    pack(tmp_path, rows)
    assert read_rows(rows / "a.jsonl.xz")[0].success

    other = dataclasses.replace(ROWS[0], arm=ROWS[0].arm.replace("0123abcd", "ffffffff"))
    log.write_text(other.to_json() + "\n")
    with pytest.raises(DataError, match="screens=0123abcd; expected screens=ffffffff"):
        pack(tmp_path, rows)


def test_rows_that_stand_there_twice_or_are_no_xz_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(2 * (ROWS[0].to_json() + "\n"))
    with pytest.raises(DataError, match=r"a\.jsonl:2: x seed 0 stands here twice"):
        read_folders(tmp_path)

    (tmp_path / "a.jsonl").unlink()
    (tmp_path / "b.jsonl.xz").write_bytes(b"no xz")
    with pytest.raises(DataError, match="no xz file"):
        read_folders(tmp_path)


def test_command_lists_arms_and_refuses_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["play", "--list", "--models", "mini=x", "--arms", "mini-*"]) == 0
    assert capsys.readouterr().out.split() == [
        "mini-greedy",
        "mini-guard",
        "mini-search-32",
        "mini-search-128",
    ]
    assert play(tmp_path, "--workers", 0) == 2
    assert main(["table", str(tmp_path)]) == 2
    assert "holds no rows" in capsys.readouterr().err


@pytest.mark.browser
def test_play_in_a_browser_with_two_workers(tmp_path: Path) -> None:
    where = ("--env", "miniwob", "--tasks", "click-tab-2", "--seeds", "2000-2001")

    code = main(["play", "--arms", "heuristic-argmax", *where, "--fresh", "--out", str(tmp_path)])

    rows = read_rows(tmp_path / "heuristic-argmax.jsonl")
    assert code == 0
    assert sorted((r.task, r.seed) for r in rows) == [("click-tab-2", 2000), ("click-tab-2", 2001)]
    assert parts_of(rows[0].arm)["env"] == "miniwob"
