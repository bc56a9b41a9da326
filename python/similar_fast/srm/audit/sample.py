"""A bound on what is compared: groups drawn whole until they hold enough couples.

Whatever is labelled makes couples with the square of a group's size: the trajectories of one task,
the actions of one state. The rules that are measured on the pairs of these couples need no more
than some thousands; that the groups are drawn whole keeps what stands within one together.
"""

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["MAX_COUPLES", "Sample", "draw_groups"]

MAX_COUPLES = 10_000
"""Couples of a part that are made into pairs; the published data has 1,460 at most."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample(Generic[T]):
    """The items that were drawn.

    Attributes:
        items: In the order in which they were given.
        n_couples: Couples of one group among them.
        of_couples: Couples of one group among all.
    """

    items: list[T]
    n_couples: int
    of_couples: int

    @property
    def is_whole(self) -> bool:
        """Whether no couple was left out."""
        return self.n_couples == self.of_couples


def draw_groups(
    items: Sequence[T],
    keys: Sequence[Hashable],
    *,
    seed: str,
    max_couples: int = MAX_COUPLES,
    max_group: int,
) -> Sample[T]:
    """Items of which at most about `max_couples` couples have one key.

    Where all couples are too many, groups are drawn in an order that the seed gives, and of each
    group at most `max_group` items, until the next one would be too much. O(items).

    Args:
        items: `[n]` what makes couples with the others of its group.
        keys: `[n]` the group of each.
        seed: Seeds the draw; for the same items in the same order it is the same.
        max_couples: The most couples, at least 0.
        max_group: The most items of a group in a draw, at least 2.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    of_couples = sum(_couples(len(group)) for group in groups.values())
    if of_couples <= max_couples:
        return Sample(list(items), of_couples, of_couples)
    draw = random.Random(seed)  # noqa: S311  # no secret
    order = list(groups.values())
    draw.shuffle(order)
    kept: list[int] = []
    n_couples = 0
    for group in order:
        drawn = group if len(group) <= max_group else draw.sample(group, max_group)
        if n_couples + _couples(len(drawn)) > max_couples:
            break
        n_couples += _couples(len(drawn))
        kept += drawn
    return Sample([items[index] for index in sorted(kept)], n_couples, of_couples)


def _couples(size: int) -> int:
    return size * (size - 1) // 2
