"""Collections: files that survive a kill, workers that die, and the command with a real browser."""

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from collect_fakes import SETTINGS, MakeDying, broken_worker, lock_worker, slow_worker
from lock_env import LockEnv
from similar_fast.cli import main
from similar_fast.collect.collector import CollectProgress, CollectSummary, collect
from similar_fast.collect.journal import Journal
from similar_fast.collect.manifest import label_statistics, write_manifest
from similar_fast.collect.processes import ProcessEngine
from similar_fast.collect.screenshots import take_pictures
from similar_fast.collect.spec import LlmSpec, WorkerSpec
from similar_fast.collect.targets import units_of_records
from similar_fast.collect.worker import MakeWorker, Unit, UnitResult, Worker
from similar_fast.dimensions import Dimension
from similar_fast.errors import DataError, EnvError
from similar_fast.records import Labels, PairRecord, StepRecord, decode_record
from similar_fast.reward.model import RewardModel
from similar_fast.srm.readers import read_data
from similar_fast.srm.screenshots import ScreenshotStore

Export = Callable[[str], tuple[Path, Path]]

UNITS = [Unit(task, seed) for seed in range(6) for task in ("easy", "hard")]
TRAJECTORY_PAIR = PairRecord(
    environment="lock",
    task="easy",
    seed=0,
    type=Dimension.TRAJECTORY,
    instruction="open it",
    chosen=("a", "b"),
    rejected=("b",),
    step=-1,
)
PLAN = {"tasks": ["easy", "hard"], "seeds": list(range(6))}


class HereEngine:
    """Runs units in this process, in another order than they come in."""

    def __init__(self, make_worker: MakeWorker = lock_worker, *, step: int = 1) -> None:
        self._worker = make_worker()
        self._step = step

    def run(self, units: Iterator[Unit]) -> Iterator[UnitResult]:
        for batch in iter(lambda: [u for _, u in zip(range(self._step), units, strict=False)], []):
            for unit in reversed(batch):
                yield self._worker.label(unit)

    def close(self) -> None:
        self._worker.close()


def collected(out: Path, engine: object = None, **options: object) -> CollectSummary:
    return collect(engine or HereEngine(), UNITS, out=out, plan=PLAN, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    collected(out)
    return out


def steps(folder: Path) -> bytes:
    return (folder / "steps.jsonl").read_bytes()


def test_summary_is_what_the_file_holds(whole: Path, tmp_path: Path) -> None:
    summary = collected(tmp_path / "run")

    lines = steps(tmp_path / "run").splitlines()
    assert summary.labels == summary.new_labels == len(lines) > 100
    assert summary.episodes + summary.skipped == len(UNITS)
    assert summary.is_complete
    assert steps(tmp_path / "run") == steps(whole)


def test_every_line_is_a_record_of_the_schema(whole: Path) -> None:
    for line in steps(whole).splitlines():
        record = decode_record(line)
        assert isinstance(record, StepRecord)
        assert record.provenance.rollouts
        assert record.labels.odds_of_success == pytest.approx(
            record.provenance.successes / record.provenance.rollouts, abs=1e-6
        )


def test_order_of_finishing_does_not_change_the_file(whole: Path, tmp_path: Path) -> None:
    collected(tmp_path / "run", HereEngine(step=4))

    assert steps(tmp_path / "run") == steps(whole)


def test_processes_give_the_same_file(whole: Path, tmp_path: Path) -> None:
    collected(tmp_path / "run", ProcessEngine(lock_worker, 2))

    assert steps(tmp_path / "run") == steps(whole)


def test_killed_process_costs_nothing(whole: Path, tmp_path: Path) -> None:
    make = MakeDying(Unit("hard", 2), tmp_path / "died")

    summary = collected(tmp_path / "run", ProcessEngine(make, 2))

    assert (tmp_path / "died").exists()
    assert summary.failed == 0
    assert steps(tmp_path / "run") == steps(whole)


def test_unit_that_kills_every_process_fails_alone(whole: Path, tmp_path: Path) -> None:
    make = MakeDying(Unit("hard", 2), tmp_path / "died", always=True)

    summary = collected(tmp_path / "run", ProcessEngine(make, 2))

    assert (summary.failed, summary.is_complete) == (1, False)
    again = collected(tmp_path / "run", resume=True)
    assert again.is_complete
    assert sorted(steps(tmp_path / "run").splitlines()) == sorted(steps(whole).splitlines())


def test_worker_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="there is no lock"):
        collected(tmp_path / "run", ProcessEngine(broken_worker, 2))


def test_environment_that_always_fails_ends_the_run(tmp_path: Path) -> None:
    units = [Unit("unknown", seed) for seed in range(9)]

    with pytest.raises(EnvError, match="5 episodes failed one after another"):
        collect(HereEngine(), units, out=tmp_path / "run", plan={})


