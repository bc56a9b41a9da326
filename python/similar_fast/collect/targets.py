"""What is to be labelled again: the actions of records that a collection has made before."""

import random
from collections.abc import Iterable
from pathlib import Path

from similar_fast.collect.settings import Target
from similar_fast.collect.worker import Unit
from similar_fast.errors import DataError
from similar_fast.records import PairRecord, Record, StepRecord

__all__ = ["units_of_records"]


def units_of_records(
    records: Iterable[Record],
    *,
    sample: int | None = None,
    seed: int = 0,
    path: Path | None = None,
) -> list[Unit]:
    """The episodes whose actions are to be labelled, each once, in the order of the records.

    Args:
        records: Labelled steps, or pairs of two actions; of a pair both are labelled.
        sample: So many records, drawn at random; None takes all.
        seed: Seeds the draw.
        path: The file that they come from, for errors.

    Raises:
        DataError: A record is a trajectory, or has no seed to begin its episode with.
        ValueError: `sample` is negative.
    """
    found = list(records)
    if sample is not None:
        if sample < 0:
            raise ValueError(f"sample must not be negative, got {sample}")
        rng = random.Random(seed)  # noqa: S311  # no secret
        places = sorted(rng.sample(range(len(found)), min(sample, len(found))))
        found = [found[place] for place in places]
    targets: dict[tuple[str, int], dict[Target, None]] = {}
    for record in found:
        if not isinstance(record, StepRecord | PairRecord) or record.step < 1:
            raise DataError(
                f"a whole trajectory of {record.task!r} cannot be labelled again; expected steps, "
                "or pairs of two actions (`pairs --types` leaves trajectories out)",
                path=path,
            )
        if record.seed is None:
            raise DataError(
                f"a record of {record.task!r} has no seed to begin its episode with", path=path
            )
        actions = (
            (record.action,)
            if isinstance(record, StepRecord)
            else (*record.chosen, *record.rejected)
        )
        unit = targets.setdefault((record.task, record.seed), {})
        unit.update(dict.fromkeys(Target(record.history, action) for action in actions))
    return [Unit(task, seed, tuple(found)) for (task, seed), found in targets.items()]
