"""Records of one state, and what all of them share."""

from collections.abc import Iterable

from similar_fast.records import PairRecord, Record, StepRecord
from similar_fast.srm.screenshots import ScreenshotStore
from similar_fast.types import Step

__all__ = ["Place", "actions_by_place", "picture_paths", "place_of", "state_step"]

Place = tuple[object, ...]
"""What tells one state from another; `records.state_key` alone may be empty."""


def place_of(record: PairRecord | StepRecord) -> Place:
    """The state that a record stands at."""
    return (
        record.environment,
        record.platform,
        record.task,
        record.seed,
        record.state,
        record.instruction,
        record.history,
        record.observation,
        record.screenshot,
    )


def state_step(record: PairRecord | StepRecord, action: str = "") -> Step:
    """The record's state with an action, without its picture."""
    return Step(record.instruction, record.history, action, record.observation)


def actions_by_place(records: Iterable[Record]) -> dict[Place, list[str]]:
    """The distinct actions that records name at each state, sorted, so that no order tells labels.

    Trajectories, and pairs of them, name no state's candidates and are left out.
    """
    found: dict[Place, set[str]] = {}
    for record in records:
        if isinstance(record, StepRecord):
            actions: tuple[str, ...] = (record.action,)
        elif isinstance(record, PairRecord) and len(record.chosen) == len(record.rejected) == 1:
            actions = (*record.chosen, *record.rejected)
        else:
            continue
        found.setdefault(place_of(record), set()).update(action.strip() for action in actions)
    return {place: sorted(actions - {""}) for place, actions in found.items()}


def picture_paths(record: PairRecord | StepRecord, store: ScreenshotStore) -> list[str]:
    """The path of the record's picture, in a list; empty where it has none.

    Raises:
        DataError: Its name is none of a picture.
        FileNotFoundError: The store does not have it.
    """
    return [] if record.screenshot is None else [str(store.path(record.screenshot))]
