"""A conversation on the wire of the Messages API that climbs the whole ladder to an end, and responses by hand."""

from __future__ import annotations

from typing import Any

from end_conversation_tool.anthropic_sdk import ConversationGuard
from end_conversation_tool.registry import SealRegistry
from support.keywords import QUICK, KeywordReader, keyword_watch

__all__ = ["ABUSE", "LADDER", "MODEL", "called", "end", "finished", "guard_of", "said"]

MODEL = "claude-test"

ABUSE = [
    "you are a fucking idiot",
    "you stupid idiot",
    "shut up, you idiot",
    "you worthless fucking idiot",
]
"""What the user says, turn by turn."""

LADDER = [
    "I will not go on with insults. I can help with your code instead, if you like.",
    "I will not answer insults. I'd be glad to help with your question instead.",
    "I will not take abuse. If you keep insulting me, I may end this chat. I can help with something else instead.",
]
"""What the model answers to all but the last: refusals and redirections, then a warning in its own words."""


def end(category: str = "abuse", **changes: Any) -> dict[str, Any]:
    """Return a call of the tool, as a content block of a reply; the server gives it an id."""
    arguments = {"category": category, "reason": "It went on after a warning."}
    return {"type": "tool_use", "name": "end_conversation", "input": arguments, **changes}


def called(name: str, call_id: str = "toolu_other", **arguments: Any) -> dict[str, Any]:
    """Return a call of another tool."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def finished(*content: dict[str, Any] | str, stop_reason: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return a response of the API as a plain dict."""
    blocks = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    calls = any(block["type"] == "tool_use" for block in blocks)
    reason = stop_reason or ("tool_use" if calls else "end_turn")
    return {"id": "msg_1", "model": MODEL, "content": blocks, "stop_reason": reason, **changes}


def said(text: str, role: str = "user") -> dict[str, Any]:
    """Return one message of a history."""
    return {"role": role, "content": text}


def guard_of(registry: SealRegistry, **options: Any) -> ConversationGuard:
    """Return a guard whose reader and watch look for words, and whose ends take one request."""
    words: dict[str, Any] = {"reader": KeywordReader(), "watch": keyword_watch(), "policy": QUICK}
    return ConversationGuard(registry=registry, **{**words, **options})
