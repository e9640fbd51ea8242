"""A deterministic reader and watch for tests: a word is a sign, and nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping

from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.reading import Finding, Line, Reading, ReadingCase, failed_reading
from end_conversation_tool._core.records import EvidenceKind, RiskGrade, RiskKind, UnmetCode
from end_conversation_tool.watch import RiskWatch, Sighting

__all__ = [
    "DOUBT",
    "QUICK",
    "WORDS",
    "BreakableWatcher",
    "KeywordReader",
    "KeywordWatcher",
    "assistant",
    "keyword_watch",
    "user",
]

WORDS: Mapping[str, Mapping[EvidenceKind, str]] = {
    "user": {
        EvidenceKind.ABUSE: "idiot",
        EvidenceKind.HARMFUL_REQUEST: "forge it",
        EvidenceKind.ASKS_TO_END: "end this chat",
        EvidenceKind.CONFIRMS_END: "yes",
    },
    "assistant": {
        EvidenceKind.REFUSAL: "I will not",
        EvidenceKind.REDIRECTION: "instead",
        EvidenceKind.WARNING: "may end this chat",
    },
}
RISKS = {"kill myself": RiskKind.SELF_HARM, "hurt them": RiskKind.VIOLENCE}
DOUBT = "so tired"
"""What may be a sign of risk, and may be none."""

QUICK = EndConversationPolicy(name="quick", require_notice=False)
"""The default policy, but a warning in the model's own words does in place of the notice: an end takes one request."""


class KeywordReader:
    """Finds its words, and quotes them; an utter yes alone confirms. Remembers what it was asked.

    Attributes:
        asked: The cases, in order.
        fails: Why it cannot read; ``None`` when it can.
    """

    source = "keywords/1"

    def __init__(self, fails: UnmetCode | None = None) -> None:
        self.asked: list[ReadingCase] = []
        self.fails = fails

    def read(self, case: ReadingCase) -> Reading:
        self.asked.append(case)
        if self.fails is not None:
            return failed_reading(self.source, self.fails)
        findings = [finding for line in case.lines for finding in _found(line)]
        risky = [finding for finding in findings if finding.kind is EvidenceKind.RISK]
        clear = any(finding.quote in RISKS for finding in risky)
        grade = RiskGrade.CLEAR if clear else RiskGrade.POSSIBLE if risky else RiskGrade.NONE
        return Reading(self.source, tuple(findings), grade)

    async def aread(self, case: ReadingCase) -> Reading:
        return self.read(case)


def _found(line: Line) -> list[Finding]:
    found = [
        Finding(kind, line.label, word)
        for kind, word in WORDS.get(line.role, {}).items()
        if word in line.text and (kind is not EvidenceKind.CONFIRMS_END or line.text.strip() == word)
    ]
    return found + [Finding(EvidenceKind.RISK, line.label, word) for word in (*RISKS, DOUBT) if word in line.text]


class KeywordWatcher:
    """Sees its words."""

    name = "keywords"
    version = "1"

    def look(self, text: str) -> Sighting:
        kinds = tuple(kind for word, kind in RISKS.items() if word in text)
        source = f"{self.name}/{self.version}"
        if kinds:
            return Sighting(RiskGrade.CLEAR, kinds, source, score=0.9)
        return Sighting(RiskGrade.POSSIBLE if DOUBT in text else RiskGrade.NONE, (), source)


class BreakableWatcher(KeywordWatcher):
    """Raises for messages that hold one of ``broken_for``; an empty string breaks it for all."""

    name = "breakable"

    def __init__(self, *broken_for: str) -> None:
        self.broken_for = broken_for

    def look(self, text: str) -> Sighting:
        if any(word in text for word in self.broken_for):
            raise RuntimeError("broken")
        return super().look(text)


def keyword_watch() -> RiskWatch:
    return RiskWatch([KeywordWatcher()])


def user(text: str, message_id: str = "u") -> ObservedMessage:
    return ObservedMessage("user", text, message_id)


def assistant(text: str, message_id: str = "a") -> ObservedMessage:
    return ObservedMessage("assistant", text, message_id)
