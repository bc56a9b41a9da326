"""The files of a collection, safe against a kill at any moment.

`steps.jsonl` has the labelled steps; `episodes.jsonl` one line an episode, with the size of
`steps.jsonl` behind it; `collect.json` what was asked for. An episode counts from the moment its
line in `episodes.jsonl` is whole: steps beyond the last such line are cut off and made again.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from similar_fast.collect.rollouts import Counts
from similar_fast.collect.worker import Unit, UnitResult
from similar_fast.errors import DataError
from similar_fast.files.file_lock import lock_file
from similar_fast.files.growing_file import cut_back, make_safe, open_growing
from similar_fast.files.whole_file import write_whole

__all__ = ["EPISODES", "PLAN", "STEPS", "Journal", "sum_costs"]

PLAN, STEPS, EPISODES = "collect.json", "steps.jsonl", "episodes.jsonl"
_ROW = (
    "task",
    "seed",
    "status",
    "labels",
    "sampled",
    "success",
    "costs",
    "seconds",
    "error",
    "end",
)
_SHOWN = 60


class Journal:
    """The open files of one collection; no other process can write to them meanwhile.

    Args:
        folder: Where; made where it is missing and `resume` is not set.
        plan: What is asked for, fit for JSON: tasks, seeds, settings, versions.
        resume: Whether a collection that was begun is to be gone on with.

    Attributes:
        rows: The lines of `episodes.jsonl` as data, in their order.

    Raises:
        FileExistsError: The folder holds a collection with an episode and `resume` is not set, or
            files of these names that belong to none.
        DataError: `resume` is set and it holds none; it holds one of another plan, a file was
            altered, or another process writes.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], *, resume: bool) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        _refuse(folder, resume=resume)
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self._episodes = stack.enter_context(open_growing(folder / EPISODES))
            lock_file(self._episodes, folder / EPISODES)
            # Another process may have begun, and ended, since the first look.
            _refuse(folder, resume=resume)
            if (folder / PLAN).exists() and (resume or not _is_bare(folder)):
                _check_plan(folder / PLAN, plan)
            else:
                write_whole(folder / PLAN, (json.dumps(plan, indent=2) + "\n").encode())
            self._steps = stack.enter_context(open_growing(folder / STEPS))
            self._take_up()
            self._open = stack.pop_all()

    def _take_up(self) -> None:
        """Reads the whole lines, and cuts off what no whole line vouches for."""
        path = self.folder / EPISODES
        size = 0
        for number, line in enumerate(self._episodes.readlines(), 1):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                missing = [name for name in _ROW if name not in row]
            except (ValueError, TypeError) as error:
                raise DataError(f"not an episode: {line[:80]!r}", path=path, line=number) from error
            if not isinstance(row, dict) or missing or not isinstance(row["end"], int):
                raise DataError(f"not an episode: {line[:80]!r}", path=path, line=number)
            self.rows.append(row)
            size += len(line)
        end = self.rows[-1]["end"] if self.rows else 0
        found = os.fstat(self._steps.fileno()).st_size
        if found < end:
            raise DataError(f"it has {found} bytes; expected {end}", path=self.folder / STEPS)
        cut_back(self._episodes, size)
        cut_back(self._steps, end)

    @property
    def finished(self) -> set[Unit]:
        """The units that need no more work; failed ones are tried again."""
        return {Unit(r["task"], r["seed"]) for r in self.rows if r["status"] != "failed"}

    def append(self, result: UnitResult) -> None:
        """Makes a unit last: its steps first, then the line that vouches for them."""
        self._steps.write(b"".join(line + b"\n" for line in result.lines))
        end = make_safe(self._steps)
        row = {
            "task": result.unit.task,
            "seed": result.unit.seed,
            "status": result.status,
            "labels": len(result.lines),
            "sampled": result.num_sampled,
            "success": result.success,
            "mean_length": result.mean_length,
            "costs": result.counts,
            "seconds": round(result.seconds, 3),
            "error": result.error,
            "end": end,
        }
        self._episodes.write(json.dumps(row).encode() + b"\n")
        make_safe(self._episodes)
        self.rows.append(row)

    def close(self) -> None:
        """Closes the files."""
        self._open.close()


def sum_costs(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """What episodes have cost together, by name.

    Args:
        rows: Lines of `episodes.jsonl` as data.
    """
    total = Counter(Counts().to_dict())
    for row in rows:
        total.update(row["costs"])
    return dict(total)


def _refuse(folder: Path, *, resume: bool) -> None:
    """Refuses what must not be written over, and to resume where nothing was begun."""
    if (folder / PLAN).exists():
        if not resume and not _is_bare(folder):
            raise FileExistsError(f"{folder} holds a collection; expected --resume, or another")
        return
    for name in (STEPS, EPISODES):
        path = folder / name
        if path.exists() and path.stat().st_size:
            raise FileExistsError(f"{path} exists, and no {PLAN} beside it; expected a new folder")
    if resume:
        raise DataError(f"{folder} holds no collection to resume; expected {PLAN} in it")


def _is_bare(folder: Path) -> bool:
    """Whether a collection was begun and has no episode yet: no browser was found, say."""
    path = folder / EPISODES
    return not path.exists() or not path.stat().st_size


def _check_plan(path: Path, plan: Mapping[str, Any]) -> None:
    """Compares what is asked for now with what was asked for at the start."""
    try:
        before, now = _flat(json.loads(path.read_bytes())), _flat(json.loads(json.dumps(plan)))
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"no plan of a collection: {error}", path=path) from error
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differing:
        name = min(differing)
        raise DataError(
            f"the collection was begun with another {name}: {before.get(name)!r:.{_SHOWN}}; "
            f"expected the same, got {now.get(name)!r:.{_SHOWN}}",
            path=path,
        )


def _flat(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan, with the settings in it one by one."""
    flat: dict[str, Any] = {}
    for name, value in plan.items():
        flat.update(
            {f"{name}.{key}": inner for key, inner in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
    return flat
