"""A local server that speaks the Anthropic Messages API: scripted replies, real wire, real checks of each request.

    with MessagesApiServer(["Hello."]) as server:
        client = anthropic.Anthropic(base_url=server.base_url, api_key="test")
        ...
    assert server.errors == []

It listens on a free port of 127.0.0.1 and needs nothing but the standard library. A request that the API would refuse
is answered as the API would, takes no reply from the script, and is noted in ``errors``. Every connection is closed
after its answer, so that cached clients leave no socket behind.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self, TypeAlias, cast
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.testing._replies import (
    ErrorReply,
    MessageReply,
    RawReply,
    RecordedRequest,
    ReplyFunction,
    ServerReply,
)
from end_conversation_tool.testing._sse import (
    encode_event,
    error_json,
    estimate_input_tokens,
    message_json,
    stream_events,
)
from end_conversation_tool.testing._wire_checks import ApiError, as_blocks, check_headers, check_request, thoughts_in

__all__ = ["ErrorReply", "MessageReply", "MessagesApiServer", "RawReply", "RecordedRequest", "ServerReply"]

_CREATE, _COUNT = "/v1/messages", "/v1/messages/count_tokens"

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class MessagesApiServer:
    """The server, as a context manager. Safe to use from many clients at once.

    Args:
        replies: One reply for each request to ``/v1/messages``, in order; or a function of the request body that
            answers all of them. When a script is used up, the answer is an error 500 that says so.
        strict_prefix: Refuse a request that changes ``tools``, ``system`` or an earlier message of its conversation.
        allow_prefill: Take a last message of the assistant, as older models do.

    Raises:
        InvalidInputError: ``replies`` is neither.
    """

    def __init__(
        self,
        replies: Sequence[ServerReply] | ReplyFunction,
        *,
        strict_prefix: bool = False,
        allow_prefill: bool = False,
    ) -> None:
        if isinstance(replies, (str, bytes)) or not (callable(replies) or isinstance(replies, Sequence)):
            raise InvalidInputError(
                f"replies: expected a sequence of replies or a function, got {type(replies).__name__}"
            )
        self._replies = replies if callable(replies) else tuple(replies)
        self._allow_prefill = allow_prefill
        self._prefix = PrefixCheck() if strict_prefix else None
        self._lock = Lock()
        self._closing = Event()
        self._taken = 0
        self._threads = MessageThreads()
        self._thoughts: dict[str, str] = {}
        self._requests: list[RecordedRequest] = []
        self._errors: list[str] = []
        self._http: HttpServer | None = None
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        self._http = HttpServer(self._answer, self._closing)
        self._thread = Thread(target=self._http.serve_forever, args=(0.02,), name="messages-api")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()

    @property
    def base_url(self) -> str:
        """What to give to a client as ``base_url``.

        Raises:
            RuntimeError: The server does not run: it is a context manager.
        """
        if self._http is None:
            raise RuntimeError("MessagesApiServer is a context manager: it listens inside `with` only")
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far, in order; refused ones included."""
        with self._lock:
            return list(self._requests)

    @property
    def errors(self) -> list[str]:
        """What was wrong with requests, or with the script itself; scripted errors are not in it."""
        with self._lock:
            return list(self._errors)

    def _answer(self, request: RecordedRequest, readable: bool) -> Answer:  # noqa: FBT001 - one caller, by position
        """Check a request and make its answer."""
        try:
            with self._lock:
                self._requests.append(request)
                self._check_envelope(request, readable=readable)
                whole = self._threads.whole(request.body, request.headers.get("anthropic-beta", ""))
                reply = self._judge(request, whole)
            # Outside the lock: a function of the script may wait for another request.
            return reply if isinstance(reply, PlainAnswer) else self._finish(request.body, whole, reply)
        except ApiError as fault:
            self._note(str(fault))
            return _error_answer(ErrorReply(fault.status, fault.error_type, str(fault), code=fault.code))
        except Exception as fault:  # noqa: BLE001 - a fault of the script must reach the test, not hang the client
            text = f"{type(fault).__name__}: {fault}"
            self._note(text)
            return _error_answer(ErrorReply(500, None, text, {"x-should-retry": "false"}))

    def _note(self, fault: str) -> None:
        with self._lock:
            self._errors.append(fault)

    def _check_envelope(self, request: RecordedRequest, *, readable: bool) -> None:
        """Check all but the body.

        Raises:
            ApiError: The request is refused.
        """
        if request.path not in {_CREATE, _COUNT}:
            raise ApiError("Not found", status=404, error_type="not_found_error")
        if request.method != "POST":
            raise ApiError("Method Not Allowed", status=405)
        check_headers(request.headers)
        if not readable:
            raise ApiError("The request body is not valid JSON")

    def _judge(self, request: RecordedRequest, body: dict[str, Any]) -> PlainAnswer | ServerReply:
        """Check a whole body, and take the next reply of the script.

        Raises:
            ApiError: The request is refused.
            IndexError: The script is used up.
        """
        counting = request.path == _COUNT
        check_request(body, thoughts=self._thoughts, counting=counting, allow_prefill=self._allow_prefill)
        if counting:
            return json_answer(200, {"input_tokens": estimate_input_tokens(body)})
        if self._prefix is not None:
            self._prefix.check(body)
        self._taken += 1
        if callable(self._replies):
            return self._replies
        if self._taken > len(self._replies):
            raise IndexError(f"the script has {len(self._replies)} replies and one more was asked for")
        return self._replies[self._taken - 1]

    def _finish(self, body: dict[str, Any], whole: dict[str, Any], reply: ServerReply) -> Answer:
        """Make the answer that a reply describes. A function of the script sees the whole conversation.

        Raises:
            InvalidInputError: It is no reply.
        """
        made = reply(whole) if callable(reply) else reply
        if isinstance(made, RawReply):
            return PlainAnswer(made.status, made.body, {"content-type": made.content_type}, made.delay)
        if isinstance(made, ErrorReply):
            return _error_answer(made)
        script = MessageReply(made) if isinstance(made, (str, list)) else made
        if not isinstance(script, MessageReply):
            raise InvalidInputError(f"replies: expected a reply, got {type(made).__name__}")
        message = message_json(whole, script)
        with self._lock:
            self._thoughts.update(thoughts_in(message))
            self._threads.answered(body, whole, message)
        return _message_answer(message, script, streaming=bool(body.get("stream")))


