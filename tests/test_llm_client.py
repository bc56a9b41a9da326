"""The client against a real server on the loopback; no test sleeps."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from chat_server import Answer, Body, ChatServer, completion, in_turn, serving
from hypothesis import given
from hypothesis import strategies as st
from similar_fast.errors import LlmError, SimilarFastError
from similar_fast.llm.answers import AnswerError, parse_answer
from similar_fast.llm.client import ChatClient
from similar_fast.llm.content import messages_of
from similar_fast.llm.usage import Prices, Usage

KEY = "sk-never-seen-4711"
DATE = "Fri, 01 Jan 1999 00:00:00 GMT"
GOOD = '{"x": 1, "name": "one"}'
QUESTION = messages_of("Answer.", {"goal": "g"})


class Point(msgspec.Struct, forbid_unknown_fields=True):
    x: int
    name: str


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def client_of() -> Iterator[Callable[..., ChatClient]]:
    """Called with a server, where to note the naps, and options: a client, closed at the end."""
    with ExitStack() as stack:

        def make(
            server: ChatServer, naps: list[float] | None = None, **options: object
        ) -> ChatClient:
            sleep = ([] if naps is None else naps).append
            settings: dict[str, Any] = {"api_key": KEY, "sleep": sleep, **options}
            return stack.enter_context(ChatClient(server.url, "tiny", **settings))

        yield make


def test_ask_good_answer_is_decoded_and_counted(client_of: Callable[..., ChatClient]) -> None:
    with serving(in_turn(completion(GOOD, prompt=100, reply=7))) as server:
        client = client_of(server, prices=Prices(prompt=2.0, completion=10.0))

        answer = client.ask(QUESTION, Point, temperature=0.0, seed=3)

    assert answer == Point(1, "one")
    assert client.usage == Usage(1, prompt_tokens=100, completion_tokens=7, cost=270 / 1e6)
    body = server.bodies[0]
    assert body["model"] == "tiny"
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.0, 3, 1024)
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["x", "name"]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_construction_sends_nothing_and_no_key_sends_no_header(
    client_of: Callable[..., ChatClient],
) -> None:
    with serving(in_turn(completion(GOOD))) as server, client_of(server, api_key=None) as client:
        assert server.bodies == []
        client.ask(QUESTION, Point)

    assert "Authorization" not in server.headers[0]
    assert client.usage.cost is None


def test_key_comes_from_the_environment_without_its_blanks(
    client_of: Callable[..., ChatClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    with serving(in_turn(completion(GOOD))) as server:
        client_of(server, api_key=None).ask(QUESTION, Point)

    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "7"}, 7.0, 7.0),
        ({"Retry-After": "0"}, 0.25, 0.5),
        ({}, 0.25, 0.5),
        ({"Retry-After": "soon"}, 0.25, 0.5),
        ({"Retry-After": "Fri, 01 Jan 1999 00:00:00 GMT"}, 0.25, 0.5),  # long past
        ({"Retry-After": "Fri, 01 Jan 1999 00:00:09 GMT", "Date": DATE}, 9.0, 9.0),
    ],
)
def test_ask_busy_server_is_asked_again_after_what_it_says(
    client_of: Callable[..., ChatClient], headers: dict[str, str], least: float, most: float
) -> None:
    naps: list[float] = []
    busy = Answer({"error": {"message": "slow down"}}, 429, headers)
    with serving(in_turn(busy, completion(GOOD))) as server:
        client = client_of(server, naps)

        assert client.ask(QUESTION, Point).x == 1

    assert len(naps) == 1
    assert least <= naps[0] <= most
    assert (client.usage.calls, client.usage.retries, client.usage.failures) == (2, 1, 0)


def test_ask_retry_after_an_hour_gives_up_at_once(client_of: Callable[..., ChatClient]) -> None:
    naps: list[float] = []
    far = Answer(b"", 429, {"Retry-After": "3600"})
    with serving(in_turn(far)) as server, pytest.raises(LlmError, match=r"429.*3600 s, more than"):
        client_of(server, naps).ask(QUESTION, Point)

    assert naps == []


def test_ask_broken_server_is_given_up_after_all_retries(
    client_of: Callable[..., ChatClient],
) -> None:
    naps: list[float] = []
    with serving(in_turn(Answer(b"<h1>oops</h1>", 500))) as server:
        client = client_of(server, naps, max_retries=3)

        with pytest.raises(LlmError, match=r"after 4 attempts: .*500: <h1>oops") as caught:
            client.ask(QUESTION, Point)

    assert caught.value.status == 500
    assert not caught.value.is_permanent
    assert [round(nap / 0.5 / 2**i, 9) <= 1 for i, nap in enumerate(naps)] == [True] * 3
    assert naps[0] < naps[1] * 1.01 < naps[2] * 1.02
    assert client.usage == Usage(calls=4, retries=3, failures=1)


@pytest.mark.parametrize("status", [401, 403, 404, 307])
def test_ask_refused_is_not_asked_again_and_tells_no_key(
    client_of: Callable[..., ChatClient], status: int
) -> None:
    told = Answer({"error": {"message": f"bad key {KEY}"}}, status)
    with serving(in_turn(told)) as server:
        client = client_of(server)

        with pytest.raises(LlmError) as caught:
            client.ask(QUESTION, Point)

    error = caught.value
    assert len(server.bodies) == 1
    assert error.is_permanent == (status != 307)
    assert "bad key [key]" in str(error)
    assert KEY not in "".join(map(repr, (error, error.args, client, client.usage)))
    assert error.__cause__ is None
    assert error.__context__ is None


def test_ask_hanging_server_times_out_each_time(client_of: Callable[..., ChatClient]) -> None:
    hanging = Answer({"choices": []}, hangs=True)
    with serving(in_turn(hanging, hanging, completion(GOOD))) as server:
        client = client_of(server, timeout_s=0.2)

        assert client.ask(QUESTION, Point).x == 1

    assert (client.usage.calls, client.usage.retries) == (3, 2)


def test_ask_server_that_hangs_for_good_is_given_up(client_of: Callable[..., ChatClient]) -> None:
    hanging = Answer({"choices": []}, hangs=True)
    with (
        serving(in_turn(hanging)) as server,
        pytest.raises(LlmError, match=r"after 2 attempts: no answer within 0\.2 s"),
    ):
        client_of(server, timeout_s=0.2, max_retries=1).ask(QUESTION, Point)


def test_ask_trickling_answer_ends_at_the_timeout(client_of: Callable[..., ChatClient]) -> None:
    ticks = iter(range(0, 10**6, 100))
    with serving(in_turn(completion(GOOD))) as server:
        client = client_of(server, timeout_s=60.0, max_retries=0, clock=lambda: float(next(ticks)))

        with pytest.raises(LlmError, match="not complete within 60 s"):
            client.ask(QUESTION, Point)


def test_ask_endless_answer_is_cut_off(client_of: Callable[..., ChatClient]) -> None:
    endless = Answer(b" " * (9 << 20))
    with serving(in_turn(endless)) as server, pytest.raises(LlmError, match="more than 8388608 b"):
        client_of(server, max_retries=0).ask(QUESTION, Point)


def test_ask_nobody_listens_is_an_error_that_names_the_address(
    client_of: Callable[..., ChatClient],
) -> None:
    with serving(in_turn(completion(GOOD))) as server:
        url = server.url

    with pytest.raises(LlmError, match=rf"{url}.*after 2 attempts: ConnectError") as caught:
        client_of(server, max_retries=1).ask(QUESTION, Point)

    assert caught.value.status is None


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (completion('{"x": 1, "na'), "not the JSON that was asked for"),
        (completion('{"x": "one", "name": "one"}'), r"Expected `int`, got `str` - at `\$.x`"),
        (completion('{"x": 1, "name": "one", "y": 2}'), "unknown field `y`"),
        (completion("[]"), "Expected `object`, got `array`"),
        (completion("I would rather not."), "not the JSON that was asked for"),
        (completion(None), "the answer is empty"),
        (completion("{", finish="length"), "raise max_tokens"),
        (Answer({"choices": []}), "no choices"),
        (Answer({"choices": [{"message": {"refusal": "no way"}}]}), "the model refused: no way"),
        (Answer({"object": "list"}), "did not answer with a chat completion"),
        (Answer(b"<html>"), "did not answer with a chat completion"),
        (Answer(b"\xff\xfe"), "did not answer with a chat completion"),
        (Answer(b"[" * 100_000), "did not answer with a chat completion"),
    ],
)
def test_ask_answer_that_does_not_fit_is_asked_for_again(
    client_of: Callable[..., ChatClient], bad: Answer, message: str
) -> None:
    with serving(in_turn(bad, completion(GOOD))) as server:
        client = client_of(server)
        assert client.ask(QUESTION, Point) == Point(1, "one")
        assert client.usage.retries == 1

    with serving(in_turn(bad)) as server, pytest.raises(LlmError, match=message):
        client_of(server, max_retries=1).ask(QUESTION, Point)


def test_ask_again_shows_the_model_what_was_wrong(client_of: Callable[..., ChatClient]) -> None:
    with serving(in_turn(completion("{}"), completion("[1]"), completion(GOOD))) as server:
        naps: list[float] = []
        client_of(server, naps).ask(QUESTION, Point)

    first, second, third = (body["messages"] for body in server.bodies)
    assert second[:2] == third[:2] == first
    assert second[2] == {"role": "assistant", "content": "{}"}
    assert "missing required field `x`" in second[3]["content"]
    assert third[2]["content"] == "[1]"
    assert naps == []


def test_ask_server_without_schemas_is_asked_for_less_and_that_is_remembered(
    client_of: Callable[..., ChatClient],
) -> None:
    def plain(body: Body) -> Answer:
        if "response_format" in body:
            return Answer({"error": {"message": "unsupported"}}, 400)
        return completion(f"Sure!\n```json\n{GOOD}\n```\nAnything else?")

    with serving(plain) as server:
        client = client_of(server)
        assert client.ask(QUESTION, Point) == client.ask(QUESTION, Point)

    forms = [body.get("response_format", {}).get("type") for body in server.bodies]
    assert forms == ["json_schema", "json_object", None, None]
    assert client.usage.retries == 0


def test_ask_bad_request_in_every_form_is_an_error_and_not_remembered(
    client_of: Callable[..., ChatClient],
) -> None:
    too_long = Answer({"error": {"message": "context is full"}}, 400)
    with serving(in_turn(too_long, too_long, too_long, completion(GOOD))) as server:
        client = client_of(server)
        with pytest.raises(LlmError, match="400: context is full"):
            client.ask(QUESTION, Point)
        client.ask(QUESTION, Point)

    assert server.bodies[-1]["response_format"]["type"] == "json_schema"


def test_requests_at_once_reach_the_bound_and_never_pass_it(
    client_of: Callable[..., ChatClient],
) -> None:
    free: list[bool] = []
    gate = threading.Barrier(3, lambda: free.append(client._slots.acquire(blocking=False)), 20)

    def meet(_: Body) -> Answer:
        gate.wait()
        return completion(GOOD)

    with serving(meet) as server:
        client = client_of(server, max_concurrency=3)
        with ThreadPoolExecutor(12) as threads:
            answers = list(threads.map(lambda _: client.ask(QUESTION, Point), range(12)))

    assert len(answers) == 12
    assert server.most_at_once == 3
    assert free == [False] * 4  # with three under way there was never room for a fourth
    assert client.usage.prompt_tokens == 120


def test_answer_without_a_count_of_tokens_is_told(client_of: Callable[..., ChatClient]) -> None:
    reply = {"choices": [{"message": {"content": GOOD}}]}
    with serving(in_turn(Answer(reply))) as server:
        client = client_of(server, prices=Prices(1, 1))
        client.ask(QUESTION, Point)

    assert client.usage == Usage(calls=1, uncounted=1, cost=0.0)


def test_extra_body_is_sent_and_none_leaves_a_field_out(
    client_of: Callable[..., ChatClient],
) -> None:
    with serving(in_turn(completion(GOOD))) as server:
        client_of(server, max_tokens=None, extra_body={"top_p": 0.5}).ask(QUESTION, Point)

    assert server.bodies[0]["top_p"] == 0.5
    assert {"max_tokens", "temperature", "seed"} & server.bodies[0].keys() == set()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ChatClient("localhost:8000", "m"),
        lambda: ChatClient("ftp://host/v1", "m"),
        lambda: ChatClient("http://me:secret@host/v1", "m"),
        lambda: ChatClient("http://host/v1", "m", api_key="sk-bad secret"),
        lambda: ChatClient("http://host/v1", "m", api_key="sk-bad-secret\u00e9"),
        lambda: ChatClient("http://host/v1", "m", timeout_s=0),
        lambda: ChatClient("http://host/v1", "m", max_retries=-1),
        lambda: ChatClient("http://host/v1", "m", max_concurrency=0),
        lambda: Prices(-1.0, 0.0),
        lambda: Prices(0.0, float("nan")),
    ],
)
def test_bad_arguments_are_value_errors_that_tell_no_secret(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"expected|instead|no header") as caught:
        make()

    assert "secret" not in str(caught.value)


def test_llm_error_is_one_of_the_package() -> None:
    assert issubclass(LlmError, SimilarFastError)


@given(
    x=st.integers(-(2**53), 2**53),
    name=st.text(),
    frame=st.sampled_from(
        [
            "{}",
            "\n {} \n",
            "```json\n{}\n```",
            "Sure:\n```\n{}\n```",
            "<think>{{1</think>{}",
            "So: {}.",
        ]
    ),
)
def test_prop_json_is_found_in_what_models_put_around_it(x: int, name: str, frame: str) -> None:
    point = Point(x, name.replace("`", "").replace("<", ""))

    said = frame.format(msgspec.json.encode(point).decode())

    assert parse_answer(said, Point) == point


@given(st.text())
def test_prop_any_text_is_an_answer_or_an_answer_error(said: str) -> None:
    try:
        assert isinstance(parse_answer(said, Point), Point)
    except AnswerError as err:
        assert "not the JSON" in str(err)  # noqa: PT017  # both ends are right
