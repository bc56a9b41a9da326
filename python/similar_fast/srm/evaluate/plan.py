"""Pairs become steps: each distinct one once, those of one state side by side, in a fair order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import Dimension
from similar_fast.records import PairRecord
from similar_fast.types import Step

__all__ = ["OpenScreenshot", "PairPlan", "pair_fault", "plan_pairs", "step_of"]

OpenScreenshot = Callable[[str], bytes]
"""Returns the bytes of the screenshot of that name; raises where it cannot be had."""

_State = tuple[str, tuple[str, ...], str, str | None]


@dataclass(frozen=True, slots=True, eq=False)
class PairPlan:
    """Which steps the pairs need, and whose they are.

    Attributes:
        steps: `[s]`, the distinct steps in the order in which they are to be scored.
        step: `[m]` int64, which step each action of a pair's side is.
        owner: `[m]` int64, whose action it is: `2 * pair` of the chosen side, `2 * pair + 1` of
            the rejected one.
        types: `[n]` int64, each pair's type by its place in `Dimension`.
        faults: Why a pair cannot be scored, by its index.
    """

    steps: tuple[Step, ...]
    step: NDArray[np.int64]
    owner: NDArray[np.int64]
    types: NDArray[np.int64]
    faults: dict[int, str]


def plan_pairs(
    pairs: Sequence[PairRecord], *, seed: int = 0, open_screenshot: OpenScreenshot | None = None
) -> PairPlan:
    """The distinct steps of `pairs`, those of one state together.

    Which side of a pair comes first is a coin's choice, so that a scorer which favours a place
    gains nothing by it. A trajectory's actions are steps with the actions before them as history,
    and without a screen: a pair of trajectories has none of their later ones.

    Args:
        pairs: `[n]`.
        seed: Of the coin, in [0, 2^64).
        open_screenshot: None leaves screenshots out.
    """
    coin = np.random.default_rng(seed).random(len(pairs)) < 0.5
    places: dict[tuple[_State, str], int] = {}
    groups: dict[_State, list[int]] = {}
    steps: list[Step] = []
    step, owner, faults = [], [], {}
    for i, pair in enumerate(pairs):
        if fault := pair_fault(pair):
            faults[i] = fault
            continue
        sides = ((2 * i, pair.chosen), (2 * i + 1, pair.rejected))
        for side, actions in sides if coin[i] else sides[::-1]:
            for k, action in enumerate(actions):
                state = _state(pair, actions[:k], has_pictures=open_screenshot is not None)
                place = places.setdefault((state, action), len(steps))
                if place == len(steps):
                    groups.setdefault(state, []).append(place)
                    steps.append(_step(state, action, open_screenshot))
                step.append(place)
                owner.append(side)
    order = np.array([place for group in groups.values() for place in group], np.int64)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    kinds = {kind: place for place, kind in enumerate(Dimension)}
    return PairPlan(
        steps=tuple(steps[place] for place in order),
        step=rank[np.array(step, np.int64)],
        owner=np.array(owner, np.int64),
        types=np.fromiter((kinds[pair.type] for pair in pairs), np.int64, len(pairs)),
        faults=faults,
    )


def step_of(pair: PairRecord, action: str, open_screenshot: OpenScreenshot | None) -> Step:
    """One side of a pair that is no trajectory, as a scorer reads it."""
    return _step(
        _state(pair, (), has_pictures=open_screenshot is not None), action, open_screenshot
    )


def pair_fault(pair: PairRecord) -> str:
    """Why `pair` cannot be scored; empty where it can."""
    sides = (pair.chosen, pair.rejected)
    if pair.type is Dimension.TRAJECTORY:
        return "" if all(sides) else "a trajectory without actions"
    if all(len(side) == 1 for side in sides):
        return ""
    return f"a step pair with {len(sides[0])} and {len(sides[1])} actions; expected 1 and 1"


def _state(pair: PairRecord, before: tuple[str, ...], *, has_pictures: bool) -> _State:
    if pair.type is Dimension.TRAJECTORY:
        return (pair.instruction, (*pair.history, *before), "", None)
    picture = pair.screenshot if has_pictures else None
    return (pair.instruction, pair.history, pair.observation, picture)


def _step(state: _State, action: str, open_screenshot: OpenScreenshot | None) -> Step:
    instruction, history, observation, picture = state
    screenshot = None
    if picture is not None and open_screenshot is not None:
        screenshot = partial(open_screenshot, picture)
    return Step(instruction, history, action, observation, screenshot)
