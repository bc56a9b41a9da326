"""Which pairs are evaluated: files of any form, pairs as they are, trajectories made pairs."""

from collections.abc import Collection, Sequence
from pathlib import Path

from similar_fast.dimensions import Dimension
from similar_fast.errors import DataError
from similar_fast.records import PairRecord, TrajectoryRecord
from similar_fast.srm.evaluate.evaluation import cluster_of
from similar_fast.srm.pairs import pairs_of_trajectories
from similar_fast.srm.readers import read_data

__all__ = ["read_pairs", "without_tasks"]


def read_pairs(
    paths: Sequence[Path],
    *,
    splits: Collection[str] | None = None,
    types: Collection[Dimension] = tuple(Dimension),
) -> list[PairRecord]:
    """The pairs of all files, in their order: those of the file, then those of its trajectories.

    Args:
        paths: The files, of any form that `read_data` reads.
        splits: The splits to keep, the empty one included where it is named; None keeps all.
        types: The types to keep.

    Raises:
        DataError: A row is no record, or a file holds single steps, which are no pairs yet.
    """
    pairs: list[PairRecord] = []
    for path in paths:
        trajectories: list[TrajectoryRecord] = []
        for record in read_data(path):
            if splits is not None and record.split not in splits:
                continue
            if isinstance(record, PairRecord):
                pairs.append(record)
            elif isinstance(record, TrajectoryRecord):
                trajectories.append(record)
            else:
                raise DataError(
                    "the file holds single steps; expected pairs or trajectories, "
                    "and `similar-fast pairs` makes pairs of steps",
                    path=path,
                )
        pairs.extend(pairs_of_trajectories(trajectories))
    return [pair for pair in pairs if pair.type in types]


def without_tasks(
    pairs: Sequence[PairRecord], others: Sequence[PairRecord]
) -> tuple[list[PairRecord], int]:
    """The pairs of no task that `others` have, and how many were left out."""
    taken = {cluster_of(pair) for pair in others}
    kept = [pair for pair in pairs if cluster_of(pair) not in taken]
    return kept, len(pairs) - len(kept)
