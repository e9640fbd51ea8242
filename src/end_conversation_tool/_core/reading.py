"""A transcript as a reader sees it, and what a reader says of it. Plain values.

The transcript holds only what was really said: labels stand for ids, which callers choose; hidden reasoning, texts of
this package and a library's error texts are no part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from end_conversation_tool._core.messages import Role
from end_conversation_tool._core.vocabulary import EvidenceKind, RiskGrade, UnmetCode

__all__ = ["Finding", "Line", "Reading", "ReadingCase", "Usage", "failed_reading"]


class Usage(NamedTuple):
    """Tokens that a reading cost; see ``ReadingReport`` for what each counts."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """Return the sum of both."""
        return Usage(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Line:
    """One message of the transcript.

    Attributes:
        label: A short name such as ``m3``.
        role: Who speaks.
        text: What was said, as the user sees it.
        message_id: The id, for us; no reader shows it to a model.
        turn: Number of the user turn that it belongs to, from 1; 0 where nobody was there to count it, so that it is no
            evidence, whatever it shows. It still shows risk.
    """

    label: str
    role: Role
    text: str
    message_id: str
    turn: int = 0


@dataclass(frozen=True, slots=True)
class ReadingCase:
    """What a reader is asked about: the whole transcript, oldest first. The ground of the request is not told."""

    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a message shows.

    Attributes:
        kind: What it shows.
        label: Label of the message.
        quote: The words that show it, exactly as they stand there.
    """

    kind: EvidenceKind
    label: str
    quote: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader says of a transcript.

    Attributes:
        source: Reader and version, as ``name/version``.
        findings: What it found.
        risk: How sure it is that somebody may be at risk.
        failure: Why it could not read; ``None`` when it could.
        detail: What failed, such as the name of an exception. Never user text.
        usage: What it cost.
        seconds: How long it took.
        parts: The readings that this one is made of, where several readers read; each must find enough by itself.
    """

    source: str
    findings: tuple[Finding, ...] = ()
    risk: RiskGrade = RiskGrade.NONE
    failure: UnmetCode | None = None
    detail: str = ""
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    parts: tuple[Reading, ...] = field(default=())


def failed_reading(
    source: str, failure: UnmetCode, detail: str = "", usage: Usage | None = None, seconds: float = 0.0
) -> Reading:
    """Return the reading of a reader that could not read, or whose answer is of no use."""
    return Reading(source, failure=failure, detail=detail, usage=usage or Usage(), seconds=seconds)
