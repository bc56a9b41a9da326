"""The judge against a real server on the loopback."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from chat_server import Answer, Body, completion, in_turn, question_of, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from similar_fast.baselines import LexicalScorer
from similar_fast.collect.settings import CollectSettings
from similar_fast.collect.worker import Unit, Worker
from similar_fast.envs.recorded import Recorded
from similar_fast.errors import EnvError, LlmError
from similar_fast.llm.client import ChatClient
from similar_fast.llm.judge import LlmJudge
from similar_fast.protocols import Judge
from similar_fast.records import StepRecord, decode_record
from similar_fast.types import JudgeCase, Judgement, Step

PNG = b"\x89PNG\r\n\x1a\n the rest of a private screen"
MakeClient = Callable[[str], ChatClient]


@pytest.fixture(scope="module")
def make_client() -> Iterator[MakeClient]:
    """Called with an address: a client that never waits, closed at the end."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(
            ChatClient(url, "tiny", api_key="", max_retries=1, sleep=lambda _: None)
        )


def verdict(relevant: int, coherent: int, reason: str = "so") -> Answer:
    said = {"task_relevance": relevant, "coherence": coherent, "reason": reason}
    return completion(json.dumps(said))


def case(action: str, *history: str, number: int = 1, goal: str = "log in") -> JudgeCase:
    return JudgeCase(Step(goal, history, action, "a private screen", lambda: PNG), number)


def test_judge_tells_goal_number_last_action_and_action_and_nothing_else(
    make_client: MakeClient,
) -> None:
    with serving(in_turn(verdict(1, 0, "it repeats"))) as server:
        judge = LlmJudge(make_client(server.url))

        found = judge.judge([case("click b", "click z", "click a", number=3)])

    assert found == [Judgement(1.0, 0.0, "it repeats")]
    assert isinstance(judge, Judge)
    assert judge.name == "llm:tiny"
    told = {"goal": "log in", "step": 3, "last_action": "click a", "action": "click b"}
    assert question_of(server.bodies[0]) == told
    assert "private" not in json.dumps(server.bodies)
    assert server.bodies[0]["temperature"] == 0.0


def test_judge_first_step_has_no_last_action(make_client: MakeClient) -> None:
    with serving(in_turn(verdict(1, 1))) as server:
        LlmJudge(make_client(server.url)).judge([case("click b")])

    assert question_of(server.bodies[0])["last_action"] is None


def test_judge_sends_text_and_picture_only_where_asked_to(make_client: MakeClient) -> None:
    with serving(in_turn(verdict(1, 1))) as server:
        client = make_client(server.url)
        LlmJudge(client, show_screen=True, max_screen=9).judge([case("a")])
        LlmJudge(client, send_screenshots=True).judge([case("a")])

    assert question_of(server.bodies[0])["screen"] == "a private [...]"
    text, picture = server.bodies[1]["messages"][1]["content"]
    assert "screen" not in json.loads(text["text"])
    assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")
    assert "image_url" not in json.dumps(server.bodies[0])


def test_judge_one_bad_case_leaves_its_neighbours_alone(make_client: MakeClient) -> None:
    def respond(body: Body) -> Answer:
        action = question_of(body)["action"]
        return Answer(b"", 500) if action == "bad" else verdict(int(action == "good"), 1)

    with serving(respond) as server:
        judge = LlmJudge(make_client(server.url))
        found = judge.judge([case("good"), case("bad"), case("other")])
        assert judge.failures == 1
        again = judge.judge([case("bad"), case("good")])

    assert [f.task_relevance for f in found] == [1.0, None, 0.0]
    assert [f.coherence for f in found] == [1.0, None, 1.0]
    assert found[1].reason.startswith("not judged: http://127.0.0.1")
    assert again[1] == found[0]
    assert judge.failures == 2
    assert len(server.bodies) == 2 + 2 + 2  # a failed case is asked again, a judged one is not


@pytest.mark.parametrize(
    "said", ['{"task_relevance": 2, "coherence": 1, "reason": ""}', "yes", "{"]
)
def test_judge_answer_out_of_range_is_no_judgement(make_client: MakeClient, said: str) -> None:
    with serving(in_turn(completion(said))) as server:
        found = LlmJudge(make_client(server.url)).judge([case("a")])

    assert (found[0].task_relevance, found[0].coherence) == (None, None)


def test_judge_picture_that_cannot_be_taken_is_no_judgement(make_client: MakeClient) -> None:
    def lost() -> bytes:
        raise EnvError("the environment has moved on")

    blind = JudgeCase(Step("g", (), "a", screenshot=lost), 1)
    garbage = JudgeCase(Step("g", (), "a", screenshot=lambda: b"GIF89a"), 1)
    with serving(in_turn(verdict(1, 1))) as server:
        judge = LlmJudge(make_client(server.url), send_screenshots=True)
        found = judge.judge([blind, garbage, case("a")])

    assert [f.task_relevance for f in found] == [None, None, 1.0]
    assert "moved on" in found[0].reason
    assert "expected PNG" in found[1].reason
    assert judge.failures == 2


def test_judge_wrong_key_is_an_error_and_not_a_file_of_nothing(make_client: MakeClient) -> None:
    with serving(in_turn(Answer(b"", 401))) as server:
        judge = LlmJudge(make_client(server.url))
        with pytest.raises(LlmError, match="401"):
            judge.judge([case(str(n)) for n in range(50)])

    assert len(server.bodies) < 50


def test_judge_asks_cases_at_once(make_client: MakeClient) -> None:
    gate = threading.Barrier(4, timeout=20)

    def meet(_: Body) -> Answer:
        gate.wait()
        return verdict(1, 1)

    with serving(meet) as server:
        LlmJudge(make_client(server.url)).judge([case(str(n)) for n in range(8)])

    assert server.most_at_once == 4


def test_judge_no_cases_asks_nothing(make_client: MakeClient) -> None:
    assert LlmJudge(make_client("http://127.0.0.1:9/v1")).judge([]) == []


def test_judge_labels_what_is_collected(make_client: MakeClient) -> None:
    def respond(body: Body) -> Answer:
        is_typing = question_of(body)["action"].startswith("type")
        return verdict(int(is_typing), int(question_of(body)["step"] > 1))

    how = CollectSettings(num_simulations=4, rollouts=1, min_rollouts=1)
    with serving(respond) as server:
        judge = LlmJudge(make_client(server.url))
        worker = Worker(Recorded.builtin(), LexicalScorer(), how, policy="lexical", judge=judge)
        found = worker.label(Unit("enter-password", 2000))

    records = [decode_record(line) for line in found.lines]
    assert records
    for record in records:
        assert isinstance(record, StepRecord)
        assert record.provenance.judge == "llm:tiny"
        assert record.labels.task_relevance == record.action.startswith("type")
        assert record.labels.coherence == (record.step > 1)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=12))
def test_prop_a_judgement_depends_on_its_case_alone_and_each_is_asked_once(
    make_client: MakeClient, pairs: list[tuple[str, str]]
) -> None:
    def respond(body: Body) -> Answer:
        question = question_of(body)
        return verdict(int(question["action"] == "a"), int(question["last_action"] == "x"))

    with serving(respond) as server:
        found = LlmJudge(make_client(server.url)).judge([case(a, last) for a, last in pairs])

    assert [(f.task_relevance, f.coherence) for f in found] == [
        (float(a == "a"), float(last == "x")) for a, last in pairs
    ]
    assert len(server.bodies) == len(set(pairs))
