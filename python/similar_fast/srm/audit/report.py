"""The audit: every check by its name, what they found, and what a reader is told first."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from similar_fast.metrics.record import Record
from similar_fast.srm.audit.broken_text import broken_text
from similar_fast.srm.audit.contradictions import conflicting_labels, near_identical
from similar_fast.srm.audit.duplicates import duplicates
from similar_fast.srm.audit.findings import SEVERITIES, Finding, Place, Severity, Tally
from similar_fast.srm.audit.labels import (
    future_labels,
    label_order,
    label_range,
    missing_labels,
    pair_sides,
    swapped_columns,
)
from similar_fast.srm.audit.leaks import leaks
from similar_fast.srm.audit.lost import lost_pairs
from similar_fast.srm.audit.rows import AuditData, load, sample_notes
from similar_fast.srm.audit.shortcuts import Shortcut, measure_shortcuts, shortcut_findings
from similar_fast.srm.audit.steps import step_numbers

__all__ = ["CHECKS", "AuditReport", "audit_data", "run_checks"]

Check = Callable[[AuditData, int], list[Finding]]
"""A check: the data and the most examples a finding may have; its findings."""


def bad_rows(data: AuditData, limit: int) -> list[Finding]:
    """Rows that are no record: broken, cut off, of a wrong type."""
    tally = Tally(limit)
    for error in data.bad:
        place = Place(error.path or Path(), error.line)
        tally.add(place, str(error).removeprefix(f"{place}: "))
    return tally.findings("bad-rows", "fault", words="rows are no records, and were left out")


def shortcuts(data: AuditData, limit: int) -> list[Finding]:
    """Rules that understand nothing and beat chance, or shift between the splits."""
    return _shortcuts(data, measure_shortcuts(data), limit)


def _shortcuts(data: AuditData, measured: Sequence[Shortcut], limit: int) -> list[Finding]:
    return [*shortcut_findings(measured, limit), *sample_notes(data, "shortcuts")]


CHECKS: dict[str, Check] = {
    "bad-rows": bad_rows,
    "pair-sides": pair_sides,
    "swapped-columns": swapped_columns,
    "label-order": label_order,
    "lost-pairs": lost_pairs,
    "leaks": leaks,
    "duplicates": duplicates,
    "label-range": label_range,
    "missing-labels": missing_labels,
    "step-numbers": step_numbers,
    "encodings": broken_text,
    "near-identical": near_identical,
    "conflicting-labels": conflicting_labels,
    "future-labels": future_labels,
    "shortcuts": shortcuts,
}
"""Every check by its name, in the order in which they run."""


@dataclass(frozen=True, slots=True)
class AuditReport(Record):
    """What an audit found.

    Attributes:
        files: The files, in the order given.
        checks: The checks that ran.
        n_pairs: Pairs that the files hold.
        n_trajectories: Trajectories that they hold.
        n_steps: Steps that they hold, alone or in trajectories.
        findings: What was found, the worst first.
        shortcuts: How far each rule goes; empty where that check did not run.
    """

    files: tuple[str, ...]
    checks: tuple[str, ...]
    n_pairs: int
    n_trajectories: int
    n_steps: int
    findings: tuple[Finding, ...]
    shortcuts: tuple[Shortcut, ...]

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found but notes."""
        return all(finding.severity == "note" for finding in self.findings)


def audit_data(
    files: Sequence[Path],
    *,
    only: Collection[str] | None = None,
    max_examples: int = 3,
    progress: Callable[[str], None] = lambda _: None,
) -> AuditReport:
    """Audits labelled data, all files together.

    A row that cannot be read is a finding and stops nothing. O(rows), but where trajectories stand
    beside pairs: those that they make grow with the square of a task's trajectories.

    Args:
        files: What `similar_fast.srm.readers.read_data` reads; at least one.
        only: Names of `CHECKS`; None runs all.
        max_examples: The most examples of a finding, at least 0.
        progress: Told what is being done, before each file and check and every 5,000 records.

    Raises:
        OSError: A file cannot be read.
        ValueError: There is no file, a check is unknown, or `max_examples` is negative.
    """
    if not files:
        raise ValueError("there is no file to audit; expected at least one")
    if max_examples < 0:
        raise ValueError(f"max_examples must be at least 0, got {max_examples}")
    if unknown := sorted(set(only or ()) - set(CHECKS)):
        raise ValueError(f"there is no check {unknown[0]!r}; expected one of {', '.join(CHECKS)}")
    return run_checks(
        load(files, progress=progress), only=only, max_examples=max_examples, progress=progress
    )


def run_checks(
    data: AuditData,
    *,
    only: Collection[str] | None = None,
    max_examples: int = 3,
    progress: Callable[[str], None] = lambda _: None,
) -> AuditReport:
    """As `audit_data`, for records that are read already."""
    names = [name for name in CHECKS if only is None or name in only]
    found: list[Finding] = []
    measured: list[Shortcut] = []
    for name in names:
        progress(name)
        if name == "shortcuts":
            measured = measure_shortcuts(data)
            found += _shortcuts(data, measured, max_examples)
        else:
            found += CHECKS[name](data, max_examples)
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return AuditReport(
        files=tuple(map(str, data.files)),
        checks=tuple(names),
        n_pairs=len(data.all_pairs),
        n_trajectories=len(data.trajectories),
        n_steps=len(data.steps),
        findings=tuple(found),
        shortcuts=tuple(measured),
    )
