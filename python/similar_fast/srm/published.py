"""What the published forms of SRM have in common: names, labels, actions in one text.

Source of the forms: the files that the authors of Miao et al. 2025 published beside their code.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from similar_fast.dimensions import DIMENSION_INFO, DIMENSIONS, Dimension
from similar_fast.records import Labels, Platform, Provenance

__all__ = [
    "PLATFORMS",
    "Origin",
    "action_texts",
    "label",
    "labels_of",
    "observation_id",
    "origin_of",
    "task_of_trajectory",
    "type_of",
]

PLATFORMS: tuple[str, ...] = get_args(Platform)

_ENVIRONMENTS: tuple[tuple[str, str, Platform], ...] = (
    ("visualwebarena", "visualwebarena", "web"),
    ("webarena", "webarena", "web"),
    ("osworldwindows", "osworld", "windows"),
    ("osworld", "osworld", "linux"),
    ("androidworld", "android_world", "android"),
    ("miniwob", "miniwob", "web"),
)
_SCALED = frozenset({"osworld"})
_TRAJECTORY = re.compile(r"(?:OSWorld_(?:Linux|Windows)_?)?(.+)_\d+")
_TYPES: dict[str, Dimension] = {
    name: dimension
    for dimension, info in DIMENSION_INFO.items()
    for name in (info.upstream, dimension.value)
}
_FIELDS = tuple((d.name.lower(), DIMENSION_INFO[d].upstream) for d in DIMENSIONS)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a form does not say of its records, see `StepRecord`."""

    environment: str
    platform: Platform
    is_scaled: bool
    provenance: Provenance


def origin_of(path: Path, *, environment: str | None, platform: str | None, form: str) -> Origin:
    """The origin of a published file: as it is given, else as the file's name says.

    A name that tells of no environment that is known is the environment's name, on the web.
    OSWorld's published labels are scaled integers.

    Args:
        path: The file.
        environment: The environment, or None.
        platform: The platform, or None.
        form: The form that the file is in.

    Raises:
        ValueError: `platform` is none of the four.
    """
    if platform is not None and platform not in PLATFORMS:
        raise ValueError(f"the platform is {platform!r}; expected one of {', '.join(PLATFORMS)}")
    stem = path.name.split(".")[0]
    plain = re.sub(r"[^a-z]", "", stem.lower())
    found: tuple[str, Platform] = next(
        ((name, where) for word, name, where in _ENVIRONMENTS if word in plain), (stem, "web")
    )
    environment = found[0] if environment is None else environment
    return Origin(
        environment=environment,
        platform=found[1] if platform is None else platform,  # type: ignore[arg-type]  # checked
        is_scaled=environment in _SCALED,
        provenance=Provenance(source=form, judge="published"),
    )


def task_of_trajectory(name: str) -> str:
    """The task in the published name of a trajectory.

    Example:
        >>> [task_of_trajectory(name) for name in ("115_2", "OSWorld_Windows3_1", "reddit_7_12")]
        ['115', '3', 'reddit_7']
    """
    found = _TRAJECTORY.fullmatch(name)
    return name if found is None else found[1]


def type_of(name: str) -> Dimension:
    """The dimension of an upstream key such as `IP`, or of its name in words.

    Raises:
        ValueError: There is none of that name.
    """
    found = _TYPES.get(name.strip())
    if found is None:
        raise ValueError(f"the type is {name!r}; expected one of {', '.join(_TYPES)}")
    return found


def label(value: object, name: str) -> float | None:
    """A label as a number; None for nothing or an empty text, which say that it is not known.

    Raises:
        ValueError: It is no finite number.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"the label {name} is {value!r}; expected a number")  # noqa: TRY004  # a row's fault
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"the label {name} is {value!r:.40}; expected a finite number")
    return number


def labels_of(row: Mapping[str, object]) -> Labels:
    """The five labels under their upstream keys.

    Raises:
        ValueError: One is no finite number.
    """
    return Labels(**{field: label(row.get(key), key) for field, key in _FIELDS})


def observation_id(url: str) -> str:
    """The id in a screenshot's published address; the text itself where it is no address."""
    if not url.startswith(("http://", "https://")):
        return url
    return url.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def action_texts(text: str) -> tuple[str, ...] | None:
    r"""The actions of a text `Step 1 : ...\n\nStep 2 : ...`; None where it does not begin so.

    Numbers must follow each other, so that an action may tell of a step.

    Example:
        >>> action_texts("Step 1 : open\n\nStep 2 : say Step 9 : x\n\n")
        ('open', 'say Step 9 : x')
    """
    mark = "Step 1 : "
    if not text.startswith(mark):
        return None
    actions: list[str] = []
    start = len(mark)
    while True:
        mark = f"\n\nStep {len(actions) + 2} : "
        end = text.find(mark, start)
        if end < 0:
            actions.append(text[start:].removesuffix("\n\n"))
            return tuple(actions)
        actions.append(text[start:end])
        start = end + len(mark)
