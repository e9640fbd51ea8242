"""The counts of a period, as SQL aggregates: a report over a million decisions reads no record.

Four passes over the index ``ect_decisions_report``, which holds every column that is read here, and one each over the
index of times of the two other tables.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, null, select, text

from end_conversation_tool.experiment import DecisionCount, EndCount, EventCount, Tally, ThreadCount
from end_conversation_tool.registry.driver import Flow, Rows
from end_conversation_tool.registry.flows import microseconds
from end_conversation_tool.registry.schema import counted, decisions, events
from end_conversation_tool.vocabulary import Category, EventKind, Mode, Outcome, RiskKind, UnmetCode

__all__ = ["decision_counts", "end_counts", "event_counts", "tally", "thread_counts"]

_ENDS = (Outcome.SEALED.value, Outcome.WOULD_HAVE_SEALED.value)
_IDS = (EventKind.BRANCH_OPENED.value, EventKind.COPIED.value)
"""Kinds whose subject is an id: there are as many of those as there are threads."""

_ROOM = {
    "sqlite": ("PRAGMA temp_store = MEMORY", "PRAGMA cache_size = -131072"),
    "postgresql": ("SET work_mem = '128MB'",),
}
"""Room for this connection to sort in, so that a million rows are not sorted on disk: 128 MB."""

_AS_BEFORE = {
    "sqlite": ("PRAGMA temp_store = DEFAULT", "PRAGMA cache_size = -2000"),
    "postgresql": ("RESET work_mem",),
}

_ORIGIN = (decisions.c.policy_version, decisions.c.model)


def tally(dialect: str, since: datetime, until: datetime) -> Flow[Tally]:
    """Count what happened in a period."""
    for setting in _ROOM[dialect]:
        yield text(setting)
    counts = yield from _counts(microseconds(since), microseconds(until))
    for setting in _AS_BEFORE[dialect]:
        yield text(setting)
    return counts


def _counts(begin: int, end: int) -> Flow[Tally]:
    decided = plain((yield decision_counts(begin, end)))
    ends = plain((yield end_counts(begin, end)))
    happened = plain((yield event_counts(begin, end)))
    by_origin = plain((yield thread_counts(begin, end)))
    overall = plain((yield thread_counts(begin, end, by_origin=False)))
    columns = (counted.c.policy_version, counted.c.model)
    within = (counted.c.at >= begin, counted.c.at < end)
    began = plain((yield select(*columns, func.sum(counted.c.weight)).where(*within).group_by(*columns)))
    return Tally(
        decisions=tuple(_decision_count(row) for row in decided),
        ends=tuple(EndCount(row[0], row[1], Outcome(row[2]), row[3], row[4]) for row in ends),
        events=tuple(EventCount(EventKind(row[0]), row[1], row[2], row[3], row[4]) for row in happened),
        threads=_merged(by_origin, began),
        total=_thread_count(overall[0])._replace(counted=sum(row[2] for row in began)),
    )


def decision_counts(begin: int, end: int) -> Select[Any]:
    """Return the statement that counts decisions which are alike."""
    columns = (
        *_ORIGIN,
        decisions.c.mode,
        decisions.c.outcome,
        decisions.c.category,
        decisions.c.unmet,
        decisions.c.risk,
        decisions.c.breaker,
    )
    return select(*columns, func.count()).where(*_within(begin, end)).group_by(*reversed(columns))


def end_counts(begin: int, end: int) -> Select[Any]:
    """Return the statement that counts the threads that ended, by the turn of their first end."""
    first = (
        select(*_ORIGIN, decisions.c.outcome, func.min(decisions.c.turn).label("turn"))
        .where(*_within(begin, end), decisions.c.outcome.in_(_ENDS))
        .group_by(decisions.c.thread_key, *_ORIGIN, decisions.c.outcome)  # what differs most first: sorts quicker
        .subquery()
    )
    columns = (first.c.policy_version, first.c.model, first.c.outcome, first.c.turn)
    return select(*columns, func.count()).group_by(*columns)


def event_counts(begin: int, end: int) -> Select[Any]:
    """Return the statement that counts events which are alike."""
    subject = case((events.c.kind.in_(_IDS), null()), else_=events.c.subject).label("what")
    columns = (events.c.kind, subject, events.c.policy_version, events.c.model)
    return select(*columns, func.count()).where(events.c.at >= begin, events.c.at < end).group_by(*columns)


def thread_counts(begin: int, end: int, *, by_origin: bool = True) -> Select[Any]:
    """Return the statement that counts distinct threads, for each policy and model or altogether."""
    origin = _ORIGIN if by_origin else ()
    flags = (func.max(case((decisions.c.outcome == name, 1), else_=0)).label(name) for name in _ENDS)
    seen = select(*origin, *flags).where(*_within(begin, end)).group_by(decisions.c.thread_key, *origin).subquery()
    named = (seen.c.policy_version, seen.c.model) if by_origin else ()
    counts = (func.count(), *(func.sum(seen.c[name]) for name in _ENDS))
    return select(*(named or (null(), null())), *counts).group_by(*named)


def plain(rows: Rows) -> list[Any]:
    """Return rows as plain tuples."""
    return [tuple(row) for row in rows]


def _within(begin: int, end: int) -> tuple[ColumnElement[bool], ...]:
    return decisions.c.decided_at >= begin, decisions.c.decided_at < end


def _decision_count(row: Any) -> DecisionCount:
    policy, model, mode, outcome, category, unmet, risk, breaker, count = row
    return DecisionCount(
        policy,
        model,
        Mode(mode),
        Outcome(outcome),
        None if category is None else Category(category),
        tuple(UnmetCode(code) for code in unmet.split()),
        tuple(RiskKind(kind) for kind in risk.split()),
        bool(breaker),
        count,
    )


def _thread_count(row: Any) -> ThreadCount:
    policy, model, deciding, ended, would_have_ended = row
    return ThreadCount(policy, model, deciding, ended or 0, would_have_ended or 0)


def _merged(decided: list[Any], began: list[Any]) -> tuple[ThreadCount, ...]:
    counts = {(row[0], row[1]): _thread_count(row) for row in decided}
    for row in began:
        policy, model, weight = row[0], row[1], row[2]
        known = counts.get((policy, model), ThreadCount(policy, model))
        counts[policy, model] = known._replace(counted=weight)
    return tuple(counts.values())
