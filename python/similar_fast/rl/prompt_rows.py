"""States as rows for TRL's online trainers, with the columns that `RewardFunction` reads."""

from collections.abc import Iterable, Iterator
from typing import Any

from similar_fast.prompts.messages import Layout
from similar_fast.records import PairRecord, StepRecord
from similar_fast.rl.places import Place, actions_by_place, picture_paths, place_of, state_step
from similar_fast.rl.policy_prompt import policy_messages
from similar_fast.srm.screenshots import ScreenshotStore

__all__ = ["prompt_rows"]


def prompt_rows(
    records: Iterable[PairRecord | StepRecord],
    *,
    layout: Layout = "screen-first",
    list_candidates: bool = False,
    screenshots: ScreenshotStore | None = None,
    show_images: bool = False,
) -> Iterator[dict[str, Any]]:
    """A row for each distinct state, in the order in which the states first come.

    A row has `prompt` (messages that end before the policy's turn), `instruction`, `history`,
    `observation`, `environment`, `task`, `seed`, `step`, `split` and `state`; `candidates` where
    they are listed; `screenshot`, a path or None, where screenshots are given; and `images`, the
    same path in a list, where the policy sees them as well. Pairs of trajectories are left out.

    Args:
        records: Labelled steps, or pairs of steps; all are held where candidates are listed.
        layout: Whether the screen or the history comes first in the prompt.
        list_candidates: Whether the prompt numbers the actions that the records name at the state,
            sorted, and the reward function takes nothing else for an action.
        screenshots: Where pictures lie.
        show_images: Whether the policy sees the pictures; it needs a model with vision.

    Raises:
        DataError: A picture's name is none.
        FileNotFoundError: A picture is missing.
        ValueError: Images are to be shown, and there is no store of them.
    """
    if show_images and screenshots is None:
        raise ValueError("show_images needs screenshots, got None")
    listed: dict[Place, list[str]] = {}
    if list_candidates:
        records = list(records)
        listed = actions_by_place(records)
    seen: set[Place] = set()
    for record in records:
        place = place_of(record)
        if place in seen or (isinstance(record, PairRecord) and record.step < 0):
            continue
        seen.add(place)
        candidates = listed.get(place, [])
        messages = policy_messages(state_step(record), layout=layout, candidates=candidates)
        row: dict[str, Any] = {
            "prompt": [dict(message) for message in messages],
            "instruction": record.instruction,
            "history": list(record.history),
            "observation": record.observation,
            "environment": record.environment,
            "task": record.task,
            "seed": record.seed,
            "step": record.step,
            "split": record.split,
            "state": record.state,
        }
        if list_candidates:
            row["candidates"] = candidates
        if screenshots is not None:
            paths = picture_paths(record, screenshots)
            row["screenshot"] = paths[0] if paths else None
            if show_images:
                row["images"] = paths
        yield row
