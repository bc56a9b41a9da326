"""Other names: consistent within a state, of the same shape, and never a task's own words."""

import random
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from similar_fast.records import Labels, StepRecord
from similar_fast.train.data import training_set
from similar_fast.train.renaming import Renamer
from similar_fast.types import Step

WORD = re.compile(r"[^\W_]+")
NAMES = ("Karrie", "Loren", "Mabel", "Nanci", "Olive", "Pablo")
CODES = ("eu", "ut", "sed", "amet", "dolor", "ipsum")
MORE = ("nunc", "quis", "erat", "urna", "odio", "arcu")
NUMBERS = ("4711", "1999", "2024", "8080", "1234", "5150")


def record(i: int, action: str) -> StepRecord:
    return StepRecord(
        environment="toy",
        task="login",
        trajectory=str(i),
        step=1,
        instruction=f"Enter the username {NAMES[i]} and the code {NUMBERS[i]}, then press 12 times",
        action=action,
        observation=f'textbox "user"\nbutton "Login"\nlink "{CODES[i]}"\n'
        f'link "{NAMES[i]}"\n{MORE[i]}',
        labels=Labels(odds_of_success=1.0),
    )


ROWS = training_set(
    record(i, action)
    for i in range(6)
    for action in (f'type "{NAMES[i]}" into textbox "user"', 'click button "Login"')
)


def texts(step: Step) -> str:
    return "\n".join((step.instruction, step.observation, *step.history, step.action))


def shape(word: str) -> tuple[bool, ...]:
    return word.isdigit(), word.islower(), word.istitle()


@given(st.integers(0, 5), st.integers(0, 2**32))
def test_names_are_exchanged_everywhere_alike_and_words_of_the_task_stay(i: int, seed: int) -> None:
    steps = [replace(s, history=(f'type "{NAMES[i]}"',)) for s in ROWS.steps[2 * i : 2 * i + 2]]

    renamed = Renamer(ROWS).rename(steps, "login", random.Random(seed))

    before, after = (WORD.findall("\n".join(map(texts, found))) for found in (steps, renamed))
    exchanged = dict(zip(before, after, strict=True))
    assert [exchanged[word] for word in before] == after
    assert len(set(exchanged.values())) == len(exchanged)
    own = {NAMES[i], CODES[i], MORE[i], NUMBERS[i]}
    assert {word for word, other in exchanged.items() if word != other} <= own
    assert exchanged["12"] == "12"
    assert all(shape(word) == shape(other) for word, other in exchanged.items())
    assert WORD.sub("", texts(steps[0])) == WORD.sub("", texts(renamed[0]))
    assert len({(s.instruction, s.observation, s.history) for s in renamed}) == 1
    again = Renamer(ROWS).rename(steps, "login", random.Random(seed))
    assert again == renamed


def test_most_draws_change_every_name() -> None:
    steps = ROWS.steps[:2]

    drawn = [texts(Renamer(ROWS).rename(steps, "login", random.Random(s))[0]) for s in range(30)]

    changed = [text for text in drawn if not {"Karrie", "eu", "4711"} & set(WORD.findall(text))]
    assert len(changed) > 20
    assert len(set(drawn)) > 15


@pytest.mark.parametrize(
    "change",
    [
        {"observation": 'link "Karries"'},
        {"observation": 'link "karrie"'},
        {"screenshot": bytes},
    ],
    ids=["part of a longer word", "other case", "picture"],
)
def test_state_that_cannot_be_renamed_safely_is_left_as_it_is(change: dict[str, object]) -> None:
    steps = [replace(s, **change) for s in ROWS.steps[:2]]

    assert Renamer(ROWS).rename(steps, "login", random.Random(1)) == tuple(steps)


def test_new_name_is_none_that_the_history_holds() -> None:
    steps = [replace(ROWS.steps[0], history=(" ".join(NAMES[1:5]),))]
    steps[0] = replace(steps[0], history=tuple(f"click {name}" for name in NAMES[1:5]))

    found = {
        WORD.findall(Renamer(ROWS).rename(steps, "login", random.Random(seed))[0].instruction)[3]
        for seed in range(40)
    }

    assert found == {"Karrie", "Pablo"}


def test_few_episodes_tell_nothing() -> None:
    rows = ROWS.rows(ROWS.episodes < 3)

    assert Renamer(rows).rename(rows.steps[:2], "login", random.Random(1)) == rows.steps[:2]


def test_state_whose_names_would_be_marked_otherwise_is_left_as_it_is() -> None:
    codes = ("eu", "lo", "sed", "amet", "dolor", "ipsum")
    rows = training_set(
        StepRecord(
            environment="toy",
            task="links",
            trajectory=code,
            step=1,
            instruction=f'Click "{code}"',
            action=f'click "{code}"',
            observation=f'link "{code}"\nbutton "login now"',
            labels=Labels(odds_of_success=1.0),
        )
        for code in codes
    )
    renamer = Renamer(rows)

    found = {renamer.rename(rows.steps[:1], "links", random.Random(i))[0] for i in range(40)}

    assert {step.instruction for step in found} == {f'Click "{code}"' for code in codes} - {
        'Click "lo"'
    }
