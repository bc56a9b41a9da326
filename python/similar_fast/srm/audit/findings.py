"""What an audit says: a finding, its place in a file, and how examples are gathered."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from similar_fast.metrics.record import Record

__all__ = ["SEVERITIES", "Example", "Finding", "Place", "Severity", "Tally", "share"]

Severity = Literal["fault", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("fault", "warning", "note")
"""From the worst to the mildest."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands.

    Attributes:
        path: The file.
        line: Its 1-based line; None where it is not known.
    """

    path: Path
    line: int | None = None

    def __str__(self) -> str:
        return str(self.path) if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Example(Record):
    """One case of a finding.

    Attributes:
        place: `FILE:LINE`, or the file alone.
        words: What stands there.
    """

    place: str
    words: str


@dataclass(frozen=True, slots=True)
class Finding(Record):
    """What one check found.

    Attributes:
        check: The check's name, a key of `similar_fast.srm.audit.report.CHECKS`.
        severity: `fault`: the data is wrong; `warning`: a figure made with it may mislead; `note`:
            worth knowing.
        count: How many cases there are, in the unit that `words` names; at least 1.
        words: What was found, in one line.
        examples: The first cases, in the order of the files.
    """

    check: str
    severity: Severity
    count: int
    words: str
    examples: tuple[Example, ...] = ()


@dataclass(slots=True)
class Tally:
    """Cases of one kind: all are counted, the first are kept.

    Attributes:
        limit: How many examples are kept, at least 0.
        count: Cases so far.
        examples: The kept ones.
    """

    limit: int
    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, place: Place, words: str) -> None:
        """Counts one case; what reads as the example before it is not shown again."""
        self.count += 1
        if len(self.examples) < self.limit:
            example = Example(str(place), words)
            if example not in self.examples:
                self.examples.append(example)

    def findings(self, check: str, severity: Severity, *, words: str) -> list[Finding]:
        """The one finding, or none where nothing was counted."""
        if not self.count:
            return []
        return [Finding(check, severity, self.count, words, tuple(self.examples))]


def share(part: int, whole: int) -> str:
    """`part` of `whole` in words: `3 of 12 (25%)`."""
    return f"{part:,} of {whole:,} ({part / max(whole, 1):.0%})"
