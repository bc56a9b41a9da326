"""A real HTTP server on the loopback that speaks the chat-completions interface, by a script."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the server sends back.

    Attributes:
        content: The body: bytes as they are, anything else as JSON.
        status: The HTTP status.
        headers: Further headers.
        hangs: Whether it sends the head and half of the body, and then nothing until it is closed.
    """

    content: object = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False


def completion(
    text: str | None, *, prompt: int = 10, reply: int = 5, finish: str = "stop"
) -> Answer:
    """The usual answer, `text` being what the model says."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
    }
    usage = {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}
    return Answer({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


class ChatServer:
    """Answers by `respond(body)`, one thread a connection.

    Attributes:
        bodies: What it was sent, in order.
        headers: The headers of each request.
        most_at_once: Most requests that were under way at the same time.
    """

    def __init__(self, respond: Callable[[Body], Answer]) -> None:
        self.respond = respond
        self.bodies: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        with self._lock:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        answer = (
            self.respond(body) if request.path == "/v1/chat/completions" else Answer(status=404)
        )
        with self._lock:
            self._now -= 1
        content = answer.content
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        request.send_response_only(answer.status)
        for name, value in {"Date": request.date_time_string(), **answer.headers}.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[: len(data) // 2] if answer.hangs else data)
        if answer.hangs:
            self.closing.wait(60)
            request.close_connection = True

    def run(self) -> None:
        self._http.serve_forever(poll_interval=0.01)

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def serving(respond: Callable[[Body], Answer]) -> Iterator[ChatServer]:
    """A server that runs until the block ends."""
    server = ChatServer(respond)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def in_turn(*answers: Answer) -> Callable[[Body], Answer]:
    """The answers one after the other; the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def question_of(body: Body) -> Any:  # noqa: ANN401  # JSON
    """What the user's message of a request asks, where it holds no picture."""
    return json.loads(body["messages"][1]["content"])
