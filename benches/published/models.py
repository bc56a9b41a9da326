"""Two linear models of what the texts say, and their sum.

`PairRanking` learns from pairs, one direction a type: Bradley and Terry 1952. `StepRegression` is
stage 1 of the pipeline on the same features: the five labels of every step, as ranks within their
task, since 1 / (length of the trajectory) is most of what the published H and E hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from published.features import step_vector, trajectory_vector
from published.folds import task_weights
from scipy.optimize import minimize
from scipy.stats import rankdata
from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.records import PairRecord
from similar_fast.srm.pairs import STEP_TYPES
from similar_fast.train.data import TrainingSet
from similar_fast.train.regression import fit_regression

Floats = NDArray[np.float64]

_MOST = 8.0  # standard deviations that one feature may count


class PairModel(Protocol):
    """Scores pairs: `[n]`, above 0 where the chosen side is taken for the better one."""

    def margins(self, pairs: Sequence[PairRecord]) -> Floats: ...


@dataclass(frozen=True)
class PairRanking:
    """One direction in the features for each type: of a step's, or of a trajectory's.

    Attributes:
        directions: `[F]` for each type.
    """

    directions: Mapping[Dimension, Floats]

    @classmethod
    def fit(cls, pairs: Sequence[PairRecord], *, penalty: float) -> "PairRanking":
        """Minimises, for each type, the mean loss -log sigmoid(w . x) + penalty / 2 |w|^2.

        x is the chosen side's features less the rejected one's, each in units of its root mean
        square over all pairs of steps, or of trajectories. Each task counts the same within a type.
        """
        directions: dict[Dimension, Floats] = {}
        for kinds in ((Dimension.TRAJECTORY,), STEP_TYPES):
            used = [pair for pair in pairs if pair.type in kinds]
            if not used:
                continue
            x = np.stack([_difference(pair) for pair in used])
            scale = _not_0(np.sqrt((x**2).mean(axis=0)))
            x = np.clip(x / scale, -_MOST, _MOST)
            for kind in kinds:
                rows = [i for i, pair in enumerate(used) if pair.type is kind]
                if rows:
                    weights = task_weights([used[i].task for i in rows]) / len(rows)
                    directions[kind] = _bradley_terry(x[rows], weights, penalty) / scale
        return cls(directions)

    def margins(self, pairs: Sequence[PairRecord]) -> Floats:
        """0 for a type that it has learnt nothing of."""
        return np.array(
            [
                _difference(pair) @ self.directions[pair.type]
                if pair.type in self.directions
                else 0.0
                for pair in pairs
            ]
        )


@dataclass(frozen=True)
class StepRegression:
    """The five dimensions of a step, up to a constant of its task.

    Attributes:
        coefficients: `[5, F]`, in the order of `DIMENSIONS`.
    """

    coefficients: Floats

    @classmethod
    def fit(cls, rows: TrainingSet, *, alpha: float) -> "StepRegression":
        """`fit_regression` of ranks within the task on features less their task's mean."""
        found = [step_vector(s.instruction, tuple(s.history), s.action) for s in rows.steps]
        weights, tasks = task_weights(rows.tasks), np.unique(rows.tasks, return_inverse=True)[1]
        x = _centred(np.stack(found), tasks)
        y = _centred(_ranks(rows.labels, tasks), tasks)
        scale = _not_0(x.std(axis=0))
        fit = fit_regression(
            (x / scale).astype(np.float32),
            y,
            groups=rows.tasks,
            weights=weights,
            alphas=(alpha,),
            validation_share=0,
            label_scales=(1.0, 1.0, 1.0, 1.0, 1.0),
        )
        return cls(fit.regression / scale)

    def margins(self, pairs: Sequence[PairRecord]) -> Floats:
        return np.array([self._value(p, p.chosen) - self._value(p, p.rejected) for p in pairs])

    def _value(self, pair: PairRecord, actions: tuple[str, ...]) -> float:
        """Of a trajectory the mean over its steps of the sum of the five."""
        rows = [
            step_vector(pair.instruction, (*pair.history, *actions[:i]), action)
            for i, action in enumerate(actions)
        ]
        five = self.coefficients @ np.mean(rows, axis=0)
        return float(five[DIMENSIONS.index(pair.type)] if pair.type in DIMENSIONS else five.sum())


@dataclass(frozen=True)
class Sum:
    """The sum of models, each in units of its root mean square of each type on what it learnt from.

    Attributes:
        models: The models.
        units: The units of each, by type.
    """

    models: tuple[PairModel, ...]
    units: tuple[Mapping[Dimension, float], ...]

    @classmethod
    def of(cls, models: Sequence[PairModel], pairs: Sequence[PairRecord]) -> "Sum":
        """Takes the units from the pairs that were trained on."""
        kinds = np.array([pair.type.value for pair in pairs])
        units = []
        for model in models:
            margins = model.margins(pairs)
            of_kind = {kind: margins[kinds == kind.value] for kind in Dimension}
            units.append(
                {k: float(np.sqrt((m**2).mean())) or 1.0 for k, m in of_kind.items() if len(m)}
            )
        return cls(tuple(models), tuple(units))

    def margins(self, pairs: Sequence[PairRecord]) -> Floats:
        total: Floats = np.zeros(len(pairs))
        for model, units in zip(self.models, self.units, strict=True):
            total += model.margins(pairs) / np.array([units.get(p.type, 1.0) for p in pairs])
        return total


def _difference(pair: PairRecord) -> Floats:
    """The chosen side's features less the rejected one's."""
    if pair.type is Dimension.TRAJECTORY:
        chosen, rejected = (
            trajectory_vector(pair.instruction, side) for side in (pair.chosen, pair.rejected)
        )
    else:
        chosen, rejected = (
            step_vector(pair.instruction, pair.history, side[0])
            for side in (pair.chosen, pair.rejected)
        )
    return chosen - rejected


def _bradley_terry(x: Floats, weights: Floats, penalty: float) -> Floats:
    def loss(w: Floats) -> tuple[float, Floats]:
        z = x @ w
        slope = -weights / (1 + np.exp(z))
        value = weights @ np.logaddexp(0, -z) + penalty / 2 * (w @ w)
        return float(value), x.T @ slope + penalty * w

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
    result: Floats = found.x
    return result


def _ranks(labels: Floats, tasks: NDArray[np.int64]) -> Floats:
    """Each label's rank among those of its task, ties in the middle, over their number."""
    ranks = np.full(labels.shape, np.nan)
    for task in range(tasks.max() + 1):
        for column in range(labels.shape[1]):
            known = (tasks == task) & ~np.isnan(labels[:, column])
            if known.any():
                ranks[known, column] = rankdata(labels[known, column]) / known.sum()
    return ranks


def _centred(values: Floats, tasks: NDArray[np.int64]) -> Floats:
    """Less the mean of each task, NaN left alone."""
    known = ~np.isnan(values)
    sums, counts = (np.zeros((tasks.max() + 1, values.shape[1])) for _ in range(2))
    np.add.at(sums, tasks, np.where(known, values, 0.0))
    np.add.at(counts, tasks, known)
    centred: Floats = values - (sums / np.maximum(counts, 1))[tasks]
    return centred


def _not_0(scale: Floats) -> Floats:
    return np.where(scale > 1e-9, scale, 1.0)
