"""Which of a state's actions are labelled: promising, contrastive and random ones.

A model that only sees promising actions against random ones never learns to tell near misses from
hits. So beside the best there are: the same string in another field, another string in the same
field, and an action that finishes.
"""

import random
from collections.abc import Iterator, Sequence

from similar_fast.proposers import BUTTON_ROLES
from similar_fast.types import Action

__all__ = ["sample_candidates"]

NOISE = 0.05
MAX_CONTRASTS = 2


def sample_candidates(
    candidates: Sequence[Action], scores: Sequence[float], *, width: int, rng: random.Random
) -> tuple[Action, ...]:
    """At most `width` of the candidates: half of them promising, the rest contrasts and chance.

    Args:
        candidates: `[n]`, without repeats.
        scores: `[n]`, higher is more promising; a little noise decides near ties.
        width: W, at least 1.
        rng: Draws.

    Returns:
        In the order of `candidates`.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if len(candidates) <= width:
        return tuple(candidates)
    noisy = {a: s + rng.gauss(0, NOISE) for a, s in zip(candidates, scores, strict=True)}
    ranked = sorted(candidates, key=lambda action: -noisy[action])
    picked = dict.fromkeys(ranked[: (width + 1) // 2])
    shuffled = rng.sample(list(candidates), len(candidates))
    for action in [*_finishing(shuffled), *_contrasts(list(picked), shuffled), *shuffled]:
        if len(picked) == width:
            break
        picked.setdefault(action)
    return tuple(action for action in candidates if action in picked)


def _finishing(candidates: Sequence[Action]) -> list[Action]:
    """The first button: what ends a form, too early or not."""
    return [a for a in candidates if a.kind == "click" and a.target[0] in BUTTON_ROLES][:1]


def _contrasts(picked: Sequence[Action], candidates: Sequence[Action]) -> list[Action]:
    """Near misses of the picked actions, at most `MAX_CONTRASTS`."""
    found: dict[Action, None] = {}
    for action in picked:
        for near in _near_misses(action, candidates):
            if near not in picked:
                found.setdefault(near)
    return list(found)[:MAX_CONTRASTS]


def _near_misses(action: Action, candidates: Sequence[Action]) -> Iterator[Action]:
    """One with the same argument and another target, then one with the same target."""
    same_kind = [a for a in candidates if a.kind == action.kind and a != action]
    if action.argument is not None:
        yield from [a for a in same_kind if a.argument == action.argument][:1]
        yield from [a for a in same_kind if a.target == action.target][:1]
    else:
        # The same name in another row.
        yield from [a for a in same_kind if a.target[:2] == action.target[:2]][:1]
