"""Rows that no stage sees, on which a model is measured: whole tasks, or episodes of one task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from similar_fast.components import components
from similar_fast.srm.splits import plain_instruction
from similar_fast.train.data import TrainingSet
from similar_fast.train.split import hold_out

__all__ = ["HeldOut", "SplitBy", "hold_out_rows"]

SplitBy = Literal["task", "episode", "none"]
"""What keeps the rows that a model is measured on apart from those that it is trained on."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What no stage sees.

    Attributes:
        rows: `[n]` bool.
        by: What keeps them apart from the others.
    """

    rows: NDArray[np.bool_]
    by: SplitBy


def hold_out_rows(
    rows: TrainingSet, *, tasks: Sequence[str] = (), share: float, seed: int
) -> HeldOut:
    """The rows of `tasks`; where none is named, of a drawn share of the tasks.

    Drawn tasks that share an instruction stay together. One task alone is split by episodes, and
    those that share a state, as trajectories that begin alike do, stay together.

    Args:
        rows: All rows, n of them.
        tasks: The tasks by name.
        share: Of the tasks, in [0, 1).
        seed: Of the draw.

    Raises:
        ValueError: A task is not there, or `share` is out of its range.
    """
    if tasks:
        if missing := set(tasks) - set(rows.tasks):
            raise ValueError(
                f"the data has no task {min(missing)!r} to validate on; it has "
                f"{', '.join(sorted(set(rows.tasks)))[:300]}"
            )
        return HeldOut(rows.of_tasks(tasks), "task")
    instructions = [plain_instruction(step.instruction) for step in rows.steps]
    joined_tasks = components(zip(rows.tasks, instructions, strict=True))
    groups = [joined_tasks[task] for task in rows.tasks]
    by: SplitBy = "task"
    if len(set(rows.tasks)) == 1:
        episodes = rows.episodes.tolist()
        joined = components(zip(episodes, rows.states.tolist(), strict=True))
        groups, by = [str(joined[episode]) for episode in episodes], "episode"
    split = hold_out(groups, share=share, seed=seed)
    if split.by != "group":
        return HeldOut(np.zeros(len(rows), bool), "none")
    return HeldOut(split.held_out, by)
