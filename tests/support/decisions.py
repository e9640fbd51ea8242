"""Evidence, facts and requests for tests of the policy: one word for each user turn, one letter for each finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from end_conversation_tool._core.evidence import Evidence
from end_conversation_tool._core.policy import EndConversationPolicy, Facts, decide
from end_conversation_tool._core.records import (
    Category,
    Decision,
    EndRequest,
    EvidenceKind,
    EvidenceRecord,
    Notice,
    RiskGrade,
    utc_now,
)

__all__ = ["ASKED", "FULL", "HARMFUL", "KINDS", "LADDERS", "evidence_of", "facts_of", "notice_of", "request", "ruling"]

KINDS = {
    "a": EvidenceKind.ABUSE,
    "h": EvidenceKind.HARMFUL_REQUEST,
    "r": EvidenceKind.REFUSAL,
    "d": EvidenceKind.REDIRECTION,
    "w": EvidenceKind.WARNING,
    "k": EvidenceKind.ASKS_TO_END,
    "y": EvidenceKind.CONFIRMS_END,
}

FULL = "ard ard ar a a"
"""Everything that the default policy needs for abuse, with notice in the fourth turn."""

HARMFUL = "hrd hrd hr h h"
ASKED = "k y"
"""The user asks, gets notice in that turn, and says yes."""

LADDERS = {Category.ABUSE: (FULL, 4), Category.HARMFUL_REQUESTS: (HARMFUL, 4), Category.USER_REQUEST: (ASKED, 1)}
"""For each ground a case in which everything holds, and the turn of the notice."""


def evidence_of(turns: str, *, risk: RiskGrade = RiskGrade.NONE, source: str = "test/1") -> Evidence:
    """Return what a reader has found; ``-`` shows nothing."""
    records = [
        EvidenceRecord(
            kind=KINDS[letter],
            turn=turn,
            message_id=f"{'a' if letter in 'rdw' else 'u'}{turn}",
            source=source,
            quote=f"{letter} in turn {turn}",
        )
        for turn, letters in enumerate(turns.split(), start=1)
        for letter in letters
        if letter != "-"
    ]
    return Evidence(tuple(records), risk, found=len(records))


def facts_of(turns: str, *notices: Notice, **more: Any) -> Facts:
    turn = len(turns.split())
    return Facts(**{"turn": turn, "newest_message": f"u{turn}" if turn else "", "notices": notices, **more})


def notice_of(turn: int, category: Category = Category.ABUSE, *, shadow: bool = False) -> Notice:
    return Notice(id=f"n{turn}", category=category, turn=turn, sequence=0, shadow=shadow, given_at=utc_now())


def request(category: Category | str = Category.ABUSE) -> EndRequest:
    return EndRequest(category=Category(category), reason="why")


def ruling(
    category: Category | None = Category.ABUSE,
    turns: str | None = None,
    *,
    notice: int | None = -1,
    policy: EndConversationPolicy | None = None,
    evidence: Sequence[Evidence] | None = (),
    risk: RiskGrade = RiskGrade.NONE,
    model: str | None = None,
    ruled_out: Sequence[Any] = (),
    **facts: Any,
) -> Decision:
    """Decide on a case in which everything holds but what a test takes away.

    Args:
        category: The ground; ``None`` for malformed arguments.
        turns: What the reader found; by default all that the ground needs.
        notice: The turn of the notice; -1 for the one that goes with the ground, ``None`` for no notice.
        policy: By default the default policy.
        evidence: What the readers found, in place of ``turns``; ``None`` before anybody has read.
        risk: How sure the reader is of a risk.
        model: As for ``decide``.
        ruled_out: As for ``decide``.
        facts: Further facts.
    """
    ground = category or Category.ABUSE
    given, noticed = LADDERS[ground]
    turns = given if turns is None else turns
    at = noticed if notice == -1 else notice
    notices = () if at is None else (notice_of(at, ground),)
    found = [evidence_of(turns, risk=risk)] if evidence is not None and not evidence else evidence
    asked = None if category is None else request(category)
    known = facts_of(turns, **{"notices": notices, **facts})
    return decide(policy or EndConversationPolicy(), known, asked, found, ruled_out=ruled_out, model=model)
