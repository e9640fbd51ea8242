"""One message as everything inside sees it, whatever framework it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ObservedMessage"]


@dataclass(frozen=True, slots=True)
class ObservedMessage:
    """One message as detectors see it.

    Attributes:
        role: Who speaks; a tool's result may hold what a person answered it.
        text: The text of all its parts, tool calls and tool results left out.
        message_id: Id of the message.
        raw: The framework's own message object, for native provider signals; may be ``None``.
        evidence: Whether it may count as evidence against the user, and as their turn: their own words, said just now.
            Risk is looked for in any case.
        media: Whether it has parts besides text, such as images: a suite that cannot read them does not know what they
            show.
        summary: Whether it sums up what was said, in place of messages that are gone.
    """

    role: Literal["user", "assistant", "tool"]
    text: str
    message_id: str
    raw: Any = None
    evidence: bool = True
    media: bool = False
    summary: bool = False
