"""How far rules go that understand nothing: the longer action, the verb, a number.

A rule gives each side of a pair a number and prefers the greater one or the smaller one. That sign
is its one free choice, and it is made twice: on the training split, and on the very split that is
judged, which no honest scorer may do. The verb rule chooses more: a rank for each first word and
type, the share of its pairs that it won.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSION_INFO, Dimension
from similar_fast.metrics.intervals import accuracy_intervals
from similar_fast.metrics.pairs import accuracy
from similar_fast.metrics.record import Record
from similar_fast.records import PairRecord
from similar_fast.srm.audit.findings import Example, Finding
from similar_fast.srm.audit.rows import AuditData, part_name
from similar_fast.srm.audit.texts import first_number, num_digits, verb

__all__ = ["RULES", "Judged", "Shortcut", "TypeAccuracy", "measure_shortcuts", "shortcut_findings"]

RULES = {
    "length": ("longer action", "shorter action"),
    "step": ("later step", "earlier step"),
    "verb": ("verb by rank", "verb by rank"),
    "digits": ("more digits", "fewer digits"),
    "number": ("greater first number", "smaller first number"),
}
"""The rules, each with what it prefers under either sign."""

_NUM_DRAWS = 2000
_TRAIN = "train"
# A rule that is surely above chance but by less than this is not worth a word.
_LEAST = 0.05
_NORMAL_95 = 1.96

_Values = NDArray[np.float64]
_Ranks = Mapping[tuple[Dimension, str], float]


@dataclass(frozen=True, slots=True)
class TypeAccuracy(Record):
    """A rule's accuracy on the pairs of one type.

    Attributes:
        type: The type's symbol.
        n: Pairs that the rule can judge.
        accuracy: In [0, 1]; NaN where it can judge none.
    """

    type: str
    n: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class Judged(Record):
    """A rule's accuracy on one split; a tie counts half.

    Attributes:
        split: The split, empty where the records name none.
        n: Pairs that the rule can judge.
        n_tasks: Tasks that they are of, which are drawn as a whole for the interval.
        macro: Mean of the types' accuracies, in [0, 1]; NaN where the rule is not applicable.
        low: Lower bound of its 95% interval; NaN where there are fewer than two tasks.
        high: Upper bound.
        standard_error: The draws' standard deviation; NaN as the bounds.
        types: Each type's accuracy.
    """

    split: str
    n: int
    n_tasks: int
    macro: float
    low: float
    high: float
    standard_error: float
    types: tuple[TypeAccuracy, ...]


@dataclass(frozen=True, slots=True)
class Shortcut(Record):
    """One rule in one environment, its choices made on one split.

    Attributes:
        environment: The environment, with its platform where that is not the web.
        rule: A key of `RULES`.
        fixed_on: The split that the choices were made on; `train` is that of all environments.
        prefers: What it prefers.
        judged: Its accuracy on each split of the environment.
        shift: Accuracy on the other split less that on `train`; None where there are not two.
    """

    environment: str
    rule: str
    fixed_on: str
    prefers: str
    judged: tuple[Judged, ...]
    shift: float | None


@dataclass(frozen=True, slots=True)
class _Part:
    """The pairs of one split of one environment; the columns are `[n]`, `values` `[n, 2]` each."""

    pairs: tuple[PairRecord, ...]
    types: list[Dimension]
    tasks: NDArray[np.int64]
    values: dict[str, _Values]


def measure_shortcuts(data: AuditData) -> list[Shortcut]:
    """Every rule in every environment, its choices made on train and on each other split."""
    grouped: defaultdict[str, defaultdict[str, list[PairRecord]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in data.compared:
        record = row.record
        grouped[part_name(record.environment, record.platform, "")][record.split].append(record)
    parts = {
        name: {split: _part(pairs) for split, pairs in sorted(splits.items(), key=_train_first)}
        for name, splits in grouped.items()
    }
    trained = [splits[_TRAIN].pairs for splits in parts.values() if _TRAIN in splits]
    train = _part([pair for pairs in trained for pair in pairs]) if trained else None
    return [
        shortcut
        for name, splits in parts.items()
        for rule in RULES
        for shortcut in _of_rule(name, splits, rule=rule, train=train)
    ]


def _train_first(item: tuple[str, object]) -> tuple[bool, str]:
    return item[0] != _TRAIN, item[0]


def _part(pairs: Sequence[PairRecord]) -> _Part:
    values = {
        rule: np.array([value(pair) for pair in pairs], np.float64).reshape(-1, 2)
        for rule, value in _VALUES.items()
    }
    numbers: dict[Hashable, int] = {}
    tasks = [
        numbers.setdefault((pair.task or pair.instruction, pair.seed), len(numbers))
        for pair in pairs
    ]
    types = [pair.type for pair in pairs]
    return _Part(tuple(pairs), types, np.array(tasks, np.int64), values)


def _of_rule(
    environment: str, splits: Mapping[str, _Part], *, rule: str, train: _Part | None
) -> Iterator[Shortcut]:
    fits = {} if train is None else {_TRAIN: train}
    fits |= {split: part for split, part in splits.items() if split != _TRAIN}
    for fixed_on, fit in fits.items():
        ranks = _verb_ranks(fit.pairs) if rule == "verb" else {}
        sign = 1.0 if rule == "verb" else _sign(fit, rule)
        judged = tuple(
            _judge(split, part, sign * _values(part, rule, ranks)) for split, part in splits.items()
        )
        yield Shortcut(
            environment=environment,
            rule=rule,
            fixed_on=fixed_on,
            prefers=RULES[rule][sign < 0],
            judged=judged,
            shift=_shift(judged, fixed_on),
        )


def _shift(judged: Sequence[Judged], fixed_on: str) -> float | None:
    by_split = {result.split: result.macro for result in judged}
    others = [split for split in by_split if split != _TRAIN]
    other = fixed_on if fixed_on in others else others[0] if len(others) == 1 else None
    if other is None or _TRAIN not in by_split:
        return None
    shift = by_split[other] - by_split[_TRAIN]
    return None if math.isnan(shift) else shift


def _sign(part: _Part, rule: str) -> float:
    """The sign under which the mean of the types' accuracies is at least one half."""
    values = part.values[rule]
    return -1.0 if accuracy(values[:, 0], values[:, 1], groups=part.types).macro < 0.5 else 1.0


