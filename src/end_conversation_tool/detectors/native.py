"""Refusals that the provider itself reports. Duck-typed: LangChain messages and Anthropic SDK messages alike.

Read at the model call only: on messages that a caller supplied, these fields are whatever the caller wrote there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from end_conversation_tool.detectors.base import Answer, ObservedMessage, Signal, SignalKind

__all__ = ["NativeRefusalDetector", "is_native_refusal"]

_BLOCKED_FINISHES = frozenset({"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST"})


def is_native_refusal(message: Any) -> bool:
    """Whether the provider marked this reply as refused or blocked.

    Sources: Anthropic ``stop_reason``; OpenAI ``refusal`` field, ``refusal`` parts and ``content_filter``; Gemini
    ``finish_reason`` and ``block_reason`` (provider documentation, 2026).
    """
    if getattr(message, "stop_reason", None) == "refusal":
        return True
    metadata = _mapping(getattr(message, "response_metadata", None))
    extra = _mapping(getattr(message, "additional_kwargs", None))
    feedback = _mapping(metadata.get("prompt_feedback"))
    return bool(
        metadata.get("stop_reason") == "refusal"
        or metadata.get("finish_reason") == "content_filter"
        or str(metadata.get("finish_reason")) in _BLOCKED_FINISHES
        or feedback.get("block_reason")
        or extra.get("refusal")
        or _has_refusal_part(getattr(message, "content", None))
    )


class NativeRefusalDetector:
    """Answers *refusal* from the provider's own signals; it knows nothing about text."""

    name = "native"
    version = "1"
    kinds = frozenset({SignalKind.REFUSAL})

    def detect(self, message: ObservedMessage) -> Iterable[Signal]:
        """Return yes when the provider says so, and otherwise no opinion."""
        refused = is_native_refusal(message.raw)
        answer = Answer.YES if refused else Answer.UNKNOWN
        return [Signal(SignalKind.REFUSAL, answer, f"{self.name}/{self.version}", 1.0 if refused else None)]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _has_refusal_part(content: Any) -> bool:
    return isinstance(content, list) and any(_mapping(part).get("type") == "refusal" for part in content)
