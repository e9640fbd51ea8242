"""One message as everything inside sees it, whatever framework it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ObservedMessage", "Role"]

Role = Literal["user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ObservedMessage:
    """One message as it was said.

    Attributes:
        role: Who speaks; a tool's result may hold what a person answered it.
        text: What was said, as the user sees it: no hidden reasoning, no tool calls.
        message_id: Id of the message.
        raw: The framework's own message object; may be ``None``.
        media: Whether it has parts besides text, such as images, which nobody here can read.
        summary: Whether it sums up what was said, in place of messages that are gone.
    """

    role: Role
    text: str
    message_id: str
    raw: Any = None
    media: bool = False
    summary: bool = False
