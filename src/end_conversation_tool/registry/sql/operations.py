"""The records of the experiment in SQL: the flows that ``jobs.Job`` names, for SQLite and PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, func, select, update

from end_conversation_tool._core.operations import Appeal, BreakerLimits, BreakerState, Counted
from end_conversation_tool._core.records import DecisionRecord, SealOutcome
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.registry import breaking
from end_conversation_tool.registry.annotations import Noting, Past, appeals_of
from end_conversation_tool.registry.breaking import BREAKER_THREAD, DAY, HOUR, start_of
from end_conversation_tool.registry.erasure import erased_event, erased_id, erased_record, erased_status
from end_conversation_tool.registry.protocol import ThreadEvent
from end_conversation_tool.registry.sql.driver import Flow
from end_conversation_tool.registry.sql.queries import (
    change_thread,
    commit,
    insert_unless_there,
    load,
    lock_thread,
    microseconds,
    past_events,
    put_event,
    thread_columns,
)
from end_conversation_tool.registry.sql.schema import counted, decisions, events, ledgers, meta, thread_key, threads
from end_conversation_tool.registry.sql.tally import tally
from end_conversation_tool.registry.transitions import Sealing, event_of

__all__ = [
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

_BREAKER = "breaker"
"""Name of the row of ``ect_meta`` that holds the breaker's state; there is none until it is first used."""


def annotate(dialect: str, thread_id: str, noting: Noting[T]) -> Flow[T]:
    """Note something about a thread, under its lock."""
    before = yield from lock_thread(dialect, thread_id, create=False)
    past = yield from past_events(thread_id)
    mine = decisions.c.thread_key == thread_key(thread_id)
    newest = yield select(decisions.c.record).where(mine).order_by(decisions.c.number.desc()).limit(1)
    latest = load(DecisionRecord, newest[0][0]) if newest else None
    return (yield from commit(dialect, thread_id, before, noting(Past(before, tuple(past), latest))))


def events_in(_: str, thread_id: str) -> Flow[tuple[ThreadEvent, ...]]:
    """Return the events kept under an id."""
    return tuple((yield from past_events(thread_id)))


def count_thread(dialect: str, thread_id: str, known: Counted) -> Flow[None]:
    """Count a thread once."""
    values = {
        "at": microseconds(known.at),
        "policy_version": known.policy,
        "model": known.model,
        "weight": known.weight,
    }
    yield insert_unless_there(dialect, counted, {"thread_key": thread_key(thread_id), **values})


def open_appeals(_: str, limit: int) -> Flow[tuple[Appeal, ...]]:
    """Return the open appeals, oldest first: those after which the thread has no resolution."""
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
        .limit(limit)
    )
    return appeals_of(load(ThreadEvent, row[0]) for row in rows)


def erase(dialect: str, thread_id: str, operator: str, reason: str, now: datetime) -> Flow[int]:
    """Take words and id out of everything that is kept of a thread, in one transaction."""
    key, name = thread_key(thread_id), erased_id(thread_id)
    known = yield select(threads.c.thread_key).where(threads.c.thread_key == key)
    held = yield select(ledgers.c.version).where(ledgers.c.thread_key == key)
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
    yield delete(ledgers).where(ledgers.c.thread_key == key)
    yield put_event(key, event_of(status, EventKind.ERASED, now, actor=operator, reason=reason))
    return len(decided) + len(happened)


def breaker(_: str) -> Flow[BreakerState]:
    """Return the state of the circuit breaker."""
    rows = yield select(meta.c.value).where(meta.c.name == _BREAKER)
    return load(BreakerState, rows[0][0]) if rows else BreakerState()


def reset_breaker(dialect: str, event: ThreadEvent) -> Flow[BreakerState]:
    """Reset the circuit breaker, and return its state before."""
    before = yield from _lock_breaker(dialect)
    yield from _keep_breaker(breaking.reset(event.at), event)
    return before


def seal_within(dialect: str, sealing: Sealing, limits: BreakerLimits) -> Flow[SealOutcome]:
    """Seal, unless that would be one end too many. The breaker is locked first, and the thread after it."""
    before, now = (yield from _lock_breaker(dialect)), sealing.now
    ends: list[int] = []
    for window in (HOUR, DAY):
        recent = events.c.at >= microseconds(start_of(window, before, now))
        rows = yield select(func.count()).select_from(events).where(recent, events.c.kind == EventKind.SEALED.value)
        ends.append(rows[0][0])
    rows = yield select(func.sum(counted.c.weight)).where(counted.c.at >= microseconds(now - DAY))
    state = breaking.tripped(before, limits, hour=ends[0], day=ends[1], threads=rows[0][0] or 0.0, now=now)
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
