"""Refusals that the provider itself reports in a field of its message: the surest evidence there is, and free.

The message object is looked at by its attributes only, so nothing needs to be installed. Whoever calls this must pass
messages that a model call returned just now: the same fields on a message from the input prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["is_native_refusal"]

_FILTERED = frozenset({"refusal", "contentfilter", "contentfiltered", "guardrailintervened"})
_UNSAFE = frozenset(
    {"safety", "prohibitedcontent", "blocklist", "spii", "modelarmor", "imagesafety", "imageprohibitedcontent"}
)
_BLOCKED = _UNSAFE | {"other", "jailbreak"}
_TRUE = frozenset({"true"})
_MAPPINGS = (dict, Mapping)

_TABLE: Mapping[str, Sequence[tuple[tuple[str, ...], frozenset[str]]]] = {
    "response_metadata": (
        (("stop_reason",), _FILTERED),  # ChatAnthropic; ChatBedrock
        (("stopReason",), _FILTERED),  # ChatBedrockConverse
        (("messageStop", "stopReason"), _FILTERED),  # the same, streamed, where nothing unwrapped it
        (("finish_reason",), _FILTERED | _UNSAFE),  # OpenAI, Azure; Gemini
        (("incomplete_details", "reason"), _FILTERED),  # OpenAI Responses
        (("is_blocked",), _TRUE),  # Vertex AI
        (("prompt_feedback", "block_reason"), _BLOCKED),  # Gemini
    ),
    "additional_kwargs": ((("stop_reason",), _FILTERED),),  # ChatBedrock
    "stop_reason": (((), _FILTERED),),  # Anthropic SDK
    "stopReason": (((), _FILTERED),),  # Bedrock Converse, as the API answers
    "incomplete_details": ((("reason",), _FILTERED),),  # OpenAI Responses, of the SDK
}
"""Where a provider says so, by the field of its message and the way from there, and by which words: in small letters,
without underscores and an enum's prefix.

Whatever is not named here is no refusal.
"""


def is_native_refusal(raw: Any) -> bool:
    """Whether the provider's own fields on a message, or on the dict that it was dumped to, report a refusal."""
    if raw is None:
        return False
    for field, rows in _TABLE.items():
        value = _get(raw, field)
        for path, words in rows if value else ():
            lacks = path and isinstance(value, dict) and path[0] not in value
            if not lacks and _word(_at(value, path)) in words:
                return True
    return _is_text(_at(raw, ("additional_kwargs", "refusal"))) or _has_refusal_part(_get(raw, "content"))


def _at(raw: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        raw = _get(raw, name)
    return raw


def _get(raw: Any, name: str) -> Any:
    """Read a field of an object, or of the dict that it was dumped to; ``None`` where there is none."""
    return raw.get(name) if isinstance(raw, _MAPPINGS) else getattr(raw, name, None)


def _word(value: Any) -> str:
    """Return a reason as the table has it: of a string, a truth value, an enum's member, or ``FinishReason.SAFETY``."""
    return str(getattr(value, "name", value)).rpartition(".")[2].replace("_", "").lower()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _has_refusal_part(content: Any) -> bool:
    """Whether a list of content parts holds one of type ``refusal``, as OpenAI Responses has it."""
    return isinstance(content, list) and any(_get(part, "type") == "refusal" for part in content)
