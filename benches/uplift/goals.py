"""What a trained model must show beside the other arms: comparisons, each with its goal.

A goal is judged on the whole plan alone: every task of the group and every seed of the range, of
every arm that the comparison is about, and `MIN_TRAININGS` trainings of the model's recipe.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from uplift.macro import Draws, average, common_seeds, interval, missing_pairs
from uplift.table import Cell, Side, side_rows, training_of

__all__ = [
    "COMPARISONS",
    "GREEDY_BASELINES",
    "MIN_TRAININGS",
    "SEARCHING_BASELINES",
    "AbsentGoal",
    "Comparison",
    "Result",
    "compare",
    "goals_without_figure",
]

_Averages = TypeVar("_Averages", float, NDArray[np.float64])

Kind = Literal["success", "difference", "share", "gain"]

MIN_TRAININGS = 3
"""Trainings of a recipe, which differ in their seed alone, that a verdict on it needs."""

GREEDY_BASELINES = ("random", "heuristic-sampled", "heuristic-argmax", "embedding-greedy")
"""Who plays without a trained model and without looking ahead."""

SEARCHING_BASELINES = tuple(
    f"{guide}-search-{steps}" for guide in ("heuristic", "embedding") for steps in (32, 128)
)
"""Who searches without a trained model."""

_BEST_GREEDY, _BEST_OF_ALL = "best greedy baseline", "best baseline, searches included"
_OWN_WAYS = ("greedy", "guard")
_CHOSEN_FROM = {
    _BEST_GREEDY: GREEDY_BASELINES,
    _BEST_OF_ALL: (*GREEDY_BASELINES, *SEARCHING_BASELINES),
}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure must reach.

    Attributes:
        least: The figure itself, at least; None for no such goal.
        above: What the lower end of its interval must be above; None for no such goal.
    """

    least: float | None = None
    above: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model's way to play beside another arm.

    Attributes:
        way: `guard`, `search-128`, of the model.
        kind: `success` in percent; `difference` in points; `share`, the one over the other, in
            percent; `gain`, how much of the other it is more, in percent.
        other: The other arm; `guard` and `greedy` are the model's own; None for no other.
        goals: By group of tasks; a comparison without a goal is only shown.
    """

    way: str
    kind: Kind
    other: str | None = None
    goals: Mapping[str, Goal] = field(default_factory=dict)


def _both(goal: Goal) -> dict[str, Goal]:
    return {"train": goal, "held-out": goal}


_ABOVE_0 = _both(Goal(above=0.0))

COMPARISONS = (
    Comparison(
        "guard",
        "difference",
        "heuristic-argmax",
        {"train": Goal(least=15.0, above=0.0), "held-out": Goal(least=0.0, above=-3.0)},
    ),
    Comparison("guard", "difference", "greedy"),
    Comparison("search-32", "difference", "guard"),
    Comparison("search-128", "difference", "guard", _ABOVE_0),
    Comparison("search-128", "difference", "heuristic-search-128", _ABOVE_0),
    Comparison("search-128", "difference", "embedding-search-128", _ABOVE_0),
    Comparison("search-128", "difference", "constant-search-128"),
    Comparison("search-128", "difference", "shuffled-search-128"),
    Comparison("search-128", "difference", "heuristic-argmax"),
    Comparison("search-128", "share", "oracle", _both(Goal(least=90.0))),
    Comparison(
        "search-128", "success", None, {"train": Goal(least=95.0), "held-out": Goal(least=85.0)}
    ),
    Comparison("guard", "gain", _BEST_GREEDY),
    Comparison("search-128", "gain", _BEST_GREEDY, _both(Goal(least=36.0))),
    Comparison("search-128", "gain", _BEST_OF_ALL),
)
"""What is shown, in this order; whoever is best was chosen by its average in the same rows."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a comparison came to.

    Attributes:
        left: The model's side.
        kind: As in `Comparison`.
        right: The other side; None for no other.
        n: The (task, seed) pairs that both have.
        members: Training seeds of the model.
        value: The figure.
        interval: 95%, over seeds within tasks and over the training seeds; of a share or a gain
            without the draws in which the other solves nothing.
        interval_of_these_models: 95%, over seeds within tasks alone.
        interval_over_tasks: 95%, over seeds, training seeds and the tasks of the group: a guess
            at what it says of other tasks of that kind. No goal is judged by it.
        by_training: The figure of each training by itself.
        num_differing: How many outcomes of (training, task, seed) differ; None without a right
            side.
        goal: Its goal in words; empty where there is none.
        is_met: Whether the goal is met; None where there is none, and where `missing` says why
            nobody can tell.
        missing: What a verdict on the goal lacks, in words; empty where there is no goal.
    """

    left: str
    kind: Kind
    right: str | None
    n: int
    members: int
    value: float
    interval: tuple[float, float]
    interval_of_these_models: tuple[float, float]
    interval_over_tasks: tuple[float, float]
    by_training: tuple[float, ...]
    num_differing: int | None
    goal: str
    is_met: bool | None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AbsentGoal:
    """A goal that there is no figure for.

    Attributes:
        left: The model's side.
        kind: As in `Comparison`.
        right: The other side, as the comparison names it; None for no other.
        goal: In words.
        why: What is missing, in words.
    """

    left: str
    kind: Kind
    right: str | None
    goal: str
    why: str


@dataclass(frozen=True, slots=True)
class _Matched:
    """Both sides of a comparison, and the seeds of each task that both have played."""

    left: Side
    right: Side | None
    seeds: Mapping[str, Sequence[int]]


def compare(cell: Cell, model: str) -> list[Result]:
    """Every comparison of one model whose rows are there.

    Args:
        cell: The rows of a group of tasks and a range of seeds.
        model: The model's name, without its training seed.
    """
    results = (_compare(cell, model, comparison) for comparison in COMPARISONS)
    return [result for result in results if result is not None]


def goals_without_figure(cell: Cell, model: str) -> list[AbsentGoal]:
    """The goals of the cell's group that no figure is there for, in the order of `COMPARISONS`.

    Args:
        cell: The rows of a group of tasks and a range of seeds.
        model: The model's name, without its training seed.
    """
    absent = []
    for it in COMPARISONS:
        goal = it.goals.get(cell.group)
        if goal is not None and isinstance(why := _match(cell, model, it), str):
            left = f"{model}-{it.way}"
            right = None if it.other is None else _name_of(model, it.other)
            absent.append(AbsentGoal(left, it.kind, right, _words(goal), why))
    return absent


def _match(cell: Cell, model: str, comparison: Comparison) -> _Matched | str:
    """Both sides of a comparison, or why there is none to make."""
    left = cell.sides.get(f"{model}-{comparison.way}")
    if left is None:
        return f"{model}-{comparison.way} has no rows"
    right = _other(cell, model, comparison.other)
    if right is None and comparison.other is not None:
        is_choice = comparison.other in _CHOSEN_FROM
        name = _name_of(model, comparison.other)
        return "no baseline has rows" if is_choice else f"{name} has no rows"
    if right is not None and comparison.other in _OWN_WAYS:
        left, right = _same_trainings(left, right)
        if not left.members:
            return "no training has rows of both"
    seeds = common_seeds([*left.members, *(() if right is None else right.members)])
    if not seeds:
        others = "" if right is None else f" and {right.name}"
        return f"no task and seed was played by all of {left.name}{others}"
    if right is not None and comparison.kind != "difference" and not _has_success(seeds, right):
        return f"{right.name} solved none of what both have played"
    return _Matched(left, right, seeds)


def _name_of(model: str, other: str) -> str:
    """The other side's name: the model's own way to play, an arm, or a choice among arms."""
    return f"{model}-{other}" if other in _OWN_WAYS else other


def _compare(cell: Cell, model: str, comparison: Comparison) -> Result | None:
    matched = _match(cell, model, comparison)
    if isinstance(matched, str):
        return None
    left, right, draws = matched.left, matched.right, Draws(matched.seeds)
    kind = comparison.kind
    value, bounds = _figure(draws, kind, left, right, has_new_members=True)
    _, of_these = _figure(draws, kind, left, right)
    _, over_tasks = _figure(draws, kind, left, right, has_new_members=True, has_new_tasks=True)
    alone = [_alone(kind, matched.seeds, *sides) for sides in _by_training(left, right)]
    goal = comparison.goals.get(cell.group)
    sides = [left, *_compared_with(cell, comparison.other, right)]
    missing = () if goal is None else (*_lacking_trainings(left), *_lacking_rows(cell, sides))
    return Result(
        left=left.name,
        kind=kind,
        right=None if right is None else right.name,
        n=draws.num_pairs,
        members=len(left.members),
        value=value,
        interval=bounds,
        interval_of_these_models=of_these,
        interval_over_tasks=over_tasks,
        by_training=tuple(alone),
        num_differing=_num_differing(matched),
        goal="" if goal is None else _words(goal),
        is_met=None if goal is None or missing else _is_met(goal, value, bounds),
        missing=missing,
    )


def _compared_with(cell: Cell, other: str | None, right: Side | None) -> list[Side]:
    """Whoever must have played for the right side to be what it is called."""
    if right is None or other not in _CHOSEN_FROM:
        return [] if right is None else [right]
    return [cell.sides.get(name, Side(name, ({},), (name,))) for name in _CHOSEN_FROM[other]]


def _lacking_trainings(side: Side) -> Iterator[str]:
    if len(side.members) < MIN_TRAININGS:
        yield f"{side.name} has {len(side.members)} of {MIN_TRAININGS} trainings"


def _lacking_rows(cell: Cell, sides: Sequence[Side]) -> Iterator[str]:
    for side in sides:
        for name, rows in zip(side.names, side.members, strict=True):
            if count := missing_pairs(rows, cell.planned):
                yield f"{name} lacks {count}"


def _other(cell: Cell, model: str, name: str | None) -> Side | None:
    if name is None:
        return None
    if name in _CHOSEN_FROM:
        rows = [row for row in side_rows(cell) if row.name in _CHOSEN_FROM[name]]
        return cell.sides[max(rows, key=lambda row: row.success).name] if rows else None
    return cell.sides.get(_name_of(model, name))


def _same_trainings(left: Side, right: Side) -> tuple[Side, Side]:
    """Two ways to play of one model, with the members of both of which both have rows."""
    ways = [{training_of(name): i for i, name in enumerate(side.names)} for side in (left, right)]
    both = [training for training in ways[0] if training in ways[1]]

    def kept(side: Side, places: Mapping[str, int]) -> Side:
        chosen = [places[training] for training in both]
        members = tuple(side.members[place] for place in chosen)
        return Side(side.name, members, tuple(side.names[place] for place in chosen))

    return kept(left, ways[0]), kept(right, ways[1])


def _has_success(seeds: Mapping[str, Sequence[int]], side: Side) -> bool:
    pairs = [(task, seed) for task, found in seeds.items() for seed in found]
    return any(rows[pair].success for rows in side.members for pair in pairs)


def _by_training(left: Side, right: Side | None) -> Iterator[tuple[Side, Side | None]]:
    """Each training beside the other side: its own other way to play, or the one arm there is."""
    for place in range(len(left.members)):
        yield left.part(place), None if right is None else right.part(place)


def _num_differing(matched: _Matched) -> int | None:
    if matched.right is None:
        return None
    pairs = [(task, seed) for task, found in matched.seeds.items() for seed in found]
    return sum(
        left.members[0][pair].success != right.members[0][pair].success
        for left, right in _by_training(matched.left, matched.right)
        if right is not None
        for pair in pairs
    )


def _figure(
    draws: Draws,
    kind: Kind,
    left: Side,
    right: Side | None,
    *,
    has_new_members: bool = False,
    has_new_tasks: bool = False,
) -> tuple[float, tuple[float, float]]:
    anew = {"has_new_members": has_new_members, "has_new_tasks": has_new_tasks}
    value, drawn = draws.macro(left.successes, **anew)
    if right is None:
        return value, interval(drawn)
    other, beside = draws.macro(right.successes, **anew)
    is_ratio = kind != "difference"
    kept = beside > 0 if is_ratio else np.ones_like(beside, bool)
    return _related(kind, value, other), interval(_related(kind, drawn[kept], beside[kept]))


def _alone(kind: Kind, seeds: Mapping[str, Sequence[int]], left: Side, right: Side | None) -> float:
    value = average(left.successes, seeds)
    return value if right is None else _related(kind, value, average(right.successes, seeds))


def _related(kind: Kind, value: _Averages, other: _Averages) -> _Averages:
    """What one average is beside another: their difference, share or gain."""
    if kind == "difference":
        return value - other
    return 100 * (value / other - (1.0 if kind == "gain" else 0.0))


def _words(goal: Goal) -> str:
    parts = [] if goal.least is None else [f"at least {goal.least:g}"]
    if goal.above is not None:
        parts.append(f"interval above {goal.above:g}")
    return ", ".join(parts)


def _is_met(goal: Goal, value: float, bounds: Sequence[float]) -> bool:
    is_enough = goal.least is None or value >= goal.least
    return is_enough and (goal.above is None or bounds[0] > goal.above)
