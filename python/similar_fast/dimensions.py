"""The five dimensions of a step, the total and the trajectory: names, symbols, ranges, aliases.

Source: Miao et al. 2025 (arXiv 2503.18665), section 3; upstream's keys are those of its data files.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

__all__ = ["DIMENSIONS", "DIMENSION_INFO", "Dimension", "DimensionInfo", "parse_types"]


class Dimension(StrEnum):
    """What a step, or (the last two) a whole answer, is judged by."""

    HELPFULNESS = "helpfulness"
    ODDS_OF_SUCCESS = "odds of success"
    EFFICIENCY = "efficiency"
    TASK_RELEVANCE = "task relevance"
    COHERENCE = "coherence"
    TOTAL = "total"
    TRAJECTORY = "trajectory"


@dataclass(frozen=True, slots=True)
class DimensionInfo:
    """What is known of one dimension.

    Attributes:
        symbol: The paper's symbol, `H`, `OS`, `E`, `TR`, `C`; `total`, `traj` for the other two.
        upstream: The key in the published data.
        low: The least possible label.
        high: The greatest possible label.
        weight: The label's weight in a labelled step's total; 0 where it is no part of it.
    """

    symbol: str
    upstream: str
    low: float
    high: float
    weight: float


DIMENSIONS: tuple[Dimension, ...] = (
    Dimension.HELPFULNESS,
    Dimension.ODDS_OF_SUCCESS,
    Dimension.EFFICIENCY,
    Dimension.TASK_RELEVANCE,
    Dimension.COHERENCE,
)
"""The five dimensions in the order of every `[n, 5]` array."""

DIMENSION_INFO: dict[Dimension, DimensionInfo] = {
    Dimension.HELPFULNESS: DimensionInfo("H", "TC", -inf, inf, 3.0),
    Dimension.ODDS_OF_SUCCESS: DimensionInfo("OS", "IP", 0.0, 1.0, 5.0),
    Dimension.EFFICIENCY: DimensionInfo("E", "E", -inf, inf, 5.0),
    Dimension.TASK_RELEVANCE: DimensionInfo("TR", "TR", 0.0, 1.0, 1.0),
    Dimension.COHERENCE: DimensionInfo("C", "C", 0.0, 1.0, 1.0),
    Dimension.TOTAL: DimensionInfo("total", "total", -inf, inf, 0.0),
    Dimension.TRAJECTORY: DimensionInfo("traj", "traj", -inf, inf, 0.0),
}


def parse_types(text: str) -> tuple[Dimension, ...]:
    """A comma list of types, by symbol (`H`, `OS`, `E`, `TR`, `C`, `total`, `traj`) or by name.

    Raises:
        ValueError: A word is no type.
    """
    names = {info.symbol.lower(): kind for kind, info in DIMENSION_INFO.items()}
    names |= {kind.value: kind for kind in Dimension}
    words = [word.strip().lower().replace("_", " ") for word in text.split(",")]
    for word in words:
        if word not in names:
            symbols = ", ".join(info.symbol for info in DIMENSION_INFO.values())
            raise ValueError(f"{word!r} is no type; expected some of {symbols}")
    found = {names[word] for word in words}
    return tuple(kind for kind in Dimension if kind in found)
