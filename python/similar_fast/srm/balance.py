"""Pairs that shortcuts cannot tell apart: as many of each kind as of its mirror image.

The kind of a pair is which verbs its two actions begin with and which of the two is longer. Its
mirror has the verbs, and the longer one, the other way round. Where each kind is as frequent as its
mirror, rules of verbs and of lengths are right for exactly half of the pairs.
"""

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

from similar_fast.records import PairRecord

if TYPE_CHECKING:
    from similar_fast.dimensions import Dimension

__all__ = ["balanced"]

_Kind = tuple[str, str, int]


def balanced(pairs: Iterable[PairRecord], *, seed: int = 0) -> list[PairRecord]:
    """The pairs that are left when each kind is cut to the number of its mirror image.

    By environment, split and type. Pairs of one verb and one length are their own mirror, and all
    stay.

    Args:
        pairs: In any order; all are held.
        seed: Seeds which are left out.

    Returns:
        Those that stay, in their order.
    """
    found = list(pairs)
    groups: dict[tuple[str, str, Dimension], dict[_Kind, list[int]]] = {}
    for place, pair in enumerate(found):
        kinds = groups.setdefault((pair.environment, pair.split, pair.type), {})
        kinds.setdefault(_kind(pair), []).append(place)
    kept: set[int] = set()
    for group, kinds in groups.items():
        for kind, places in kinds.items():
            mirror = (kind[1], kind[0], -kind[2])
            size = min(len(places), len(kinds.get(mirror, ())))
            rng = random.Random(f"{seed} {group} {kind}")  # noqa: S311  # no secret
            kept.update(rng.sample(places, size))
    return [pair for place, pair in enumerate(found) if place in kept]


def _kind(pair: PairRecord) -> _Kind:
    chosen, rejected = " ".join(pair.chosen), " ".join(pair.rejected)
    longer = (len(chosen) > len(rejected)) - (len(chosen) < len(rejected))
    return _verb(chosen), _verb(rejected), longer


def _verb(action: str) -> str:
    return action.split(maxsplit=1)[0].lower() if action.strip() else ""
