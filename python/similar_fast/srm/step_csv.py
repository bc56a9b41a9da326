"""The step CSV: one labelled step a row."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from similar_fast.errors import DataError
from similar_fast.records import StepRecord
from similar_fast.srm.csv_rows import CsvRow
from similar_fast.srm.lines import BadRow
from similar_fast.srm.published import Origin, labels_of, observation_id, task_of_trajectory

__all__ = ["COLUMN_NAMES", "column_names", "read_steps"]

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "trajectory": ("trajectory", "traj", "traj_id", "trajectory_id", "task_id"),
    "task": ("task",),
    "step": ("step", "step_idx", "step_id"),
    "instruction": ("instruction", "goal"),
    "action": ("action",),
    "IP": ("ip", "odds_of_success", "os"),
    "E": ("e", "efficiency"),
    "TC": ("tc", "helpfulness", "h"),
    "TR": ("tr", "task_relevance"),
    "C": ("c", "coherence"),
    "observation": ("observation", "observation_url", "image_url"),
    "split": ("split",),
}
"""What a column may be called, whatever its capitals; the first that is there counts."""

_NEEDED = ("trajectory", "step", "instruction", "action")


def column_names(header: Sequence[str]) -> list[str]:
    """What each column of the header is called here; a column of no known name keeps its own.

    Raises:
        ValueError: A column that is needed is missing, or all labels are.
    """
    plain = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in header]
    names = list(header)
    found: set[str] = set()
    for ours, accepted in COLUMN_NAMES.items():
        here = next((plain.index(name) for name in accepted if name in plain), None)
        # With a column of the trajectories, upstream's `task_ID` is what it says.
        if here is None and ours == "task" and "trajectory" in found and "task_id" in plain:
            at = plain.index("task_id")
            here = None if names[at] == "trajectory" else at
        if here is not None:
            names[here] = ours
            found.add(ours)
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise ValueError(f"the column {missing[0]} is missing; found {', '.join(header)}"[:300])
    if not found & {"IP", "E", "TC", "TR", "C"}:
        raise ValueError(f"there is no label; found the columns {', '.join(header)}"[:300])
    return names


def read_steps(
    rows: Iterator[CsvRow | BadRow], header: Sequence[str], *, path: Path, origin: Origin
) -> Iterator[StepRecord | BadRow]:
    """The steps of the rows below the header.

    Args:
        rows: The rows.
        header: The names of the columns, as `column_names` gives them.
        path: The file, for the words of an error.
        origin: What the form does not say.
    """
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        try:
            yield _step(dict(zip(header, row.fields, strict=True)), origin)
        except ValueError as err:
            yield BadRow(DataError(f"no step: {err}", path=path, line=row.line), row.raw)


def _step(row: dict[str, str], origin: Origin) -> StepRecord:
    step = row["step"].strip()
    if not re.fullmatch(r"\d{1,9}(?:\.0)?", step):
        raise ValueError(f"the step is {step!r:.40}; expected a number")
    trajectory = row["trajectory"]
    return StepRecord(
        environment=origin.environment,
        platform=origin.platform,
        task=row.get("task") or task_of_trajectory(trajectory),
        trajectory=trajectory,
        step=int(step.removesuffix(".0")),
        instruction=row["instruction"],
        action=row["action"],
        labels=labels_of(row),
        observation=observation_id(row.get("observation", "")),
        split=row.get("split", ""),
        is_scaled=origin.is_scaled,
        provenance=origin.provenance,
    )
