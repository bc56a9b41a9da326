"""Reading labelled data: one door for every form a file may have."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from similar_fast.errors import DataError
from similar_fast.records import Labels, Record, TrajectoryRecord, TrajectoryStep, decode_record

__all__ = ["read_data"]


def read_data(
    path: Path, *, on_bad: Callable[[DataError, bytes], None] | None = None
) -> Iterator[Record]:
    """Every record of the file at `path`, in order.

    Args:
        path: The file.
        on_bad: Takes the error and the raw row of each row that is no record, which is then left
            out; None raises at the first.

    Raises:
        DataError: A row is no record, and `on_bad` is None.
    """
    with path.open("rb") as stream:
        for number, text in enumerate(stream, 1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
                if "kind" in row:
                    yield decode_record(text, path=path, line=number)
                else:
                    yield TrajectoryRecord(
                        environment=path.stem.split("_")[0],
                        platform="web" if path.stem == "webarena" else path.stem.split("_")[1],
                        task=row["task"],
                        trajectory=row["traj"],
                        split=row["split"],
                        instruction=row["instruction"],
                        is_scaled=path.stem != "webarena",
                        steps=tuple(
                            TrajectoryStep(
                                step=s["step"],
                                action=s["action"],
                                observation=s["observation"],
                                labels=Labels(
                                    helpfulness=s["TC"],
                                    odds_of_success=s["IP"],
                                    efficiency=s["E"],
                                    task_relevance=s["TR"],
                                    coherence=s["C"],
                                ),
                            )
                            for s in row["steps"]
                        ),
                    )
            except (ValueError, KeyError) as err:
                error = DataError(f"no record: {err}", path=path, line=number)
                if on_bad is None:
                    raise error from err
                on_bad(error, text)
