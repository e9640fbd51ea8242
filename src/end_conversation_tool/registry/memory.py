"""A registry in this process's memory: for tests, demonstrations, and threads that need not outlive the process."""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import singledispatch
from threading import Lock
from typing import Any, TypeVar

from end_conversation_tool._core.operations import (
    Appeal,
    AppealStatus,
    BreakerState,
    Counted,
    DecisionCount,
    EndCount,
    EventCount,
    Feedback,
    Tally,
    ThreadCount,
)
from end_conversation_tool._core.records import DecisionRecord, SealOutcome, ThreadStatus, untouched
from end_conversation_tool._core.vocabulary import EventKind, Outcome
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import breaking
from end_conversation_tool.registry import operations as ask
from end_conversation_tool.registry.annotations import Past, appeals_of, feedback_of
from end_conversation_tool.registry.breaking import BREAKER_THREAD, DAY, HOUR, start_of
from end_conversation_tool.registry.checks import check_open
from end_conversation_tool.registry.erasure import ERASED, erased_event, erased_id, erased_record, erased_status
from end_conversation_tool.registry.listing import ListedThread, Listing, Place, microseconds
from end_conversation_tool.registry.protocol import StoredProvenance, ThreadEvent
from end_conversation_tool.registry.subjects import IDENTIFIED, MAX_SUBJECT_THREADS, SubjectEntry, is_of
from end_conversation_tool.registry.transitions import Change, Copying, event_of

T = TypeVar("T")
R = TypeVar("R")


class InMemorySealRegistry(ask.StoredRegistry):
    """``SealRegistry`` that forgets with the process. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._signing_key = secrets.token_bytes(32)
        self._books = Books()

    @property
    def signing_key(self) -> bytes:
        """32 random bytes."""
        return self._signing_key

    def _read(self, thread_id: str) -> ThreadStatus:
        # No lock: one look into a dict, at an immutable record.
        return self._books.status(thread_id)

    def _do(self, operation: ask.Operation[T]) -> T:
        with self._lock:
            result: T = _perform(operation, self._books)
            return result


@dataclass(slots=True)
class Books:
    """Everything that a registry in memory keeps; records and events by thread, in the order they came."""

    threads: dict[str, ThreadStatus] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    records: dict[str, list[DecisionRecord]] = field(default_factory=dict)
    events: dict[str, list[ThreadEvent]] = field(default_factory=dict)
    provenance: dict[str, StoredProvenance] = field(default_factory=dict)
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


@singledispatch
def _perform(operation: ask.Operation[Any], _: Books) -> Any:
    """Do one operation, under the registry's lock. What is registered is a class, without its type parameter."""
    raise NotImplementedError(type(operation).__name__)


@_perform.register
def _transit(operation: ask.Transit, books: Books) -> Any:  # type: ignore[type-arg]
    return books.commit(operation.thread_id, operation.transition(books.status(operation.thread_id)))


@_perform.register
def _annotate(operation: ask.Annotate, books: Books) -> Any:  # type: ignore[type-arg]
    thread_id = operation.thread_id
    decided, happened = books.of(books.records, thread_id), books.of(books.events, thread_id)
    past = Past(books.status(thread_id), tuple(happened), decided[-1] if decided else None)
    return books.commit(thread_id, operation.annotation(past))


@_perform.register
def _seal_within(operation: ask.SealWithin, books: Books) -> SealOutcome:
    sealing, now = operation.sealing, operation.sealing.now
    sealed = [event.at for kept in books.events.values() for event in kept if event.kind is EventKind.SEALED]
    hour, day = (sum(at >= start_of(window, books.breaker, now) for at in sealed) for window in (HOUR, DAY))
    threads = sum(counted.weight for counted in books.counted.values() if counted.at >= now - DAY)
    state = breaking.tripped(books.breaker, operation.limits, hour=hour, day=day, threads=threads, now=now)
    thread_id = sealing.record.thread_id
    outcome = books.commit(thread_id, replace(sealing, shadow=state.tripped)(books.status(thread_id)))
    if outcome.shadowed and state is not books.breaker:
        books.breaker = state
        books.events.setdefault(BREAKER_THREAD, []).append(breaking.tripped_event(state, now))
        return outcome.model_copy(update={"alarm": True})
    return outcome


@_perform.register
def _copy_thread(operation: ask.CopyThread, books: Books) -> ThreadStatus:
    copying = Copying(books.status(operation.source), operation.seals, operation.now)
    return books.commit(operation.target, copying(books.status(operation.target)))


@_perform.register
def _keep_decision(operation: ask.KeepDecision, books: Books) -> None:
    books.add(operation.record)


@_perform.register
def _count_thread(operation: ask.CountThread, books: Books) -> None:
    books.counted.setdefault(operation.thread_id, operation.counted)


@_perform.register
def _save_provenance(operation: ask.SaveProvenance, books: Books) -> bool:
    check_open(books.status(operation.thread_id))
    standing = books.provenance.get(operation.thread_id)
    if (standing.version if standing else 0) != operation.provenance.version - 1:
        return False
    books.provenance[operation.thread_id] = operation.provenance
    return True


