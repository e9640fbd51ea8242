"""The seal checked inside the write itself: triggers on the checkpoint table of the registry's own database.

``SealedSaver`` asks the registry, and then writes. Another process can seal between the two. Where the checkpointer
keeps its ``checkpoints`` table in the registry's database, the database closes that gap:

* PostgreSQL: the trigger takes a shared advisory lock on the thread, and ``seal`` an exclusive one, so that one of them
  waits for the other to commit; then the trigger looks at the seal.
* SQLite has one writer at a time, so looking is enough. It knows no hash, and an erased thread is known by its hash
  alone: where there is one, a guarded write to a thread without a row has to ask the registry, and say that it did.

A checkpoint says in its metadata which branch it belongs to, which run wrote it and when that run started
(``_checkpoint/metadata``). One without these marks, written by somebody who goes round the saver, is refused as soon as
the thread's present branch is sealed. Who else is refused, ``WHO_MAY_WRITE`` in ``_core/fence`` says, row by row.

What tasks write (``checkpoint_writes``) has no marks; it only counts with a checkpoint that takes it up, and readers of
a sealed branch are shown none that is pending.
"""

from __future__ import annotations

import sqlite3
from contextlib import AsyncExitStack, ExitStack
from typing import Any, NamedTuple

_SQLSTATES = ("ECT01", "ECT02")
"""Sealed; stale."""

_SQLITE_WORDS = "end_conversation: "

_POSTGRES_BODY = """
DECLARE
    thread_hash text := encode(sha256(convert_to(NEW.thread_id, 'UTF8')), 'hex');
    mark jsonb := nullif(NEW.metadata -> 'end_conversation_branch', 'null');
    run text := NEW.metadata ->> 'end_conversation_run';
    started numeric;
    state jsonb;
    known jsonb;
BEGIN
    IF jsonb_typeof(NEW.metadata -> 'end_conversation_sequence') = 'number' THEN
        started := (NEW.metadata ->> 'end_conversation_sequence')::numeric;
    END IF;
    -- As an expression: that takes half the time of PERFORM. The look at the seal is a statement of its own, so that it
    -- sees what was committed while this one waited.
    IF pg_advisory_xact_lock_shared(('x' || left(thread_hash, 16))::bit(64)::bigint) IS NULL THEN
        RAISE EXCEPTION 'no lock was given';
    END IF;
    SELECT t.state::jsonb INTO state FROM ect_threads AS t WHERE t.thread_key = thread_hash;
    IF NOT FOUND THEN
        IF coalesce(mark, '0') <> '0' OR started > 0 THEN
            RAISE EXCEPTION 'nothing is on record of the branch or the run' USING ERRCODE = 'ECT02';
        END IF;
        RETURN NEW;
    END IF;
    mark := coalesce(mark, state -> 'branch');
    SELECT b INTO known FROM jsonb_array_elements(state -> 'branches') AS b WHERE b -> 'branch' = mark;
    IF known IS NULL AND mark <> '0' THEN
        RAISE EXCEPTION 'the thread has no such branch' USING ERRCODE = 'ECT02';
    ELSIF jsonb_typeof(known -> 'seal') = 'object' THEN
        IF coalesce((known -> 'seal' ->> 'run_token') <> run, true) THEN
            RAISE EXCEPTION 'the thread is sealed' USING ERRCODE = 'ECT01';
        END IF;
    ELSIF coalesce((known ->> 'run_token') <> run, true) OR jsonb_array_length(known -> 'past_seals') > 0 THEN
        IF started < coalesce((known ->> 'fence')::integer, 0) OR started > (state ->> 'sequence')::integer
        OR EXISTS (
            SELECT 1 FROM jsonb_array_elements(state -> 'branches') AS b
            WHERE b ->> 'run_token' = run AND b -> 'branch' <> mark
        ) THEN
            RAISE EXCEPTION 'the run was overtaken' USING ERRCODE = 'ECT02';
        END IF;
    END IF;
    RETURN NEW;
END
"""

_POSTGRES_FUNCTION = f"""
CREATE OR REPLACE FUNCTION ect_guard_checkpoint() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $guard${_POSTGRES_BODY}$guard$
"""

