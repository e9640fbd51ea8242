"""What SQLite and PostgreSQL do for each operation: flows, alike for both.

A flow that writes runs in one transaction, and takes the thread's row lock before it looks at the thread: so a flag
that is committed first vetoes every seal, and a seal that is committed first stands.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from typing import Any, TypeVar

from sqlalchemy import Insert, delete, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from end_conversation_tool._core.operations import Appeal, BreakerState, Feedback, Tally
from end_conversation_tool._core.records import DecisionRecord, SealOutcome, ThreadStatus
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import breaking
from end_conversation_tool.registry import operations as ask
from end_conversation_tool.registry.annotations import Past, appeals_of
from end_conversation_tool.registry.breaking import BREAKER_THREAD, DAY, HOUR, start_of
from end_conversation_tool.registry.checks import check_open
from end_conversation_tool.registry.erasure import erased_event, erased_id, erased_record, erased_status
from end_conversation_tool.registry.listing import ListedThread, microseconds
from end_conversation_tool.registry.protocol import StoredProvenance, ThreadEvent
from end_conversation_tool.registry.sql.driver import Flow
from end_conversation_tool.registry.sql.lists import comments, list_threads, subject_history, threads_of
from end_conversation_tool.registry.sql.schema import counted, decisions, events, meta, provenance, threads
from end_conversation_tool.registry.sql.store import load, load_status, thread_key
from end_conversation_tool.registry.sql.tally import tally
from end_conversation_tool.registry.sql.triggers import TRIGGERS, advisory_key
from end_conversation_tool.registry.subjects import SubjectEntry
from end_conversation_tool.registry.transitions import Change, Copying, Transition, event_of

T = TypeVar("T")

_BREAKER = "breaker"
"""Name of the row of ``ect_meta`` that holds the breaker's state; there is none until it is first used."""


# What flows are made of


def change_thread(dialect: str, thread_id: str, transition: Transition[T]) -> Flow[T]:
    """Lock the thread, run the transition, and write what it makes of it.

    Raises:
        InvalidInputError: The transition refuses its arguments, or a decision of that id is kept already.
        RegistrySchemaError: The state of the thread cannot be read.
    """
    before = yield from lock_thread(dialect, thread_id)
    return (yield from commit(dialect, thread_id, before, transition(before)))


def lock_thread(dialect: str, thread_id: str, *, create: bool = True) -> Flow[ThreadStatus]:
    """Lock the thread until the end of the transaction, and return its state.

    Args:
        dialect: The engine.
        thread_id: The thread.
        create: Whether a thread never heard of gets a row: needed only when its state is to change.
    """
    key = thread_key(thread_id)
    if dialect == "postgresql":
        # The triggers on checkpoints wait for this one: a row lock cannot keep them off a row that is not there yet.
        yield select(func.pg_advisory_xact_lock(advisory_key(key)))
    if create:
        values = {"thread_key": key, **thread_columns(ThreadStatus(thread_id=thread_id))}
        yield insert_unless_there(dialect, threads, values)
    return (yield from read_thread(thread_id, lock=True))


def read_thread(thread_id: str, *, lock: bool = False) -> Flow[ThreadStatus]:
    """Return the state of a thread."""
    found = select(threads.c.state).where(threads.c.thread_key == thread_key(thread_id))
    # FOR UPDATE on PostgreSQL; SQLite ignores it, its transaction has locked the whole file already.
    rows = yield found.with_for_update() if lock else found
    return load_status(thread_id, rows[0][0] if rows else None)


def commit(dialect: str, thread_id: str, before: ThreadStatus, change: Change[T]) -> Flow[T]:
    """Write what became of a thread."""
    key = thread_key(thread_id)
    if change.decision is not None:
        yield from keep_decision(dialect, change.decision)
    for event in change.events:
        yield put_event(key, event)
    if change.status is not before:
        yield update(threads).where(threads.c.thread_key == key).values(**thread_columns(change.status))
    return change.result


