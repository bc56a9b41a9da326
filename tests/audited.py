"""Labelled data in which an audit finds nothing, to plant faults in."""

import random
import string
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace
from similar_fast.records import (
    Labels,
    PairRecord,
    Record,
    StepRecord,
    TrajectoryRecord,
    TrajectoryStep,
    encode_record,
)
from similar_fast.srm.audit.findings import Finding, Place
from similar_fast.srm.audit.report import AuditReport, run_checks
from similar_fast.srm.audit.rows import AuditData
from similar_fast.srm.pairs import pairs_of_trajectories

NOWHERE = Path("rows.jsonl")


def word(rng: random.Random, length: int = 6) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=length))


def labels(rng: random.Random) -> Labels:
    """Drawn so that no label is the inverse of a length."""
    return Labels(
        helpfulness=rng.uniform(0.51, 0.99) * rng.choice((-1, 1)),
        odds_of_success=rng.choice((0.0, 0.25, 0.5, 0.75, 1.0)),
        efficiency=rng.uniform(-0.9, 0.9),
        task_relevance=float(rng.random() < 0.5),
        coherence=float(rng.random() < 0.5),
    )


def clean_trajectories(*, num_tasks: int = 12, seed: int = 0) -> list[TrajectoryRecord]:
    """Four trajectories a task, of two splits, that part at the second of three steps."""
    rng = random.Random(seed)
    found = []
    for task in range(num_tasks):
        instruction, first, first_labels = f"find {word(rng)}", f"click {word(rng)}", labels(rng)
        for name in range(1, 5):
            steps = [TrajectoryStep(step=1, action=first, labels=first_labels)]
            steps += [
                TrajectoryStep(step=number, action=f"click {word(rng)}", labels=labels(rng))
                for number in (2, 3)
            ]
            found.append(
                TrajectoryRecord(
                    environment="webarena",
                    task=f"task-{task}",
                    trajectory=f"task-{task}_{name}",
                    split="eval" if task % 3 == 0 else "train",
                    instruction=instruction,
                    steps=tuple(steps),
                )
            )
    return found


def clean_pairs(
    trajectories: Sequence[TrajectoryRecord] | None = None, *, as_published: bool = False
) -> list[PairRecord]:
    """The pairs of the clean trajectories."""
    whole = clean_trajectories() if trajectories is None else trajectories
    return [
        pair
        for split in ("train", "eval")
        for pair in pairs_of_trajectories(
            [record for record in whole if record.split == split], as_published=as_published
        )
    ]


def clean_steps() -> list[StepRecord]:
    """The steps of the clean trajectories, one a record."""
    return [
        StepRecord(
            environment=record.environment,
            task=record.task,
            trajectory=record.trajectory,
            split=record.split,
            instruction=record.instruction,
            step=step.step,
            action=step.action,
            labels=step.labels,
            history=tuple(earlier.action for earlier in record.steps[: step.step - 1]),
        )
        for record in clean_trajectories()
        for step in record.steps
    ]


def with_step(record: TrajectoryRecord, index: int, **changes: object) -> TrajectoryRecord:
    """The trajectory with one of its steps changed."""
    steps = list(record.steps)
    steps[index] = replace(steps[index], **changes)
    return replace(record, steps=tuple(steps))


def audit_records(
    records: Iterable[Record], *, only: Sequence[str] | None = None, max_examples: int = 3
) -> AuditReport:
    """The audit of records as if they stood in the lines of one file."""
    placed = tuple((Place(NOWHERE, line), record) for line, record in enumerate(records, 1))
    return run_checks(AuditData((), placed), only=only, max_examples=max_examples)


def of_check(report: AuditReport, check: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.check == check]


def write_rows(path: Path, records: Iterable[Record]) -> Path:
    path.write_bytes(b"".join(encode_record(record) + b"\n" for record in records))
    return path
