"""One part of a recorded message, of whatever provider: text, media, a call, a tool's result, or hidden reasoning.

1. What holds text is text, whatever its type is called.
2. Hidden reasoning is nobody's words and is left out.
3. A tool's result is never the words of the message that carries it (R12).
4. What else a user sent is kept as a part of its own kind, so that a reader knows that it cannot read all.
5. A part that holds words which no rule finds is an error: what a user said is never dropped in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import ToolMessage

from end_conversation_tool.errors import InvalidInputError

__all__ = [
    "CALL_IDS",
    "Gathered",
    "first_of",
    "kind_of",
    "mapping",
    "named",
    "tool_result",
    "unread_words",
    "words_of",
]

TEXT_FIELDS = ("text", "content", "value", "transcript", "Text", "markdown", "output_text", "input_text")
"""Fields of a part that hold its text."""

_REASONING = frozenset(
    {
        "reasoning",
        "reasoning_content",
        "thinking",
        "redacted_thinking",
        "thought",
        "thoughts",
        "think",
        "reasoning_recap",
    }
)
_CALL_TYPES = frozenset(
    {"tool_use", "tool_call", "function_call", "server_tool_use", "mcp_tool_use", "tool_request", "dynamic_tool"}
)
_RESULT_TYPES = frozenset(
    {"tool_result", "tool_return", "tool_call_response", "tool_response", "function_response", "function_result",
     "retry_prompt", "builtin_tool_return", "server_tool_call_response"}
)  # fmt: skip
_CALL_FIELDS = ("toolUse", "functionCall", "function_call", "tool_call", "toolInvocation", "toolRequest", "tool_use")
_RESULT_FIELDS = ("toolResult", "functionResponse", "function_response", "toolResponse", "tool_result")
_MEDIA = ("image", "audio", "video", "file", "document", "media", "pdf", "asset", "blob", "uri", "inline", "attachment")
_SYSTEM = frozenset({"system_prompt", "system_instruction", "user_editable_context", "model_editable_context"})
_SAYS_NOTHING = ("step_", "source_", "data_", "search_result", "cache_point", "cachepoint", "executable_code")

_NOT_WORDS = frozenset(
    {"type", "role", "id", "status", "state", "name", "model", "lang", "language", "locale", "object", "sender",
     "author", "user", "from", "source", "to", "recipient", "channel", "version", "provider", "format", "mime_type",
     "mimetype", "mediatype", "media_type", "contenttype", "content_type", "kind", "part_kind", "timestamp", "ts",
     "date", "time", "event", "sourcetype", "signature", "finish_reason", "stop_reason", "subtype", "username",
     "authorname", "avatar", "team", "agent", "metadata", "additional_kwargs", "response_metadata", "usage", "tags",
     "providermetadata", "provideroptions", "encrypted_content", "cwd", "gitbranch", "block_type", "endpoint"}
)  # fmt: skip
_NOT_WORDS_ENDINGS = (
    "_id",
    "Id",
    "ID",
    "_at",
    "At",
    "_time",
    "Time",
    "_url",
    "Url",
    "URL",
    "uri",
    "uuid",
    "Uuid",
    "hash",
)


@dataclass(slots=True)
class Gathered:
    """What the parts of one message hold.

    Attributes:
        content: Text and media parts, as LangChain has them.
        calls: Calls of tools as recorded, each with the place where it was found; by id.
        results: Results of tools.
        system: Texts that instruct the model, which some libraries put among the parts of a request.
    """

    content: list[dict[str, Any]] = field(default_factory=list)
    calls: dict[str, tuple[Mapping[str, Any], str]] = field(default_factory=dict)
    results: list[ToolMessage] = field(default_factory=list)
    system: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text found so far."""
        return "\n".join(part.get("text") or part.get("refusal") or "" for part in self.content)

    def add(self, value: Any, place: str, *, strict: bool) -> None:
        """Read content: a string, one part, or a list of parts.

        Args:
            value: The content.
            place: What to call it in errors.
            strict: Whether words that no rule finds are an error: so it is for what users send.

        Raises:
            InvalidInputError: It is no content.
        """
        if isinstance(value, dict) and isinstance(value.get("parts"), list) and kind_of(value) not in _SYSTEM:
            if kind_of(value) in _REASONING:
                return
            value, place = value["parts"], f"{place}.parts"
        if isinstance(value, list):
            for index, part in enumerate(value):
                self._add_part(part, f"{place}[{index}]", strict=strict)
        elif isinstance(value, (str, dict)):
            self._add_part(value, place, strict=strict)
        else:
            raise InvalidInputError(f"{place}: expected a str or a list of parts, got {type(value).__name__}")

    def _add_part(self, part: Any, place: str, *, strict: bool) -> None:
        if isinstance(part, str):
            self._say(part)
            return
        if not isinstance(part, dict):
            raise InvalidInputError(f"{place}: expected a str or object, got {type(part).__name__}")
        kind = kind_of(part)
        if kind in _REASONING or part.get("thought") is True or "reasoningContent" in part or "thinking" in part:
            return
        if kind in _SYSTEM:
            self.system.append(words_of(part))
        elif not self._add_use_of_tool(part, kind, place):
            self._add_said(part, kind, place, strict=strict)

    def _add_use_of_tool(self, part: Mapping[str, Any], kind: str, place: str) -> bool:
        result = first_of(part, _RESULT_FIELDS)
        if isinstance(result, dict) or kind in _RESULT_TYPES or kind.endswith("_tool_result"):
            self.results.append(tool_result(result if isinstance(result, dict) else part))
            return True
        inner = first_of(part, _CALL_FIELDS)
        call = inner if isinstance(inner, dict) else part
        if call is part and kind not in _CALL_TYPES and not (kind.startswith("tool_") and "toolCallId" in part):
            return False
        if kind.startswith("tool_") and "toolCallId" in part and named(call) is None:
            call = {**part, "name": str(part["type"]).partition("-")[2]}
        self.calls.setdefault(named(call, CALL_IDS) or place, (call, place))
        if any(call.get(name) is not None for name in ("output", "result", "errorText")):
            self.results.append(tool_result(call))
        return True

    def _add_said(self, part: Mapping[str, Any], kind: str, place: str, *, strict: bool) -> None:
        if isinstance(part.get("refusal"), str):
            self.content.append({"type": "refusal", "refusal": part["refusal"]})
            return
        is_media = any(word in (kind or " ".join(part).lower()) for word in _MEDIA)
        if is_media:
            said = first_of(part, ("transcript", "text"))
            self._say(said if isinstance(said, str) else "")
            if not (isinstance(said, str) and said.strip() and "audio" in kind):
                self.content.append({**part, "type": kind or next(iter(part), "file")})
            return
        text = text_in(part)
        if text is not None:
            self._say(text)
        elif unread := unread_words(part, place):
            if strict:
                raise InvalidInputError(f"{unread}: expected a part whose text can be found, got type {kind or 'none'}")
        elif strict and not kind.startswith(_SAYS_NOTHING) and not _is_blank(part):
            self.content.append({"type": "non_standard", "value": {"type": kind}})

    def _say(self, text: str) -> None:
        if text.strip():
            self.content.append({"type": "text", "text": text})