def put_event(key: str, event: ThreadEvent) -> Insert:
    """Return the statement that adds a line to the audit trail."""
    return events.insert().values(
        thread_key=key,
        at=microseconds(event.at),
        kind=event.kind.value,
        subject=event.subject,
        policy_version=event.policy_version,
        model=event.model,
        event=event.model_dump_json(),
    )


def keep_decision(dialect: str, record: DecisionRecord) -> Flow[None]:
    """Keep a decision.

    Raises:
        InvalidInputError: One of that id is kept already.
    """
    values = {
        "id": record.id,
        "thread_key": thread_key(record.thread_id),
        "decided_at": microseconds(record.decided_at),
        "outcome": record.outcome.value,
        "category": None if record.category is None else record.category.value,
        "mode": record.mode.value,
        "policy_version": record.decision.policy_version,
        "model": record.model,
        "turn": record.turn,
        "unmet": " ".join(record.decision.unmet),
        "risk": " ".join(record.risk_kinds),
        "breaker": record.breaker_tripped,
        "record": record.model_dump_json(),
    }
    if not (yield insert_unless_there(dialect, decisions, values).returning(decisions.c.number)):
        raise InvalidInputError("record.id: expected a new id, got the id of a decision that is kept already")


def past_events(thread_id: str) -> Flow[tuple[ThreadEvent, ...]]:
    """Return the changes of a thread's state, oldest first."""
    mine = events.c.thread_key == thread_key(thread_id)
    rows = yield select(events.c.event).where(mine).order_by(events.c.number)
    return tuple(load(ThreadEvent, row[0]) for row in rows)


def guard_checkpoints(dialect: str) -> Flow[None]:
    """Put the triggers on the table ``checkpoints`` of this database, unless this version of them is there."""
    triggers = TRIGGERS[dialect]
    if dialect == "postgresql":
        yield text("SELECT pg_advisory_xact_lock(6015379240178)")  # one process after the other
    if not (yield text(triggers.there).bindparams(version=triggers.version)):
        for statement in triggers.statements:
            yield text(statement.replace(":", "\\:"))


def thread_columns(status: ThreadStatus) -> dict[str, object]:
    """Return the columns of a thread's row."""
    return {
        "thread_id": status.thread_id,
        "sequence": status.sequence,
        "branch": status.branch,
        "sealed": status.sealed,
        "at_risk": status.at_risk,
        "state": status.model_dump_json(),
    }


def insert_unless_there(dialect: str, table: object, values: dict[str, object]) -> Insert:
    """Return an INSERT that does nothing where a row of that key exists; both engines spell it alike."""
    if dialect == "postgresql":
        return postgresql.insert(table).values(**values).on_conflict_do_nothing()  # type: ignore[arg-type]
    return sqlite.insert(table).values(**values).on_conflict_do_nothing()  # type: ignore[arg-type]


# The flow of each operation


def flow_of(operation: ask.Operation[T], dialect: str) -> Flow[T]:
    """Return what to run for an operation."""
    flow: Flow[T] = _flow(operation, dialect)
    return flow


@singledispatch
def _flow(operation: ask.Operation[Any], _: str) -> Flow[Any]:
    raise NotImplementedError(type(operation).__name__)


@_flow.register
def _transit(operation: ask.Transit, dialect: str) -> Flow[Any]:  # type: ignore[type-arg]
    return change_thread(dialect, operation.thread_id, operation.transition)


@_flow.register
def _annotate(operation: ask.Annotate, dialect: str) -> Flow[Any]:  # type: ignore[type-arg]
    thread_id = operation.thread_id
    before = yield from lock_thread(dialect, thread_id, create=False)
    past = yield from past_events(thread_id)
    mine = decisions.c.thread_key == thread_key(thread_id)
    newest = yield select(decisions.c.record).where(mine).order_by(decisions.c.number.desc()).limit(1)
    latest = load(DecisionRecord, newest[0][0]) if newest else None
    return (yield from commit(dialect, thread_id, before, operation.annotation(Past(before, past, latest))))


