"""The records under audit, each with its place, and the views of them that the checks take."""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from similar_fast.dimensions import Dimension
from similar_fast.errors import DataError
from similar_fast.records import Labels, PairRecord, Record, StepRecord, TrajectoryRecord
from similar_fast.srm.audit.findings import Finding, Place, share
from similar_fast.srm.audit.sample import Sample, draw_groups
from similar_fast.srm.csv_rows import CsvRow, read_csv
from similar_fast.srm.encodings import Encoding, encoding_of_lines
from similar_fast.srm.forms import form_of
from similar_fast.srm.lines import read_lines
from similar_fast.srm.pairs import (
    pairs_of_states,
    pairs_of_trajectories,
    trajectories_of_steps,
)
from similar_fast.srm.readers import read_data

__all__ = ["AuditData", "PairRow", "Run", "StepRow", "load", "part_name", "sample_notes"]

_PER_STATE = 3
_PER_TASK = 32
_SPLIT_WORDS = re.compile(r"(?<![a-z])(train|eval|test|valid(?:ation)?|dev)(?![a-z])")


@dataclass(frozen=True, slots=True)
class PairRow:
    """A pair and where it stands; a pair made of trajectories stands where its better one does."""

    place: Place
    record: PairRecord

    @property
    def has_sides(self) -> bool:
        """Whether both sides have one action, or of a pair of trajectories at least one."""
        sizes = len(self.record.chosen), len(self.record.rejected)
        return min(sizes) >= 1 if self.record.type is Dimension.TRAJECTORY else sizes == (1, 1)


@dataclass(frozen=True, slots=True)
class StepRow:
    """One labelled action; the fields are those of `StepRecord`, `place` is where it stands.

    Attributes:
        run: The trajectory, with what its name is unique in: environment, task, seed, name.
    """

    place: Place
    run: tuple[str, str, int | None, str]
    platform: str
    split: str
    step: int
    instruction: str
    history: tuple[str, ...]
    action: str
    labels: Labels
    observation: str
    state: str
    is_scaled: bool


@dataclass(frozen=True, slots=True)
class Run:
    """The steps of one trajectory.

    Attributes:
        place: Where it stands, or its first step does.
        steps: In the order of the file, at least one.
        is_branched: Whether several steps may have one number, being candidates of one state.
    """

    place: Place
    steps: tuple[StepRow, ...]
    is_branched: bool


