"""A registry of many threads, written straight into its tables: its own way in would take hours for ten million.

The traffic of the last two weeks. Thread ``n`` is ``thread-0000000n``: the first ``seals`` of them are sealed, each
with a denial, a permitted end, a line in the audit trail, a ledger and a place in the count of threads; every tenth of
them was warned, every fortieth has an appeal, and every second appeal is resolved. Of the others, which are open,
every third carries a risk flag, and the rest were edited and retried; their lines in the audit trail are left out.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import numpy as np
import psycopg

from end_conversation_tool._core.records import (
    BranchStatus,
    RiskFlag,
    RiskKind,
    Seal,
    ThreadStatus,
    UnmetCode,
)
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.registry.protocol import ThreadEvent
from end_conversation_tool.registry.sql import schema
from end_conversation_tool.registry.sql.operations import thread_columns
from end_conversation_tool.registry.sql.store import thread_key
from support.records import permit

__all__ = ["BEGIN", "DAYS", "Multitude", "fill_postgres", "fill_sqlite", "name"]

DAYS = 14
BEGIN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
_MICROSECONDS = DAYS * 86_400_000_000
_START = int(BEGIN.timestamp() * 1_000_000)
_ZERO = "thread-00000000"

Row = tuple[Any, ...]


def name(number: int) -> str:
    """Return the id of a thread."""
    return f"thread-{number:08d}"


@dataclass(frozen=True)
class Multitude:
    """How many threads there are, and how many of them are sealed."""

    threads: int
    seals: int

    def tables(self) -> Iterator[tuple[str, tuple[str, ...], Iterator[Row]]]:
        """Yield each table's name, columns and rows."""
        yield "ect_threads", ("thread_key", *thread_columns(ThreadStatus(thread_id="x"))), self._threads()
        columns = [column.name for column in schema.decisions.columns if column.name != "number"]
        yield "ect_decisions", tuple(columns), self._decisions()
        columns = [column.name for column in schema.events.columns if column.name != "number"]
        yield "ect_events", tuple(columns), self._events()
        yield "ect_ledgers", ("thread_key", "version", "body"), self._ledgers()
        yield "ect_counted", ("thread_key", "at", "policy_version", "model", "weight"), self._counted()

    def _in_order_of_key(self, count: int) -> Iterator[tuple[int, str]]:
        """Yield threads as the primary key has them: an index that grows at its end is built much quicker."""
        heads = np.fromiter(
            (int.from_bytes(sha256(name(number).encode()).digest()[:8], "big") for number in range(count)),
            dtype=np.uint64,
            count=count,
        )
        for number in np.argsort(heads):
            yield int(number), thread_key(name(int(number)))

    def _threads(self) -> Iterator[Row]:
        sealed, flagged, branched = (thread_columns(status) for status in _statuses())
        for number, key in self._in_order_of_key(self.threads):
            columns = sealed if number < self.seals else flagged if number % 3 == 0 else branched
            state = str(columns["state"]).replace(_ZERO, name(number))
            rest = (columns[column] for column in ("sequence", "branch", "sealed", "at_risk"))
            yield key, name(number), *rest, state

    def _decisions(self) -> Iterator[Row]:
        chance, codes = random.Random(1), list(UnmetCode)
        unmet = [" ".join(sorted(chance.sample(codes, chance.randint(1, 3)))) for _ in range(60)]
        record = permit(_ZERO, id="decision-0", reason="r" * 200).model_dump_json()
        for number in range(2 * self.seals):
            thread, ends = divmod(number, 2)
            codes_of = "" if ends else chance.choice(unmet)
            risk = RiskKind.SELF_HARM.value if "risk_flagged" in codes_of else ""
            turn, (policy, model) = chance.randint(1, 40), _origin(thread)
            made = record.replace(_ZERO, name(thread)).replace('"decision-0"', f'"decision-{number}"')
            yield (
                f"decision-{number}", thread_key(name(thread)), self._at(thread), "sealed" if ends else "denied",
                "abuse", "enforce", policy, model, turn, codes_of, risk, False, made,
            )  # fmt: skip

    def _events(self) -> Iterator[Row]:
        for thread in range(self.seals):
            key, at, origin = thread_key(name(thread)), self._at(thread), _origin(thread)
            kinds = [(EventKind.SEALED, "abuse")]
            if thread % 10 == 0:
                kinds.insert(0, (EventKind.WARNING_GIVEN, "warning"))
            if thread % 40 == 0:
                kinds.append((EventKind.APPEAL_OPENED, ""))
            if thread % 80 == 0:
                kinds.append((EventKind.APPEAL_REJECTED, ""))
            for kind, subject in kinds:
                yield key, at, kind.value, subject or None, *origin, _EVENTS[kind].replace(_ZERO, name(thread))

    def _ledgers(self) -> Iterator[Row]:
        return ((key, 7, "{" + "0" * 900 + "}") for _, key in self._in_order_of_key(self.seals))

    def _counted(self) -> Iterator[Row]:
        return ((key, self._at(number), *_origin(number), 1.0) for number, key in self._in_order_of_key(self.seals))

    def _at(self, thread: int) -> int:
        return _START + thread * _MICROSECONDS // self.seals


