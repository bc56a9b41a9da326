"""Splits leak nothing, stay what they are for a seed, and keep to their share."""

from collections import defaultdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace
from published_forms import trajectories
from similar_fast.records import TrajectoryRecord
from similar_fast.srm.splits import assign_splits, plain_instruction, split_of, with_split
from srm_records import trajectory

rows = st.lists(
    st.builds(
        lambda environment, task, words: trajectory(
            "1", "a", task=task, environment=environment, instruction=words
        ),
        st.sampled_from(["shop", "mail"]),
        st.sampled_from([f"t{i}" for i in range(12)]),
        st.sampled_from(["Buy  it", "buy it", "Send", "Read", "Sell", "Go", "Stop", "Wait"]),
    ),
    max_size=25,
)
shares = st.floats(0, 1)


def one_word_a_task(count: int, environment: str = "shop") -> list[TrajectoryRecord]:
    return [
        trajectory(
            "1", "a", task=f"t{i}", environment=environment, instruction=f"{environment} {i}"
        )
        for i in range(count)
    ]


@given(rows, shares, st.integers(0, 3), st.sampled_from(["task", "environment"]))
def test_nothing_is_on_both_sides(
    records: list[TrajectoryRecord], share: float, seed: int, by: str
) -> None:
    splits = assign_splits(records, eval_share=share, seed=seed, by=by)

    sides: dict[object, set[str]] = defaultdict(set)
    for record in records:
        side = split_of(record, splits)
        sides["task", record.environment, record.task].add(side)
        sides["words", plain_instruction(record.instruction)].add(side)
        if by == "environment":
            sides["environment", record.environment].add(side)
    assert all(len(found) == 1 for found in sides.values())
    assert set(splits) == {(r.environment, r.task) for r in records}


@given(rows, shares, st.integers(0, 3), st.randoms())
def test_the_order_of_the_records_takes_no_part(
    records: list[TrajectoryRecord], share: float, seed: int, shuffled: object
) -> None:
    again = records.copy()
    shuffled.shuffle(again)  # type: ignore[attr-defined]  # a random.Random

    first = assign_splits(records, eval_share=share, seed=seed)

    assert assign_splits(again, eval_share=share, seed=seed) == first


@given(st.integers(1, 40), shares)
def test_the_share_is_kept_where_tasks_share_no_words(count: int, share: float) -> None:
    assume(share > 0)

    splits = assign_splits(one_word_a_task(count), eval_share=share)

    held = list(splits.values()).count("eval")
    assert held == (max(round(share * count), 1) if count > 1 else round(share))


def test_seeds_differ_and_a_task_keeps_its_place_when_others_come() -> None:
    few, many = one_word_a_task(40), one_word_a_task(60)

    splits = [tuple(assign_splits(few, seed=seed).items()) for seed in range(5)]
    grown = assign_splits(many)

    assert len(set(splits)) == 5
    before = {task for task, side in splits[0] if side == "eval"}
    after = {task for task, side in grown.items() if side == "eval"}
    assert len(before - after) <= 4


def test_environments_are_held_out_as_wholes() -> None:
    records = one_word_a_task(4) + one_word_a_task(6, "mail") + one_word_a_task(2, "files")

    splits = assign_splits(records, eval_share=0.2, by="environment")

    assert {name for (name, _), side in splits.items() if side == "eval"} == {"files"}


def test_a_group_that_is_the_whole_stays_with_train() -> None:
    records = [replace(record, instruction="same") for record in one_word_a_task(5)]

    assert set(assign_splits(records, eval_share=0.5).values()) == {"train"}


@pytest.mark.parametrize("options", [{"eval_share": 1.5}, {"eval_share": -1}, {"by": "seed"}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        assign_splits([], **options)


def test_the_split_of_a_record_is_rewritten() -> None:
    assert with_split(trajectory("1", "a", split="train"), "eval").split == "eval"


def test_the_published_tasks_are_split_without_a_leak() -> None:
    records = [*trajectories("webarena", "train"), *trajectories("webarena", "eval")]

    splits = assign_splits(records, seed=7)

    held = list(splits.values()).count("eval")
    assert held == round(0.2 * len(splits))
    words: dict[str, set[str]] = defaultdict(set)
    for record in records:
        words[plain_instruction(record.instruction)].add(split_of(record, splits))
    assert all(len(sides) == 1 for sides in words.values())
