"""A token endpoint that replies as a test tells it to, and keeps the requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs

import tls


@dataclass
class Answer:
    """A reply of HTTP: its status, its headers, and a body or a dict as JSON."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        body = self.body
        return json.dumps(body).encode() if isinstance(body, dict) else body


def token(text: str, **more: Any) -> Answer:
    """A token that lasts for an hour."""
    facts = {"access_token": text, "token_type": "Bearer", "expires_in": 3600}
    return Answer(200, {**facts, **more})


def refusal(error: str, description: str | None = None, status: int = 400) -> Answer:
    """An error of RFC 6749 section 5.2."""
    facts = {"error": error}
    if description is not None:
        facts["error_description"] = description
    return Answer(status, facts)


class TokenEndpoint(ThreadingHTTPServer):
    """The endpoint; the answers are given in turn, and the last one again and again.

    An answer may also be a function, which is given the parameters of the request; the
    result is its answer, or None to close the connection.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *answers: Answer | Callable[[dict[str, str]], Answer | None]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.requests: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.ca = tls.ca_file()
        self.socket = tls.server_context("good").wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server_address[1]}/token"

    def next(self, params: dict[str, str], headers: dict[str, str]) -> Answer | None:
        with self.lock:
            at = min(len(self.requests), len(self.answers) - 1)
            self.requests.append(params)
            self.headers.append(headers)
        answer = self.answers[at]
        return answer if isinstance(answer, Answer) else answer(params)

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what a test wants."""


class _Handler(BaseHTTPRequestHandler):
    server: TokenEndpoint  # type: ignore[assignment]
    timeout: ClassVar[float] = 20.0  # type: ignore[misc]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        params = {name: values[0] for name, values in parse_qs(body).items()}
        answer = self.server.next(params, dict(self.headers))
        if answer is None:
            self.close_connection = True
            return
        content = answer.content()
        self.send_response_only(answer.status)
        headers = {"Content-Length": str(len(content)), "Date": self.date_time_string()}
        headers |= answer.headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@contextmanager
def endpoint(*answers: Any) -> Iterator[TokenEndpoint]:
    """A running endpoint."""
    server = TokenEndpoint(*answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