def test_interrupted_run_goes_on(whole: Path, tmp_path: Path) -> None:
    def stop(now: CollectProgress) -> None:
        if now.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collected(tmp_path / "run", report=stop)
    assert len((tmp_path / "run" / "episodes.jsonl").read_bytes().splitlines()) == 5

    collected(tmp_path / "run", resume=True)

    assert steps(tmp_path / "run") == steps(whole)


def test_max_labels_stops_after_the_episode_that_reaches_them(whole: Path, tmp_path: Path) -> None:
    summary = collected(tmp_path / "run", HereEngine(step=3), max_labels=50)

    assert summary.labels >= 50
    assert steps(whole).startswith(steps(tmp_path / "run"))
    rows = (tmp_path / "run" / "episodes.jsonl").read_bytes().splitlines()
    assert sum(json.loads(row)["labels"] for row in rows[:-1]) < 50


KILLED = """
import sys
from pathlib import Path
from collect_fakes import slow_worker
from similar_fast.collect.collector import collect
from similar_fast.collect.processes import ProcessEngine
from test_collect import PLAN, UNITS

if __name__ == "__main__":
    collect(ProcessEngine(slow_worker, 2), UNITS, out=Path(sys.argv[1]), plan=PLAN,
            report=lambda now: print(now.done, flush=True))
"""


@pytest.mark.parametrize("done", [1, 4, 7])
def test_kill_9_loses_and_doubles_nothing(whole: Path, tmp_path: Path, done: int) -> None:
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "run")], stdout=subprocess.PIPE, env=env
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < done:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    collected(tmp_path / "run", HereEngine(slow_worker), resume=True)

    assert steps(tmp_path / "run") == steps(whole)


@pytest.mark.parametrize("tail", [b'{"task": "easy", "se', b'{"task": "easy", "seed": 0}'])
def test_torn_last_line_is_made_again(whole: Path, tmp_path: Path, tail: bytes) -> None:
    collected(tmp_path / "run", max_labels=50)
    for name, rest in (("episodes.jsonl", tail), ("steps.jsonl", b'{"kind": "st')):
        with (tmp_path / "run" / name).open("ab") as stream:
            stream.write(rest)

    collected(tmp_path / "run", resume=True)

    assert steps(tmp_path / "run") == steps(whole)


def test_folder_with_a_collection_is_not_written_over(whole: Path) -> None:
    with pytest.raises(FileExistsError, match="holds a collection"):
        collected(whole)


def test_resume_with_another_plan_names_what_differs(whole: Path) -> None:
    with pytest.raises(DataError, match="begun with another seeds"):
        collect(HereEngine(), UNITS, out=whole, plan={**PLAN, "seeds": [7]}, resume=True)


def test_altered_journal_is_refused(tmp_path: Path) -> None:
    collected(tmp_path / "run", max_labels=50)
    path = tmp_path / "run" / "episodes.jsonl"
    path.write_bytes(b"nonsense\n" + path.read_bytes())

    with pytest.raises(DataError, match=r"episodes.jsonl:1: not an episode"):
        collected(tmp_path / "run", resume=True)


def test_missing_steps_are_refused(tmp_path: Path) -> None:
    collected(tmp_path / "run", max_labels=50)
    (tmp_path / "run" / "steps.jsonl").write_bytes(b"")

    with pytest.raises(DataError, match="it has 0 bytes"):
        collected(tmp_path / "run", resume=True)


def test_two_collections_in_one_folder_are_refused(tmp_path: Path) -> None:
    first = Journal(tmp_path, PLAN, resume=False)

    with pytest.raises(DataError, match="another process is writing"):
        Journal(tmp_path, PLAN, resume=True)
    first.close()


def test_manifest_says_what_is_there(whole: Path) -> None:
    manifest = write_manifest(whole)

    assert manifest == json.loads((whole / "manifest.json").read_text())
    assert manifest["steps"]["labels"] == len(steps(whole).splitlines())
    assert sum(manifest["labels_by_task"].values()) == manifest["steps"]["labels"]
    assert manifest["versions"] == ["lock=1"]
    assert manifest["labels"]["pearson"][1][1] == 1.0


def test_statistics_by_hand() -> None:
    def record(helpfulness: float, odds: float | None) -> StepRecord:
        labels = Labels(helpfulness=helpfulness, odds_of_success=odds, efficiency=0.5)
        return StepRecord(
            environment="e", task="t", trajectory="t", step=1, instruction="i", action="a",
            labels=labels,
        )  # fmt: skip

    found = label_statistics([record(0.0, 0.0), record(1.0, 1.0), record(-1.0, None)])

    assert found["spread"]["helpfulness"]["n"] == 3
    assert found["spread"]["odds of success"] == {
        "n": 2, "mean": 0.5, "std": 0.5, "quantiles": [0.05, 0.25, 0.5, 0.75, 0.95],
    }  # fmt: skip
    assert found["spread"]["coherence"] == {"n": 0}
    assert found["pearson"][0][1] == 1.0
    assert found["pearson"][0][2] is None  # a constant column


