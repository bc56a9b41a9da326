"""The one schema of labelled data: steps, trajectories and pairs, one JSON object a line.

A field that holds its default is left out of a line; a label that is not known is left out, never
NaN. Screenshots are named by what is in them (`SHA-256.png` or `.webp`, in a folder beside the
file) and never stand in a line. docs/data.md has the fields in a table.
"""

import hashlib
import math
from pathlib import Path
from typing import Literal

import msgspec

from similar_fast.dimensions import DIMENSION_INFO, DIMENSIONS, Dimension
from similar_fast.errors import DataError

__all__ = [
    "SCHEMA_VERSION",
    "Labels",
    "PairRecord",
    "Platform",
    "Provenance",
    "Record",
    "StepRecord",
    "TrajectoryRecord",
    "TrajectoryStep",
    "decode_record",
    "encode_record",
    "state_key",
]

SCHEMA_VERSION = 1
"""The one version of the schema that this version of the package reads and writes."""

Platform = Literal["web", "android", "linux", "windows"]
"""Where an agent acts."""


class Labels(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The five labels of a step; None where a label is not known.

    Attributes:
        helpfulness: Signed share of the task that the step completes, about [-1, 1].
        odds_of_success: Share of rollouts from here that reach the goal, in [0, 1].
        efficiency: How much the expected remaining length shrank, over the task's, about [-1, 1].
        task_relevance: Whether the action has to do with the task, in {0, 1}.
        coherence: Whether it follows from the step before, in {0, 1}.
    """

    helpfulness: float | None = None
    odds_of_success: float | None = None
    efficiency: float | None = None
    task_relevance: float | None = None
    coherence: float | None = None

    def values(self) -> tuple[float, float, float, float, float]:
        """The five in the order of `DIMENSIONS`; NaN where a label is not known."""
        found = (
            self.helpfulness,
            self.odds_of_success,
            self.efficiency,
            self.task_relevance,
            self.coherence,
        )
        return tuple(math.nan if value is None else value for value in found)  # type: ignore[return-value]  # five

    def value(self, dimension: Dimension) -> float:
        """One label, or the weighted total that labelled steps are compared by; NaN if unknown.

        Raises:
            ValueError: `dimension` is the trajectory, which no single step has a label of.
        """
        if dimension is Dimension.TOTAL:
            weights = (DIMENSION_INFO[d].weight for d in DIMENSIONS)
            return sum(w * v for w, v in zip(weights, self.values(), strict=True))
        if dimension is Dimension.TRAJECTORY:
            raise ValueError("a step has no trajectory label")
        return self.values()[DIMENSIONS.index(dimension)]

    @property
    def plain_sum(self) -> float:
        """The sum of the five, which trajectories are compared by; NaN where one is not known."""
        return sum(self.values())


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a record comes from.

    Attributes:
        source: What made it: `collect`, the name of a published form, or the file it came from.
        policy: Who played the rollouts.
        judge: Who labelled task relevance and coherence: `proxy`, `llm:MODEL`, `published`.
        rollouts: Rollouts behind the labels; None where it is not known.
        successes: How many of them reached the goal.
        remaining: Mean number of actions that the successful ones took from here on, after this
            action.
        diverged: Rollouts of the same action that were dropped because a replay diverged.
        model: The model that proposed or played; empty where there was none.
        versions: `name=version` of every program that took part, sorted, with `, ` between.
    """

    source: str = ""
    policy: str = ""
    judge: str = ""
    rollouts: int | None = None
    successes: int | None = None
    remaining: float | None = None
    diverged: int = 0
    model: str = ""
    versions: str = ""


class StepRecord(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="step"
):
    """One labelled action at one state.

    Attributes:
        environment: `miniwob`, `webarena`, `osworld`, ...
        task: The environment's name of the task.
        trajectory: The trajectory or, in collected data, the episode it belongs to.
        step: Its place in the trajectory, from 1.
        instruction: The task in words.
        action: The action in words.
        labels: The five labels.
        history: The actions before it, in words, oldest first.
        observation: The screen in words, or an id of it where its text is not to be had.
        screenshot: Name of the picture, see the module; None where there is none.
        platform: `web`, `android`, `linux` or `windows`.
        split: `train`, `eval`, or empty.
        seed: The task's seed, in an environment that has seeds.
        state: Key of the state; records of one state compare actions of the same moment.
        is_scaled: Whether the labels are upstream's scaled integers instead of the ranges above.
        is_final: Whether the action ended the episode; None where it is not known.
        provenance: Where it comes from.
        schema: `SCHEMA_VERSION`.
    """

    environment: str
    task: str
    trajectory: str
    step: int
    instruction: str
    action: str
    labels: Labels
    history: tuple[str, ...] = ()
    observation: str = ""
    screenshot: str | None = None
    platform: Platform = "web"
    split: str = ""
    seed: int | None = None
    state: str = ""
    is_scaled: bool = False
    is_final: bool | None = None
    provenance: Provenance = Provenance()
    schema: int = SCHEMA_VERSION


class TrajectoryStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a trajectory; the fields are those of `StepRecord`."""

    step: int
    action: str
    labels: Labels
    observation: str = ""
    screenshot: str | None = None


class TrajectoryRecord(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    tag_field="kind",
    tag="trajectory",
):
    """One trajectory of a task; the fields are those of `StepRecord`.

    Attributes:
        steps: In the order of the file; numbers may be missing, and are never filled in.
    """

    environment: str
    task: str
    trajectory: str
    instruction: str
    steps: tuple[TrajectoryStep, ...]
    platform: Platform = "web"
    split: str = ""
    seed: int | None = None
    is_scaled: bool = False
    provenance: Provenance = Provenance()
    schema: int = SCHEMA_VERSION


class PairRecord(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="pair"
):
    """Two actions of one state, or two trajectories of one task, the better one named.

    Attributes:
        environment: As `StepRecord`; so are task, instruction, history, observation, screenshot,
            platform, split, seed, state and schema.
        type: What the two are compared by: a dimension, the total or the trajectory.
        chosen: The better action, in words; for a trajectory its actions in order.
        rejected: The other one.
        step: The step's number, from 1; -1 for a trajectory.
        chosen_label: The label of the better one under `type`; None where it is not known.
        rejected_label: The same of the other one.
        chosen_trajectory: The trajectory that the better one stands in.
        rejected_trajectory: The same of the other one.
        chosen_rollouts: Rollouts behind the better one's label; None where it is not known.
        rejected_rollouts: The same of the other one.
        columns_swapped: Whether the published file that it was read from names the two actions the
            other way round elsewhere in its row; chosen and rejected here are right.
        provenance: Where the pair comes from.
    """

    environment: str
    task: str
    type: Dimension
    instruction: str
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    step: int
    history: tuple[str, ...] = ()
    observation: str = ""
    screenshot: str | None = None
    chosen_label: float | None = None
    rejected_label: float | None = None
    chosen_trajectory: str = ""
    rejected_trajectory: str = ""
    chosen_rollouts: int | None = None
    rejected_rollouts: int | None = None
    platform: Platform = "web"
    split: str = ""
    seed: int | None = None
    state: str = ""
    columns_swapped: bool = False
    provenance: Provenance = Provenance()
    schema: int = SCHEMA_VERSION


Record = StepRecord | TrajectoryRecord | PairRecord
"""What a line of a data set is."""

_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """The record's line, without its line break."""
    return msgspec.json.encode(record)


def decode_record(text: bytes, *, path: Path | None = None, line: int | None = None) -> Record:
    """The record that a line holds.

    Raises:
        DataError: It is no JSON object of the schema, or of another version of it.
    """
    try:
        record = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise DataError(f"no record of the schema: {err}", path=path, line=line) from err
    if record.schema != SCHEMA_VERSION:
        raise DataError(
            f"the record has schema {record.schema}; expected {SCHEMA_VERSION}",
            path=path,
            line=line,
        )
    return record


def state_key(*parts: object) -> str:
    """16 hex characters that stand for a state: where it is and how it was reached."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]
