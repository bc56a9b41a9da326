"""Leaks between splits: what a model may have seen in training and is then judged on."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple

from similar_fast.records import PairRecord, Record
from similar_fast.srm.audit.findings import Finding, Place, Tally
from similar_fast.srm.audit.rows import AuditData
from similar_fast.srm.audit.texts import excerpt, normalised

__all__ = ["leaks"]


class _Item(NamedTuple):
    """One thing that no two splits may share.

    Attributes:
        key: What it is.
        words: The same for a reader.
        is_seeded: Whether its task has seeds.
    """

    place: Place
    split: str
    key: Hashable
    words: str
    is_seeded: bool


def leaks(data: AuditData, limit: int) -> list[Finding]:
    """Tasks, trajectories, instructions and whole steps that two splits share.

    An episode of a task that has seeds is a task of its own. Texts that two of them share are a
    warning instead of a fault: a generator of tasks repeats itself.
    """
    kinds: tuple[tuple[str, Callable[[AuditData], Iterator[_Item]]], ...] = (
        ("tasks", _tasks),
        ("trajectories", _trajectories),
        ("instructions", _instructions),
        ("steps (instruction, history, action)", _steps),
    )
    return [
        finding for noun, items in kinds for finding in _shared(items(data), noun=noun, limit=limit)
    ]


def _shared(items: Iterable[_Item], *, noun: str, limit: int) -> list[Finding]:
    """The findings for the things that stand in more than one split."""
    first: dict[Hashable, _Item] = {}
    told: set[Hashable] = set()
    plain, seeded = Tally(limit), Tally(limit)
    for item in items:
        known = first.setdefault(item.key, item)
        if known.split != item.split and item.key not in told:
            told.add(item.key)
            tally = seeded if item.is_seeded else plain
            tally.add(
                item.place, f"{item.words} in {item.split}, and in {known.split} at {known.place}"
            )
    words = f"{noun} stand in two splits"
    return [
        *plain.findings("leaks", "fault", words=words),
        *seeded.findings("leaks", "warning", words=f"{words}, of tasks that have seeds"),
    ]


def _parted(data: AuditData) -> Iterator[tuple[Place, Record]]:
    """The records that say which split they belong to."""
    return ((place, record) for place, record in data.records if record.split)


def _tasks(data: AuditData) -> Iterator[_Item]:
    for place, r in _parted(data):
        key = (r.environment, r.platform, r.task, r.seed)
        words = f"task {r.task!r}" if r.seed is None else f"task {r.task!r} with seed {r.seed}"
        # The very same episode twice is a leak, whatever made it.
        yield _Item(place, r.split, key, words, is_seeded=False)


def _trajectories(data: AuditData) -> Iterator[_Item]:
    for place, r in _parted(data):
        names = (
            (r.chosen_trajectory, r.rejected_trajectory)
            if isinstance(r, PairRecord)
            else (r.trajectory,)
        )
        for name in filter(None, names):
            key = (r.environment, r.platform, r.task, r.seed, name)
            yield _Item(place, r.split, key, f"trajectory {name!r}", is_seeded=False)


def _instructions(data: AuditData) -> Iterator[_Item]:
    for place, r in _parted(data):
        key = normalised(r.instruction)
        if key:
            yield _Item(place, r.split, key, excerpt(r.instruction), r.seed is not None)


def _steps(data: AuditData) -> Iterator[_Item]:
    for row in data.steps:
        if row.split:
            actions = (row.action,)
            key = (normalised(row.instruction), row.history, actions)
            yield _Item(row.place, row.split, key, excerpt(row.action), row.run[2] is not None)
    for pair in data.pairs:
        r = pair.record
        for side in (r.chosen, r.rejected) if r.split else ():
            told = (normalised(r.instruction), r.history, side)
            yield _Item(pair.place, r.split, told, excerpt(" ".join(side)), r.seed is not None)
