"""From what a reader says to what counts: every finding is checked against what was really said.

A finding counts only if all of this holds:

1. The transcript has a message of that label.
2. It was said by the side that the finding is about: refusals, offers and warnings by the assistant, and there by this
   graph's own model; everything else by the user. Risk may show anywhere.
3. The quoted words stand in that message, white space apart, and are more than a syllable.
4. The message belongs to a user turn that was counted.

What fails is dropped and counted. A reading of which much fails has failed: a reader that invents quotes is not to be
believed in the rest either. Doubt about risk needs no proof; it stands as the reader graded it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from end_conversation_tool._core.messages import Role
from end_conversation_tool._core.reading import Finding, Line, Reading, ReadingCase
from end_conversation_tool._core.records import EvidenceKind, EvidenceRecord, RiskGrade

__all__ = ["APP", "PROVIDER", "Evidence", "check_reading", "is_unsound"]

APP = "app"
"""Source of what is no finding but an act of this package."""

PROVIDER = "provider"
"""Source of a refusal that the model's provider reported in a field of its own."""

MIN_QUOTE_BYTES = 5
"""Shortest quote, in bytes, of a longer message: a syllable stands in any message."""

MAX_QUOTE_CHARS = 300
"""Longest quote, in characters, that is kept; a longer one is checked as a whole and kept cut."""

MAX_DROPPED_SHARE = 1 / 3
"""Share of the findings that may fail the check before the reading has failed."""

_SIDES: Mapping[EvidenceKind, Role] = {
    EvidenceKind.REFUSAL: "assistant",
    EvidenceKind.REDIRECTION: "assistant",
    EvidenceKind.WARNING: "assistant",
    EvidenceKind.ABUSE: "user",
    EvidenceKind.HARMFUL_REQUEST: "user",
    EvidenceKind.ASKS_TO_END: "user",
    EvidenceKind.CONFIRMS_END: "user",
}
"""Who must have said what shows it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is left of one reading.

    Attributes:
        records: The findings that passed the check.
        risk: How sure the reader is that somebody may be at risk.
        risk_lines: The messages of users that it quotes for that; those of tools apart.
        found: How many findings there were.
        dropped: How many of them failed the check.
    """

    records: tuple[EvidenceRecord, ...] = ()
    risk: RiskGrade = RiskGrade.NONE
    risk_lines: tuple[Line, ...] = ()
    found: int = 0
    dropped: int = 0


def check_reading(reading: Reading, case: ReadingCase, cleared: Collection[str] = ()) -> Evidence:
    """Check every finding of a reading.

    Args:
        reading: What the reader says.
        case: What it was asked about.
        cleared: Labels of the messages that the host has looked at, and has cleared of risk.
    """
    by_label = {line.label: line for line in case.lines}
    records: dict[tuple[EvidenceKind, str], EvidenceRecord] = {}
    risky: list[Line] = []
    dropped = 0
    findings = tuple(dict.fromkeys(reading.findings))  # what is said twice makes the rest no sounder
    for finding in findings:
        line = by_label.get(finding.label)
        if line is None or not _stands_in(finding, line):
            dropped += 1
        elif finding.kind is EvidenceKind.RISK:
            risky.append(line)
        elif _SIDES.get(finding.kind) != line.role:
            dropped += 1
        elif line.turn:
            records.setdefault((finding.kind, line.label), _record_of(finding, line, reading.source))
    return Evidence(
        records=tuple(records.values()),
        risk=_graded(reading, risky, cleared),
        risk_lines=tuple(line for line in risky if line.role == "user" and line.label not in cleared),
        found=len(findings),
        dropped=dropped,
    )


def _graded(reading: Reading, risky: Sequence[Line], cleared: Collection[str]) -> RiskGrade:
    """Return how sure a reader is: *clear* needs words that show it, and a quoted sign is never *none*.

    Args:
        reading: What the reader says.
        risky: The messages in which it quotes a sign of risk.
        cleared: Labels of the messages that the host has cleared of risk.
    """
    quoted = sum(finding.kind is EvidenceKind.RISK for finding in reading.findings)
    if quoted and len(risky) == quoted and all(line.label in cleared for line in risky):
        return RiskGrade.NONE
    if quoted and reading.risk is RiskGrade.NONE:
        return RiskGrade.POSSIBLE
    return RiskGrade.POSSIBLE if reading.risk is RiskGrade.CLEAR and not risky else reading.risk


def is_unsound(evidence: Evidence) -> bool:
    """Whether so much of a reading failed the check that the rest is not to be believed."""
    return evidence.dropped > evidence.found * MAX_DROPPED_SHARE


def _stands_in(finding: Finding, line: Line) -> bool:
    """Whether the quoted words stand in the message, white space apart, and are more than a syllable."""
    quote, text = " ".join(finding.quote.split()), " ".join(line.text.split())
    return quote in text and (len(quote.encode("utf-8", "surrogatepass")) >= MIN_QUOTE_BYTES or quote == text != "")


def _record_of(finding: Finding, line: Line, source: str) -> EvidenceRecord:
    return EvidenceRecord(
        kind=finding.kind,
        turn=line.turn,
        message_id=line.message_id,
        source=source,
        quote=finding.quote.encode("utf-8", "replace").decode().replace("\x00", "")[:MAX_QUOTE_CHARS],
    )
