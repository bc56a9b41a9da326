"""What no stage sees shares no instruction and no state with what is trained on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from similar_fast.records import StepRecord, TrajectoryRecord, TrajectoryStep
from similar_fast.train.data import training_set
from similar_fast.train.held_out import hold_out_rows
from train_data import RIGHT, clicks

SEEDS = st.integers(0, 5)


def steps(instructions: list[str]) -> list[StepRecord]:
    """A step of a task of its own for each instruction."""
    (one, *_) = clicks(tasks=("a",), episodes=1)
    return [replace(one, task=f"t{i}", instruction=text) for i, text in enumerate(instructions)]


def walks(actions: list[str]) -> list[TrajectoryRecord]:
    """Trajectories of one task, with one letter an action."""
    return [
        TrajectoryRecord(
            environment="toy",
            task="a",
            trajectory=str(i),
            instruction="go",
            steps=tuple(
                TrajectoryStep(step=j, action=action, labels=RIGHT)
                for j, action in enumerate(word, 1)
            ),
        )
        for i, word in enumerate(actions)
    ]


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=12), SEEDS)
def test_drawn_tasks_that_share_an_instruction_stay_together(words: list[str], seed: int) -> None:
    rows = training_set(steps(words))

    found = hold_out_rows(rows, share=0.3, seed=seed)

    sides = {
        word: {bool(found.rows[i]) for i, w in enumerate(words) if w == word} for word in words
    }
    assert all(len(side) == 1 for side in sides.values())
    assert found.by == ("task" if len(sides) > 1 else "none")
    assert found.rows.any() == (len(sides) > 1)
    assert not found.rows.all()


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=8), SEEDS)
def test_episodes_that_share_a_state_stay_together(actions: list[str], seed: int) -> None:
    # Where a walk begins with a step of its own, its states are its own.
    begun = [f"{i}{word}" if i % 2 else word for i, word in enumerate(actions)]
    rows = training_set(walks(begun))

    found = hold_out_rows(rows, share=0.3, seed=seed)

    held, kept = rows.states[found.rows], rows.states[~found.rows]
    assert not set(held.tolist()) & set(kept.tolist())
    assert (found.by == "episode") == found.rows.any()


def test_named_tasks_are_held_out_as_they_are() -> None:
    rows = training_set(steps(["one", "one", "two"]))

    found = hold_out_rows(rows, tasks=["t1"], share=0.0, seed=0)

    assert found.rows.tolist() == [False, True, False]
    with pytest.raises(ValueError, match="no task 't9' to validate on; it has t0, t1, t2"):
        hold_out_rows(rows, tasks=["t9"], share=0.0, seed=0)
