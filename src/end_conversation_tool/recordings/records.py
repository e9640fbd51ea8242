"""What a replay shows: frozen, and plain JSON when dumped, so that a broken run can be taken up again."""

from __future__ import annotations

from pydantic import Field

from end_conversation_tool._core.records import (
    Category,
    EvidenceRecord,
    Outcome,
    ReadingReport,
    Record,
    RiskGrade,
    RiskKind,
    UnmetCode,
)

__all__ = ["Reached", "RecordedCall", "ReplayResult", "SeenRisk"]


class Reached(Record):
    """The first user turn, from 1, at which something would have been done on one ground."""

    turn: int = Field(ge=1)
    category: Category


class SeenRisk(Record):
    """A flag that the watch would have raised.

    Attributes:
        turn: Number of the user turn.
        kind: What the person may be at risk of.
        source: The watcher, as ``name/version``.
    """

    turn: int
    kind: RiskKind
    source: str


class RecordedCall(Record):
    """What would have become of a call that the recording itself holds.

    Attributes:
        turn: Number of the user turn; 0 before the first.
        category: The ground; ``None`` when the arguments are malformed.
        outcome: What would have become of it.
        unmet: Every condition that does not hold.
    """

    turn: int
    category: Category | None
    outcome: Outcome
    unmet: tuple[UnmetCode, ...] = ()


class ReplayResult(Record):
    """What a replay shows of one conversation.

    Attributes:
        turns: User turns.
        notices: Where the user would have been given notice, had the model asked in every turn; earliest first.
        ends: Where the chat would have ended, likewise.
        vetoed: The first turn in which risk alone stands in the way of a notice or an end; ``None`` for none.
        flags: The flags that the watch would have raised, oldest first.
        findings: What the readers found and what passed the check, by turn. They quote the conversation.
        calls: The recording's own calls, up to the one that would have been honoured.
        unread: Why there is no reading to go by; ``None`` where there is one, or where nobody needed to read.
        reading: What became of the reading; ``None`` where nobody read.
    """

    turns: int
    notices: tuple[Reached, ...] = ()
    ends: tuple[Reached, ...] = ()
    vetoed: int | None = None
    flags: tuple[SeenRisk, ...] = ()
    findings: tuple[EvidenceRecord, ...] = ()
    calls: tuple[RecordedCall, ...] = ()
    unread: UnmetCode | None = None
    reading: ReadingReport | None = None

    @property
    def notice(self) -> Reached | None:
        """The first notice; ``None`` when there would be none."""
        return self.notices[0] if self.notices else None

    @property
    def end(self) -> Reached | None:
        """The first end; ``None`` when there would be none."""
        return self.ends[0] if self.ends else None

    @property
    def at_risk(self) -> bool:
        """Whether the watch, or whoever read, saw a sign of risk anywhere."""
        return bool(self.flags) or (self.reading is not None and self.reading.risk is not RiskGrade.NONE)
