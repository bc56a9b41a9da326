"""The proposer against a real server on the loopback."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from chat_server import Answer, completion, in_turn, question_of, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from similar_fast.baselines import LexicalScorer
from similar_fast.envs.recorded import Recorded
from similar_fast.errors import LlmError
from similar_fast.llm.client import ChatClient
from similar_fast.llm.proposer import OpenAIProposer, ProposerStats
from similar_fast.proposers import RuleProposer, describe_screen
from similar_fast.protocols import Proposer
from similar_fast.search.search import Search
from similar_fast.types import Action, Element, Observation

USER = Element("textbox", "username", 0, "type")
CODE = Element("textbox", "code", 0, "type", value="A-17", is_readonly=True)
CITY = Element("combobox", "city", 0, "select", options=("Rome", "Oslo"), selected=("Rome",))
STAR = Element("span", "star", 0, "click", context="Anna")
STAR_2 = Element("span", "star", 1, "click", context="Anna")
ELEMENTS = (USER, CODE, CITY, STAR, STAR_2)
MakeClient = Callable[[str], ChatClient]


@pytest.fixture(scope="module")
def make_client() -> Iterator[MakeClient]:
    """Called with an address: a client that never waits, closed at the end."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(
            ChatClient(url, "tiny", api_key="", max_retries=1, sleep=lambda _: None)
        )


def screen(*elements: Element, digest: str = "0" * 16) -> Observation:
    text = describe_screen((element, "") for element in elements)
    return Observation('Enter the username "karrie".', text, elements, digest, lambda: b"no PNG")


def named(*actions: tuple[str, Any, Any]) -> Answer:
    keys = ("kind", "element", "argument")
    listed = [dict(zip(keys, action, strict=True)) for action in actions]
    return completion(json.dumps({"actions": listed}))


def test_propose_names_the_models_actions_in_the_words_of_the_rules(
    make_client: MakeClient,
) -> None:
    answer = named(("type", 0, "karrie"), ("select", 2, "Oslo"), ("click", 4, None))
    with serving(in_turn(answer)) as server:
        proposer = OpenAIProposer(make_client(server.url), temperature=0.7, seed=5)
        found = proposer.propose(screen(*ELEMENTS))

    rules = {action: str(action) for action in RuleProposer().propose(screen(*ELEMENTS))}
    assert [(action.kind, action.target, action.argument) for action in found] == [
        ("type", USER.key, "karrie"),
        ("select", CITY.key, "Oslo"),
        ("click", STAR_2.key, None),
    ]
    assert [str(action) for action in found] == [rules[action] for action in found]
    assert isinstance(proposer, Proposer)
    assert proposer.stats == ProposerStats(screens=1)
    assert (server.bodies[0]["temperature"], server.bodies[0]["seed"]) == (0.7, 5)


def test_propose_shows_the_elements_and_the_history_and_no_picture(
    make_client: MakeClient,
) -> None:
    with serving(in_turn(named(("click", 0, None)))) as server:
        history = [Action("click", STAR.key, None, "click the star")]
        OpenAIProposer(make_client(server.url), max_candidates=3).propose(
            screen(*ELEMENTS), history
        )

    told = question_of(server.bodies[0])
    assert told["goal"] == 'Enter the username "karrie".'
    assert told["history"] == ["click the star"]
    assert told["max_actions"] == 3
    assert told["elements"] == [
        {"index": 0, "role": "textbox", "name": "username", "kind": "type"},
        {
            "index": 1,
            "role": "textbox",
            "name": "code",
            "kind": "type",
            "value": "A-17",
            "readonly": True,
        },
        {
            "index": 2,
            "role": "combobox",
            "name": "city",
            "kind": "select",
            "options": ["Rome", "Oslo"],
            "selected": ["Rome"],
        },
        {"index": 3, "role": "span", "name": "star", "kind": "click", "row": "Anna"},
        {"index": 4, "role": "span", "name": "star", "kind": "click", "row": "Anna"},
    ]
    assert "image_url" not in json.dumps(server.bodies)


@pytest.mark.parametrize(
    "bad",
    [
        ("click", 5, None),
        ("click", -1, None),
        ("click", "0", None),
        ("click", 1.5, None),
        ("click", 2, None),
        ("drag", 0, None),
        ("type", 0, None),
        ("type", 0, ""),
        ("type", 0, 7),
        ("type", 0, "a\nb"),
        ("type", 0, "x" * 501),
        ("type", 1, "text"),
        ("type", 3, "text"),
        ("select", 2, "Bern"),
        ("select", 2, "Rome"),
        ("select", 0, "Rome"),
    ],
)
def test_propose_action_that_does_not_fit_is_dropped_and_counted(
    make_client: MakeClient, bad: tuple[str, Any, Any]
) -> None:
    with serving(in_turn(named(bad, ("click", 3, None)))) as server:
        proposer = OpenAIProposer(make_client(server.url))
        found = proposer.propose(screen(*ELEMENTS))

    assert [action.target for action in found] == [STAR.key]
    assert proposer.stats == ProposerStats(screens=1, dropped=1)
    assert len(server.bodies) == 1


