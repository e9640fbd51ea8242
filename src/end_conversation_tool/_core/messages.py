"""One message as everything inside sees it, whatever framework it came from."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

__all__ = ["ObservedMessage", "Role"]

Role = Literal["user", "assistant", "tool"]


class ObservedMessage(NamedTuple):
    """One message as it was said.

    Attributes:
        role: Who speaks; a tool's result may hold what a person answered it.
        text: What was said, as the user sees it: no hidden reasoning, no tool calls.
        message_id: Id of the message.
        raw: The framework's own message object; may be ``None``.
        media: Whether it has parts besides text, such as images, which nobody here can read.
        summary: Whether it sums up what was said, in place of messages that are gone.
        tool: Name of the tool whose result it is, where that is known.
        beside: What a user has put into it besides text, such as a tool's result: heard, and no behaviour of theirs.
    """

    role: Role
    text: str
    message_id: str
    raw: Any = None
    media: bool = False
    summary: bool = False
    tool: str = ""
    beside: str = ""

    @property
    def heard(self) -> str:
        """All of it that the watch listens to."""
        return f"{self.text}\n{self.beside}" if self.beside else self.text

    def answers(self, asking: Collection[str]) -> bool:
        """Whether it may be the result of one of the tools that ask the user; one that does not say of which may be."""
        return self.role == "tool" and bool(asking) and (not self.tool or self.tool in asking)


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
    }
)
"""Types of parts that are text, or that no user says: a tool's result is not the user's behaviour (R12)."""

_TEXTS = ("text", "input_text", "output_text")


def has_media(content: Any) -> bool:
    """Whether a content has parts that nobody can read as text: images, recordings, films, files."""
    if not isinstance(content, list | tuple):
        return False
    return any(not isinstance(part, str) and _is_unreadable(part) for part in content)


def has_unread(content: Any) -> bool:
    """Whether what a person may have said has parts besides plain text, whatever they are: nobody reads those."""
    if not isinstance(content, list | tuple):
        return False
    return any(not isinstance(part, str) and (_type_of(part) not in _TEXTS or _is_unreadable(part)) for part in content)


def _is_unreadable(part: Any) -> bool:
    kind = _type_of(part)
    if kind in _TEXTS:
        text = part.get("text", "") if isinstance(part, Mapping) else getattr(part, "text", "")
        return not isinstance(text, str)
    return kind not in _NO_MEDIA


def _type_of(part: Any) -> Any:
    return part.get("type", "text") if isinstance(part, Mapping) else getattr(part, "type", "text")


_REASONING = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)


def without_reasoning(text: str) -> str:
    """Return what a user is shown of a reply in which a model thinks aloud between ``<think>`` marks."""
    return _REASONING.sub("", text) if "<" in text else text