@pytest.fixture(scope="module")
def browser_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path, dict[str, Any]]:
    """A collection by the command in a browser: its words, its folder and what it said."""
    run = tmp_path_factory.mktemp("browser") / "run"
    words = ["collect", "--tasks", "choose-list,login-user", "--seeds", "1000", "--num-simulations"]
    words += ["3", "--root-rollouts", "4", "--json", "--out", str(run)]
    with redirect_stdout(StringIO()) as said:
        assert main(words) == 0
    return words, run, json.loads(said.getvalue())


@pytest.mark.browser
def test_command_collects_in_a_browser_and_resumes(
    browser_run: tuple[list[str], Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words, _, first = browser_run

    assert main([*words, "--resume"]) == 0
    again = json.loads(capsys.readouterr().out)

    assert first["labels"] == again["labels"] == first["manifest"]["steps"]["labels"] > 5
    assert again["new_labels"] == 0
    assert first["counts"]["diverged"] == 0
    assert main(words) == 3
    assert "holds a collection" in capsys.readouterr().err


def test_command_refuses_an_unknown_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--tasks", "clik-tab-2", "--out", str(tmp_path / "run")]) == 3

    assert "click-tab-2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_units_of_records_name_every_action_once(whole: Path) -> None:
    records = [decode_record(line) for line in steps(whole).splitlines()]

    units = units_of_records(records)
    some = units_of_records(records, sample=7)

    assert {(u.task, u.seed) for u in units} <= {(u.task, u.seed) for u in UNITS}
    assert sum(len(u.targets) for u in units) == len(records)
    assert sum(len(u.targets) for u in some) == 7
    assert units_of_records(records, sample=7) == some
    assert units_of_records(records, sample=7, seed=1) != some


def test_units_of_a_whole_trajectory_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be labelled again"):
        units_of_records([TRAJECTORY_PAIR])


def test_picture_that_cannot_be_taken_says_why(whole: Path) -> None:
    records = [decode_record(line) for line in steps(whole).splitlines()[:1]]
    other = msgspec.structs.replace(records[0], observation="other words")
    gone = msgspec.structs.replace(records[0], history=("click z",))

    found = [next(take_pictures(LockEnv(), [r], keep=str)) for r in (records[0], other, gone)]

    assert [picture.name for picture in found] == [None] * 3
    assert [picture.problem for picture in found] == [
        "the environment has no pictures",
        "the screen's words are not those of the record",
        "the screen does not offer 'click z'",
    ]


@pytest.mark.browser
def test_commands_label_again_and_take_pictures(
    browser_run: tuple[list[str], Path, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    how = ["--num-simulations", "4", "--root-rollouts", "4", "--workers", "1", "--json"]
    source = str(browser_run[1] / "steps.jsonl")

    again = ["collect", "--targets", source, "--sample", "3", "--seed", "1", *how]
    assert main([*again, "--out", str(tmp_path / "again")]) == 0
    relabelled = json.loads(capsys.readouterr().out)
    out = tmp_path / "pictures.jsonl"
    words = ["screenshots", source, "--store", str(tmp_path / "store"), "--out", str(out)]
    assert main([*words, "--json"]) == 0
    taken = json.loads(capsys.readouterr().out)

    assert relabelled["labels"] == 3
    assert relabelled["counts"]["missing"] == 0
    assert taken["missed"] == []
    store = ScreenshotStore(tmp_path / "store")
    names = {record.screenshot for record in read_data(out)}  # type: ignore[union-attr]
    assert len(names) == taken["pictures"] > 1
    assert all(name and store.open(name).startswith(b"\x89PNG") for name in names)


def test_targets_beside_tasks_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["collect", "--targets", "x.jsonl", "--tasks", "train", "--out", str(tmp_path / "run")]

    assert main(words) == 3

    assert "--targets names its own tasks" in capsys.readouterr().err


def test_reward_model_plays_the_rollouts_of_a_second_round(exported: Export) -> None:
    _, folder = exported("bert")
    # Weights drawn at random know nothing: a high temperature lets chance find the way.
    how = replace(SETTINGS, temperature=1e6, root_rollouts=600)
    spec = WorkerSpec(settings=how, model=folder, device="cpu")
    model = RewardModel(folder, providers="cpu")
    with Worker(LockEnv(), model, how, policy=spec.policy, model="m") as worker:
        found = worker.label(Unit("easy", 0))

    record = decode_record(found.lines[0])
    assert found.status == "labelled"
    assert record.provenance.policy.startswith("reward:")
    assert record.provenance.model == "m"


def test_spec_can_be_sent_to_another_process() -> None:
    spec = WorkerSpec(settings=SETTINGS, llm=LlmSpec(url="http://x/v1", model="m", judges=True))

    assert pickle.loads(pickle.dumps(spec)) == spec  # noqa: S301  # our own bytes


@pytest.mark.parametrize(
    "words",
    [["--judge", "llm"], ["--proposer", "llm", "--llm-model", "m"], ["--llm-url", "http://x/v1"]],
)
def test_language_model_that_is_half_named_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["collect", "--out", str(tmp_path / "run"), *words]) == 3

    assert "--llm-url" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
