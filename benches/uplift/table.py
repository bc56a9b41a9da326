"""What the rows say: success of every arm, and of trained models over their training seeds."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from similar_fast.envs.miniwob import HELD_OUT_TASKS, TRAIN_TASKS
from similar_fast.errors import DataError
from similar_fast.search.episodes import Episode
from uplift.macro import Draws, Pair, common_seeds, interval
from uplift.plan import BASELINES, HEURISTIC
from uplift.rows import parts_of

__all__ = [
    "GROUPS",
    "MAIN_SEEDS",
    "SEEN_SEEDS",
    "Cell",
    "Side",
    "SideRow",
    "cells",
    "side_rows",
    "training_of",
]

GROUPS = {"train": TRAIN_TASKS, "held-out": HELD_OUT_TASKS}
"""The tasks of each group."""

MAIN_SEEDS, SEEN_SEEDS = range(3030, 3050), range(3000, 3030)
"""The test seeds, and those that a probe saw; never read together."""

_ARM = re.compile(r"(?P<training>(?P<model>.+?)(-s\d+)?)-(?P<way>greedy|guard|search-\d+)")
_FIRST, _LAST = ("random", *BASELINES), "oracle"
_SAME_FOR_ALL, _OWN = ("env", "screens", "max_steps"), ("guide", "budget")


@dataclass(frozen=True, slots=True)
class Side:
    """What one line of a table is about: an arm, or one way to play of a model's training seeds.

    Attributes:
        name: `heuristic-argmax`; `mini-guard` for the mean of `mini-s0-guard` and its like.
        members: Each member's rows.
        names: The members' names.
    """

    name: str
    members: tuple[Mapping[Pair, Episode], ...]
    names: tuple[str, ...]

    @property
    def successes(self) -> list[dict[Pair, bool]]:
        """Whether each member solved each (task, seed)."""
        return [{pair: row.success for pair, row in rows.items()} for rows in self.members]

    def part(self, place: int) -> "Side":
        """One member by itself; where there is but one, that one whatever the place."""
        if len(self.members) == 1:
            return self
        return Side(self.name, (self.members[place],), (self.names[place],))


@dataclass(frozen=True, slots=True)
class Cell:
    """The rows of one group of tasks and one range of seeds.

    Attributes:
        group: `train` or `held-out`.
        seeds: The seeds in words, `3030-3049`.
        sides: What is compared, by name; the arms of a model's training seeds stand there too.
        pairs: Every (task, seed) that one of the arms has.
        planned: Every (task, seed) of the group and the range.
    """

    group: str
    seeds: str
    sides: Mapping[str, Side]
    pairs: frozenset[Pair]
    planned: frozenset[Pair]

    @property
    def models(self) -> list[str]:
        """The trained models; those that differ in their training seed alone are one."""
        found = (_ARM.fullmatch(name) for side in self.sides.values() for name in side.names)
        models = dict.fromkeys(match["model"] for match in found if match)
        return [model for model in models if model not in BASELINES]


@dataclass(frozen=True, slots=True)
class SideRow:
    """One line of the table of arms.

    Attributes:
        name: The side's.
        n: The (task, seed) pairs that all its members have.
        n_missing: Those that another arm has and this one lacks.
        members: Its training seeds.
        success: Macro average in percent.
        interval: 95%, over seeds within tasks, and over training seeds where there are several.
        interval_of_these_models: 95%, over seeds within tasks alone.
        env_steps: Steps of an episode, in the mean.
        resets: Resets of an episode, in the mean.
        env_steps_per_solved: All steps over the solved episodes; None where none is solved.
        resets_per_solved: All resets over the solved episodes; None where none is solved.
        diverged: Replays that did not repeat.
        relaunches: Times a browser died.
        by_task: Success of each task in percent.
    """

    name: str
    n: int
    n_missing: int
    members: int
    success: float
    interval: tuple[float, float]
    interval_of_these_models: tuple[float, float]
    env_steps: float
    resets: float
    env_steps_per_solved: float | None
    resets_per_solved: float | None
    diverged: int
    relaunches: int
    by_task: Mapping[str, float]


def cells(arms: Mapping[str, Sequence[Episode]], ranges: Iterable[range]) -> list[Cell]:
    """The rows by group of tasks and range of seeds; empty ones are left out.

    Args:
        arms: The rows of each arm, by its short name.
        ranges: The ranges of seeds.

    Raises:
        DataError: Two arms were played on different screens, two searches with different settings,
            two ways of one guide with different models, two trainings with one model; or an arm
            is called as the mean of others.
    """
    _check_comparable(arms)
    found = []
    for seeds in ranges:
        for group, tasks in GROUPS.items():
            there = {name: _within(rows, tasks, seeds) for name, rows in arms.items()}
            there = {name: there[name] for name in sorted(there, key=_place) if there[name]}
            if there:
                pairs = frozenset(pair for rows in there.values() for pair in rows)
                words = f"{seeds.start}-{seeds.stop - 1}"
                planned = frozenset(product(tasks, seeds))
                found.append(Cell(group, words, _sides(there), pairs, planned))
    return found


def _place(name: str) -> tuple[int, str, bool, int, str]:
    """Where an arm stands: baselines, models, the oracle; whoever looks ahead after the others."""
    word, _, rest = name.partition("-")
    place = _FIRST.index(word) if word in _FIRST else len(_FIRST) + (name == _LAST)
    match = _ARM.fullmatch(name)
    model = match["model"] if match and word not in _FIRST else ""
    budget = rest.rpartition("search-")[2]
    return place, model, "search-" in rest, int(budget) if budget.isdigit() else 0, name


def _check_comparable(arms: Mapping[str, Sequence[Episode]]) -> None:
    """Refuses arms that saw other screens, searched otherwise, or are another model's by name."""
    first: dict[tuple[str, str], tuple[str, str | None]] = {}

    def check(name: str, who: str, key: str, value: str | None) -> None:
        where, expected = first.setdefault((who, key), (name, value))
        if value != expected:
            raise DataError(
                f"{name} was played with {key}={value}; expected {expected} as {where}, since arms "
                "are compared on the same"
            )

    guides: dict[str, str] = {}
    settings = {name: parts_of(rows[0].arm) for name, rows in arms.items()}
    searches = {name: parts for name, parts in settings.items() if _is_search(name)}
    for name, parts in settings.items():
        for key in _SAME_FOR_ALL:
            check(name, "arms", key, parts.get(key))
        if "guide" in parts:
            check(name, _guide_of(name), "guide", parts["guide"])
            if guides.setdefault(parts["guide"], _guide_of(name)) != _guide_of(name):
                raise DataError(
                    f"{name} was played with guide={parts['guide']}, and so was "
                    f"{guides[parts['guide']]}; expected models of their own"
                )
    for key in sorted(set().union(*searches.values()) - set(_OWN)):
        for name, parts in searches.items():
            check(name, "searches", key, parts.get(key))


