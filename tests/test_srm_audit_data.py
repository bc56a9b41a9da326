"""The audit of the published data, held against the figures that are known of it."""

import os
from pathlib import Path

import pytest
from audited import of_check, write_rows
from similar_fast.records import TrajectoryRecord
from similar_fast.srm.audit.report import AuditReport, audit_data
from similar_fast.srm.pairs import pairs_of_trajectories
from similar_fast.srm.readers import read_data

FOLDER = os.environ.get("SIMILAR_FAST_SRM_DATA")

pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="did not run: SIMILAR_FAST_SRM_DATA names no folder of published data"
)


@pytest.fixture(scope="module")
def report() -> AuditReport:
    names = ("webarena", "osworld_linux", "osworld_windows")
    return audit_data([Path(str(FOLDER)) / f"{name}.jsonl" for name in names])


def words_of(report: AuditReport, check: str, part: str) -> str:
    (found,) = (f.words for f in of_check(report, check) if part in f.words)
    return found


def test_every_record_is_read(report: AuditReport) -> None:
    assert (report.n_trajectories, report.n_steps) == (687, 3557)
    assert of_check(report, "bad-rows") == []


def test_repeated_steps_conflict_as_known(report: AuditReport) -> None:
    words = words_of(report, "conflicting-labels", "webarena eval")

    assert "112 of 144 (78%)" in words
    assert "H 78%" in words
    assert "E 78%" in words


def test_step_pairs_differ_in_an_element_as_known(report: AuditReport) -> None:
    words = words_of(report, "near-identical", "step pairs of webarena eval")

    assert "H 29%, OS 29%, E 29%, TR 29%, C 40%" in words


def test_the_longer_action_goes_as_far_as_known(report: AuditReport) -> None:
    (rule,) = (
        s
        for s in report.shortcuts
        if (s.environment, s.rule, s.fixed_on) == ("webarena", "length", "eval")
    )

    train, held = rule.judged
    assert rule.prefers == "longer action"
    assert held.macro == pytest.approx(0.64, abs=0.005)
    assert 0.41 <= train.macro <= 0.5
    assert (held.n, train.n) == (2088, 4315)


def test_missing_steps_are_found(report: AuditReport) -> None:
    counts = {finding.words: finding.count for finding in of_check(report, "step-numbers")}

    assert counts["trajectories do not begin with step 1"] == 34
    assert counts["trajectories lack a step in the middle"] == 5


def test_no_task_is_in_both_splits(report: AuditReport) -> None:
    assert [f.words.split(" ")[0] for f in of_check(report, "leaks")] == ["instructions"]


@pytest.mark.parametrize(("name", "lost"), [("webarena", 1088), ("osworld_linux", 131)])
def test_the_pairs_that_the_published_builder_loses_are_counted(
    name: str, lost: int, tmp_path: Path
) -> None:
    source = Path(str(FOLDER)) / f"{name}.jsonl"
    trajectories = [r for r in read_data(source) if isinstance(r, TrajectoryRecord)]
    published = write_rows(
        tmp_path / "published.jsonl", pairs_of_trajectories(trajectories, as_published=True)
    )
    mended = write_rows(tmp_path / "mended.jsonl", pairs_of_trajectories(trajectories))

    found = audit_data([published, source], only=["lost-pairs"]).findings

    assert {f.count for f in found if "that the trajectories make" in f.words} == {lost}
    assert audit_data([mended, source], only=["lost-pairs"]).findings == ()
