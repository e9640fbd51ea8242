"""Helpers for tests, yours included: everything runs offline and without a key.

The names are imported on first use, so that a test needs only what it asks for: :class:`ScriptedChatModel` and its
companions need ``langchain_core``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from end_conversation_tool.testing.scripted import (
        ScriptedChatModel,
        ScriptExhaustedError,
        end_call,
        in_one_message,
        refusal,
        tool_call,
    )

__all__ = [
    "ScriptExhaustedError",
    "ScriptedChatModel",
    "end_call",
    "in_one_message",
    "refusal",
    "tool_call",
]

_MODULES = dict.fromkeys(__all__, "end_conversation_tool.testing.scripted")


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
