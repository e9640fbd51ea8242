"""How the detector tests ask: one text, one kind, one answer."""

from __future__ import annotations

from typing import Literal

from end_conversation_tool.watch import Answer, ObservedMessage, SignalKind, TextDetector

_DETECTOR = TextDetector()


def ask(text: str, kind: SignalKind, role: Literal["user", "assistant"] = "user") -> Answer:
    """Return what the text detector answers about one kind."""
    signals = _DETECTOR.detect(ObservedMessage(role, text, "m1"))
    return {signal.kind: signal.answer for signal in signals}[kind]
