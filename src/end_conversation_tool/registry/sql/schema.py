"""The tables of a SQL registry, and the checks before one is used. Version 1.

================  ==========================================================================================
table             one row is
================  ==========================================================================================
``ect_meta``      one property of the database: ``schema_version``, ``signing_key`` (hex), ``created_at``, ``breaker``
``ect_threads``   a thread that was ever sealed, flagged or branched: its state as JSON, and copies for queries
``ect_decisions`` one call of the tool: the complete record as JSON, and the columns that rates are made of
``ect_events``    one thing that happened to a thread; rows are only ever added, and words in them only ever erased
``ect_ledgers``   the provenance of a conversation that no checkpointer keeps: ids, codes and digests, as JSON
``ect_counted``   a thread that was counted when it began; empty unless the host asked for it
================  ==========================================================================================

A thread's state is ONE value in ONE row, so that an ordinary thread, which has none, costs one look into the primary
key. The key is the SHA-256 of the thread id: an id may be longer than an index entry can be. Times are microseconds
since 1970, UTC: both engines can do sums with them.
"""

from __future__ import annotations

import secrets
from hashlib import sha256

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    insert,
    select,
    text,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from end_conversation_tool._core.records import utc_now
from end_conversation_tool.errors import RegistryError, RegistrySchemaError
from end_conversation_tool.registry.sql.driver import Flow

__all__ = [
    "SCHEMA_VERSION",
    "TABLE_NAMES",
    "counted",
    "decisions",
    "events",
    "meta",
    "open_schema",
    "provenance",
    "thread_key",
    "threads",
]

SCHEMA_VERSION = 1

_metadata = MetaData()
_serial = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only in an INTEGER

meta = Table(
    "ect_meta",
    _metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

threads = Table(
    "ect_threads",
    _metadata,
    Column("thread_key", String(64), primary_key=True),
    Column("thread_id", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("branch", Integer, nullable=False),
    Column("sealed", Boolean, nullable=False),
    Column("at_risk", Boolean, nullable=False),
    Column("state", Text, nullable=False),
)

decisions = Table(
    "ect_decisions",
    _metadata,
    Column("number", _serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False),
    Column("thread_key", String(64), nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("category", String(32)),
    Column("mode", String(16), nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("model", Text),
    Column("turn", Integer, nullable=False),
    Column("unmet", Text, nullable=False),
    Column("risk", Text, nullable=False),
    Column("breaker", Boolean, nullable=False),
    Column("record", Text, nullable=False),
    Index("ect_decisions_id", "id", unique=True),
    Index("ect_decisions_thread", "thread_key", "number"),
    Index(
        "ect_decisions_report",
        *("decided_at", "outcome", "policy_version", "model", "mode", "category", "unmet", "risk", "breaker", "turn"),
        "thread_key",
    ),
)

events = Table(
    "ect_events",
    _metadata,
    Column("number", _serial, primary_key=True, autoincrement=True),
    Column("thread_key", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("subject", Text),
    Column("policy_version", Text),
    Column("model", Text),
    Column("event", Text, nullable=False),
    Index("ect_events_thread", "thread_key", "number"),
    Index("ect_events_time", "at", "kind"),
    Index("ect_events_kind", "kind", "at"),
)

provenance = Table(
    "ect_ledgers",  # its name in version 0.1: to rename it would make every database of that version unusable
    _metadata,
    Column("thread_key", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("body", Text, nullable=False),
)

counted = Table(
    "ect_counted",
    _metadata,
    Column("thread_key", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("model", Text),
    Column("weight", Float, nullable=False),
    Index("ect_counted_time", "at", "weight", "policy_version", "model"),
)

_TABLES = _metadata.sorted_tables

TABLE_NAMES = tuple(table.name for table in _TABLES)


def thread_key(thread_id: str) -> str:
    """Return the key of a thread: 64 hexadecimal digits."""
    return sha256(thread_id.encode()).hexdigest()


def open_schema(existing: str, *, create: bool) -> Flow[bytes | None]:
    """Check the database, or fill it.

    Args:
        existing: SQL that lists those tables of the database whose names begin with ``ect_``.
        create: Whether to create what an empty database lacks.

    Returns:
        The signing key; ``None`` when the database is empty and ``create`` is false.

    Raises:
        RegistrySchemaError: It holds something that this version cannot use. Nothing was changed.
    """
    found = {row[0] for row in (yield text(existing))}
    if not found:
        return (yield from _create()) if create else None
    if missing := [table.name for table in _TABLES if table.name not in found]:
        raise _unusable(f"some tables of a registry but not {', '.join(missing)}")
    values = {row.name: row.value for row in (yield select(meta.c.name, meta.c.value))}
    _check_version(values.get("schema_version"))
    for table in _TABLES:
        yield select(table).where(false())  # fails when a column is missing
    return _signing_key(values.get("signing_key"))


def _create() -> Flow[bytes]:
    key = secrets.token_bytes(32)
    for table in _TABLES:
        yield CreateTable(table)
        for index in sorted(table.indexes, key=lambda known: str(known.name)):
            yield CreateIndex(index)
    values = {
        "schema_version": str(SCHEMA_VERSION),
        "signing_key": key.hex(),
        "created_at": utc_now().isoformat(),
    }
    for name, value in values.items():
        yield insert(meta).values(name=name, value=value)
    return key


def _check_version(found: str | None) -> None:
    if found is None or not found.isdecimal():
        raise _unusable("tables of that name, but no schema version")
    if int(found) > SCHEMA_VERSION:
        raise _unusable(f"schema version {int(found)}, made by a newer version of end-conversation-tool: upgrade it")
    if int(found) < SCHEMA_VERSION:
        raise _unusable(f"schema version {int(found)}, which no release has used")


def _signing_key(found: str | None) -> bytes:
    try:
        key = bytes.fromhex(found or "")
    except ValueError:
        key = b""
    if len(key) != 32:  # noqa: PLR2004
        raise _unusable("no usable signing key")
    return key


def _unusable(found: str) -> RegistryError:
    return RegistrySchemaError(
        f"the database cannot be used as a registry: it holds {found}. "
        f"This version supports schema version {SCHEMA_VERSION}. Nothing was changed."
    )
