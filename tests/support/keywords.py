"""Deterministic detectors for tests: a word is a sign, and nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool.watch.base import RISK_KINDS, Answer, DetectorSuite, Signal, SignalKind
from end_conversation_tool.watch.native import NativeRefusalDetector

WORDS = {
    SignalKind.SELF_HARM: "kill myself",
    SignalKind.VIOLENCE: "hurt them",
    SignalKind.ABUSE: "idiot",
    SignalKind.ASKS_TO_END: "end this chat",
    SignalKind.CONFIRMS_END: "yes",
    SignalKind.REFUSAL: "I will not",
    SignalKind.REDIRECTION: "instead",
    SignalKind.WARNING: "may end this chat",
    SignalKind.END_QUESTION: "do you really want",
}
USER_KINDS = RISK_KINDS | {SignalKind.ABUSE, SignalKind.ASKS_TO_END, SignalKind.CONFIRMS_END}
DOUBT = "so tired"
"""Makes the risk kinds answer *don't know*, with a score."""

DOUBT_SCORE = 0.5

FAINT = "not so well"
"""Makes the risk kinds answer a *no* that is not a clear one."""


class KeywordDetector:
    """Says yes where its word occurs."""

    name = "keywords"
    version = "1"

    def __init__(self, kinds: Iterable[SignalKind] = SignalKind) -> None:
        self.kinds = frozenset(kinds)

    def detect(self, message: ObservedMessage) -> Iterable[Signal]:
        wanted = self.kinds & USER_KINDS if message.role == "user" else self.kinds - USER_KINDS
        return [self._signal(kind, message.text) for kind in sorted(wanted)]

    def _signal(self, kind: SignalKind, text: str) -> Signal:
        source = f"{self.name}/{self.version}"
        if WORDS[kind] in text:
            return Signal(kind, Answer.YES, source, 0.9)
        if kind in RISK_KINDS and DOUBT in text:
            return Signal(kind, Answer.UNKNOWN, source, DOUBT_SCORE)
        return Signal(kind, Answer.NO, source, 0.1, faint=kind in RISK_KINDS and FAINT in text)


class BreakableDetector(KeywordDetector):
    """Raises for messages that hold one of ``broken_for``; an empty string breaks it for all."""

    name = "breakable"

    def __init__(self, *broken_for: str, kinds: Iterable[SignalKind] = SignalKind) -> None:
        super().__init__(kinds)
        self.broken_for = broken_for

    def detect(self, message: ObservedMessage) -> Iterable[Signal]:
        if any(word in message.text for word in self.broken_for):
            raise RuntimeError("broken")
        return super().detect(message)


def keyword_suite() -> DetectorSuite:
    return DetectorSuite([KeywordDetector(), NativeRefusalDetector()])


def user(text: str, message_id: str = "u") -> ObservedMessage:
    return ObservedMessage("user", text, message_id)


def assistant(text: str, message_id: str = "a") -> ObservedMessage:
    return ObservedMessage("assistant", text, message_id)
