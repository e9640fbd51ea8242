"""The counts of a period, as SQL aggregates: a report over a million decisions reads no record.

Three passes over the index ``ect_decisions_report``, which holds every column that is read here, and one each over the
index of times of the two other tables.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, column, func, literal_column, null, select, table, text
from sqlalchemy.dialects import sqlite

from end_conversation_tool._core.operations import DecisionCount, EndCount, EventCount, Tally, ThreadCount
from end_conversation_tool._core.vocabulary import Category, EventKind, Mode, Outcome, RiskKind, UnmetCode
from end_conversation_tool.registry.listing import microseconds
from end_conversation_tool.registry.sql.driver import Flow, Rows
from end_conversation_tool.registry.sql.schema import counted, decisions, events
from end_conversation_tool.registry.subjects import IDENTIFIED

_ENDS = (Outcome.SEALED.value, Outcome.WOULD_HAVE_SEALED.value)
_IDS = tuple(kind.value for kind in IDENTIFIED)

_ROOM = {
    "sqlite": ("PRAGMA temp_store = MEMORY", "PRAGMA cache_size = -131072"),
    "postgresql": ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL work_mem = '128MB'"),
}
"""Room for this connection to sort in, so that a million rows are not sorted on disk: 128 MB.

On PostgreSQL for one transaction: behind a pooler the next statement may run on another connection.
"""

_AS_BEFORE = {
    "sqlite": ("PRAGMA temp_store = DEFAULT", "PRAGMA cache_size = -2000"),
    "postgresql": ("COMMIT",),
}


def tally(dialect: str, since: datetime, until: datetime) -> Flow[Tally]:
    """Count what happened in a period."""
    for setting in _ROOM[dialect]:
        yield text(setting)
    counts = yield from _counts(dialect, microseconds(since), microseconds(until))
    for setting in _AS_BEFORE[dialect]:
        yield text(setting)
    return counts


def _counts(dialect: str, begin: int, end: int) -> Flow[Tally]:
    decided = yield from _alike(dialect, _decisions(begin, end))
    threads = yield from _alike(dialect, _threads(begin, end))
    happened = yield from _alike(dialect, _events(begin, end))
    ((deciding, ended, would_have_ended),) = _plain((yield _all_threads(begin, end)))
    columns = (counted.c.policy_version, counted.c.model)
    within = (counted.c.at >= begin, counted.c.at < end)
    began = _plain((yield select(*columns, func.sum(counted.c.weight)).where(*within).group_by(*columns)))
    return Tally(
        decisions=tuple(_decision_count(row) for row in decided),
        ends=_end_counts(threads),
        events=tuple(EventCount(EventKind(row[0]), *row[1:]) for row in happened),
        threads=_thread_counts(threads, began),
        total=ThreadCount(None, None, deciding, ended or 0, would_have_ended or 0, sum(row[2] for row in began)),
    )


def _alike(dialect: str, rows: Select[Any]) -> Flow[list[Any]]:
    """Return each different row of a statement, followed by how often it is there.

    PostgreSQL hashes them. SQLite would sort all of them; to add up in a table of the few that differ is four times as
    quick.
    """
    if dialect != "sqlite":
        kinds = rows.subquery()
        return _plain((yield select(*kinds.c, func.count()).group_by(*kinds.c)))
    names = [f"c{number}" for number in range(len(rows.selected_columns))]
    columns, keys = ", ".join(names), [f"ifnull({name}, -1)" for name in names]  # a value that no column has
    yield text("DROP TABLE IF EXISTS temp.ect_alike")
    yield text(f"CREATE TEMPORARY TABLE ect_alike ({columns}, number)")
    yield text(f"CREATE UNIQUE INDEX temp.ect_alike_key ON ect_alike ({', '.join(keys)})")
    sums = table("ect_alike", *map(column, [*names, "number"]), schema="temp")
    put = sqlite.insert(sums).from_select([*names, "number"], rows.add_columns(literal_column("1")))
    more = {"number": sums.c.number + literal_column("1")}
    yield put.on_conflict_do_update(index_elements=[text(key) for key in keys], set_=more)
    found = _plain((yield select(*sums.c)))
    yield text("DROP TABLE temp.ect_alike")
    return found


def _decisions(begin: int, end: int) -> Select[Any]:
    """Return the statement for what decisions are counted by."""
    known = decisions.c
    names = (known.policy_version, known.model, known.mode, known.outcome, known.category, known.unmet, known.risk)
    columns: tuple[ColumnElement[Any], ...] = (*names, known.breaker)
    return select(*columns).where(*_within(begin, end))


def _threads(begin: int, end: int) -> Select[Any]:
    """Return the statement for the turns of each thread's first ends, for each policy and model that it was under."""
    known = decisions.c
    first: Any = (func.min(case((known.outcome == name, known.turn))).label(name) for name in _ENDS)
    return (
        select(known.policy_version, known.model, *first)
        .where(*_within(begin, end))
        .group_by(known.thread_key, known.policy_version, known.model)
    )


def _all_threads(begin: int, end: int) -> Select[Any]:
    """Return the statement that counts threads under whatever policies and models."""
    flags = (func.max(case((decisions.c.outcome == name, 1), else_=0)).label(name) for name in _ENDS)
    seen = select(*flags).where(*_within(begin, end)).group_by(decisions.c.thread_key).subquery()
    sums: Any = (func.sum(seen.c[name]) for name in _ENDS)
    return select(func.count(), *sums)


def _events(begin: int, end: int) -> Select[Any]:
    """Return the statement for what events are counted by."""
    subject = case((events.c.kind.in_(_IDS), null()), else_=events.c.subject).label("what")
    columns = (events.c.kind, subject, events.c.policy_version, events.c.model)
    return select(*columns).where(events.c.at >= begin, events.c.at < end)


def _plain(rows: Rows) -> list[Any]:
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


def _end_counts(threads: list[Any]) -> tuple[EndCount, ...]:
    counts: Counter[EndCount] = Counter()
    for policy, model, *turns, number in threads:
        for outcome, turn in zip(_ENDS, turns, strict=True):
            if turn is not None:
                counts[EndCount(policy, model, Outcome(outcome), turn, 0)] += number
    return tuple(alike._replace(threads=number) for alike, number in counts.items())


def _thread_counts(threads: list[Any], began: list[Any]) -> tuple[ThreadCount, ...]:
    counts: dict[tuple[str, str | None], ThreadCount] = {}
    for policy, model, sealed, would_have_sealed, number in threads:
        known = counts.get((policy, model), ThreadCount(policy, model))
        counts[policy, model] = known._replace(
            deciding=known.deciding + number,
            ended=known.ended + number * (sealed is not None),
            would_have_ended=known.would_have_ended + number * (would_have_sealed is not None),
        )
    for policy, model, weight in began:
        known = counts.get((policy, model), ThreadCount(policy, model))
        counts[policy, model] = known._replace(counted=weight)
    return tuple(counts.values())
