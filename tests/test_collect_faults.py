"""Collections that are begun twice, fed with bugs, interrupted or taken up again."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from collect_fakes import SETTINGS, HintScorer, MakeBuggy, broken_worker, lock_worker
from lock_env import LockEnv
from similar_fast.cli import collect as collect_command
from similar_fast.cli import main
from similar_fast.collect import processes
from similar_fast.collect.collector import CollectProgress, collect
from similar_fast.collect.journal import Journal
from similar_fast.collect.manifest import write_manifest
from similar_fast.collect.processes import ProcessEngine
from similar_fast.collect.screenshots import take_pictures
from similar_fast.collect.worker import Unit, Worker
from similar_fast.errors import DataError, EnvError
from similar_fast.records import Labels, StepRecord
from similar_fast.types import Observation
from test_collect import PLAN, TRAJECTORY_PAIR, UNITS, HereEngine, collected


def test_plan_of_a_running_collection_is_not_replaced(tmp_path: Path) -> None:
    first = Journal(tmp_path, PLAN, resume=False)
    (tmp_path / "collect.json").unlink()  # as a second process sees it that looks too early

    with pytest.raises(DataError, match="another process is writing"):
        Journal(tmp_path, {}, resume=False)

    assert not (tmp_path / "collect.json").exists()
    first.close()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["steps.jsonl", "episodes.jsonl"])
def test_files_of_no_collection_are_left_alone(tmp_path: Path, name: str, *, resume: bool) -> None:
    (tmp_path / name).write_bytes(b"mine\n")

    with pytest.raises(FileExistsError, match=f"{name} exists"):
        Journal(tmp_path, PLAN, resume=resume)

    assert (tmp_path / name).read_bytes() == b"mine\n"


@pytest.mark.parametrize("there", [None, (), ("notes.txt",)])
def test_command_resumes_nothing_where_no_collection_was_begun(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    there: tuple[str, ...] | None,
) -> None:
    monkeypatch.setattr(collect_command, "_engine", lambda *_: HereEngine())
    out = tmp_path / "mistyped"
    if there is not None:
        out.mkdir()
        for name in there:
            (out / name).touch()
    before = sorted(tmp_path.rglob("*"))

    code = main(["collect", "--seeds", "1000", "--resume", "--out", str(out)])

    assert code == 3
    assert capsys.readouterr().err == (
        f"error: DataError: {out} holds no collection to resume; expected collect.json in it\n"
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_collection_without_an_episode_yet_is_resumed(tmp_path: Path) -> None:
    Journal(tmp_path, PLAN, resume=False).close()

    assert collected(tmp_path, resume=True).is_complete


@pytest.mark.parametrize("line", [b"[]", b"7", b'{"task": "easy", "seed": 0, "end": 5}'])
def test_line_that_is_no_episode_is_refused(tmp_path: Path, line: bytes) -> None:
    Journal(tmp_path, PLAN, resume=False).close()
    (tmp_path / "episodes.jsonl").write_bytes(line + b"\n")

    with pytest.raises(DataError, match=r"episodes.jsonl:1: not an episode"):
        Journal(tmp_path, PLAN, resume=True)


def test_resume_with_another_setting_names_that_setting(tmp_path: Path) -> None:
    Journal(tmp_path, {"settings": {"width": 6, "rollouts": 4}}, resume=False).close()

    with pytest.raises(DataError, match=r"another settings\.width: 6; expected the same, got 7"):
        Journal(tmp_path, {"settings": {"width": 7, "rollouts": 4}}, resume=True)


def test_bug_fails_its_unit_alone_and_says_what_it_was(tmp_path: Path) -> None:
    make = MakeBuggy(Unit("hard", 2))

    summary = collected(tmp_path / "run", ProcessEngine(make, 2))

    assert (summary.failed, summary.last_error) == (1, "OSError: no space left")
    assert summary.episodes + summary.skipped == len(UNITS) - 1


def test_attempt_that_fails_is_paid_for(tmp_path: Path) -> None:
    tokens = iter(range(0, 1000, 10))
    worker = Worker(
        LockEnv(), HintScorer(), SETTINGS, policy="random", spent=lambda: {"tokens": next(tokens)}
    )

    collect(HereEngine(lambda: worker), [Unit("no", 0)], out=tmp_path / "run", plan={})
    worker = Worker(LockEnv(), HintScorer(), SETTINGS, policy="random")
    summary = collect(
        HereEngine(lambda: worker), [Unit("no", 0)], out=tmp_path / "run", plan={}, resume=True
    )

    assert summary.counts["tokens"] == 10
    assert write_manifest(tmp_path / "run")["costs"]["tokens"] == 10


def test_no_process_is_started_for_nothing() -> None:
    engine = ProcessEngine(broken_worker, 2)

    assert list(engine.run(iter([]))) == []

    assert engine._processes == {}


def test_processes_that_are_at_work_are_ended_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CLOSE_TIMEOUT_S", 0.0)
    engine = ProcessEngine(lock_worker, 2)
    results = engine.run(iter(UNITS))
    next(results)
    started = list(engine._processes.values())

    engine.close()

    assert len(started) == 2
    assert not any(process.is_alive() for process in started)


def test_progress_begins_at_what_is_done(tmp_path: Path) -> None:
    told: list[CollectProgress] = []
    first = collected(tmp_path / "run", max_labels=50)

    collected(tmp_path / "run", resume=True, report=told.append)

    assert told[0] == CollectProgress(told[0].done, len(UNITS), first.labels, 0.0)
    assert 0 < told[0].done < told[1].done
    assert told[1].labels_per_hour > 0
    assert [now.done for now in told] == list(range(told[0].done, len(UNITS) + 1))


def test_command_says_why_an_episode_failed_and_what_it_was_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_command, "_engine", lambda *_: HereEngine())
    words = ["collect", "--tasks", "choose-list", "--seeds", "1000", "--out", str(tmp_path / "run")]
    llm = ["--judge", "llm", "--llm-url", "http://localhost:1/v1", "--llm-model"]

    code = main([*words, *llm, "one", "--json"])

    out, err = capsys.readouterr()
    assert code == 1
    assert "1 episode failed; --resume tries them again; the last: EnvError: task" in err
    assert json.loads(out)["labels_per_hour"] == 0
    assert main([*words, *llm, "two", "--resume"]) == 3
    assert "another llm_model: 'one'; expected the same, got 'two'" in capsys.readouterr().err


class FailingLock(LockEnv):
    """Fails so many times when it is reset."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self._failures = failures

    def reset(self, task: str, *, seed: int) -> Observation:
        self._failures -= 1
        if self._failures >= 0:
            raise EnvError("the lock is gone")
        return replace(super().reset(task, seed=seed), screenshot=lambda: b"picture")


