"""Whose conversations are on record: threads by the host's own pseudonymous id, and what became of them.

Nothing is decided here, and nobody is blocked: a host sees repeated ends, and decides itself. A thread is given to a
subject by an event, when something is recorded of it anyway; one thread can be of several subjects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from end_conversation_tool._core.records import DecisionRecord
from end_conversation_tool._core.vocabulary import EventKind, Outcome
from end_conversation_tool.registry.protocol import ThreadEvent

__all__ = ["IDENTIFIED", "MAX_SUBJECT_THREADS", "TOLD", "SubjectEntry", "SubjectPeriod", "is_of"]

MAX_SUBJECT_THREADS = 10_000
"""Most threads of one subject that are looked at, the newest first."""

TOLD = (
    EventKind.RISK_RAISED,
    EventKind.RISK_CLEARED,
    EventKind.VIOLATION,
    EventKind.REOPENED,
    EventKind.APPEAL_OPENED,
    EventKind.APPEAL_UPHELD,
    EventKind.APPEAL_REJECTED,
)
"""Events that are told of a subject; ends, notices and denials are told by their decisions."""


IDENTIFIED = (EventKind.BRANCH_OPENED, EventKind.COPIED, EventKind.ATTRIBUTED)
"""Events whose subject is an id: no report groups by it, there are as many as there are threads."""


class SubjectEntry(NamedTuple):
    """One thing that is on record of a subject's threads.

    Attributes:
        at: When, UTC.
        thread_id: The thread.
        what: What became of a request to end, such as ``sealed``, ``noticed`` or ``denied``; or an event, such as
            ``risk_raised`` or ``appeal_opened``.
        about: The ground of a request, or the kind of a risk; ``None`` where there is none.
        actor: Who decided or did it; ``None`` where nobody is named.
    """

    at: datetime
    thread_id: str
    what: Outcome | EventKind
    about: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class SubjectPeriod:
    """What is asked about a subject; see ``ExperimentRegistry.subject_history``."""

    subject: str
    since: datetime | None
    until: datetime | None
    limit: int

    def told(self, decided: Iterable[DecisionRecord], happened: Iterable[ThreadEvent]) -> tuple[SubjectEntry, ...]:
        """Return what is on record of the subject's threads, the newest first.

        Args:
            decided: The decisions on them.
            happened: What happened to them.
        """
        entries = [*map(_decision, decided), *(_event(one) for one in happened if one.kind in TOLD)]
        within = [
            one
            for one in entries
            if (self.since is None or one.at >= self.since) and (self.until is None or one.at < self.until)
        ]
        return tuple(sorted(within, key=lambda one: one.at, reverse=True)[: self.limit])


def is_of(event: ThreadEvent, subject: str) -> bool:
    """Whether an event gives its thread to a subject."""
    return event.kind is EventKind.ATTRIBUTED and event.subject == subject


def _decision(record: DecisionRecord) -> SubjectEntry:
    return SubjectEntry(record.decided_at, record.thread_id, record.outcome, record.category, record.decided_by)


def _event(event: ThreadEvent) -> SubjectEntry:
    about = event.subject if event.kind in {EventKind.RISK_RAISED, EventKind.RISK_CLEARED} else None
    return SubjectEntry(event.at, event.thread_id, event.kind, about, event.actor)
