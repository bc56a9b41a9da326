"""The files of a collection, safe against a kill at any moment.

`steps.jsonl` has the labelled steps; `episodes.jsonl` one line an episode, with the size of
`steps.jsonl` behind it; `collect.json` what was asked for. An episode counts from the moment its
line in `episodes.jsonl` is whole: steps beyond the last such line are cut off and made again.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from similar_fast.collect.rollouts import Counts
from similar_fast.collect.worker import Unit, UnitResult
from similar_fast.errors import DataError
from similar_fast.file_lock import lock_file
from similar_fast.whole_file import write_whole

__all__ = ["EPISODES", "PLAN", "STEPS", "Journal", "sum_costs"]

PLAN, STEPS, EPISODES = "collect.json", "steps.jsonl", "episodes.jsonl"


class Journal:
    """The open files of one collection; no other process can write to them meanwhile.

    Args:
        folder: Where; made where it is missing.
        plan: What is asked for, fit for JSON: tasks, seeds, settings, versions.
        resume: Whether a collection that was begun is to be gone on with.

    Attributes:
        rows: The lines of `episodes.jsonl` as data, in their order.

    Raises:
        FileExistsError: The folder holds a collection and `resume` is not set.
        DataError: It holds one of another plan, a file was altered, or another process writes.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], *, resume: bool) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / PLAN).exists():
            if not resume:
                raise FileExistsError(f"{folder} holds a collection; expected --resume, or another")
            _check_plan(folder / PLAN, plan)
        else:
            write_whole(folder / PLAN, (json.dumps(plan, indent=2) + "\n").encode())
        self._steps = _opened(folder / STEPS)
        self._episodes = _opened(folder / EPISODES)
        try:
            lock_file(self._episodes, folder / EPISODES)
            self._take_up()
        except BaseException:
            self.close()
            raise

    def _take_up(self) -> None:
        """Reads the whole lines, and cuts off what no whole line vouches for."""
        path = self.folder / EPISODES
        size = 0
        for number, line in enumerate(self._episodes.readlines(), 1):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                Unit(row["task"], row["seed"])
                end = int(row["end"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"not an episode: {line[:80]!r}", path=path, line=number) from error
            self.rows.append(row)
            size += len(line)
        end = self.rows[-1]["end"] if self.rows else 0
        found = os.fstat(self._steps.fileno()).st_size
        if found < end:
            raise DataError(f"it has {found} bytes; expected {end}", path=self.folder / STEPS)
        _cut(self._episodes, size)
        _cut(self._steps, end)

    @property
    def finished(self) -> set[Unit]:
        """The units that need no more work; failed ones are tried again."""
        return {Unit(r["task"], r["seed"]) for r in self.rows if r["status"] != "failed"}

    @property
    def steps_path(self) -> Path:
        """The file of labelled steps."""
        return self.folder / STEPS

    def append(self, result: UnitResult) -> None:
        """Makes a unit last: its steps first, then the line that vouches for them."""
        self._steps.write(b"".join(line + b"\n" for line in result.lines))
        end = _flushed(self._steps)
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
        _flushed(self._episodes)
        self.rows.append(row)

    def close(self) -> None:
        """Closes the files."""
        self._steps.close()
        self._episodes.close()


def sum_costs(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """What episodes have cost together, by name.

    Args:
        rows: Lines of `episodes.jsonl` as data.
    """
    total = Counter(Counts().to_dict())
    for row in rows:
        total.update(row["costs"])
    return dict(total)


def _check_plan(path: Path, plan: Mapping[str, Any]) -> None:
    """Compares what is asked for now with what was asked for at the start."""
    try:
        before = json.loads(path.read_bytes())
        differing = [name for name in {**before, **plan} if before.get(name) != _json(plan, name)]
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"no plan of a collection: {error}", path=path) from error
    if differing:
        name = min(differing)
        raise DataError(
            f"the collection was begun with another {name}: {before.get(name)!r}; "
            f"expected the same, got {plan.get(name)!r}",
            path=path,
        )


def _json(plan: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401  # what JSON makes of it
    return json.loads(json.dumps(plan.get(name)))


def _opened(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")


def _cut(stream: BinaryIO, size: int) -> None:
    stream.truncate(size)
    stream.seek(size)


def _flushed(stream: BinaryIO) -> int:
    stream.flush()
    os.fsync(stream.fileno())
    return stream.tell()