CALL_IDS = ("id", "call_id", "toolCallId", "tool_call_id", "toolUseId", "tool_use_id", "callId", "ref")
"""Fields of a call, or of its result, that hold the call's id."""


def tool_result(part: Mapping[str, Any]) -> ToolMessage:
    """Read the result of a tool, in any of the shapes."""
    ids = (*CALL_IDS[1:], "id")  # the id of a result may be its own
    value = first_of(part, ("output", "content", "result", "response", "toolResult", "return_value", "parts", "text"))
    return ToolMessage(
        words_of(value), tool_call_id=named(part, ids) or "", name=named(part, ("name", "toolName", "tool_name"))
    )


def words_of(value: Any) -> str:
    """Return the text of anything: its text parts joined by newlines, or else its JSON."""
    if isinstance(value, dict) and (text := text_in(value)) is not None:
        return text
    if isinstance(value, list) and value:
        texts = [part if isinstance(part, str) else text_in(part) for part in value]
        found = [text for text in texts if text is not None]
        if len(found) == len(value):
            return "\n".join(found)
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def text_in(part: Any) -> str | None:
    """Return the text that a part holds, ``None`` when no field of text has any."""
    if not isinstance(part, dict):
        return None
    blank: str | None = None
    for name in TEXT_FIELDS:
        value = part.get(name)
        if isinstance(value, dict):
            value = text_in(value)
        elif isinstance(value, list):
            texts = [item if isinstance(item, str) else text_in(item) for item in value]
            value = None if None in texts or not texts else "\n".join(text for text in texts if text)
        if isinstance(value, str):
            if value.strip():
                return value
            blank = value
    return blank if unread_words(part, "") is None else None


def unread_words(value: Any, place: str, depth: int = 8) -> str | None:
    """Return the place of the first string in a value that may be somebody's words, and not an id, a name or a date."""
    if isinstance(value, str):
        return place if _may_be_words(value) else None
    pairs: Iterator[tuple[str, Any]] = iter(())
    if isinstance(value, dict):
        pairs = ((f"{place}.{name}", inner) for name, inner in value.items() if not _is_label(str(name)))
    elif isinstance(value, Sequence):
        pairs = ((f"{place}[{index}]", inner) for index, inner in enumerate(value))
    if depth:
        return next((found for where, inner in pairs if (found := unread_words(inner, where, depth - 1))), None)
    return place if any(True for _ in pairs) else None


def _is_label(name: str) -> bool:
    return name.lower() in _NOT_WORDS or name.endswith(_NOT_WORDS_ENDINGS)


def _may_be_words(text: str) -> bool:
    text = text.strip()
    if not any(letter.isalpha() for letter in text) or "://" in text or text.startswith("data:"):
        return False
    return " " in text or "\n" in text or not text.isascii() or text.strip(".,!?'\"").isalpha()


def _is_blank(part: Mapping[str, Any]) -> bool:
    """Whether a part has a field of text, and nothing in it."""
    return any(isinstance(part.get(name), str) and not part[name].strip() for name in TEXT_FIELDS)


def kind_of(part: Mapping[str, Any]) -> str:
    """Return what a part calls itself, in lower case with underscores; empty when it does not say."""
    name = named(part, ("type", "content_type", "part_kind", "block_type", "$type", "kind"))
    return (name or "").lower().replace("-", "_")


def named(fields: Mapping[str, Any], names: Sequence[str] = ("name", "toolName", "tool_name")) -> str | None:
    """Return the first of these fields that is a string with something in it."""
    return next((value for name in names if isinstance(value := fields.get(name), str) and value), None)


def first_of(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the first of these fields that is there and not null."""
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is an object, an empty one otherwise."""
    return value if isinstance(value, dict) else {}
