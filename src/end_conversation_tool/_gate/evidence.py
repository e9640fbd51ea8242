"""What the gate judges, in plain functions: no I/O, no clock, no framework.

Each takes a ledger and what was just seen, and returns a new ledger, with the risk flags that follow from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from end_conversation_tool._core.ledger import Ledger, Mark, text_digest
from end_conversation_tool._core.messages import ObservedMessage
from end_conversation_tool._core.records import EvidenceKind, RiskAssessment, RiskKind, ThreadStatus
from end_conversation_tool._core.run import FlagRaised, Reply
from end_conversation_tool.watch.base import RISK_KINDS, Answer, DetectorSuite, Signal, SignalKind

__all__ = ["Heard", "assess_risk", "hear_user", "note_reply"]

WEAK_RISK_LIMIT = 2.0
"""Sum of the scores of doubtful messages at which the conversation as a whole counts as at risk: weak signs add up."""

MAX_LINES = 100
"""Lines of a message that are looked at one by one; those beyond are looked at together."""

_SUMMED_UP = "summary"
"""Stands for messages that were summed up before they were heard: no digest, so nothing in the history settles it."""

_RISK_OF_SIGNAL: Mapping[SignalKind, RiskKind] = {
    SignalKind.SELF_HARM: RiskKind.SELF_HARM,
    SignalKind.VIOLENCE: RiskKind.VIOLENCE,
}

_EVIDENCE_OF_SIGNAL: Mapping[SignalKind, EvidenceKind] = {
    SignalKind.ABUSE: EvidenceKind.ABUSE,
    SignalKind.ASKS_TO_END: EvidenceKind.ASKS_TO_END,
    SignalKind.CONFIRMS_END: EvidenceKind.CONFIRMS_END,
    SignalKind.REFUSAL: EvidenceKind.REFUSAL,
    SignalKind.REDIRECTION: EvidenceKind.REDIRECTION,
    SignalKind.WARNING: EvidenceKind.WARNING,
    SignalKind.END_QUESTION: EvidenceKind.END_QUESTION,
}


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of listening."""

    ledger: Ledger
    flags: tuple[FlagRaised, ...] = field(default=())


def hear_user(
    suite: DetectorSuite, ledger: Ledger, messages: Sequence[ObservedMessage], status: ThreadStatus | None = None
) -> Heard:
    """Note the user messages that were not observed yet. However many they are, they are one user turn.

    Of a yes, only one in the newest message counts: one that something was said after may have been taken back.
    In messages that may not count as evidence only risk is looked for.
    """
    if not messages:
        return Heard(ledger)
    nothing_heard = ledger.turn == 0
    own = [message for message in messages if message.evidence]
    newest = own[-1] if own else messages[-1]
    if own:
        ledger = ledger.begin_turn(newest.message_id, text_digest(newest.text))
    cleared = _cleared_messages(status)
    flags: list[FlagRaised] = []
    if nothing_heard and any(message.summary for message in messages):
        ledger = ledger.note_unchecked(_SUMMED_UP)  # it stands for words that nobody looked at
    for message in messages:
        signals = suite.observe(message)
        found = _risk_flags(message, signals, cleared)
        flags += found
        if found and message.message_id not in cleared:
            ledger = ledger.note_flagged(message.message_id, message.text)
        doubts = _doubts(signals)
        if not _looked_at(signals):
            ledger = ledger.note_unchecked(text_digest(message.text))
        if message.evidence:
            if message is not newest:
                signals.pop(SignalKind.CONFIRMS_END, None)
            ledger = _mark_evidence(ledger, message, signals.values())
            ledger = ledger.mark_doubt() if doubts or not suite.checks_risk else ledger
            ledger = ledger.mark_faint() if _is_faint(signals) else ledger
            ledger = _add_weak_risk(ledger, doubts)
    if ledger.weak_risk >= WEAK_RISK_LIMIT:
        flags.append(FlagRaised(RiskKind.CRISIS, "accumulated/1", _flag_id(newest, cleared)))
        ledger = replace(ledger, weak_risk=0.0)
    return Heard(ledger, tuple(flags))


def note_reply(suite: DetectorSuite, ledger: Ledger, reply: Reply) -> Ledger:
    """Note what a model reply shows.

    The message that asks for the end is no evidence for it, with one exception: if it refuses, the user's newest
    message was one to be refused, and so the behaviour persists.
    """
    signals = suite.observe(reply.message)
    if not reply.end_calls:
        return _mark_evidence(ledger.break_row(), reply.message, signals.values())
    refusal = signals.get(SignalKind.REFUSAL)
    if refusal is None or refusal.answer is not Answer.YES:
        return ledger
    return ledger.mark(EvidenceKind.REFUSAL_AT_CALL, _mark_of(reply.message, refusal))


