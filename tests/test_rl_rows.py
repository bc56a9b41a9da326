"""Rows for TRL: their form as laws, and what is left out."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from similar_fast.dimensions import Dimension
from similar_fast.errors import DataError, ScorerError
from similar_fast.prompts.messages import SYSTEM_TEXT
from similar_fast.records import Labels, PairRecord, Provenance
from similar_fast.rl.dpo import step_dpo_rows
from similar_fast.rl.policy_prompt import POLICY_TEXT
from similar_fast.rl.preferences import preferences_from_scores
from similar_fast.rl.prompt_rows import prompt_rows
from similar_fast.rl.row_files import write_rows
from similar_fast.srm.pairs import pairs_of_states
from similar_fast.srm.screenshots import ScreenshotStore
from srm_pairs import NumberScorer, make_pair
from srm_records import FIVE, pairs, step, steps, trajectory

PNG = b"\x89PNG\r\n\x1a\n..."
KEYS = {
    "prompt",
    "chosen",
    "rejected",
    "environment",
    "task",
    "seed",
    "step",
    "split",
    "state",
    "type",
    "margin",
    "chosen_rollouts",
    "rejected_rollouts",
}

mixed = st.lists(st.one_of(pairs, pairs.map(lambda p: replace(p, chosen=("a",), rejected=("b",)))))


@given(mixed)
def test_rows_have_one_form_and_lose_no_pair_in_silence(records: list[PairRecord]) -> None:
    reasons: list[str] = []

    rows = list(step_dpo_rows(records, left_out=reasons.append))

    assert len(rows) + len(reasons) == len(records)
    for row in rows:
        assert set(row) == KEYS
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]
        (chosen,), (rejected,) = row["chosen"], row["rejected"]
        assert chosen["role"] == rejected["role"] == "assistant"
        assert chosen["content"] != rejected["content"]
        assert chosen["content"].strip() == chosen["content"] != ""
        assert SYSTEM_TEXT not in row["prompt"][0]["content"]


@given(mixed)
def test_standard_rows_are_the_same_pairs_as_texts(records: list[PairRecord]) -> None:
    messages = list(step_dpo_rows(records))
    texts = list(step_dpo_rows(records, form="standard"))

    assert len(texts) == len(messages)
    for row, other in zip(texts, messages, strict=True):
        system, user = (message["content"] for message in other["prompt"])
        assert row["prompt"] == f"{system}\n\n{user}\n[ACTION]\n"
        assert [{"role": "assistant", "content": row["chosen"]}] == other["chosen"]
        assert {k: row[k] for k in KEYS - {"prompt", "chosen", "rejected"}} == {
            k: other[k] for k in KEYS - {"prompt", "chosen", "rejected"}
        }


def test_rows_keep_the_order_of_the_pairs_and_what_they_tell() -> None:
    records = [
        make_pair(task=str(i), chosen=[f"do {i}"], rejected=["wait"], seed=i, chosen_rollouts=i)
        for i in (3, 1, 2)
    ]

    rows = list(step_dpo_rows(records))

    assert [row["chosen"][0]["content"] for row in rows] == ["do 3", "do 1", "do 2"]
    assert [(r["task"], r["seed"], r["chosen_rollouts"]) for r in rows] == [
        ("3", 3, 3),
        ("1", 1, 1),
        ("2", 2, 2),
    ]
    assert {(r["type"], r["margin"], r["rejected_rollouts"]) for r in rows} == {
        ("total", 1.0, None)
    }


def test_the_prompt_is_the_state_in_a_policys_words() -> None:
    pair = make_pair(observation='button "Buy"', history=("click A ",))

    (row,) = step_dpo_rows([pair])

    system, user = row["prompt"]
    assert system["content"] == POLICY_TEXT
    assert user["content"] == (
        '[INSTRUCTION]\nBuy ticket 1\n[OBSERVATION]\nbutton "Buy"\n[REASON_STEPS]\nStep 1 : click A'
    )


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (make_pair(Dimension.TRAJECTORY), "pair of trajectories"),
        (make_pair(chosen=("a", "b"), rejected=("c",)), "pair of trajectories"),
        (make_pair(Dimension.EFFICIENCY), "other type"),
        (make_pair(chosen=(" ",)), "empty action"),
        (make_pair(chosen=("a ",), rejected=(" a",)), "same action twice"),
        (make_pair(chosen_label=0.4), "margin too small"),
        (make_pair(chosen_label=None), "margin unknown"),
    ],
)
def test_a_pair_that_teaches_nothing_is_left_out_and_told(pair: PairRecord, reason: str) -> None:
    reasons: list[str] = []

    rows = step_dpo_rows([pair], types=[Dimension.TOTAL], min_margin=0.5, left_out=reasons.append)

    assert list(rows) == []
    assert reasons == [reason]


def test_two_actions_of_a_state_and_type_make_one_row_or_none() -> None:
    one, other = make_pair(), make_pair(chosen=["click Help"], rejected=["click Buy"])
    of_type, of_task = make_pair(Dimension.COHERENCE), make_pair(task="2")
    reasons: list[str] = []

    rows = list(
        step_dpo_rows([one, other, of_type, of_task, one, of_type], left_out=reasons.append)
    )

    assert [(row["type"], row["task"]) for row in rows] == [("coherence", "1"), ("total", "2")]
    assert Counter(reasons) == {"ordered both ways": 3, "repeated": 1}


def test_steps_become_the_pairs_of_their_states() -> None:
    low = replace(FIVE, odds_of_success=0.0)
    states = [step("a"), step("b", labels=low), step("c", state="s1"), step("d", state="s1")]

    rows = list(step_dpo_rows(states))

    assert len(rows) == len(list(pairs_of_states(states))) == 2
    assert Counter(row["type"] for row in rows) == {"odds of success": 1, "total": 1}
    assert {row["chosen"][0]["content"] for row in rows} == {"a"}


def test_trajectories_become_pairs_at_their_first_difference() -> None:
    two = [trajectory("1", "abc"), trajectory("2", "axd", labels=replace(FIVE, efficiency=0.5))]

    rows = list(step_dpo_rows(two, types=[Dimension.EFFICIENCY]))

    assert [(row["step"], row["chosen"][0]["content"]) for row in rows] == [(2, "x")]


def test_candidates_are_those_of_the_state_in_an_order_that_tells_nothing() -> None:
    pair = make_pair(chosen=("b",), rejected=("c",))
    better = make_pair(chosen=("d ",), rejected=("b ",))
    elsewhere = make_pair(chosen=("y",), rejected=("z",), task="2")
    later = make_pair(chosen=("v",), rejected=("w",), history=("d",))

    rows = list(step_dpo_rows([pair], candidates=[pair, better, elsewhere, later, step("x")]))

    listed = rows[0]["prompt"][1]["content"].partition("[CANDIDATES]\n")[2].splitlines()
    assert listed[:-1] == ["1. b", "2. c", "3. d"]


def test_images_are_the_paths_of_the_pictures(tmp_path: Path) -> None:
    store = ScreenshotStore(tmp_path)
    name = store.put(PNG)

    rows = list(step_dpo_rows([make_pair(screenshot=name), make_pair()], screenshots=store))

    assert [row["images"] for row in rows] == [[str(tmp_path / name)], []]


def test_a_picture_that_is_missing_or_none_is_an_error(tmp_path: Path) -> None:
    store = ScreenshotStore(tmp_path)

    with pytest.raises(FileNotFoundError, match="is missing"):
        list(step_dpo_rows([make_pair(screenshot="0" * 64 + ".png")], screenshots=store))
    with pytest.raises(DataError, match="no SHA-256"):
        list(step_dpo_rows([make_pair(screenshot="../secret.png")], screenshots=store))


def test_what_cannot_be_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        list(step_dpo_rows([], min_margin=-1))
    with pytest.raises(ValueError, match="pictures need messages"):
        list(step_dpo_rows([], form="standard", screenshots=ScreenshotStore(tmp_path)))
    with pytest.raises(ValueError, match="show_images needs screenshots"):
        list(prompt_rows([], show_images=True))


@given(st.lists(st.one_of(steps, pairs)))
def test_prompt_rows_are_the_distinct_states_in_their_order(records: list) -> None:
    rows = list(prompt_rows(records, list_candidates=True))

    states = [(r["instruction"], tuple(r["history"]), r["observation"], r["task"]) for r in rows]
    wanted = [
        (r.instruction, r.history, r.observation, r.task)
        for r in records
        if not (isinstance(r, PairRecord) and r.step < 0)
    ]
    assert set(states) == set(wanted)
    assert list(dict.fromkeys(states)) == list(dict.fromkeys(wanted))
    assert all(row["prompt"][-1]["role"] == "user" for row in rows)
    assert all(row["candidates"] == sorted(set(row["candidates"])) for row in rows)


def test_prompt_rows_have_one_row_for_each_state() -> None:
    records = [step("a"), step("b"), step("c", history=("a",)), step("d", seed=1), step("a")]

    rows = list(prompt_rows(records, list_candidates=True))

    assert [row["candidates"] for row in rows] == [["a", "b"], ["c"], ["d"]]


def test_states_that_differ_in_the_picture_alone_are_two() -> None:
    seen = [(action, name) for name in ("1.png", "2.png") for action in ("1", "2")]
    records = [step(action, screenshot=name, state="") for action, name in seen]

    found = list(preferences_from_scores(records, NumberScorer()))

    assert [(p.screenshot, p.chosen, p.rejected) for p in found] == [
        ("1.png", ("2",), ("1",)),
        ("2.png", ("2",), ("1",)),
    ]
    assert len(list(prompt_rows(records))) == 2


def test_prompt_rows_name_the_picture_for_the_reward_and_for_the_policy(tmp_path: Path) -> None:
    store = ScreenshotStore(tmp_path)
    name = store.put(PNG)
    records = [step("a", screenshot=name), step("b", state="s1")]

    rows = list(prompt_rows(records, screenshots=store, show_images=True))

    path = str(tmp_path / name)
    assert [(row["screenshot"], row["images"]) for row in rows] == [(path, [path]), (None, [])]


def test_preferences_are_the_best_candidate_over_the_worst() -> None:
    states = [step(f"{n} act") for n in (3, 9, 1, 5)] + [step("2 x", state="s1")]

    (pair,) = preferences_from_scores(states, NumberScorer(), name="numbers")

    assert (pair.chosen, pair.rejected, pair.type) == (("9 act",), ("1 act",), Dimension.TOTAL)
    assert (pair.chosen_label, pair.rejected_label) == (9.0, 1.0)
    assert pair.provenance.judge == "model:numbers"


scores = st.lists(st.integers(0, 6), min_size=2, max_size=6)


@given(st.lists(scores, max_size=4), st.integers(0, 4), st.integers(1, 9))
def test_all_pairs_are_those_whose_scores_differ_enough(
    drawn: list[list[int]], margin: int, batch_size: int
) -> None:
    states = [
        step(f"{value} act {i}", state=f"s{k}")
        for k, values in enumerate(drawn)
        for i, value in enumerate(values)
    ]
    scorer = NumberScorer()

    found = list(
        preferences_from_scores(
            states, scorer, min_margin=margin, pairing="all", batch_size=batch_size
        )
    )

    wanted = sum(
        one > two and one - two >= margin for values in drawn for one in values for two in values
    )
    assert len(found) == wanted
    for pair in found:
        assert float(pair.chosen[0].split()[0]) == pair.chosen_label
        assert pair.chosen_label > pair.rejected_label
    if batch_size == 1:
        assert len(scorer.calls) == len(drawn)


def test_labels_take_no_part_in_preferences() -> None:
    states = [step("1 a", labels=Labels(odds_of_success=1.0)), step("2 b", labels=Labels())]

    (pair,) = preferences_from_scores(states, NumberScorer())

    assert pair.chosen == ("2 b",)


def test_a_dimension_is_compared_by_its_own_column() -> None:
    states = [step("1 a"), step("4 b")]

    found = list(
        preferences_from_scores(
            states, NumberScorer(has_dims=True), types=[Dimension.EFFICIENCY, Dimension.TOTAL]
        )
    )

    assert [(pair.type, pair.chosen_label) for pair in found] == [
        (Dimension.EFFICIENCY, 12.0),
        (Dimension.TOTAL, 4.0),
    ]
    with pytest.raises(ScorerError, match="efficiency is asked for, and NumberScorer gives no"):
        list(preferences_from_scores(states, NumberScorer(), types=[Dimension.EFFICIENCY]))


def test_a_candidate_that_fails_takes_no_part_and_is_told() -> None:
    states = [step("3 a"), step("none b"), step("1 c")]
    told: list[str] = []

    (pair,) = preferences_from_scores(
        states, NumberScorer(), failed=lambda record, _: told.append(record.action)
    )

    assert (pair.chosen, pair.rejected) == (("3 a",), ("1 c",))
    assert told == ["none b"]


def test_equal_scores_and_repeated_actions_make_no_pair() -> None:
    states = [step("1 a"), step("1 b"), step("1 a")]

    assert list(preferences_from_scores(states, NumberScorer(), pairing="all")) == []


def test_preferences_read_the_pictures_of_their_states(tmp_path: Path) -> None:
    store = ScreenshotStore(tmp_path)
    name = store.put(PNG)
    scorer = NumberScorer()

    list(
        preferences_from_scores(
            [step("1 a", screenshot=name), step("2 b", screenshot=name)], scorer, screenshots=store
        )
    )

    first, second = scorer.calls[0]
    assert first.screenshot() == PNG
    assert second.screenshot is first.screenshot


@pytest.mark.parametrize(
    "options",
    [
        {"min_margin": -1.0},
        {"batch_size": 0},
        {"types": []},
        {"types": [Dimension.TRAJECTORY, Dimension.TOTAL]},
    ],
)
def test_preferences_refuse_what_makes_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        list(preferences_from_scores([], NumberScorer(), **options))


@pytest.mark.parametrize("form", ["conversational", "standard"])
def test_both_files_hold_the_same_rows(form: str, tmp_path: Path) -> None:
    records = [make_pair(), make_pair(seed=3, provenance=Provenance())]
    rows = list(step_dpo_rows(records, form=form))

    assert write_rows(tmp_path / "rows.jsonl", rows) == 2
    assert write_rows(tmp_path / "rows.parquet", rows) == 2

    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist() == rows


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_text_that_is_no_unicode_leaves_no_file(suffix: str, tmp_path: Path) -> None:
    rows = step_dpo_rows([make_pair(chosen=("click \ud800",))])

    with pytest.raises(DataError, match="row"):
        write_rows(tmp_path / f"rows{suffix}", rows)
    assert list(tmp_path.iterdir()) == []


def test_rows_in_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ends with none of"):
        write_rows(tmp_path / "rows.csv", [])
