"""What a scripted server can be told to answer, and what it notes of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["ErrorReply", "MessageReply", "RawReply", "RecordedRequest", "ReplyFunction", "ServerReply"]


@dataclass(frozen=True)
class MessageReply:
    """A message of the assistant.

    Attributes:
        content: A text, or content blocks; ids of calls and signatures of thinking may be left out.
        stop_reason: By default ``tool_use`` when the content has a call, else ``end_turn``.
        stop_sequence: The sequence that stopped the model.
        stop_details: Of a refusal: ``category``, ``explanation``.
        usage: Counts in tokens, in place of the estimated ones.
        delay: Seconds before the answer begins.
        cut_after: Break the connection off after so many streamed events; without streaming, in the middle of the
            body. ``None``: send all.
        cut_error: Type of an ``error`` event, such as ``overloaded_error``, that ends the stream there in an orderly
            way.
    """

    content: str | Sequence[Mapping[str, Any]] = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    delay: float = 0.0
    cut_after: int | None = None
    cut_error: str | None = None


@dataclass(frozen=True)
class ErrorReply:
    """An error of the API.

    Attributes:
        status: HTTP status.
        error_type: ``error.type`` of the body; by default the one that goes with the status.
        message: ``error.message`` of the body.
        headers: Such as ``retry-after-ms`` or ``x-should-retry``.
        code: ``error.details.error_code`` of the body, where there is one.
        delay: Seconds before the answer begins.
    """

    status: int = 529
    error_type: str | None = None
    message: str = "Overloaded"
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    delay: float = 0.0


@dataclass(frozen=True)
class RawReply:
    """Any bytes: a malformed body, a proxy's page.

    Attributes:
        body: The bytes.
        status: HTTP status.
        content_type: Header.
        delay: Seconds before the answer begins.
    """

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    delay: float = 0.0


Answer: TypeAlias = str | list[dict[str, Any]] | MessageReply | ErrorReply | RawReply
ReplyFunction: TypeAlias = Callable[[dict[str, Any]], Answer]
ServerReply: TypeAlias = Answer | ReplyFunction
"""One entry of a script: a text, content blocks, a reply, or a function of the request body that makes one."""


@dataclass(frozen=True)
class RecordedRequest:
    """One request, as it came.

    Attributes:
        method: ``POST``, unless a client went astray.
        path: Without the query.
        query: Such as ``{"beta": "true"}``.
        headers: By lower-case name.
        body: The parsed JSON; empty when it was none.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]
