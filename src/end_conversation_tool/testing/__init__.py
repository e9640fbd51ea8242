"""Helpers for tests, yours included: everything runs offline and without a key.

The names are imported on first use, so that a test needs only what it asks for: :class:`ScriptedChatModel` and its
companions need ``langchain_core``, :class:`MessagesApiServer` needs the standard library only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from end_conversation_tool.testing.kit import (
        aassert_ends_when_warranted,
        aassert_never_ends_at_risk,
        assert_ends_when_warranted,
        assert_never_ends_at_risk,
        kit_scenarios,
        playing_model,
    )
    from end_conversation_tool.testing.labelled import LabelledConversation, LabelledTurn, load_conversations
    from end_conversation_tool.testing.loops import anthropic_loop
    from end_conversation_tool.testing.manners import Manner
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
    "LabelledConversation",
    "LabelledTurn",
    "Manner",
    "MessageReply",
    "MessagesApiServer",
    "RawReply",
    "RecordedRequest",
    "Reply",
    "ScriptExhaustedError",
    "ScriptedChatModel",
    "ServerReply",
    "aassert_ends_when_warranted",
    "aassert_never_ends_at_risk",
    "anthropic_loop",
    "assert_ends_when_warranted",
    "assert_never_ends_at_risk",
    "end_call",
    "in_one_message",
    "kit_scenarios",
    "load_conversations",
    "playing_model",
    "refusal",
    "tool_call",
]

_KIT = (
    "aassert_ends_when_warranted",
    "aassert_never_ends_at_risk",
    "assert_ends_when_warranted",
    "assert_never_ends_at_risk",
    "kit_scenarios",
    "playing_model",
)
_SERVER = ("ErrorReply", "MessageReply", "MessagesApiServer", "RawReply", "RecordedRequest", "ServerReply")
_HOMES = {
    **dict.fromkeys(_KIT, "kit"),
    **dict.fromkeys(("LabelledConversation", "LabelledTurn", "load_conversations"), "labelled"),
    "Manner": "manners",
    "anthropic_loop": "loops",
    **dict.fromkeys(_SERVER, "messages_api"),
}
"""In which module a name lives; all others are in ``scripted``."""


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'scripted')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
