"""Collections that are begun twice, fed with bugs, interrupted or taken up again."""

from pathlib import Path

import pytest
from collect_fakes import SETTINGS, HintScorer, MakeBuggy, broken_worker, lock_worker
from lock_env import LockEnv
from similar_fast.collect import processes
from similar_fast.collect.collector import CollectProgress, collect
from similar_fast.collect.journal import Journal
from similar_fast.collect.manifest import write_manifest
from similar_fast.collect.processes import ProcessEngine
from similar_fast.collect.worker import Unit, Worker
from similar_fast.errors import DataError
from test_collect import PLAN, UNITS, HereEngine, collected


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
