"""What every result can do: become plain data for JSON."""

import math
from collections.abc import Hashable
from dataclasses import fields
from typing import Any

__all__ = ["Record"]


class Record:
    """Base of the results: frozen dataclasses that become JSON."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as what JSON holds.

        NaN and infinite numbers become None. A mapping by label becomes a list of its values, in
        order, each with its `label`: itself where it is None, a string or a number, else its text.

        Example:
            >>> from similar_fast.metrics import accuracy
            >>> accuracy([1.0], [0.0], groups=["web"]).to_dict()["groups"]
            [{'label': 'web', 'n': 1, 'n_correct': 1, 'n_ties': 0, 'n_invalid': 0, 'accuracy': 1.0}]
        """
        return {
            field.name: _plain(getattr(self, field.name))
            for field in fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        }


def _plain(value: object) -> object:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, dict):
        return [{"label": _label(label), **row.to_dict()} for label, row in value.items()]
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _label(label: Hashable) -> object:
    if isinstance(label, float) and not math.isfinite(label):
        return str(label)
    return label if label is None or isinstance(label, str | int | float) else str(label)
