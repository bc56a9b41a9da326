"""Folds of whole tasks; what would tell one task's answers to another stays in one fold."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from published.actions import words
from similar_fast.records import TrajectoryRecord

ALIKE = 0.6
"""Share of common words from which two instructions are one template."""


def task_groups(records: Sequence[TrajectoryRecord]) -> dict[str, str]:
    """The group of each task, by the name of one of its tasks.

    Tasks are of one group where their instructions share `ALIKE` of their words (Jaccard), or where
    a trajectory of two steps or more stands in both, action for action.
    """
    tasks = {record.task: frozenset(words(record.instruction)) for record in records}
    parent = {task: task for task in tasks}

    def root(task: str) -> str:
        while parent[task] != task:
            task = parent[task]
        return task

    names = sorted(tasks)
    for i, one in enumerate(names):
        for other in names[:i]:
            together = tasks[one] | tasks[other]
            if len(tasks[one] & tasks[other]) >= ALIKE * len(together):
                parent[root(one)] = root(other)
    copies: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for record in records:
        if len(record.steps) > 1:
            copies[tuple(step.action for step in record.steps)].add(record.task)
    for shared in copies.values():
        first, *others = sorted(shared)
        for task in others:
            parent[root(task)] = root(first)
    return {task: root(task) for task in names}


def fold_of_groups(
    groups: dict[str, str], tasks: Sequence[str], *, num_folds: int
) -> dict[str, int]:
    """The fold of each task: the largest groups first, each to the fold that has least.

    Args:
        groups: The group of each task.
        tasks: The task of each pair; a group counts as the root of its pairs.
        num_folds: At least 2; no more than there are groups are filled.
    """
    sizes = Counter(groups[task] for task in tasks)
    load = [0.0] * num_folds
    fold: dict[str, int] = {}
    for group in sorted(set(groups.values()), key=lambda name: (-sizes[name], name)):
        fold[group] = int(np.argmin(load))
        load[fold[group]] += math.sqrt(sizes[group])
    return {task: fold[group] for task, group in groups.items()}


def task_weights(tasks: Sequence[str]) -> NDArray[np.float64]:
    """`[n]`, such that each task weighs the same, whatever its rows; 1 in the mean."""
    counts = Counter(tasks)
    weights = np.array([1 / counts[task] for task in tasks], np.float64)
    return weights / weights.mean() if len(weights) else weights
