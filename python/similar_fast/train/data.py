"""What a model is trained on: steps with labels, and pairs of them, in columns."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.models.heads import LABEL_SCALES
from similar_fast.records import PairRecord, Record, StepRecord, TrajectoryRecord
from similar_fast.types import Step

__all__ = ["PairSettings", "TrainingSet", "compare", "pairs_of_state", "training_set"]

_SCALES = np.array(LABEL_SCALES)
_FULL_ROLLOUTS = 4  # so many rollouts count as much as an outcome that was seen

_Floats = NDArray[np.float64]
_Indices = NDArray[np.int64]
OpenScreenshot = Callable[[str], Callable[[], bytes]]
"""A record's name of a picture -> what reads it; best `partial(store.open, name)`, since the steps
of one picture are then known to share it."""


@dataclass(frozen=True, slots=True)
class PairSettings:
    """Which labelled steps are compared.

    Attributes:
        min_difference: Least difference of the weighted totals (3 H + 5 OS + 5 E + TR + C), above
            0.
        min_rollouts: Least rollouts behind both labels; an action that ended its episode has the
            outcome itself.
        across_endings: Whether actions that ended their episodes are compared across the states of
            one trajectory, success with failure.
        max_per_state: Most pairs of one state, and of one trajectory's endings, those of the
            greatest differences, at least 1; None for all.

    Raises:
        ValueError: A number is out of its range.
    """

    min_difference: float = 2.0
    min_rollouts: int = 2
    across_endings: bool = True
    max_per_state: int | None = 16

    def __post_init__(self) -> None:
        if not 0 < self.min_difference < math.inf:
            raise ValueError(f"min_difference is {self.min_difference}; expected a number above 0")
        if self.max_per_state is not None and self.max_per_state < 1:
            raise ValueError(f"max_per_state is {self.max_per_state}; expected at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSet:
    """Labelled steps in n rows, and pairs of rows.

    Attributes:
        steps: The n steps.
        labels: `[n, 5]` float64 in the units of `Labels`, in the order of `DIMENSIONS`; NaN where a
            label is not known.
        weights: `[n]` float64 in (0, 1], how far a row's labels are trusted.
        rollouts: `[n]` float64, how many rollouts stand behind a row's labels; infinite where its
            action ended the episode, or where the number is not known.
        tasks: `[n]`, the task of each row, by which sets are split.
        episodes: `[n]` int64, equal for the steps of one trajectory or collected episode.
        states: `[n]` int64, equal for the actions of one state.
        is_final: `[n]` bool, whether the action is known to have ended its episode.
        pairs: `[m, 2]` int64, rows of the better and of the worse step.
        pair_types: `[m]`, what each pair was compared by.
        pair_weights: `[m]` float64 in (0, 1].
        num_left_out: Pairs of whole trajectories, which no single step can stand for.
    """

    steps: tuple[Step, ...]
    labels: _Floats
    weights: _Floats
    rollouts: _Floats
    tasks: tuple[str, ...]
    episodes: _Indices
    states: _Indices
    is_final: NDArray[np.bool_]
    pairs: _Indices
    pair_types: tuple[Dimension, ...]
    pair_weights: _Floats
    num_left_out: int = 0

    def __len__(self) -> int:
        return len(self.steps)

    def rows(self, keep: NDArray[np.bool_]) -> "TrainingSet":
        """The rows of `keep` (`[n]` bool), and the pairs of which both are kept."""
        place = np.cumsum(keep) - 1
        stays = np.asarray(keep[self.pairs].all(axis=1), bool)
        chosen = np.flatnonzero(keep)
        return replace(
            self,
            steps=tuple(self.steps[i] for i in chosen),
            labels=self.labels[keep],
            weights=self.weights[keep],
            rollouts=self.rollouts[keep],
            tasks=tuple(self.tasks[i] for i in chosen),
            episodes=self.episodes[keep],
            states=self.states[keep],
            is_final=self.is_final[keep],
            pairs=place[self.pairs[stays]],
            pair_types=tuple(t for t, s in zip(self.pair_types, stays.tolist(), strict=True) if s),
            pair_weights=self.pair_weights[stays],
        )

    def fingerprint(self) -> str:
        """32 hex characters, equal for sets of the same steps, labels and pairs.

        A picture stands for itself by the name that it is opened by, where that can be seen.
        """
        digest = hashlib.blake2b(digest_size=16)
        for step, task in zip(self.steps, self.tasks, strict=True):
            name = step.screenshot.args if isinstance(step.screenshot, partial) else None
            picture = step.screenshot is not None, name
            digest.update(repr((task, *_texts(step), picture)).encode("utf-8", "surrogatepass"))
        for array in (
            self.labels,
            self.weights,
            self.rollouts,
            self.episodes,
            self.states,
            self.is_final,
            self.pairs,
            self.pair_weights,
        ):
            digest.update(np.ascontiguousarray(array).data)
        digest.update(repr([str(type_) for type_ in self.pair_types]).encode())
        return digest.hexdigest()

    def of_tasks(self, tasks: Iterable[str]) -> NDArray[np.bool_]:
        """`[n]` bool, the rows of `tasks`."""
        wanted = set(tasks)
        return np.array([task in wanted for task in self.tasks], bool)


@dataclass(slots=True)
class _Columns:
    """A set in the making."""

    steps: list[Step] = field(default_factory=list)
    labels: list[tuple[float, ...]] = field(default_factory=list)
    rollouts: list[float] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    episodes: list[tuple[object, ...]] = field(default_factory=list)
    states: list[tuple[object, ...]] = field(default_factory=list)
    is_final: list[bool] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    pair_types: list[Dimension] = field(default_factory=list)
    num_left_out: int = 0
    known: dict[tuple[object, ...], int] = field(default_factory=dict)


def training_set(
    records: Iterable[Record],
    *,
    open_screenshot: OpenScreenshot | None = None,
    compared_by: PairSettings | None = None,
) -> TrainingSet:
    """The rows and pairs of `records`.

    Steps and steps of trajectories are rows with labels, and those of one state whose five labels
    are known are compared as `compared_by` says. A pair's two actions are rows without labels,
    unless both are there with labels at one state, wherever in `records` those stand.

    Args:
        records: Of any kind, also mixed.
        open_screenshot: Opens the picture that a record names; None leaves pictures out.
        compared_by: Which labelled steps become pairs; None for the defaults.
    """
    columns = _Columns()
    pairs: list[PairRecord] = []
    for record in records:
        if isinstance(record, StepRecord):
            _add_step(columns, record, open_screenshot)
        elif isinstance(record, TrajectoryRecord):
            for step in _steps_of(record):
                _add_step(columns, step, open_screenshot)
        else:
            pairs.append(record)
    for pair in pairs:
        _add_pair(columns, pair, open_screenshot)
    return _with_pairs(_closed(columns), compared_by or PairSettings())


def compare(rows: TrainingSet, settings: PairSettings) -> tuple[_Indices, _Floats]:
    """The pairs of labelled rows: `[m, 2]` int64, better and worse, and `[m]` weights."""
    totals = rows.labels @ _SCALES
    trusted = rows.rollouts >= settings.min_rollouts
    usable = np.flatnonzero(trusted & np.isfinite(totals))
    found: list[tuple[int, int]] = []
    for group in _groups(rows.states, usable):
        pairs = pairs_of_state(rows, group, values=totals, least=settings.min_difference)
        found += _widest(pairs, totals, settings)
    if settings.across_endings:
        success = rows.labels[:, DIMENSIONS.index(Dimension.ODDS_OF_SUCCESS)]
        for group in _groups(rows.episodes, usable[rows.is_final[usable]]):
            pairs = [
                (a, b)
                for a, b in _apart(group, totals, settings.min_difference)
                if rows.states[a] != rows.states[b]
            ]
            found += [
                (a, b) for a, b in _widest(pairs, totals, settings) if success[a] > success[b]
            ]
    rows_of = np.array(found, np.int64).reshape(-1, 2)
    return rows_of, rows.weights[rows_of].min(axis=1) if len(rows_of) else np.zeros(0)


def pairs_of_state(
    rows: TrainingSet, state: Sequence[int], *, values: _Floats, least: float
) -> list[tuple[int, int]]:
    """The rows of one state that `values` tell apart, the better one first.

    Rows of one action make no pair: trajectories that begin alike label one action twice.

    Args:
        rows: All rows, n of them.
        state: Those of the state.
        values: `[n]`, what is compared.
        least: Difference, above 0.
    """
    return [
        (a, b)
        for a, b in _apart(state, values, least)
        if rows.steps[a].action != rows.steps[b].action
    ]


def _apart(group: Sequence[int], values: _Floats, least: float) -> Iterator[tuple[int, int]]:
    return ((a, b) for a in group for b in group if values[a] - values[b] >= least)


def _widest(
    pairs: list[tuple[int, int]], totals: _Floats, settings: PairSettings
) -> list[tuple[int, int]]:
    if settings.max_per_state is None:
        return pairs
    pairs.sort(key=lambda pair: totals[pair[1]] - totals[pair[0]])
    return pairs[: settings.max_per_state]


def _groups(keys: _Indices, rows: _Indices) -> Iterator[list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for row in rows.tolist():
        groups[int(keys[row])].append(row)
    return (group for group in groups.values() if len(group) > 1)


def _add_step(columns: _Columns, record: StepRecord, open_screenshot: OpenScreenshot | None) -> int:
    step = _step_of(record, record.action, open_screenshot)
    values = np.array(record.labels.values())
    if record.is_scaled:
        values = values / _SCALES
    episode = (record.environment, record.task, record.seed, record.trajectory)
    columns.known.setdefault(_place(record, step), len(columns.steps))
    return _append(
        columns,
        step,
        tuple(values.tolist()),
        rollouts=_rollouts(record),
        task=record.task,
        episode=episode,
        # Where no state is named, trajectories that begin alike are in one.
        state=(*_place(record, step)[:-1], record.state, record.state and record.trajectory),
        is_final=bool(record.is_final),
    )


def _add_pair(
    columns: _Columns, record: PairRecord, open_screenshot: OpenScreenshot | None
) -> None:
    if record.type is Dimension.TRAJECTORY or len(record.chosen) != 1 or len(record.rejected) != 1:
        columns.num_left_out += 1
        return
    episode = (record.environment, record.task, record.seed, record.chosen_trajectory)
    steps = [
        _step_of(record, action, open_screenshot) for action in (*record.chosen, *record.rejected)
    ]
    state = ("pair", *_place(record, steps[0])[:-1], record.state)
    known = [columns.known.get(_place(record, step)) for step in steps]
    rows = [row for row in known if row is not None]
    if len(rows) < len(steps) or len({columns.states[row] for row in rows}) > 1:
        rows = []
        for step in steps:
            place = (*state, step.action)
            if place not in columns.known:
                columns.known[place] = _append(
                    columns,
                    step,
                    (np.nan,) * len(DIMENSIONS),
                    rollouts=np.inf,
                    task=record.task,
                    episode=episode,
                    state=state,
                    is_final=False,
                )
            rows.append(columns.known[place])
    columns.pairs.append((rows[0], rows[1]))
    columns.pair_types.append(record.type)


def _place(record: StepRecord | PairRecord, step: Step) -> tuple[object, ...]:
    """What steps of one moment with one action have in common, wherever they are told of."""
    seen = (record.environment, record.task, record.seed, record.step, record.screenshot)
    return (*seen, *_texts(step))


def _append(
    columns: _Columns,
    step: Step,
    labels: tuple[float, ...],
    *,
    rollouts: float,
    task: str,
    episode: tuple[object, ...],
    state: tuple[object, ...],
    is_final: bool,
) -> int:
    columns.steps.append(step)
    columns.labels.append(labels)
    columns.rollouts.append(rollouts)
    columns.tasks.append(task)
    columns.episodes.append(episode)
    columns.states.append(state)
    columns.is_final.append(is_final)
    return len(columns.steps) - 1


def _closed(columns: _Columns) -> TrainingSet:
    num_steps, num_pairs = len(columns.steps), len(columns.pairs)
    rollouts = np.array(columns.rollouts, np.float64)
    return TrainingSet(
        steps=tuple(columns.steps),
        labels=np.array(columns.labels, np.float64).reshape(num_steps, len(DIMENSIONS)),
        # An outcome that was seen counts whole, few rollouts less.
        weights=np.clip(rollouts, 1, _FULL_ROLLOUTS) / _FULL_ROLLOUTS,
        rollouts=rollouts,
        tasks=tuple(columns.tasks),
        episodes=_numbered(columns.episodes),
        states=_numbered(columns.states),
        is_final=np.array(columns.is_final, bool),
        pairs=np.array(columns.pairs, np.int64).reshape(num_pairs, 2),
        pair_types=tuple(columns.pair_types),
        pair_weights=np.ones(num_pairs),
        num_left_out=columns.num_left_out,
    )


def _with_pairs(rows: TrainingSet, settings: PairSettings) -> TrainingSet:
    pairs, weights = compare(rows, settings)
    return replace(
        rows,
        pairs=np.concatenate([rows.pairs, pairs]),
        pair_types=(*rows.pair_types, *[Dimension.TOTAL] * len(pairs)),
        pair_weights=np.concatenate([rows.pair_weights, weights]),
    )


def _rollouts(record: StepRecord) -> float:
    """How many stand behind the labels; an outcome that was seen needs none."""
    rollouts = record.provenance.rollouts
    return np.inf if record.is_final or rollouts is None else float(rollouts)


def _steps_of(record: TrajectoryRecord) -> Iterator[StepRecord]:
    history: list[str] = []
    for step in record.steps:
        yield StepRecord(
            environment=record.environment,
            task=record.task,
            trajectory=record.trajectory,
            step=step.step,
            instruction=record.instruction,
            action=step.action,
            labels=step.labels,
            history=tuple(history),
            observation=step.observation,
            screenshot=step.screenshot,
            platform=record.platform,
            split=record.split,
            seed=record.seed,
            is_scaled=record.is_scaled,
            provenance=record.provenance,
        )
        history.append(step.action)


def _step_of(
    record: StepRecord | PairRecord, action: str, open_screenshot: OpenScreenshot | None
) -> Step:
    picture = None
    if record.screenshot is not None and open_screenshot is not None:
        picture = open_screenshot(record.screenshot)
    return Step(record.instruction, record.history, action, record.observation, picture)


def _texts(step: Step) -> tuple[object, ...]:
    return step.instruction, step.observation, step.history, step.action


def _numbered(keys: Sequence[tuple[object, ...]]) -> _Indices:
    numbers: dict[tuple[object, ...], int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
