"""The HTTP side of the local server: one request and one answer to a connection."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Event
from typing import Any, TypeAlias, cast
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from end_conversation_tool.testing._replies import RecordedRequest
from end_conversation_tool.testing._sse import encode_event

__all__ = ["Answer", "HttpServer", "PlainAnswer", "StreamedAnswer", "json_answer"]

_IDLE_SECONDS = 5.0
"""How long a connection may stay silent before it is closed."""


@dataclass(frozen=True)
class PlainAnswer:
    """A whole body.

    Attributes:
        status: HTTP status.
        body: The bytes.
        headers: Besides those that every answer has.
        delay: Seconds before it is sent.
        cut: Break off in the middle of the body.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]
    delay: float = 0.0
    cut: bool = False


@dataclass(frozen=True)
class StreamedAnswer:
    """Server-sent events.

    Attributes:
        events: The events to send.
        delay: Seconds before the first is sent.
        cut: Break off after the last of them, instead of ending the body.
    """

    events: Sequence[Mapping[str, Any]] = field(default_factory=list)
    delay: float = 0.0
    cut: bool = False


Answer: TypeAlias = PlainAnswer | StreamedAnswer


def json_answer(
    status: int, value: Any, *, headers: Mapping[str, str] | None = None, delay: float = 0.0, cut: bool = False
) -> PlainAnswer:
    """Make an answer whose body is JSON."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return PlainAnswer(status, body, {"content-type": "application/json", **(headers or {})}, delay, cut)


class HttpServer(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1. Its threads are joined when it closes.

    Args:
        answer: Makes the answer to a request; told whether the body was a JSON object.
        closing: Set when delayed answers shall be given up.
    """

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, answer: Callable[[RecordedRequest, bool], Answer], closing: Event) -> None:
        self.answer, self.closing = answer, closing
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        """Bind without looking up the host's name, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = cast("tuple[str, int]", self.server_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what went wrong with a connection; that the client went away is no fault."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    server: HttpServer

    def do_POST(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def _serve(self) -> None:
        """Answer one request."""
        self.close_connection = True
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        readable = isinstance(body, dict)
        address = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(address.query).items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        request = RecordedRequest(self.command, address.path, query, headers, body if readable else {})
        answer = self.server.answer(request, readable)
        if answer.delay and self.server.closing.wait(answer.delay):
            return
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        if isinstance(answer, PlainAnswer):
            self._send_head(answer.status, {**answer.headers, "content-length": str(len(answer.body))})
            self.wfile.write(answer.body[: len(answer.body) // 2] if answer.cut else answer.body)
            return
        self._send_head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"})
        for event in answer.events:
            data = encode_event(event)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        if not answer.cut:
            self.wfile.write(b"0\r\n\r\n")

    def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"request-id": f"req_{uuid4().hex}", "connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
