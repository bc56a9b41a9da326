"""What `similar-fast search` plays, and where: tasks with their seeds, and their environments."""

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from similar_fast.cli.output import Output
from similar_fast.errors import EnvError

if TYPE_CHECKING:
    from similar_fast.envs.recorded import Recorded
    from similar_fast.protocols import Environment

__all__ = ["environments", "task_pairs"]


def task_pairs(args: argparse.Namespace, output: Output) -> list[tuple[str, int]]:
    """The (task, seed) pairs to play, in order; of a group, what is recorded, and a note says so.

    Raises:
        EnvError: A task is unknown or not recorded, or nothing of a group is, or a seed is not.
    """
    from similar_fast.envs.miniwob import HELD_OUT_TASKS, TRAIN_TASKS, tasks

    groups = {"train": TRAIN_TASKS, "held-out": HELD_OUT_TASKS}
    if args.env == "recorded":
        return _recorded_pairs(args, groups, output)
    known = tasks()
    names = [task for name in args.tasks or () for task in groups.get(name, (name,))]
    if unknown := [name for name in names if name not in known]:
        close = get_close_matches(unknown[0], known, n=3) or known[:3]
        raise EnvError(
            f"{args.env} has no task {unknown[0]!r}; it has {len(known)}, close: {', '.join(close)}"
        )
    return [
        (task, seed)
        for task in dict.fromkeys(names or TRAIN_TASKS)
        for seed in args.seeds or (2000,)
    ]


def _recorded_pairs(
    args: argparse.Namespace, groups: Mapping[str, Sequence[str]], output: Output
) -> list[tuple[str, int]]:
    recorded = _recorded(args).tasks()
    listed = f"it has {len(recorded)}: {', '.join(recorded)}"
    wanted: list[str] = []
    for name in args.tasks or recorded:
        found = [task for task in groups.get(name, (name,)) if task in recorded]
        if name in groups:
            output.note(f"{name}: {len(found)} of {len(groups[name])} tasks are recorded")
        if not found:
            what = f"no task of {name}" if name in groups else f"no task {name!r}"
            raise EnvError(f"recorded has {what}; {listed}")
        wanted += found
    names = list(dict.fromkeys(wanted))
    by_name = [name for name in args.tasks or () if name not in groups]
    _check_seeds(args.seeds or (), {name: recorded[name] for name in names}, by_name)
    asked = [(task, seed) for task in names for seed in args.seeds or recorded[task]]
    pairs = [(task, seed) for task, seed in asked if seed in recorded[task]]
    if len(pairs) < len(asked):
        output.note(f"{len(pairs)} of {len(asked)} episodes are recorded")
    return pairs


def _check_seeds(
    seeds: Sequence[int], recorded: Mapping[str, Sequence[int]], by_name: Sequence[str]
) -> None:
    """Refuses a seed that a task named by itself lacks, or every task.

    Raises:
        EnvError: With the seed and those that are recorded.
    """
    for seed in seeds:
        for task in by_name:
            if seed not in recorded[task]:
                found = ", ".join(map(str, recorded[task]))
                raise EnvError(f"recorded has no {task!r} with seed {seed}; it has {found}")
        there = sorted({number for numbers in recorded.values() for number in numbers})
        if seed not in there:
            raise EnvError(f"recorded has no seed {seed}; it has {', '.join(map(str, there))}")


@contextlib.contextmanager
def environments(args: argparse.Namespace, count: int) -> Iterator[list["Environment"]]:
    """So many environments, closed together when the block ends."""
    with contextlib.ExitStack() as stack:
        if args.env == "recorded":
            yield [_recorded(args) for _ in range(count)]
            return
        from similar_fast.envs.browser import Browser
        from similar_fast.envs.miniwob import MiniWob

        browser = stack.enter_context(Browser(executable=args.chromium))
        yield [stack.enter_context(MiniWob(browser=browser)) for _ in range(count)]


def _recorded(args: argparse.Namespace) -> "Recorded":
    from similar_fast.envs.recorded import Recorded

    return Recorded(args.recordings) if args.recordings else Recorded.builtin()