def _message_answer(message: dict[str, Any], reply: MessageReply, *, streaming: bool) -> Answer:
    """Send a message, whole or streamed, or only the part of it that the reply wants sent."""
    if not streaming:
        return json_answer(200, message, delay=reply.delay, cut=reply.cut_after is not None)
    events = list(stream_events(message))[: reply.cut_after]
    if reply.cut_error is not None:
        events.append(error_json(reply.cut_error, "The stream was cut"))
    return StreamedAnswer(events, reply.delay, cut=reply.cut_after is not None and reply.cut_error is None)


def _error_answer(reply: ErrorReply) -> Answer:
    """Make an error in the API's shape."""
    kind = reply.error_type or _ERROR_TYPES.get(reply.status, "api_error")
    return json_answer(
        reply.status, error_json(kind, reply.message, reply.code), headers=reply.headers, delay=reply.delay
    )


# HTTP: one request and one answer to a connection

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


# Message threads, a beta of the API: the server holds the conversation, a turn sends its new messages only. The tool
# runner of the ``anthropic`` package uses them unless it is told not to.

_BETA = "message-threads-"
_CREATE_ONLY = ("system", "tools")
"""What a turn that continues a thread may leave out; the server has it from the first."""


class MessageThreads:
    """The conversations that one server holds, each by the id of its newest message."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, Any]] = {}
        self._continued: set[str] = set()

    def whole(self, body: Mapping[str, Any], betas: str) -> dict[str, Any]:
        """Write a request as if no thread held a part of it.

        Args:
            body: The request.
            betas: The ``anthropic-beta`` header.

        Raises:
            ApiError: It continues a thread that is not there, was continued already, or was created otherwise.
        """
        wanted = body.get("thread")
        whole = {key: value for key, value in body.items() if key != "thread"}
        if wanted is None:
            return whole
        if _BETA not in betas:
            raise ApiError("thread: Extra inputs are not permitted")
        if wanted.get("type") == "create":
            return whole
        name = str(wanted.get("previous_message_id"))
        if name in self._continued:
            raise ApiError("The previous message has already been continued", code="thread_already_continued")
        if name not in self._open:
            raise ApiError("Thread not found", status=404, error_type="not_found_error", code="thread_not_found")
        held = self._open[name]
        if changed := [key for key in _CREATE_ONLY if key in body and body[key] != held.get(key)]:
            raise ApiError(f"{', '.join(changed)}: differs from the thread's", code="thread_fingerprint_mismatch")
        kept = {key: held[key] for key in _CREATE_ONLY if key in held}
        messages = body.get("messages")
        return {**kept, **whole, "messages": [*held["messages"], *messages] if isinstance(messages, list) else messages}

    def answered(self, body: Mapping[str, Any], whole: Mapping[str, Any], message: Mapping[str, Any]) -> None:
        """Hold the conversation under the id of its newest message, if the request asked for it.

        Args:
            body: The request.
            whole: The same without a thread, as :meth:`whole` gave it.
            message: The answer.
        """
        wanted = body.get("thread")
        if wanted is None:
            return
        self._continued.add(str(wanted.get("previous_message_id")))
        said = [{"role": "assistant", "content": message["content"]}] if message["content"] else []
        self._open[message["id"]] = {**whole, "messages": [*whole["messages"], *said]}


# The strict prefix check: a conversation may only grow at its end. Claude's thinking and every provider's cache are
# bound to the bytes that come before: tools, then system, then the messages. A change there is an error for newer
# models and a cost for all.


@dataclass
class _Conversation:
    """Requests that begin with the same user message.

    Attributes:
        head: ``tools`` and ``system`` of the first of them, as JSON.
        branches: The messages of the newest request of each branch.
    """

    head: dict[str, str]
    branches: list[list[Any]] = field(default_factory=list)


class PrefixCheck:
    """Remembers the conversations of one server, and refuses a request that changes what an earlier one sent.

    Two requests belong to one conversation when their first user messages are equal, cache markers aside. Allowed
    are a request that goes on from an earlier one, the same or a shorter one again, and one that edits the user
    message at its own end (a branch). Tests that want two conversations let them begin differently.
    """

    def __init__(self) -> None:
        self._conversations: dict[str, _Conversation] = {}

    def check(self, body: Mapping[str, Any]) -> None:
        """Check one request and remember it.

        Raises:
            ApiError: It says what changed.
        """
        head = {part: _dump(body.get(part)) for part in ("tools", "system")}
        messages = [_normal(message) for message in body["messages"]]
        known = self._conversations.setdefault(_dump(messages[0]), _Conversation(head))
        for part, earlier in known.head.items():
            if head[part] != earlier:
                raise ApiError(f"{part}: changed since an earlier request of this conversation")
        faults = []
        for branch in known.branches:
            fault = _changed_at(branch, messages)
            if fault is None:
                break
            faults.append(fault)
        else:
            if faults:
                raise ApiError(
                    f"messages.{max(faults)}: changed since an earlier request of this conversation; earlier messages "
                    "must be sent again as they were"
                )
        known.branches = [branch for branch in known.branches if messages[: len(branch)] != branch]
        known.branches.append(messages)


def _changed_at(earlier: list[Any], now: list[Any]) -> int | None:
    """Where ``now`` departs from ``earlier``; ``None`` when it goes on from it, repeats it or edits its own end."""
    for index, (before, after) in enumerate(zip(earlier, now, strict=False)):
        if before != after:
            edited = index == len(now) - 1 and _is_said(before) and _is_said(after)
            return None if edited else index
    return None


def _is_said(message: Mapping[str, Any]) -> bool:
    """Whether a message is the user's own, and no result of a tool."""
    return message["role"] == "user" and all(block["type"] != "tool_result" for block in message["content"])


def _normal(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message without cache markers, its content as blocks."""
    return {"role": message["role"], "content": [_unmarked(block) for block in as_blocks(message["content"])]}


def _unmarked(value: Any) -> Any:
    """A value without cache markers."""
    if isinstance(value, Mapping):
        return {key: _unmarked(part) for key, part in value.items() if key != "cache_control"}
    return [_unmarked(part) for part in value] if isinstance(value, list) else value


def _dump(value: Any) -> str:
    """JSON in which order counts, as it does for a cache."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
