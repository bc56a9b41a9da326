"""Records of every kind: drawn by Hypothesis, and a few by hand."""

from hypothesis import strategies as st
from similar_fast.dimensions import Dimension
from similar_fast.records import (
    Labels,
    PairRecord,
    Provenance,
    Record,
    StepRecord,
    TrajectoryRecord,
    TrajectoryStep,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
integers = st.integers(-(2**63), 2**63 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)
maybe = numbers | st.none()
many = st.lists(texts, max_size=3).map(tuple)
platforms = st.sampled_from(["web", "android", "linux", "windows"])

labels = st.builds(
    Labels,
    helpfulness=maybe,
    odds_of_success=maybe,
    efficiency=maybe,
    task_relevance=maybe,
    coherence=maybe,
)
provenances = st.builds(
    Provenance,
    source=texts,
    policy=texts,
    rollouts=integers | st.none(),
    remaining=maybe,
    diverged=integers,
    versions=texts,
)
shared = {
    "environment": texts,
    "task": texts,
    "instruction": texts,
    "platform": platforms,
    "split": texts,
    "seed": integers | st.none(),
    "provenance": provenances,
}
seen = {"observation": texts, "screenshot": texts | st.none()}
steps = st.builds(
    StepRecord,
    trajectory=texts,
    step=integers,
    action=texts,
    labels=labels,
    history=many,
    state=texts,
    is_scaled=st.booleans(),
    is_final=st.booleans() | st.none(),
    **shared,
    **seen,
)
trajectories = st.builds(
    TrajectoryRecord,
    trajectory=texts,
    steps=st.lists(
        st.builds(TrajectoryStep, step=integers, action=texts, labels=labels, **seen), max_size=3
    ).map(tuple),
    is_scaled=st.booleans(),
    **shared,
)
pairs = st.builds(
    PairRecord,
    type=st.sampled_from(list(Dimension)),
    chosen=many,
    rejected=many,
    step=integers,
    history=many,
    chosen_label=maybe,
    rejected_label=maybe,
    chosen_trajectory=texts,
    rejected_trajectory=texts,
    chosen_rollouts=integers | st.none(),
    rejected_rollouts=integers | st.none(),
    state=texts,
    columns_swapped=st.booleans(),
    **shared,
    **seen,
)
records: st.SearchStrategy[Record] = st.one_of(steps, trajectories, pairs)


def trajectory(
    name: str, actions: str, *, labels: Labels | None = None, task: str = "115", **more: object
) -> TrajectoryRecord:
    """A trajectory with one letter an action."""
    steps = tuple(
        TrajectoryStep(step=i, action=action, labels=labels or FIVE, observation=f"screen{i}")
        for i, action in enumerate(actions, 1)
    )
    fields = {"environment": "webarena", "instruction": "Buy a ticket", **more}
    return TrajectoryRecord(task=task, trajectory=name, steps=steps, **fields)


FIVE = Labels(helpfulness=0.25, odds_of_success=0.5, efficiency=-0.5, task_relevance=1, coherence=0)


def step(action: str, **more: object) -> StepRecord:
    """A step at one state."""
    fields = {
        "environment": "miniwob",
        "task": "click-tab-2",
        "trajectory": "e0",
        "step": 1,
        "instruction": "Click it",
        "state": "s0",
        "labels": FIVE,
        **more,
    }
    return StepRecord(action=action, **fields)