def assess_risk(
    suite: DetectorSuite,
    ledger: Ledger,
    status: ThreadStatus | None,
    history: Sequence[ObservedMessage],
    window: int,
) -> tuple[RiskAssessment, tuple[FlagRaised, ...]]:
    """Look at risk over the whole conversation, when an end is asked for.

    Every user message still there is looked at again, so that a detector that was broken or older at the time cannot
    have hidden anything; one that nobody could look at then, and that is gone now, stays a failed check. A message
    whose flag the host has cleared stays cleared, as long as it is the same text.

    The result of a tool is not the user's behaviour (R12), and raises no flag. But it may be what a person answered: a
    reviewer who rejects a call, a tool that asks the user. A sign of risk in it is a doubt.

    Args:
        suite: The detectors.
        ledger: The branch's ledger.
        status: The registry's view of the thread; ``None`` when there is none.
        history: All messages of the branch, oldest first.
        window: How many of the newest messages an uncertain or a faint answer counts for.

    Returns:
        The assessment, and the flags that are new.
    """
    known = status.risk_flags if status else ()
    cleared = _cleared_messages(status)
    flags: list[FlagRaised] = []
    uncertain: list[bool] = []
    counted: list[tuple[ObservedMessage, bool]] = []
    unchecked = set(ledger.unchecked)
    healthy = suite.checks_risk
    for message in (said for said in history if said.role == "user"):
        unchecked.discard(text_digest(message.text))
        if _is_cleared(message, ledger, cleared):
            continue
        signals = suite.observe(message)
        flags += _risk_flags(message, signals, cleared)
        doubts = _doubts(signals)
        uncertain.append(bool(doubts))
        counted.append((message, _is_faint(signals)))
        healthy = healthy and _looked_at(signals)
    healthy = healthy and not unchecked
    standing = {flag.kind for flag in known if flag.active}
    standing |= {flag.kind for flag in flags} | {kind for kind, _, _ in ledger.unrecorded_risk}
    doubtful = any(uncertain[-window:]) or any(_shows_risk(suite, said) for said in history if said.role == "tool")
    lately = counted[-window:]
    faint = any(faint for _, faint in lately) or any(
        not _is_clear(suite.observe(line)) for message, _ in lately for line in _lines(message)
    )
    assessment = RiskAssessment(flagged=tuple(sorted(standing)), uncertain=doubtful, faint=faint, healthy=healthy)
    return assessment, tuple(flags)


def _cleared_messages(status: ThreadStatus | None) -> frozenset[str]:
    flags = status.risk_flags if status else ()
    return frozenset(flag.message_id for flag in flags if not flag.active and flag.message_id)


def _doubts(signals: Mapping[SignalKind, Signal]) -> list[Signal]:
    return [signals[kind] for kind in RISK_KINDS if kind in signals and signals[kind].answer is Answer.UNKNOWN]


def _is_faint(signals: Mapping[SignalKind, Signal]) -> bool:
    return any(kind in signals and signals[kind].faint for kind in RISK_KINDS)


def _is_clear(signals: Mapping[SignalKind, Signal]) -> bool:
    return not _is_faint(signals) and all(signals[kind].answer is Answer.NO for kind in RISK_KINDS if kind in signals)


def _lines(message: ObservedMessage) -> list[ObservedMessage]:
    """Return a message of several lines line by line: what one line says can drown in what the others say."""
    lines = [line for line in message.text.splitlines() if line.strip()]
    if len(lines) < 2:  # noqa: PLR2004 - a single line was looked at already
        return []
    apart = [*lines[:MAX_LINES], *filter(None, ["\n".join(lines[MAX_LINES:])])]
    return [replace(message, text=line, media=False) for line in apart]


def _add_weak_risk(ledger: Ledger, doubts: Sequence[Signal]) -> Ledger:
    weak = sum(signal.score or 0.0 for signal in doubts)
    return replace(ledger, weak_risk=ledger.weak_risk + weak) if weak else ledger


def _shows_risk(suite: DetectorSuite, message: ObservedMessage) -> bool:
    signals = suite.observe(replace(message, role="user", evidence=False))
    return any(signals[kind].answer is Answer.YES for kind in RISK_KINDS & signals.keys())


def _looked_at(signals: Mapping[SignalKind, Signal]) -> bool:
    """Whether every kind of risk was looked for, with whatever result."""
    return all(kind in signals and not signals[kind].failed for kind in RISK_KINDS)


def _is_cleared(message: ObservedMessage, ledger: Ledger, cleared: Collection[str]) -> bool:
    """Whether the host has cleared a flag of this very text; another text under the same id is another message."""
    message_id, text = message.message_id, message.text
    if not cleared:
        return False
    return _other_id(message) in cleared or (message_id in cleared and ledger.was_flagged(message_id, text))


def _flag_id(message: ObservedMessage, cleared: Collection[str]) -> str:
    """Return the id that a flag of a message is raised under.

    Where a flag of this message id was cleared, and the message is looked at all the same, it is another text under
    the same id: it is flagged under an id of its own, since the registry keeps a cleared message cleared.
    """
    return _other_id(message) if message.message_id in cleared else message.message_id


def _other_id(message: ObservedMessage) -> str:
    return f"{message.message_id}@{text_digest(message.text)}"


def _risk_flags(
    message: ObservedMessage, signals: Mapping[SignalKind, Signal], cleared: Collection[str] = ()
) -> list[FlagRaised]:
    """Return the flags that a message calls for."""
    message_id = _flag_id(message, cleared)
    return [
        FlagRaised(risk, signals[kind].source, message_id, signals[kind].score)
        for kind, risk in _RISK_OF_SIGNAL.items()
        if kind in signals and signals[kind].answer is Answer.YES
    ]


def _mark_evidence(ledger: Ledger, message: ObservedMessage, signals: Iterable[Signal]) -> Ledger:
    for signal in signals:
        kind = _EVIDENCE_OF_SIGNAL.get(signal.kind)
        if kind is not None and signal.answer is Answer.YES:
            ledger = ledger.mark(kind, _mark_of(message, signal))
    return ledger


def _mark_of(message: ObservedMessage, signal: Signal) -> Mark:
    return Mark(message.message_id, signal.source, signal.score)
