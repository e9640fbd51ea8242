"""A scripted reply on the wire: the JSON of a message, and the events that stream it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from end_conversation_tool.testing._replies import MessageReply

__all__ = ["encode_event", "error_json", "estimate_input_tokens", "message_json", "stream_events"]

_PIECE_CHARS = 16
_CHARS_PER_TOKEN = 4

_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
"""By type of block: the type of its deltas, and the field that they fill."""


def estimate_input_tokens(body: Mapping[str, Any]) -> int:
    """Estimate the length of a request, in tokens."""
    return _estimate([body.get("tools"), body.get("system"), body["messages"]])


def _estimate(value: Any) -> int:
    """Four characters of JSON to a token, and at least one token: an estimate, not the API's tokenizer."""
    return max(1, len(json.dumps(value)) // _CHARS_PER_TOKEN)


def error_json(kind: str, message: str, code: str | None = None) -> dict[str, Any]:
    """Make an error in the API's shape; it is an event of a stream too."""
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": kind, "message": message, **details}, "request_id": f"req_{uuid4().hex}"}


def message_json(body: Mapping[str, Any], reply: MessageReply) -> dict[str, Any]:
    """Make the message that answers ``body``; what the reply leaves out is filled in as the API would."""
    content = reply.content
    texts = [{"type": "text", "text": content}] if content else []
    blocks = texts if isinstance(content, str) else [_filled(block) for block in content]
    calls = any(block["type"] == "tool_use" for block in blocks)
    counted = {
        "input_tokens": estimate_input_tokens(body),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": _estimate(blocks),
    }
    return {
        "id": f"msg_{uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": blocks,
        "stop_reason": reply.stop_reason or ("tool_use" if calls else "end_turn"),
        "stop_sequence": reply.stop_sequence,
        "stop_details": {"type": "refusal", **reply.stop_details} if reply.stop_details else None,
        "usage": {**counted, **(reply.usage or {})},
    }


def _filled(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block with its id or signature."""
    if block["type"] == "tool_use":
        return {"type": "tool_use", "id": f"toolu_{uuid4().hex}", "input": {}, **block}
    if block["type"] == "thinking":
        return {"type": "thinking", "thinking": "", "signature": f"sig_{uuid4().hex}", **block}
    return dict(block)


def stream_events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events that stream ``message``, in the API's order."""
    usage = message["usage"]
    unfinished: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    yield {"type": "message_start", "message": {**message, **unfinished, "usage": {**usage, "output_tokens": 1}}}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": _opened(block)}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield {"type": "message_stop"}


def _opened(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block as its start event shows it: without what the deltas bring."""
    if block["type"] == "tool_use":
        return {**block, "input": {}}
    if block["type"] == "thinking":
        return {**block, "thinking": "", "signature": ""}
    return {**block, "text": ""} if block["type"] == "text" else dict(block)


def _deltas(block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The content of a block in pieces."""
    if block["type"] == "tool_use":
        yield {"type": "input_json_delta", "partial_json": ""}
        for piece in _pieces(json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""):
            yield {"type": "input_json_delta", "partial_json": piece}
    elif block["type"] in _DELTAS:
        kind, field = _DELTAS[block["type"]]
        for piece in _pieces(block[field]):
            yield {"type": kind, field: piece}
        if block["type"] == "thinking":
            yield {"type": "signature_delta", "signature": block["signature"]}


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _PIECE_CHARS):
        yield text[start : start + _PIECE_CHARS]


def encode_event(event: Mapping[str, Any]) -> bytes:
    """Write one server-sent event."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
