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

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from end_conversation_tool._core.records import utc_now
from end_conversation_tool._core.vocabulary import EventKind
from end_conversation_tool.errors import RegistryError, RegistrySchemaError
from end_conversation_tool.registry.sql.driver import Flow

SCHEMA_VERSION = 1

_metadata = sa.MetaData()
_serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows by itself only in an INTEGER

meta = sa.Table(
    "ect_meta",
    _metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

threads = sa.Table(
    "ect_threads",
    _metadata,
    sa.Column("thread_key", sa.String(64), primary_key=True),
    sa.Column("thread_id", sa.Text, nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("branch", sa.Integer, nullable=False),
    sa.Column("sealed", sa.Boolean, nullable=False),
    sa.Column("at_risk", sa.Boolean, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)

decisions = sa.Table(
    "ect_decisions",
    _metadata,
    sa.Column("number", _serial, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("thread_key", sa.String(64), nullable=False),
    sa.Column("decided_at", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.String(32), nullable=False),
    sa.Column("category", sa.String(32)),
    sa.Column("mode", sa.String(16), nullable=False),
    sa.Column("policy_version", sa.Text, nullable=False),
    sa.Column("model", sa.Text),
    sa.Column("turn", sa.Integer, nullable=False),
    sa.Column("unmet", sa.Text, nullable=False),
    sa.Column("risk", sa.Text, nullable=False),
    sa.Column("breaker", sa.Boolean, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Index("ect_decisions_id", "id", unique=True),
    sa.Index("ect_decisions_thread", "thread_key", "number"),
    sa.Index("ect_decisions_outcome", "outcome", "decided_at", "thread_key"),
    sa.Index(
        "ect_decisions_report",
        *("decided_at", "outcome", "policy_version", "model", "mode", "category", "unmet", "risk", "breaker", "turn"),
        "thread_key",
    ),
)

events = sa.Table(
    "ect_events",
    _metadata,
    sa.Column("number", _serial, primary_key=True, autoincrement=True),
    sa.Column("thread_key", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("subject", sa.Text),
    sa.Column("policy_version", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("event", sa.Text, nullable=False),
    sa.Index("ect_events_thread", "thread_key", "number"),
    sa.Index("ect_events_time", "at", "kind"),
    sa.Index("ect_events_kind", "kind", "at"),
)

ATTRIBUTION = events.c.kind == sa.literal_column(f"'{EventKind.ATTRIBUTED.value}'")
"""Written out, and not as a parameter: so the engines see that the index below fits."""

sa.Index(
    "ect_events_subject", events.c.subject, events.c.number, sqlite_where=ATTRIBUTION, postgresql_where=ATTRIBUTION
)

provenance = sa.Table(
    "ect_ledgers",  # its name in version 0.1: to rename it would make every database of that version unusable
    _metadata,
    sa.Column("thread_key", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

counted = sa.Table(
    "ect_counted",
    _metadata,
    sa.Column("thread_key", sa.String(64), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("policy_version", sa.Text, nullable=False),
    sa.Column("model", sa.Text),
    sa.Column("weight", sa.Float, nullable=False),
    sa.Index("ect_counted_time", "at", "weight", "policy_version", "model"),
)

_TABLES = _metadata.sorted_tables

TABLE_NAMES = tuple(table.name for table in _TABLES)

_INDEXES = tuple(sorted((index for table in _TABLES for index in table.indexes), key=lambda index: str(index.name)))

INDEX_NAMES = tuple(str(index.name) for index in _INDEXES)


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
    found = {row[0] for row in (yield sa.text(existing))}
    if not found:
        return (yield from _create()) if create else None
    if missing := [table.name for table in _TABLES if table.name not in found]:
        raise _unusable(f"some tables of a registry but not {', '.join(missing)}")
    values = {row.name: row.value for row in (yield sa.select(meta.c.name, meta.c.value))}
    _check_version(values.get("schema_version"))
    for table in _TABLES:
        yield sa.select(table).where(sa.false())  # fails when a column is missing
    return _signing_key(values.get("signing_key"))


def lacking_indexes(existing: str) -> Flow[tuple[sa.Index, ...]]:
    """Return the indexes that a database of an older version lacks.

    Args:
        existing: SQL that lists those indexes of the registry that exist.
    """
    found = {row[0] for row in (yield sa.text(existing))}
    return tuple(index for index in _INDEXES if str(index.name) not in found)


def add_indexes(existing: str) -> Flow[None]:
    """Make the indexes that are lacking; nothing else is changed. Arguments as for ``lacking_indexes``."""
    for index in (yield from lacking_indexes(existing)):
        yield CreateIndex(index)


def _create() -> Flow[bytes]:
    key = secrets.token_bytes(32)
    for table in _TABLES:
        yield CreateTable(table)
    for index in _INDEXES:
        yield CreateIndex(index)
    values = {
        "schema_version": str(SCHEMA_VERSION),
        "signing_key": key.hex(),
        "created_at": utc_now().isoformat(),
    }
    for name, value in values.items():
        yield sa.insert(meta).values(name=name, value=value)
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
