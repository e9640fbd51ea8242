"""What a message's content holds besides text, whatever the provider's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["has_media"]

_NO_MEDIA = frozenset(
    {
        "text",
        "input_text",
        "output_text",
        "refusal",
        "thinking",
        "redacted_thinking",
        "reasoning",
        "tool_use",
        "tool_call",
        "tool_result",
        "search_result",
        "non_standard",
    }
)
"""Types of parts that are text, or that no user says: a tool's result is not the user's behaviour (R12)."""


def has_media(content: Any) -> bool:
    """Whether a content has parts that nobody can read as text: images, recordings, films, files."""
    if not isinstance(content, list | tuple):
        return False
    return any(not isinstance(part, str) and _type_of(part) not in _NO_MEDIA for part in content)


def _type_of(part: Any) -> Any:
    return part.get("type", "text") if isinstance(part, Mapping) else getattr(part, "type", "text")