_POSTGRES_TRIGGER = """
CREATE TRIGGER ect_guard BEFORE INSERT OR UPDATE ON checkpoints
FOR EACH ROW EXECUTE FUNCTION ect_guard_checkpoint()
"""

_SQLITE_INDEX = "CREATE INDEX IF NOT EXISTS ect_threads_id ON ect_threads (thread_id)"

_SQLITE_METADATA = "CAST(NEW.metadata AS TEXT), '$.end_conversation_"
_SQLITE_MARK = f"""CASE coalesce(json_type({_SQLITE_METADATA}branch'), 'null')
        WHEN 'integer' THEN json_extract({_SQLITE_METADATA}branch')
        WHEN 'null' THEN NULL
        ELSE -1
    END"""
_SQLITE_STARTED = f"""CASE WHEN json_type({_SQLITE_METADATA}sequence') IN ('integer', 'real')
        THEN json_extract({_SQLITE_METADATA}sequence') END"""
_SQLITE_RUN = f"json_extract({_SQLITE_METADATA}run')"
_SQLITE_ASKED = f"json_extract({_SQLITE_METADATA}asked')"
_SQLITE_ROW = "EXISTS (SELECT 1 FROM ect_threads WHERE thread_id = NEW.thread_id)"
_SQLITE_ERASED = "EXISTS (SELECT 1 FROM ect_threads WHERE thread_id >= 'erased:' AND thread_id < 'erased;')"

_SQLITE_TRIGGER = f"""CREATE TRIGGER ect_guard BEFORE INSERT ON checkpoints
WHEN {_SQLITE_ROW}
OR {_SQLITE_ERASED}
OR coalesce({_SQLITE_MARK}, 0) <> 0
OR {_SQLITE_STARTED} > 0
BEGIN
    SELECT CASE WHEN {_SQLITE_ERASED}
        THEN RAISE(ABORT, 'end_conversation: ask')
        ELSE RAISE(ABORT, 'end_conversation: stale')
    END
    WHERE NOT {_SQLITE_ROW}
    AND {_SQLITE_ASKED} IS NULL
    AND ({_SQLITE_RUN} IS NOT NULL AND {_SQLITE_ERASED}
        OR coalesce({_SQLITE_MARK}, 0) <> 0
        OR {_SQLITE_STARTED} > 0);
    SELECT CASE
        WHEN json_extract(b.value, '$.seal') IS NULL THEN RAISE(ABORT, 'end_conversation: stale')
        ELSE RAISE(ABORT, 'end_conversation: sealed')
    END
    FROM (
        SELECT state, sequence, coalesce({_SQLITE_MARK}, branch) AS mark, {_SQLITE_RUN} AS run,
        {_SQLITE_STARTED} AS started
        FROM ect_threads WHERE thread_id = NEW.thread_id
    ) AS t
    LEFT JOIN json_each(t.state, '$.branches') AS b ON json_extract(b.value, '$.branch') = t.mark
    WHERE CASE
        WHEN b.value IS NULL AND t.mark <> 0 THEN 1
        WHEN json_extract(b.value, '$.seal') IS NOT NULL
        THEN coalesce(json_extract(b.value, '$.seal.run_token') <> t.run, 1)
        WHEN json_extract(b.value, '$.run_token') = t.run AND json_extract(b.value, '$.past_seals') = '[]' THEN 0
        ELSE t.started < coalesce(json_extract(b.value, '$.fence'), 0) OR t.started > t.sequence OR EXISTS (
            SELECT 1 FROM json_each(t.state, '$.branches') AS other
            WHERE json_extract(other.value, '$.run_token') = t.run AND json_extract(other.value, '$.branch') <> t.mark
        )
    END;
END"""  # noqa: S608 - constants

_DROP = "DROP TRIGGER IF EXISTS ect_guard"


class Triggers(NamedTuple):
    """How triggers are put in place in the registry's database, in one transaction: there is no moment without them.

    Attributes:
        there: Query that finds them, if they are of the very version that is given to it as ``version``.
        version: The present version: the text that the database keeps of it.
        statements: What puts it in place, instead of an older one too.
    """

    there: str
    version: str
    statements: tuple[str, ...]


