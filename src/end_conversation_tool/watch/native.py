"""Refusals that the provider itself reports: the surest evidence there is, and free.

| provider | where it says so |
|---|---|
| Anthropic SDK | ``message.stop_reason == "refusal"`` |
| ChatAnthropic | ``response_metadata["stop_reason"] == "refusal"`` |
| OpenAI chat | ``additional_kwargs["refusal"]``; ``response_metadata["finish_reason"] == "content_filter"`` |
| OpenAI Responses | a content part of type ``refusal`` |
| Gemini | ``response_metadata["finish_reason"]`` names a safety reason; ``["prompt_feedback"]["block_reason"]`` |

The message object is looked at by its attributes only, so nothing needs to be installed. Whoever calls this must pass
messages that a model call returned just now: the same fields on a message from the input prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

__all__ = ["is_native_refusal"]

_FINISH_REASONS = frozenset(
    {"REFUSAL", "CONTENT_FILTER", "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY"}
)
"""Reasons, upper case and without an enum's prefix, that mean a refusal."""

_NOT_BLOCKED = frozenset({"", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED", "0"})


def is_native_refusal(raw: Any) -> bool:
    """Whether the provider's own fields on a message, or on the dict that it was dumped to, report a refusal."""
    if raw is None:
        return False
    metadata = _mapping(_get(raw, "response_metadata"))
    reasons = (_get(raw, "stop_reason"), metadata.get("stop_reason"), metadata.get("finish_reason"))
    return (
        any(_reason(reason) in _FINISH_REASONS for reason in reasons if reason is not None)
        or _reason(_mapping(metadata.get("prompt_feedback")).get("block_reason")) not in _NOT_BLOCKED
        or _is_text(_mapping(_get(raw, "additional_kwargs")).get("refusal"))
        or _has_refusal_part(_get(raw, "content"))
    )


def _get(raw: Any, name: str) -> Any:
    """Read a field of a message object, or of the dict that it was dumped to."""
    if isinstance(raw, Mapping):
        return raw.get(name)
    extra = getattr(raw, "__pydantic_extra__", raw)
    if (
        extra is not raw
        and name not in (extra or ())
        and name not in raw.__dict__
        and not _declares(raw.__class__, name)
    ):
        return None  # A pydantic model takes its time to say so itself.
    return getattr(raw, name, None)


@lru_cache(maxsize=64)
def _declares(kind: Any, name: str) -> bool:
    """Whether a class has an attribute, such as a property."""
    return hasattr(kind, name)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _reason(value: Any) -> str:
    """Return a reason's name in upper case: of a string, an enum member, or ``FinishReason.SAFETY`` spelled out."""
    if value is None:
        return ""
    return str(getattr(value, "name", value)).rpartition(".")[2].upper()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _has_refusal_part(content: Any) -> bool:
    """Whether a list of content parts holds one of type ``refusal``."""
    return isinstance(content, list) and any(_get(part, "type") == "refusal" for part in content)
