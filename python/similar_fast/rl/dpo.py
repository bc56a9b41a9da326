"""Preference pairs as rows for TRL's DPO trainer: prompt, chosen, rejected.

Source: Rafailov et al. 2023 (arXiv 2305.18290) for the loss that they feed; Lai et al. 2024
(Step-DPO, arXiv 2406.18629) for comparing single steps after the same steps before.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Literal

from similar_fast.dimensions import Dimension
from similar_fast.prompts.messages import Layout
from similar_fast.records import PairRecord, Record, StepRecord, TrajectoryRecord
from similar_fast.rl.places import Place, actions_by_place, picture_paths, place_of, state_step
from similar_fast.rl.policy_prompt import plain_text, policy_messages
from similar_fast.srm.pairs import (
    ROUNDING,
    STEP_TYPES,
    pairs_of_states,
    pairs_of_trajectories,
    trajectories_of_steps,
)
from similar_fast.srm.screenshots import ScreenshotStore

__all__ = ["PreferenceForm", "step_dpo_rows", "step_pairs"]

PreferenceForm = Literal["conversational", "standard"]
"""Messages, for models with a chat template; or plain texts."""

_Order = tuple[Place, Dimension, str, str]


def step_pairs(records: Iterable[Record]) -> Iterator[PairRecord]:
    """The pairs of all records: those that are pairs, then of trajectories, then of states.

    Steps without a state count as trajectories. All but the pairs are held.
    """
    trajectories: list[TrajectoryRecord] = []
    loose: list[StepRecord] = []
    states: list[StepRecord] = []
    for record in records:
        if isinstance(record, PairRecord):
            yield record
        elif isinstance(record, TrajectoryRecord):
            trajectories.append(record)
        else:
            (states if record.state else loose).append(record)
    yield from pairs_of_trajectories([*trajectories, *trajectories_of_steps(loose)])
    yield from pairs_of_states(states)


def step_dpo_rows(
    records: Iterable[Record],
    *,
    form: PreferenceForm = "conversational",
    layout: Layout = "screen-first",
    types: Collection[Dimension] = STEP_TYPES,
    min_margin: float = 0.0,
    candidates: Iterable[Record] = (),
    screenshots: ScreenshotStore | None = None,
    left_out: Callable[[str], None] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """The rows of all step pairs, in their order, in TRL's explicit-prompt preference format.

    A row has `prompt`, `chosen` and `rejected`; `images` where screenshots are given; then
    `environment`, `task`, `seed`, `step`, `split`, `state`, `type`, `margin` (the better label less
    the other one), `chosen_rollouts` and `rejected_rollouts`, None where one is not known. Every
    row has the same keys.

    Left out are pairs of trajectories, since a policy takes one step; of another type than asked
    for; of actions that are empty or alike; of a margin below `min_margin`, or unknown where that
    is more than 0; what repeats a row; and two actions of one state that the same type orders both
    ways, as every two trajectories that pass it may. All pairs are held.

    Args:
        records: Pairs, or what `step_pairs` makes pairs of.
        form: Messages, or plain texts.
        layout: Whether the screen or the history comes first in the prompt.
        types: What pairs are compared by. Two types may order the same two actions differently:
            name one of them where that must not be.
        min_margin: The least margin, at least 0.
        candidates: Records whose actions a prompt numbers where they are of its state, its own two
            among them, sorted by their words; it numbers none where this is empty.
        screenshots: Where pictures lie; `images` then has the path of the row's own, or nothing.
            Only for messages.
        left_out: Told why, for each pair that is left out.

    Raises:
        DataError: A picture's name is none.
        FileNotFoundError: A picture is missing.
        ValueError: `min_margin` is negative, or plain texts are to have pictures.
    """
    if not min_margin >= 0:
        raise ValueError(f"min_margin is {min_margin}; expected at least 0")
    if form == "standard" and screenshots is not None:
        raise ValueError("pictures need messages; expected the form 'conversational'")
    listed = actions_by_place(candidates)
    kept: list[PairRecord] = []
    for pair in step_pairs(records):
        if reason := _why_not(pair, types, min_margin):
            left_out(reason)
        else:
            kept.append(pair)
    for pair in _told_once(kept, left_out):
        better, worse = pair.chosen[0].strip(), pair.rejected[0].strip()
        shown = {better, worse, *listed.get(place_of(pair), ())} if listed else ()
        messages = policy_messages(state_step(pair), layout=layout, candidates=sorted(shown))
        if form == "standard":
            row: dict[str, Any] = {"prompt": plain_text(messages)}
            row |= {"chosen": better, "rejected": worse}
        else:
            row = {"prompt": [dict(message) for message in messages]}
            row |= {"chosen": _turn(better), "rejected": _turn(worse)}
        if screenshots is not None:
            row["images"] = picture_paths(pair, screenshots)
        yield row | _columns(pair)


def _why_not(pair: PairRecord, types: Collection[Dimension], min_margin: float) -> str:
    """Why a pair is no row; empty where it is one."""
    if pair.type is Dimension.TRAJECTORY or not len(pair.chosen) == len(pair.rejected) == 1:
        return "pair of trajectories"
    if pair.type not in types:
        return "other type"
    better, worse = pair.chosen[0].strip(), pair.rejected[0].strip()
    if not better or not worse:
        return "empty action"
    if better == worse:
        return "same action twice"
    margin = _margin(pair)
    if min_margin > 0 and (margin is None or margin < min_margin - ROUNDING):
        return "margin unknown" if margin is None else "margin too small"
    return ""


def _told_once(
    pairs: Sequence[PairRecord], left_out: Callable[[str], None]
) -> Iterator[PairRecord]:
    """The first pair of each two actions of a state and type that are ordered one way alone."""
    orders = [_order(pair) for pair in pairs]
    known, told = set(orders), set[_Order]()
    for pair, order in zip(pairs, orders, strict=True):
        place, type_, better, worse = order
        if (place, type_, worse, better) in known:
            left_out("ordered both ways")
        elif order in told:
            left_out("repeated")
        else:
            told.add(order)
            yield pair


def _order(pair: PairRecord) -> _Order:
    return place_of(pair), pair.type, pair.chosen[0].strip(), pair.rejected[0].strip()


def _margin(pair: PairRecord) -> float | None:
    if pair.chosen_label is None or pair.rejected_label is None:
        return None
    return pair.chosen_label - pair.rejected_label


def _columns(pair: PairRecord) -> dict[str, Any]:
    """What a row tells of its pair beside the texts."""
    return {
        "environment": pair.environment,
        "task": pair.task,
        "seed": pair.seed,
        "step": pair.step,
        "split": pair.split,
        "state": pair.state,
        "type": pair.type.value,
        "margin": _margin(pair),
        "chosen_rollouts": pair.chosen_rollouts,
        "rejected_rollouts": pair.rejected_rollouts,
    }


def _turn(action: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": action}]
