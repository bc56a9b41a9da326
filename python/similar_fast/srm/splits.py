"""Train and eval splits that do not leak: a task is on one side with all its records."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeVar

import msgspec

from similar_fast.components import components
from similar_fast.records import PairRecord, Record, StepRecord, TrajectoryRecord

__all__ = ["By", "Split", "assign_splits", "plain_instruction", "split_of", "with_split"]

By = Literal["task", "environment"]
Split = Literal["train", "eval"]
_R = TypeVar("_R", bound=StepRecord | TrajectoryRecord | PairRecord)
_Node = tuple[str, str]


def plain_instruction(text: str) -> str:
    """An instruction without what does not change it: case and the spaces between words."""
    return " ".join(text.casefold().split())


def assign_splits(
    records: Iterable[Record], *, eval_share: float = 0.2, seed: int = 0, by: By = "task"
) -> dict[_Node, Split]:
    """The split of every task, by (environment, task).

    Tasks that share an instruction, in whatever environment, stay together, and so do tasks that a
    chain of such tasks joins. Groups are taken in an order that the seed and their names fix, so
    that a task keeps its place when others are added; a group that would make the eval split larger
    than its share is left for train.

    Args:
        records: Of every file that is to be split; only the names of the tasks are held.
        eval_share: The share of tasks that the eval split is to have, in [0, 1]. It has a task at
            least where the share is not 0 and train keeps one.
        seed: Seeds the order.
        by: What is held out: `task`, or `environment` for whole environments.

    Raises:
        ValueError: `eval_share` is out of its range, or `by` none of the two.
    """
    if not 0 <= eval_share <= 1:
        raise ValueError(f"eval_share is {eval_share}; expected a number in [0, 1]")
    if by not in {"task", "environment"}:
        raise ValueError(f"by is {by!r}; expected task or environment")
    groups = _groups(records, by)
    target = round(eval_share * sum(map(len, groups)))
    groups.sort(key=lambda group: _place(group, seed))
    chosen: set[_Node] = set()
    for group in groups:
        if len(chosen) + len(group) <= target:
            chosen.update(group)
    if not chosen and eval_share > 0 and len(groups) > 1:
        smallest = min(groups, key=len)
        chosen.update(smallest)
    return {node: "eval" if node in chosen else "train" for group in groups for node in group}


def split_of(record: Record, splits: Mapping[_Node, Split]) -> Split:
    """The split of the record's task.

    Raises:
        KeyError: Its task was not among those that were split.
    """
    return splits[record.environment, record.task]


def with_split(record: _R, split: str) -> _R:
    """The record with another split."""
    return msgspec.structs.replace(record, split=split)


def _groups(records: Iterable[Record], by: By) -> list[list[_Node]]:
    """The tasks that must stay together, each group and all of them in order of their names."""
    joined = components(_keys(records, by))
    groups: dict[_Node, list[_Node]] = {}
    for task in sorted(joined):
        groups.setdefault(joined[task], []).append(task)
    return list(groups.values())


def _keys(records: Iterable[Record], by: By) -> Iterator[tuple[_Node, tuple[str, str]]]:
    """The tasks, each with what joins it to others."""
    for record in records:
        task = record.environment, record.task
        yield task, ("instruction", plain_instruction(record.instruction))
        if by == "environment":
            yield task, ("environment", record.environment)


def _place(group: list[_Node], seed: int) -> bytes:
    return hashlib.sha256(msgspec.json.encode((seed, group[0]))).digest()