@dataclass(frozen=True)
class AuditData:
    """What is audited.

    Attributes:
        files: The files, in the order given.
        records: Every record with its place, in the order of the files.
        bad: The rows that are no records.
    """

    files: tuple[Path, ...]
    records: tuple[tuple[Place, Record], ...]
    bad: tuple[DataError, ...] = ()

    @cached_property
    def encodings(self) -> dict[Path, Encoding]:
        """The encoding of each file of text, `utf-8` for plain ASCII."""
        return {path: _encoding(path) for path in self.files if not _is_parquet(path)}

    @cached_property
    def all_pairs(self) -> list[PairRow]:
        """The pairs that the files hold, those of too few or too many actions included."""
        return [PairRow(place, r) for place, r in self.records if isinstance(r, PairRecord)]

    @cached_property
    def pairs(self) -> list[PairRow]:
        """The pairs that compare what their type says: two actions, or two trajectories."""
        return [row for row in self.all_pairs if row.has_sides]

    @cached_property
    def trajectories(self) -> list[tuple[Place, TrajectoryRecord]]:
        """The trajectories that the files hold."""
        return [(place, r) for place, r in self.records if isinstance(r, TrajectoryRecord)]

    @cached_property
    def steps(self) -> list[StepRow]:
        """The steps that the files hold, alone or in trajectories."""
        found: list[StepRow] = []
        for place, record in self.records:
            if isinstance(record, StepRecord):
                found.append(_step_row(place, record))
            elif isinstance(record, TrajectoryRecord):
                found.extend(_trajectory_rows(place, record))
        return found

    @cached_property
    def runs(self) -> list[Run]:
        """The trajectories that have steps, whole or put together from single steps."""
        found = [
            Run(place, tuple(_trajectory_rows(place, r)), is_branched=False)
            for place, r in self.trajectories
            if r.steps
        ]
        single: defaultdict[object, list[StepRow]] = defaultdict(list)
        for place, record in self.records:
            if isinstance(record, StepRecord) and record.trajectory:
                row = _step_row(place, record)
                single[row.run, row.split].append(row)
        for rows in single.values():
            is_branched = any(row.state for row in rows)
            found.append(Run(rows[0].place, tuple(rows), is_branched=is_branched))
        return found

    @cached_property
    def derived(self) -> list[PairRow]:
        """The pairs that the trajectories make, of the environments and splits that hold pairs.

        They are made by the rules of `similar_fast.srm.pairs`. Steps that stand alone are put
        together to trajectories, but for those of named states.
        """
        whole = (r for r in self._whole if (r.environment, r.split) in self._given)
        return self._placed(pairs_of_trajectories(whole))

    @cached_property
    def compared(self) -> list[PairRow]:
        """The pairs of the files, and of the labelled steps of a split that has no pairs.

        The latter are those of `sampled`: of a part that has many couples, some.
        """
        trajectories: list[TrajectoryRecord] = []
        steps: list[StepRecord] = []
        for of_tasks, of_states in self.sampled.values():
            trajectories += of_tasks.items
            steps += of_states.items
        more = chain(pairs_of_trajectories(trajectories), pairs_of_states(steps))
        return [*self.pairs, *self._placed(more)]

    @cached_property
    def sampled(self) -> dict[str, tuple[Sample[TrajectoryRecord], Sample[StepRecord]]]:
        """By part without pairs: the trajectories and the steps of named states to make pairs of.

        Of a state at most three actions are taken, of a task with others all that there are, as
        long as the part has no more than `MAX_COUPLES` couples.
        """
        trajectories: defaultdict[str, list[TrajectoryRecord]] = defaultdict(list)
        steps: defaultdict[str, list[StepRecord]] = defaultdict(list)
        for record in self._whole:
            if (record.environment, record.split) not in self._given:
                trajectories[_part_of(record)].append(record)
        for step in self._of_states():
            if (step.environment, step.split) not in self._given:
                steps[_part_of(step)].append(step)
        return {
            part: (
                draw_groups(
                    trajectories[part],
                    [(r.environment, r.platform, r.task, r.seed) for r in trajectories[part]],
                    seed=part,
                    max_group=_PER_TASK,
                ),
                draw_groups(
                    steps[part],
                    [(r.environment, r.task, r.state) for r in steps[part]],
                    seed=part,
                    max_group=_PER_STATE,
                ),
            )
            for part in dict.fromkeys((*trajectories, *steps))
        }

    @cached_property
    def _given(self) -> set[tuple[str, str]]:
        """The environments and splits that hold pairs."""
        return {(row.record.environment, row.record.split) for row in self.pairs}

    @cached_property
    def _whole(self) -> list[TrajectoryRecord]:
        alone = (r for _, r in self.records if isinstance(r, StepRecord) and not r.state)
        return [record for _, record in self.trajectories] + trajectories_of_steps(alone)

    def _of_states(self) -> list[StepRecord]:
        """The actions of named states, at most three a state, drawn by its key."""
        states: defaultdict[tuple[str, str, str], list[StepRecord]] = defaultdict(list)
        for _, record in self.records:
            if isinstance(record, StepRecord) and record.state:
                states[record.environment, record.task, record.state].append(record)
        steps: list[StepRecord] = []
        for (_, _, state), group in states.items():
            draw = random.Random(state)  # noqa: S311  # no secret
            steps += group if len(group) <= _PER_STATE else draw.sample(group, _PER_STATE)
        return steps

    def _placed(self, pairs: Iterable[PairRecord]) -> list[PairRow]:
        places: dict[tuple[str, str, str, str], Place] = {}
        for place, record in self.records:
            if not isinstance(record, PairRecord):
                names = (record.environment, record.split, record.task, record.trajectory)
                places.setdefault(names, place)
        return [
            PairRow(places[r.environment, r.split, r.task, r.chosen_trajectory], r) for r in pairs
        ]


def part_name(environment: str, platform: str, split: str) -> str:
    """What figures are told apart by, in words: `osworld linux eval`, `miniwob train`."""
    shown = "" if platform == "web" else platform
    return " ".join(filter(None, (environment, shown, split)))


