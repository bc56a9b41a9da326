"""A client of one chat-completions server: strict JSON answers, retries, and a count of the cost.

Nothing is sent before `ask` is called. docs/llm.md says what is sent.
"""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from threading import BoundedSemaphore
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

import msgspec

from similar_fast.errors import LlmError
from similar_fast.llm.answers import FORMS, AnswerError, Completion, parse_answer, response_format
from similar_fast.llm.content import Message
from similar_fast.llm.usage import Meter, Prices, Usage

if TYPE_CHECKING:
    import httpx2

__all__ = ["ChatClient"]

MAX_ANSWER_BYTES = 8 << 20
MAX_ECHO = 2000
FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
MAX_RETRY_AFTER_S = 120.0
TRANSIENT = frozenset({408, 409, 425, 429})
UNSUPPORTED = frozenset({400, 415, 422})

_Shape = TypeVar("_Shape", bound=msgspec.Struct)


class _CallError(Exception):
    """One request failed.

    Attributes:
        status: The HTTP status, where there is one.
        can_retry: Whether the same request may succeed later.
        wait_s: How long the server asks to wait; None where it does not say.
        said: What the model said, where that is what is wrong.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        can_retry: bool = True,
        wait_s: float | None = None,
        said: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.can_retry = can_retry
        self.wait_s = wait_s
        self.said = said


class ChatClient:
    """Asks one model behind an OpenAI-compatible server; safe to use from many threads.

    Args:
        base_url: The address up to and with the version, such as `http://localhost:8000/v1`.
        model: The model's name at that server.
        api_key: The key; None takes `OPENAI_API_KEY`, and without that none is sent.
        timeout_s: Seconds that one request may take.
        max_retries: How often a question is asked again, after a busy or broken server, a
            timeout, or an answer that is not the JSON that was asked for.
        max_concurrency: Requests that may be under way at once.
        max_tokens: Longest answer, in tokens; None leaves the field out.
        prices: What tokens cost; None counts no cost.
        extra_body: Further fields of every request, such as `{"max_completion_tokens": 500}`.
        clock: Tells the seconds that `timeout_s` is measured in.
        sleep: Waits between two attempts.

    Raises:
        ImportError: The `llm` extra is not installed.
        ValueError: The address or a number is out of its range, or the key cannot be sent.

    Example:
        >>> ChatClient("http://localhost:8000/v1", "qwen3-8b", api_key="secret")
        ChatClient('http://localhost:8000/v1', 'qwen3-8b')
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        max_retries: int = 4,
        max_concurrency: int = 4,
        max_tokens: int | None = 1024,
        prices: Prices | None = None,
        extra_body: Mapping[str, object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not timeout_s > 0 or max_retries < 0 or max_concurrency < 1:
            raise ValueError(
                "expected timeout_s above 0, max_retries of at least 0 and max_concurrency of at "
                f"least 1, found {timeout_s}, {max_retries} and {max_concurrency}"
            )
        self.base_url = _checked_url(base_url)
        self.model = model
        self.max_concurrency = max_concurrency
        self._key = _checked_key(os.environ.get("OPENAI_API_KEY") if api_key is None else api_key)
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._body = {"model": model, "max_tokens": max_tokens, **(extra_body or {})}
        self._clock = clock
        self._sleep = sleep
        self._jitter = random.Random(0)  # noqa: S311  # spreads retries, no secret
        self._slots = BoundedSemaphore(max_concurrency)
        self._meter = Meter(prices)
        self._form = 0
        self._http = _connect(self._key, timeout_s)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r}, {self.model!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; a second call does nothing."""
        self._http.close()

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        return self._meter.usage

    def ask(
        self,
        messages: Sequence[Message],
        shape: type[_Shape],
        *,
        schema: type[msgspec.Struct] | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> _Shape:
        """The model's answer to `messages`, as JSON of `shape`.

        The server is asked for this JSON schema; where it does not take schemas, for JSON; where
        it does not take that either, for text, so the messages must tell the shape as well.

        Args:
            messages: The conversation.
            shape: What the answer is read as.
            schema: What the server is asked for, where that is narrower than `shape`.
            temperature: How freely the model draws; None leaves it to the server.
            seed: What it draws with, where the server takes a seed.

        Raises:
            LlmError: The server cannot be reached, refuses, or did not answer with the JSON, and
                all retries are used up. Its text holds no key.
        """
        asked = {"messages": list(messages), "temperature": temperature, "seed": seed}
        for attempt in range(self._max_retries + 1):
            try:
                return self._attempt(asked, shape, schema=schema or shape)
            except _CallError as err:
                failure = err
            if not failure.can_retry or attempt == self._max_retries:
                break
            self._meter.add(retries=1)
            if failure.said is None:
                self._sleep(self._delay_s(attempt, failure.wait_s))
            else:
                asked["messages"] = [*messages, *_correction(failure.said, str(failure))]
        self._meter.add(failures=1)
        message = f"{self.base_url}, model {self.model!r}, after {attempt + 1} attempts: {failure}"
        raise LlmError(self._without_key(message), status=failure.status)

    def _attempt(
        self, asked: Mapping[str, Any], shape: type[_Shape], *, schema: type[msgspec.Struct]
    ) -> _Shape:
        """One answer, by the strictest form that the server takes."""
        text = ""
        for place in range(self._form, len(FORMS)):
            form = response_format(FORMS[place], schema)
            body = {**self._body, **asked, "response_format": form}
            sent = {name: value for name, value in body.items() if value is not None}
            try:
                text = self._text(sent)
            except _CallError as err:
                if err.status in UNSUPPORTED and place + 1 < len(FORMS):
                    continue
                raise
            self._form = place
            break
        try:
            return parse_answer(text, shape)
        except AnswerError as err:
            problem = str(err)
        raise _CallError(problem, said=text)

    def _text(self, body: Mapping[str, Any]) -> str:
        """What the model says to one request; its tokens are counted whatever it says."""
        content = self._send(body)
        try:
            completion = msgspec.json.decode(content, type=Completion)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as err:
            problem = f"the server did not answer with a chat completion: {err}"
        else:
            self._count(completion)
            try:
                return completion.text
            except AnswerError as err:
                problem = str(err)
        raise _CallError(problem)

    def _count(self, completion: Completion) -> None:
        usage = completion.usage
        if usage is None or usage.prompt_tokens is None:
            self._meter.add(uncounted=1)
        else:
            self._meter.add_tokens(usage.prompt_tokens, usage.completion_tokens or 0)

    def _send(self, body: Mapping[str, Any]) -> bytes:
        """The content that the server answers one request with.

        The error is raised outside the handler: what it would be chained to may hold the key.
        """
        import httpx2  # noqa: PLC0415  # an extra

        with self._slots:
            self._meter.add(calls=1)
            start = self._clock()
            try:
                with self._http.stream(
                    "POST",
                    f"{self.base_url}/chat/completions",
                    content=msgspec.json.encode(body),
                ) as response:
                    content = self._read(response, start)
                    if response.is_success:
                        return content
                    failure = _refusal(response, content)
            except httpx2.TimeoutException:
                failure = _CallError(f"no answer within {self._timeout_s:g} s")
            except httpx2.HTTPError as err:
                failure = _CallError(f"{type(err).__name__}: {err}")
        raise failure

    def _read(self, response: "httpx2.Response", start: float) -> bytes:
        """The whole content, unless it takes too long or is too much, however it trickles in."""
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if self._clock() - start > self._timeout_s:
                raise _CallError(f"the answer was not complete within {self._timeout_s:g} s")
            if len(content) > MAX_ANSWER_BYTES:
                raise _CallError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        return bytes(content)

    def _delay_s(self, attempt: int, wait_s: float | None) -> float:
        """Twice as long each time, up to a half less by chance; never less than was asked for."""
        longest: float = min(MAX_DELAY_S, FIRST_DELAY_S * 2.0**attempt)
        backoff = longest * self._jitter.uniform(0.5, 1.0)
        return max(backoff, wait_s or 0.0)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _connect(key: str, timeout_s: float) -> "httpx2.Client":
    try:
        import httpx2  # noqa: PLC0415  # an extra
    except ImportError as err:
        raise ImportError('a language model needs `pip install "similar-fast[llm]"`') from err
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return httpx2.Client(timeout=timeout_s, headers=headers)


def _checked_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"base_url is {base_url!r}, expected http://HOST/v1 or https://HOST/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("base_url holds a user's name or password; give api_key instead")
    return base_url.rstrip("/")


def _checked_key(key: str | None) -> str:
    """The key without the blanks around it; a header cannot hold others, and its error tells it."""
    stripped = (key or "").strip()
    if not all("!" <= sign <= "~" for sign in stripped):
        raise ValueError("the key has blanks or signs beyond ASCII, which no header can hold")
    return stripped


def _refusal(response: "httpx2.Response", content: bytes) -> _CallError:
    """What a status other than success means."""
    status = response.status_code
    wait_s = _retry_after_s(response.headers)
    can_retry = status >= 500 or status in TRANSIENT
    message = f"the server answered {status}: {_server_words(content)}"
    if can_retry and wait_s is not None and wait_s > MAX_RETRY_AFTER_S:
        can_retry = False
        message += f" (retry after {wait_s:g} s, more than {MAX_RETRY_AFTER_S:g})"
    return _CallError(message, status=status, can_retry=can_retry, wait_s=wait_s)


def _server_words(content: bytes) -> str:
    """The server's own words on an error, at most 300 characters."""
    try:
        words = msgspec.json.decode(content)["error"]["message"]
    except (msgspec.DecodeError, UnicodeError, RecursionError, LookupError, TypeError):
        words = content[:1200].decode(errors="replace")
    return " ".join(str(words).split())[:300] or "no reason given"


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `Retry-After`: a number, or a date beside the server's own `Date`.

    Source: RFC 9110, section 10.2.3.
    """
    told = headers.get("Retry-After", "").strip()
    if told.isdecimal() and len(told) <= 9:
        return float(told)
    try:
        until, now = (parsedate_to_datetime(text) for text in (told, headers.get("Date", "")))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _correction(said: str, problem: str) -> list[Message]:
    """What follows an answer that does not fit, so that the next is not the same again."""
    return [
        {"role": "assistant", "content": said[:MAX_ECHO]},
        {"role": "user", "content": f"{problem}\nAnswer with that JSON object alone."},
    ]