def test_propose_repeats_and_too_many_are_left_out_and_counted(make_client: MakeClient) -> None:
    answer = named(
        ("click", 0, None), ("click", 0, "ignored"), ("click", 3, None), ("click", 4, None)
    )
    with serving(in_turn(answer)) as server:
        proposer = OpenAIProposer(make_client(server.url), max_candidates=2)
        found = proposer.propose(screen(*ELEMENTS))

    assert [action.target for action in found] == [USER.key, STAR.key]
    assert proposer.stats.repeated == 2


@pytest.mark.parametrize(
    "answer", [named(("click", 99, None)), named(), completion("no idea"), Answer(b"", 503)]
)
def test_propose_without_a_fitting_action_falls_back(
    make_client: MakeClient, answer: Answer
) -> None:
    with serving(in_turn(answer)) as server:
        proposer = OpenAIProposer(make_client(server.url))
        found = proposer.propose(screen(*ELEMENTS))

    assert found == RuleProposer().propose(screen(*ELEMENTS))
    assert proposer.stats.fallbacks == 1


def test_propose_without_fallback_proposes_nothing_or_raises(make_client: MakeClient) -> None:
    with serving(in_turn(named(), Answer(b"", 500))) as server:
        proposer = OpenAIProposer(make_client(server.url), fallback=None)
        assert proposer.propose(screen(*ELEMENTS)) == ()
        with pytest.raises(LlmError, match="500"):
            proposer.propose(screen(*ELEMENTS))


def test_propose_wrong_key_is_an_error_in_spite_of_the_fallback(make_client: MakeClient) -> None:
    with serving(in_turn(Answer(b"", 401))) as server, pytest.raises(LlmError, match="401"):
        OpenAIProposer(make_client(server.url)).propose(screen(*ELEMENTS))


def test_propose_same_screen_is_asked_once_another_again(make_client: MakeClient) -> None:
    with serving(in_turn(named(("click", 0, None)))) as server:
        proposer = OpenAIProposer(make_client(server.url))
        first = proposer.propose(screen(*ELEMENTS))
        assert proposer.propose(screen(*ELEMENTS)) == first
        assert len(server.bodies) == 1
        proposer.propose(screen(*ELEMENTS), first)
        proposer.propose(screen(*ELEMENTS, digest="1" * 16))

    assert len(server.bodies) == 3


def test_propose_empty_screen_asks_nothing(make_client: MakeClient) -> None:
    assert OpenAIProposer(make_client("http://127.0.0.1:9/v1")).propose(screen()) == ()


def test_propose_fewer_than_one_candidate_is_a_value_error(make_client: MakeClient) -> None:
    with pytest.raises(ValueError, match="max_candidates is 0"):
        OpenAIProposer(make_client("http://127.0.0.1:9/v1"), max_candidates=0)


def test_search_with_this_proposer_solves_a_recorded_task(make_client: MakeClient) -> None:
    def respond(body: dict[str, Any]) -> Answer:
        # A model that knows what is to be typed, but neither where nor when.
        word = question_of(body)["goal"].split('"')[1]
        elements = question_of(body)["elements"]
        typed = [("type", e["index"], word) for e in elements if e["kind"] == "type"]
        clicks = [("click", e["index"], None) for e in elements if e["kind"] == "click"]
        return named(*typed, *clicks)

    with serving(respond) as server:
        proposer = OpenAIProposer(make_client(server.url), fallback=None)
        search = Search(LexicalScorer(), proposer=proposer, num_simulations=32)
        result = search.run(Recorded.builtin(), "enter-password", seed=2000)

    assert result.success
    assert proposer.stats.screens == len(server.bodies) > 1
    assert {action.argument for action in result.actions} == {"jrwts", None}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
ITEM = JSON | st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["click", "type", "select", "hover"]),
        "element": st.integers(-1, 6),
        "argument": st.sampled_from([None, "Rome", "Oslo", "karrie", "", "A-17"]),
    }
)


@settings(max_examples=40)
@given(st.lists(ITEM, max_size=8))
def test_prop_whatever_the_model_names_every_candidate_can_be_carried_out(
    make_client: MakeClient, items: list[Any]
) -> None:
    said = json.dumps({"actions": items}, allow_nan=False, default=str) if _is_json(items) else "[]"
    with serving(in_turn(completion(said))) as server:
        proposer = OpenAIProposer(make_client(server.url), fallback=None)
        try:
            found = proposer.propose(screen(*ELEMENTS))
        except LlmError:
            assert not _is_json(items)
            return

    possible = {*RuleProposer().propose(screen(*ELEMENTS))}
    possible |= {Action("type", USER.key, word) for word in ("Rome", "Oslo", "karrie", "A-17")}
    assert set(found) <= possible
    assert len(set(found)) == len(found)
    assert proposer.stats.dropped + proposer.stats.repeated + len(found) == len(items)


def _is_json(items: object) -> bool:
    try:
        json.dumps(items, allow_nan=False)
    except ValueError:
        return False
    return True
