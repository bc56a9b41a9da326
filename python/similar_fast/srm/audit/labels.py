"""Checks of the labels: missing, out of range, in the wrong order, giving the future away."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from similar_fast.dimensions import DIMENSION_INFO, DIMENSIONS, Dimension
from similar_fast.srm.audit.findings import Finding, Place, Tally, share
from similar_fast.srm.audit.rows import AuditData, PairRow, Run
from similar_fast.srm.audit.texts import versus

__all__ = [
    "future_labels",
    "label_order",
    "label_range",
    "missing_labels",
    "pair_sides",
    "swapped_columns",
]

_BINARY = (Dimension.TASK_RELEVANCE, Dimension.COHERENCE)
_FUTURE_SHARE = 0.25
_MIN_RUNS = 3
_WHOLE = 1e-6


def swapped_columns(data: AuditData, limit: int) -> list[Finding]:
    """Pairs whose action columns name the other action as better than their messages do."""
    tally, types = Tally(limit), Counter[str]()
    for row in data.pairs:
        if row.record.columns_swapped:
            types[DIMENSION_INFO[row.record.type].symbol] += 1
            tally.add(row.place, f"{row.record.type}: {_sides(row)}")
    by_type = ", ".join(f"{symbol} {number:,}" for symbol, number in types.most_common())
    words = f"pairs whose chosen_action and rejected_action contradict the messages ({by_type})"
    return tally.findings("swapped-columns", "fault", words=words)


def pair_sides(data: AuditData, limit: int) -> list[Finding]:
    """Pairs that compare no two actions or trajectories; no other check sees the first kind."""
    odd, alike = Tally(limit), Tally(limit)
    for row in data.all_pairs:
        record = row.record
        if not row.has_sides:
            sizes = f"{len(record.chosen)} and {len(record.rejected)} actions"
            odd.add(row.place, f"{record.type} of {sizes}")
        elif record.chosen == record.rejected:
            alike.add(row.place, f"{record.type}: {_sides(row)}")
    return [
        *odd.findings(
            "pair-sides", "fault", words="pairs without one action (or a trajectory) on each side"
        ),
        *alike.findings("pair-sides", "fault", words="pairs whose two sides are the same"),
    ]


def label_order(data: AuditData, limit: int) -> list[Finding]:
    """Pairs whose chosen label is below the rejected one, or equal to it."""
    lower, equal = Tally(limit), Tally(limit)
    for row in data.pairs:
        chosen, rejected = row.record.chosen_label, row.record.rejected_label
        if chosen is None or rejected is None:
            continue
        if chosen < rejected:
            lower.add(
                row.place,
                f"{row.record.type} {chosen:g} < {rejected:g}: {_sides(row)}",
            )
        elif chosen == rejected:
            equal.add(
                row.place,
                f"{row.record.type} {chosen:g}: {_sides(row)}",
            )
    return [
        *lower.findings(
            "label-order", "fault", words="pairs whose chosen label is below the rejected label"
        ),
        *equal.findings("label-order", "warning", words="pairs whose two labels are equal"),
    ]


def label_range(data: AuditData, limit: int) -> list[Finding]:
    """Labels that no formula gives: outside their range, neither 0 nor 1, not finite.

    Odds of success lie in [0, 1]; helpfulness and efficiency about [-1, 1], where a label beyond is
    a warning; the two judged ones are 0 or 1. Scaled labels have the range times their weight.
    """
    wrong, wide = Tally(limit), Tally(limit)
    for place, dimension, value, is_scaled in _labels(data):
        if math.isnan(value):
            continue
        weight = DIMENSION_INFO[dimension].weight if is_scaled else 1.0
        if not math.isfinite(value):
            wrong.add(place, f"{dimension} is {value}; expected a finite number")
        elif dimension in _BINARY:
            if value not in {0.0, 1.0}:
                wrong.add(place, f"{dimension} is {value:g}; expected 0 or 1")
        elif dimension is Dimension.ODDS_OF_SUCCESS:
            if not 0 <= value <= weight:
                wrong.add(place, f"{dimension} is {value:g}; expected [0, {weight:g}]")
        elif dimension in DIMENSIONS and abs(value) > weight + 1e-9:
            wide.add(place, f"{dimension} is {value:g}; expected about [-{weight:g}, {weight:g}]")
    return [
        *wrong.findings("label-range", "fault", words="labels out of range"),
        *wide.findings(
            "label-range", "warning", words="labels of helpfulness or efficiency beyond the usual"
        ),
    ]


def missing_labels(data: AuditData, limit: int) -> list[Finding]:
    """Labels that are not there; a note where a dimension has none at all."""
    absent: dict[Dimension, Tally] = {}
    seen = Counter[Dimension]()
    for place, dimension, value, _ in _labels(data):
        seen[dimension] += 1
        if math.isnan(value):
            absent.setdefault(dimension, Tally(limit)).add(place, f"no label of {dimension}")
    found: list[Finding] = []
    for dimension, tally in absent.items():
        is_whole = tally.count == seen[dimension]
        words = f"labels of {dimension} are missing: {share(tally.count, seen[dimension])}"
        found += tally.findings("missing-labels", "note" if is_whole else "warning", words=words)
    return found


def future_labels(data: AuditData, limit: int) -> list[Finding]:
    """Trajectories whose length stands in their labels: 1/H is the number of their steps.

    Or one less, where the action that ends the episode was not counted.

    Source: H_1 = 1 / M for a first step that succeeds (Miao et al. 2025, section 3.2); with one
    rollout a candidate M is the length of the very trajectory.
    """
    tally, seen = Tally(limit), 0
    for run in data.runs:
        told = _told_length(run)
        if told is None:
            continue
        seen += 1
        length = max(row.step for row in run.steps)
        if told in {length, length - 1}:
            tally.add(run.place, f"1/H = {told}, and {run.steps[0].run[3]!r} has {length} steps")
    if seen < _MIN_RUNS or tally.count < _FUTURE_SHARE * seen:
        return []
    words = (
        "trajectories whose length 1/H gives away, which is not known when the action is chosen: "
        f"{share(tally.count, seen)} of those with a helpful step"
    )
    return tally.findings("future-labels", "note", words=words)


def _told_length(run: Run) -> int | None:
    """1/H of the first helpful step, -1 where it is no whole number; None where none is told."""
    for row in sorted(run.steps, key=lambda row: row.step):
        value = row.labels.helpfulness
        # Scaled labels are rounded and tell no length; neither does a step that does all at once.
        if value is None or not 0 < value < 1 or row.is_scaled:
            continue
        return round(1 / value) if abs(1 / value - round(1 / value)) < _WHOLE else -1
    return None


def _labels(data: AuditData) -> Iterator[tuple[Place, Dimension, float, bool]]:
    """Every label of the files: place, dimension, value (NaN where missing), whether scaled."""
    for row in data.steps:
        for dimension, value in zip(DIMENSIONS, row.labels.values(), strict=True):
            yield row.place, dimension, value, row.is_scaled
    scaled = _scaled_environments(data.pairs)
    for pair in data.pairs:
        record = pair.record
        for label in (record.chosen_label, record.rejected_label):
            value = math.nan if label is None else label
            yield pair.place, record.type, value, record.environment in scaled


def _scaled_environments(pairs: Iterable[PairRow]) -> set[str]:
    """Environments whose pairs have labels of upstream's scale: whole numbers, some above 1."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for row in pairs:
        if row.record.type is Dimension.ODDS_OF_SUCCESS:
            for label in (row.record.chosen_label, row.record.rejected_label):
                if label is not None and math.isfinite(label):
                    values[row.record.environment].append(label)
    return {
        name
        for name, labels in values.items()
        if max(labels) > 1 and all(label.is_integer() for label in labels)
    }


def _sides(row: PairRow) -> str:
    return versus(row.record.chosen, row.record.rejected)
