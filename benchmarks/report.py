"""What a report costs over many decisions: seconds, on SQLite and on PostgreSQL.

    python benchmarks/report.py [--decisions 1000000] [--rounds 3]

Fills each database with generated decisions of complete size (reason, evidence; three policies, three models, one
thread for every second decision, one week, 60 combinations of unmet conditions), with a warning for every tenth, and
builds the report of the whole week and of one day. PostgreSQL comes from the test extra, or from
END_CONVERSATION_TEST_POSTGRES.

Measured on a machine of two cores that was busy with other work, Python 3.11, a million decisions, medians of three:

==========  ========================  ===========================
engine      week, 1,000,000 decisions day, 142,247 decisions
==========  ========================  ===========================
SQLite      18.9 s (fastest 11.5 s)   1.1 s
PostgreSQL  3.4 s                     1.2 s
==========  ========================  ===========================

SQLite sorts all rows of the period once for each of four groupings; PostgreSQL hashes them.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from end_conversation_tool.models import Mode, Outcome, RiskKind, UnmetCode
from end_conversation_tool.registry import SqlSealRegistry
from end_conversation_tool.registry.schema import thread_key
from end_conversation_tool.report import build_report
from support.postgres import fresh_database, postgres_server
from support.records import permit

WEEK = datetime(2026, 3, 2, tzinfo=UTC)
DECISIONS = (
    "id", "thread_key", "decided_at", "outcome", "category", "mode", "policy_version", "model", "turn", "unmet", "risk",
    "breaker", "record",
)  # fmt: skip
EVENTS = ("thread_key", "at", "kind", "subject", "policy_version", "model", "event")


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of decisions."""
    chance, codes = random.Random(1), list(UnmetCode)
    combinations = [" ".join(sorted(chance.sample(codes, chance.randint(1, 3)))) for _ in range(60)]
    template = permit("thread-0000000", reason="r" * 200).model_dump_json()
    begin = int(WEEK.timestamp() * 1_000_000)
    for number in range(count):
        outcome = chance.choices(list(Outcome), [5, 75, 10, 10])[0]
        unmet = chance.choice(combinations) if outcome is Outcome.DENIED else ""
        risk = chance.choice(list(RiskKind)).value if "risk_flagged" in unmet else ""
        yield (
            f"{number:032x}", thread_key(f"thread-{chance.randrange(count // 2)}"),
            begin + chance.randrange(7 * 86_400_000_000), outcome.value, chance.choice(["abuse", "user_request"]),
            (Mode.SHADOW if outcome is Outcome.WOULD_HAVE_SEALED else Mode.ENFORCE).value,
            f"policy-{chance.randrange(3)}", f"model-{chance.randrange(3)}", chance.randint(1, 40), unmet, risk, False,
            template,
        )  # fmt: skip


def events(count: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of warnings."""
    chance, begin = random.Random(2), int(WEEK.timestamp() * 1_000_000)
    for number in range(count):
        at = begin + chance.randrange(7 * 86_400_000_000)
        yield (
            thread_key(f"thread-{number}"), at, "warning_given", "warning", f"policy-{chance.randrange(3)}",
            f"model-{chance.randrange(3)}", "{}",
        )  # fmt: skip


def fill_sqlite(path: str, count: int) -> None:
    """Put rows into a SQLite registry."""
    with closing(sqlite3.connect(path)) as connection, connection:
        # Indexes are made anew at the end: quicker than a million random inserts into each.
        found = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        indexes = connection.execute(found).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        for table, columns, made in (
            ("ect_decisions", DECISIONS, rows(count)),
            ("ect_events", EVENTS, events(count // 10)),
        ):
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", made)  # noqa: S608
        for _, statement in indexes:
            connection.execute(statement)


def fill_postgres(url: str, count: int) -> None:
    """Put rows into a PostgreSQL registry."""
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:
        for table, columns, made in (
            ("ect_decisions", DECISIONS, rows(count)),
            ("ect_events", EVENTS, events(count // 10)),
        ):
            with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:  # type: ignore[arg-type]
                for row in made:
                    copy.write_row(row)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(postgres_server())
        postgres = stack.enter_context(fresh_database(server))
        for name, url in (("SQLite", f"sqlite:///{folder}/registry.db"), ("PostgreSQL", postgres)):
            with SqlSealRegistry(url) as registry:
                began = time.perf_counter()
                if name == "SQLite":
                    fill_sqlite(f"{folder}/registry.db", options.decisions)
                else:
                    fill_postgres(url, options.decisions)
                print(f"{name}: filled with {options.decisions:,} decisions in {time.perf_counter() - began:.0f} s")
                for what, days in (("week", 7), ("day", 1)):
                    samples = []
                    for _ in range(options.rounds):
                        began = time.perf_counter()
                        report = build_report(registry, WEEK, WEEK + timedelta(days=days), threads=10_000_000)
                        samples.append(time.perf_counter() - began)
                    shown = f"median {median(samples):.2f} s of {options.rounds}, fastest {min(samples):.2f} s"
                    print(f"{name}: report of a {what}, {report.total.decisions:,} decisions: {shown}", flush=True)


if __name__ == "__main__":
    main()
