import pytest
from similar_fast.proposers import (
    RuleProposer,
    describe_action,
    describe_screen,
    instruction_strings,
    page_strings,
    words_before,
)
from similar_fast.types import Action, Element, Observation

LOGIN = 'Enter the username "karrie" and the password "8Hh" into the text fields and press login.'


def screen(instruction: str, *elements: Element, lines: tuple[str, ...] = ()) -> Observation:
    pieces = [*((element, "") for element in elements), *((None, line) for line in lines)]
    return Observation(instruction, describe_screen(pieces), elements, "0" * 16)


def keys(actions: tuple[Action, ...]) -> list[tuple[str, str, str | None]]:
    return [(action.kind, action.target[1], action.argument) for action in actions]


def test_propose_fields_offers_each_string_into_each_field() -> None:
    user = Element("textbox", "username", 0, "type")
    password = Element("textbox", "password", 0, "type")
    button = Element("button", "Login", 0, "click")

    actions = RuleProposer().propose(screen(LOGIN, user, password, button))

    assert keys(actions) == [
        ("type", "username", "karrie"),
        ("type", "username", "8Hh"),
        ("click", "username", None),
        ("type", "password", "karrie"),
        ("type", "password", "8Hh"),
        ("click", "password", None),
        ("click", "Login", None),
    ]


def test_propose_field_that_holds_the_string_does_not_offer_it_again() -> None:
    field = Element("textbox", "username", 0, "type", value="karrie")

    actions = RuleProposer().propose(screen(LOGIN, field))

    assert keys(actions) == [("type", "username", "8Hh"), ("click", "username", None)]


def test_propose_readonly_field_offers_a_click_only() -> None:
    field = Element("textbox", "code", 0, "type", value="A-17", is_readonly=True)

    actions = RuleProposer().propose(screen(LOGIN, field))

    assert keys(actions) == [("click", "code", None)]


def test_propose_single_list_offers_the_options_that_are_not_selected() -> None:
    menu = Element("combobox", "city", 0, "select", options=("Rome", "Oslo"), selected=("Rome",))

    actions = RuleProposer().propose(screen("Select Oslo.", menu))

    assert keys(actions) == [("select", "city", "Oslo")]
    assert str(actions[0]) == 'select "Oslo" in combobox "city" (has "Rome")'


def test_propose_list_offers_no_option_without_a_text() -> None:
    menu = Element("combobox", "city", 0, "select", options=("", "Rome"))

    actions = RuleProposer().propose(screen("Select Rome.", menu))

    assert keys(actions) == [("select", "city", "Rome")]


def test_propose_multiple_list_offers_selected_options_too() -> None:
    menu = Element(
        "combobox", "", 0, "select", options=("a", "b"), selected=("a",), is_multiple=True
    )

    actions = RuleProposer().propose(screen("Select a and b.", menu))

    assert keys(actions) == [("select", "", "a"), ("select", "", "b")]


def test_propose_repeated_option_is_offered_once() -> None:
    menu = Element("combobox", "name", 0, "select", options=("Ann", "Ann", "Bo"))

    actions = RuleProposer().propose(screen("Select Ann.", menu))

    assert keys(actions) == [("select", "name", "Ann"), ("select", "name", "Bo")]


def test_propose_elements_of_the_same_row_and_name_are_told_apart() -> None:
    first, second = (Element("li", "Keli", nth, "click") for nth in (0, 1))

    actions = RuleProposer().propose(screen("Click Keli.", first, second))

    assert [str(action) for action in actions] == ['click li "Keli" #1', 'click li "Keli" #2']


def test_propose_name_of_a_button_is_no_string_to_type() -> None:
    field = Element("textbox", "search", 0, "type")
    button = Element("button", "Search", 0, "click")

    actions = RuleProposer().propose(screen('Enter "Ann" and press "Search".', field, button))

    assert [a.argument for a in actions if a.kind == "type"] == ["Ann"]


def test_propose_limits_the_strings_of_instruction_and_page() -> None:
    field = Element("textbox", "x", 0, "type")
    instruction = "Type " + ", ".join(f'"s{i}"' for i in range(12))
    lines = tuple(str(number) for number in range(100, 110))

    actions = RuleProposer(max_instruction_strings=3, max_page_strings=2).propose(
        screen(instruction, field, lines=lines)
    )

    assert [a.argument for a in actions if a.kind == "type"] == ["s0", "s1", "s2", "100", "101"]


