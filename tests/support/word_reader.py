"""A reader and a watcher that see what a message names in capital letters: for tests that script what is found."""

from __future__ import annotations

import re

from end_conversation_tool._core.reading import Finding, Reading, ReadingCase, Usage, failed_reading
from end_conversation_tool._core.vocabulary import EvidenceKind, RiskGrade, RiskKind, UnmetCode
from end_conversation_tool.watch import RiskWatch
from end_conversation_tool.watch.risk import Sighting

WORDS = {
    "user": {
        EvidenceKind.ABUSE: "ABUSE",
        EvidenceKind.HARMFUL_REQUEST: "HARMFUL",
        EvidenceKind.ASKS_TO_END: "GOODBYE",
        EvidenceKind.CONFIRMS_END: "CONFIRMS",
        EvidenceKind.RISK: "DOUBT",
    },
    "assistant": {
        EvidenceKind.REFUSAL: "REFUSES",
        EvidenceKind.REDIRECTION: "OFFERS",
        EvidenceKind.WARNING: "WARNS",
    },
    "tool": {EvidenceKind.RISK: "DOUBT"},
}
"""What shows each kind of evidence; five bytes or more, as a quote must have."""

USAGE = Usage(100, 10)


class WordReader:
    """Reads capital letters. The word FAILS anywhere makes it fail, INVENTS makes it invent quotes.

    Attributes:
        cases: What it was asked about.
    """

    source = "words/1"

    def __init__(self) -> None:
        self.cases: list[ReadingCase] = []

    def read(self, case: ReadingCase) -> Reading:
        self.cases.append(case)
        text = " ".join(line.text for line in case.lines)
        if "FAILS" in text:
            return failed_reading(self.source, UnmetCode.READING_FAILED, "said so", USAGE)
        findings = [
            Finding(kind, line.label, word)
            for line in case.lines
            for kind, word in WORDS[line.role].items()
            if word in line.text
        ]
        if "INVENTS" in text:
            count = len(findings) + 1  # more than a third, each other words
            findings += [Finding(EvidenceKind.ABUSE, "m1", f"nobody said this {number}") for number in range(count)]
        doubtful = any(finding.kind is EvidenceKind.RISK for finding in findings)
        risk = RiskGrade.POSSIBLE if doubtful or "UNEASY" in text else RiskGrade.NONE
        return Reading(self.source, tuple(findings), risk, usage=USAGE, seconds=0.5)

    async def aread(self, case: ReadingCase) -> Reading:
        return self.read(case)


class WordWatcher:
    """Sees SUICIDE for self-harm and KNIFE for violence."""

    name, version = "words", "1"

    def look(self, text: str) -> Sighting:
        kinds = tuple(
            kind
            for kind, word in ((RiskKind.SELF_HARM, "SUICIDE"), (RiskKind.VIOLENCE, "KNIFE"))
            if re.search(word, text)
        )
        return Sighting(RiskGrade.CLEAR if kinds else RiskGrade.NONE, kinds, "words/1")


def word_watch() -> RiskWatch:
    return RiskWatch([WordWatcher()])
