"""Helpers for tests, yours included: everything runs offline and without a key.

The names are imported on first use, so that a test needs only what it asks for: :class:`ScriptedChatModel` and its
companions need ``langchain_core``, :class:`MessagesApiServer` needs the standard library only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from end_conversation_tool.testing.messages_api import (
        ErrorReply,
        MessageReply,
        MessagesApiServer,
        RawReply,
        RecordedRequest,
        ServerReply,
    )
    from end_conversation_tool.testing.scripted import (
        Reply,
        ScriptedChatModel,
        ScriptExhaustedError,
        end_call,
        in_one_message,
        refusal,
        tool_call,
    )

__all__ = [
    "ErrorReply",
    "MessageReply",
    "MessagesApiServer",
    "RawReply",
    "RecordedRequest",
    "Reply",
    "ScriptExhaustedError",
    "ScriptedChatModel",
    "ServerReply",
    "end_call",
    "in_one_message",
    "refusal",
    "tool_call",
]

_SERVER_NAMES = {"ErrorReply", "MessageReply", "MessagesApiServer", "RawReply", "RecordedRequest", "ServerReply"}


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "messages_api" if name in _SERVER_NAMES else "scripted"
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
