"""Ledgers and requests for tests of the policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from end_conversation_tool._core.ledger import Ledger, Mark
from end_conversation_tool._core.policy import EndConversationPolicy, decide
from end_conversation_tool._core.records import Category, Decision, EndRequest, EvidenceKind, RiskAssessment

SAFE = RiskAssessment()
KINDS = {
    "a": EvidenceKind.ABUSE,
    "r": EvidenceKind.REFUSAL,
    "d": EvidenceKind.REDIRECTION,
    "w": EvidenceKind.WARNING,
    "k": EvidenceKind.ASKS_TO_END,
    "q": EvidenceKind.END_QUESTION,
    "y": EvidenceKind.CONFIRMS_END,
    "c": EvidenceKind.REFUSAL_AT_CALL,
}

FULL = "ard ard ardw a"
"""Everything that the default policy needs but the confirming call: a turn each, letters as in ``KINDS``."""

ASKED = "k q y"
ASKED_IN_TWO_TURNS = "kq y"
"""The user asks and is questioned within one turn, and says yes in the next."""


def ledger_of(turns: str | Iterable[str], *, pending: Category | None = None, calls: int = 1) -> Ledger:
    """Build a ledger from one word per turn; ``-`` shows nothing, ``?`` is a doubt, ``~`` a faint sign."""
    ledger = Ledger()
    for number, letters in enumerate(turns.split() if isinstance(turns, str) else turns, start=1):
        ledger = ledger.begin_turn(f"u{number}", f"digest{number}")
        for letter in letters:
            if letter == "?":
                ledger = ledger.mark_doubt()
            elif letter == "~":
                ledger = ledger.mark_faint()
            elif letter != "-":
                ledger = ledger.mark(KINDS[letter], Mark(f"m{number}{letter}", "test/1"))
    for _ in range(calls if pending is not None else 0):
        ledger = ledger.count_call(pending)  # type: ignore[arg-type]
    return ledger


def request(category: Category | str = Category.ABUSE) -> EndRequest:
    return EndRequest(category=Category(category), reason="why")


def ruling(
    turns: str | Ledger = FULL,
    category: Category | None = Category.ABUSE,
    *,
    pending: int = 1,
    policy: EndConversationPolicy | None = None,
    risk: RiskAssessment = SAFE,
    **surroundings: Any,
) -> Decision:
    """Decide on a case in which everything holds but what a test takes away."""
    ledger = turns if isinstance(turns, Ledger) else ledger_of(turns, pending=category, calls=pending)
    asked = None if category is None else request(category)
    return decide(policy or EndConversationPolicy(), ledger, asked, risk=risk, **surroundings)


def denied_ledger(denials: int) -> Ledger:
    ledger = ledger_of(FULL)
    for _ in range(denials):
        ledger = ledger.count_denial()
    return ledger.count_call(Category.ABUSE)
