"""Pairs made by a reward model: the candidates of a state, ordered by their scores."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations
from math import isfinite
from typing import Literal

from msgspec.structs import replace

from similar_fast.dimensions import Dimension
from similar_fast.protocols import Scorer
from similar_fast.records import PairRecord, Provenance, StepRecord
from similar_fast.rl.named_scores import value_columns
from similar_fast.rl.places import Place, place_of, state_step
from similar_fast.srm.pairs import STEP_TYPES, pair_of_steps
from similar_fast.srm.screenshots import ScreenshotStore
from similar_fast.types import Step

__all__ = ["Pairing", "preferences_from_scores"]

Pairing = Literal["extremes", "all"]
"""The best candidate of a state against the worst, or every two whose scores differ enough."""


def preferences_from_scores(
    states: Iterable[StepRecord],
    scorer: Scorer,
    *,
    min_margin: float = 0.0,
    types: Collection[Dimension] = (Dimension.TOTAL,),
    pairing: Pairing = "extremes",
    screenshots: ScreenshotStore | None = None,
    name: str = "",
    batch_size: int = 256,
    failed: Callable[[StepRecord, str], None] = lambda _record, _reason: None,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[PairRecord]:
    """The pairs that a scorer makes of each state's candidates, in the order the states come.

    Labels of the records are not read. `chosen_label` and `rejected_label` are scores; a candidate
    that is named twice counts once; one that cannot be scored takes no part. Equal scores make no
    pair. `extremes` gives at most one pair a state and type, `all` O(candidates^2); within a state
    pairs come in the order of the types, then of the candidates.

    Args:
        states: Candidates, a record each; all are held. Records that agree in environment,
            platform, task, seed, state, instruction, history, observation and screenshot are of
            one state.
        scorer: Any scorer; it is asked for whole states, many in one call.
        min_margin: The least difference of two scores, at least 0, in the scorer's own scale.
        types: The dimensions to compare by, the total included.
        pairing: Which candidates are compared.
        screenshots: Where pictures lie; without it steps are scored without.
        name: The scorer's name, for the provenance of the pairs.
        batch_size: About as many candidates go into one call, at least 1.
        failed: Told of each record that could not be scored, and why.
        report: Told how many candidates are scored, and of how many.

    Raises:
        ScorerError: A dimension is asked for and the scorer gives none.
        ValueError: An argument is out of its range, or a type is none of a step.
    """
    wanted = [kind for kind in STEP_TYPES if kind in types]
    if not min_margin >= 0 or batch_size < 1:
        words = f"min_margin is {min_margin} and batch_size {batch_size}"
        raise ValueError(f"{words}; expected at least 0 and at least 1")
    if len(wanted) < len(set(types)) or not wanted:
        raise ValueError(f"types are {list(map(str, types))}; expected some that steps have")
    groups = _groups(states)
    total, done = sum(map(len, groups)), 0
    report(done, total)
    for batch in _batches(groups, batch_size):
        records = [record for group in batch for record in group]
        steps = _steps(records, screenshots)
        found = value_columns(scorer, steps, kinds=wanted)
        for place, reason in sorted(found.errors.items()):
            failed(records[place], reason)
        first = 0
        for group in batch:
            for column, kind in enumerate(wanted):
                values = found.values[first : first + len(group), column].tolist()
                for better, worse in _ordered(values, min_margin, pairing):
                    yield _pair(
                        (group[better], group[worse]),
                        (values[better], values[worse]),
                        kind=kind,
                        name=name,
                    )
            first += len(group)
        done += len(records)
        report(done, total)


def _groups(states: Iterable[StepRecord]) -> list[list[StepRecord]]:
    """The distinct candidates of each state that has two or more."""
    groups: dict[Place, dict[str, StepRecord]] = {}
    for record in states:
        if action := record.action.strip():
            groups.setdefault(place_of(record), {}).setdefault(action, record)
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def _batches(groups: Sequence[list[StepRecord]], size: int) -> Iterator[list[list[StepRecord]]]:
    """Whole states, until they have `size` candidates."""
    batch: list[list[StepRecord]] = []
    for group in groups:
        batch.append(group)
        if sum(map(len, batch)) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _steps(records: Sequence[StepRecord], store: ScreenshotStore | None) -> list[Step]:
    """The records as steps; those of one picture share what opens it, so that it is opened once."""
    steps = [state_step(record, record.action) for record in records]
    if store is None:
        return steps
    names = {record.screenshot for record in records if record.screenshot is not None}
    pictures = {name: partial(store.open, name) for name in names}
    return [
        dataclasses.replace(step, screenshot=pictures.get(record.screenshot or ""))
        for step, record in zip(steps, records, strict=True)
    ]


def _ordered(
    values: Sequence[float], min_margin: float, pairing: Pairing
) -> Iterator[tuple[int, int]]:
    """The places of the better and the worse one of each pair."""
    places = [i for i, value in enumerate(values) if isfinite(value)]
    if pairing == "extremes":
        if not places:
            return
        by_value = values.__getitem__
        couples = iter([(max(places, key=by_value), min(places, key=by_value))])
    else:
        couples = combinations(places, 2)
    for one, two in couples:
        if values[one] != values[two] and abs(values[one] - values[two]) >= min_margin:
            yield (one, two) if values[one] > values[two] else (two, one)


def _pair(
    records: tuple[StepRecord, StepRecord],
    values: tuple[float, float],
    *,
    kind: Dimension,
    name: str,
) -> PairRecord:
    better, worse = records
    made_by = Provenance(source=better.provenance.source, versions=better.provenance.versions)
    return pair_of_steps(
        better,
        worse,
        kind,
        labels=values,
        provenance=replace(made_by, judge=f"model:{name}" if name else "model"),
    )
