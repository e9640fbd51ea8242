"""What is left of a thread's records after an erasure: codes, counts and times, and neither a word nor the thread's id.

The id is replaced by its SHA-256, by which whoever still has the id finds the seal: the thread stays sealed.
"""

from __future__ import annotations

from hashlib import sha256

from end_conversation_tool._core.records import BranchStatus, DecisionRecord, EvidenceRecord, RiskFlag, ThreadStatus
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.registry.protocol import ThreadEvent

ERASED = "erased:"
"""What the name of an erased thread begins with."""


def erased_id(thread_id: str) -> str:
    """Return what stands in the place of an erased id."""
    return f"{ERASED}{sha256(thread_id.encode()).hexdigest()}"


def erased_record(record: DecisionRecord, name: str) -> DecisionRecord:
    """Return a decision without the model's words, which may quote the user, and without those that readers quoted."""
    decision = record.decision
    evidence = tuple(_erased_evidence(known) for known in decision.evidence)
    changes = {"thread_id": name, "reason": "", "decision": decision.model_copy(update={"evidence": evidence})}
    return record.model_copy(update=changes)


def _erased_evidence(evidence: EvidenceRecord) -> EvidenceRecord:
    return evidence.model_copy(update={"quote": ""})


def erased_event(event: ThreadEvent, name: str) -> ThreadEvent:
    """Return an event without anybody's words; who acted as an operator stays, as the audit trail needs it."""
    subject = event.subject
    if event.kind is EventKind.COPIED and subject is not None:
        subject = erased_id(subject)
    if event.kind is EventKind.ATTRIBUTED:
        subject = None
    evidence = None if event.evidence is None else _erased_evidence(event.evidence)
    return event.model_copy(update={"thread_id": name, "reason": "", "subject": subject, "evidence": evidence})


def erased_status(status: ThreadStatus, name: str) -> ThreadStatus:
    """Return a state without anybody's words. It is as sealed, and as much at risk, as it was."""
    return status.model_copy(
        update={
            "thread_id": name,
            "branches": tuple(_erased_branch(branch, name) for branch in status.branches),
            "risk_flags": tuple(_erased_flag(flag) for flag in status.risk_flags),
        }
    )


def _erased_branch(branch: BranchStatus, name: str) -> BranchStatus:
    seal = branch.seal
    if seal is None:
        return branch
    return branch.model_copy(
        update={"seal": seal.model_copy(update={"thread_id": name, "record": erased_record(seal.record, name)})}
    )


def _erased_flag(flag: RiskFlag) -> RiskFlag:
    cleared = None if flag.clear_reason is None else ""
    return flag.model_copy(update={"reason": "", "digest": None, "clear_reason": cleared})
