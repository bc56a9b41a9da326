"""What SRMEval answers: frozen dataclasses, from one scored pair to the whole evaluation."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSION_INFO, Dimension
from similar_fast.metrics.calibration import PairCalibration
from similar_fast.metrics.comparison import PairedComparison
from similar_fast.metrics.intervals import AccuracyIntervals
from similar_fast.metrics.record import Record
from similar_fast.records import PairRecord

__all__ = [
    "CHANCE",
    "Calibration",
    "Comparison",
    "Cost",
    "Evaluation",
    "Miss",
    "PairScores",
    "PositionProbe",
    "cluster_of",
    "ordered_types",
    "place_of",
]

CHANCE = 0.5
"""The accuracy of a fair coin, which every accuracy is to be read against."""


@dataclass(frozen=True, slots=True)
class Cost(Record):
    """What the scoring of the pairs took; the probe of positions is no part of it.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Time of all threads of this process on the CPU.
        n_pairs: Pairs that were scored.
        n_actions: Distinct (instruction, history, observation, screenshot, action) that were.
    """

    seconds: float
    cpu_seconds: float
    n_pairs: int
    n_actions: int

    @property
    def pairs_per_second(self) -> float:
        """Pairs a second of wall time; NaN where it took none."""
        return self.n_pairs / self.seconds if self.seconds > 0 else float("nan")

    @property
    def actions_per_second(self) -> float:
        """Distinct actions a second of wall time; NaN where it took none."""
        return self.n_actions / self.seconds if self.seconds > 0 else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """The fields and the two rates as what JSON holds."""
        rates = (self.pairs_per_second, self.actions_per_second)
        pairs, actions = (rate if np.isfinite(rate) else None for rate in rates)
        # `super()` without arguments finds no class in a dataclass that has slots.
        fields = Record.to_dict(self)
        return {**fields, "pairs_per_second": pairs, "actions_per_second": actions}


@dataclass(frozen=True, slots=True, eq=False)
class PairScores:
    """The scores of n pairs.

    Attributes:
        chosen: `[n]` float64, what the better ones scored under their pair's type; NaN where
            there is no score.
        rejected: `[n]` float64, what the other ones scored.
        errors: Why a pair has no score, by its index.
        cost: What it took; None where the scores were given.
    """

    chosen: NDArray[np.float64]
    rejected: NDArray[np.float64]
    errors: Mapping[int, str] = field(default_factory=dict)
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class PositionProbe(Record):
    """The same pairs scored twice, the chosen action shown first and the rejected one shown first.

    Attributes:
        n: Pairs with a score in both orders.
        n_invalid: Pairs of the probe without one.
        n_changed: Pairs whose answer (chosen, rejected, tie) differs between the two orders.
        n_first: Of the `2 n` showings, those in which the action shown first scored higher.
        n_second: Those in which the other one did; the rest are ties.
        share_changed: `n_changed / n`, in [0, 1]; 0 is best. NaN where `n` is 0.
        share_first: `(n_first + ties / 2) / (2 n)`, in [0, 1]; 0.5 is best. NaN where `n` is 0.
        max_difference: The greatest change of a score between the two orders, in its unit.
    """

    n: int
    n_invalid: int
    n_changed: int
    n_first: int
    n_second: int
    share_changed: float
    share_first: float
    max_difference: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well sigmoid((chosen - rejected) / T) says which is better, one T a type.

    Attributes:
        pairs: Of all types together, the differences in units of their type's temperature.
        temperatures: T of each type, in the scores' unit; infinite where the scores of the fitting
            pairs do not favour the chosen ones (each probability is then 1/2).
        left_out: Types without a temperature: no pair of the fitting ones is wrong, or all tie.
        n_fitted: Pairs of the other half of the tasks, on which the temperatures were fitted.
    """

    pairs: PairCalibration
    temperatures: Mapping[Dimension, float]
    left_out: tuple[Dimension, ...]
    n_fitted: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as what JSON holds; an infinite temperature is None."""
        return {
            "pairs": self.pairs.to_dict(),
            "temperatures": {
                DIMENSION_INFO[kind].symbol: value if np.isfinite(value) else None
                for kind, value in self.temperatures.items()
            },
            "left_out": [DIMENSION_INFO[kind].symbol for kind in self.left_out],
            "n_fitted": self.n_fitted,
        }


@dataclass(frozen=True, slots=True)
class Miss:
    """A pair that the scorer is wrong about.

    Attributes:
        index: The pair's place in the data.
        pair: The pair.
        chosen: What the better one scored.
        rejected: What the other one scored.
        margin: By how much it is wrong, in median absolute differences of its type.
    """

    index: int
    pair: PairRecord
    chosen: float
    rejected: float
    margin: float


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What a scorer is worth on labelled pairs.

    Attributes:
        name: The scorer's name.
        overall: Accuracy by type, micro and macro over the types, with task-clustered intervals.
        places: The same of each place (environment and platform) alone.
        scores: The scores that all this is made of.
        calibration: None where the tasks are too few to fit and to judge.
        misses: The worst of each task and type, worst first; a pair of texts once a task.
        position: The probe of positions; None where none was made.
        signs: What each type's scores were multiplied by, where that was a free choice.
    """

    name: str
    overall: AccuracyIntervals
    places: Mapping[str, AccuracyIntervals]
    scores: PairScores
    calibration: Calibration | None
    misses: tuple[Miss, ...]
    position: PositionProbe | None = None
    signs: Mapping[Dimension, int] = field(default_factory=dict)

    @property
    def n_invalid(self) -> int:
        """Pairs without two finite scores."""
        return self.overall.accuracy.n_invalid

    def reasons(self) -> list[tuple[str, int]]:
        """Why pairs have no score and how many for each reason, the most frequent first."""
        return Counter(self.scores.errors.values()).most_common()

    def to_dict(self) -> dict[str, Any]:
        """All but the single scores as what JSON holds."""
        cost, position, calibration = self.scores.cost, self.position, self.calibration
        return {
            "scorer": self.name,
            "chance": CHANCE,
            "overall": self.overall.to_dict(),
            "places": {name: found.to_dict() for name, found in self.places.items()},
            "n_invalid": self.n_invalid,
            "invalid": [{"reason": reason, "n": n} for reason, n in self.reasons()],
            "position": None if position is None else position.to_dict(),
            "calibration": None if calibration is None else calibration.to_dict(),
            "signs": {DIMENSION_INFO[kind].symbol: sign for kind, sign in self.signs.items()},
            "cost": None if cost is None else cost.to_dict(),
            "misses": [_miss(miss) for miss in self.misses],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Two scorers on the same pairs.

    Attributes:
        first: The first one's evaluation.
        second: The second one's.
        paired: First less second, by type and overall: McNemar's test and clustered intervals.
    """

    first: Evaluation
    second: Evaluation
    paired: PairedComparison

    def to_dict(self) -> dict[str, Any]:
        """The second's evaluation and the comparison as what JSON holds."""
        return {"second": self.second.to_dict(), "paired": self.paired.to_dict()}


def place_of(pair: PairRecord) -> str:
    """Where a pair was played: the environment, and its platform where that says more."""
    return pair.environment if pair.platform == "web" else f"{pair.environment} {pair.platform}"


def cluster_of(pair: PairRecord) -> Hashable:
    """What was sampled as a whole: the task of its place; two places may name tasks alike."""
    return (pair.environment, pair.platform, pair.task)


def ordered_types(found: Sequence[Hashable] | Mapping[Hashable, Any]) -> list[Dimension]:
    """The types that occur in `found`, in the order H, OS, E, TR, C, total, traj."""
    return [kind for kind in Dimension if kind in found]


def _miss(miss: Miss) -> dict[str, Any]:
    pair = miss.pair
    return {
        "index": miss.index,
        "type": DIMENSION_INFO[pair.type].symbol,
        "place": place_of(pair),
        "task": pair.task,
        "step": pair.step,
        "chosen": list(pair.chosen),
        "rejected": list(pair.rejected),
        "chosen_score": miss.chosen,
        "rejected_score": miss.rejected,
        "margin": miss.margin,
    }
