"""Between the gate and the decision: what a request is, what is recorded of it, and what it comes to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from end_conversation_tool._core.evidence import Evidence
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.prompts import PROMPT_VERSION, denial_text, ended_text, noticed_text, shadow_text
from end_conversation_tool._core.provenance import NOTICES, OURS
from end_conversation_tool._core.reading import Reading
from end_conversation_tool._core.records import (
    Category,
    Decision,
    DecisionRecord,
    EndRequest,
    NoticeOutcome,
    ReadingReport,
    RiskGrade,
    RiskKind,
    SealOutcome,
    new_id,
    parse_request,
)
from end_conversation_tool._core.run import Reply, Ruling, Run
from end_conversation_tool._core.texts import Texts
from end_conversation_tool._core.vocabulary import Mode, Outcome, UnmetCode, Verdict
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.transitions import shadowed as as_shadow

__all__ = ["conclude", "denied", "outcome_of", "record_of", "report_of", "request_of", "ruled_out"]

_GRADES = list(RiskGrade)


def request_of(reply: Reply) -> EndRequest | None:
    """Read the request; of several calls in one reply the first that is well-formed counts."""
    for call in reply.end_calls:
        try:
            return parse_request(call.arguments)
        except InvalidInputError:
            continue
    return None


def ruled_out(run: Run, reply: Reply) -> set[UnmetCode]:
    """Return the conditions that the surroundings fail."""
    context = run.context
    found = {
        UnmetCode.NO_THREAD_ID: context.thread_id is None,
        UnmetCode.NO_CHECKPOINTER: not context.persisted,
        UnmetCode.REGISTRY_UNAVAILABLE: not context.readable,
        UnmetCode.NOT_MAIN_AGENT: context.nested,
        UnmetCode.REFUSED_REPLY: reply.refused,
    }
    return {code for code, fails in found.items() if fails}


def outcome_of(decision: Decision, mode: Mode) -> Outcome:
    """Return what is to become of a call: an end, the notice before it, or nothing."""
    if decision.permitted:
        return Outcome.SEALED if mode is Mode.ENFORCE else Outcome.WOULD_HAVE_SEALED
    if decision.unmet == (UnmetCode.NOTICE_REQUIRED,):
        return Outcome.NOTICED if mode is Mode.ENFORCE else Outcome.WOULD_HAVE_NOTICED
    return Outcome.DENIED


def denied(record: DecisionRecord, code: UnmetCode) -> DecisionRecord:
    """Return the record as denied after all."""
    unmet = {*record.decision.unmet, code} - {UnmetCode.NOTICE_REQUIRED}
    decision = record.decision.model_copy(
        update={"verdict": Verdict.DENY, "unmet": tuple(known for known in UnmetCode if known in unmet)}
    )
    return record.model_copy(update={"decision": decision, "outcome": Outcome.DENIED})


def report_of(reading: Reading, evidence: Sequence[Evidence]) -> ReadingReport:
    """Return what is recorded of a reading: no words."""
    return ReadingReport(
        source=reading.source,
        risk=max((one.risk for one in evidence), key=_GRADES.index, default=RiskGrade.NONE),
        failure=str(reading.failure or ""),
        detail=reading.detail,
        found=sum(one.found for one in evidence),
        dropped=sum(one.dropped for one in evidence),
        seconds=reading.seconds,
        **reading.usage._asdict(),
    )


def record_of(
    run: Run,
    request: EndRequest | None,
    decision: Decision,
    *,
    turn: int,
    mode: Mode,
    texts: Texts,
    flagged: Sequence[RiskKind],
    reading: ReadingReport | None,
    decided_at: datetime,
    tripped: bool = False,
    keep_words: bool = True,
    reviewed: bool = False,
) -> DecisionRecord:
    """Return the record of a call.

    Args:
        run: The run.
        request: What the model asked for; ``None`` when its arguments were malformed.
        decision: The decision.
        turn: Number of the user turn.
        mode: The mode it was decided in.
        texts: What the user is told, should the end be honoured.
        flagged: Kinds of risk that are known.
        reading: What became of the reading.
        decided_at: UTC.
        tripped: Whether a circuit breaker had turned enforcement into shadow mode.
        keep_words: Whether the model's reason and the quotes, which are the user's words, are kept.
        reviewed: Whether a reviewer has approved the end.
    """
    if not keep_words:
        evidence = tuple(one.model_copy(update={"quote": ""}) for one in decision.evidence)
        decision = decision.model_copy(update={"evidence": evidence})
    category = request.category if request else None
    told = texts.statement(category, reviewed=reviewed) if decision.permitted and category is not None else None
    return DecisionRecord(
        id=new_id(),
        thread_id=run.context.thread_id or "",
        branch=run.branch,
        turn=turn,
        category=category,
        reason=request.reason if request and keep_words else "",
        decision=decision,
        outcome=outcome_of(decision, mode),
        mode=mode,
        model=run.context.model,
        prompt_version=PROMPT_VERSION,
        decided_at=decided_at,
        breaker_tripped=tripped,
        risk_kinds=tuple(sorted(set(flagged))),
        statement=told,
        reading=reading,
    )


def conclude(
    run: Run,
    reply: Reply,
    record: DecisionRecord,
    written: SealOutcome | NoticeOutcome | None,
    *,
    max_denials: int,
    texts: Texts,
    key: bytes,
) -> tuple[Run, Ruling]:
    """Turn what was written into the answer to the model and the last word to the user."""
    if written is not None and written.refusal is not None:
        record = denied(record, written.refusal)
    if isinstance(written, SealOutcome) and written.shadowed:
        record = as_shadow(record)
    seal = written.seal if isinstance(written, SealOutcome) and record.outcome is Outcome.SEALED else None
    denials, closing, mark = run.provenance.denials, "", OURS
    if seal is not None:
        text, closing = ended_text(), seal.record.statement or texts.statement(record.category or Category.ABUSE)
    elif record.outcome is Outcome.NOTICED and record.category is not None:
        text, closing, mark = noticed_text(), texts.notice(record.category), NOTICES[record.category]
    else:
        cut_off = denials >= max_denials
        denials += 1
        shadow = record.outcome in (Outcome.WOULD_HAVE_SEALED, Outcome.WOULD_HAVE_NOTICED)
        last = denials >= max_denials
        text = shadow_text() if shadow else denial_text(record.decision.unmet, last_attempt=last)
        closing = texts.still_here if cut_off else ""
    known = run.provenance._replace(denials=denials, asking=None)
    for _ in reply.end_calls:
        known = known.made(OURS, ObservedMessage("tool", text, ""), key)
    if closing:
        known = known.made(mark, ObservedMessage("assistant", closing, ""), key)
    return run._replace(provenance=known), Ruling(record, text, seal, closing)
