import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from similar_fast.baselines import ConstantScorer, LexicalScorer, RandomScorer
from similar_fast.types import Step

LOGIN = 'Enter the username "karrie" and the password "fZ2" into the text fields and press login.'


def lexical(instruction: str, *actions: str, history: tuple[str, ...] = ()) -> list[float]:
    steps = [Step(instruction, history, action) for action in actions]
    return LexicalScorer().score(steps).total.tolist()


def test_lexical_types_each_string_into_its_own_field() -> None:
    right, wrong = lexical(
        LOGIN,
        'type "karrie" (after "username") into textbox "Username" (empty)',
        'type "karrie" (after "username") into textbox "Password" (empty)',
    )

    assert right > wrong


def test_lexical_finishes_after_everything_that_matches() -> None:
    typing, finishing, other = lexical(
        LOGIN,
        'type "fZ2" (after "password") into textbox "Password" (empty)',
        'click button "Login"',
        'click button "Cancel"',
    )

    assert typing > finishing > other


def test_lexical_uses_the_words_of_the_row() -> None:
    right, wrong = lexical(
        "Find the email by Cathrine and click the star icon",
        'click span "star" in "Cathrine Scelerisque"',
        'click span "star" in "Devora Vulputate"',
    )

    assert right > wrong


def test_lexical_leaves_ticked_boxes_and_filled_fields_alone() -> None:
    unticked, ticked = lexical(
        "Select k3 and click Submit",
        'click checkbox "k3" (not ticked)',
        'click checkbox "k3" (ticked)',
    )
    empty, filled = lexical(
        LOGIN,
        'type "karrie" (after "username") into textbox "Username" (empty)',
        'type "karrie" (after "username") into textbox "Username" (has "x")',
    )

    assert unticked > ticked
    assert empty > filled


def test_lexical_names_the_right_option() -> None:
    right, wrong = lexical(
        "Select Fiji from the list and click Submit",
        'select "Fiji" in combobox "country" (has "Chad")',
        'select "Fi" in combobox "country" (has "Chad")',
    )

    assert right > wrong


def test_lexical_does_not_select_what_is_selected() -> None:
    instruction = "Select Fiji and Chad from the list and click Submit"
    fresh, held = lexical(
        instruction,
        'select "Fiji" in listbox "country" (has "Chad")',
        'select "Chad" in listbox "country" (has "Chad")',
    )

    assert fresh > 0 > held


def test_lexical_takes_off_for_a_repeat_whatever_the_screen_tells() -> None:
    action = 'click span "star" (off) in "Cathrine"'
    fresh, repeated = (
        lexical("star the mail by Cathrine", action, history=history)[0]
        for history in ((), ('click span "star" (on) in "Cathrine"',))
    )

    assert fresh - repeated == pytest.approx(0.8)


def test_lexical_of_an_unknown_form_is_the_share_of_its_words() -> None:
    assert lexical("scroll down", "scroll up") == [0.5]


@given(st.text(), st.lists(st.text(), max_size=3), st.text())
def test_prop_baselines_score_any_text(instruction: str, history: list[str], action: str) -> None:
    steps = [Step(instruction, tuple(history), action)] * 2

    for scorer in (LexicalScorer(), RandomScorer(1), ConstantScorer()):
        total = scorer.score(steps).total
        assert total.shape == (2,)
        assert total.dtype == np.float32
        assert np.isfinite(total).all()
        assert total[0] == total[1]


def test_random_depends_on_the_step_and_the_seed() -> None:
    steps = [Step("i", (), str(n)) for n in range(2000)]
    first, second = (RandomScorer(seed).score(steps).total for seed in (0, 1))

    assert len(set(first.tolist())) > 1990
    assert abs(float(first.mean()) - 0.5) < 0.03
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.08
