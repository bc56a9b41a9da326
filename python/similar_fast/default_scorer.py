"""The scorer that is taken where none was passed: an installed distribution offers it.

It declares an entry point called `default` in the group `similar_fast.scorers`, which names
anything that returns a `Scorer` when it is called without arguments; in a pyproject.toml:

    [project.entry-points."similar_fast.scorers"]
    default = "similar_fast:RewardModel"

So does `similar-fast-mini`. Nothing but this one entry point is imported, and only when it is asked
for.
"""

from importlib.metadata import EntryPoint, entry_points

from similar_fast.errors import ModelError
from similar_fast.protocols import Scorer

__all__ = ["GROUP", "find_default_scorer", "open_default_scorer", "origin_of"]

GROUP = "similar_fast.scorers"
"""The group of entry points."""

_NAME = "default"


def find_default_scorer() -> EntryPoint:
    """The one entry point that offers a default scorer; nothing of it is imported.

    Raises:
        ModelError: No installed distribution offers one, or several do.
    """
    found = entry_points(group=GROUP, name=_NAME)
    if not found:
        raise ModelError(
            "no scorer was passed and no installed package offers a default one; "
            "`pip install similar-fast-mini`, or pass a scorer"
        )
    if len(found) > 1:
        names = ", ".join(sorted(origin_of(entry) for entry in found))
        raise ModelError(
            f"no scorer was passed and {len(found)} packages offer a default one ({names}); "
            "expected one: pass a scorer"
        )
    return next(iter(found))


def open_default_scorer() -> Scorer:
    """The scorer that an installed distribution offers.

    Raises:
        ModelError: None is offered, or several; it cannot be imported, or is no scorer; or its
            model cannot be opened.
    """
    entry = find_default_scorer()
    try:
        make = entry.load()
    except (ImportError, AttributeError) as err:
        raise ModelError(
            f"the default scorer {entry.value} of {origin_of(entry)} cannot be loaded: {err}"
        ) from err
    scorer = make()
    if not isinstance(scorer, Scorer):
        raise ModelError(
            f"the default scorer {entry.value} of {origin_of(entry)} made a "
            f"{type(scorer).__name__}; expected an object with `score`"
        )
    return scorer


def origin_of(entry: EntryPoint) -> str:
    """The distribution that declares `entry`, with its version."""
    return "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
