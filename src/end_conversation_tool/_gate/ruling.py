"""Between the gate and the decision: what a request is, what is recorded of it, and what the model is told. Pure."""

from __future__ import annotations

import logging
from datetime import datetime

from end_conversation_tool._core.prompts import PROMPT_VERSION, confirmation_text, denial_text, ended_text, shadow_text
from end_conversation_tool._core.records import (
    Decision,
    DecisionRecord,
    EndRequest,
    JudgeReport,
    RiskAssessment,
    SealOutcome,
    new_id,
)
from end_conversation_tool._core.request import parse_request
from end_conversation_tool._core.run import Reply, Ruling, Visit
from end_conversation_tool._core.statements import Statements, told
from end_conversation_tool._core.vocabulary import Mode, Outcome, UnmetCode, Verdict
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.transitions import shadowed as as_shadow

__all__ = ["conclude", "denied", "not_confirmed", "outcome_of", "record_of", "request_of", "ruled_out"]

_log = logging.getLogger(__name__)


def request_of(reply: Reply) -> EndRequest | None:
    """Read the request; of several calls in one reply the first that is well-formed counts."""
    for call in reply.end_calls:
        try:
            return parse_request(call.arguments)
        except InvalidInputError:
            continue
    return None


def ruled_out(visit: Visit, reply: Reply) -> set[UnmetCode]:
    """Return the conditions that the surroundings fail."""
    context = visit.context
    found = {
        UnmetCode.NO_THREAD_ID: context.thread_id is None,
        UnmetCode.NO_CHECKPOINTER: not context.persisted,
        UnmetCode.REGISTRY_UNAVAILABLE: not context.readable,
        UnmetCode.NOT_MAIN_AGENT: context.nested,
        UnmetCode.REFUSED_REPLY: reply.refused,
    }
    return {code for code, fails in found.items() if fails}


def outcome_of(decision: Decision, mode: Mode) -> Outcome:
    """Return what is to become of a call."""
    if decision.permitted:
        return Outcome.SEALED if mode is Mode.ENFORCE else Outcome.WOULD_HAVE_SEALED
    if decision.unmet == (UnmetCode.CONFIRMATION_CALL_REQUIRED,):
        return Outcome.AWAITING_CONFIRMATION
    return Outcome.DENIED


def denied(record: DecisionRecord, code: UnmetCode) -> DecisionRecord:
    """Return the record as denied after all."""
    unmet = {*record.decision.unmet, code}
    decision = record.decision.model_copy(
        update={"verdict": Verdict.DENY, "unmet": tuple(known for known in UnmetCode if known in unmet)}
    )
    return record.model_copy(update={"decision": decision, "outcome": Outcome.DENIED})


def not_confirmed(record: DecisionRecord) -> DecisionRecord:
    """Return the record of a request that the user, asked by the app, did not confirm."""
    theirs = {UnmetCode.USER_DID_NOT_ASK, UnmetCode.USER_NOT_QUESTIONED}
    unmet = tuple(code for code in record.decision.unmet if code not in theirs)
    decision = record.decision.model_copy(update={"unmet": unmet})
    return denied(record.model_copy(update={"decision": decision}), UnmetCode.USER_DID_NOT_CONFIRM)


def record_of(
    visit: Visit,
    request: EndRequest | None,
    decision: Decision,
    *,
    mode: Mode,
    judge: JudgeReport | None,
    risk: RiskAssessment,
    decided_at: datetime,
    tripped: bool = False,
) -> DecisionRecord:
    """Return the record of a call."""
    return DecisionRecord(
        id=new_id(),
        thread_id=visit.context.thread_id or "",
        branch=visit.branch,
        turn=visit.ledger.turn,
        category=request.category if request else None,
        reason=request.reason if request else "",
        decision=decision,
        outcome=outcome_of(decision, mode),
        mode=mode,
        model=visit.context.model,
        prompt_version=PROMPT_VERSION,
        decided_at=decided_at,
        breaker_tripped=tripped,
        risk_kinds=tuple(sorted(set(risk.flagged))),
        judge=judge,
    )


def worded(record: DecisionRecord, statements: Statements, *, keep_reason: bool) -> DecisionRecord:
    """Return the record with the words that it is to be kept with.

    Args:
        record: The record as decided.
        statements: What the user is to be told, should the end be honoured.
        keep_reason: Whether the model's words are kept.
    """
    changes: dict[str, str] = {} if keep_reason else {"reason": ""}
    if record.decision.permitted and record.category is not None and statements != "en":
        try:
            changes["statement"] = told(statements, record.category)
        except Exception as error:  # noqa: BLE001 - the host's own function; the text of the package is told instead
            _log.error("the statement could not be made, the English text is told: %s", type(error).__name__)
    return record.model_copy(update=changes) if changes else record


def conclude(
    visit: Visit, record: DecisionRecord, sealing: SealOutcome | None, *, max_denials: int
) -> tuple[Visit, Ruling]:
    """Turn what was written into the new ledger and the answer to the model."""
    if sealing is not None and sealing.refusal is not None:
        record = denied(record, sealing.refusal)
    if sealing is not None and sealing.shadowed:
        record = as_shadow(record)
    _log.info("end requested: %s, unmet: %s", record.outcome, ", ".join(record.decision.unmet) or "none")
    if record.outcome is Outcome.SEALED and sealing is not None:
        return visit, Ruling(record, ended_text(), sealing.seal)
    if record.outcome is Outcome.AWAITING_CONFIRMATION and record.category is not None:
        ledger = visit.ledger.count_call(record.category)
        return visit.noting(ledger), Ruling(record, confirmation_text())
    cut_off = visit.ledger.denials >= max_denials
    ledger = visit.ledger.count_denial()
    last = ledger.denials >= max_denials
    shadowed = record.outcome is Outcome.WOULD_HAVE_SEALED
    text = shadow_text() if shadowed else denial_text(record.decision.unmet, last_attempt=last)
    return visit.noting(ledger), Ruling(record, text, cut_off=cut_off)
