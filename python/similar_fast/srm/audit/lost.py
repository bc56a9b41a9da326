"""Pairs that should be there and are not: the published builder loses them for three types.

Where the second of two trajectories is the better one, its branch for task relevance, coherence and
total repeats the test of the first branch and never fires. What is left shows it: all pairs of such
a type prefer the earlier trajectory, totals are missing where their parts differ, and the
trajectories make pairs that the file does not hold.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from math import inf

from similar_fast.dimensions import DIMENSION_INFO, Dimension
from similar_fast.records import PairRecord
from similar_fast.srm.audit.findings import Finding, Tally
from similar_fast.srm.audit.rows import AuditData, PairRow
from similar_fast.srm.audit.texts import normalised, versus

__all__ = ["lost_pairs"]

_CHECK = "lost-pairs"
_MAX_CHANCE = 0.01
_JUDGED = (Dimension.TASK_RELEVANCE, Dimension.COHERENCE)
_NUMBER = re.compile(r"(\d+)")

# A pair, and whether its better trajectory is the earlier of the two.
_Ordered = tuple[PairRow, bool]


def lost_pairs(data: AuditData, limit: int) -> list[Finding]:
    """Types of which one order is missing, totals that their parts call for, pairs not made."""
    return [*_one_order(data, limit), *_missing_totals(data, limit), *_not_made(data, limit)]


def _one_order(data: AuditData, limit: int) -> list[Finding]:
    """Types whose pairs all prefer one order of the trajectories, though other types do not."""
    is_earlier = _order(data)
    groups: dict[tuple[str, str], dict[Dimension, list[_Ordered]]] = {}
    for row in data.pairs:
        record = row.record
        if record.chosen_trajectory and record.rejected_trajectory:
            group = groups.setdefault((record.environment, record.split), {})
            group.setdefault(record.type, []).append((row, is_earlier(record)))
    return [
        finding
        for (environment, split), types in groups.items()
        for earlier in (True, False)
        for finding in _suspects(
            types, where=f"{environment} {split}".strip(), earlier=earlier, limit=limit
        )
    ]


def _suspects(
    types: Mapping[Dimension, list[_Ordered]], *, where: str, earlier: bool, limit: int
) -> list[Finding]:
    """The types that prefer the earlier (or the later) trajectory alone, if that is no chance."""
    suspects = {t: rows for t, rows in types.items() if all(x is earlier for _, x in rows)}
    others = [x for t, rows in types.items() if t not in suspects for _, x in rows]
    if not suspects or not others:
        return []
    same_way = sum(x is earlier for x in others) / len(others)
    # How likely so many pairs of one order are, were they drawn as the other types' pairs.
    if same_way ** sum(map(len, suspects.values())) >= _MAX_CHANCE:
        return []
    tally = Tally(limit)
    for rows in suspects.values():
        for row, _ in rows:
            tally.add(row.place, _described(row.record))
    symbols = ", ".join(f"{DIMENSION_INFO[t].symbol} {len(rows):,}" for t, rows in suspects.items())
    words = (
        f"pairs of {where} all prefer the {'earlier' if earlier else 'later'} trajectory "
        f"({symbols}); of the other types {same_way:.0%} do: those of the other order are lost"
    )
    return tally.findings(_CHECK, "fault", words=words)


def _order(data: AuditData) -> Callable[[PairRecord], bool]:
    """Whether a pair's better trajectory is the earlier: in the files, else by its name."""
    listed: dict[tuple[str, str, str], int] = {}
    for number, (_, record) in enumerate(data.trajectories):
        listed.setdefault((record.environment, record.task, record.trajectory), number)

    def is_earlier(pair: PairRecord) -> bool:
        names = (pair.chosen_trajectory, pair.rejected_trajectory)
        first, second = (listed.get((pair.environment, pair.task, name)) for name in names)
        if first is not None and second is not None:
            return first < second
        return _natural(names[0]) < _natural(names[1])

    return is_earlier


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts `t_2` before `t_10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBER.split(name)]


def _missing_totals(data: AuditData, limit: int) -> list[Finding]:
    """Couples without a pair of the total, though H, OS and E alone make their totals differ."""
    couples: defaultdict[object, list[PairRow]] = defaultdict(list)
    for row in data.pairs:
        if row.record.type is not Dimension.TRAJECTORY:
            couples[_couple(row.record)].append(row)
    least = _least_margins(data)
    lost, thinned = Tally(limit), Tally(limit)
    for rows in couples.values():
        first = rows[0].record
        types = {row.record.type for row in rows}
        # Two pairs of one type are two couples with one text, and cannot be told apart.
        if Dimension.TOTAL in types or len(types) < len(rows):
            continue
        if _sure_total(rows) > least.get((first.environment, first.split, Dimension.TOTAL), inf):
            # The builder compares two trajectories; candidates of one state share theirs.
            is_of_state = first.chosen_trajectory and (
                first.chosen_trajectory == first.rejected_trajectory
            )
            (thinned if is_of_state else lost).add(rows[0].place, _described(first))
    words = "have no pair of the total, though their H, OS and E call for one"
    return [
        *lost.findings(_CHECK, "fault", words=f"couples of actions {words}"),
        *thinned.findings(
            _CHECK,
            "note",
            words=f"couples of one state {words}, as after `pairs --balance` or `--max-per-state`",
        ),
    ]


def _couple(record: PairRecord) -> object:
    """What the pairs of one couple of actions share, whichever is better."""
    return (
        record.environment,
        record.task,
        record.split,
        # A published state names the two trajectories, and may name the better one first.
        tuple(sorted(record.state.split("_"))),
        record.instruction,
        record.step,
        record.history,
        frozenset((record.chosen, record.rejected)),
        frozenset((record.chosen_trajectory, record.rejected_trajectory)),
    )


def _least_margins(data: AuditData) -> dict[tuple[str, str, Dimension], float]:
    """By environment, split and type the least difference of labels that has a pair.

    A couple that differs by less may have been left out on purpose.
    """
    least: dict[tuple[str, str, Dimension], float] = {}
    for row in data.pairs:
        record = row.record
        key = (record.environment, record.split, record.type)
        margin = _margin(record)
        if margin is not None:
            least[key] = min(least.get(key, inf), abs(margin))
    return least


def _sure_total(rows: list[PairRow]) -> float:
    """The least difference of totals that a couple's pairs allow; -inf where they say nothing.

    A type without a pair is one whose labels are equal, but a judged one, which may be lost as
    well, differs by at most 1.
    """
    reference = rows[0].record.chosen
    total, unknown = 0.0, float(len(_JUDGED))
    for row in rows:
        record = row.record
        margin = _margin(record)
        if margin is None:
            return -inf
        sign = 1 if record.chosen == reference else -1
        total += sign * margin * DIMENSION_INFO[record.type].weight
        unknown -= record.type in _JUDGED
    return abs(total) - unknown


def _margin(record: PairRecord) -> float | None:
    if record.chosen_label is None or record.rejected_label is None:
        return None
    return record.chosen_label - record.rejected_label


def _not_made(data: AuditData, limit: int) -> list[Finding]:
    """Pairs that the trajectories make and the files do not hold, of types and tasks with pairs."""
    held = Counter(_text_key(row.record) for row in data.pairs)
    made = Counter(_text_key(row.record) for row in data.derived) if held else Counter[object]()
    # Where few of the pairs come of these trajectories, both were given for some other reason.
    if not made or 2 * (held & made).total() < held.total():
        return []
    least = _least_margins(data)
    missing: defaultdict[tuple[str, str, Dimension], list[PairRow]] = defaultdict(list)
    instructions = {normalised(row.record.instruction) for row in data.pairs}
    for row in data.derived:
        record = row.record
        key = _text_key(record)
        held[key] -= 1
        part = (record.environment, record.split, record.type)
        if held[key] < 0 and part in least and normalised(record.instruction) in instructions:
            missing[part].append(row)
    tally, by_type = Tally(limit), Counter[str]()
    for part, rows in missing.items():
        # All below what the pairs at hand differ by: they were left out on purpose.
        if max(abs(_margin(row.record) or 0.0) for row in rows) < least[part]:
            continue
        by_type[DIMENSION_INFO[part[2]].symbol] += len(rows)
        for row in rows:
            tally.add(row.place, _described(row.record))
    symbols = ", ".join(f"{symbol} {number:,}" for symbol, number in by_type.most_common())
    words = f"pairs that the trajectories make are not in the files ({symbols})"
    return tally.findings(_CHECK, "fault", words=words)


def _text_key(record: PairRecord) -> object:
    """A pair as every form tells it: the published ones do not name tasks and trajectories."""
    return (
        record.type,
        record.step,
        normalised(record.instruction),
        tuple(map(normalised, record.chosen)),
        tuple(map(normalised, record.rejected)),
    )


def _described(record: PairRecord) -> str:
    return f"{DIMENSION_INFO[record.type].symbol}: {versus(record.chosen, record.rejected)}"
