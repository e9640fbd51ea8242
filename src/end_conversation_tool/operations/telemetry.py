"""One structured event for each decision, refusal, alarm and violation, for whoever listens. Never a user's words.

A decision's event is named for what came of it, so that a host can act on the name alone:

=====================  ====================================================================
name                   when
=====================  ====================================================================
``sealed``             the conversation has ended
``notice_given``       the user has been given notice
``denied_for_risk``    an end was asked for, and somebody may be at risk
``decision``           any other decision: a denial, or one of shadow mode
``risk_flagged``       a risk flag was raised
``appealed``           a user objects to an end
``refusal``            a run was not let into its thread
``violation``          the assistant warned somebody who may be at risk
``alarm``              the circuit breaker has tripped
=====================  ====================================================================

A *sink* takes events: logging, LangGraph's custom stream, LangChain's custom events (and so ``astream_events`` and
LangSmith), OpenTelemetry, a webhook, or the host's own. A sink can neither fail nor delay a turn: what it raises is
logged by its type, and the webhook does its work in a thread of its own.

An ordinary turn has no event.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from end_conversation_tool._core.flow import Flow, ask
from end_conversation_tool._core.operations import Appeal
from end_conversation_tool._core.records import DecisionRecord, Outcome, RiskKind, SealOutcome, UnmetCode, new_id
from end_conversation_tool.errors import EndConversationError
from end_conversation_tool.registry.protocol import ThreadEvent

__all__ = [
    "LangChainEventSink",
    "LangGraphStreamSink",
    "LoggingSink",
    "Sink",
    "TelemetryEvent",
    "alarm_event",
    "appeal_event",
    "decision_event",
    "noted_event",
    "refusal_event",
    "risk_event",
    "tell",
]

_log = logging.getLogger(__name__)
_events = logging.getLogger("end_conversation_tool.events")

EVENT_PREFIX = "end_conversation"
"""Every event's name begins with this."""


@dataclass(frozen=True, slots=True)
class TelemetryEvent:
    """One thing that happened.

    Attributes:
        name: ``end_conversation.`` and one of the names above.
        at: UTC.
        thread_id: The thread; ``None`` when the run has none.
        fields: Codes, counts and names: plain JSON.
        id: Unique: the same event, delivered twice, has the same.
    """

    name: str
    at: datetime
    thread_id: str | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_id)

    def as_dict(self) -> dict[str, Any]:
        """Return the event as plain JSON."""
        return {
            "event": self.name,
            "id": self.id,
            "at": self.at.isoformat(),
            "thread_id": self.thread_id,
            **self.fields,
        }


@runtime_checkable
class Sink(Protocol):
    """Takes events, from any thread: runs go on side by side, and the watch of each beside its model."""

    def emit(self, event: TelemetryEvent) -> None:
        """Take an event, from a sync caller. Quick: whatever takes longer belongs into a thread of its own."""
        ...

    async def aemit(self, event: TelemetryEvent) -> None:
        """Async twin of ``emit``."""
        ...


class _PlainSink:
    """A sink that does the same for sync and async callers."""

    def emit(self, event: TelemetryEvent) -> None:
        """Take an event."""
        raise NotImplementedError

    async def aemit(self, event: TelemetryEvent) -> None:
        """Async twin of ``emit``."""
        self.emit(event)


class LoggingSink(_PlainSink):
    """Logs each event on one line, the whole of it as ``extra`` for structured handlers."""

    def emit(self, event: TelemetryEvent) -> None:
        """Log an event: alarms, violations and risk as warnings, all others as information."""
        urgent = event.name.endswith((".alarm", ".violation", ".risk_flagged"))
        _events.log(
            logging.WARNING if urgent else logging.INFO,
            "%s %s",
            event.name,
            event.fields.get("outcome") or event.fields.get("cause") or "",
            extra={EVENT_PREFIX: event.as_dict()},
        )


class LangGraphStreamSink(_PlainSink):
    """Writes each event to the run's stream, for ``stream_mode="custom"``; outside a run it does nothing."""

    def emit(self, event: TelemetryEvent) -> None:
        """Write an event to the stream of the run."""
        from langgraph.config import get_stream_writer  # noqa: PLC0415 - imported by the first event

        try:
            write = get_stream_writer()
        except (RuntimeError, KeyError):
            return
        write({EVENT_PREFIX: event.as_dict()})


