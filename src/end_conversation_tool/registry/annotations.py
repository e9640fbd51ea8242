"""What is noted about a thread without changing whether it is sealed: pure functions, as in ``transitions``.

Each looks at the past of one thread, and says what to record. They run inside the registry's lock or transaction, so
that of two callers at once one sees what the other did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from end_conversation_tool._core.operations import Appeal, AppealStatus, Feedback
from end_conversation_tool._core.records import DecisionRecord, EvidenceRecord, ThreadStatus
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry.protocol import ThreadEvent
from end_conversation_tool.registry.subjects import is_of
from end_conversation_tool.registry.transitions import Change, Reopening, event_of

MAX_FEEDBACK = 100
"""Most pieces of feedback, most appeals and most subjects of one thread: a user cannot fill the disk."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Past:
    """What the registry knows about a thread.

    Attributes:
        status: Its state.
        events: Everything that happened to it, oldest first.
        latest: The newest decision on it; ``None`` when there is none.
    """

    status: ThreadStatus
    events: tuple[ThreadEvent, ...]
    latest: DecisionRecord | None


Annotation = Callable[[Past], Change[T]]


@dataclass(frozen=True, slots=True)
class NotingViolation:
    """Record that somebody who may be at risk was warned, each message once.

    See ``ExperimentRegistry.note_violation``.
    """

    evidence: EvidenceRecord
    branch: int
    policy: str
    model: str | None
    now: datetime

    def __call__(self, past: Past) -> Change[tuple[ThreadEvent, ...]]:
        """Return what to record: nothing when the same message was recorded before."""
        noted = (event.evidence for event in past.events if event.kind is EventKind.VIOLATION)
        known = {evidence.message_id for evidence in noted if evidence is not None}
        if self.evidence.message_id in known:
            return Change(past.status, ())
        event = event_of(
            past.status,
            EventKind.VIOLATION,
            self.now,
            branch=self.branch,
            subject=self.evidence.kind,
            actor=self.evidence.source,
            evidence=self.evidence,
            policy_version=self.policy or None,
            model=self.model,
        )
        return Change(past.status, (event,), (event,))


@dataclass(frozen=True, slots=True)
class Attributing:
    """Give a thread to a subject; see ``ExperimentRegistry.attribute``."""

    subject: str
    now: datetime

    def __call__(self, past: Past) -> Change[bool]:
        """Return what to record: nothing when it is this subject's already."""
        if any(is_of(event, self.subject) for event in past.events):
            return Change(past.status, result=False)
        _check_room(past, EventKind.ATTRIBUTED)
        event = event_of(past.status, EventKind.ATTRIBUTED, self.now, subject=self.subject)
        return Change(past.status, result=True, events=(event,))


@dataclass(frozen=True, slots=True)
class GivingFeedback:
    """Keep feedback; see ``ExperimentRegistry.give_feedback``."""

    rating: int
    comment: str
    now: datetime

    def __call__(self, past: Past) -> Change[Feedback]:
        """Return what to record."""
        _check_room(past, EventKind.FEEDBACK)
        event = event_of(
            past.status, EventKind.FEEDBACK, self.now, subject=str(self.rating), reason=self.comment, **_origin(past)
        )
        return Change(past.status, feedback_of([event])[0], (event,))


@dataclass(frozen=True, slots=True)
class OpeningAppeal:
    """Open an appeal; see ``ExperimentRegistry.open_appeal``."""

    text: str
    now: datetime

    def __call__(self, past: Past) -> Change[Appeal]:
        """Return what to record."""
        if not past.status.sealed:
            raise InvalidInputError("thread_id: expected a sealed thread, got one that is open")
        if any(known.status is AppealStatus.OPEN for known in appeals_of(past.events)):
            raise InvalidInputError("thread_id: expected a thread without an open appeal, got one that has one")
        _check_room(past, EventKind.APPEAL_OPENED)
        event = event_of(past.status, EventKind.APPEAL_OPENED, self.now, reason=self.text, **_origin(past))
        return Change(past.status, appeals_of([event])[0], (event,))


@dataclass(frozen=True, slots=True)
class ResolvingAppeal:
    """Uphold or reject the open appeal; see ``ExperimentRegistry.resolve_appeal``."""

    upheld: bool
    operator: str
    reason: str
    reopen: bool
    now: datetime

    def __call__(self, past: Past) -> Change[Appeal]:
        """Return what to record, and the reopened thread where that was asked for."""
        if not any(known.status is AppealStatus.OPEN for known in appeals_of(past.events)):
            raise InvalidInputError("thread_id: expected a thread with an open appeal, got one without")
        kind = EventKind.APPEAL_UPHELD if self.upheld else EventKind.APPEAL_REJECTED
        event = event_of(past.status, kind, self.now, actor=self.operator, reason=self.reason, **_origin(past))
        resolved = appeals_of((*past.events, event))[-1]
        if not self.reopen:
            return Change(past.status, resolved, (event,))
        reopened = Reopening(self.operator, self.reason, self.now)(past.status)
        return Change(reopened.status, resolved, (event, *reopened.events))


def feedback_of(events: Iterable[ThreadEvent]) -> tuple[Feedback, ...]:
    """Return the feedback among the events of a thread, in their order."""
    return tuple(
        Feedback(thread_id=event.thread_id, rating=int(event.subject or 0), comment=event.reason, given_at=event.at)
        for event in events
        if event.kind is EventKind.FEEDBACK
    )


def appeals_of(events: Iterable[ThreadEvent]) -> tuple[Appeal, ...]:
    """Return the appeals that the events of a thread, oldest first, tell of. A resolution concerns the newest one."""
    found: list[Appeal] = []
    for event in events:
        if event.kind is EventKind.APPEAL_OPENED:
            found.append(Appeal(thread_id=event.thread_id, text=event.reason, opened_at=event.at))
        elif event.kind in {EventKind.APPEAL_UPHELD, EventKind.APPEAL_REJECTED} and found:
            status = AppealStatus.UPHELD if event.kind is EventKind.APPEAL_UPHELD else AppealStatus.REJECTED
            changes = {
                "status": status,
                "resolved_at": event.at,
                "resolved_by": event.actor,
                "resolution": event.reason,
            }
            found[-1] = found[-1].model_copy(update=changes)
    return tuple(found)


def _check_room(past: Past, kind: EventKind) -> None:
    if sum(event.kind is kind for event in past.events) >= MAX_FEEDBACK:
        raise InvalidInputError(
            f"thread_id: expected a thread with less than {MAX_FEEDBACK} of these, got one with more"
        )


def _origin(past: Past) -> dict[str, Any]:
    """Return under which policy, and with which model, the newest decision on the thread was made."""
    if past.latest is None:
        return {"policy_version": None, "model": None}
    return {"policy_version": past.latest.decision.policy_version, "model": past.latest.model}