@pytest.mark.parametrize(
    ("failures", "names", "problems"),
    [
        (1, ["b'picture'", "b'picture'"], ["", ""]),
        (2, [None, "b'picture'"], ["the lock is gone", ""]),
    ],
)
def test_environment_that_fails_costs_one_picture_at_most(
    failures: int, names: list[str | None], problems: list[str]
) -> None:
    env = LockEnv()
    states = [
        StepRecord(
            environment="lock", task="easy", trajectory="", step=1, instruction="", action="",
            labels=Labels(), seed=seed, observation=env.reset("easy", seed=seed).text,
        )
        for seed in (0, 1)
    ]  # fmt: skip

    found = list(take_pictures(FailingLock(failures), states, keep=str))

    assert [picture.name for picture in found] == names
    assert [picture.problem for picture in found] == problems


def test_record_without_a_seed_is_told_of() -> None:
    seedless = msgspec.structs.replace(TRAJECTORY_PAIR, seed=None)

    (found,) = take_pictures(LockEnv(), [seedless], keep=str)

    assert (found.name, found.problem) == (None, "the record has no seed")


def test_whole_trajectory_has_the_picture_of_its_start() -> None:
    text = LockEnv().reset("easy", seed=0).text
    pair = msgspec.structs.replace(TRAJECTORY_PAIR, observation=text)

    (found,) = take_pictures(FailingLock(0), [pair], keep=str)

    assert found.name == "b'picture'"


def test_collection_that_never_began_is_begun_anew(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="there is no lock"):
        collected(tmp_path / "run", ProcessEngine(broken_worker, 1))

    summary = collect(HereEngine(), UNITS[:2], out=tmp_path / "run", plan={"seeds": [0]})

    assert summary.is_complete
    assert json.loads((tmp_path / "run" / "collect.json").read_text()) == {"seeds": [0]}
