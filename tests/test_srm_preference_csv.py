"""The preference CSV and the message lists in it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_forms import (
    FIELDS,
    csv_text,
    preference_row,
)
from similar_fast.srm import preference_csv as preference
from similar_fast.srm.published import action_texts
from srm_files import read, sample_pairs, write


def test_messages_win_over_swapped_columns(tmp_path: Path) -> None:
    pairs = sample_pairs()
    rows = [preference_row(pair, is_swapped=i % 2 == 0) for i, pair in enumerate(pairs)]
    path = write(tmp_path / "Reward_Model_OSWorld_Windows_test.csv", csv_text(FIELDS, rows))

    found = read(path)

    assert [(p.chosen, p.rejected) for p in found] == [(p.chosen, p.rejected) for p in pairs]
    assert [p.columns_swapped for p in found] == [i % 2 == 0 for i in range(len(pairs))]
    assert {(p.environment, p.platform) for p in found} == {("osworld", "windows")}


def test_a_file_without_messages_columns_and_scores_is_read(tmp_path: Path) -> None:
    row = {
        "compare_id": "OSWorld_Windows_OSWorld_Windows3_1_vs_OSWorld_Windows3_2",
        "step_idx": -1,
        "instruction": "Help",
        "type": "traj",
        "reason_steps": "Let's complete the task step by step. \n",
        "chosen": "Step 1 :  open \n\n\nStep 2 : DONE\n\n\n",
        "rejected": "Step 1 : DONE\n\n\n",
    }
    path = write(tmp_path / "x.csv", csv_text(row, [row]))

    (pair,) = read(path)

    assert (pair.task, pair.step, pair.history) == ("3", -1, ())
    assert (pair.chosen, pair.rejected) == ((" open \n", "DONE\n"), ("DONE\n",))
    assert pair.chosen_label is None


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda a: "Step" not in a))
)
def test_actions_come_back_out_of_their_text(actions: list[str]) -> None:
    text = "".join(f"Step {i} : {action}\n\n" for i, action in enumerate(actions, 1))

    assert (action_texts(text) or ()) == tuple(actions)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_action_comes_back_out_of_messages(action: str) -> None:
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": action}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": action}]}]

    assert preference.messages_action(repr(said), "chosen") == action
    assert preference.messages_action(repr(parts), "chosen") == action


def test_an_unknown_escape_stands_for_itself() -> None:
    text = r"[{'role': 'assistant', 'content': 'a\d\\d\'s'}]"

    assert preference.messages_action(text, "chosen") == r"a\d\d's"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("[{'role': 'assistant'}]", "no text of the assistant"),
        ("[{'role': 'user', 'content': 'x'}]", "no text of the assistant"),
        ("[{'role': 'assistant', 'content': 'x'}", "no Python literal"),
        ("[{'role': 'assistant', 'content': __import__('os').getcwd()}]", "no plain list"),
        ("[{'role': 'assistant', 'content': f'{1}'}]", "no Python literal"),
        ("[{'a': 1+1}]", "no plain list"),
        ("[{'a': " + "[" * 5000 + "]" * 5000 + "}]", "no plain list"),
        ("[{" + "-" * 100_000 + "1: 2}]", "no Python literal"),
        ("[{'a': '" + "x" * 2**20 + "'}]", "characters; expected"),
        ("[{'a': 1}].x", "no Python literal"),
        ("[{1: 2}], 3", "is a tuple"),
        ("[{[]: 2}]", "no Python literal"),
        (r"[{'role': 'assistant', 'content': '\xz'}]", "no Python literal"),
    ],
)
def test_messages_that_are_none_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        preference.messages_action(text, "chosen")


def test_brackets_in_a_text_are_not_nested_lists() -> None:
    action = "type [1] [" + "[(" * 50 + "]"

    assert (
        preference.messages_action(repr([{"role": "assistant", "content": action}]), "chosen")
        == action
    )


# The list as it is published

characters = st.characters(exclude_categories=["Cs"]) | st.sampled_from("'\"\\\n\r\0xu{}[], ")
words = st.text(characters, max_size=12)
parts = st.lists(st.builds(lambda text: {"type": "text", "text": text}, words), max_size=2)
# Of dictionaries that Hypothesis draws whole, the order of the keys is drawn as well.
message = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["assistant", "assistant", "user", "it's"]),
    words | parts,
)
edits = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 2), st.text(characters, max_size=2)), max_size=3
)


def outcome(read_answer: Callable[[str, str], str], text: str) -> str:
    """The answer, or that there is none."""
    try:
        return f"answer {read_answer(text, 'chosen')}"
    except ValueError:
        return "refused"


@given(st.lists(message, min_size=1, max_size=3), edits)
def test_the_published_shape_is_read_as_any_list_is(
    messages: list[object], edits: list[tuple[int, int, str]]
) -> None:
    text = repr(messages)
    for at, length, new in edits:
        start = max(len(text) - at, 0)  # the answer stands near the end
        text = text[:start] + new + text[start + length :]

    fast = preference._published_answer(text)

    if fast:
        assert outcome(preference._last_answer, text) == f"answer {fast}"


@pytest.mark.parametrize(
    "content",
    [
        *("'a\nb'", "'a\rb'", "'a\0b'", "'\ud800'", "'''a'''", "'a' 'b'", "b'a'", "f'a'", "'a'b'"),
        *(r"'\d'", r"'\101'", r"'\N{BULLET}'", r"'\x4'", r"'\u004'", r"'\U00110000'", "'a\\\nb'"),
        *("''", "[]", "['a']", "[{'text': 'a'}]", "None", "'a', 'content': 'b'"),
    ],
)
def test_what_a_literal_may_not_hold_or_reads_otherwise_goes_the_long_way(content: str) -> None:
    text = f"[{{'role': 'assistant', 'content': {content}}}]"

    assert not preference._published_answer(text)


@given(words.filter(bool), st.lists(message, max_size=2))
def test_every_list_of_the_published_shape_takes_the_short_way(
    answer: str, before: list[object]
) -> None:
    text = repr([*before, {"role": "assistant", "content": answer}])

    assert preference._published_answer(text) == answer


@pytest.mark.timeout(120)
def test_a_long_list_that_is_nearly_of_the_published_shape_is_refused() -> None:
    message = repr({"role": "user", "content": [{"type": "text", "text": "a'\\n\"" * 9}]})
    text = "[" + ", ".join([message] * 8000) + ", {'role': 'assistant', 'content': 'x'}}"

    with pytest.raises(ValueError, match="no Python literal"):
        preference.messages_action(text, "chosen")

    assert len(text) < preference.MAX_LITERAL_CHARS
