"""Published forms written from records, and the part of the published data that is at hand."""

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from similar_fast.dimensions import DIMENSION_INFO, DIMENSIONS, Dimension
from similar_fast.records import PairRecord, TrajectoryRecord
from similar_fast.srm.readers import read_data

FIELDS = (
    *("compare_id", "step_idx", "instruction", "type", "reason_steps", "image_url"),
    *("chosen_action", "rejected_action", "chosen", "rejected", "chosen_score", "rejected_score"),
)


def published(name: str) -> Path:
    """A file of the published data; the test says that it did not run where there is none."""
    folder = os.environ.get("SIMILAR_FAST_SRM_DATA")
    if not folder:
        pytest.skip("not run: SIMILAR_FAST_SRM_DATA names no folder with the published data")
    return Path(folder) / f"{name}.jsonl"


def trajectories(name: str, split: str) -> list[TrajectoryRecord]:
    """The trajectories of one split of a published file."""
    records = read_data(published(name))
    return [r for r in records if isinstance(r, TrajectoryRecord) and r.split == split]


def steps_text(actions: Iterable[str]) -> str:
    """Actions as the published builder words them."""
    return "".join(f"Step {i} : {action}\n\n" for i, action in enumerate(actions, 1))


def messages(pair: PairRecord, actions: tuple[str, ...]) -> str:
    """A message list as `repr` writes it, in the shape of the published ones."""
    words = steps_text(actions) if pair.type is Dimension.TRAJECTORY else actions[0]
    goal = f"\n[INSTRUCTION]: {pair.instruction}\n[REASON_STEPS]: {steps_text(pair.history)}\n"
    return repr(
        [
            {"role": "system", "content": [{"type": "text", "text": "\nYou are an agent.\n"}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": goal}, {"type": "image", "image": "x.png"}],
            },
            {"role": "assistant", "content": words},
        ]
    )


def preference_row(pair: PairRecord, *, is_swapped: bool = False) -> dict[str, object]:
    """One row of the preference CSV."""
    columns = [
        steps_text(side) if pair.type is Dimension.TRAJECTORY else side[0]
        for side in (pair.chosen, pair.rejected)
    ]
    if is_swapped:
        columns.reverse()
    return {
        "compare_id": f"WebArena_{pair.task}_{pair.chosen_trajectory}"
        f"_vs_{pair.rejected_trajectory}",
        "step_idx": pair.step,
        "instruction": pair.instruction,
        "type": DIMENSION_INFO[pair.type].upstream,
        "reason_steps": steps_text(pair.history),
        "image_url": f"https://example.invalid/item/{pair.observation}.png",
        "chosen_action": columns[0],
        "rejected_action": columns[1],
        "chosen": messages(pair, pair.chosen),
        "rejected": messages(pair, pair.rejected),
        "chosen_score": pair.chosen_label,
        "rejected_score": pair.rejected_label,
    }


def csv_text(fields: Iterable[str], rows: Iterable[dict[str, object]]) -> str:
    """A CSV file as Python's own writer makes it."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, fieldnames=list(fields))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def preference_csv(pairs: Iterable[PairRecord]) -> str:
    """Pairs as the preference CSV."""
    return csv_text(FIELDS, map(preference_row, pairs))


def step_row(trajectory: TrajectoryRecord, index: int) -> dict[str, object]:
    """One row of the step CSV, under the published names of its columns."""
    step = trajectory.steps[index]
    labels = zip(DIMENSIONS, step.labels.values(), strict=True)
    return {
        "task_ID": trajectory.trajectory,
        "instruction": trajectory.instruction,
        "step_idx": step.step,
        "observation_url": f"https://example.invalid/item/{step.observation}.png",
        "action": step.action,
        **{DIMENSION_INFO[dimension].upstream: value for dimension, value in labels},
    }


def step_csv(records: Iterable[TrajectoryRecord]) -> str:
    """Trajectories as the step CSV."""
    fields = ("task_ID", "instruction", "step_idx", "observation_url", "action")
    rows = [step_row(record, i) for record in records for i in range(len(record.steps))]
    return csv_text((*fields, "IP", "E", "TC", "TR", "C"), rows)


def nested_json(records: Iterable[TrajectoryRecord], *, indent: int | None = None) -> str:
    """Trajectories as the nested document, step keys in string order."""
    document: dict[str, dict[str, dict[str, object]]] = {}
    for record in records:
        rows = {str(record.steps[i].step): step_row(record, i) for i in range(len(record.steps))}
        for row in rows.values():
            del row["task_ID"], row["step_idx"]
        steps = {key: rows[key] for key in sorted(rows)}
        document.setdefault(record.task, {})[record.trajectory] = steps
    return json.dumps(document, indent=indent)
