"""Labels that contradict each other: near-identical pairs, and one step with several labels."""

from collections import Counter, defaultdict
from itertools import chain
from math import isnan

from similar_fast.dimensions import DIMENSION_INFO, DIMENSIONS, Dimension
from similar_fast.srm.audit.findings import Finding, Severity, Tally, share
from similar_fast.srm.audit.rows import AuditData, PairRow, StepRow, part_name, sample_notes
from similar_fast.srm.audit.texts import (
    differs_in_element_only,
    excerpt,
    masked,
    normalised,
    versus,
)

__all__ = ["conflicting_labels", "near_identical"]

_FEW = 0.01


def near_identical(data: AuditData, limit: int) -> list[Finding]:
    """Pairs that prefer A here and B there but for digits, and pairs that differ in an element.

    Trajectories that came without pairs are made into pairs first. Compared are pairs of one task
    and type; digits are masked in both actions.
    """
    parts: defaultdict[str, list[PairRow]] = defaultdict(list)
    for row in data.compared:
        record = row.record
        if record.type is not Dimension.TRAJECTORY:
            parts[part_name(record.environment, record.platform, record.split)].append(row)
    found = [
        finding
        for name, rows in parts.items()
        for finding in (*_opposite(rows, name, limit), *_element_only(rows, name, limit))
    ]
    return [*found, *sample_notes(data, "near-identical")]


def _opposite(rows: list[PairRow], name: str, limit: int) -> list[Finding]:
    ways: defaultdict[object, dict[tuple[str, ...], list[PairRow]]] = defaultdict(dict)
    for row in rows:
        record = row.record
        chosen, rejected = (tuple(map(masked, s)) for s in (record.chosen, record.rejected))
        if chosen != rejected:
            task = (record.environment, record.platform, record.task, record.seed)
            key = (task, record.type, frozenset((chosen, rejected)))
            ways[key].setdefault(chosen, []).append(row)
    tally = Tally(limit)
    for sides in ways.values():
        if len(sides) == 2:
            first, second = sides.values()
            for row, other in chain(
                ((row, second[0]) for row in first), ((row, first[0]) for row in second)
            ):
                symbol = DIMENSION_INFO[row.record.type].symbol
                words = f"{symbol}: {versus(row.record.chosen, row.record.rejected)}"
                tally.add(row.place, f"{words}, the other way at {other.place}")
    words = (
        f"pairs of {name} contradict a pair of their task that differs in digits at most: "
        f"{share(tally.count, len(rows))}"
    )
    return tally.findings("near-identical", _severity(tally.count, len(rows)), words=words)


def _element_only(rows: list[PairRow], name: str, limit: int) -> list[Finding]:
    tally, found, seen = Tally(limit), Counter[Dimension](), Counter[Dimension]()
    for row in rows:
        record = row.record
        seen[record.type] += 1
        if differs_in_element_only(" ".join(record.chosen), " ".join(record.rejected)):
            found[record.type] += 1
            tally.add(row.place, versus(record.chosen, record.rejected))
    by_type = ", ".join(
        f"{DIMENSION_INFO[kind].symbol} {number / seen[kind]:.0%}" for kind, number in found.items()
    )
    words = (
        f"step pairs of {name} differ in the number of an element only: "
        f"{share(tally.count, len(rows))}; {by_type}"
    )
    return tally.findings("near-identical", _severity(tally.count, len(rows)), words=words)


def conflicting_labels(data: AuditData, limit: int) -> list[Finding]:
    """Steps that are there several times, with different labels: instruction, history and action.

    What is counted are groups of equal steps; a group conflicts in a dimension where two of its
    labels differ. Steps of different seeds or states are not equal.
    """
    parts: defaultdict[str, dict[object, list[StepRow]]] = defaultdict(dict)
    for row in data.steps:
        part = parts[part_name(row.run[0], row.platform, row.split)]
        key = (row.run[2], row.state, normalised(row.instruction), row.history, row.action)
        part.setdefault(key, []).append(row)
    return [
        finding
        for name, groups in parts.items()
        for finding in _conflicts(
            [rows for rows in groups.values() if len(rows) > 1], name=name, limit=limit
        )
    ]


def _conflicts(repeated: list[list[StepRow]], *, name: str, limit: int) -> list[Finding]:
    tally, by_dimension = Tally(limit), Counter[Dimension]()
    for rows in repeated:
        values = _values(rows)
        differing = [dimension for dimension in DIMENSIONS if len(values[dimension]) > 1]
        if differing:
            by_dimension.update(differing)
            shown = "; ".join(
                f"{DIMENSION_INFO[d].symbol} {values[d][0]:.3g} to {values[d][-1]:.3g}"
                for d in differing
            )
            tally.add(rows[1].place, f"{excerpt(rows[1].action)}, as at {rows[0].place}: {shown}")
    by = ", ".join(
        f"{DIMENSION_INFO[d].symbol} {by_dimension[d] / len(repeated):.0%}"
        for d in DIMENSIONS
        if by_dimension[d]
    )
    words = (
        f"repeated steps of {name} (instruction, history, action) have labels that differ: "
        f"{share(tally.count, len(repeated))}; {by}"
    )
    return tally.findings("conflicting-labels", _severity(tally.count, len(repeated)), words=words)


def _values(rows: list[StepRow]) -> dict[Dimension, list[float]]:
    """The distinct known labels of equal steps, in order, by dimension."""
    columns = zip(*(row.labels.values() for row in rows), strict=True)
    return {
        dimension: sorted({value for value in column if not isnan(value)})
        for dimension, column in zip(DIMENSIONS, columns, strict=True)
    }


def _severity(part: int, whole: int) -> Severity:
    return "warning" if part >= _FEW * whole else "note"
