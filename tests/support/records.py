"""Decision records for tests."""

from __future__ import annotations

from typing import Any

from end_conversation_tool._core.records import (
    Category,
    Decision,
    DecisionRecord,
    EvidenceKind,
    EvidenceRecord,
    Mode,
    Outcome,
    UnmetCode,
    Verdict,
    new_id,
    utc_now,
)

__all__ = ["denial", "notice", "permit"]


def permit(thread_id: str = "thread", **changes: Any) -> DecisionRecord:
    """Return a decision that permits an end."""
    evidence = (EvidenceRecord(kind=EvidenceKind.ABUSE, turn=2, message_id="m2", source="words/1", score=0.75),)
    values: dict[str, Any] = {
        "id": new_id(),
        "thread_id": thread_id,
        "turn": 5,
        "category": Category.ABUSE,
        "reason": "Insults after a warning.",
        "decision": Decision(verdict=Verdict.PERMIT, evidence=evidence, policy_version="policy-1"),
        "outcome": Outcome.SEALED,
        "mode": Mode.ENFORCE,
        "model": "model-1",
        "prompt_version": "prompt-1",
        "decided_at": utc_now(),
    }
    return DecisionRecord(**{**values, **changes})


def denial(thread_id: str = "thread", **changes: Any) -> DecisionRecord:
    """Return a decision that denies an end."""
    decision = Decision(verdict=Verdict.DENY, unmet=(UnmetCode.NO_WARNING,), policy_version="policy-1")
    return permit(thread_id, **{"decision": decision, "outcome": Outcome.DENIED, **changes})


def notice(thread_id: str = "thread", **changes: Any) -> DecisionRecord:
    """Return a decision that leads to a notice: nothing is unmet but the notice itself."""
    decision = permit().decision.model_copy(update={"verdict": Verdict.DENY, "unmet": (UnmetCode.NOTICE_REQUIRED,)})
    return permit(thread_id, **{"decision": decision, "outcome": Outcome.NOTICED, **changes})