def sample_notes(data: AuditData, check: str) -> list[Finding]:
    """That a check looked at some of the pairs of a part, and at how many of how many couples."""
    found: list[Finding] = []
    for part, (of_tasks, of_states) in data.sampled.items():
        drawn: tuple[tuple[str, Sample[Any]], ...] = (
            (f"trajectories of {part}", of_tasks),
            (f"actions of the states of {part}", of_states),
        )
        for noun, sample in drawn:
            if not sample.is_whole:
                looked_at = share(sample.n_couples, sample.of_couples)
                words = f"couples of {noun} were looked at: {looked_at}, drawn by a fixed seed"
                found.append(Finding(check, "note", sample.n_couples, words))
    return found


def _part_of(record: StepRecord | TrajectoryRecord) -> str:
    return part_name(record.environment, record.platform, record.split)


def load(files: Sequence[Path], *, progress: Callable[[str], None] = lambda _: None) -> AuditData:
    """Reads every record of `files`; a row that is none is kept as an error.

    A record without a split takes that of its file, where the file's name says `train`, `eval` or
    the like.

    Args:
        files: What `similar_fast.srm.readers.read_data` reads.
        progress: Told what is being read, now and then.

    Raises:
        OSError: A file cannot be read.
    """
    records: list[tuple[Place, Record]] = []
    bad: list[DataError] = []
    for path in files:
        progress(f"reading {path.name}")
        named = _SPLIT_WORDS.search(path.name.lower())
        for place, record in _placed(path, bad):
            if named and not record.split:
                record = replace(record, split=named[1])  # noqa: PLW2901  # the record as audited
            records.append((place, record))
            if len(records) % 5000 == 0:
                progress(f"{path.name}: {len(records):,} records")
    return AuditData(tuple(files), tuple(records), tuple(bad))


def _placed(path: Path, bad: list[DataError]) -> Iterator[tuple[Place, Record]]:
    """The records of one file with their lines."""
    lost: set[int] = set()

    def set_aside(error: DataError, _row: bytes) -> None:
        bad.append(error)
        if error.line is not None:
            lost.add(error.line)

    lines = _lines_of(path)
    for record in read_data(path, on_bad=set_aside):
        yield Place(path, next((line for line in lines if line not in lost), None)), record


def _lines_of(path: Path) -> Iterator[int]:
    """The lines where the rows of a file begin; none where it is one document.

    Rows of Parquet count as lines.
    """
    try:
        form = form_of(path)
    except DataError:
        return
    if form == "parquet":
        yield from count(1)
    elif form == "jsonl":
        yield from (row[0] for row in read_lines(path) if isinstance(row, tuple) and row[1].strip())
    elif form != "nested-json":
        rows = read_csv(read_lines(path), path=path, encoding=_encoding(path))
        next(rows, None)  # the header
        yield from (row.line for row in rows if isinstance(row, CsvRow))


def _encoding(path: Path) -> Encoding:
    return encoding_of_lines(row[1] for row in read_lines(path) if isinstance(row, tuple))


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def _step_row(place: Place, record: StepRecord) -> StepRow:
    return StepRow(
        place=place,
        run=(record.environment, record.task, record.seed, record.trajectory),
        platform=record.platform,
        split=record.split,
        step=record.step,
        instruction=record.instruction,
        history=record.history,
        action=record.action,
        labels=record.labels,
        observation=record.observation,
        state=record.state,
        is_scaled=record.is_scaled,
    )


def _trajectory_rows(place: Place, record: TrajectoryRecord) -> Iterator[StepRow]:
    """The steps of a trajectory in the order of the file, each with the lower-numbered before."""
    in_order = sorted(range(len(record.steps)), key=lambda i: record.steps[i].step)
    actions = tuple(record.steps[i].action for i in in_order)
    rank = {index: k for k, index in enumerate(in_order)}
    for index, step in enumerate(record.steps):
        yield StepRow(
            place=place,
            run=(record.environment, record.task, record.seed, record.trajectory),
            platform=record.platform,
            split=record.split,
            step=step.step,
            instruction=record.instruction,
            history=actions[: rank[index]],
            action=step.action,
            labels=step.labels,
            observation=step.observation,
            state="",
            is_scaled=record.is_scaled,
        )