def fill_sqlite(path: str, crowd: Multitude, *, analyze: bool = True) -> None:
    """Fill a registry that nobody has open; a crash meanwhile would destroy it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -262144"):
            connection.execute(f"PRAGMA {setting}")
        found = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND name LIKE 'ect!_%' ESCAPE '!' AND sql <> ''"
        )
        indexes = connection.execute(found).fetchall()
        for index, _ in indexes:  # made anew at the end: quicker than a million insertions in random places
            connection.execute(f"DROP INDEX {index}")
        connection.execute("BEGIN")
        for table, columns, rows in crowd.tables():
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)  # noqa: S608
        connection.execute("COMMIT")
        for _, statement in indexes:
            connection.execute(statement)
        if analyze:
            connection.execute("PRAGMA analysis_limit = 1000")
            connection.execute("ANALYZE")
        connection.execute("PRAGMA journal_mode = WAL")


def fill_postgres(url: str, crowd: Multitude) -> None:
    """Fill a registry."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:
        for table, columns, rows in crowd.tables():
            with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)
            connection.commit()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _origin(thread: int) -> tuple[str, str]:
    return f"policy-{thread % 3}", f"model-{thread // 3 % 3}"


def _statuses() -> tuple[ThreadStatus, ThreadStatus, ThreadStatus]:
    """Return the state of a sealed thread, of one at risk, and of one that was edited and retried."""
    checkpoint = run = "1f0a2b3c-4d5e-6f70-8192-a3b4c5d6e7f8"
    record = permit(_ZERO, reason="r" * 200)
    seal = Seal(thread_id=_ZERO, sequence=1, sealed_at=BEGIN, checkpoint_id=checkpoint, run_token=run, record=record)
    flag = RiskFlag(kind=RiskKind.SELF_HARM, source="text/1", message_id="m-1", score=0.5, raised_at=BEGIN)
    branch = BranchStatus(branch=1, parent=0, forked_from=checkpoint, fence=1, run_token=run)
    return (
        ThreadStatus(thread_id=_ZERO, sequence=1, branches=(BranchStatus(seal=seal),)),
        ThreadStatus(thread_id=_ZERO, risk_flags=(flag,)),
        ThreadStatus(thread_id=_ZERO, sequence=1, branch=1, branches=(BranchStatus(), branch)),
    )


def _event(kind: EventKind) -> str:
    made = ThreadEvent(thread_id=_ZERO, kind=kind, at=BEGIN, branch=0, sequence=1, actor="policy", reason="r" * 100)
    return made.model_dump_json()


_EVENTS = {
    kind: _event(kind)
    for kind in (EventKind.SEALED, EventKind.WARNING_GIVEN, EventKind.APPEAL_OPENED, EventKind.APPEAL_REJECTED)
}