@_flow.register
def _copy_thread(operation: ask.CopyThread, dialect: str) -> Flow[ThreadStatus]:
    source = yield from read_thread(operation.source)
    return (yield from change_thread(dialect, operation.target, Copying(source, operation.seals, operation.now)))


@_flow.register
def _keep_decision(operation: ask.KeepDecision, dialect: str) -> Flow[None]:
    return keep_decision(dialect, operation.record)


@_flow.register
def _count_thread(operation: ask.CountThread, dialect: str) -> Flow[None]:
    known = operation.counted
    yield insert_unless_there(
        dialect,
        counted,
        {
            "thread_key": thread_key(operation.thread_id),
            "at": microseconds(known.at),
            "policy_version": known.policy,
            "model": known.model,
            "weight": known.weight,
        },
    )


@_flow.register
def _save_provenance(operation: ask.SaveProvenance, dialect: str) -> Flow[bool]:
    saved, key = operation.provenance, thread_key(operation.thread_id)
    check_open((yield from read_thread(operation.thread_id, lock=True)))
    values = {"version": saved.version, "body": saved.body}
    if saved.version == 1:
        put = insert_unless_there(dialect, provenance, {"thread_key": key, **values})
        return bool((yield put.returning(provenance.c.version)))
    before = (provenance.c.thread_key == key) & (provenance.c.version == saved.version - 1)
    return bool((yield update(provenance).where(before).values(**values).returning(provenance.c.version)))


@_flow.register
def _load_provenance(operation: ask.LoadProvenance, _: str) -> Flow[StoredProvenance | None]:
    mine = provenance.c.thread_key == thread_key(operation.thread_id)
    rows = yield select(provenance.c.version, provenance.c.body).where(mine)
    return StoredProvenance(rows[0].version, rows[0].body) if rows else None


@_flow.register
def _status(operation: ask.Status, _: str) -> Flow[Any]:  # type: ignore[type-arg]
    return operation.told((yield from read_thread(operation.thread_id)))


@_flow.register
def _events(operation: ask.Events, _: str) -> Flow[Any]:  # type: ignore[type-arg]
    return operation.told((yield from past_events(operation.thread_id)))


@_flow.register
def _decisions(operation: ask.Decisions, _: str) -> Flow[tuple[DecisionRecord, ...]]:
    mine = decisions.c.thread_key == thread_key(operation.thread_id)
    rows = yield select(decisions.c.record).where(mine).order_by(decisions.c.number)
    return tuple(load(DecisionRecord, row[0]) for row in rows)


@_flow.register
def _tally(operation: ask.TallyPeriod, dialect: str) -> Flow[Tally]:
    return tally(dialect, operation.since, operation.until)


@_flow.register
def _open_appeals(operation: ask.OpenAppeals, _: str) -> Flow[tuple[Appeal, ...]]:
    # Those after which the thread has no resolution.
    later = events.alias("later")
    resolved = (
        select(later.c.number)
        .where(later.c.thread_key == events.c.thread_key, later.c.number > events.c.number)
        .where(later.c.kind.in_([EventKind.APPEAL_UPHELD.value, EventKind.APPEAL_REJECTED.value]))
    )
    rows = yield (
        select(events.c.event)
        .where(events.c.kind == EventKind.APPEAL_OPENED.value, ~resolved.exists())
        .order_by(events.c.at, events.c.number)  # as the index has them; by number alone, all events would be read
        .limit(operation.limit)
    )
    return appeals_of(load(ThreadEvent, row[0]) for row in rows)


@_flow.register
def _comments(operation: ask.Comments, _: str) -> Flow[tuple[Feedback, ...]]:
    return comments(operation.since, operation.until, operation.limit)


@_flow.register
def _list_threads(operation: ask.ListThreads, _: str) -> Flow[tuple[ListedThread, ...]]:
    return list_threads(operation.listing)


