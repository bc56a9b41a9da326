"""`manifest.json` of a collection: what it holds, what it cost, and how its labels are spread."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from similar_fast.collect.journal import EPISODES, PLAN, STEPS, sum_costs
from similar_fast.dimensions import DIMENSIONS
from similar_fast.files.whole_file import write_whole
from similar_fast.records import SCHEMA_VERSION, StepRecord, decode_record

__all__ = ["MANIFEST", "label_statistics", "write_manifest"]

MANIFEST = "manifest.json"
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def write_manifest(folder: Path) -> dict[str, Any]:
    """Writes and returns the manifest of the collection in `folder`.

    Raises:
        DataError: A line of its steps is no labelled step.
        OSError: A file is missing, or cannot be written.
    """
    read = _Read(folder / STEPS)
    labels = label_statistics(read.steps())
    episodes = [json.loads(line) for line in (folder / EPISODES).read_text().splitlines()]
    latest = {(row["task"], row["seed"]): row for row in episodes}.values()
    manifest = {
        "schema": SCHEMA_VERSION,
        "plan": json.loads((folder / PLAN).read_text()),
        "steps": {"file": STEPS, "labels": read.by_task.total(), "sha256": read.digest.hexdigest()},
        "versions": sorted(read.versions),
        "episodes": dict(Counter(row["status"] for row in latest)),
        "labels_by_task": dict(read.by_task),
        "costs": sum_costs(episodes),
        "labels": labels,
    }
    write_whole(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    return manifest


def label_statistics(steps: Iterable[StepRecord]) -> dict[str, Any]:
    """How labels are spread and correlated, fit for JSON.

    Args:
        steps: Of each its five labels are held, and nothing else.

    Returns:
        By dimension n, mean, standard deviation and the quantiles 5, 25, 50, 75 and 95%; and
        Pearson's correlations, five by five in the order of `DIMENSIONS`, None where a column is
        constant. A label that is not known leaves its row out of what needs it.
    """
    flat = chain.from_iterable(step.labels.values() for step in steps)
    table = np.fromiter(flat, np.float64).reshape(-1, 5)
    spread: dict[str, Any] = {}
    for place, dimension in enumerate(DIMENSIONS):
        known = table[~np.isnan(table[:, place]), place]
        if not len(known):
            spread[str(dimension)] = {"n": 0}
            continue
        spread[str(dimension)] = {
            "n": len(known),
            "mean": _plain(known.mean()),
            "std": _plain(known.std()),
            "quantiles": [_plain(value) for value in np.quantile(known, _QUANTILES)],
        }
    return {"spread": spread, "pearson": _correlations(table)}


def _correlations(table: NDArray[np.float64]) -> list[list[float | None]]:
    return [[_pearson(table[:, i], table[:, j]) for j in range(5)] for i in range(5)]


def _pearson(left: NDArray[np.float64], right: NDArray[np.float64]) -> float | None:
    known = ~(np.isnan(left) | np.isnan(right))
    left, right = left[known], right[known]
    if len(left) < 2 or left.std() == 0 or right.std() == 0:
        return None
    return _plain(np.corrcoef(left, right)[0, 1])


def _plain(value: float) -> float:
    return round(float(value), 4)


class _Read:
    """What one reading of the steps' file tells beside the steps; they are not held."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.digest = hashlib.sha256()
        self.by_task: Counter[str] = Counter()
        self.versions: set[str] = set()

    def steps(self) -> Iterator[StepRecord]:
        with self._path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                self.digest.update(line)
                record = decode_record(line, path=self._path, line=number)
                if isinstance(record, StepRecord):
                    self.by_task[record.task] += 1
                    self.versions.add(record.provenance.versions)
                    yield record