def _judge(split: str, part: _Part, values: _Values) -> Judged:
    can_judge = np.isfinite(values).all(axis=1)
    result = accuracy_intervals(
        values[:, 0],
        values[:, 1],
        clusters=part.tasks,
        groups=part.types,
        num_draws=_NUM_DRAWS,
    )
    macro = result.macro
    types = (
        TypeAccuracy(DIMENSION_INFO[kind].symbol, group.n, group.accuracy)
        for kind, group in result.accuracy.groups.items()
        if isinstance(kind, Dimension)
    )
    return Judged(
        split=split,
        n=int(can_judge.sum()),
        n_tasks=result.n_clusters,
        macro=macro.value,
        low=macro.interval.low,
        high=macro.interval.high,
        standard_error=macro.standard_error,
        types=tuple(types),
    )


def _values(part: _Part, rule: str, ranks: _Ranks) -> _Values:
    if rule != "verb":
        return part.values[rule]
    rows = [
        (math.nan, math.nan)
        if pair.type is Dimension.TRAJECTORY
        else tuple(
            ranks.get((pair.type, verb(side[0])), 0.5) for side in (pair.chosen, pair.rejected)
        )
        for pair in part.pairs
    ]
    return np.array(rows, np.float64).reshape(-1, 2)


def _verb_ranks(pairs: Sequence[PairRecord]) -> dict[tuple[Dimension, str], float]:
    """By type and verb the share of its pairs that it won, drawn towards one half by two pairs."""
    won, met = Counter[tuple[Dimension, str]](), Counter[tuple[Dimension, str]]()
    for pair in pairs:
        if pair.type is Dimension.TRAJECTORY:
            continue
        better, worse = verb(pair.chosen[0]), verb(pair.rejected[0])
        if better != worse:
            won[pair.type, better] += 1
            met.update(((pair.type, better), (pair.type, worse)))
    return {key: (won[key] + 1) / (number + 2) for key, number in met.items()}


def _both(value: Callable[[Sequence[str]], float]) -> Callable[[PairRecord], tuple[float, float]]:
    return lambda pair: (value(pair.chosen), value(pair.rejected))


def _num_actions(pair: PairRecord) -> tuple[float, float]:
    """Trajectories by their length; two actions of one step cannot be told apart by it."""
    if pair.type is not Dimension.TRAJECTORY:
        return math.nan, math.nan
    return float(len(pair.chosen)), float(len(pair.rejected))


_VALUES: dict[str, Callable[[PairRecord], tuple[float, float]]] = {
    "length": _both(lambda actions: float(sum(map(len, actions)))),
    "step": _num_actions,
    "digits": _both(lambda actions: float(sum(map(num_digits, actions)))),
    "number": _both(first_number),
}


def shortcut_findings(found: Sequence[Shortcut], limit: int) -> list[Finding]:
    """Rules that surely beat chance where an honest scorer is judged, and those that shift.

    A sign that was chosen on the judged split counts, being one choice; an order of verbs does not.
    """
    above: list[Example] = []
    shifted: list[Example] = []
    for shortcut in found:
        for result in shortcut.judged:
            own = result.split == shortcut.fixed_on
            repeats = shortcut.fixed_on != _TRAIN and not own
            if repeats or (own and shortcut.rule == "verb"):
                continue
            if result.macro >= 0.5 + _LEAST and result.low > 0.5:
                place = f"{shortcut.environment} {result.split}".strip()
                words = f"{shortcut.prefers}, chosen on {shortcut.fixed_on or 'the same pairs'}: "
                above.append(Example(place, words + _interval(result)))
        if shortcut.fixed_on == _TRAIN and _is_shifted(shortcut):
            words = f"{shortcut.prefers}: " + ", ".join(
                f"{result.split} {_interval(result)}" for result in shortcut.judged
            )
            shifted.append(Example(shortcut.environment, words))
    return [
        Finding("shortcuts", "warning", len(examples), words, tuple(examples[:limit]))
        for examples, words in (
            (above, "rules that understand nothing beat chance"),
            (shifted, "rules change their accuracy between the splits: they differ in kind"),
        )
        if examples
    ]


def _is_shifted(shortcut: Shortcut) -> bool:
    if shortcut.shift is None or abs(shortcut.shift) < _LEAST:
        return False
    errors = [result.standard_error for result in shortcut.judged]
    return len(errors) == 2 and abs(shortcut.shift) > _NORMAL_95 * math.hypot(*errors)


def _interval(result: Judged) -> str:
    return f"{result.macro:.0%} [{result.low:.0%}, {result.high:.0%}]"