def test_propose_page_strings_need_a_field() -> None:
    button = Element("button", "OK", 0, "click")

    actions = RuleProposer().propose(screen("Press OK.", button, lines=("ann@mail.com",)))

    assert keys(actions) == [("click", "OK", None)]


@pytest.mark.parametrize(
    ("instruction", "strings"),
    [
        (LOGIN, ["karrie", "8Hh"]),
        ("Select New Zealand from the list and click Submit.", ["New Zealand", "Submit"]),
        ("Find the email by Ann Lee. Forward it to Bo.", ["Ann Lee", "Bo"]),
        (
            "For the user @dolores, add #urgent and 12/05/2016.",
            ["@dolores", "#urgent", "12/05/2016"],
        ),
        ("Write to ann.lee@mail.co.uk now.", ["ann.lee@mail.co.uk"]),
        ('Reply with the text "Habitant porta.".', ["Habitant porta."]),
        ("Click the button.", []),
    ],
)
def test_instruction_strings_finds_what_could_be_typed(
    instruction: str, strings: list[str]
) -> None:
    assert instruction_strings(instruction) == strings


def test_page_strings_are_short_lines_that_look_like_values() -> None:
    observation = screen(
        "Do it.",
        Element("textbox", "Name", 0, "type"),
        Element("textbox", "source", 0, "type", value="copy me", is_readonly=True),
        lines=("Name", "Ann Lee", "+1 555-0101", "mail ann@mail.com or call", "some plain text"),
    )

    assert page_strings(observation) == ["copy me", "Ann Lee", "+1 555-0101", "ann@mail.com"]


def test_page_strings_after_the_name_of_a_field_come_first() -> None:
    observation = screen(
        "Enter the value of Colour.",
        Element("textbox", "Gender", 0, "type"),
        lines=("Religion", "Buddhism", "Gender", "female", "Colour", "blue"),
    )

    assert page_strings(observation, ["Colour"])[:2] == ["female", "blue"]


def test_page_strings_leaves_known_ones_out() -> None:
    observation = screen("Do it.", lines=("Ann Lee", "42"))

    assert page_strings(observation, ["42"]) == ["Ann Lee"]


@pytest.mark.parametrize(
    ("string", "words"),
    [("karrie", "username"), ("8Hh", "password"), ("absent", ""), ("Enter", "")],
)
def test_words_before_names_what_the_string_is(string: str, words: str) -> None:
    assert words_before(string, LOGIN) == words


def test_words_before_keeps_the_function_words_between() -> None:
    instruction = "Find the email by Ann and forward that email to Bo."

    assert words_before("Ann", instruction) == "email by"
    assert words_before("Bo", instruction) == "email to"


def test_words_before_stops_at_the_sentence() -> None:
    assert words_before("Bo", "Open the mail. Bo wrote it.") == ""


def test_describe_action_tells_row_tick_and_value() -> None:
    star = Element("span", "star", 3, "click", context="Cathrine Scelerisque")
    box = Element("checkbox", "HN", 0, "click", is_checked=True)
    field = Element("textbox", "username", 0, "type", value="Ann")

    assert describe_action(star, None) == 'click span "star" in "Cathrine Scelerisque"'
    assert describe_action(box, None) == 'click checkbox "HN" (ticked)'
    assert (
        describe_action(field, "karrie", LOGIN)
        == 'type "karrie" (after "username") into textbox "username" (has "Ann")'
    )


def test_describe_action_cuts_a_long_row_at_a_word() -> None:
    element = Element("span", "star", 0, "click", context="word " * 20)

    assert describe_action(element, None) == f'click span "star" in "{("word " * 9).strip()}"'


def test_describe_screen_puts_fields_then_states_then_the_rest() -> None:
    pieces = [
        (None, "Welcome"),
        (Element("button", "Go", 0, "click"), ""),
        (Element("tab", "Two", 0, "click"), "open"),
        (Element("checkbox", "HN", 0, "click", is_checked=False), ""),
        (Element("textbox", "name", 0, "type", value="Ann"), ""),
        (Element("combobox", "city", 0, "select", options=("Rome",)), ""),
    ]

    assert describe_screen(pieces).splitlines() == [
        'textbox "name": has "Ann"',
        'combobox "city": nothing selected',
        'tab "Two": open',
        'checkbox "HN": not ticked',
        "Welcome",
        'button "Go"',
    ]


def test_propose_text_takes_no_part_in_equality() -> None:
    action = RuleProposer().propose(screen("Go.", Element("button", "Go", 0, "click")))[0]

    assert action == Action("click", ("button", "Go", 0))