@_perform.register
def _erase_thread(operation: ask.EraseThread, books: Books) -> int:
    thread_id, name = operation.thread_id, erased_id(operation.thread_id)
    decided, happened = books.of(books.records, thread_id), books.of(books.events, thread_id)
    known = thread_id in books.threads or name in books.threads or thread_id in books.provenance
    if not (decided or happened or known):
        raise InvalidInputError("thread_id: expected a thread that the registry knows, got one that it does not")
    status = erased_status(books.status(thread_id), name)
    event = event_of(status, EventKind.ERASED, operation.now, actor=operation.operator, reason=operation.reason)
    books.records[name] = [erased_record(record, name) for record in decided]
    books.events[name] = [*(erased_event(old, name) for old in happened), event]
    books.threads[name] = status
    if thread_id in books.counted:
        books.counted[name] = books.counted.pop(thread_id)
    books.erased = True
    for kept in (books.records, books.events, books.threads, books.provenance):
        kept.pop(thread_id, None)
    return len(decided) + len(happened)


@_perform.register
def _erase_subject(operation: ask.EraseSubject, books: Books) -> int:
    names = _threads_of(operation.subject, books)
    for name in names:
        _perform(ask.EraseThread(name, operation.operator, operation.reason, operation.now), books)
    return len(names)


@_perform.register
def _subject_history(operation: ask.SubjectHistory, books: Books) -> tuple[SubjectEntry, ...]:
    names = _threads_of(operation.asked.subject, books)
    decided = [record for name in names for record in books.of(books.records, name)]
    happened = [event for name in names for event in books.of(books.events, name)]
    return operation.asked.told(decided, happened)


def _threads_of(subject: str, books: Books) -> list[str]:
    """Return the ids of a subject's threads, those that it was given last first."""
    given = ((event.at, name) for name, kept in books.events.items() for event in kept if is_of(event, subject))
    return [name for _, name in sorted(given, reverse=True)[:MAX_SUBJECT_THREADS]]


@_perform.register
def _reset_breaker(operation: ask.ResetBreaker, books: Books) -> BreakerState:
    before, books.breaker = books.breaker, breaking.reset(operation.event.at)
    books.events.setdefault(BREAKER_THREAD, []).append(operation.event)
    return before


@_perform.register
def _status(operation: ask.Status, books: Books) -> Any:  # type: ignore[type-arg]
    return operation.told(books.status(operation.thread_id))


@_perform.register
def _events(operation: ask.Events, books: Books) -> Any:  # type: ignore[type-arg]
    return operation.told(tuple(books.of(books.events, operation.thread_id)))


@_perform.register
def _decisions(operation: ask.Decisions, books: Books) -> tuple[DecisionRecord, ...]:
    return tuple(books.of(books.records, operation.thread_id))


@_perform.register
def _load_provenance(operation: ask.LoadProvenance, books: Books) -> StoredProvenance | None:
    return books.provenance.get(operation.thread_id)


@_perform.register
def _open_appeals(operation: ask.OpenAppeals, books: Books) -> tuple[Appeal, ...]:
    every = (appeal for kept in books.events.values() for appeal in appeals_of(kept))
    waiting = sorted((known for known in every if known.status is AppealStatus.OPEN), key=lambda known: known.opened_at)
    return tuple(waiting[: operation.limit])


@_perform.register
def _comments(operation: ask.Comments, books: Books) -> tuple[Feedback, ...]:
    given = [one for kept in books.events.values() for one in feedback_of(kept) if one.comment]
    begin, end = operation.since, operation.until
    within = [one for one in given if (begin is None or begin <= one.given_at) and (end is None or one.given_at < end)]
    return tuple(sorted(within, key=lambda one: one.given_at, reverse=True)[: operation.limit])


@_perform.register
def _list_threads(operation: ask.ListThreads, books: Books) -> tuple[ListedThread, ...]:
    names = {*books.records, *books.events} - {BREAKER_THREAD}
    by_key = {erased_id(name): name for name in names if not name.startswith(ERASED)}
    gone = {name: name for name in names if name.startswith(ERASED)}
    threads = {**gone, **by_key}.items()  # one that was written about since its erasure is one thread
    if operation.listing.subject is not None:
        mine = set(_threads_of(operation.listing.subject, books))
        threads = {key: name for key, name in threads if name in mine}.items()
    found = (_listed(operation.listing, key.removeprefix(ERASED), name, books) for key, name in threads)
    return operation.listing.page(one for one in found if one is not None)


def _listed(listing: Listing, key: str, name: str, books: Books) -> tuple[Place, ListedThread] | None:
    """Return a thread with its place in the list; ``None`` if it is not one of it."""
    sought = listing.sought
    decided, happened = books.of(books.records, name), books.of(books.events, name)
    found: list[tuple[Any, datetime, str]] = (
        [(record.outcome, record.decided_at, record.thread_id) for record in decided]
        if listing.by_decision
        else [(event.kind, event.at, event.thread_id) for event in happened]
    )
    counting = [one for one in found if one[0] in {*sought.listed, *sought.ended}]
    status, latest = books.status(name), decided[-1] if decided else None
    if not counting or counting[-1][0] in sought.ended:
        return None
    if sought.state is not None and not getattr(status, sought.state):
        return None
    _, at, shown = counting[-1]
    place = Place(microseconds(at), key)
    listed = ListedThread(
        thread_id=shown,
        at=at,
        sealed=status.sealed,
        at_risk=status.at_risk,
        category=latest.category if latest else None,
        policy_version=latest.decision.policy_version if latest else None,
        model=latest.model if latest else None,
        cursor=place.cursor,
    )
    return (place, listed) if listing.wants(place, listed) else None


@_perform.register
def _breaker(_: ask.Breaker, books: Books) -> BreakerState:
    return books.breaker


@_perform.register
def _tally(operation: ask.TallyPeriod, books: Books) -> Tally:
    since, until = operation.since, operation.until
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
    return None if event.kind in IDENTIFIED else event.subject


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