class LangChainEventSink:
    """Dispatches each event as a LangChain custom event named as it is. Outside a run it does nothing."""

    def emit(self, event: TelemetryEvent) -> None:
        """Dispatch an event."""
        from langchain_core.callbacks import dispatch_custom_event  # noqa: PLC0415 - imported by the first event

        try:
            dispatch_custom_event(event.name, event.as_dict())
        except RuntimeError:
            return

    async def aemit(self, event: TelemetryEvent) -> None:
        """Async twin of ``emit``."""
        from langchain_core.callbacks import adispatch_custom_event  # noqa: PLC0415 - imported by the first event

        try:
            await adispatch_custom_event(event.name, event.as_dict())
        except RuntimeError:
            return


def tell(sinks: Sequence[Sink], event: TelemetryEvent) -> Flow[None]:
    """Hand an event to every sink; what one of them raises is logged."""
    for sink in sinks:
        try:
            yield from ask(sink.emit, sink.aemit, event)
        except Exception as error:  # noqa: BLE001 - whoever listens cannot fail a turn
            _log.warning("a sink failed, the event is lost to it: %s: %s", type(sink).__name__, type(error).__name__)


def decision_event(record: DecisionRecord) -> TelemetryEvent:
    """Return the event of a decision."""
    fields = {
        "decision_id": record.id,
        "branch": record.branch,
        "turn": record.turn,
        "category": None if record.category is None else str(record.category),
        "verdict": str(record.decision.verdict),
        "outcome": str(record.outcome),
        "unmet": [str(code) for code in record.decision.unmet],
        "risk_kinds": [str(kind) for kind in record.risk_kinds],
        "mode": str(record.mode),
        "breaker_tripped": record.breaker_tripped,
        "policy_version": record.decision.policy_version,
        "prompt_version": record.prompt_version,
        "model": record.model,
        "decided_by": record.decided_by,
        "evidence": len(record.decision.evidence),
    }
    name = f"{EVENT_PREFIX}.{_name_of(record)}"
    return TelemetryEvent(name, record.decided_at, record.thread_id or None, fields, record.id)


def _name_of(record: DecisionRecord) -> str:
    if record.outcome is Outcome.DENIED and {UnmetCode.RISK_FLAGGED, UnmetCode.RISK_UNCERTAIN} & {
        *record.decision.unmet
    }:
        return "denied_for_risk"
    return {Outcome.SEALED: "sealed", Outcome.NOTICED: "notice_given"}.get(record.outcome, "decision")


def risk_event(thread_id: str | None, kind: RiskKind, source: str, message_id: str, at: datetime) -> TelemetryEvent:
    """Return the event of a risk flag."""
    fields = {"cause": str(kind), "source": source, "message_id": message_id or None}
    return TelemetryEvent(f"{EVENT_PREFIX}.risk_flagged", at, thread_id, fields)


def appeal_event(appeal: Appeal) -> TelemetryEvent:
    """Return the event of an appeal, for a host that has opened one; not what the user wrote."""
    return TelemetryEvent(
        f"{EVENT_PREFIX}.appealed", appeal.opened_at, appeal.thread_id, {"status": str(appeal.status)}
    )


def refusal_event(thread_id: str | None, cause: EndConversationError, at: datetime) -> TelemetryEvent:
    """Return the event of a run that was not let into its thread."""
    return TelemetryEvent(f"{EVENT_PREFIX}.refusal", at, thread_id, {"cause": type(cause).__name__})


def alarm_event(record: DecisionRecord, written: object) -> TelemetryEvent | None:
    """Return the alarm of a circuit breaker that has just tripped; ``None`` when it has not."""
    if not isinstance(written, SealOutcome) or not written.alarm:
        return None
    fields = {"cause": "circuit_breaker_tripped", "policy_version": record.decision.policy_version}
    return TelemetryEvent(f"{EVENT_PREFIX}.alarm", record.decided_at, record.thread_id, fields)


def noted_event(event: ThreadEvent) -> TelemetryEvent:
    """Return the event of something that was noted in the audit trail: a violation."""
    fields = {
        "cause": event.subject,
        "branch": event.branch,
        "policy_version": event.policy_version,
        "model": event.model,
        "message_id": event.evidence.message_id if event.evidence else None,
    }
    return TelemetryEvent(f"{EVENT_PREFIX}.{event.kind}", event.at, event.thread_id, fields)
