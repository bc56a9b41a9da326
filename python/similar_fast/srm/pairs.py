"""Preference pairs: of the trajectories of one task, and of the labelled actions of one state.

Source: Miao et al. 2025 (arXiv 2503.18665), section 4, and the builder its authors published, whose
lost pairs `as_published` repeats.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

import msgspec

from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.errors import DataError
from similar_fast.records import (
    PairRecord,
    Provenance,
    StepRecord,
    TrajectoryRecord,
    TrajectoryStep,
)

__all__ = [
    "ROUNDING",
    "STEP_TYPES",
    "pair_of_steps",
    "pairs_of_states",
    "pairs_of_trajectories",
    "trajectories_of_steps",
]

STEP_TYPES: tuple[Dimension, ...] = (*DIMENSIONS, Dimension.TOTAL)
"""What two actions of one state are compared by."""

_LOST_AS_PUBLISHED = frozenset({Dimension.TASK_RELEVANCE, Dimension.COHERENCE, Dimension.TOTAL})
ROUNDING = 1e-9
"""A difference of 0.5 between two means of rollouts may come out as 0.49999999999999994."""


def pairs_of_trajectories(
    trajectories: Iterable[TrajectoryRecord], *, as_published: bool = False
) -> Iterator[PairRecord]:
    """The pairs of every two trajectories of one task, seed and split, in the order they came.

    A trajectory counts from step 1 to the last one before a number that is missing. At the first
    step at which the two actions differ there is a pair for each type whose labels differ; `total`
    is 5 OS + 5 E + 3 H + TR + C. Two trajectories make a pair where the means of the plain sum of
    the five labels differ.

    Args:
        trajectories: In any order; all are held.
        as_published: Whether to lose, as the published builder does, each pair for task relevance,
            coherence and total whose second action is the better one.
    """
    groups: dict[tuple[object, ...], list[TrajectoryRecord]] = {}
    for trajectory in trajectories:
        key = (trajectory.environment, trajectory.platform, trajectory.task)
        groups.setdefault((*key, trajectory.seed, trajectory.split), []).append(trajectory)
    for group in groups.values():
        walked = [(trajectory, _walked(trajectory)) for trajectory in group]
        for first, second in combinations(walked, 2):
            yield from _pairs_of_two(first, second, as_published=as_published)


def pairs_of_states(
    steps: Iterable[StepRecord],
    *,
    min_difference: Mapping[Dimension, float] | float = 0.0,
    min_rollouts: int = 0,
    max_pairs_per_state: int | None = None,
    seed: int = 0,
) -> Iterator[PairRecord]:
    """The pairs of every two actions of one state, for each type, in an order that is fixed.

    Two records of the same action never make a pair.

    Args:
        steps: In any order; all are held. What comes out does not depend on the order within a
            state.
        min_difference: By how much two labels must differ at least, for all types or by type (0
            where one is not named); with 0 they must differ.
        min_rollouts: Rollouts that must be behind both labels; an action that ended its episode
            needs one, as it ends the same way whenever it is done.
        max_pairs_per_state: The most pairs of one state and type, drawn at random; None keeps all.
        seed: Seeds the draw, which is the same whatever other states there are.

    Raises:
        DataError: A step has no state.
        ValueError: A number is negative.
    """
    least = _least_differences(min_difference)
    if min_rollouts < 0 or (max_pairs_per_state is not None and max_pairs_per_state < 0):
        raise ValueError("min_rollouts and max_pairs_per_state must be at least 0")
    groups: dict[tuple[str, str, str], list[StepRecord]] = {}
    for step in steps:
        if not step.state:
            words = f"step {step.step} of {step.trajectory!r} has no state to be compared at"
            raise DataError(words)
        if step.is_final or (step.provenance.rollouts or 0) >= min_rollouts:
            groups.setdefault((step.environment, step.task, step.state), []).append(step)
    for (_, _, state), group in groups.items():
        group.sort(key=_place)
        for compared_by in STEP_TYPES:
            found = [
                pair
                for first, second in combinations(group, 2)
                if (pair := _ordered(first, second, compared_by, least[compared_by])) is not None
            ]
            if max_pairs_per_state is not None and len(found) > max_pairs_per_state:
                draw = random.Random(f"{seed} {state} {compared_by}")  # noqa: S311  # no secret
                kept = sorted(draw.sample(range(len(found)), max_pairs_per_state))
                found = [found[i] for i in kept]
            for chosen, rejected in found:
                yield _state_pair(chosen, rejected, compared_by)


def trajectories_of_steps(steps: Iterable[StepRecord]) -> list[TrajectoryRecord]:
    """The trajectories that steps belong to, in the order in which they begin.

    Args:
        steps: The steps of a trajectory keep their order; all are held.
    """
    groups: dict[tuple[object, ...], list[StepRecord]] = {}
    for step in steps:
        key = (step.environment, step.platform, step.task, step.seed, step.split, step.trajectory)
        groups.setdefault(key, []).append(step)
    return [
        TrajectoryRecord(
            environment=first.environment,
            platform=first.platform,
            task=first.task,
            trajectory=first.trajectory,
            instruction=first.instruction,
            steps=tuple(
                TrajectoryStep(
                    step=step.step,
                    action=step.action,
                    labels=step.labels,
                    observation=step.observation,
                    screenshot=step.screenshot,
                )
                for step in group
            ),
            split=first.split,
            seed=first.seed,
            is_scaled=first.is_scaled,
            provenance=first.provenance,
        )
        for group in groups.values()
        for first in group[:1]
    ]


def _walked(trajectory: TrajectoryRecord) -> list[TrajectoryStep]:
    """The steps 1, 2, ... up to the first number that is missing; of two alike the later one."""
    by_number = {step.step: step for step in trajectory.steps}
    walked: list[TrajectoryStep] = []
    while (step := by_number.get(len(walked) + 1)) is not None:
        walked.append(step)
    return walked


_Walked = tuple[TrajectoryRecord, list[TrajectoryStep]]


def _pairs_of_two(first: _Walked, second: _Walked, *, as_published: bool) -> Iterator[PairRecord]:
    steps = zip(first[1], second[1], strict=False)
    at = next((i for i, (one, two) in enumerate(steps) if one.action != two.action), None)
    if at is not None:
        for compared_by in STEP_TYPES:
            one, two = (walked[at].labels.value(compared_by) for _, walked in (first, second))
            if one > two:
                yield _trajectory_pair(first, second, compared_by, at=at, labels=(one, two))
            elif one < two and not (as_published and compared_by in _LOST_AS_PUBLISHED):
                yield _trajectory_pair(second, first, compared_by, at=at, labels=(two, one))
    if first[1] and second[1]:
        one, two = (
            sum(step.labels.plain_sum for step in walked) / len(walked)
            for _, walked in (first, second)
        )
        if one > two:
            yield _trajectory_pair(first, second, Dimension.TRAJECTORY, at=None, labels=(one, two))
        elif one < two:
            yield _trajectory_pair(second, first, Dimension.TRAJECTORY, at=None, labels=(two, one))


def _trajectory_pair(
    better: _Walked,
    worse: _Walked,
    compared_by: Dimension,
    *,
    at: int | None,
    labels: tuple[float, float],
) -> PairRecord:
    """The pair of two trajectories at the step of index `at`, or as wholes where that is None."""
    (trajectory, steps), (other, other_steps) = better, worse
    if at is None:
        shared, chosen, rejected = steps[0], steps, other_steps
    else:
        shared, chosen, rejected = steps[at], steps[at : at + 1], other_steps[at : at + 1]
    return PairRecord(
        environment=trajectory.environment,
        platform=trajectory.platform,
        task=trajectory.task,
        type=compared_by,
        instruction=trajectory.instruction,
        chosen=tuple(step.action for step in chosen),
        rejected=tuple(step.action for step in rejected),
        step=-1 if at is None else at + 1,
        history=tuple(step.action for step in steps[: at or 0]),
        observation=shared.observation,
        screenshot=shared.screenshot,
        chosen_label=labels[0],
        rejected_label=labels[1],
        chosen_trajectory=trajectory.trajectory,
        rejected_trajectory=other.trajectory,
        split=trajectory.split,
        seed=trajectory.seed,
        provenance=trajectory.provenance,
    )


def _least_differences(given: Mapping[Dimension, float] | float) -> dict[Dimension, float]:
    """The least difference of each type.

    Raises:
        ValueError: One is negative or no number, or a type is none that steps are compared by.
    """
    if not isinstance(given, Mapping):
        given = dict.fromkeys(STEP_TYPES, given)
    unknown = [name for name in given if name not in STEP_TYPES]
    if unknown or not all(value >= 0 for value in given.values()):
        raise ValueError(f"min_difference is {dict(given)}; expected numbers from 0 for step types")
    return {compared_by: given.get(compared_by, 0.0) for compared_by in STEP_TYPES}


def _place(step: StepRecord) -> tuple[object, ...]:
    """What actions of a state are put in order by, so that the order they came in is forgotten."""
    return step.action, step.trajectory, step.step, msgspec.json.encode(step.labels)


def _ordered(
    first: StepRecord, second: StepRecord, compared_by: Dimension, least: float
) -> tuple[StepRecord, StepRecord] | None:
    """The better one and the other one; None where they are no pair."""
    if first.action == second.action:
        return None
    one, two = first.labels.value(compared_by), second.labels.value(compared_by)
    # A label that is not known is NaN, which differs from nothing.
    if not abs(one - two) > 0 or not abs(one - two) >= least - ROUNDING:
        return None
    return (first, second) if one > two else (second, first)


def _state_pair(chosen: StepRecord, rejected: StepRecord, compared_by: Dimension) -> PairRecord:
    made_by = chosen.provenance
    return pair_of_steps(
        chosen,
        rejected,
        compared_by,
        labels=(chosen.labels.value(compared_by), rejected.labels.value(compared_by)),
        rollouts=(chosen.provenance.rollouts, rejected.provenance.rollouts),
        provenance=Provenance(
            source=made_by.source,
            policy=made_by.policy,
            judge=made_by.judge,
            model=made_by.model,
            versions=made_by.versions,
        ),
    )


def pair_of_steps(
    chosen: StepRecord,
    rejected: StepRecord,
    compared_by: Dimension,
    *,
    labels: tuple[float, float],
    provenance: Provenance,
    rollouts: tuple[int | None, int | None] = (None, None),
) -> PairRecord:
    """The pair that two actions of one state make.

    Args:
        chosen: The better one, from which everything comes that both share.
        rejected: The other one.
        compared_by: What they are compared by.
        labels: What that says of the better one and of the other one.
        provenance: Where the pair comes from.
        rollouts: Behind the two labels; None where it is not known.
    """
    return PairRecord(
        environment=chosen.environment,
        platform=chosen.platform,
        task=chosen.task,
        type=compared_by,
        instruction=chosen.instruction,
        chosen=(chosen.action,),
        rejected=(rejected.action,),
        step=chosen.step,
        history=chosen.history,
        observation=chosen.observation,
        screenshot=chosen.screenshot,
        chosen_label=labels[0],
        rejected_label=labels[1],
        chosen_trajectory=chosen.trajectory,
        rejected_trajectory=rejected.trajectory,
        chosen_rollouts=rollouts[0],
        rejected_rollouts=rollouts[1],
        split=chosen.split,
        seed=chosen.seed,
        state=chosen.state,
        provenance=provenance,
    )
