"""How a database runs what it is asked: the very statements, heard at the driver, and the plans that it makes for them.

``listening`` hears every statement of every connection that is opened meanwhile, of the registry and of LangGraph's
checkpointer alike; ``scans`` asks the database how it would run each, and names every table that would be read from end
to end. A trigger's own statements are in no plan: ``scans_in_programs`` finds them in SQLite's compiled programs, and
``SequentialScans`` counts what PostgreSQL really did.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from typing import Any, NamedTuple
from unittest import mock

import psycopg

__all__ = ["Said", "SequentialScans", "listening", "plan", "scanned", "scans", "scans_in_programs"]

_PATIENCE_SECONDS = 10.0
_PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
_ONE_PAGE = ("ect_meta", "temp.ect_alike")
"""Tables of a handful of rows: nothing is quicker than to look at their one page."""

_LANGGRAPHS = ("checkpoints", "checkpoint_blobs", "checkpoint_writes", "writes")
"""Tables of LangGraph's checkpointers: its own affair."""

_ASKED = count()
_MADE = re.compile(r"(?:CO-ROUTINE|MATERIALIZE) (\S+)")
_TEMPORARY = re.compile(r"(CREATE|DROP) .*\btemp(\.|orary)", re.IGNORECASE)
_BLOB = re.compile(r"\bx'[0-9a-f]+'")  # would be shown as text that is none
_SCANNED = re.compile(r"SCAN (\S+)(?!.* VIRTUAL TABLE)")


class Said(NamedTuple):
    """One statement, and what was given with it; SQLite's come with their values in place."""

    statement: str
    parameters: Any = None


@contextmanager
def listening() -> Iterator[list[Said]]:
    """Hear what is said on every connection that is opened meanwhile; clear the list to begin anew."""
    heard: list[Said] = []
    connect = sqlite3.connect

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_trace_callback(lambda statement: heard.append(Said(statement)))
        return connection

    def hearing(execute: Callable[..., Any]) -> Callable[..., Any]:
        def heard_first(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:
            text = query.decode() if isinstance(query, bytes) else str(query)
            heard.append(Said(text, params))
            return execute(cursor, query, params, **options)

        return heard_first

    with (
        mock.patch.object(sqlite3, "connect", traced),
        mock.patch.object(psycopg.Cursor, "execute", hearing(psycopg.Cursor.execute)),
        mock.patch.object(psycopg.AsyncCursor, "execute", hearing(psycopg.AsyncCursor.execute)),
    ):
        yield heard


def plan(connection: Any, said: Said) -> list[str]:
    """Return the plan of a statement, a step in a line; none for one that has none, such as COMMIT."""
    if not said.statement.lstrip().upper().startswith(_PLANNED):
        return []
    if isinstance(connection, sqlite3.Connection):
        # Numbered: sqlite3 keeps what it has compiled, and does not compile an EXPLAIN anew when an index is gone.
        with closing(connection.execute(f"/* {next(_ASKED)} */ EXPLAIN QUERY PLAN {said.statement}")) as rows:
            return [str(row[3]) for row in rows]
    (found,) = connection.execute(f"EXPLAIN (FORMAT JSON, COSTS OFF) {said.statement}", said.parameters).fetchone()
    return list(_lines(found[0]["Plan"]))


def _lines(node: dict[str, Any]) -> Iterator[str]:
    """Yield a PostgreSQL plan's steps; an index that is read from end to end is a scan as well."""
    kind, index = node["Node Type"], node.get("Index Name")
    what = str(node.get("Relation Name", index))
    if index is not None:
        yield f"{'SEARCH' if 'Index Cond' in node else 'SCAN'} {what} USING {index}"
    elif kind == "Seq Scan":
        yield f"SCAN {what}"
    for child in node.get("Plans", ()):
        yield from _lines(child)


def scans(lines: list[str]) -> list[str]:
    """Return the steps of a plan that read a table, or an index, from end to end."""
    made = {found.group(1) for line in lines if (found := _MADE.match(line))}
    free = {*made, *_ONE_PAGE, *_LANGGRAPHS, "CONSTANT"}
    return [line for line in lines if (found := _SCANNED.match(line)) and found.group(1) not in free]


def scans_in_programs(connection: sqlite3.Connection, statement: str) -> list[str]:
    """Return the tables and indexes that a SQLite statement, or a trigger that it sets off, reads from end to end.

    Each program opens cursors (``OpenRead``) on what it reads, and a scan is a cursor set on its first or last entry.
    """
    roots = dict(connection.execute("SELECT rootpage, name FROM sqlite_master WHERE rootpage > 0"))
    cursors: dict[int, int] = {}
    found = []
    for address, opcode, cursor, root, database, *_ in connection.execute(f"EXPLAIN {_BLOB.sub('NULL', statement)}"):
        if address == 0:
            cursors = {}  # the program of a trigger begins
        if opcode in {"OpenRead", "OpenWrite"} and database == 0:  # 1 is that of temporary tables
            cursors[cursor] = root
        elif opcode in {"Rewind", "Last"} and cursor in cursors:
            found.append(str(roots.get(cursors[cursor], "sqlite_master")))
    return found


def scanned(heard: list[Said], asked: Any, action: Callable[[], object]) -> list[str]:
    """Do something; return each scan that a statement of it needs, with the statement.

    Args:
        heard: What ``listening`` hears.
        asked: A connection to the same database, for asking.
        action: What to do.

    Raises:
        AssertionError: It said nothing: then nothing was checked.
    """
    heard.clear()
    action()
    assert heard, "nothing was said"
    found = []
    for known in list(heard):
        if _TEMPORARY.match(known.statement):
            asked.execute(known.statement)
        steps = scans(plan(asked, known))
        if isinstance(asked, sqlite3.Connection) and known.statement.startswith("INSERT"):
            steps += scans_in_programs(asked, known.statement)
        found += [f"{step}: {known.statement}" for step in steps]
    return found


class SequentialScans:
    """Counts PostgreSQL's sequential scans of the registry's tables by sessions that begin after this, and have ended.

    A session says what it scanned when it ends. Those of triggers count too, which no plan shows.
    """

    _COUNTS = "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname LIKE 'ect!_%' ESCAPE '!'"
    _SESSIONS = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    )

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._sessions = self._rows(self._SESSIONS)
        self._before = dict(self._rows(self._COUNTS))

    def _rows(self, query: str) -> set[Any]:
        return set(self._connection.execute(query.encode()).fetchall())

    def so_far(self) -> list[str]:
        """Return the tables that were scanned; those of one page left out.

        Raises:
            TimeoutError: A session goes on.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._rows(self._SESSIONS) <= self._sessions:
            if time.monotonic() > deadline:
                raise TimeoutError("a session that began after this has not ended")
            time.sleep(0.01)
        counts = dict(self._rows(self._COUNTS))
        return [table for table in counts if counts[table] > self._before[table] and table not in _ONE_PAGE]