@_flow.register
def _erase_thread(operation: ask.EraseThread, dialect: str) -> Flow[int]:
    thread_id, key, name = operation.thread_id, thread_key(operation.thread_id), erased_id(operation.thread_id)
    known = yield select(threads.c.thread_key).where(threads.c.thread_key == key)
    held = yield select(provenance.c.version).where(provenance.c.thread_key == key)
    before = yield from lock_thread(dialect, thread_id, create=False)
    decided = yield select(decisions.c.number, decisions.c.record).where(decisions.c.thread_key == key)
    happened = yield select(events.c.number, events.c.event).where(events.c.thread_key == key)
    if not (decided or happened or known or held):
        raise InvalidInputError("thread_id: expected a thread that the registry knows, got one that it does not")
    for row in decided:
        record = erased_record(load(DecisionRecord, row.record), name)
        yield update(decisions).where(decisions.c.number == row.number).values(record=record.model_dump_json())
    for row in happened:
        event = erased_event(load(ThreadEvent, row.event), name)
        values = {"subject": event.subject, "event": event.model_dump_json()}
        yield update(events).where(events.c.number == row.number).values(**values)
    status = erased_status(before, name)
    yield update(threads).where(threads.c.thread_key == key).values(**thread_columns(status))
    yield delete(provenance).where(provenance.c.thread_key == key)
    event = event_of(status, EventKind.ERASED, operation.now, actor=operation.operator, reason=operation.reason)
    yield put_event(key, event)
    return len(decided) + len(happened)


@_flow.register
def _erase_subject(operation: ask.EraseSubject, dialect: str) -> Flow[int]:
    names = yield from threads_of(operation.subject)
    for name in names:
        yield from _erase_thread(ask.EraseThread(name, operation.operator, operation.reason, operation.now), dialect)
    return len(names)


@_flow.register
def _subject_history(operation: ask.SubjectHistory, _: str) -> Flow[tuple[SubjectEntry, ...]]:
    return subject_history(operation.asked)


@_flow.register
def _breaker(_: ask.Breaker, __: str) -> Flow[BreakerState]:
    rows = yield select(meta.c.value).where(meta.c.name == _BREAKER)
    return load(BreakerState, rows[0][0]) if rows else BreakerState()


@_flow.register
def _reset_breaker(operation: ask.ResetBreaker, dialect: str) -> Flow[BreakerState]:
    before = yield from _lock_breaker(dialect)
    yield from _keep_breaker(breaking.reset(operation.event.at), operation.event)
    return before


@_flow.register
def _seal_within(operation: ask.SealWithin, dialect: str) -> Flow[SealOutcome]:
    # The breaker is locked first, and the thread after it.
    before, sealing = (yield from _lock_breaker(dialect)), operation.sealing
    now = sealing.now
    ends: list[int] = []
    for window in (HOUR, DAY):
        recent = events.c.at >= microseconds(start_of(window, before, now))
        rows = yield select(func.count()).select_from(events).where(recent, events.c.kind == EventKind.SEALED.value)
        ends.append(rows[0][0])
    rows = yield select(func.sum(counted.c.weight)).where(counted.c.at >= microseconds(now - DAY))
    state = breaking.tripped(before, operation.limits, hour=ends[0], day=ends[1], threads=rows[0][0] or 0.0, now=now)
    thread_id = sealing.record.thread_id
    outcome = yield from change_thread(dialect, thread_id, replace(sealing, shadow=state.tripped))
    if outcome.shadowed and state is not before:
        yield from _keep_breaker(state, breaking.tripped_event(state, now))
        return outcome.model_copy(update={"alarm": True})
    return outcome


def _lock_breaker(dialect: str) -> Flow[BreakerState]:
    yield insert_unless_there(dialect, meta, {"name": _BREAKER, "value": BreakerState().model_dump_json()})
    rows = yield select(meta.c.value).where(meta.c.name == _BREAKER).with_for_update()
    return load(BreakerState, rows[0][0])


def _keep_breaker(state: BreakerState, event: ThreadEvent) -> Flow[None]:
    yield update(meta).where(meta.c.name == _BREAKER).values(value=state.model_dump_json())
    yield put_event(thread_key(BREAKER_THREAD), event)
