"""What stands in the files twice: rows, pairs both ways round, trajectories under two names."""

from collections.abc import Hashable
from hashlib import blake2b

from similar_fast.dimensions import DIMENSION_INFO
from similar_fast.records import PairRecord, TrajectoryRecord, encode_record
from similar_fast.srm.audit.findings import Finding, Place, Tally
from similar_fast.srm.audit.rows import AuditData
from similar_fast.srm.audit.texts import versus

__all__ = ["duplicates"]

_CHECK = "duplicates"


def duplicates(data: AuditData, limit: int) -> list[Finding]:
    """Equal rows, pairs that are there both ways round, and trajectories that are there twice."""
    return [
        *_equal_rows(data, limit),
        *_both_ways(data, limit),
        *_copied_trajectories(data, limit),
        *_reused_names(data, limit),
    ]


def _equal_rows(data: AuditData, limit: int) -> list[Finding]:
    """Records that are equal in every field."""
    first: dict[bytes, Place] = {}
    tally = Tally(limit)
    for place, record in data.records:
        digest = blake2b(encode_record(record), digest_size=16).digest()
        known = first.setdefault(digest, place)
        if known is not place:
            tally.add(place, f"the same as {known}")
    return tally.findings(_CHECK, "warning", words="rows are equal to an earlier one")


def _both_ways(data: AuditData, limit: int) -> list[Finding]:
    """Pairs of one type and state that prefer now the one action, now the other."""
    first: dict[Hashable, tuple[Place, tuple[str, ...]]] = {}
    told: set[Hashable] = set()
    tally = Tally(limit)
    for row in data.pairs:
        record = row.record
        key = _unordered(record)
        place, chosen = first.setdefault(key, (row.place, record.chosen))
        if chosen != record.chosen and key not in told:
            told.add(key)
            symbol = DIMENSION_INFO[record.type].symbol
            words = f"{symbol}: {versus(record.chosen, record.rejected)}, the other way at {place}"
            tally.add(row.place, words)
    return tally.findings(
        _CHECK, "warning", words="couples of actions of one state are there both ways round"
    )


def _unordered(record: PairRecord) -> Hashable:
    """What a pair shares with itself the other way round."""
    return (
        record.environment,
        record.platform,
        record.task,
        record.seed,
        record.type,
        record.step,
        record.instruction,
        record.history,
        frozenset((record.chosen, record.rejected)),
    )


def _copied_trajectories(data: AuditData, limit: int) -> list[Finding]:
    """Trajectories of one task whose steps are equal in actions, labels and observations."""
    first: dict[Hashable, tuple[Place, str]] = {}
    tally = Tally(limit)
    for place, record in data.trajectories:
        steps = tuple((s.step, s.action, s.labels.values(), s.observation) for s in record.steps)
        key = (record.environment, record.platform, record.task, record.seed, steps)
        known, name = first.setdefault(key, (place, record.trajectory))
        if steps and name != record.trajectory:
            tally.add(place, f"{record.trajectory!r} is {name!r} at {known}")
    return tally.findings(
        _CHECK, "warning", words="trajectories have the steps of another under a name of their own"
    )


def _reused_names(data: AuditData, limit: int) -> list[Finding]:
    """Trajectories of one task that have one name and different steps."""
    first: dict[Hashable, tuple[Place, TrajectoryRecord]] = {}
    tally = Tally(limit)
    for place, record in data.trajectories:
        key = (record.environment, record.platform, record.task, record.seed, record.trajectory)
        known, earlier = first.setdefault(key, (place, record))
        if earlier.steps != record.steps:
            tally.add(place, f"{record.trajectory!r} has other steps at {known}")
    return tally.findings(_CHECK, "fault", words="trajectories have a name that is taken")