TRIGGERS = {
    "postgresql": Triggers(
        "SELECT 1 FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid "
        "WHERE t.tgname = 'ect_guard' AND t.tgrelid = to_regclass('checkpoints') AND p.prosrc = :version",
        _POSTGRES_BODY,
        (_POSTGRES_FUNCTION, f"{_DROP} ON checkpoints", _POSTGRES_TRIGGER),
    ),
    "sqlite": Triggers(
        "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = 'ect_guard' AND sql = :version",
        _SQLITE_TRIGGER,
        (_SQLITE_INDEX, _DROP, _SQLITE_TRIGGER),
    ),
}
"""The triggers, by dialect."""

_TABLE_GUARDED = {
    True: "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = 'ect_guard' AND tbl_name = 'checkpoints'",
    False: "SELECT 1 FROM pg_trigger WHERE tgname = 'ect_guard' AND tgrelid = to_regclass('checkpoints') "
    "AND tgenabled IN ('O', 'A')",
}
_REGISTRY_THERE = {True: "SELECT 1 FROM sqlite_master WHERE name = 'ect_meta'", False: "SELECT to_regclass('ect_meta')"}
_KEY = "SELECT value FROM ect_meta WHERE name = 'signing_key'"


def advisory_key(thread_key: str) -> int:
    """Return the number of a thread's advisory lock: the first 64 bits of its key, signed, as the trigger has it."""
    return int.from_bytes(bytes.fromhex(thread_key[:16]), "big", signed=True)


def refused_by_trigger(error: BaseException) -> bool:
    """Whether a driver's error is the answer of such a trigger."""
    if isinstance(error, sqlite3.IntegrityError):
        return str(error).startswith(_SQLITE_WORDS)
    return getattr(error, "sqlstate", None) in _SQLSTATES


def asks(error: BaseException) -> bool:
    """Whether such an answer is that the database cannot tell, and the registry has to be asked."""
    return isinstance(error, sqlite3.IntegrityError) and str(error) == f"{_SQLITE_WORDS}ask"


def found_in(saver: Any, signing_key: bytes) -> bool:
    """Whether the registry with this key is in the database that a saver writes to: asked through its own connection.

    Args:
        saver: A saver of LangGraph's SQLite or PostgreSQL packages; any other has no database to ask.
        signing_key: The registry's key: no two registries have the same.
    """
    with ExitStack() as stack:
        connection: Any = getattr(saver, "conn", None)
        if hasattr(connection, "getconn"):  # a pool
            connection = stack.enter_context(connection.connection())
        if connection is None or not _first(connection.execute(_there(connection)).fetchone()):
            return False
        return bool(_first(connection.execute(_KEY).fetchone()) == signing_key.hex())


async def afound_in(saver: Any, signing_key: bytes) -> bool:
    """Async twin of ``found_in``."""
    async with AsyncExitStack() as stack:
        connection: Any = getattr(saver, "conn", None)
        if hasattr(connection, "getconn"):  # a pool
            connection = await stack.enter_async_context(connection.connection())
        if connection is None:
            return False
        there = await (await connection.execute(_there(connection))).fetchone()
        if not _first(there):
            return False
        return bool(_first(await (await connection.execute(_KEY)).fetchone()) == signing_key.hex())


def guards(saver: Any) -> bool:
    """Whether the table that a saver writes to, of all tables of that name, has its trigger: asked as ``found_in``."""
    with ExitStack() as stack:
        connection: Any = saver.conn
        if hasattr(connection, "getconn"):  # a pool
            connection = stack.enter_context(connection.connection())
        return bool(_first(connection.execute(_TABLE_GUARDED[_is_sqlite(connection)]).fetchone()))


async def aguards(saver: Any) -> bool:
    """Async twin of ``guards``."""
    async with AsyncExitStack() as stack:
        connection: Any = saver.conn
        if hasattr(connection, "getconn"):  # a pool
            connection = await stack.enter_async_context(connection.connection())
        found = await connection.execute(_TABLE_GUARDED[_is_sqlite(connection)])
        return bool(_first(await found.fetchone()))


def _there(connection: Any) -> str:
    return _REGISTRY_THERE[_is_sqlite(connection)]


def _is_sqlite(connection: Any) -> bool:
    return "sqlite" in type(connection).__module__


def _first(row: Any) -> Any:
    """Return the first value of a row, which is a tuple or a dict; ``None`` where there is no row."""
    values = list(row.values()) if isinstance(row, dict) else list(row or ())
    return values[0] if values else None
