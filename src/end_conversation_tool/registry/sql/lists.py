"""Lists of threads and of comments, as statements that walk an index from its newest end until they have enough.

What is asked of each row, such as whether a newer one of the same thread counts instead, is a subquery that gives one
value: it is looked up by an index of the thread, where a join could be turned into a scan of a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, or_, select

from end_conversation_tool._core.operations import Feedback
from end_conversation_tool._core.records import DecisionRecord
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.registry.annotations import feedback_of
from end_conversation_tool.registry.listing import ListedThread, Listing, Place, microseconds
from end_conversation_tool.registry.protocol import ThreadEvent
from end_conversation_tool.registry.sql.driver import Flow
from end_conversation_tool.registry.sql.schema import ATTRIBUTION, decisions, events, threads
from end_conversation_tool.registry.sql.store import load, thread_key
from end_conversation_tool.registry.subjects import MAX_SUBJECT_THREADS, TOLD, SubjectEntry, SubjectPeriod

_NO_WORDS = '%"reason":""%'
"""How an event without words is stored; a quotation mark in somebody's words is stored as ``\\"``."""


def list_threads(listing: Listing) -> Flow[tuple[ListedThread, ...]]:
    """Return threads of a kind: a page for each kind of row that they are listed for, and of those pages one."""
    found: list[tuple[Place, ListedThread]] = []
    mine = None if listing.subject is None else (yield from threads_of(listing.subject))
    if mine == []:
        return ()
    for kind in listing.sought.listed:
        rows = yield _page(listing, kind.value) if mine is None else _of_subject(listing, kind.value, mine)
        found += [_listed(row, by_decision=listing.by_decision) for row in rows]
    return listing.page(one for one in found if mine is None or listing.wants(*one))


def threads_of(subject: str) -> Flow[list[str]]:
    """Return the ids of a subject's threads, those that it was given last first."""
    rows = yield (
        select(events.c.event)
        .where(ATTRIBUTION, events.c.subject == subject)
        .order_by(events.c.number.desc())
        .limit(MAX_SUBJECT_THREADS)
    )
    return [load(ThreadEvent, row[0]).thread_id for row in rows]


def subject_history(asked: SubjectPeriod) -> Flow[tuple[SubjectEntry, ...]]:
    """Return what is on record of a subject's threads."""
    keys = [thread_key(name) for name in (yield from threads_of(asked.subject))]
    if not keys:
        return ()
    decided = yield select(decisions.c.record).where(decisions.c.thread_key.in_(keys))
    told = _unindexed(events.c.kind).in_([kind.value for kind in TOLD])
    happened = yield select(events.c.event).where(events.c.thread_key.in_(keys), told)
    return asked.told(
        [load(DecisionRecord, row[0]) for row in decided], [load(ThreadEvent, row[0]) for row in happened]
    )


def _unindexed(column: ColumnElement[str]) -> ColumnElement[str]:
    """Return a column as no index knows it: the few rows of a subject's threads are found by the thread."""
    return func.coalesce(column, "")


def _of_subject(listing: Listing, kind: str, names: Iterable[str]) -> Select[Any]:
    """Return all rows that a subject's threads are listed for: their page is cut afterwards."""
    table = decisions if listing.by_decision else events
    mine = table.c.thread_key.in_([thread_key(name) for name in names])
    return _rows(listing, table, [_unindexed(_columns(table)[2]) == kind, mine])


def _page(listing: Listing, kind: str) -> Select[Any]:
    table = decisions if listing.by_decision else events
    _, at, what = _columns(table)
    key: ColumnElement[str] = table.c.thread_key
    conditions = [what == kind, *_between(at, listing.since, listing.until)]
    if listing.after is not None:
        before = listing.after
        conditions += [at <= before.at, or_(at < before.at, key < before.key)]
    for name, wanted in (("policy_version", listing.policy), ("model", listing.model)):
        if wanted is not None:
            conditions.append(_of_newest_decision(name, key) == wanted)
    return _rows(listing, table, conditions).order_by(at.desc(), key.desc()).limit(listing.limit)


def _rows(listing: Listing, table: Table, conditions: list[ColumnElement[bool]]) -> Select[Any]:
    """Return the rows for which threads are listed: each the newest of what counts, of a thread in the right state."""
    known, at, _ = _columns(table)
    key: ColumnElement[str] = table.c.thread_key
    counting = (*listing.sought.listed, *listing.sought.ended)
    conditions.append(table.c.number == _newest_number(table, (one.value for one in counting)))
    if listing.sought.state is not None:
        conditions.append(_of_thread(listing.sought.state, key).is_(True))
    return select(
        at.label("at"),
        key.label("thread_key"),
        known.label("stored"),
        *(_of_thread(name, key).label(name) for name in ("sealed", "at_risk")),
        *(_of_newest_decision(name, key).label(name) for name in ("category", "policy_version", "model")),
    ).where(*conditions)


def _columns(table: Table) -> tuple[ColumnElement[str], ColumnElement[int], ColumnElement[str]]:
    """Return the columns of what is stored, when, and of which kind it is."""
    if table is decisions:
        return decisions.c.record, decisions.c.decided_at, decisions.c.outcome
    return events.c.event, events.c.at, events.c.kind


def _newest_number(table: Table, kinds: Iterable[str]) -> Any:
    """Return the number of the newest row of these kinds of the same thread."""
    other = table.alias("other")
    what = other.c.outcome if table is decisions else other.c.kind
    mine = other.c.thread_key == table.c.thread_key
    return select(func.max(other.c.number)).where(mine, what.in_([*kinds])).scalar_subquery()


def _of_thread(name: str, key: ColumnElement[str]) -> Any:
    return select(threads.c[name]).where(threads.c.thread_key == key).scalar_subquery()


def _of_newest_decision(name: str, key: ColumnElement[str]) -> Any:
    newest = decisions.alias("newest")
    mine = select(newest.c[name]).where(newest.c.thread_key == key)
    return mine.order_by(newest.c.number.desc()).limit(1).scalar_subquery()


def _between(at: ColumnElement[int], since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    begin = [] if since is None else [at >= microseconds(since)]
    return begin if until is None else [*begin, at < microseconds(until)]


def _listed(row: Any, *, by_decision: bool) -> tuple[Place, ListedThread]:
    place = Place(row.at, row.thread_key)
    stored = load(DecisionRecord, row.stored) if by_decision else load(ThreadEvent, row.stored)
    listed = ListedThread(
        thread_id=stored.thread_id,
        at=place.moment,
        sealed=bool(row.sealed),
        at_risk=bool(row.at_risk),
        category=row.category,
        policy_version=row.policy_version,
        model=row.model,
        cursor=place.cursor,
    )
    return place, listed


def comments(since: datetime | None, until: datetime | None, limit: int) -> Flow[tuple[Feedback, ...]]:
    """Return the newest feedback that has words."""
    rows = yield (
        select(events.c.event)
        .where(events.c.kind == EventKind.FEEDBACK.value, *_between(events.c.at, since, until))
        .where(events.c.event.not_like(_NO_WORDS))
        .order_by(events.c.at.desc(), events.c.number.desc())
        .limit(limit)
    )
    return feedback_of(load(ThreadEvent, row[0]) for row in rows)
