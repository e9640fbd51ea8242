"""What a replay shows: plain values."""

from __future__ import annotations

from dataclasses import dataclass

from end_conversation_tool._core.records import (
    Category,
    EvidenceKind,
    JudgeOpinion,
    JudgeReport,
    Outcome,
    RiskFlag,
    UnmetCode,
)

__all__ = ["CallRuling", "FirstPermit", "Judged", "ReplayResult", "TurnMarks"]


@dataclass(frozen=True, slots=True)
class TurnMarks:
    """What one user turn shows.

    Attributes:
        turn: Number of the user turn, from 1.
        kinds: Kinds of evidence.
        doubt: Whether the risk check had no definite answer.
    """

    turn: int
    kinds: tuple[EvidenceKind, ...]
    doubt: bool = False


@dataclass(frozen=True, slots=True)
class FirstPermit:
    """The first turn at which an end would be permitted on one ground."""

    turn: int
    category: Category


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge said of an end at one turn.

    Attributes:
        turn: Number of the user turn.
        category: The ground that it was asked about.
        unmet: Every other condition that does not hold; empty when everything else permits the end.
        report: What it said.
    """

    turn: int
    category: Category
    unmet: tuple[UnmetCode, ...]
    report: JudgeReport

    @property
    def taken_back(self) -> bool:
        """Whether everything else permits the end and the judge prevents it."""
        return not self.unmet and self.report.opinion is not JudgeOpinion.AGREES

    @property
    def alike(self) -> bool | None:
        """Whether the judge and everything else come to the same; ``None`` when the judge failed."""
        if self.report.opinion is JudgeOpinion.FAILED:
            return None
        return (not self.unmet) is (self.report.opinion is JudgeOpinion.AGREES)


@dataclass(frozen=True, slots=True)
class CallRuling:
    """How the gate ruled on a call that the recording contains.

    Attributes:
        turn: Number of the user turn.
        category: The ground; ``None`` when the arguments are malformed.
        outcome: What became of it.
        unmet: Every condition that does not hold.
        judge: What the judge said, where it was asked.
    """

    turn: int
    category: Category | None
    outcome: Outcome
    unmet: tuple[UnmetCode, ...]
    judge: JudgeReport | None = None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What a replay shows.

    Attributes:
        turns: User turns that were replayed.
        evidence: The turns that show something.
        risk_flags: The flags raised, oldest first.
        permits: The first turn on each ground at which everything but the judge permits an end, earliest first.
        calls: The recording's own calls.
        ended: Whether one of those was honoured (in shadow mode: would have been).
        not_replayed: Messages after the honoured call.
        judged: What the judge said; ``None`` when it was not asked.
    """

    turns: int
    evidence: tuple[TurnMarks, ...]
    risk_flags: tuple[RiskFlag, ...]
    permits: tuple[FirstPermit, ...]
    calls: tuple[CallRuling, ...]
    ended: bool = False
    not_replayed: int = 0
    judged: Judged | None = None

    @property
    def first_permit(self) -> FirstPermit | None:
        """The earliest turn at which everything but the judge permits an end; ``None`` when nothing ever does."""
        return self.permits[0] if self.permits else None