def _is_search(name: str) -> bool:
    match = _ARM.fullmatch(name)
    return match is not None and match["way"].startswith("search-")


def _guide_of(name: str) -> str:
    """Who scores in an arm, by its name: a baseline, or a model's training."""
    word = HEURISTIC if name == _LAST else name.partition("-")[0]
    return word if word in BASELINES else training_of(name)


def training_of(name: str) -> str:
    """The model, with its training seed, that plays an arm; the arm's name where none does."""
    match = _ARM.fullmatch(name)
    return match["training"] if match else name


def _within(
    rows: Iterable[Episode], tasks: Collection[str], seeds: Collection[int]
) -> dict[Pair, Episode]:
    return {(r.task, r.seed): r for r in rows if r.task in tasks and r.seed in seeds}


def _sides(there: Mapping[str, Mapping[Pair, Episode]]) -> dict[str, Side]:
    """A side an arm; before the first member of a model that has training seeds, their mean.

    Raises:
        DataError: An arm is called as such a mean.
    """
    sides: dict[str, Side] = {}
    for name, rows in there.items():
        match = _ARM.fullmatch(name)
        if match and match["training"] != match["model"]:
            mean = f"{match['model']}-{match['way']}"
            if mean in there:
                raise DataError(f"{mean} is an arm, and the mean of {name} and its like")
            before = sides.get(mean, Side(mean, (), ()))
            sides[mean] = Side(mean, (*before.members, rows), (*before.names, name))
        sides[name] = Side(name, (rows,), (name,))
    return sides


def side_rows(cell: Cell) -> list[SideRow]:
    """A line for every side whose members have a (task, seed) in common."""
    rows = (_side_row(cell, side) for side in cell.sides.values())
    return [row for row in rows if row is not None]


def _side_row(cell: Cell, side: Side) -> SideRow | None:
    seeds = common_seeds(side.members)
    if not seeds:
        return None
    draws = Draws(seeds)
    success, replicates = draws.macro(side.successes, has_new_members=True)
    _, of_these = draws.macro(side.successes)
    pairs = [(task, seed) for task, numbers in seeds.items() for seed in numbers]
    episodes = [rows[pair] for rows in side.members for pair in pairs]
    solved = sum(row.success for row in episodes)
    steps = sum(row.env_steps for row in episodes)
    resets = sum(row.resets for row in episodes)
    return SideRow(
        name=side.name,
        n=len(pairs),
        n_missing=len(cell.pairs) - len(pairs),
        members=len(side.members),
        success=success,
        interval=interval(replicates),
        interval_of_these_models=interval(of_these),
        env_steps=steps / len(episodes),
        resets=resets / len(episodes),
        env_steps_per_solved=steps / solved if solved else None,
        resets_per_solved=resets / solved if solved else None,
        diverged=sum(row.diverged for row in episodes),
        relaunches=sum(row.relaunches for row in episodes),
        by_task={
            task: 100
            * sum(rows[task, seed].success for rows in side.members for seed in numbers)
            / (len(numbers) * len(side.members))
            for task, numbers in seeds.items()
        },
    )
