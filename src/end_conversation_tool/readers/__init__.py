"""Readers: who reads the transcript when an end is asked for, and quotes what it finds."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from end_conversation_tool.readers.base import Finding, Line, Reader, Reading, ReadingCase, Usage
from end_conversation_tool.readers.budget import Meter, Price, ReadingBudget
from end_conversation_tool.readers.several import AllReaders

if TYPE_CHECKING:
    from end_conversation_tool.readers.claude import ClaudeReader
    from end_conversation_tool.readers.model import ModelReader
    from end_conversation_tool.readers.offline import OfflineReader

__all__ = [
    "AllReaders",
    "ClaudeReader",
    "Finding",
    "Line",
    "Meter",
    "ModelReader",
    "OfflineReader",
    "Price",
    "Reader",
    "Reading",
    "ReadingBudget",
    "ReadingCase",
    "Usage",
]

_HOMES = {"ClaudeReader": "claude", "ModelReader": "model", "OfflineReader": "offline"}


def __getattr__(name: str) -> Any:
    """Load a reader when it is first used: each has dependencies of its own."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
