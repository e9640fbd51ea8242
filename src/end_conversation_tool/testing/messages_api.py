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

from collections.abc import Sequence
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.testing._http import Answer, HttpServer, PlainAnswer, StreamedAnswer, json_answer
from end_conversation_tool.testing._prefix import PrefixCheck
from end_conversation_tool.testing._replies import (
    ErrorReply,
    MessageReply,
    RawReply,
    RecordedRequest,
    ReplyFunction,
    ServerReply,
)
from end_conversation_tool.testing._sse import error_json, estimate_input_tokens, message_json, stream_events
from end_conversation_tool.testing._threads import MessageThreads
from end_conversation_tool.testing._tool_checks import ApiError
from end_conversation_tool.testing._wire_checks import check_headers, check_request, thoughts_in

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
