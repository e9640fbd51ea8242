"""The records of the experiment in memory: the functions that ``jobs.Job`` names. Called under the registry's lock."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from end_conversation_tool._core.operations import (
    Appeal,
    AppealStatus,
    BreakerLimits,
    BreakerState,
    Counted,
    DecisionCount,
    EndCount,
    EventCount,
    Tally,
    ThreadCount,
)
from end_conversation_tool._core.records import DecisionRecord, SealOutcome, ThreadStatus
from end_conversation_tool._core.vocabulary import EventKind, Outcome
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import breaking
from end_conversation_tool.registry.annotations import Noting, Past, appeals_of
from end_conversation_tool.registry.breaking import BREAKER_THREAD, DAY, HOUR, start_of
from end_conversation_tool.registry.erasure import erased_event, erased_id, erased_record, erased_status
from end_conversation_tool.registry.protocol import StoredLedger, ThreadEvent
from end_conversation_tool.registry.transitions import Change, Sealing, event_of
from end_conversation_tool.registry.untouched import untouched

__all__ = [
    "Books",
    "annotate",
    "breaker",
    "count_thread",
    "erase",
    "events_in",
    "open_appeals",
    "reset_breaker",
    "seal_within",
    "tally",
]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class Books:
    """Everything that a registry in memory keeps; records and events by thread, in the order they came."""

    threads: dict[str, ThreadStatus] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    records: dict[str, list[DecisionRecord]] = field(default_factory=dict)
    events: dict[str, list[ThreadEvent]] = field(default_factory=dict)
    ledgers: dict[str, StoredLedger] = field(default_factory=dict)
    counted: dict[str, Counted] = field(default_factory=dict)
    breaker: BreakerState = field(default_factory=BreakerState)
    erased: bool = False

    def status(self, thread_id: str) -> ThreadStatus:
        """Return the state of a thread, an erased one included."""
        known = self.threads.get(thread_id)
        if known is None and self.erased:
            known = self.threads.get(erased_id(thread_id))
            known = known and known.model_copy(update={"thread_id": thread_id})
        return known or untouched(thread_id)

    def of(self, kept: Mapping[str, list[R]], thread_id: str) -> list[R]:
        """Return what is kept of a thread, from before an erasure and from after it."""
        before = kept.get(erased_id(thread_id), []) if self.erased else []
        return [*before, *kept.get(thread_id, [])]

    def add(self, record: DecisionRecord) -> None:
        """Keep a decision."""
        if record.id in self.ids:
            raise InvalidInputError("record.id: expected a new id, got the id of a decision that is kept already")
        self.ids.add(record.id)
        self.records.setdefault(record.thread_id, []).append(record)

    def commit(self, thread_id: str, change: Change[T]) -> T:
        """Keep what a transition makes of a thread."""
        if change.decision is not None:
            self.add(change.decision)
        self.events.setdefault(thread_id, []).extend(change.events)
        self.threads[thread_id] = change.status
        return change.result


def annotate(books: Books, thread_id: str, noting: Noting[T]) -> T:
    """Note something about a thread."""
    decided = books.of(books.records, thread_id)
    past = Past(books.status(thread_id), tuple(books.of(books.events, thread_id)), decided[-1] if decided else None)
    return books.commit(thread_id, noting(past))


def events_in(books: Books, thread_id: str) -> tuple[ThreadEvent, ...]:
    """Return the events kept under an id."""
    return tuple(books.events.get(thread_id, []))


def count_thread(books: Books, thread_id: str, counted: Counted) -> None:
    """Count a thread once."""
    books.counted.setdefault(thread_id, counted)


def open_appeals(books: Books, limit: int) -> tuple[Appeal, ...]:
    """Return the open appeals, oldest first."""
    every = (appeal for kept in books.events.values() for appeal in appeals_of(kept))
    waiting = sorted((known for known in every if known.status is AppealStatus.OPEN), key=lambda known: known.opened_at)
    return tuple(waiting[:limit])


def erase(books: Books, thread_id: str, operator: str, reason: str, now: datetime) -> int:
    """Take words and id out of everything that is kept of a thread."""
    name = erased_id(thread_id)
    decided, happened = books.of(books.records, thread_id), books.of(books.events, thread_id)
    known = thread_id in books.threads or name in books.threads or thread_id in books.ledgers
    if not (decided or happened or known):
        raise InvalidInputError("thread_id: expected a thread that the registry knows, got one that it does not")
    status = erased_status(books.status(thread_id), name)
    event = event_of(status, EventKind.ERASED, now, actor=operator, reason=reason)
    books.records[name] = [erased_record(record, name) for record in decided]
    books.events[name] = [*(erased_event(old, name) for old in happened), event]
    books.threads[name] = status
    if thread_id in books.counted:
        books.counted[name] = books.counted.pop(thread_id)
    books.erased = True
    for kept in (books.records, books.events, books.threads, books.ledgers):
        kept.pop(thread_id, None)
    return len(decided) + len(happened)


def breaker(books: Books) -> BreakerState:
    """Return the state of the circuit breaker."""
    return books.breaker


def reset_breaker(books: Books, event: ThreadEvent) -> BreakerState:
    """Reset the circuit breaker, and return its state before."""
    before, books.breaker = books.breaker, breaking.reset(event.at)
    books.events.setdefault(BREAKER_THREAD, []).append(event)
    return before


def seal_within(books: Books, sealing: Sealing, limits: BreakerLimits) -> SealOutcome:
    """Seal, unless that would be one end too many."""
    now = sealing.now
    sealed = [event.at for kept in books.events.values() for event in kept if event.kind is EventKind.SEALED]
    hour, day = (sum(at >= start_of(window, books.breaker, now) for at in sealed) for window in (HOUR, DAY))
    threads = sum(counted.weight for counted in books.counted.values() if counted.at >= now - DAY)
    state = breaking.tripped(books.breaker, limits, hour=hour, day=day, threads=threads, now=now)
    sealing = replace(sealing, shadow=state.tripped)
    thread_id = sealing.record.thread_id
    outcome = books.commit(thread_id, sealing(books.status(thread_id)))
    if outcome.shadowed and state is not books.breaker:
        books.breaker = state
        books.events.setdefault(BREAKER_THREAD, []).append(breaking.tripped_event(state, now))
        return outcome.model_copy(update={"alarm": True})
    return outcome


def tally(books: Books, since: datetime, until: datetime) -> Tally:
    """Count what happened in a period."""
    decided = [
        (thread, record)
        for thread, records in books.records.items()
        for record in records
        if since <= record.decided_at < until
    ]
    happened = Counter(
        (event.kind, _counted_subject(event), event.policy_version, event.model)
        for kept in books.events.values()
        for event in kept
        if since <= event.at < until
    )
    counted: dict[tuple[str, str | None], float] = defaultdict(float)
    for known in books.counted.values():
        if since <= known.at < until:
            counted[known.policy, known.model] += known.weight
    by_origin: dict[tuple[str, str | None], list[tuple[str, DecisionRecord]]] = defaultdict(list)
    for thread, record in decided:
        by_origin[record.decision.policy_version, record.model].append((thread, record))
    threads = tuple(
        _threads(by_origin.get(origin, []), *origin, counted[origin]) for origin in {**by_origin, **counted}
    )
    return Tally(
        decisions=tuple(alike._replace(number=number) for alike, number in Counter(map(_alike, decided)).items()),
        ends=_ends(by_origin),
        events=tuple(EventCount(*alike, count) for alike, count in happened.items()),
        threads=threads,
        total=_threads(decided, None, None, sum(counted.values())),
    )


def _counted_subject(event: ThreadEvent) -> str | None:
    """Return the subject, but for events in which it is an id: there are as many of those as there are threads."""
    return None if event.kind in {EventKind.BRANCH_OPENED, EventKind.COPIED} else event.subject


def _alike(row: tuple[str, DecisionRecord]) -> DecisionCount:
    record = row[1]
    return DecisionCount(
        policy=record.decision.policy_version,
        model=record.model,
        mode=record.mode,
        outcome=record.outcome,
        category=record.category,
        unmet=record.decision.unmet,
        risk=record.risk_kinds,
        breaker=record.breaker_tripped,
        number=1,
    )


def _ends(
    by_origin: Mapping[tuple[str, str | None], Iterable[tuple[str, DecisionRecord]]],
) -> tuple[EndCount, ...]:
    first: dict[tuple[str, str | None, Outcome, str], int] = {}
    for origin, rows in by_origin.items():
        for thread, record in rows:
            if record.outcome in {Outcome.SEALED, Outcome.WOULD_HAVE_SEALED}:
                key = (*origin, record.outcome, thread)
                first[key] = min(record.turn, first.get(key, record.turn))
    counts = Counter((policy, model, outcome, turn) for (policy, model, outcome, _), turn in first.items())
    return tuple(EndCount(*alike, count) for alike, count in counts.items())


def _threads(
    rows: Iterable[tuple[str, DecisionRecord]], policy: str | None, model: str | None, counted: float
) -> ThreadCount:
    seen: dict[str, set[Outcome]] = defaultdict(set)
    for thread, record in rows:
        seen[thread].add(record.outcome)
    return ThreadCount(
        policy,
        model,
        deciding=len(seen),
        ended=sum(Outcome.SEALED in outcomes for outcomes in seen.values()),
        would_have_ended=sum(Outcome.WOULD_HAVE_SEALED in outcomes for outcomes in seen.values()),
        counted=counted,
    )
